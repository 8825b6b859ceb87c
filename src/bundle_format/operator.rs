//! Operators as data: this project's, and those of tract's that may be left between them in a rewritten graph.

mod inputs;

use serde::{Deserialize, Serialize};
use tract_core::internal::*;
use tract_core::ops::array::{MultiBroadcastTo, Slice, TypedConcat};
use tract_core::ops::binary::TypedBinOp;
use tract_core::ops::cnn::{Conv, KernelFormat, MaxPool, PaddingSpec, PoolSpec, SumPool};
use tract_core::ops::downsample::Downsample;
use tract_core::ops::einsum::EinSum;
use tract_core::ops::element_wise::ElementWiseOp;
use tract_core::ops::identity::Identity;
use tract_core::ops::math;
use tract_core::ops::nn::{
    self, DataFormat, LeakyRelu, Reduce, Reducer, RmsNorm, Softmax, SoftmaxKind, gelu_approximate, gelu_exact, silu,
};

use crate::ops;

/// An operator that a bundle can hold. The order of the variants is part of the format.
#[derive(Serialize, Deserialize)]
pub(super) enum Operator {
    Own(ops::Operator),
    AddAxis(usize),
    RemoveAxis(usize),
    MoveAxis(usize, usize),
    Reshape {
        at: usize,
        from: Vec<usize>,
        to: Vec<usize>,
    },
    /// By its name in [`BINARY`].
    Binary(String),
    /// By its name in [`UNARY`].
    Unary(String),
    LeakyRelu(f32),
    Reduce {
        axes: Vec<usize>,
        reducer: Reduction,
    },
    Softmax {
        axes: Vec<usize>,
        logarithm: bool,
    },
    RmsNorm {
        axis: usize,
        epsilon: f32,
    },
    Concat {
        axis: usize,
    },
    Slice {
        axis: usize,
        start: usize,
        end: usize,
    },
    Sample {
        axis: usize,
        stride: isize,
        modulo: usize,
    },
    Broadcast(Vec<usize>),
    /// A product of tensors, as `mk,kn->mn`.
    Product(String),
    Convolution {
        window: Window,
        groups: usize,
    },
    MaxPool(Window),
    SumPool {
        window: Window,
        count_include_pad: bool,
        normalize: bool,
    },
    /// A tensor under another name, as a state that goes on as it is.
    Identity,
}

/// How [`Reduce`] makes one value of several.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Reduction {
    Max,
    Min,
    Product,
    Sum,
    MeanOfSquares,
}

/// What a convolution or pooling of tract's slides over its input.
#[derive(Serialize, Deserialize)]
pub(super) struct Window {
    batch: bool,
    channels_last: bool,
    kernel: Vec<usize>,
    padding: Padding,
    dilations: Option<Vec<usize>>,
    strides: Option<Vec<usize>>,
    input_channels: usize,
    output_channels: usize,
}

#[derive(Serialize, Deserialize)]
enum Padding {
    Explicit(Vec<usize>, Vec<usize>),
    ExplicitOnnx(Vec<usize>, Vec<usize>, bool),
    Valid,
    SameUpper,
    SameLower,
}

const BINARY: &[fn() -> TypedBinOp] = &[math::add, math::sub, math::mul, math::div, math::min, math::max, math::pow];

const UNARY: &[fn() -> ElementWiseOp] = &[
    nn::sigmoid,
    nn::hard_swish,
    gelu_exact::gelu_exact,
    || gelu_approximate::gelu_approximate(false),
    silu::silu,
    math::tanh,
    math::exp,
    math::ln,
    math::erf,
    math::sqrt,
    math::rsqrt,
    math::recip,
    math::square,
    math::abs,
    math::neg,
];

const REDUCTIONS: &[(Reduction, Reducer)] = &[
    (Reduction::Max, Reducer::Max),
    (Reduction::Min, Reducer::Min),
    (Reduction::Product, Reducer::Prod),
    (Reduction::Sum, Reducer::Sum),
    (Reduction::MeanOfSquares, Reducer::MeanOfSquares),
];

impl Operator {
    /// The operator as data, if there is a form for it that gives back the same operator.
    pub(super) fn of(op: &dyn TypedOp) -> Option<Operator> {
        let stored = Self::form(op)?;
        // The forms leave out what they have no room for, such as an output of another type.
        let restored = Self::form(op)?.into_op().ok()?;
        (*restored == *op).then_some(stored)
    }

