//! Layers that are put into a network's graph behind the features of its exits.

use std::collections::HashMap;
use std::ops::Range;

use dyn_perceiver_calibrate::learn::{Linear, Outside};
use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::tensor_shape_proto::{Dimension, dimension};
use tract_onnx::pb::{AttributeProto, GraphProto, NodeProto, TensorProto, TypeProto, ValueInfoProto, type_proto};
use tract_onnx::prelude::f16;

use super::heads::{Head, Part};

/// From so many numbers on, a matrix is stored in half precision where that is asked for.
const HALVED: usize = 256;

/// What an exit learned.
#[derive(Clone, Copy)]
pub(super) struct Learned<'a> {
    /// A new classifier; without one the exit keeps its own.
    pub linear: Option<&'a Linear>,
    pub outside: Option<&'a Outside>,
}

/// What has been put into a graph.
pub(super) struct Made {
    /// Part of all names that are put in.
    pub mark: String,
    /// For each map whose means an exit before has asked for the name of these.
    pub pooled: HashMap<String, String>,
    /// From opset 18 on, `ReduceMax` is told its axes by an input.
    pub axes_are_inputs: bool,
    /// Whether matrices are stored in half precision, each followed by a `Cast`.
    pub half: bool,
}

/// A part of names that are in no name of the graph: a network may be learned for the second time.
pub(super) fn mark(graph: &GraphProto) -> String {
    let taken = |mark: &String| graph.node.iter().flat_map(|node| &node.output).any(|name| name.contains(mark));
    (0..).map(|number| format!("/learned{number}/")).find(|mark| !taken(mark)).unwrap_or_default()
}

/// The means of a map, as a row of features: the name of the tensor.
pub(super) fn means(graph: &mut GraphProto, map: &str, mark: &str) -> String {
    let (pooled, flat) = (format!("{map}{mark}means"), format!("{map}{mark}flat"));
    graph.node.push(node("GlobalAveragePool", &[map], &pooled, vec![]));
    graph.node.push(node("Flatten", &[&pooled], &flat, vec![]));
    flat
}

/// Puts what was learned under the exit's name; whoever read the old logits still does.
pub(super) fn replace(graph: &mut GraphProto, head: &Head, learned: Learned<'_>, made: &mut Made) {
    let before = format!("{}{}before", head.exit, made.mark);
    for node in &mut graph.node {
        for name in node.input.iter_mut().chain(&mut node.output).filter(|name| **name == head.exit) {
            name.clone_from(&before);
        }
    }
    // Features that are an exit themselves have got another name, too.
    let own = if head.own.0 == head.exit { before.clone() } else { head.own.0.clone() };
    let mut maps: Vec<String> = Vec::new();
    for (map, _) in &head.maps {
        let flat = made.pooled.entry(map.clone()).or_insert_with(|| means(graph, map, &made.mark));
        maps.push(flat.clone());
    }
    let mut layers = Layers { graph, exit: &head.exit, own: (own, head.own.1), maps: None, made };
    if !maps.is_empty() {
        let maps: Vec<&str> = maps.iter().map(String::as_str).collect();
        layers.maps = Some((layers.add("Concat", &maps, "means", vec![integer("axis", 1)]), head.width() - head.own.1));
    }
    match (learned.linear, learned.outside) {
        (Some(linear), None) => layers.linear(linear, ""),
        (Some(linear), Some(outside)) => {
            let logits = layers.linear(linear, "logits");
            layers.outside(outside, &logits)
        }
        (None, Some(outside)) => layers.outside(outside, &before),
        (None, None) => layers.add("Identity", &[&before], "", vec![]),
    };
}

/// Layers that are put behind an exit's features.
struct Layers<'a> {
    graph: &'a mut GraphProto,
    exit: &'a str,
    own: Part,
    maps: Option<Part>,
    made: &'a Made,
}

