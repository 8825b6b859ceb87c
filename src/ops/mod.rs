//! This project's operators: what runs in a frame, each a fused kernel over tensors in NHWC layout.
//!
//! An operator knows its kernel, the shapes it takes and what it costs; it also implements tract's operator traits, so
//! that graphs hold it. How a graph comes to hold it is the business of [`crate::passes`], and how it is given memory that
//! of [`crate::executor`]: neither is known here.

pub(crate) mod attention;
pub(crate) mod channel_gate;
pub(crate) mod convolution;
pub(crate) mod epilogue;
pub(crate) mod fake_quantise;
pub(crate) mod fused;
pub(crate) mod half_convolution;
pub(crate) mod half_linear;
pub(crate) mod join;
pub(crate) mod layer_norm;
pub(crate) mod linear;
pub(crate) mod mean;
pub(crate) mod operator;
pub(crate) mod permute;
pub(crate) mod pool;
pub(crate) mod pooled_depthwise;
pub(crate) mod quantised_convolution;
pub(crate) mod quantised_linear;
pub(crate) mod repeat;
pub(crate) mod view;
pub(crate) mod winograd;

use tract_core::internal::*;

pub(crate) use fused::Fused;
pub(crate) use operator::Operator;

/// Channels of the filters that a depthwise convolution reads as its second input, the channels of a filter side by side; none for
/// any other operator.
pub(crate) fn filter_channels(op: &dyn TypedOp) -> Option<usize> {
    let depthwise = op.downcast_ref::<convolution::Depthwise>().map(|op| op.channels);
    depthwise.or_else(|| Some(op.downcast_ref::<pooled_depthwise::PooledDepthwise>()?.channels))
}

/// What an operator of these modules computes; none for any other operator.
pub(crate) fn fused(op: &dyn TypedOp) -> Option<&dyn Fused> {
    Operator::fused(op)
}
