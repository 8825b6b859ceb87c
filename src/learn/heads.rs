//! The linear layers that a network's exits end in, found in its ONNX graph and replaced.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use dyn_perceiver_calibrate::learn::Linear;
use prost::Message as _;
use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::tensor_shape_proto::{Dimension, dimension};
use tract_onnx::pb::{
    AttributeProto, GraphProto, ModelProto, NodeProto, StringStringEntryProto, TensorProto, TypeProto, ValueInfoProto,
    type_proto,
};

use super::HeadsError;

/// Layers between the linear one and the exit that leave the order of classes as it is.
const PASSED: [&str; 6] = ["Softmax", "LogSoftmax", "Identity", "Flatten", "Squeeze", "Cast"];

/// The stride of the maps that are pooled: at the next one, layers are trained for the old classes most.
const STRIDE: usize = 16;

/// One exit.
struct Head {
    exit: String,
    /// The tensor (N, features) in front of its linear layer.
    input: String,
    /// Number of features in it.
    own: usize,
    /// The map (N, C, H, W) of the trunk whose means are features, too, and its channels.
    map: Option<(String, usize)>,
}

impl Head {
    /// Number of features in all.
    fn width(&self) -> usize {
        self.own + self.map.as_ref().map_or(0, |(_, channels)| *channels)
    }
}

/// The exits of a network.
pub(super) struct Heads {
    model: ModelProto,
    heads: Vec<Head>,
    exits: Vec<String>,
}

impl Heads {
    /// Finds the linear layers behind `exits`, and the maps beside them, in a network for images of `size` (height, width).
    /// The file has been judged.
    pub(super) fn find(
        bytes: &[u8],
        exits: &[String],
        shapes: &HashMap<String, Vec<usize>>,
        size: [usize; 2],
    ) -> Result<Self, HeadsError> {
        let model = ModelProto::decode(bytes).unwrap_or_default();
        let graph = model.graph.clone().unwrap_or_default();
        let producers: HashMap<&str, &NodeProto> =
            graph.node.iter().flat_map(|node| node.output.iter().map(move |name| (name.as_str(), node))).collect();
        let heads = exits.iter().map(|exit| {
            let head = find(&graph, &producers, exit);
            let mut head = head.map_err(|reason| HeadsError::Exit { exit: exit.clone(), reason })?;
            head.map = widest_map(&graph, &head.input, shapes, size);
            Ok::<_, HeadsError>(head)
        });
        let heads = heads.collect::<Result<Vec<_>, _>>()?;
        Ok(Heads { model, heads, exits: exits.to_vec() })
    }

    pub(super) fn exits(&self) -> &[String] {
        &self.exits
    }

    pub(super) fn widths(&self) -> Vec<usize> {
        self.heads.iter().map(Head::width).collect()
    }

    /// A network whose exits give their features, filled up with zeros to the widest: classifiers of one width are what
    /// the loader knows.
    pub(super) fn features(&self) -> Vec<u8> {
        let widest = self.widths().into_iter().max().unwrap_or(0);
        let select = |head: &Head| {
            Linear::new(
                (0..widest * head.width()).map(|i| f32::from(u8::from(i / head.width() == i % head.width()))).collect(),
                vec![0.0; widest],
            )
        };
        let classifiers: Vec<Linear> = self.heads.iter().map(select).collect();
        self.replaced(&classifiers, None).encode_to_vec()
    }

    /// The network with these classifiers.
    pub(super) fn with(&self, classifiers: &[Linear], labels: &[String]) -> Result<Vec<u8>, HeadsError> {
        let wrong = |reason: String| Err(HeadsError::Classifiers { reason });
        if classifiers.len() != self.heads.len() {
            return wrong(format!("{} for {} exits", classifiers.len(), self.heads.len()));
        }
        for (head, linear) in self.heads.iter().zip(classifiers) {
            let (weights, bias) = (linear.weights.len(), linear.bias.len());
            if bias != labels.len() || weights != labels.len() * head.width() {
                let expected = format!("{} classes of {} features", labels.len(), head.width());
                return wrong(format!(
                    "exit {:?} has {weights} weights, {bias} biases, expected {expected}",
                    head.exit
                ));
            }
        }
        Ok(self.replaced(classifiers, Some(labels)).encode_to_vec())
    }

