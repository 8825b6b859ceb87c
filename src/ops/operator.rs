//! The operators that rewriting puts in, as data.

use serde::{Deserialize, Serialize};
use tract_core::internal::*;

use super::attention::Attention;
use super::channel_gate::Scale;
use super::convolution::{Convolution, Depthwise};
use super::fake_quantise::FakeQuantise;
use super::fused::Fused;
use super::half_convolution::HalfConvolution;
use super::half_linear::HalfLinear;
use super::join::{Join, Part};
use super::layer_norm::LayerNorm;
use super::linear::Linear;
use super::mean::Mean;
use super::permute::Permute;
use super::pool::Pool;
use super::pooled_depthwise::PooledDepthwise;
use super::quantised_convolution::QuantisedConvolution;
use super::quantised_linear::QuantisedLinear;
use super::repeat::Repeat;
use super::winograd::Winograd;

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

            /// What the operator computes where it is one of these: looked at, not copied.
            pub(crate) fn fused(op: &dyn TypedOp) -> Option<&dyn Fused> {
                $(
                    if let Some(op) = op.downcast_ref::<$name>() {
                        return Some(op);
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

            /// As a program runs it.
            pub(crate) fn into_fused(self) -> Box<dyn Fused> {
                match self.0 {
                    $(Kind::$name(op) => Box::new(op)),*
                }
            }
        }
    };
}
operators!(
    Attention,
    Convolution,
    Depthwise,
    LayerNorm,
    Linear,
    Permute,
    Pool,
    Scale,
    Mean,
    Join,
    Part,
    QuantisedLinear,
    HalfLinear,
    Winograd,
    PooledDepthwise,
    QuantisedConvolution,
    Repeat,
    FakeQuantise,
    HalfConvolution
);

#[cfg(test)]
mod tests {
    use super::super::epilogue::{Tail, Then};
    use super::*;
    use dyn_perceiver_kernels::Activation;
    use dyn_perceiver_kernels::attention::Sizes;
    use dyn_perceiver_kernels::convolution::{Shape, Window};
    use dyn_perceiver_kernels::fake_quantise::Rounding;
    use dyn_perceiver_kernels::pooled_depthwise::Windows;
    use dyn_perceiver_kernels::pooling::Pooling;

