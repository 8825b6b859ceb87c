//! A multi-exit graph cut into segments, so that running to any exit under any policy computes nothing else.
//!
//! The need of a node is the set of exits it is an ancestor of. Nodes of equal need form a segment: whichever exits a
//! policy evaluates, a segment is either needed whole or not at all. An edge leads from a node to one whose need is a
//! subset, so segments form an acyclic graph too, and a tensor with a single consumer never crosses from one segment to
//! another unless it is an exit itself: fusing operators inside segments loses nothing.

use std::collections::{HashMap, HashSet};

use tract_core::internal::*;
use tract_core::ops::konst::Const;
use tract_core::ops::source::TypedSource;

use super::cost;
use crate::exit::MAX_EXITS;

/// A set of exits, one bit each, bit 0 for the cheapest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct ExitSet(u16);

const _: () = assert!(MAX_EXITS <= u16::BITS as usize);

impl ExitSet {
    /// Adds an exit.
    pub(crate) fn insert(&mut self, exit: usize) {
        *self = self.with(exit);
    }

    /// Whether the set has no exit.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether `exit`, from 0, is in the set.
    pub fn contains(self, exit: usize) -> bool {
        self.0 & (1 << exit) != 0
    }

    pub(crate) fn intersects(self, other: ExitSet) -> bool {
        self.0 & other.0 != 0
    }

    pub(crate) fn with(self, exit: usize) -> Self {
        ExitSet(self.0 | 1 << exit)
    }

    /// Number of exits.
    pub fn len(self) -> u32 {
        self.0.count_ones()
    }

    /// The cheapest exit in the set; none in the empty set.
    pub(crate) fn first(self) -> Option<usize> {
        (self.0 != 0).then(|| self.0.trailing_zeros() as usize)
    }

    fn union(self, other: ExitSet) -> Self {
        ExitSet(self.0 | other.0)
    }
}

/// A tensor that crosses from one segment to another, comes in as the image, or goes out as an exit's logits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub(crate) struct Slot(pub usize);

/// Nodes of equal need, as a graph of their own.
pub(crate) struct SegmentGraph {
    pub need: ExitSet,
    pub graph: TypedModel,
    pub inputs: Vec<Slot>,
    pub outputs: Vec<Slot>,
}

/// All segments, in an order in which they can run.
pub(crate) struct Partition {
    pub segments: Vec<SegmentGraph>,
    /// For each slot, the tensor of the graph that it holds.
    pub slots: Vec<OutletId>,
    /// Where the image goes.
    pub input: Slot,
    /// Where each exit's logits are found, in order of cost.
    pub exits: Vec<Slot>,
}

/// The nodes of a graph by which exits need them.
struct Groups {
    need: Vec<ExitSet>,
    /// Needs, supersets before their subsets, each with its nodes in an order in which they can run.
    groups: Vec<(ExitSet, Vec<usize>)>,
}

/// `exits` are in order of cost. Without `staged` everything that any exit needs is one group.
fn group(graph: &TypedModel, exits: &[OutletId], staged: bool) -> TractResult<Groups> {
    let topological = graph.eval_order()?;
    let mut need = needs(graph, &topological, exits);
    if !staged {
        let all = (0..exits.len()).fold(ExitSet::default(), ExitSet::with);
        need.iter_mut().filter(|need| !need.is_empty()).for_each(|need| *need = all);
    }
    let mut members: HashMap<ExitSet, Vec<usize>> = HashMap::new();
    for &id in &topological {
        let node = graph.node(id);
        // Constants go along with whoever uses them.
        let is_exit = exits.iter().any(|outlet| outlet.node == id);
        let is_member = !node.op_is::<TypedSource>() && (!node.op_is::<Const>() || is_exit);
        if is_member && !need[id].is_empty() {
            members.entry(need[id]).or_default().push(id);
        }
    }
    let mut groups: Vec<_> = members.into_iter().collect();
    groups.sort_by_key(|(need, _)| (std::cmp::Reverse(need.len()), *need));
    Ok(Groups { need, groups })
}

/// What each group of nodes of a decluttered graph costs, whose outputs are the exits in order of cost.
pub(crate) fn costs(graph: &TypedModel, staged: bool) -> TractResult<Vec<(ExitSet, cost::GroupCost)>> {
    let mut counted = HashSet::new();
    let groups = group(graph, &graph.outputs, staged)?.groups;
    groups.into_iter().map(|(need, members)| Ok((need, cost::of_group(graph, &members, &mut counted)?))).collect()
}

