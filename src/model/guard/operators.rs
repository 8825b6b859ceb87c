//! The operators that a model may have: how many inputs and outputs each takes, and its shape rule.

use std::ops::RangeInclusive;

use super::super::fact::{Check, Fact};
use super::node::Node;
use super::shapes::{
    elementwise as e, generate as g, layout as l, linear, normalise as n, reduce as r, select as s, window as w,
};

type Rule = fn(&Node<'_>) -> Check<Vec<Fact>>;

/// What is known of an operator.
pub(super) struct Operator {
    /// Inputs, those at the end that are left out not counted.
    pub inputs: RangeInclusive<usize>,
    pub outputs: RangeInclusive<usize>,
    pub rule: Rule,
}

/// Inputs of operators that join any number of tensors.
const MANY: usize = 4096;

/// The operator of that name; none when it is not known. `If` has no entry: its branches are judged by themselves.
pub(super) fn find(domain: &str, name: &str) -> Option<Operator> {
    match domain {
        "" | "ai.onnx" => standard(name),
        "com.microsoft" => contributed(name),
        _ => None,
    }
}

fn of(inputs: RangeInclusive<usize>, rule: Rule) -> Option<Operator> {
    Some(Operator { inputs, outputs: 1..=1, rule })
}

fn with(inputs: RangeInclusive<usize>, outputs: RangeInclusive<usize>, rule: Rule) -> Option<Operator> {
    Some(Operator { inputs, outputs, rule })
}

fn standard(name: &str) -> Option<Operator> {
    match name {
        "Identity" => of(1..=1, e::identity),
        "Abs" | "Neg" | "Sign" | "Relu" => of(1..=1, e::unary),
        "Acos" | "Acosh" | "Asin" | "Asinh" | "Atan" | "Atanh" | "Ceil" | "Celu" | "Cos" | "Cosh" | "Elu" | "Erf"
        | "Exp" | "Floor" | "Gelu" | "HardSigmoid" | "HardSwish" | "LeakyRelu" | "Log" | "Mish" | "Reciprocal"
        | "Round" | "Selu" | "Shrink" | "Sigmoid" | "Sin" | "Sinh" | "Softplus" | "Softsign" | "Sqrt" | "Swish"
        | "Tan" | "Tanh" | "ThresholdedRelu" => of(1..=1, e::float),
        "Add" | "Sub" | "Mul" | "Div" | "Pow" | "Mod" => of(2..=2, e::binary),
        "Min" | "Max" | "Sum" | "Mean" => of(1..=MANY, e::variadic),
        "Equal" | "Greater" | "GreaterOrEqual" | "Less" | "LessOrEqual" => of(2..=2, e::comparison),
        "And" | "Or" | "Xor" => of(2..=2, e::logic),
        "Not" => of(1..=1, e::not),
        "IsNaN" | "IsInf" => of(1..=1, e::classify),
        "BitShift" | "BitwiseAnd" | "BitwiseOr" | "BitwiseXor" => of(2..=2, e::bits),
        "BitwiseNot" => of(1..=1, e::bits),
        "Where" => of(3..=3, e::choose),
        "PRelu" => of(2..=2, e::prelu),
        "Clip" => of(1..=3, e::clip),
        "Cast" => of(1..=1, e::cast),
        "CastLike" => of(2..=2, e::cast_like),
        "Conv" => of(2..=3, w::convolution),
        "ConvInteger" => of(2..=4, w::convolution),
        "ConvTranspose" => of(2..=3, w::transposed),
        "AveragePool" => of(1..=1, w::pool),
        "MaxPool" => with(1..=1, 1..=2, w::pool),
        "GlobalAveragePool" | "GlobalMaxPool" => of(1..=1, w::global_pool),
        "BatchNormalization" => of(5..=5, n::batch),
        "InstanceNormalization" => of(3..=3, n::instance),
        "GroupNormalization" => of(3..=3, n::group),
        "LayerNormalization" => with(2..=3, 1..=3, n::layer),
        "RMSNormalization" => of(2..=2, n::layer),
        "LRN" => of(1..=1, n::local_response),
        "Softmax" | "LogSoftmax" | "Hardmax" | "LpNormalization" => of(1..=1, n::along_axis),
        "MeanVarianceNormalization" => of(1..=1, n::mean_variance),
        "CumSum" => of(2..=2, n::cumulative),
        "Trilu" => of(1..=2, n::triangle),
        "Dropout" => with(1..=3, 1..=2, n::dropout),
        "MatMul" => of(2..=2, linear::product),
        "MatMulInteger" => of(2..=4, linear::product),
        "Gemm" => of(2..=3, linear::gemm),
        "Einsum" => of(1..=8, linear::einsum),
        "LSTM" => with(3..=8, 1..=3, linear::recurrent),
        "GRU" | "RNN" => with(3..=6, 1..=2, linear::recurrent),
        "ReduceL1" | "ReduceL2" | "ReduceLogSum" | "ReduceLogSumExp" | "ReduceMax" | "ReduceMean" | "ReduceMin"
        | "ReduceProd" | "ReduceSum" | "ReduceSumSquare" => of(1..=2, r::reduce),
        "ArgMax" | "ArgMin" => of(1..=1, r::arg),
        "TopK" => with(1..=2, 2..=2, r::top),
        "Reshape" => of(1..=2, l::reshape),
        "Flatten" => of(1..=1, l::flatten),
        "Squeeze" => of(1..=2, l::squeeze),
        "Unsqueeze" => of(1..=2, l::unsqueeze),
        "Transpose" => of(1..=1, l::transpose),
        "Expand" => of(2..=2, l::expand),
        "Tile" => of(2..=2, l::tile),
        "Concat" => of(1..=MANY, l::concat),
        "Split" => with(1..=2, 1..=MANY, l::split),
        "Slice" => of(1..=5, l::slice),
        "Pad" => of(1..=4, l::pad),
        "DepthToSpace" | "SpaceToDepth" => of(1..=1, l::blocks),
        "Gather" => of(2..=2, s::gather),
        "GatherElements" => of(2..=2, s::gather_elements),
        "GatherND" => of(2..=2, s::gather_nd),
        "Scatter" | "ScatterElements" => of(3..=3, s::scatter_elements),
        "ScatterND" => of(3..=3, s::scatter_nd),
        "OneHot" => of(3..=3, s::one_hot),
        "GridSample" => of(2..=2, s::grid_sample),
        "Shape" => of(1..=1, s::shape),
        "Size" => of(1..=1, s::count),
        "Constant" => of(0..=0, g::constant),
        "ConstantOfShape" => of(1..=1, g::filled),
        "Range" => of(3..=3, g::range),
        "EyeLike" => of(1..=1, g::eye),
        "Resize" => of(2..=4, g::resize),
        "DynamicQuantizeLinear" => with(1..=1, 3..=3, g::quantise_dynamically),
        _ => None,
    }
}

/// Operators that ONNX Runtime's optimiser writes.
fn contributed(name: &str) -> Option<Operator> {
    match name {
        "Gelu" | "QuickGelu" => of(1..=1, e::float),
        "BiasGelu" => of(2..=2, e::biased),
        "FastGelu" => of(1..=2, e::biased),
        _ => None,
    }
}
