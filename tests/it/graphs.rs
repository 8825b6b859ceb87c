//! Small ONNX models made for tests.

use prost::Message as _;
use tract_onnx::pb::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, StringStringEntryProto, TensorProto,
    TensorShapeProto, TypeProto, ValueInfoProto, attribute_proto::AttributeType, tensor_proto::DataType,
    tensor_shape_proto::Dimension, tensor_shape_proto::dimension, type_proto,
};

/// An ONNX model under construction.
#[derive(Clone, Default)]
pub(crate) struct Graph {
    graph: GraphProto,
    metadata: Vec<StringStringEntryProto>,
    seed: u64,
}

impl Graph {
    /// A model with one input `image` of this shape; dimensions that are 0 are left open.
    pub(crate) fn new(shape: &[i64], seed: u64) -> Self {
        let graph = GraphProto { name: "test".into(), input: vec![value("image", shape)], ..Default::default() };
        Graph { graph, metadata: vec![], seed }
    }

    /// Another input of this shape; dimensions that are 0 are left open.
    #[allow(dead_code, reason = "not every test that has this module has several inputs")]
    pub(crate) fn input(&mut self, name: &str, shape: &[i64]) {
        self.graph.input.push(value(name, shape));
    }

    /// An entry of the model's metadata.
    #[allow(dead_code, reason = "not every test that has this module writes metadata")]
    pub(crate) fn metadata(mut self, key: &str, value: &str) -> Self {
        self.metadata.push(StringStringEntryProto { key: key.into(), value: value.into() });
        self
    }

    /// A weight of values in [-0.5, 0.5), different for every weight and seed.
    pub(crate) fn weight(&mut self, name: &str, dims: &[i64]) -> String {
        let len = dims.iter().product::<i64>();
        let floats = (0..len).map(|_| {
            self.seed = self.seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (self.seed >> 40) as f32 / (1 << 24) as f32 - 0.5
        });
        let float_data = floats.collect();
        let data_type = DataType::Float as i32;
        let tensor = TensorProto { name: name.into(), dims: dims.into(), data_type, float_data, ..Default::default() };
        self.graph.initializer.push(tensor);
        name.into()
    }

    /// A node with one output, which has the node's name.
    pub(crate) fn node(&mut self, name: &str, op: &str, inputs: &[&str], attributes: &[(&str, &[i64])]) -> String {
        let attribute = |&(name, ints): &(&str, &[i64])| match ints {
            [i] if name != "pads" && name != "kernel_shape" => {
                AttributeProto { name: name.into(), r#type: AttributeType::Int as i32, i: *i, ..Default::default() }
            }
            _ => AttributeProto {
                name: name.into(),
                r#type: AttributeType::Ints as i32,
                ints: ints.to_vec(),
                ..Default::default()
            },
        };
        self.graph.node.push(NodeProto {
            name: name.into(),
            op_type: op.into(),
            input: inputs.iter().map(|s| s.to_string()).collect(),
            output: vec![name.into()],
            attribute: attributes.iter().map(attribute).collect(),
            ..Default::default()
        });
        name.into()
    }

    /// A 3x3 convolution with padding, so that rows and columns stay.
    pub(crate) fn conv(&mut self, name: &str, input: &str, c_in: i64, c_out: i64) -> String {
        let weight = self.weight(&format!("{name}.weight"), &[c_out, c_in, 3, 3]);
        self.node(name, "Conv", &[input, &weight], &[("pads", &[1, 1, 1, 1]), ("kernel_shape", &[3, 3])])
    }

    /// A classifier over the mean of (N, channels, H, W) features, with logits (N, classes).
    pub(crate) fn classifier(&mut self, name: &str, input: &str, channels: i64, classes: i64) -> String {
        let pooled = self.node(&format!("{name}.pool"), "GlobalAveragePool", &[input], &[]);
        let flat = self.node(&format!("{name}.flat"), "Flatten", &[&pooled], &[("axis", &[1])]);
        let weight = self.weight(&format!("{name}.weight"), &[channels, classes]);
        self.node(name, "MatMul", &[&flat, &weight], &[])
    }

    /// Declares an output of unknown shape.
    pub(crate) fn output(&mut self, name: &str) {
        self.graph.output.push(ValueInfoProto { name: name.into(), ..value(name, &[0, 0]) });
    }

    /// The model file.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let opset = OperatorSetIdProto { domain: String::new(), version: 17 };
        let model = ModelProto {
            ir_version: 8,
            opset_import: vec![opset],
            graph: Some(self.graph.clone()),
            metadata_props: self.metadata.clone(),
            ..Default::default()
        };
        model.encode_to_vec()
    }
}

fn value(name: &str, shape: &[i64]) -> ValueInfoProto {
    let dim = |&size: &i64| Dimension {
        value: Some(match size {
            0 => dimension::Value::DimParam("N".into()),
            size => dimension::Value::DimValue(size),
        }),
        ..Default::default()
    };
    let shape = TensorShapeProto { dim: shape.iter().map(dim).collect() };
    let tensor = type_proto::Tensor { elem_type: DataType::Float as i32, shape: Some(shape) };
    let r#type = TypeProto { value: Some(type_proto::Value::TensorType(tensor)), ..Default::default() };
    ValueInfoProto { name: name.into(), r#type: Some(r#type), ..Default::default() }
}

/// A chain of three convolutions with an exit after each, of which `outputs` are the model's.
pub(crate) fn three_exits(outputs: &[&str]) -> Graph {
    let mut graph = Graph::new(&[0, 3, 8, 8], 1);
    let mut features = "image".to_string();
    for k in 1..=3 {
        features = graph.conv(&format!("conv{k}"), &features, if k == 1 { 3 } else { 4 }, 4);
        features = graph.node(&format!("relu{k}"), "Relu", &[&features], &[]);
        graph.classifier(&format!("exit{k}"), &features, 4, 5);
    }
    outputs.iter().for_each(|output| graph.output(output));
    graph
}
