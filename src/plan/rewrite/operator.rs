//! The operators that rewriting puts in, as data.

use serde::{Deserialize, Serialize};
use tract_core::internal::*;

use super::attention::Attention;
use super::convolution::{Convolution, Depthwise};
use super::layer_norm::LayerNorm;
use super::linear::Linear;
use super::permute::Permute;
use super::pooling::Pool;
use super::scale::Scale;

/// One of this project's operators. They read constants where these lie, in memory of their own or in a mapped file.
#[derive(Serialize, Deserialize)]
pub(crate) struct Operator(Kind);

macro_rules! operators {
    ($($name:ident),*) => {
        #[derive(Serialize, Deserialize)]
        enum Kind {
            $($name($name)),*
        }

        impl Operator {
            /// The operator, if it is one of these.
            pub(crate) fn of(op: &dyn TypedOp) -> Option<Operator> {
                $(
                    if let Some(op) = op.downcast_ref::<$name>() {
                        return Some(Operator(Kind::$name(op.clone())));
                    }
                )*
                None
            }

            /// As tract takes it.
            pub(crate) fn into_op(self) -> Box<dyn TypedOp> {
                match self.0 {
                    $(Kind::$name(op) => Box::new(op)),*
                }
            }
        }
    };
}
operators!(Attention, Convolution, Depthwise, LayerNorm, Linear, Permute, Pool, Scale);
