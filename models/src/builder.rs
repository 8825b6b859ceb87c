//! Writes a graph operator by operator; every method returns the tensor it made.

mod pool;
mod resample;
mod time;

pub(crate) use time::Frames;

use crate::convolution::Conv;
use crate::graph::{Attribute, Graph, Initializer, Node, Norm, Parameter, ParameterKind, Source, Value};

/// Epsilon of every LayerNorm of the family.
const LAYER_NORM_EPSILON: f32 = 1e-5;

/// Activation functions of the backbones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Activation {
    Relu,
    Relu6,
    HardSwish,
    Sigmoid,
    HardSigmoid,
}

#[derive(Default)]
pub(crate) struct Builder {
    pub graph: Graph,
    /// Stands before the key of every parameter in the state dict.
    pub prefix: &'static str,
    /// How residual blocks see the frames before theirs; none for single images.
    pub frames: Option<Frames>,
}

/// Weight and bias of a convolution, for those that apply the same one to several tensors.
#[derive(Debug, Clone)]
pub(crate) struct SharedConv {
    conv: Conv,
    weight: String,
    bias: String,
}

impl Builder {
    fn node(
        &mut self,
        name: &str,
        op: &'static str,
        inputs: &[&str],
        attributes: Vec<(&'static str, Attribute)>,
        shape: Vec<usize>,
    ) -> Value {
        self.counted(name, op, inputs, attributes, shape, 0)
    }

    /// Adds a node each of whose output elements sums over `reduction` products.
    fn counted(
        &mut self,
        name: &str,
        op: &'static str,
        inputs: &[&str],
        attributes: Vec<(&'static str, Attribute)>,
        shape: Vec<usize>,
        reduction: usize,
    ) -> Value {
        let macs = shape.iter().map(|&size| size as u64).product::<u64>() * reduction as u64;
        let inputs = inputs.iter().map(|&s| s.to_owned()).collect();
        self.graph.nodes.push(Node { name: name.to_owned(), op, inputs, output: name.to_owned(), attributes, macs });
        Value { name: name.to_owned(), shape }
    }

    fn parameter(&mut self, key: &str, shape: &[usize], kind: ParameterKind) -> String {
        let key = format!("{}{key}", self.prefix);
        self.graph.parameters.insert(key.clone(), Parameter { shape: shape.to_vec(), kind });
        key
    }

    fn learned(&mut self, key: String, shape: &[usize]) -> String {
        self.parameter(&key, shape, ParameterKind::Learned)
    }

    fn initializer(&mut self, name: String, shape: &[usize], source: Source) -> String {
        self.graph.initializers.push(Initializer { name: name.clone(), shape: shape.to_vec(), source });
        name
    }

    /// A parameter as a constant of its own shape.
    fn constant(&mut self, key: String, shape: &[usize]) -> String {
        let weight = self.learned(key, shape);
        self.initializer(weight.clone(), shape, Source::Parameter(weight))
    }

    fn integers(&mut self, name: String, values: Vec<i64>) -> String {
        self.initializer(name, &[values.len()], Source::Integers(values))
    }

    /// Declares the tensors of the batch normalisation `key` over `channels`.
    pub(crate) fn batch_norm(&mut self, key: &str, channels: usize, epsilon: f64) -> Norm {
        for (suffix, kind) in [
            ("weight", ParameterKind::Learned),
            ("bias", ParameterKind::Learned),
            ("running_mean", ParameterKind::Statistic),
            ("running_var", ParameterKind::Statistic),
        ] {
            self.parameter(&format!("{key}.{suffix}"), &[channels], kind);
        }
        self.parameter(&format!("{key}.num_batches_tracked"), &[], ParameterKind::Counter);
        Norm { key: format!("{}{key}", self.prefix), epsilon }
    }

    /// A parameter that stands as a value of the graph, one per image: shape (1, ...).
    pub(crate) fn latent(&mut self, key: &str, shape: &[usize]) -> Value {
        let weight = self.learned(key.to_owned(), shape);
        let shape: Vec<usize> = std::iter::once(1).chain(shape.iter().copied()).collect();
        let name = self.initializer(weight.clone(), &shape, Source::Parameter(weight));
        Value { name, shape }
    }

    /// Convolution without bias followed by batch normalisation `norm`, folded into one Conv with bias.
    pub(crate) fn conv_norm(
        &mut self,
        name: &str,
        x: &Value,
        key: &str,
        conv: Conv,
        norm: &str,
        epsilon: f64,
    ) -> Value {
        let shape = [conv.channels, x.shape[1] / conv.groups, conv.kernel, conv.kernel];
        let weight = self.learned(format!("{key}.weight"), &shape);
        let norm = self.batch_norm(norm, conv.channels, epsilon);
        let source = Source::NormalisedWeight { weight: weight.clone(), norm: norm.clone() };
        let weight = self.initializer(weight, &shape, source);
        let source = Source::NormalisedBias { bias: None, norm };
        let bias = self.initializer(format!("{key}.bias"), &[conv.channels], source);
        self.conv_node(name, x, conv, &weight, &bias)
    }

    /// Convolution with bias.
    pub(crate) fn conv(&mut self, name: &str, x: &Value, key: &str, conv: Conv) -> Value {
        let shared = self.shared_conv(key, x.shape[1], conv);
        self.apply(name, x, &shared)
    }

    /// Weight and bias of a convolution of `from` channels, to be applied more than once.
    pub(crate) fn shared_conv(&mut self, key: &str, from: usize, conv: Conv) -> SharedConv {
        let shape = [conv.channels, from / conv.groups, conv.kernel, conv.kernel];
        let weight = self.constant(format!("{key}.weight"), &shape);
        let bias = self.constant(format!("{key}.bias"), &[conv.channels]);
        SharedConv { conv, weight, bias }
    }

    /// A convolution whose weights exist.
    pub(crate) fn apply(&mut self, name: &str, x: &Value, shared: &SharedConv) -> Value {
        self.conv_node(name, x, shared.conv, &shared.weight, &shared.bias)
    }

    /// x + depthwise convolution of x, with bias, as one convolution: the identity is a kernel with a 1 at its centre.
    pub(crate) fn residual_depthwise(&mut self, name: &str, x: &Value, key: &str, kernel: usize) -> Value {
        let channels = x.shape[1];
        let shape = [channels, 1, kernel, kernel];
        let weight = self.learned(format!("{key}.weight"), &shape);
        let weight = self.initializer(weight.clone(), &shape, Source::ResidualDepthwise { weight });
        let bias = self.constant(format!("{key}.bias"), &[channels]);
        self.conv_node(name, x, Conv { channels, kernel, groups: channels, ..Conv::CENTRED }, &weight, &bias)
    }

    fn conv_node(&mut self, name: &str, x: &Value, conv: Conv, weight: &str, bias: &str) -> Value {
        let [rows, columns] = [x.shape[2], x.shape[3]].map(|length| conv.pads(length));
        let side = |length: usize, (before, after)| (length + before + after - conv.kernel) / conv.stride + 1;
        let shape = vec![1, conv.channels, side(x.shape[2], rows), side(x.shape[3], columns)];
        let pads = [rows.0, columns.0, rows.1, columns.1].map(|pad| pad as i64);
        let attributes = vec![
            ("kernel_shape", Attribute::Ints(vec![conv.kernel as i64; 2])),
            ("strides", Attribute::Ints(vec![conv.stride as i64; 2])),
            ("pads", Attribute::Ints(pads.to_vec())),
            ("group", Attribute::Int(conv.groups as i64)),
        ];
        let reduction = x.shape[1] / conv.groups * conv.kernel * conv.kernel;
        self.counted(name, "Conv", &[&x.name, weight, bias], attributes, shape, reduction)
    }

    pub(crate) fn activation(&mut self, name: &str, x: &Value, activation: Activation) -> Value {
        let (op, attributes) = match activation {
            Activation::Relu => ("Relu", vec![]),
            Activation::Relu6 => return self.clip(name, x, 0.0, 6.0),
            Activation::HardSwish => ("HardSwish", vec![]),
            Activation::Sigmoid => ("Sigmoid", vec![]),
            // ONNX's default slope is 0.2, PyTorch's 1/6.
            Activation::HardSigmoid => {
                ("HardSigmoid", vec![("alpha", Attribute::Float(1.0 / 6.0)), ("beta", Attribute::Float(0.5))])
            }
        };
        self.node(name, op, &[&x.name], attributes, x.shape.clone())
    }

    fn clip(&mut self, name: &str, x: &Value, low: f32, high: f32) -> Value {
        let low = self.initializer(format!("{name}/low"), &[], Source::Numbers(vec![low]));
        let high = self.initializer(format!("{name}/high"), &[], Source::Numbers(vec![high]));
        self.node(name, "Clip", &[&x.name, &low, &high], vec![], x.shape.clone())
    }

    /// Squeeze-and-excitation: x times gate(fc2(relu(fc1(mean of x)))), with 1x1 convolutions `fc1` and `fc2`.
    pub(crate) fn squeeze_excite(
        &mut self,
        name: &str,
        x: &Value,
        key: &str,
        squeezed: usize,
        gate: Activation,
    ) -> Value {
        let channels = x.shape[1];
        let s = self.node(&format!("{name}/mean"), "GlobalAveragePool", &[&x.name], vec![], vec![1, channels, 1, 1]);
        let s = self.conv(&format!("{name}/fc1"), &s, &format!("{key}.fc1"), Conv::pointwise(squeezed));
        let s = self.activation(&format!("{name}/relu"), &s, Activation::Relu);
        let s = self.conv(&format!("{name}/fc2"), &s, &format!("{key}.fc2"), Conv::pointwise(channels));
        let s = self.activation(&format!("{name}/gate"), &s, gate);
        self.node(&format!("{name}/scale"), "Mul", &[&x.name, &s.name], vec![], x.shape.clone())
    }

    pub(crate) fn max_pool(&mut self, name: &str, x: &Value, kernel: usize, stride: usize, pad: usize) -> Value {
        let side = |length: usize| (length + 2 * pad - kernel) / stride + 1;
        let shape = vec![1, x.shape[1], side(x.shape[2]), side(x.shape[3])];
        let attributes = vec![
            ("kernel_shape", Attribute::Ints(vec![kernel as i64; 2])),
            ("strides", Attribute::Ints(vec![stride as i64; 2])),
            ("pads", Attribute::Ints(vec![pad as i64; 4])),
        ];
        self.node(name, "MaxPool", &[&x.name], attributes, shape)
    }

    /// Linear layer over the last axis of tokens (1, T, C), its weight times `scale`.
    pub(crate) fn linear(
        &mut self,
        name: &str,
        x: &Value,
        key: &str,
        channels: usize,
        bias: bool,
        scale: f32,
    ) -> Value {
        let (tokens, from) = (x.shape[1], x.shape[2]);
        let weight = self.learned(format!("{key}.weight"), &[channels, from]);
        let source = Source::Transposed { weight: weight.clone(), scale };
        let weight = self.initializer(weight, &[from, channels], source);
        let y = self.counted(name, "MatMul", &[&x.name, &weight], vec![], vec![1, tokens, channels], from);
        if !bias {
            return y;
        }
        let bias = self.constant(format!("{key}.bias"), &[channels]);
        self.node(&format!("{name}/bias"), "Add", &[&y.name, &bias], vec![], y.shape)
    }

    /// LayerNorm over the last axis.
    pub(crate) fn layer_norm(&mut self, name: &str, x: &Value, key: &str) -> Value {
        let channels = x.shape[x.shape.len() - 1];
        let scale = self.constant(format!("{key}.weight"), &[channels]);
        let bias = self.constant(format!("{key}.bias"), &[channels]);
        let attributes = vec![("axis", Attribute::Int(-1)), ("epsilon", Attribute::Float(LAYER_NORM_EPSILON))];
        self.node(name, "LayerNormalization", &[&x.name, &scale, &bias], attributes, x.shape.clone())
    }

    /// The exact (erf) form.
    pub(crate) fn gelu(&mut self, name: &str, x: &Value) -> Value {
        self.node(name, "Gelu", &[&x.name], vec![], x.shape.clone())
    }

    pub(crate) fn add(&mut self, name: &str, a: &Value, b: &Value) -> Value {
        self.node(name, "Add", &[&a.name, &b.name], vec![], b.shape.clone())
    }

    /// x plus a parameter of x's shape.
    pub(crate) fn add_parameter(&mut self, name: &str, x: &Value, key: String) -> Value {
        let constant = self.constant(key, &x.shape);
        self.node(name, "Add", &[&x.name, &constant], vec![], x.shape.clone())
    }

    /// Softmax over the last axis.
    pub(crate) fn softmax(&mut self, name: &str, x: &Value) -> Value {
        self.node(name, "Softmax", &[&x.name], vec![("axis", Attribute::Int(-1))], x.shape.clone())
    }

    /// Product of the last two axes.
    pub(crate) fn matmul(&mut self, name: &str, a: &Value, b: &Value) -> Value {
        let rank = a.shape.len();
        let mut shape = a.shape.clone();
        shape[rank - 1] = b.shape[rank - 1];
        self.counted(name, "MatMul", &[&a.name, &b.name], vec![], shape, a.shape[rank - 1])
    }

    pub(crate) fn transpose(&mut self, name: &str, x: &Value, order: &[usize]) -> Value {
        let shape = order.iter().map(|&axis| x.shape[axis]).collect();
        let attribute = Attribute::Ints(order.iter().map(|&axis| axis as i64).collect());
        self.node(name, "Transpose", &[&x.name], vec![("perm", attribute)], shape)
    }

    /// Same elements in another shape; `shape` leaves out the batch.
    pub(crate) fn reshape(&mut self, name: &str, x: &Value, shape: &[usize]) -> Value {
        // 0 copies the batch, so that no arithmetic on shapes is left in the graph.
        let target = std::iter::once(0).chain(shape.iter().map(|&d| d as i64)).collect();
        let target = self.integers(format!("{name}/shape"), target);
        let shape = std::iter::once(1).chain(shape.iter().copied()).collect();
        self.node(name, "Reshape", &[&x.name, &target], vec![], shape)
    }

    /// Mean over `axes`, which vanish.
    pub(crate) fn mean(&mut self, name: &str, x: &Value, axes: &[usize]) -> Value {
        let shape = x.shape.iter().enumerate().filter(|(i, _)| !axes.contains(i)).map(|(_, &d)| d).collect();
        let axes = self.integers(format!("{name}/axes"), axes.iter().map(|&axis| axis as i64).collect());
        self.node(name, "ReduceMean", &[&x.name, &axes], vec![("keepdims", Attribute::Int(0))], shape)
    }

    /// Joins vectors (1, C) or features (1, C, H, W) by channels.
    pub(crate) fn concat(&mut self, name: &str, parts: &[&Value]) -> Value {
        let mut shape = parts.first().map_or(vec![1, 0], |part| part.shape.clone());
        shape[1] = parts.iter().map(|v| v.shape[1]).sum();
        let inputs: Vec<&str> = parts.iter().map(|v| v.name.as_str()).collect();
        self.node(name, "Concat", &inputs, vec![("axis", Attribute::Int(1))], shape)
    }

    /// Linear layer on vectors (1, C).
    pub(crate) fn dense(&mut self, name: &str, x: &Value, key: &str, channels: usize) -> Value {
        let weight = self.constant(format!("{key}.weight"), &[channels, x.shape[1]]);
        let bias = self.constant(format!("{key}.bias"), &[channels]);
        self.gemm(name, x, &weight, &bias, channels)
    }

    /// Linear layer on vectors followed by batch normalisation, folded into one.
    pub(crate) fn dense_norm(
        &mut self,
        name: &str,
        x: &Value,
        key: &str,
        channels: usize,
        norm: &str,
        epsilon: f64,
    ) -> Value {
        let norm = self.batch_norm(norm, channels, epsilon);
        let weight = self.learned(format!("{key}.weight"), &[channels, x.shape[1]]);
        let bias = self.learned(format!("{key}.bias"), &[channels]);
        let source = Source::NormalisedWeight { weight: weight.clone(), norm: norm.clone() };
        let weight = self.initializer(weight, &[channels, x.shape[1]], source);
        let source = Source::NormalisedBias { bias: Some(bias.clone()), norm };
        let bias = self.initializer(bias, &[channels], source);
        self.gemm(name, x, &weight, &bias, channels)
    }

    /// Batch normalisation of vectors followed by a Linear layer, folded into one.
    pub(crate) fn norm_dense(
        &mut self,
        name: &str,
        x: &Value,
        norm: &str,
        epsilon: f64,
        key: &str,
        channels: usize,
    ) -> Value {
        let norm = self.batch_norm(norm, x.shape[1], epsilon);
        let weight = self.learned(format!("{key}.weight"), &[channels, x.shape[1]]);
        let bias = self.learned(format!("{key}.bias"), &[channels]);
        let source = Source::PrenormalisedBias { weight: weight.clone(), bias: bias.clone(), norm: norm.clone() };
        let bias = self.initializer(bias, &[channels], source);
        let source = Source::PrenormalisedWeight { weight: weight.clone(), norm };
        let weight = self.initializer(weight, &[channels, x.shape[1]], source);
        self.gemm(name, x, &weight, &bias, channels)
    }

    fn gemm(&mut self, name: &str, x: &Value, weight: &str, bias: &str, channels: usize) -> Value {
        let attributes = vec![("transB", Attribute::Int(1))];
        self.counted(name, "Gemm", &[&x.name, weight, bias], attributes, vec![1, channels], x.shape[1])
    }

    /// Makes the tensor of the last node an output of the graph under the name of an exit. Of a clip the output is the
    /// mean over its frames, and what is returned is still each frame's.
    pub(crate) fn exit(&mut self, value: Value, exit: &str) -> Value {
        if matches!(self.frames, Some(Frames::Clip { .. })) {
            let mean = self.mean_over_frames(exit, &value);
            self.graph.outputs.push(mean);
            return value;
        }
        self.output(value, exit)
    }

    /// Makes the tensor of the last node an output of the graph under another name.
    pub(crate) fn output(&mut self, mut value: Value, name: &str) -> Value {
        if let Some(node) = self.graph.nodes.last_mut().filter(|node| node.output == value.name) {
            node.output = name.to_owned();
        }
        value.name = name.to_owned();
        self.graph.outputs.push(value.clone());
        value
    }
}