    fn form(op: &dyn TypedOp) -> Option<Operator> {
        let sizes = |dims: &[TDim]| dims.iter().map(|dim| dim.to_usize().ok()).collect::<Option<Vec<_>>>();
        if let Some(own) = ops::Operator::of(op) {
            return Some(Operator::Own(own));
        }
        Some(if let Some(op) = op.downcast_ref::<AxisOp>() {
            match op {
                AxisOp::Add(axis) => Operator::AddAxis(*axis),
                AxisOp::Rm(axis) => Operator::RemoveAxis(*axis),
                AxisOp::Move(from, to) => Operator::MoveAxis(*from, *to),
                AxisOp::Reshape(at, from, to) => Operator::Reshape { at: *at, from: sizes(from)?, to: sizes(to)? },
            }
        } else if let Some(op) = op.downcast_ref::<TypedBinOp>() {
            Operator::Binary(op.0.name().to_owned())
        } else if let Some(op) = op.downcast_ref::<ElementWiseOp>() {
            match op.0.downcast_ref::<LeakyRelu>() {
                Some(leaky) => Operator::LeakyRelu(leaky.alpha),
                None => Operator::Unary(op.0.name()),
            }
        } else if let Some(op) = op.downcast_ref::<Reduce>() {
            let (reducer, _) = REDUCTIONS.iter().find(|(_, reducer)| *reducer == op.reducer)?;
            Operator::Reduce { axes: op.axes.to_vec(), reducer: *reducer }
        } else if let Some(op) = op.downcast_ref::<Softmax>() {
            Operator::Softmax { axes: op.axes.to_vec(), logarithm: op.kind == SoftmaxKind::LogSoftmax }
        } else if let Some(op) = op.downcast_ref::<RmsNorm>() {
            Operator::RmsNorm { axis: op.axis, epsilon: op.eps.cast_to_scalar::<f32>().ok()? }
        } else if let Some(op) = op.downcast_ref::<TypedConcat>() {
            Operator::Concat { axis: op.axis }
        } else if let Some(op) = op.downcast_ref::<Slice>() {
            Operator::Slice { axis: op.axis, start: op.start.to_usize().ok()?, end: op.end.to_usize().ok()? }
        } else if let Some(op) = op.downcast_ref::<Downsample>() {
            Operator::Sample { axis: op.axis, stride: op.stride, modulo: op.modulo }
        } else if let Some(op) = op.downcast_ref::<MultiBroadcastTo>() {
            Operator::Broadcast(op.shape.as_concrete()?.to_vec())
        } else if let Some(op) = op.downcast_ref::<EinSum>() {
            Operator::Product(op.axes.to_string())
        } else if let Some(op) = op.downcast_ref::<Conv>() {
            Operator::Convolution { window: Window::of(&op.pool_spec), groups: op.group }
        } else if let Some(op) = op.downcast_ref::<MaxPool>() {
            Operator::MaxPool(Window::of(&op.pool_spec))
        } else if let Some(op) = op.downcast_ref::<SumPool>() {
            let SumPool { pool_spec, count_include_pad, normalize } = op;
            let (count_include_pad, normalize) = (*count_include_pad, *normalize);
            Operator::SumPool { window: Window::of(pool_spec), count_include_pad, normalize }
        } else if op.is::<Identity>() {
            Operator::Identity
        } else {
            return None;
        })
    }