impl Layers<'_> {
    /// The name of a part; without one it is the exit itself.
    fn named(&self, part: &str) -> String {
        if part.is_empty() { self.exit.to_owned() } else { format!("{}{}{part}", self.exit, self.made.mark) }
    }

    fn add(&mut self, operator: &str, inputs: &[&str], part: &str, attributes: Vec<AttributeProto>) -> String {
        let name = self.named(part);
        self.graph.node.push(node(operator, inputs, &name, attributes));
        name
    }

    fn constant(&mut self, part: &str, dims: &[usize], values: &[f32]) -> String {
        if !self.made.half || dims.len() < 2 || values.len() < HALVED {
            let name = self.named(part);
            self.graph.initializer.push(tensor(&name, dims, values));
            return name;
        }
        let name = self.named(&format!("{part}-half"));
        let halves = values.iter().flat_map(|&value| f16::from_f32(value).to_le_bytes()).collect();
        let data_type = DataType::Float16 as i32;
        self.graph.initializer.push(TensorProto { data_type, raw_data: halves, ..tensor(&name, dims, &[]) });
        self.add("Cast", &[&name], part, vec![integer("to", i64::from(DataType::Float as i32))])
    }

    /// A linear layer over all features. Two products, one added to the other: of one over joined features tract makes the
    /// same, and adds the bias apart.
    fn linear(&mut self, linear: &Linear, part: &str) -> String {
        let prefix = if part.is_empty() { String::new() } else { format!("{part}-") };
        let rows = linear.bias.len();
        let bias = self.constant(&format!("{prefix}bias"), &[rows], &linear.bias);
        let (own, maps) = (self.own.clone(), self.maps.clone());
        let width = own.1 + maps.as_ref().map_or(0, |(_, width)| *width);
        let columns = |range: Range<usize>| -> Vec<f32> {
            linear.weights.chunks_exact(width.max(1)).flat_map(|row| row[range.clone()].iter().copied()).collect()
        };
        let transposed = || vec![integer("transB", 1)];
        let added = match maps {
            None => bias,
            Some((maps, count)) => {
                let values = columns(own.1..width);
                let weights = self.constant(&format!("{prefix}map-weight"), &[rows, count], &values);
                self.add("Gemm", &[&maps, &weights, &bias], &format!("{prefix}from-map"), transposed())
            }
        };
        let values = columns(0..own.1);
        let weights = self.constant(&format!("{prefix}weight"), &[rows, own.1], &values);
        self.add("Gemm", &[&own.0, &weights, &added], part, transposed())
    }

    /// Half the squared length of rows of `width` numbers, (N, 1).
    fn half_square(&mut self, rows: &str, width: usize, part: &str) -> String {
        let square = self.add("Mul", &[rows, rows], &format!("{part}-square"), vec![]);
        let halves = self.constant(&format!("{part}-halves"), &[width, 1], &vec![0.5; width]);
        self.add("MatMul", &[&square, &halves], part, vec![])
    }

    /// The largest of each row, (N, 1).
    fn largest(&mut self, rows: &str, part: &str) -> String {
        let keep = integer("keepdims", 1);
        if !self.made.axes_are_inputs {
            let axes = AttributeProto { ints: vec![1], r#type: AttributeType::Ints as i32, ..integer("axes", 0) };
            return self.add("ReduceMax", &[rows], part, vec![axes, keep]);
        }
        let axes = self.named(&format!("{part}-axes"));
        self.graph.initializer.push(TensorProto {
            data_type: DataType::Int64 as i32,
            raw_data: 1i64.to_le_bytes().to_vec(),
            ..tensor(&axes, &[1], &[])
        });
        self.add("ReduceMax", &[rows, &axes], part, vec![keep])
    }

    /// [`Outside::logit`] behind the logits of the classes.
    fn outside(&mut self, outside: &Outside, logits: &str) -> String {
        let width = outside.scale.len();
        let (own, maps) = (self.own.clone(), self.maps.clone());
        let all = match &maps {
            None => own.0,
            Some((maps, _)) => self.add("Concat", &[&own.0, maps], "all", vec![integer("axis", 1)]),
        };
        let scale = self.constant("scale", &[1, width], &outside.scale);
        let shift = self.constant("shift", &[1, width], &outside.shift);
        let scaled = self.add("Mul", &[&all, &scale], "scaled", vec![]);
        let shifted = self.add("Add", &[&scaled, &shift], "shifted", vec![]);
        let length = self.half_square(&shifted, width, "length");
        let directions = self.linear(&outside.directions, "directions");
        let kept = self.half_square(&directions, outside.directions.bias.len(), "kept");
        let classes = self.linear(&outside.classes, "classes");
        let nearest = self.largest(&classes, "nearest");
        let apart = self.add("Sub", &[&length, &kept], "apart", vec![]);
        let distance = self.add("Sub", &[&apart, &nearest], "distance", vec![]);
        let slope = self.constant("slope", &[1], &[outside.slope]);
        let limit = self.constant("limit", &[1], &[outside.slope * outside.limit]);
        let steep = self.add("Mul", &[&distance, &slope], "steep", vec![]);
        let above = self.add("Sub", &[&steep, &limit], "above", vec![]);
        let top = self.largest(logits, "top");
        let none = self.add("Add", &[&above, &top], "none", vec![]);
        self.add("Concat", &[logits, &none], "", vec![integer("axis", 1)])
    }
}

/// A node that is named after what it makes.
pub(super) fn node(operator: &str, inputs: &[&str], output: &str, attribute: Vec<AttributeProto>) -> NodeProto {
    NodeProto {
        name: format!("{output}:{operator}"),
        op_type: operator.into(),
        input: inputs.iter().map(|&input| input.into()).collect(),
        output: vec![output.into()],
        attribute,
        ..NodeProto::default()
    }
}

pub(super) fn integer(name: &str, value: i64) -> AttributeProto {
    AttributeProto { name: name.into(), r#type: AttributeType::Int as i32, i: value, ..AttributeProto::default() }
}

fn tensor(name: &str, dims: &[usize], values: &[f32]) -> TensorProto {
    TensorProto {
        name: name.into(),
        dims: dims.iter().map(|&d| d as i64).collect(),
        data_type: DataType::Float as i32,
        raw_data: values.iter().flat_map(|v| v.to_le_bytes()).collect(),
        ..TensorProto::default()
    }
}

pub(super) fn output(name: &str, classes: usize) -> ValueInfoProto {
    let dimension = |value| Dimension { value: Some(value), ..Dimension::default() };
    let dim =
        vec![dimension(dimension::Value::DimParam("N".into())), dimension(dimension::Value::DimValue(classes as i64))];
    let shape = Some(tract_onnx::pb::TensorShapeProto { dim });
    let tensor = type_proto::Tensor { elem_type: DataType::Float as i32, shape };
    let value = TypeProto { value: Some(type_proto::Value::TensorType(tensor)), ..TypeProto::default() };
    ValueInfoProto { name: name.into(), r#type: Some(value), ..ValueInfoProto::default() }
}
