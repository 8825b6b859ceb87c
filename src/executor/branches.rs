//! Inter-op parallelism: which steps form a branch of many small operators that runs on one thread, beside others that the rest of the
//! threads share.
//!
//! The main chain is the path through the graph along the largest operators, which are those that can be split among threads. What is
//! not on it becomes ready behind one of its steps and is needed before another. Where there are many such steps, connected with one
//! another, they are a branch; the steps of the main chain between these two can run at the same time. In a Dynamic Perceiver these
//! are the latent code's self-attention and the backbone's stage.
//!
//! The two run in memory of their own each, so that neither can see what the other writes: a branch's steps read and write the
//! branches' memory, those beside it that of the main chain. Steps that read both run before or after, with all threads.

#[cfg(test)]
mod tests;

use std::collections::HashMap;

use tract_core::internal::*;
use tract_core::ops::konst::Const;
use tract_core::ops::source::TypedSource;

use crate::graph::Slot;
use crate::graph::partition::SegmentGraph;
use crate::ops::fused;
use crate::ops::view::{is_reshape, shapes};

/// Steps of a branch, at least: handing over a few is worth nothing.
const LEAST_STEPS: usize = 8;
/// Multiply-accumulates of a branch, and of what runs beside it, at least.
const LEAST_MACS: usize = 500_000;

/// Which memory a buffer is in: that of the main chain, or that of branches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Memory {
    Main,
    Branch,
}

/// When a step runs, and where its result is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Turn {
    /// Its place among all steps of all segments.
    pub at: usize,
    pub memory: Memory,
    /// The fork that it is part of: in the branch, or beside it on the main chain, as its memory says.
    pub fork: Option<usize>,
}

/// A step on its way to its place; steps are numbered segment by segment, each behind those that it reads.
#[derive(Debug)]
struct Node {
    segment: usize,
    id: usize,
    reads: Vec<usize>,
    macs: usize,
    /// Whether it reads what is in the main chain's memory without being a step's result: the image, a state.
    reads_inputs: bool,
    is_kernel: bool,
}

/// The steps of all segments.
fn nodes(segments: &[SegmentGraph]) -> TractResult<Vec<Node>> {
    let mut nodes: Vec<Node> = vec![];
    // Which step makes what a slot holds; none of the image and the states.
    let mut slots: HashMap<Slot, usize> = HashMap::new();
    for (segment, SegmentGraph { graph, inputs, outputs, .. }) in segments.iter().enumerate() {
        let mut made: HashMap<OutletId, usize> = HashMap::new();
        let mut given: Vec<OutletId> = vec![];
        for (outlet, slot) in graph.input_outlets()?.iter().zip(inputs) {
            match slots.get(slot) {
                Some(&node) => {
                    made.insert(*outlet, node);
                }
                None => given.push(*outlet),
            }
        }
        for id in graph.eval_order()? {
            let node = graph.node(id);
            if node.op_is::<Const>() || node.op_is::<TypedSource>() {
                continue;
            }
            if is_reshape(graph, node)? {
                let outlet = OutletId::new(id, 0);
                if let Some(&from) = made.get(&node.inputs[0]) {
                    made.insert(outlet, from);
                } else if given.contains(&node.inputs[0]) {
                    given.push(outlet);
                }
                continue;
            }
            let mut reads: Vec<usize> = node.inputs.iter().filter_map(|input| made.get(input).copied()).collect();
            reads.sort_unstable();
            reads.dedup();
            let kernel = fused(node.op.as_ref());
            let shapes = shapes(graph, &node.inputs)?;
            let shapes: TVec<&[usize]> = shapes.iter().map(|shape| shape.as_slice()).collect();
            let macs = kernel.map_or(Ok(0), |kernel| kernel.macs(&shapes))?;
            let reads_inputs = node.inputs.iter().any(|input| given.contains(input));
            made.extend((0..node.outputs.len()).map(|slot| (OutletId::new(id, slot), nodes.len())));
            nodes.push(Node { segment, id, reads, macs, reads_inputs, is_kernel: kernel.is_some() });
        }
        for (outlet, slot) in graph.output_outlets()?.iter().zip(outputs) {
            if let Some(&node) = made.get(outlet) {
                slots.insert(*slot, node);
            }
        }
    }
    Ok(nodes)
}

/// The path along the largest operators: of all paths that with the largest sum of squares of work, so that many small ones do not weigh
/// as much as a large one.
fn main_chain(nodes: &[Node]) -> Vec<usize> {
    let mut most: Vec<(u128, Option<usize>)> = vec![];
    for node in nodes {
        let before = node.reads.iter().copied().max_by_key(|&read| most[read].0);
        let square = (node.macs as u128).saturating_mul(node.macs as u128).saturating_add(1);
        most.push((before.map_or(square, |read| square.saturating_add(most[read].0)), before));
    }
    let mut next = (0..nodes.len()).max_by_key(|&node| most[node].0);
    let mut chain: Vec<usize> = std::iter::from_fn(|| {
        let node = next?;
        next = most[node].1;
        Some(node)
    })
    .collect();
    chain.reverse();
    chain
}

