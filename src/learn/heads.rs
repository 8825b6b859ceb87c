//! The linear layers that a network's exits end in, found in its ONNX graph and replaced.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use dyn_perceiver_calibrate::learn::{Linear, Outside};
use prost::Message as _;
use tract_onnx::pb::{GraphProto, ModelProto, NodeProto, StringStringEntryProto};

use super::HeadsError;
use super::layers::{Learned, Made, integer, mark, means, node, output, replace};

/// Layers between the linear one and the exit that leave the order of classes as it is.
const PASSED: [&str; 6] = ["Softmax", "LogSoftmax", "Identity", "Flatten", "Squeeze", "Cast"];

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

/// What the network is called whose only exit gives the features of all.
const FEATURES: &str = "learned/features";

/// The name of the answer that no class fits.
pub const NONE_OF_THESE: &str = "none of these";

/// A tensor of features and how many they are.
pub(super) type Part = (String, usize);

/// One exit.
pub(super) struct Head {
    pub exit: String,
    /// The tensor (N, features) in front of its linear layer.
    pub own: Part,
    /// The maps (N, C, H, W) of the trunk whose means are features, too, and their channels.
    pub maps: Vec<Part>,
}

impl Head {
    /// Number of features in all.
    pub(super) fn width(&self) -> usize {
        self.own.1 + self.maps.iter().map(|(_, channels)| channels).sum::<usize>()
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
            head.maps = maps(&graph, &head.own.0, shapes, size);
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

    /// The exit that needs most layers.
    pub(super) fn deepest(&self) -> usize {
        let nodes = self.model.graph.as_ref().map_or(&[][..], |graph| &graph.node);
        let layers = |exit: &String| {
            let mut needed = HashSet::from([exit.as_str()]);
            let mut count = 0;
            // Nodes stand behind what they read.
            for node in nodes.iter().rev() {
                if node.output.iter().any(|name| needed.contains(name.as_str())) {
                    needed.extend(node.input.iter().map(String::as_str));
                    count += 1;
                }
            }
            count
        };
        (0..self.exits.len()).max_by_key(|&place| layers(&self.exits[place])).unwrap_or(0)
    }

    /// The tensors of features of all exits, each once, in the order in which [`Heads::features`] gives them.
    fn parts(&self) -> Vec<&Part> {
        let mut parts: Vec<&Part> = Vec::new();
        for part in self.heads.iter().flat_map(|head| std::iter::once(&head.own).chain(&head.maps)) {
            if !parts.iter().any(|(name, _)| *name == part.0) {
                parts.push(part);
            }
        }
        parts
    }

    /// Where in what [`Heads::features`] gives the features of each exit stand.
    pub(super) fn places(&self) -> Vec<Vec<Range<usize>>> {
        let mut places = HashMap::new();
        let mut next = 0;
        for (name, width) in self.parts() {
            places.insert(name.as_str(), next..next + width);
            next += width;
        }
        let of = |(name, _): &Part| places.get(name.as_str()).cloned().unwrap_or(0..0);
        self.heads.iter().map(|head| std::iter::once(&head.own).chain(&head.maps).map(of).collect()).collect()
    }

    /// A network with one exit, whose logits are the features of all.
    pub(super) fn features(&self) -> Vec<u8> {
        let mut model = self.model.clone();
        let parts = self.parts();
        if let Some(graph) = &mut model.graph {
            let maps: HashSet<&str> =
                self.heads.iter().flat_map(|head| &head.maps).map(|(name, _)| name.as_str()).collect();
            let mark = mark(graph);
            let flat: Vec<String> = parts
                .iter()
                .map(|(name, _)| if maps.contains(name.as_str()) { means(graph, name, &mark) } else { name.clone() })
                .collect();
            let flat: Vec<&str> = flat.iter().map(String::as_str).collect();
            graph.node.push(node("Concat", &flat, FEATURES, vec![integer("axis", 1)]));
            graph.output = vec![output(FEATURES, parts.iter().map(|(_, width)| width).sum())];
            prune(graph);
        }
        describe(&mut model, FEATURES.to_owned(), None);
        model.encode_to_vec()
    }

    /// The network with these classifiers. With `outside`, one for each, a last class is "none of these".
    pub(super) fn with(
        &self,
        classifiers: &[Linear],
        outside: Option<&[Outside]>,
        labels: &[String],
    ) -> Result<Vec<u8>, HeadsError> {
        let wrong = |reason: String| Err(HeadsError::Classifiers { reason });
        if classifiers.len() != self.heads.len() || outside.is_some_and(|o| o.len() != self.heads.len()) {
            return wrong(format!("{} for {} exits", classifiers.len(), self.heads.len()));
        }
        for (place, (head, linear)) in self.heads.iter().zip(classifiers).enumerate() {
            let (exit, width) = (&head.exit, head.width());
            let fits = |linear: &Linear, rows: usize| linear.bias.len() == rows && linear.weights.len() == rows * width;
            if !fits(linear, labels.len()) {
                let (weights, bias) = (linear.weights.len(), linear.bias.len());
                return wrong(format!(
                    "exit {exit:?} has {weights} weights, {bias} biases, expected {} classes of {width} features",
                    labels.len()
                ));
            }
            if let Some(outside) = outside.and_then(|outside| outside.get(place)) {
                let rows = outside.directions.bias.len();
                let each = outside.scale.len() == width && outside.shift.len() == width;
                if !each || !fits(&outside.directions, rows) || !fits(&outside.classes, labels.len()) {
                    return wrong(format!("what is outside of exit {exit:?} has not {width} features"));
                }
            }
        }
        let mut model = self.model.clone();
        let axes_are_inputs = model.opset_import.iter().any(|opset| opset.domain.is_empty() && opset.version >= 18);
        let mut labels = labels.to_vec();
        labels.extend(outside.map(|_| NONE_OF_THESE.to_owned()));
        if let Some(graph) = &mut model.graph {
            let mut made = Made { mark: mark(graph), pooled: HashMap::new(), axes_are_inputs };
            for (place, (head, linear)) in self.heads.iter().zip(classifiers).enumerate() {
                let learned = Learned { linear, outside: outside.and_then(|outside| outside.get(place)) };
                replace(graph, head, learned, &mut made);
            }
            graph.output = self.heads.iter().map(|head| output(&head.exit, labels.len())).collect();
            prune(graph);
        }
        describe(&mut model, self.exits.join(","), Some(&labels));
        Ok(model.encode_to_vec())
    }
}

/// Metadata of a network with other exits, or with exits of other classes.
fn describe(model: &mut ModelProto, exits: String, labels: Option<&[String]>) {
    model.metadata_props.retain(|entry| {
        !["dyn_perceiver.labels", "dyn_perceiver.exits", "dyn_perceiver.arch"].contains(&entry.key.as_str())
    });
    let mut entry = |key: &str, value: String| {
        model.metadata_props.push(StringStringEntryProto { key: key.into(), value });
    };
    entry("dyn_perceiver.exits", exits);
    if let Some(labels) = labels {
        entry("dyn_perceiver.labels", serde_json::Value::from(labels.to_vec()).to_string());
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
            // "None of these" behind the classes of a network that was learned before.
            "Concat" if name == exit => name = first,
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
                return Ok(Head { exit: exit.into(), own: (first.into(), width), maps: vec![] });
            }
            other => return Err(format!("it ends in {other}, expected a linear layer (Gemm or MatMul)")),
        }
    }
    Err("its layers form a circle".into())
}

/// Of the maps that `tensor` is computed from, the last of every number of channels whose stride is at most [`STRIDE`]: what
/// the trunk knew before it went over to another width.
fn maps(
    graph: &GraphProto,
    tensor: &str,
    shapes: &HashMap<String, Vec<usize>>,
    [height, width]: [usize; 2],
) -> Vec<Part> {
    let spatial = spatial(graph);
    let mut needed = HashSet::from([tensor]);
    let mut maps: Vec<Part> = Vec::new();
    // Nodes stand behind what they read: backwards, the first of a width is the last.
    for node in graph.node.iter().rev() {
        if !node.output.iter().any(|name| needed.contains(name.as_str())) {
            continue;
        }
        needed.extend(node.input.iter().map(String::as_str));
        for name in &node.output {
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
