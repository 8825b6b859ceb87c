//! The executor: segments as steps over a statically planned arena.
//!
//! Activations live in buffers that are planned once, by liveness, and reused from frame to frame; reshapes are views.
//! tract's own executor makes a new tensor for every result and frees it after its last reader: with large images that is
//! memory which the system maps and clears anew in every frame. Here only operators of [`crate::ops`] write
//! into the arena. An operator of tract's own runs by tract's executor, as a plan of one node.

mod arena;
mod error;
mod profile;

use std::collections::HashMap;
use std::sync::Arc;

use tract_core::internal::*;
use tract_core::ops::change_axes::IntoShape;
use tract_core::ops::konst::Const;
use tract_core::ops::source::TypedSource;

pub(crate) use arena::Arena;
pub use error::RunError;
pub(crate) use profile::Watcher;
pub use profile::{LayerCounts, OperatorTime};

use dyn_perceiver_kernels::memory::Floats;
use dyn_perceiver_kernels::thread_pool::ThreadPool;

use crate::graph::Slot;
use crate::ops::{Fused, fused};
use crate::weights;

/// Floats in a line of the cache: everything begins at the beginning of one.
const LINE: usize = 16;

/// Where a tensor is while a plan runs.
#[derive(Clone, Debug)]
enum Place {
    /// In a buffer, from its beginning.
    Buffer(usize),
    /// A value that an operator of tract's made.
    Held(usize),
    /// Among the weights of a segment.
    Weights { segment: usize, at: usize },
    /// A constant as the graph has it.
    Constant(Arc<Tensor>),
}

/// A tensor as one step sees it; another may see the same place in another shape.
#[derive(Clone, Debug)]
struct Operand {
    place: Place,
    shape: TVec<usize>,
}

impl Operand {
    fn len(&self) -> usize {
        self.shape.iter().product()
    }
}

enum Action {
    Kernel(Box<dyn Fused>),
    /// A plan of one node, whose state is the runtime's `state`th.
    Tract {
        state: usize,
    },
}

struct Step {
    name: String,
    action: Action,
    inputs: Vec<Operand>,
    outputs: Vec<Operand>,
    /// Held values that nothing reads after this step.
    last_reads: Vec<usize>,
}

/// All segments of a plan. Immutable; each runtime has its own [`Arena`].
#[derive(Default)]
pub(crate) struct Executor {
    segments: Vec<Vec<Step>>,
    /// For each segment, the constants of its kernels in the order in which they are read: the memory behind one
    /// kernel's weights is what comes next.
    weights: Vec<Floats>,
    /// Floats in each buffer.
    buffers: Vec<usize>,
    /// The buffers that hold nothing from one segment to the next.
    shared: Vec<usize>,
    /// How many values can be held.
    held: usize,
    /// Plans of the operators that tract runs.
    plans: Vec<Arc<TypedSimplePlan>>,
    slots: Vec<Option<Operand>>,
    /// What stands in front of the classifier of the exit that was asked for.
    features: Option<Operand>,
}

impl Executor {
    /// An executor without segments, for a plan with `slots` slots, some of which take inputs of the given shapes.
    pub(crate) fn new(slots: usize, inputs: &[(Slot, &[usize])]) -> Executor {
        let mut executor = Executor { slots: vec![None; slots], ..Executor::default() };
        for (slot, shape) in inputs {
            let place = Place::Buffer(executor.new_buffer(shape.iter().product()));
            executor.slots[slot.0] = Some(Operand { place, shape: (*shape).into() });
        }
        executor
    }

    fn new_buffer(&mut self, floats: usize) -> usize {
        self.buffers.push(floats);
        self.buffers.len() - 1
    }

    /// Adds a segment that reads `inputs`, all of them outputs of segments added before, and makes `outputs`. Where `exit` is
    /// among these, what its classifier reads is kept as the [`features`](Self::features).
    pub(crate) fn add(
        &mut self,
        graph: &TypedModel,
        inputs: &[Slot],
        outputs: &[Slot],
        exit: Option<Slot>,
    ) -> TractResult<()> {
        let exit = exit.and_then(|exit| outputs.iter().position(|output| *output == exit));
        let mut steps = SegmentPlanner::new(self, graph, inputs, exit)?.steps(outputs)?;
        let weights = gather(&mut steps, self.segments.len())?;
        self.segments.push(steps);
        self.weights.push(weights);
        Ok(())
    }