/// Cuts a graph, whose outputs are the exits in order of cost and whose one input is the image.
pub(crate) fn partition(graph: &TypedModel, staged: bool) -> TractResult<Partition> {
    let outlets = &graph.outputs;
    let Groups { need, groups } = group(graph, outlets, staged)?;
    let mut slots: Vec<OutletId> = vec![graph.input_outlets()?[0]];
    let mut slot_of = |outlet: OutletId| {
        Slot(slots.iter().position(|&slot| slot == outlet).unwrap_or_else(|| {
            slots.push(outlet);
            slots.len() - 1
        }))
    };
    let input = slot_of(graph.input_outlets()?[0]);
    let exits: Vec<Slot> = outlets.iter().map(|&outlet| slot_of(outlet)).collect();
    let mut segments = vec![];
    for (key, members) in groups {
        let crosses = |outlet: OutletId| {
            let readers = graph.outlet_successors(outlet).iter().map(|inlet| need[inlet.node]);
            outlets.contains(&outlet) || readers.into_iter().any(|need| need != key && !need.is_empty())
        };
        let (sub, inputs, outputs) = extract(graph, &members, crosses)?;
        segments.push(SegmentGraph {
            need: key,
            graph: sub,
            inputs: inputs.into_iter().map(&mut slot_of).collect(),
            outputs: outputs.into_iter().map(&mut slot_of).collect(),
        });
    }
    Ok(Partition { segments, slots, input, exits })
}

/// Outputs of the graph in order of what it costs to compute each of them alone; equal ones as the file has them.
pub(crate) fn exits_by_cost(graph: &TypedModel) -> TractResult<Vec<usize>> {
    let topological = graph.eval_order()?;
    let mut costs = vec![];
    for &outlet in &graph.outputs {
        let need = needs(graph, &topological, &[outlet]);
        let mut macs = 0u64;
        let mut nodes = 0usize;
        for &id in topological.iter().filter(|&&id| !need[id].is_empty()) {
            macs += cost::macs(graph, id)?;
            nodes += 1;
        }
        costs.push((macs, nodes));
    }
    let mut order: Vec<usize> = (0..costs.len()).collect();
    order.sort_by_key(|&output| costs[output]);
    Ok(order)
}

/// For each node, which of the exits it is an ancestor of (or is).
fn needs(graph: &TypedModel, topological: &[usize], exits: &[OutletId]) -> Vec<ExitSet> {
    let mut need = vec![ExitSet::default(); graph.nodes().len()];
    for (exit, outlet) in exits.iter().enumerate() {
        need[outlet.node] = need[outlet.node].with(exit);
    }
    for &id in topological.iter().rev() {
        for input in &graph.node(id).inputs {
            need[input.node] = need[input.node].union(need[id]);
        }
    }
    need
}

/// The given nodes as a graph of their own, with the outlets it takes in and those it hands out.
fn extract(
    graph: &TypedModel,
    members: &[usize],
    crosses: impl Fn(OutletId) -> bool,
) -> TractResult<(TypedModel, Vec<OutletId>, Vec<OutletId>)> {
    let mut sub = TypedModel { symbols: graph.symbols.clone(), ..TypedModel::default() };
    let mut here: HashMap<OutletId, OutletId> = HashMap::new();
    let mut inputs = vec![];
    let mut outputs = vec![];
    for &id in members {
        let node = graph.node(id);
        for &input in &node.inputs {
            if here.contains_key(&input) {
                continue;
            }
            let producer = graph.node(input.node);
            let wired = match producer.op_as::<Const>() {
                Some(_) => sub.wire_node(&producer.name, producer.op.clone(), &[])?[0],
                None => {
                    inputs.push(input);
                    let fact = graph.outlet_fact(input)?.without_value();
                    sub.add_source(format!("{}.{}", producer.name, input.slot), fact)?
                }
            };
            here.insert(input, wired);
        }
        let wires: TVec<OutletId> = node.inputs.iter().map(|input| here[input]).collect();
        let made = sub.wire_node(&node.name, node.op.clone(), &wires)?;
        for (slot, &wire) in made.iter().enumerate() {
            let outlet = OutletId::new(id, slot);
            here.insert(outlet, wire);
            if crosses(outlet) {
                outputs.push(outlet);
            }
        }
    }
    let outlets: Vec<OutletId> = outputs.iter().map(|outlet| here[outlet]).collect();
    sub.select_output_outlets(&outlets)?;
    Ok((sub, inputs, outputs))
}