    /// As tract takes it.
    pub(super) fn into_op(self) -> TractResult<Box<dyn TypedOp>> {
        let dims = |sizes: Vec<usize>| sizes.into_iter().map(|size| size.to_dim()).collect::<TVec<TDim>>();
        Ok(match self {
            Operator::Own(own) => own.into_op(),
            Operator::AddAxis(axis) => Box::new(AxisOp::Add(axis)),
            Operator::RemoveAxis(axis) => Box::new(AxisOp::Rm(axis)),
            Operator::MoveAxis(from, to) => Box::new(AxisOp::Move(from, to)),
            Operator::Reshape { at, from, to } => Box::new(AxisOp::Reshape(at, dims(from), dims(to))),
            Operator::Binary(name) => {
                let found = BINARY.iter().map(|make| make()).find(|op| op.0.name() == name);
                Box::new(found.with_context(|| format!("no binary operator {name:?}"))?)
            }
            Operator::Unary(name) => {
                let found = UNARY.iter().map(|make| make()).find(|op| op.0.name() == name);
                Box::new(found.with_context(|| format!("no element-wise operator {name:?}"))?)
            }
            Operator::LeakyRelu(alpha) => Box::new(nn::leaky_relu(alpha)),
            Operator::Reduce { axes, reducer } => {
                let found = REDUCTIONS.iter().find(|(reduction, _)| *reduction == reducer);
                let (_, reducer) = found.context("no such reduction")?;
                Box::new(Reduce { axes: axes.into(), reducer: *reducer })
            }
            Operator::Softmax { axes, logarithm } => {
                let kind = if logarithm { SoftmaxKind::LogSoftmax } else { SoftmaxKind::Softmax };
                Box::new(Softmax { axes: axes.into(), quant_output_dt: None, kind })
            }
            Operator::RmsNorm { axis, epsilon } => Box::new(RmsNorm { axis, eps: rctensor0(epsilon) }),
            Operator::Concat { axis } => Box::new(TypedConcat { axis }),
            Operator::Slice { axis, start, end } => {
                ensure!(start < end, "a slice from {start} to {end}");
                Box::new(Slice::new(axis, start, end))
            }
            Operator::Sample { axis, stride, modulo } => {
                ensure!(stride != 0, "a sampling of stride 0");
                Box::new(Downsample { axis, stride, modulo })
            }
            Operator::Broadcast(shape) => Box::new(MultiBroadcastTo { shape: ShapeFact::from_dims(dims(shape)) }),
            Operator::Product(axes) => {
                ensure!(axes.is_ascii() && !axes.contains("..."), "a product written {axes:?}");
                Box::new(EinSum::new(axes.parse()?, f32::datum_type()))
            }
            Operator::Convolution { window, groups } => {
                ensure!(groups > 0, "a convolution of no groups");
                let (pool_spec, kernel_fmt) = (window.into_spec(), KernelFormat::OIHW);
                Box::new(Conv { pool_spec, kernel_fmt, group: groups, q_params: None })
            }
            Operator::MaxPool(window) => Box::new(MaxPool { pool_spec: window.into_spec(), with_index_outputs: None }),
            Operator::Identity => Box::new(Identity),
            Operator::SumPool { window, count_include_pad, normalize } => {
                Box::new(SumPool { pool_spec: window.into_spec(), count_include_pad, normalize })
            }
        })
    }
}

impl Window {
    fn of(spec: &PoolSpec) -> Window {
        let list = |values: &Option<TVec<usize>>| values.as_ref().map(|values| values.to_vec());
        Window {
            batch: matches!(spec.data_format, DataFormat::NCHW | DataFormat::NHWC),
            channels_last: matches!(spec.data_format, DataFormat::NHWC | DataFormat::HWC),
            kernel: spec.kernel_shape.to_vec(),
            padding: match &spec.padding {
                PaddingSpec::Explicit(before, after) => Padding::Explicit(before.to_vec(), after.to_vec()),
                PaddingSpec::ExplicitOnnxPool(before, after, up) => {
                    Padding::ExplicitOnnx(before.to_vec(), after.to_vec(), *up)
                }
                PaddingSpec::Valid => Padding::Valid,
                PaddingSpec::SameUpper => Padding::SameUpper,
                PaddingSpec::SameLower => Padding::SameLower,
            },
            dilations: list(&spec.dilations),
            strides: list(&spec.strides),
            input_channels: spec.input_channels,
            output_channels: spec.output_channels,
        }
    }

