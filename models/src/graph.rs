//! A network as data: nodes, constants and the parameters they are made from, without any weight in memory.

use std::collections::{BTreeMap, BTreeSet};

/// A tensor of the graph. `shape[0]` is the batch: 1 here, `N` in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Value {
    pub name: String,
    pub shape: Vec<usize>,
}

/// One ONNX operator.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub name: String,
    pub op: &'static str,
    pub inputs: Vec<String>,
    pub output: String,
    pub attributes: Vec<(&'static str, Attribute)>,
    /// Multiply-accumulates for one image: output elements x reduction length; 0 for all but Conv, MatMul and Gemm.
    pub macs: u64,
}

#[derive(Debug, Clone)]
pub(crate) enum Attribute {
    Int(i64),
    Ints(Vec<i64>),
    Float(f32),
    Text(&'static str),
}

/// A constant of the graph and where its numbers come from.
#[derive(Debug, Clone)]
pub(crate) struct Initializer {
    pub name: String,
    pub shape: Vec<usize>,
    pub source: Source,
}

/// How the numbers of a constant follow from the parameters of the checkpoint.
#[derive(Debug, Clone)]
pub(crate) enum Source {
    /// These integers.
    Integers(Vec<i64>),
    /// These numbers.
    Numbers(Vec<f32>),
    /// A parameter as it is (the shape may differ, the order does not).
    Parameter(String),
    /// A Linear layer's weight (out, in) as (in, out), times a number.
    Transposed { weight: String, scale: f32 },
    /// A weight whose rows (output channels) are scaled by the normalisation that follows.
    NormalisedWeight { weight: String, norm: Norm },
    /// The bias that goes with it.
    NormalisedBias { bias: Option<String>, norm: Norm },
    /// A Linear layer's weight (out, in) whose columns are scaled by the normalisation that precedes.
    PrenormalisedWeight { weight: String, norm: Norm },
    /// The bias that goes with it.
    PrenormalisedBias { weight: String, bias: String, norm: Norm },
    /// A depthwise kernel (C, 1, k, k) with 1 added at its centre: x + conv(x) in one convolution.
    ResidualDepthwise { weight: String },
}

/// A batch normalisation in evaluation mode, to be folded into its neighbour.
#[derive(Debug, Clone)]
pub(crate) struct Norm {
    /// Key of the module; its tensors are `<key>.weight`, `.bias`, `.running_mean` and `.running_var`.
    pub key: String,
    pub epsilon: f64,
}

/// What a tensor of the state dict is to training.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ParameterKind {
    /// Learned: counts as a parameter.
    Learned,
    /// A running mean or variance.
    Statistic,
    /// `num_batches_tracked`, of no use here; may be absent.
    Counter,
}

/// A tensor of the state dict.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Parameter {
    /// Its shape; empty for a scalar.
    pub shape: Vec<usize>,
    /// What it is to training.
    pub kind: ParameterKind,
}

/// The whole graph.
#[derive(Debug, Clone, Default)]
pub(crate) struct Graph {
    pub nodes: Vec<Node>,
    pub initializers: Vec<Initializer>,
    /// The state dict this graph takes its numbers from.
    pub parameters: BTreeMap<String, Parameter>,
    pub outputs: Vec<Value>,
    /// What is carried from frame to frame: the input, and the output that becomes it, in running order.
    pub states: Vec<(Value, Value)>,
}

impl Graph {
    /// Multiply-accumulates of all nodes that `outputs` depend on, for one image.
    pub(crate) fn macs_to(&self, outputs: &[&str]) -> u64 {
        let mut needed: BTreeSet<&str> = outputs.iter().copied().collect();
        let mut macs = 0;
        // Nodes stand in the order they were made, so that one pass backwards meets every consumer before its producer.
        for node in self.nodes.iter().rev() {
            if needed.contains(node.output.as_str()) {
                macs += node.macs;
                needed.extend(node.inputs.iter().map(String::as_str));
            }
        }
        macs
    }
}
