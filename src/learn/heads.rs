//! The linear layers that a network's exits end in, found in its ONNX graph and replaced.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use dyn_perceiver_calibrate::learn::{Linear, Outside};
use prost::Message as _;
use tract_onnx::pb::{GraphProto, ModelProto, NodeProto, StringStringEntryProto};

use super::HeadsError;
use super::layers::{Learned, Made, integer, mark, means, node, output, replace};
use super::maps::{last_map, maps, needed};

/// Layers between the linear one and the exit that leave the order of classes as it is.
const PASSED: [&str; 6] = ["Softmax", "LogSoftmax", "Identity", "Flatten", "Squeeze", "Cast"];

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
    /// The logits (N, classes) and their number, where the classifier is kept.
    pub kept: Option<Part>,
}

impl Head {
    /// Number of features in all.
    pub(super) fn width(&self) -> usize {
        self.own.1 + self.maps.iter().map(|(_, channels)| channels).sum::<usize>()
    }
}

/// Where in a row of numbers those of an exit stand.
#[derive(Clone, Debug)]
pub(super) struct Places {
    pub features: Vec<Range<usize>>,
    /// Of a classifier that is kept.
    pub logits: Range<usize>,
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

    /// Of a network that keeps its classifiers of `classes` classes. What an exit behind the whole trunk reads was trained to keep
    /// these classes apart, and tells what is none of them better than maps before do; exits before the trunk's end need those.
    pub(super) fn keeping(mut self, classes: usize, shapes: &HashMap<String, Vec<usize>>) -> Result<Self, HeadsError> {
        let graph = self.model.graph.clone().unwrap_or_default();
        let last = last_map(&graph, shapes);
        for head in &mut self.heads {
            let made_by = graph.node.iter().find(|node| node.output.contains(&head.exit));
            if let Some(node) = made_by.filter(|node| ["Softmax", "Concat"].contains(&node.op_type.as_str())) {
                let reason = format!("it ends in {}, expected logits of its classes", node.op_type);
                return Err(HeadsError::Exit { exit: head.exit.clone(), reason });
            }
            if last.as_ref().is_some_and(|last| needed(&graph, &head.own.0).contains(last.as_str())) {
                head.maps.clear();
            }
            head.kept = Some((head.exit.clone(), classes));
        }
        Ok(self)
    }

    /// Whether a kept exit stands behind the whole trunk.
    pub(super) fn is_behind_trunk(&self, place: usize) -> bool {
        self.heads.get(place).is_some_and(|head| head.kept.is_some() && head.maps.is_empty())
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
        for part in self.heads.iter().flat_map(|head| std::iter::once(&head.own).chain(&head.maps).chain(&head.kept)) {
            if !parts.iter().any(|(name, _)| *name == part.0) {
                parts.push(part);
            }
        }
        parts
    }

    /// Where in what [`Heads::features`] gives the features of each exit stand.
    pub(super) fn places(&self) -> Vec<Places> {
        let mut places = HashMap::new();
        let mut next = 0;
        for (name, width) in self.parts() {
            places.insert(name.as_str(), next..next + width);
            next += width;
        }
        let of = |(name, _): &Part| places.get(name.as_str()).cloned().unwrap_or(0..0);
        let of_head = |head: &Head| Places {
            features: std::iter::once(&head.own).chain(&head.maps).map(of).collect(),
            logits: head.kept.as_ref().map_or(0..0, of),
        };
        self.heads.iter().map(of_head).collect()
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

    /// The network with these classifiers, or with those that it keeps. With `outside`, one for each, a last class is
    /// [`NONE_OF_THESE`].
    pub(super) fn with(
        &self,
        classifiers: Option<&[Linear]>,
        outside: Option<&[Outside]>,
        labels: &[String],
    ) -> Result<Vec<u8>, HeadsError> {
        let wrong = |reason: String| Err(HeadsError::Classifiers { reason });
        let given = classifiers.map_or(self.heads.len(), <[Linear]>::len);
        if given != self.heads.len() || outside.is_some_and(|o| o.len() != self.heads.len()) {
            return wrong(format!("{given} for {} exits", self.heads.len()));
        }
        let mut learned = Vec::with_capacity(self.heads.len());
        for (place, head) in self.heads.iter().enumerate() {
            let (linear, outside) = (classifiers.map(|all| &all[place]), outside.map(|all| &all[place]));
            if let Err(reason) = head.fits(linear, outside, labels.len()) {
                return wrong(reason);
            }
            learned.push(Learned { linear, outside });
        }
        let mut model = self.model.clone();
        let axes_are_inputs = model.opset_import.iter().any(|opset| opset.domain.is_empty() && opset.version >= 18);
        let mut labels = labels.to_vec();
        labels.extend(outside.map(|_| NONE_OF_THESE.to_owned()));
        if let Some(graph) = &mut model.graph {
            // Beside classifiers that are kept, what is learned is stored as small as they may be.
            let half = classifiers.is_none();
            let mut made = Made { mark: mark(graph), pooled: HashMap::new(), axes_are_inputs, half };
            for (head, learned) in self.heads.iter().zip(learned) {
                replace(graph, head, learned, &mut made);
            }
            graph.output = self.heads.iter().map(|head| output(&head.exit, labels.len())).collect();
            prune(graph);
        }
        describe(&mut model, self.exits.join(","), Some(&labels));
        Ok(model.encode_to_vec())
    }
}

impl Head {
    /// Whether what was learned is of this exit's features and of so many classes.
    fn fits(&self, linear: Option<&Linear>, outside: Option<&Outside>, classes: usize) -> Result<(), String> {
        let (exit, width) = (&self.exit, self.width());
        let fits = |linear: &Linear, rows: usize| linear.bias.len() == rows && linear.weights.len() == rows * width;
        match (linear, &self.kept) {
            (None, Some((_, kept))) if *kept == classes => {}
            (None, Some((_, kept))) => return Err(format!("exit {exit:?} has {kept} classes, not {classes}")),
            (None, None) => return Err(format!("exit {exit:?} does not keep its classifier")),
            (Some(linear), _) if !fits(linear, classes) => {
                let (weights, bias) = (linear.weights.len(), linear.bias.len());
                return Err(format!(
                    "exit {exit:?} has {weights} weights, {bias} biases, expected {classes} classes of {width} features"
                ));
            }
            (Some(_), _) => {}
        }
        if let Some(outside) = outside {
            let rows = outside.directions.bias.len();
            let each = outside.scale.len() == width && outside.shift.len() == width;
            if !each || !fits(&outside.directions, rows) || !fits(&outside.classes, classes) {
                return Err(format!("what is outside of exit {exit:?} has not {width} features"));
            }
        }
        Ok(())
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
                return Ok(Head { exit: exit.into(), own: (first.into(), width), maps: vec![], kept: None });
            }
            other => return Err(format!("it ends in {other}, expected a linear layer (Gemm or MatMul)")),
        }
    }
    Err("its layers form a circle".into())
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
