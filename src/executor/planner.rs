//! One segment's graph to steps: which operators are kernels, which are views, and which buffers results take, by liveness.

use std::collections::HashMap;
use std::sync::Arc;

use tract_core::internal::*;
use tract_core::ops::konst::Const;
use tract_core::ops::source::TypedSource;

use super::branches::{Memory, Turns};
use super::{Action, Buffer, Executor, Operand, Place, Step, is_mostly_weights};
use crate::graph::Slot;
use crate::ops::view::{is_reshape, shape};
use crate::ops::{Operator, fused};

/// One segment on its way to be steps.
pub(super) struct SegmentPlanner<'a> {
    executor: &'a mut Executor,
    graph: &'a TypedModel,
    /// When its steps run.
    turns: &'a Turns,
    order: Vec<usize>,
    /// For each tensor, the one in whose place it is.
    roots: HashMap<OutletId, OutletId>,
    /// Where each root is.
    places: HashMap<OutletId, Place>,
    /// For each root, the place in `order` of its last reader.
    last_reader: HashMap<OutletId, usize>,
    /// What is kept after the segment has run, because somebody compares it.
    features: Option<OutletId>,
    free: Vec<usize>,
}

/// Whether every operator is a kernel or a view: then tract's optimiser has nothing to do, whose passes over a graph take a fifth of a
/// start from a bundle.
pub(crate) fn is_all_kernels(graph: &TypedModel) -> TractResult<bool> {
    for node in graph.nodes() {
        let given = node.op_is::<Const>() || node.op_is::<TypedSource>();
        if !(given || is_reshape(graph, node)? || fused(node.op.as_ref()).is_some()) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// What the linear layer reads that `exit` ends in; none where it ends in anything else.
fn features(graph: &TypedModel, exit: OutletId) -> TractResult<Option<OutletId>> {
    let mut node = graph.node(exit.node);
    while is_reshape(graph, node)? {
        node = graph.node(node.inputs[0].node);
    }
    let is_linear = fused(node.op.as_ref()).is_some_and(|kernel| kernel.is_linear());
    Ok(node.inputs.first().copied().filter(|input| is_linear && !graph.node(input.node).op_is::<Const>()))
}

/// The nodes, steps in the order in which they run, each constant and each view before whatever reads it.
fn order(graph: &TypedModel, turns: &Turns) -> TractResult<Vec<usize>> {
    let mut order = graph.eval_order()?;
    let mut keys: HashMap<usize, usize> = HashMap::new();
    for &id in &order {
        // A view goes with the step whose result it shows.
        let of_input = || Some(keys[&graph.node(id).inputs.first()?.node]);
        let key = turns.get(id).map(|turn| turn.at + 1).or_else(of_input).unwrap_or(0);
        keys.insert(id, key);
    }
    order.sort_by_key(|id| keys[id]);
    Ok(order)
}

impl<'a> SegmentPlanner<'a> {
    pub(super) fn new(
        executor: &'a mut Executor,
        graph: &'a TypedModel,
        turns: &'a Turns,
        inputs: &[Slot],
        exit: Option<usize>,
    ) -> TractResult<SegmentPlanner<'a>> {
        let mut places = HashMap::new();
        for (outlet, slot) in graph.input_outlets()?.iter().zip(inputs) {
            places.insert(*outlet, executor.slot(*slot)?.place.clone());
        }
        let order = order(graph, turns)?;
        let is_free = |buffer: &&usize| {
            let Buffer { memory, ref uses, .. } = executor.buffers[**buffer];
            !uses.iter().any(|span| span.overlaps(turns.span(memory)))
        };
        let free = executor.shared.iter().filter(is_free).copied().collect();
        let (mut roots, mut last_reader) = (HashMap::new(), HashMap::new());
        for (at, &id) in order.iter().enumerate() {
            let node = graph.node(id);
            let reshape = is_reshape(graph, node)?;
            for slot in 0..node.outputs.len() {
                let outlet = OutletId::new(id, slot);
                let root = if reshape { roots[&node.inputs[0]] } else { outlet };
                roots.insert(outlet, root);
            }
            for input in &node.inputs {
                last_reader.insert(roots[input], at);
            }
        }
        let outputs = graph.output_outlets()?;
        let exit = exit.and_then(|exit| outputs.get(exit));
        let features = exit.map(|exit| features(graph, *exit)).transpose()?.flatten();
        for outlet in outputs.iter().chain(&features) {
            last_reader.insert(roots[outlet], usize::MAX);
        }
        Ok(SegmentPlanner { executor, graph, turns, order, roots, places, last_reader, features, free })
    }

    fn operand(&self, outlet: OutletId) -> TractResult<Operand> {
        let place = self.places.get(&self.roots[&outlet]).with_context(|| format!("{outlet:?} has no place"))?;
        Ok(Operand { place: place.clone(), shape: shape(self.graph, outlet)? })
    }

    /// A buffer for a result that outlives the segment or does not.
    fn buffer(&mut self, floats: usize, memory: Memory, outlives: bool) -> usize {
        if outlives {
            return self.executor.new_buffer(floats, memory);
        }
        // The smallest that is large enough, or the largest, made larger.
        let buffers = &self.executor.buffers;
        let fit = |b: &&usize| (buffers[**b].floats < floats, buffers[**b].floats.abs_diff(floats));
        let there = self.free.iter().filter(|b| buffers[**b].memory == memory);
        let found = there.min_by_key(fit).copied();
        let buffer = found.unwrap_or_else(|| {
            let buffer = self.executor.new_buffer(floats, memory);
            self.executor.shared.push(buffer);
            buffer
        });
        self.free.retain(|b| *b != buffer);
        let span = self.turns.span(memory);
        let Buffer { floats: length, uses, .. } = &mut self.executor.buffers[buffer];
        *length = floats.max(*length);
        if !uses.contains(&span) {
            uses.push(span);
        }
        buffer
    }

    fn hold(&mut self) -> Place {
        self.executor.held += 1;
        Place::Held(self.executor.held - 1)
    }

    pub(super) fn steps(mut self, outputs: &[Slot]) -> TractResult<Vec<Step>> {
        let mut steps = vec![];
        for at in 0..self.order.len() {
            let node = self.graph.node(self.order[at]);
            let outlet = OutletId::new(node.id, 0);
            if let Some(op) = node.op_as::<Const>() {
                self.places.insert(outlet, Place::Constant(op.val().clone()));
            } else if !node.op_is::<TypedSource>() && self.roots.get(&outlet) == Some(&outlet) {
                let step = self.step(node).with_context(|| format!("planning {node}"))?;
                steps.push(step);
            }
            self.release(at, steps.last_mut());
        }
        for (outlet, slot) in self.graph.output_outlets()?.iter().zip(outputs) {
            self.executor.slots[slot.0] = Some(self.operand(*outlet)?);
        }
        if let Some(features) = self.features {
            self.executor.features = Some(self.operand(features)?);
        }
        Ok(steps)
    }

    fn step(&mut self, node: &TypedNode) -> TractResult<Step> {
        let kernel = Operator::of(node.op.as_ref());
        // A plan of one node has its constants in it.
        let given = |i: &&OutletId| kernel.is_some() || !self.graph.node(i.node).op_is::<Const>();
        let inputs = node.inputs.iter().filter(given).map(|i| self.operand(*i)).collect::<TractResult<Vec<_>>>()?;
        let mut outputs = vec![];
        let turn = self.turns.get(node.id).context("a step without a turn")?;
        for slot in 0..node.outputs.len() {
            let outlet = OutletId::new(node.id, slot);
            let shape = shape(self.graph, outlet)?;
            let place = if kernel.is_some() {
                let outlives = self.last_reader.get(&outlet) == Some(&usize::MAX);
                Place::Buffer(self.buffer(shape.iter().product(), turn.memory, outlives))
            } else {
                self.hold()
            };
            self.places.insert(outlet, place.clone());
            outputs.push(Operand { place, shape });
        }
        let action = match kernel {
            Some(kernel) => Action::Kernel(kernel.into_fused()),
            None => {
                self.executor.plans.push(plan_of(self.graph, node)?);
                Action::Tract { state: self.executor.plans.len() - 1 }
            }
        };
        let is_mostly_weights = is_mostly_weights(&inputs, &outputs);
        let name = node.name.clone();
        Ok(Step { name, turn, action, inputs, outputs, last_reads: vec![], is_mostly_weights })
    }

    /// Gives back the places of what this segment made and nothing after the `at`th node reads.
    fn release(&mut self, at: usize, step: Option<&mut Step>) {
        let node = self.graph.node(self.order[at]);
        let made = (0..node.outputs.len()).map(|slot| OutletId::new(node.id, slot));
        let unread = made.filter(|outlet| !self.last_reader.contains_key(&self.roots[outlet]));
        let mut ended: Vec<OutletId> = node.inputs.iter().copied().chain(unread).map(|o| self.roots[&o]).collect();
        ended.sort_unstable();
        ended.dedup();
        let mut last_reads = vec![];
        for root in ended {
            let is_input = self.graph.inputs.contains(&root);
            if is_input || self.last_reader.get(&root).is_some_and(|last| *last != at) {
                continue;
            }
            match self.places.get(&root) {
                Some(Place::Buffer(buffer)) => self.free.push(*buffer),
                Some(Place::Held(held)) => last_reads.push(*held),
                Some(Place::Constant(_) | Place::Weights { .. }) | None => {}
            }
        }
        if let Some(step) = step {
            step.last_reads.extend(last_reads);
        }
    }
}

/// A node with its constants, as a plan of its own.
fn plan_of(graph: &TypedModel, node: &TypedNode) -> TractResult<Arc<TypedSimplePlan>> {
    let mut alone = TypedModel { symbols: graph.symbols.clone(), ..TypedModel::default() };
    let mut wires = tvec!();
    for (i, input) in node.inputs.iter().enumerate() {
        let producer = graph.node(input.node);
        let name = format!("{i}.{}", producer.name);
        wires.push(match producer.op_as::<Const>() {
            Some(op) => alone.wire_node(name, op.clone(), &[])?[0],
            None => alone.add_source(name, graph.outlet_fact(*input)?.clone())?,
        });
    }
    let outlets = alone.wire_node(&node.name, node.op.clone(), &wires)?;
    alone.select_output_outlets(&outlets)?;
    TypedSimplePlan::new(alone)
}
