//! A multi-exit graph cut into segments, so that running to any goal under any policy computes nothing else.
//!
//! A goal is what a run can be asked for: an exit, or the boxes of some levels. The need of a node is the set of goals it
//! is an ancestor of. Nodes of equal need form a segment: whichever goals are asked for, a segment is either needed whole
//! or not at all. An edge leads from a node to one whose need is a subset, so segments form an acyclic graph too, and a
//! tensor with a single consumer never crosses from one segment to another unless it is a goal's itself: fusing operators
//! inside segments loses nothing.
//!
//! What becomes a state of the next frame is no goal and makes nothing run: it is made by the frames that read the state.

use std::collections::{HashMap, HashSet};

use tract_core::internal::*;
use tract_core::ops::konst::Const;
use tract_core::ops::source::TypedSource;

use super::cost;
use crate::exit::MAX_EXITS;

/// A set of exits, one bit each, bit 0 for the cheapest; of goals in general, exits first, then levels of boxes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct ExitSet(u32);

/// Most goals beside the exits.
pub(crate) const MAX_LEVEL_GOALS: usize = 8;

const _: () = assert!(MAX_EXITS + MAX_LEVEL_GOALS <= u32::BITS as usize);

impl ExitSet {
    /// Adds an exit.
    pub(crate) fn insert(&mut self, exit: usize) {
        *self = self.with(exit);
    }

    /// The set of these exits, from 0. Those that no network has are left out.
    pub fn of(exits: impl IntoIterator<Item = usize>) -> Self {
        exits.into_iter().filter(|&exit| exit < MAX_EXITS).fold(ExitSet::default(), ExitSet::with)
    }

    /// Whether the set has no exit.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether `exit`, from 0, is in the set.
    pub fn contains(self, exit: usize) -> bool {
        exit < u32::BITS as usize && self.0 & (1 << exit) != 0
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

    fn intersection(self, other: ExitSet) -> Self {
        ExitSet(self.0 & other.0)
    }

    /// The first `goals` of them.
    pub(crate) fn first_ones(goals: usize) -> Self {
        (0..goals).fold(ExitSet::default(), ExitSet::with)
    }
}

/// What can be asked of a graph: its outputs are the exits in order of cost, then what each further goal consists of, then
/// what becomes the states, in the order of the inputs behind the image.
#[derive(Clone, Debug, Default)]
pub(crate) struct Goals {
    /// How many outputs are exits.
    pub exits: usize,
    /// For each further goal, its outputs, as places among the outputs behind the exits.
    pub levels: Vec<Vec<usize>>,
    /// How many outputs are states, the last ones.
    pub states: usize,
}

impl Goals {
    /// Every output an exit.
    pub(crate) fn exits_only(exits: usize) -> Goals {
        Goals { exits, ..Goals::default() }
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.exits + self.levels.len()
    }

    /// The outlets of each goal.
    fn outlets(&self, outputs: &[OutletId]) -> TractResult<Vec<Vec<OutletId>>> {
        let find = |place: usize| outputs.get(place).copied().with_context(|| format!("no output {place}"));
        let exits = (0..self.exits).map(|exit| Ok(vec![find(exit)?]));
        let level = |level: &Vec<usize>| level.iter().map(|place| find(self.exits + place)).collect();
        exits.chain(self.levels.iter().map(level)).collect()
    }

    /// The outlets that become states.
    fn next_states<'a>(&self, outputs: &'a [OutletId]) -> &'a [OutletId] {
        &outputs[outputs.len().saturating_sub(self.states)..]
    }
}

/// A tensor that goes from frame to frame: where it is read, and what becomes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct StateSlots {
    pub input: Slot,
    pub next: Slot,
}

/// A tensor that crosses from one segment to another, comes in as the image or a state, or goes out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub(crate) struct Slot(pub usize);

/// Nodes of equal need, as a graph of their own.
#[derive(Clone)]
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
    /// Where the tensors of each further goal are found.
    pub levels: Vec<Vec<Slot>>,
    pub states: Vec<StateSlots>,
}

/// The nodes of a graph by which exits need them.
struct Groups {
    need: Vec<ExitSet>,
    /// Needs, supersets before their subsets, each with its nodes in an order in which they can run.
    groups: Vec<(ExitSet, Vec<usize>)>,
}

/// Exits are in order of cost. Without `staged` everything that any goal needs is one group.
fn group(graph: &TypedModel, goals: &Goals, staged: bool) -> TractResult<Groups> {
    let topological = graph.eval_order()?;
    let mut need = needs(graph, &topological, &goals.outlets(&graph.outputs)?);
    follow_states(graph, &topological, goals.next_states(&graph.outputs), &mut need)?;
    if !staged {
        let all = ExitSet::first_ones(goals.len());
        need.iter_mut().filter(|need| !need.is_empty()).for_each(|need| *need = all);
    }
    let mut members: HashMap<ExitSet, Vec<usize>> = HashMap::new();
    for &id in &topological {
        let node = graph.node(id);
        // Constants go along with whoever uses them.
        let is_output = graph.outputs.iter().any(|outlet| outlet.node == id);
        let is_member = !node.op_is::<TypedSource>() && (!node.op_is::<Const>() || is_output);
        if is_member && !need[id].is_empty() {
            members.entry(need[id]).or_default().push(id);
        }
    }
    let mut groups: Vec<_> = members.into_iter().collect();
    groups.sort_by_key(|(need, _)| (std::cmp::Reverse(need.len()), *need));
    Ok(Groups { need, groups })
}

