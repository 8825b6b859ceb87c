//! Judges a graph before tract sees it.
//!
//! tract evaluates constants while it loads, takes ranks for granted in unchecked code, and searches symbolic shapes
//! without a bound: a file of some hundred bytes can end the process or fill the memory. An image classifier has one
//! input of known shape, so every shape in it is known. So each node is checked here against a table of operators, its
//! shape is inferred, and every tensor's size is held against [`LoadLimits`]. A node that is not in the table, whose
//! shape depends on the image's content, or that contradicts its inputs is refused by name.

mod limits;
mod node;
mod operators;
mod shapes;
mod structure;

use std::cell::Cell;
use std::collections::HashMap;

use tract_onnx::pb::{GraphProto, NodeProto};

pub use limits::LoadLimits;
pub(super) use node::{attribute, axis};
pub(super) use structure::{check as check_structure, opset};

use super::fact::{Check, Fact, elements};
use super::tensor;
use crate::deadline;
use node::Node;

/// Most axes a tensor may have.
const MOST_AXES: usize = 8;

/// Why a graph was refused.
#[derive(Debug, PartialEq)]
pub(super) enum Refusal {
    /// The file contradicts itself.
    File(String),
    /// A node cannot be run.
    Node { node: String, operator: String, reason: String },
}

/// What is known of a model's tensors.
#[derive(Debug, Default)]
pub(super) struct Inferred {
    /// Every tensor of the main graph, by name.
    pub facts: HashMap<String, Fact>,
    /// The `If` nodes of the main graph whose condition is known, and the condition.
    pub decided: Vec<(usize, bool)>,
}

/// Tensors of a graph and of those around it.
struct Scope<'a> {
    own: HashMap<String, Fact>,
    around: Option<&'a Scope<'a>>,
}

impl Scope<'_> {
    fn get(&self, name: &str) -> Option<&Fact> {
        self.own.get(name).or_else(|| self.around?.get(name))
    }
}

/// Infers every shape for inputs of these shapes, the first of which is the image.
///
/// # Errors
/// The first node that cannot be run or asks for too much.
pub(super) fn infer(
    graph: &GraphProto,
    opset: i64,
    inputs: Vec<(String, Fact)>,
    limits: &LoadLimits,
) -> Result<Inferred, Refusal> {
    let held = graph.initializer.iter().filter_map(|weight| elements(&tensor::dims(weight).ok()?).ok()).sum::<usize>();
    let mut judge = Judge {
        opset,
        limits,
        batch: inputs.first().and_then(|(_, fact)| fact.dims.first()).copied().unwrap_or(1).max(1),
        constant_elements: 0,
        most_constant: limits.constant_elements.saturating_add(held.saturating_mul(4)),
        constant_macs: 0,
        decided: vec![],
    };
    let mut scope = Scope { own: inputs.into_iter().collect(), around: None };
    judge.graph(graph, &mut scope)?;
    Ok(Inferred { facts: scope.own, decided: judge.decided })
}

struct Judge<'a> {
    opset: i64,
    limits: &'a LoadLimits,
    batch: usize,
    constant_elements: usize,
    most_constant: usize,
    constant_macs: u64,
    decided: Vec<(usize, bool)>,
}