    fn replaced(&self, classifiers: &[Linear], labels: Option<&[String]>) -> ModelProto {
        let mut model = self.model.clone();
        let classes = classifiers.first().map_or(0, |linear| linear.bias.len());
        if let Some(graph) = &mut model.graph {
            for (head, linear) in self.heads.iter().zip(classifiers) {
                replace(graph, head, linear);
            }
            graph.output = self.heads.iter().map(|head| output(&head.exit, classes)).collect();
            prune(graph);
        }
        model.metadata_props.retain(|entry| {
            !["dyn_perceiver.labels", "dyn_perceiver.exits", "dyn_perceiver.arch"].contains(&entry.key.as_str())
        });
        let mut entry = |key: &str, value: String| {
            model.metadata_props.push(StringStringEntryProto { key: key.into(), value });
        };
        entry("dyn_perceiver.exits", self.exits.join(","));
        if let Some(labels) = labels {
            entry("dyn_perceiver.labels", serde_json::Value::from(labels.to_vec()).to_string());
        }
        model
    }
}

/// Walks back from an exit to its linear layer.
fn find(graph: &GraphProto, producers: &HashMap<&str, &NodeProto>, exit: &str) -> Result<Head, String> {
    let mut name = exit;
    for _ in 0..graph.node.len() {
        let node = producers.get(name).ok_or("no layer computes it")?;
        let first = node.input.first().map_or("", String::as_str);
        match node.op_type.as_str() {
            operator if PASSED.contains(&operator) => name = first,
            // The bias of a linear layer that was exported as two.
            "Add" => {
                let product = node
                    .input
                    .iter()
                    .find(|input| producers.get(input.as_str()).is_some_and(|node| node.op_type == "MatMul"));
                name = product.ok_or("it ends in a sum that is no linear layer")?;
            }
            "Gemm" | "MatMul" => {
                let weight = node.input.get(1).map_or("", String::as_str);
                let dims = dims(graph, producers, weight).ok_or("the weights of its last layer are no constant")?;
                let transposed = node.attribute.iter().any(|a| a.name == "transB" && a.i != 0);
                let other = node.attribute.iter().any(|a| a.name == "transA" && a.i != 0);
                let &[rows, columns] = dims.as_slice() else {
                    return Err("the weights of its last layer are no matrix".into());
                };
                let width = usize::try_from(if transposed { columns } else { rows }).unwrap_or(0);
                if other || width == 0 {
                    return Err("its last layer is turned round".into());
                }
                return Ok(Head { exit: exit.into(), input: first.into(), own: width, map: None });
            }
            other => return Err(format!("it ends in {other}, expected a linear layer (Gemm or MatMul)")),
        }
    }
    Err("its layers form a circle".into())
}

/// Of the maps that `tensor` is computed from, the last of the widest whose stride is at most [`STRIDE`].
fn widest_map(
    graph: &GraphProto,
    tensor: &str,
    shapes: &HashMap<String, Vec<usize>>,
    [height, width]: [usize; 2],
) -> Option<(String, usize)> {
    let mut needed = HashSet::from([tensor]);
    let mut widest: Option<(String, usize)> = None;
    // Nodes stand behind what they read: backwards, the first of equal width is the last.
    for node in graph.node.iter().rev() {
        if !node.output.iter().any(|name| needed.contains(name.as_str())) {
            continue;
        }
        needed.extend(node.input.iter().map(String::as_str));
        for name in &node.output {
            let Some(&[_, channels, rows, columns]) = shapes.get(name).map(Vec::as_slice) else { continue };
            let is_map = rows * columns > 1 && rows * STRIDE >= height && columns * STRIDE >= width;
            if is_map && widest.as_ref().is_none_or(|(_, most)| channels > *most) {
                widest = Some((name.clone(), channels));
            }
        }
    }
    widest
}

/// Dimensions of a constant: an initializer, also one behind a `Cast`.
fn dims(graph: &GraphProto, producers: &HashMap<&str, &NodeProto>, name: &str) -> Option<Vec<i64>> {
    if let Some(tensor) = graph.initializer.iter().find(|tensor| tensor.name == name) {
        return Some(tensor.dims.clone());
    }
    let node = producers.get(name)?;
    match node.op_type.as_str() {
        "Cast" | "Identity" => dims(graph, producers, node.input.first()?),
        "Constant" => Some(node.attribute.iter().find_map(|a| a.t.as_ref())?.dims.clone()),
        _ => None,
    }
}