/// Steps that are connected with one another and become ready at the same place of the main chain.
struct Group {
    nodes: Vec<usize>,
    /// The first step of the main chain that needs one of them.
    needed: usize,
    macs: usize,
}

/// What is not on the main chain, by the number of steps of the chain that run before it.
fn groups(nodes: &[Node], chain: &[usize]) -> Vec<Vec<Group>> {
    let mut on_chain: Vec<Option<usize>> = vec![None; nodes.len()];
    chain.iter().enumerate().for_each(|(at, &node)| on_chain[node] = Some(at));
    let mut ready = vec![0; nodes.len()];
    let mut needed = vec![usize::MAX; nodes.len()];
    // The first of the group that a step belongs to.
    let mut first: Vec<usize> = (0..nodes.len()).collect();
    let root = |first: &[usize], mut node: usize| {
        while first[node] != node {
            node = first[node];
        }
        node
    };
    for (node, Node { reads, .. }) in nodes.iter().enumerate() {
        let after = |&read: &usize| on_chain[read].map_or(ready[read], |at| at + 1);
        ready[node] = reads.iter().map(after).max().unwrap_or(0);
        if on_chain[node].is_some() {
            continue;
        }
        for &read in reads.iter().filter(|&&read| on_chain[read].is_none() && ready[read] == ready[node]) {
            let (a, b) = (root(&first, read), root(&first, node));
            first[a.max(b)] = a.min(b);
        }
    }
    for (node, Node { reads, .. }) in nodes.iter().enumerate().rev() {
        let by = on_chain[node].unwrap_or(needed[node]);
        reads.iter().for_each(|&read| needed[read] = needed[read].min(by));
    }
    let mut groups: Vec<Vec<Group>> = (0..=chain.len()).map(|_| vec![]).collect();
    let mut of: HashMap<usize, (usize, usize)> = HashMap::new();
    for node in (0..nodes.len()).filter(|&node| on_chain[node].is_none()) {
        let there = &mut groups[ready[node]];
        let &mut (at, group) = of.entry(root(&first, node)).or_insert_with(|| {
            there.push(Group { nodes: vec![], needed: usize::MAX, macs: 0 });
            (ready[node], there.len() - 1)
        });
        let group = &mut groups[at][group];
        group.nodes.push(node);
        group.needed = group.needed.min(needed[node]);
        group.macs += nodes[node].macs;
    }
    groups
}

/// Gives steps their places, one after another.
struct Scheduler<'a> {
    nodes: &'a [Node],
    chain: &'a [usize],
    groups: &'a [Vec<Group>],
    turns: Vec<Option<Turn>>,
    scheduled: usize,
    /// Of how many places of the chain the groups have theirs.
    grouped: usize,
    forks: usize,
}