    /// Other bytes are another format, and need another `bundle::VERSION`: stored graphs would be misread.
    #[test]
    fn the_stored_form_is_that_of_this_version() {
        let window = Window { input: [1, 2], output: [3, 4], kernel: [5, 6], stride: [7, 8], padding: [9, 10] };
        let shape = Shape { window, channels_in: 11, channels_out: 12, groups: 13 };
        let sizes = Sizes { queries: 1, keys: 2, heads: 3, depth: 4, value_depth: 5 };
        let clamp = Activation::Clamp { low: 0.0, high: f32::INFINITY };
        let tail = |bias, residual, activation| Tail { bias, residual, activation, then: vec![] };
        let windows = |n: usize| Windows {
            input: n,
            padding: n + 1,
            starts: vec![n + 2, n + 3],
            kinds: vec![0, 1],
            lengths: vec![n + 4, n + 5],
        };
        let numbers: Vec<u8> = (1..=10).collect();
        let forms: [(Box<dyn TypedOp>, Vec<u8>); 19] = [
            (
                Box::new(Attention {
                    sizes,
                    scale: 6,
                    shape: tvec!(7, 8),
                    scores: vec![Rounding { factor: 1.0, scale: 2.0, low: -1, high: 1 }],
                    probabilities: vec![],
                }),
                vec![0, 1, 2, 3, 4, 5, 6, 2, 7, 8, 1, 0, 0, 0x80, 0x3f, 0, 0, 0, 0x40, 1, 2, 0],
            ),
            (
                Box::new(Convolution { shape, tail: tail(true, false, Activation::HardSwish) }),
                [&[1], &numbers[..], &[11, 12, 13, 1, 0, 2, 0]].concat(),
            ),
            (
                Box::new(Depthwise { window, channels: 11, tail: tail(false, true, clamp), halves: true }),
                [&[2], &numbers[..], &[11, 0, 1, 1, 0, 0, 0, 0, 0, 0, 0x80, 0x7f, 0, 1]].concat(),
            ),
            (Box::new(LayerNorm { epsilon: 5 }), vec![3, 5]),
            (
                Box::new(Linear {
                    reduction: 1,
                    columns: 2,
                    shape: tvec!(3, 4),
                    tail: tail(true, true, Activation::Gelu),
                }),
                vec![4, 1, 2, 2, 3, 4, 1, 1, 4, 0],
            ),
            (Box::new(Permute { order: tvec!(1, 0) }), vec![5, 2, 1, 0]),
            (
                Box::new(Pool { window, pooling: Pooling::Sum { scale: 1.0 } }),
                [&[6], &numbers[..], &[1, 0, 0, 0x80, 0x3f]].concat(),
            ),
            (Box::new(Scale { batch: 3, halves: true }), vec![7, 3, 1]),
            (Box::new(Mean { from: 1, to: 2, scale: 3, reads_halves: true }), vec![8, 1, 2, 3, 1]),
            (Box::new(Join { axis: 1 }), vec![9, 1]),
            (Box::new(Part { axis: 1, start: 2, end: 3 }), vec![10, 1, 2, 3]),
            (
                Box::new(QuantisedLinear {
                    linear: Linear { reduction: 1, columns: 2, shape: tvec!(3, 4), tail: tail(true, true, clamp) },
                    scale: 5,
                    zero_point: 6,
                    wide: true,
                }),
                vec![11, 1, 2, 2, 3, 4, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0x80, 0x7f, 0, 5, 6, 1],
            ),
            (
                Box::new(HalfLinear {
                    linear: Linear {
                        reduction: 1,
                        columns: 2,
                        shape: tvec!(3, 4),
                        tail: tail(true, false, Activation::HardSwish),
                    },
                    reads_halves: false,
                    adds_halves: true,
                    makes_halves: true,
                }),
                vec![12, 1, 2, 2, 3, 4, 1, 0, 2, 0, 0, 1, 1],
            ),
            (
                Box::new(Winograd { convolution: Convolution { shape, tail: tail(true, true, Activation::Gelu) } }),
                [&[13], &numbers[..], &[11, 12, 13, 1, 1, 4, 0]].concat(),
            ),
            (
                Box::new(PooledDepthwise { rows: windows(1), columns: windows(20), channels: 11 }),
                vec![14, 1, 2, 2, 3, 4, 2, 0, 1, 2, 5, 6, 20, 21, 2, 22, 23, 2, 0, 1, 2, 24, 25, 11],
            ),
            (
                Box::new(QuantisedConvolution {
                    convolution: Convolution { shape, tail: tail(true, false, Activation::HardSwish) },
                    scale: 5,
                    zero_point: 6,
                    wide: false,
                }),
                [&[15], &numbers[..], &[11, 12, 13, 1, 0, 2, 0, 5, 6, 0]].concat(),
            ),
            (Box::new(Repeat { axis: 1, times: 2 }), vec![16, 1, 2]),
            (
                Box::new(FakeQuantise {
                    scale: 5,
                    low: -1,
                    high: 1,
                    columns: 4,
                    tail: Tail {
                        then: vec![Then {
                            bias: true,
                            residual: false,
                            activation: Activation::Gelu,
                            rounding: Some(Rounding { factor: 1.0, scale: 2.0, low: -1, high: 1 }),
                        }],
                        ..tail(true, false, Activation::Gelu)
                    },
                }),
                vec![17, 5, 1, 2, 4, 1, 0, 4, 1, 1, 0, 4, 1, 0, 0, 0x80, 0x3f, 0, 0, 0, 0x40, 1, 2],
            ),
            (
                Box::new(HalfConvolution {
                    convolution: Convolution { shape, tail: tail(true, false, Activation::HardSwish) },
                    reads_halves: false,
                    makes_halves: true,
                }),
                [&[18], &numbers[..], &[11, 12, 13, 1, 0, 2, 0, 0, 1]].concat(),
            ),
        ];
        for (op, expected) in forms {
            let bytes = postcard::to_allocvec(&Operator::of(&*op).unwrap()).unwrap();
            assert_eq!(bytes, expected, "{op:?}");
            assert_eq!(postcard::from_bytes::<Operator>(&bytes).unwrap().into_op(), op);
        }
    }
}