/// Puts a new linear layer under the exit's name; whoever read the old logits still does.
fn replace(graph: &mut GraphProto, head: &Head, linear: &Linear) {
    let before = format!("{}/before", head.exit);
    for node in &mut graph.node {
        for name in node.input.iter_mut().chain(&mut node.output).filter(|name| **name == head.exit) {
            name.clone_from(&before);
        }
    }
    // Features that are an exit themselves have got another name, too.
    let input = if head.input == head.exit { &before } else { &head.input };
    let named = |part: &str| format!("{}/learned/{part}", head.exit);
    let classes = linear.bias.len();
    let columns = |range: Range<usize>| -> Vec<f32> {
        linear.weights.chunks_exact(head.width()).flat_map(|row| row[range.clone()].iter().copied()).collect()
    };
    let layer = |graph: &mut GraphProto, [input, added, output]: [&str; 3], weights: String, range: Range<usize>| {
        graph.initializer.push(tensor(&weights, &[classes, range.len()], &columns(range)));
        graph.node.push(node("Gemm", &[input, &weights, added], output, vec![integer("transB", 1)]));
    };
    let bias = named("bias");
    let biased = match &head.map {
        // Two products, one added to the other: of one over joined features tract makes the same, and adds the bias apart.
        Some((map, channels)) => {
            let (means, flat, from_map) = (named("means"), named("flat"), named("from-map"));
            graph.node.push(node("GlobalAveragePool", &[map], &means, vec![]));
            graph.node.push(node("Flatten", &[&means], &flat, vec![]));
            layer(graph, [&flat, &bias, &from_map], named("map-weight"), head.own..head.own + channels);
            from_map
        }
        None => bias.clone(),
    };
    layer(graph, [input, &biased, &head.exit], named("weight"), 0..head.own);
    graph.initializer.push(tensor(&bias, &[classes], &linear.bias));
}

/// A node that is named after what it makes.
fn node(operator: &str, inputs: &[&str], output: &str, attribute: Vec<AttributeProto>) -> NodeProto {
    NodeProto {
        name: format!("{output}:{operator}"),
        op_type: operator.into(),
        input: inputs.iter().map(|&input| input.into()).collect(),
        output: vec![output.into()],
        attribute,
        ..NodeProto::default()
    }
}

fn integer(name: &str, value: i64) -> AttributeProto {
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

fn output(name: &str, classes: usize) -> ValueInfoProto {
    let dimension = |value| Dimension { value: Some(value), ..Dimension::default() };
    let dim =
        vec![dimension(dimension::Value::DimParam("N".into())), dimension(dimension::Value::DimValue(classes as i64))];
    let shape = Some(tract_onnx::pb::TensorShapeProto { dim });
    let tensor = type_proto::Tensor { elem_type: DataType::Float as i32, shape };
    let value = TypeProto { value: Some(type_proto::Value::TensorType(tensor)), ..TypeProto::default() };
    ValueInfoProto { name: name.into(), r#type: Some(value), ..ValueInfoProto::default() }
}

/// Drops what no exit needs: old classifiers whose logits nobody reads, and their weights.
fn prune(graph: &mut GraphProto) {
    let mut needed: HashSet<String> = graph.output.iter().map(|output| output.name.clone()).collect();
    // Nodes stand behind what they read.
    let mut kept: Vec<NodeProto> = Vec::with_capacity(graph.node.len());
    for node in graph.node.drain(..).rev() {
        let nested = node.attribute.iter().any(|a| a.g.is_some() || !a.graphs.is_empty());
        if nested || node.output.iter().any(|name| needed.contains(name)) {
            needed.extend(node.input.iter().cloned());
            kept.push(node);
        }
    }
    kept.reverse();
    let nested = kept.iter().any(|node| node.attribute.iter().any(|a| a.g.is_some() || !a.graphs.is_empty()));
    graph.node = kept;
    if !nested {
        graph.initializer.retain(|tensor| needed.contains(&tensor.name));
    }
    graph.value_info.clear();
}
