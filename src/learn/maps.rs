//! The maps of a network's trunk, found in its ONNX graph.

use std::collections::{HashMap, HashSet};

use tract_onnx::pb::GraphProto;

use super::heads::Part;

/// The largest stride of the maps that are pooled: at the next one, layers are trained for the old classes most.
const STRIDE: usize = 16;

/// Layers that make a map of a map.
const SPATIAL: [&str; 16] = [
    "Conv",
    "MaxPool",
    "AveragePool",
    "BatchNormalization",
    "Clip",
    "Relu",
    "LeakyRelu",
    "PRelu",
    "HardSwish",
    "HardSigmoid",
    "Sigmoid",
    "Gelu",
    "Add",
    "Mul",
    "Cast",
    "Identity",
];

/// Of the maps that `tensor` is computed from, the last of every number of channels whose stride is at most [`STRIDE`]: what
/// the trunk knew before it went over to another width.
pub(super) fn maps(
    graph: &GraphProto,
    tensor: &str,
    shapes: &HashMap<String, Vec<usize>>,
    [height, width]: [usize; 2],
) -> Vec<Part> {
    let (spatial, needed) = (spatial(graph), needed(graph, tensor));
    let mut maps: Vec<Part> = Vec::new();
    // Nodes stand behind what they read: backwards, the first of a width is the last.
    for node in graph.node.iter().rev() {
        for name in node.output.iter().filter(|name| needed.contains(name.as_str())) {
            let Some(&[1, channels, rows, columns]) = shapes.get(name).map(Vec::as_slice) else { continue };
            let is_map = spatial.contains(name.as_str())
                && rows * columns > 1
                && rows * STRIDE >= height
                && columns * STRIDE >= width;
            if is_map && !maps.iter().any(|&(_, other)| other == channels) {
                maps.push((name.clone(), channels));
            }
        }
    }
    maps.reverse();
    maps
}

/// The tensors that `tensor` is computed from, itself among them.
pub(super) fn needed<'a>(graph: &'a GraphProto, tensor: &'a str) -> HashSet<&'a str> {
    let mut needed = HashSet::from([tensor]);
    // Nodes stand behind what they read.
    for node in graph.node.iter().rev() {
        if node.output.iter().any(|name| needed.contains(name.as_str())) {
            needed.extend(node.input.iter().map(String::as_str));
        }
    }
    needed
}

/// The last map of the trunk.
pub(super) fn last_map(graph: &GraphProto, shapes: &HashMap<String, Vec<usize>>) -> Option<String> {
    let spatial = spatial(graph);
    let is_map = |name: &&String| {
        let shape = shapes.get(*name).map(Vec::as_slice);
        spatial.contains(name.as_str()) && matches!(shape, Some(&[1, _, rows, columns]) if rows * columns > 1)
    };
    graph.node.iter().rev().flat_map(|node| &node.output).find(is_map).cloned()
}

/// Tensors that lie over the image: what a layer of [`SPATIAL`] makes of the image or of another such tensor. Tensors of attention
/// have four axes, too.
fn spatial(graph: &GraphProto) -> HashSet<&str> {
    let mut spatial: HashSet<&str> = graph.input.iter().map(|input| input.name.as_str()).collect();
    for node in &graph.node {
        let first = node.input.first().map_or("", String::as_str);
        if SPATIAL.contains(&node.op_type.as_str()) && spatial.contains(first) {
            spatial.extend(node.output.iter().map(String::as_str));
        }
    }
    spatial
}