impl Scheduler<'_> {
    fn put_all(&mut self, nodes: impl IntoIterator<Item = usize>, memory: Memory, fork: Option<usize>) {
        for node in nodes {
            self.turns[node] = Some(Turn { at: self.scheduled, memory, fork });
            self.scheduled += 1;
        }
    }

    /// Whether a step reads what is in this memory.
    fn reads(&self, node: usize, memory: Memory) -> bool {
        let Node { reads, reads_inputs, .. } = &self.nodes[node];
        let is_there = |&read: &usize| self.turns[read].is_some_and(|turn| turn.memory == memory);
        reads.iter().any(is_there) || (memory == Memory::Main && *reads_inputs)
    }

    /// Whether neither a step nor what it reads is of an operator of tract's.
    fn is_plain(&self, node: usize) -> bool {
        let Node { is_kernel, reads, .. } = &self.nodes[node];
        *is_kernel && reads.iter().all(|&read| self.nodes[read].is_kernel)
    }

    fn run(&mut self) {
        let (mut at, groups) = (0, self.groups);
        while at <= self.chain.len() {
            if self.grouped <= at {
                let (branches, others): (Vec<&Group>, Vec<&Group>) =
                    groups[at].iter().partition(|group| group.is_branch());
                self.put_all(nodes_of(others), Memory::Main, None);
                self.grouped = at + 1;
                let needed = branches.iter().map(|group| group.needed).min().unwrap_or(at);
                let next = self.fork(at, nodes_of(branches), needed.min(self.chain.len()));
                if next > at {
                    at = next;
                    continue;
                }
            }
            self.put_all(self.chain.get(at).copied(), Memory::Main, None);
            at += 1;
        }
    }

    /// Places a branch that becomes ready before the `at`th step of the main chain, and those of the chain's steps before the `until`th
    /// that can run beside it. Returns the next of the chain's steps.
    fn fork(&mut self, at: usize, branch: Vec<usize>, until: usize) -> usize {
        // What reads the main chain's memory runs before, if it needs nothing of the branch, or afterwards.
        let (mut before, mut inside, mut afterwards): (Vec<usize>, Vec<usize>, Vec<usize>) = (vec![], vec![], vec![]);
        for node in branch {
            let reads = &self.nodes[node].reads;
            let waits_for = |nodes: &[usize]| reads.iter().any(|read| nodes.contains(read));
            let reads_main = self.reads(node, Memory::Main);
            if waits_for(&afterwards) || !self.is_plain(node) || (reads_main && waits_for(&inside)) {
                afterwards.push(node);
            } else if reads_main {
                before.push(node);
            } else {
                inside.push(node);
            }
        }
        let macs = |nodes: &[usize]| nodes.iter().map(|&node| self.nodes[node].macs).sum::<usize>();
        if macs(&inside) < LEAST_MACS || until <= at || macs(&self.chain[at..until]) < LEAST_MACS {
            let mut branch = [before, inside, afterwards].concat();
            branch.sort_unstable();
            self.put_all(branch, Memory::Main, None);
            return at;
        }
        let fork = Some(self.forks);
        self.forks += 1;
        self.put_all(before, Memory::Branch, None);
        self.put_all(inside, Memory::Branch, fork);
        let mut next = at;
        while next < until && self.is_plain(self.chain[next]) && !self.reads(self.chain[next], Memory::Branch) {
            self.put_all([self.chain[next]], Memory::Main, fork);
            next += 1;
            let ready = nodes_of(&self.groups[next]);
            let waits = |&node: &usize| {
                let waits_for_rest = self.nodes[node].reads.iter().any(|read| afterwards.contains(read));
                waits_for_rest || !self.is_plain(node) || self.reads(node, Memory::Branch)
            };
            if next == until || ready.iter().any(waits) {
                break;
            }
            self.put_all(ready, Memory::Main, fork);
            self.grouped = next + 1;
        }
        self.put_all(afterwards, Memory::Main, None);
        next
    }
}

impl Group {
    fn is_branch(&self) -> bool {
        self.nodes.len() >= LEAST_STEPS && self.macs >= LEAST_MACS
    }
}

/// Steps of some groups, in an order in which they can run.
fn nodes_of<'a>(groups: impl IntoIterator<Item = &'a Group>) -> Vec<usize> {
    let mut nodes: Vec<usize> = groups.into_iter().flat_map(|group| group.nodes.iter().copied()).collect();
    nodes.sort_unstable();
    nodes
}

/// When a segment's steps run.
#[derive(Default)]
pub(super) struct Turns {
    /// By their nodes.
    of: HashMap<usize, Turn>,
    /// From which place to which the segment uses buffers of each memory: another segment can use the same before or after.
    spans: [Span; 2],
}

/// From a place up to another, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    first: usize,
    last: usize,
}

impl Default for Span {
    fn default() -> Self {
        Span { first: usize::MAX, last: 0 }
    }
}

impl Span {
    fn add(&mut self, at: usize) {
        (self.first, self.last) = (self.first.min(at), self.last.max(at));
    }

    pub(super) fn overlaps(self, other: Span) -> bool {
        self.first <= other.last && other.first <= self.last
    }
}

impl Turns {
    /// When a node's step runs; none where it has no step.
    pub(super) fn get(&self, node: usize) -> Option<Turn> {
        self.of.get(&node).copied()
    }

    pub(super) fn span(&self, memory: Memory) -> Span {
        self.spans[memory as usize]
    }
}

/// When the steps of segments run, given in an order in which they can.
pub(super) fn turns(segments: &[SegmentGraph]) -> TractResult<Vec<Turns>> {
    let nodes = nodes(segments)?;
    let scheduled = schedule(&nodes)?;
    let mut turns: Vec<Turns> = segments.iter().map(|_| Turns::default()).collect();
    for (node, turn) in nodes.iter().zip(&scheduled) {
        let Turns { of, spans } = &mut turns[node.segment];
        of.insert(node.id, *turn);
        spans[turn.memory as usize].add(turn.at);
        // What another segment has made is in a buffer of its own.
        for &read in node.reads.iter().filter(|&&read| nodes[read].segment == node.segment) {
            spans[scheduled[read].memory as usize].add(turn.at);
        }
    }
    Ok(turns)
}

fn schedule(nodes: &[Node]) -> TractResult<Vec<Turn>> {
    let chain = main_chain(nodes);
    let groups = groups(nodes, &chain);
    let turns = vec![None; nodes.len()];
    let mut scheduler = Scheduler { nodes, chain: &chain, groups: &groups, turns, scheduled: 0, grouped: 0, forks: 0 };
    scheduler.run();
    scheduler.turns.into_iter().collect::<Option<Vec<Turn>>>().context("a step has no turn")
}