impl Judge<'_> {
    /// Adds what the graph makes to its scope.
    fn graph(&mut self, graph: &GraphProto, scope: &mut Scope<'_>) -> Result<(), Refusal> {
        for weight in &graph.initializer {
            let fact = tensor::fact(weight).map_err(|r| Refusal::File(format!("weight {:?}: {r}", weight.name)))?;
            scope.own.insert(weight.name.clone(), fact);
        }
        for (index, proto) in graph.node.iter().enumerate() {
            deadline::check().map_err(|error| Refusal::File(error.to_string()))?;
            let refuse = |reason| refusal(proto, reason);
            let inputs = proto.input.iter().map(|name| match scope.get(name) {
                _ if name.is_empty() => Ok(None),
                Some(fact) => Ok(Some(fact.clone())),
                None => {
                    Err(Refusal::File(format!("node {:?} uses {name:?}, which nothing before it makes", proto.name)))
                }
            });
            let inputs = inputs.collect::<Result<Vec<_>, _>>()?;
            let node = Node { proto, opset: self.opset, limits: self.limits, inputs, macs: Cell::new(0) };
            let made = if proto.op_type == "If" && matches!(proto.domain.as_str(), "" | "ai.onnx") {
                self.branches(index, &node, scope)?
            } else {
                infer_node(&node).map_err(refuse)?
            };
            for (fact, name) in made.into_iter().zip(&proto.output) {
                let fact = self.bounded(&node, fact).map_err(refuse)?;
                if !name.is_empty() {
                    scope.own.insert(name.clone(), fact);
                }
            }
            if node.is_constant() {
                self.constant_macs = self.constant_macs.saturating_add(node.macs.get());
                if self.constant_macs > self.limits.constant_macs {
                    return Err(refuse("constants take too many multiplications to compute".into()));
                }
            }
        }
        for output in &graph.output {
            if scope.get(&output.name).is_none() {
                return Err(Refusal::File(format!("nothing makes output {:?}", output.name)));
            }
        }
        Ok(())
    }

    /// An output of a node, held against the limits.
    fn bounded(&mut self, node: &Node<'_>, mut fact: Fact) -> Check<Fact> {
        let count = fact.len()?;
        if fact.rank() > MOST_AXES {
            return Err(format!("its result has {} axes, at most {MOST_AXES} are supported", fact.rank()));
        }
        if fact.value.as_ref().is_some_and(|value| value.len() != count) {
            fact.value = None;
        }
        fact.constant = fact.constant || fact.value.is_some() || node.is_constant();
        if fact.constant {
            self.constant_elements = self.constant_elements.saturating_add(count);
            if self.constant_elements > self.most_constant {
                return Err(format!(
                    "constants of {} elements would be computed on loading, the limit is {}",
                    self.constant_elements, self.most_constant
                ));
            }
        } else {
            let most = self.limits.tensor_elements.saturating_mul(self.batch);
            if count > most {
                return Err(format!("its result {:?} has {count} elements, the limit is {most}", fact.dims));
            }
            if count == 0 {
                return Err(format!("its result {:?} is empty", fact.dims));
            }
        }
        Ok(fact)
    }

    /// `If`: both branches have to make the same shapes; of one whose condition is known only the branch taken counts.
    fn branches(&mut self, index: usize, node: &Node<'_>, scope: &Scope<'_>) -> Result<Vec<Fact>, Refusal> {
        let refuse = |reason| refusal(node.proto, reason);
        let condition = node.input(0).and_then(|fact| match fact.len()? {
            1 if fact.element == tract_onnx::pb::tensor_proto::DataType::Bool => Ok(fact),
            _ => Err(format!("a condition of {:?} {:?}", fact.element, fact.dims)),
        });
        let known = condition.map_err(refuse)?.ints().map(|values| values[0] != 0);
        let outermost = scope.around.is_none();
        if let Some(known) = known.filter(|_| outermost) {
            self.decided.push((index, known));
        }
        let mut sides = vec![];
        for (name, taken) in [("then_branch", true), ("else_branch", false)] {
            // What is nested is judged again once the branch around it has been put in place.
            if known.is_none_or(|known| known == taken) || !outermost {
                let graph = node.graph(name).map_err(refuse)?;
                let mut inner = Scope { own: HashMap::new(), around: Some(scope) };
                self.graph(graph, &mut inner)?;
                let made = graph.output.iter().filter_map(|output| inner.get(&output.name).cloned());
                sides.push(made.collect::<Vec<_>>());
            }
        }
        let mut made = sides.pop().unwrap_or_default();
        if made.len() != node.proto.output.len() {
            return Err(refuse(format!("a branch makes {} tensors", made.len())));
        }
        for (fact, other) in made.iter_mut().zip(sides.pop().unwrap_or_default()) {
            if fact.dims != other.dims || fact.element != other.element {
                return Err(refuse(format!("its branches make {:?} and {:?}", other.dims, fact.dims)));
            }
            fact.value = None;
            fact.constant = false;
        }
        Ok(made)
    }
}

fn refusal(proto: &NodeProto, reason: String) -> Refusal {
    let name = [&proto.name].into_iter().chain(&proto.output).find(|name| !name.is_empty());
    let domain = if proto.domain.is_empty() { String::new() } else { format!("{}.", proto.domain) };
    Refusal::Node { node: name.cloned().unwrap_or_default(), operator: format!("{domain}{}", proto.op_type), reason }
}

fn infer_node(node: &Node<'_>) -> Check<Vec<Fact>> {
    let proto = node.proto;
    let operator = operators::find(&proto.domain, &proto.op_type).ok_or("the operator is not supported")?;
    let given = proto.input.iter().rposition(|name| !name.is_empty()).map_or(0, |last| last + 1);
    let arity = |count: usize, range: &std::ops::RangeInclusive<usize>, what: &str| match range.contains(&count) {
        true => Ok(()),
        false => Err(format!("it has {count} {what}, expected {} to {}", range.start(), range.end())),
    };
    arity(given, &operator.inputs, "inputs")?;
    arity(proto.output.len(), &operator.outputs, "outputs")?;
    let facts = (operator.rule)(node)?;
    if facts.len() < proto.output.len() {
        return Err(format!("it has {} outputs, {} are made", proto.output.len(), facts.len()));
    }
    Ok(facts)
}