    /// Floats of scratch memory that the most demanding operator needs on so many threads.
    fn scratch_len(&self, threads: usize) -> usize {
        let len = |step: &Step| {
            let Action::Kernel(kernel) = &step.action else { return 0 };
            let shapes: TVec<&[usize]> = step.inputs.iter().map(|input| input.shape.as_slice()).collect();
            kernel.scratch_len(&shapes, threads)
        };
        self.segments.iter().flatten().map(len).max().unwrap_or(0)
    }

    /// Bytes of the weights that were gathered.
    pub(crate) fn weight_memory(&self) -> usize {
        self.weights.iter().map(|weights| size_of_val::<[f32]>(weights)).sum()
    }

    fn slot(&self, Slot(slot): Slot) -> TractResult<&Operand> {
        self.slots[slot].as_ref().with_context(|| format!("slot {slot} is read before any segment makes it"))
    }

    /// Shape of what a slot holds.
    pub(crate) fn shape(&self, slot: Slot) -> TractResult<&[usize]> {
        Ok(&self.slot(slot)?.shape)
    }

    /// What stands in front of the classifier of the exit that [`add`](Self::add) was asked for; none where it does not end in
    /// a linear layer.
    fn features(&self) -> Option<&Operand> {
        self.features.as_ref()
    }

    /// Values in these features.
    pub(crate) fn features_len(&self) -> Option<usize> {
        self.features().map(Operand::len)
    }

    /// Whether two slots have a buffer each that nothing else has, of equal length: then these can change places.
    pub(crate) fn can_swap(&self, from: Slot, to: Slot) -> bool {
        let buffer = |slot: Slot| match self.slots.get(slot.0).and_then(Option::as_ref) {
            Some(Operand { place: Place::Buffer(buffer), .. }) => Some(*buffer),
            _ => None,
        };
        let (Some(a), Some(b)) = (buffer(from), buffer(to)) else { return false };
        let has = |operand: &Operand| matches!(operand.place, Place::Buffer(buffer) if buffer == a);
        let others = self.slots.iter().enumerate().filter(|(slot, _)| *slot != from.0);
        let written = self.segments.iter().flatten().flat_map(|step| &step.outputs).filter(|output| has(output));
        a != b
            && self.buffers[a] == self.buffers[b]
            && !self.shared.contains(&a)
            && written.count() == 1
            && others.into_iter().all(|(_, operand)| !operand.as_ref().is_some_and(has))
    }

    /// Runs one segment, whose inputs are in `memory`.
    pub(crate) fn run(&self, segment: usize, memory: &mut Arena, pool: &mut ThreadPool) -> TractResult<()> {
        for step in &self.segments[segment] {
            memory.run(self, step, pool).with_context(|| format!("evaluating {}", step.name))?;
        }
        Ok(())
    }
}

/// Copies the constants that kernels read into memory of their own, and leaves their places there. Those of a bundle stay
/// in its file, which is mapped: there are no two copies.
fn gather(steps: &mut [Step], segment: usize) -> TractResult<Floats> {
    let kernels = steps.iter_mut().filter(|step| matches!(step.action, Action::Kernel(_)));
    let mut found: HashMap<*const Tensor, usize> = HashMap::new();
    let mut tensors = vec![];
    let mut len = 0;
    for operand in kernels.flat_map(|step| &mut step.inputs) {
        let Place::Constant(tensor) = &operand.place else { continue };
        if weights::is_mapped(tensor) {
            continue;
        }
        let at = *found.entry(Arc::as_ptr(tensor)).or_insert_with(|| {
            let at = len;
            tensors.push((at, tensor.clone()));
            len = (at + tensor.len()).next_multiple_of(LINE);
            at
        });
        operand.place = Place::Weights { segment, at };
    }
    let mut gathered = Floats::zeroed(len)?;
    for (at, tensor) in tensors {
        gathered[at..at + tensor.len()].copy_from_slice(weights::floats(&tensor)?);
    }
    Ok(gathered)
}

/// One segment on its way to be steps.
struct SegmentPlanner<'a> {
    executor: &'a mut Executor,
    graph: &'a TypedModel,
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