/// What each group of nodes of a decluttered graph costs, whose outputs are as [`Goals`] says.
pub(crate) fn costs(graph: &TypedModel, goals: &Goals, staged: bool) -> TractResult<Vec<(ExitSet, cost::GroupCost)>> {
    let mut counted = HashSet::new();
    let groups = group(graph, goals, staged)?.groups;
    groups.into_iter().map(|(need, members)| Ok((need, cost::of_group(graph, &members, &mut counted)?))).collect()
}

/// Cuts a graph, whose outputs are as [`Goals`] says and whose inputs are the image and the states.
pub(crate) fn partition(graph: &TypedModel, goals: &Goals, staged: bool) -> TractResult<Partition> {
    let outlets = &graph.outputs;
    ensure!(graph.inputs.len() == goals.states + 1, "{} inputs, expected the image and states", graph.inputs.len());
    let Groups { need, groups } = group(graph, goals, staged)?;
    let mut slots: Vec<OutletId> = vec![graph.input_outlets()?[0]];
    let mut slot_of = |outlet: OutletId| {
        Slot(slots.iter().position(|&slot| slot == outlet).unwrap_or_else(|| {
            slots.push(outlet);
            slots.len() - 1
        }))
    };
    let input = slot_of(graph.input_outlets()?[0]);
    let mut of_goals: Vec<Vec<Slot>> =
        goals.outlets(outlets)?.iter().map(|goal| goal.iter().map(|&outlet| slot_of(outlet)).collect()).collect();
    let levels = of_goals.split_off(goals.exits);
    let exits = of_goals.into_iter().flatten().collect();
    let read = graph.input_outlets()?[1..].iter().map(|&outlet| slot_of(outlet)).collect::<Vec<_>>();
    let made = goals.next_states(outlets).iter().map(|&outlet| slot_of(outlet)).collect::<Vec<_>>();
    let states = read.into_iter().zip(made).map(|(input, next)| StateSlots { input, next }).collect();
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
    let made = |slot: &Slot| segments.iter().any(|segment: &SegmentGraph| segment.outputs.contains(slot));
    let states: Vec<StateSlots> = states;
    for (place, state) in states.iter().enumerate() {
        ensure!(made(&state.next), "state {place} becomes what no node makes");
    }
    Ok(Partition { segments, slots, input, exits, levels, states })
}

/// The first `exits` outputs of the graph in order of what it costs to compute each of them alone; equal ones as the file
/// has them.
pub(crate) fn exits_by_cost(graph: &TypedModel, exits: usize) -> TractResult<Vec<usize>> {
    let topological = graph.eval_order()?;
    let mut costs = vec![];
    for &outlet in graph.outputs.iter().take(exits) {
        let need = needs(graph, &topological, &[vec![outlet]]);
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

/// For each node, which of the goals it is an ancestor of (or is).
fn needs(graph: &TypedModel, topological: &[usize], goals: &[Vec<OutletId>]) -> Vec<ExitSet> {
    let mut need = vec![ExitSet::default(); graph.nodes().len()];
    for (goal, outlets) in goals.iter().enumerate() {
        for outlet in outlets {
            need[outlet.node] = need[outlet.node].with(goal);
        }
    }
    for &id in topological.iter().rev() {
        for input in &graph.node(id).inputs {
            need[input.node] = need[input.node].union(need[id]);
        }
    }
    need
}

/// Gives what only states of the next frame need a need of its own: that of the nodes which read the state, as far as what
/// it is made from is there for them. So a state is made anew by the frames that read it, and held by the others.
fn follow_states(
    graph: &TypedModel,
    topological: &[usize],
    states: &[OutletId],
    need: &mut [ExitSet],
) -> TractResult<()> {
    let everything = need.iter().copied().fold(ExitSet::default(), ExitSet::union);
    let mut wanted = vec![ExitSet::default(); need.len()];
    for (read, made) in graph.input_outlets()?.iter().skip(1).zip(states) {
        let readers = need[read.node];
        let readers = if readers.is_empty() { everything } else { readers };
        wanted[made.node] = wanted[made.node].union(readers);
    }
    for &id in topological.iter().rev().filter(|&&id| need[id].is_empty()) {
        for input in &graph.node(id).inputs {
            wanted[input.node] = wanted[input.node].union(wanted[id]);
        }
    }
    for &id in topological {
        let node = graph.node(id);
        if wanted[id].is_empty() || !need[id].is_empty() || node.op_is::<Const>() {
            continue;
        }
        let inputs = node.inputs.iter().filter(|input| !graph.node(input.node).op_is::<Const>());
        let there = inputs.map(|input| need[input.node]).reduce(ExitSet::intersection).unwrap_or_default();
        let both = there.intersection(wanted[id]);
        need[id] = if both.is_empty() { there } else { both };
    }
    if let Some(outlet) = states.iter().find(|outlet| need[outlet.node].is_empty()) {
        bail!("state {} is made of what no goal needs", graph.node(outlet.node).name);
    }
    Ok(())
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