    fn into_spec(self) -> PoolSpec {
        PoolSpec {
            data_format: match (self.batch, self.channels_last) {
                (true, true) => DataFormat::NHWC,
                (true, false) => DataFormat::NCHW,
                (false, true) => DataFormat::HWC,
                (false, false) => DataFormat::CHW,
            },
            kernel_shape: self.kernel.into(),
            padding: match self.padding {
                Padding::Explicit(before, after) => PaddingSpec::Explicit(before.into(), after.into()),
                Padding::ExplicitOnnx(before, after, up) => {
                    PaddingSpec::ExplicitOnnxPool(before.into(), after.into(), up)
                }
                Padding::Valid => PaddingSpec::Valid,
                Padding::SameUpper => PaddingSpec::SameUpper,
                Padding::SameLower => PaddingSpec::SameLower,
            },
            dilations: self.dilations.map(Into::into),
            strides: self.strides.map(Into::into),
            input_channels: self.input_channels,
            output_channels: self.output_channels,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn window(format: DataFormat, padding: PaddingSpec) -> PoolSpec {
        PoolSpec {
            data_format: format,
            kernel_shape: tvec!(3, 2),
            padding,
            dilations: Some(tvec!(2, 1)),
            strides: Some(tvec!(1, 2)),
            input_channels: 4,
            output_channels: 6,
        }
    }

    #[test]
    fn operators_come_back_as_they_were() {
        let explicit = || PaddingSpec::Explicit(tvec!(1, 0), tvec!(0, 1));
        let onnx = PaddingSpec::ExplicitOnnxPool(tvec!(1, 0), tvec!(0, 1), true);
        let mut ops: Vec<Box<dyn TypedOp>> = vec![
            Box::new(AxisOp::Add(1)),
            Box::new(AxisOp::Rm(2)),
            Box::new(AxisOp::Move(0, 2)),
            Box::new(AxisOp::Reshape(1, tvec!(6.to_dim()), tvec!(2.to_dim(), 3.to_dim()))),
            Box::new(nn::leaky_relu(0.25)),
            Box::new(Softmax { axes: tvec!(1, 2), quant_output_dt: None, kind: SoftmaxKind::LogSoftmax }),
            Box::new(RmsNorm { axis: 2, eps: rctensor0(1e-5_f32) }),
            Box::new(TypedConcat { axis: 1 }),
            Box::new(Slice::new(1, 2, 5)),
            Box::new(Downsample { axis: 1, stride: 2, modulo: 1 }),
            Box::new(MultiBroadcastTo { shape: ShapeFact::from_dims([2.to_dim(), 3.to_dim()]) }),
            Box::new(EinSum::new("bmk,kn->bmn".parse().unwrap(), f32::datum_type())),
            Box::new(Conv {
                pool_spec: window(DataFormat::NCHW, explicit()),
                kernel_fmt: KernelFormat::OIHW,
                group: 2,
                q_params: None,
            }),
            Box::new(MaxPool { pool_spec: window(DataFormat::HWC, onnx), with_index_outputs: None }),
            Box::new(SumPool {
                pool_spec: window(DataFormat::NHWC, PaddingSpec::SameLower),
                count_include_pad: true,
                normalize: false,
            }),
            Box::new(Identity),
        ];
        // Another order of variants is another format, and needs another version.
        let variant = |op: &dyn TypedOp| postcard::to_allocvec(&Operator::of(op).unwrap()).unwrap()[0];
        let variants: Vec<u8> = ops.iter().map(|op| variant(&**op)).collect();
        assert_eq!(variants, [1, 2, 3, 4, 7, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19]);
        ops.extend(BINARY.iter().map(|make| Box::new(make()) as Box<dyn TypedOp>));
        ops.extend(UNARY.iter().map(|make| Box::new(make()) as Box<dyn TypedOp>));
        for (_, reducer) in REDUCTIONS {
            ops.push(Box::new(Reduce { axes: tvec!(0, 2), reducer: *reducer }));
        }
        for op in ops {
            let stored = Operator::of(&*op).unwrap_or_else(|| panic!("{op:?} has no form"));
            let bytes = postcard::to_allocvec(&stored).unwrap();
            let restored = postcard::from_bytes::<Operator>(&bytes).unwrap().into_op().unwrap();
            assert_eq!(restored, op);
        }
    }

    #[test]
    fn what_a_form_has_no_room_for_has_none() {
        let ops: [Box<dyn TypedOp>; 5] = [
            Box::new(math::round()),
            Box::new(math::shift_left()),
            Box::new(gelu_approximate::gelu_approximate(true)),
            Box::new(EinSum::new("mk,kn->mn".parse().unwrap(), f16::datum_type())),
            Box::new(Slice::new(0, 0, TDim::from(SymbolScope::default().sym("N")))),
        ];
        for op in ops {
            assert!(Operator::of(&*op).is_none(), "{op:?}");
        }
    }
}