/// Whether a node's output has the elements of its first input in their order.
fn is_reshape(graph: &TypedModel, node: &TypedNode) -> TractResult<bool> {
    if let Some(op) = node.op_as::<AxisOp>() {
        return Ok(!matches!(op, AxisOp::Move(..)));
    }
    if let Some(op) = node.op_as::<IntoShape>() {
        return Ok(op.strides == Tensor::natural_strides(&op.dims));
    }
    let Some(op) = fused(node.op.as_ref()) else { return Ok(false) };
    let shapes = shapes(graph, &node.inputs)?;
    let shapes: TVec<&[usize]> = shapes.iter().map(|shape| shape.as_slice()).collect();
    Ok(op.is_reshape(&shapes))
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

fn shape(graph: &TypedModel, outlet: OutletId) -> TractResult<TVec<usize>> {
    let fact = graph.outlet_fact(outlet)?;
    Ok(fact.shape.as_concrete().with_context(|| format!("expected a concrete shape, found {:?}", fact.shape))?.into())
}

fn shapes(graph: &TypedModel, outlets: &[OutletId]) -> TractResult<TVec<TVec<usize>>> {
    outlets.iter().map(|outlet| shape(graph, *outlet)).collect()
}

impl<'a> SegmentPlanner<'a> {
    fn new(
        executor: &'a mut Executor,
        graph: &'a TypedModel,
        inputs: &[Slot],
        exit: Option<usize>,
    ) -> TractResult<SegmentPlanner<'a>> {
        let mut places = HashMap::new();
        for (outlet, slot) in graph.input_outlets()?.iter().zip(inputs) {
            places.insert(*outlet, executor.slot(*slot)?.place.clone());
        }
        let (order, free) = (graph.eval_order()?, executor.shared.clone());
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
        Ok(SegmentPlanner { executor, graph, order, roots, places, last_reader, features, free })
    }

    fn operand(&self, outlet: OutletId) -> TractResult<Operand> {
        let place = self.places.get(&self.roots[&outlet]).with_context(|| format!("{outlet:?} has no place"))?;
        Ok(Operand { place: place.clone(), shape: shape(self.graph, outlet)? })
    }

    /// A buffer for a result that outlives the segment or does not.
    fn buffer(&mut self, floats: usize, outlives: bool) -> usize {
        if outlives {
            return self.executor.new_buffer(floats);
        }
        // The smallest that is large enough, or the largest, made larger.
        let lengths = &self.executor.buffers;
        let fit = |b: &&usize| (lengths[**b] < floats, lengths[**b].abs_diff(floats));
        let Some(&buffer) = self.free.iter().min_by_key(fit) else {
            let buffer = self.executor.new_buffer(floats);
            self.executor.shared.push(buffer);
            return buffer;
        };
        self.free.retain(|b| *b != buffer);
        let length = &mut self.executor.buffers[buffer];
        *length = floats.max(*length);
        buffer
    }

    fn hold(&mut self) -> Place {
        self.executor.held += 1;
        Place::Held(self.executor.held - 1)
    }

    fn steps(mut self, outputs: &[Slot]) -> TractResult<Vec<Step>> {
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
        let kernel = fused(node.op.as_ref());
        // A plan of one node has its constants in it.
        let given = |i: &&OutletId| kernel.is_some() || !self.graph.node(i.node).op_is::<Const>();
        let inputs = node.inputs.iter().filter(given).map(|i| self.operand(*i)).collect::<TractResult<_>>()?;
        let mut outputs = vec![];
        for slot in 0..node.outputs.len() {
            let outlet = OutletId::new(node.id, slot);
            let shape = shape(self.graph, outlet)?;
            let place = if kernel.is_some() {
                let outlives = self.last_reader.get(&outlet) == Some(&usize::MAX);
                Place::Buffer(self.buffer(shape.iter().product(), outlives))
            } else {
                self.hold()
            };
            self.places.insert(outlet, place.clone());
            outputs.push(Operand { place, shape });
        }
        let action = match kernel {
            Some(kernel) => Action::Kernel(kernel),
            None => {
                self.executor.plans.push(plan_of(self.graph, node)?);
                Action::Tract { state: self.executor.plans.len() - 1 }
            }
        };
        Ok(Step { name: node.name.clone(), action, inputs, outputs, last_reads: vec![] })
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
