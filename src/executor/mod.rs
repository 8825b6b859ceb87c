//! The executor: segments as steps over a statically planned arena.
//!
//! Activations live in buffers that are planned once, by liveness, and reused from frame to frame; reshapes are views.
//! tract's own executor makes a new tensor for every result and frees it after its last reader: with large images that is
//! memory which the system maps and clears anew in every frame. Here only operators of [`crate::ops`] write
//! into the arena. An operator of tract's own runs by tract's executor, as a plan of one node.

mod arena;
mod branches;
mod error;
mod planner;
mod profile;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use tract_core::internal::*;

pub(crate) use arena::Arena;
use branches::{Memory, Span, Turn, Turns};
pub use error::RunError;
use planner::SegmentPlanner;
pub(crate) use planner::is_all_kernels;
pub(crate) use profile::Watcher;
pub use profile::{LayerCounts, OperatorTime};

use dyn_perceiver_kernels::memory::Floats;
use dyn_perceiver_kernels::thread_pool::ThreadPool;

use crate::graph::Slot;
use crate::graph::partition::SegmentGraph;
use crate::ops::Fused;
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
    /// When it runs.
    turn: Turn,
    action: Action,
    inputs: Vec<Operand>,
    outputs: Vec<Operand>,
    /// Held values that nothing reads after this step.
    last_reads: Vec<usize>,
    /// Whether it reads more weights than it reads and writes else.
    is_mostly_weights: bool,
}

/// Whether a step reads more weights than it reads and writes else.
fn is_mostly_weights(inputs: &[Operand], outputs: &[Operand]) -> bool {
    let is_weights = |operand: &Operand| matches!(operand.place, Place::Weights { .. } | Place::Constant(_));
    let weights: usize = inputs.iter().filter(|input| is_weights(input)).map(Operand::len).sum();
    let all: usize = inputs.iter().chain(outputs).map(Operand::len).sum();
    2 * weights > all
}

/// Memory for results, reused.
struct Buffer {
    floats: usize,
    memory: Memory,
    /// When segments use it.
    uses: Vec<Span>,
}

/// All segments of a plan. Immutable; each runtime has its own [`Arena`].
#[derive(Default)]
pub(crate) struct Executor {
    segments: Vec<Vec<Step>>,
    /// Segments and their steps, in the order in which they run where all run at once.
    order: Vec<[usize; 2]>,
    /// When the steps run of segments that have not been added yet.
    turns: VecDeque<Turns>,
    /// For each segment, the constants of its kernels in the order in which they are read: the memory behind one
    /// kernel's weights is what comes next.
    weights: Vec<Floats>,
    buffers: Vec<Buffer>,
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
            let place = Place::Buffer(executor.new_buffer(shape.iter().product(), Memory::Main));
            executor.slots[slot.0] = Some(Operand { place, shape: (*shape).into() });
        }
        executor
    }

    fn new_buffer(&mut self, floats: usize, memory: Memory) -> usize {
        self.buffers.push(Buffer { floats, memory, uses: vec![] });
        self.buffers.len() - 1
    }

    /// Finds when the steps of all segments run; these are in an order in which they can.
    pub(crate) fn schedule(&mut self, segments: &[SegmentGraph]) -> TractResult<()> {
        self.turns = branches::turns(segments)?.into();
        Ok(())
    }

    /// Adds the next of the segments that were [scheduled](Self::schedule). It reads `inputs`, all of them outputs of segments added before, and
    /// makes `outputs`. Where `exit` is among these, what its classifier reads is kept as the [`features`](Self::features).
    pub(crate) fn add(
        &mut self,
        graph: &TypedModel,
        inputs: &[Slot],
        outputs: &[Slot],
        exit: Option<Slot>,
    ) -> TractResult<()> {
        let exit = exit.and_then(|exit| outputs.iter().position(|output| *output == exit));
        let turns = self.turns.pop_front().context("a segment that was not scheduled")?;
        let mut steps = SegmentPlanner::new(self, graph, &turns, inputs, exit)?.steps(outputs)?;
        let segment = self.segments.len();
        self.weights.push(gather(&mut steps, segment)?);
        self.order.extend((0..steps.len()).map(|step| [segment, step]));
        self.segments.push(steps);
        let segments = &self.segments;
        self.order.sort_unstable_by_key(|&[segment, step]| segments[segment][step].turn.at);
        Ok(())
    }

    /// Floats of scratch memory that the most demanding of some operators needs on so many threads.
    fn scratch_len(&self, threads: usize, some: impl Fn(&Step) -> bool) -> usize {
        let len = |step: &Step| {
            let Action::Kernel(kernel) = &step.action else { return 0 };
            let shapes: TVec<&[usize]> = step.inputs.iter().map(|input| input.shape.as_slice()).collect();
            kernel.scratch_len(&shapes, threads)
        };
        self.segments.iter().flatten().filter(|step| some(step)).map(len).max().unwrap_or(0)
    }

    /// How many branches can run beside other steps.
    pub(crate) fn branches(&self) -> usize {
        let forks = self.segments.iter().flatten().filter_map(|step| step.turn.fork);
        forks.max().map_or(0, |last| last + 1)
    }

    /// Bytes of the weights that were gathered.
    pub(crate) fn weight_memory(&self) -> usize {
        self.weights.iter().map(|weights| size_of_val::<[f32]>(weights)).sum()
    }

    /// Bytes of the buffers that each image has.
    pub(crate) fn buffer_memory(&self) -> usize {
        size_of::<f32>() * self.buffers.iter().map(|buffer| buffer.floats).sum::<usize>()
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
            && self.buffers[a].floats == self.buffers[b].floats
            && self.buffers[a].memory == self.buffers[b].memory
            && !self.shared.contains(&a)
            && written.count() == 1
            && others.into_iter().all(|(_, operand)| !operand.as_ref().is_some_and(has))
    }

    /// Runs the segments for which `runs` is true, for some images, each in memory of its own where the segments' inputs are.
    pub(crate) fn run(
        &self,
        runs: impl Fn(usize) -> bool + Sync,
        images: &mut [(&mut Arena, &mut ThreadPool)],
    ) -> TractResult<()> {
        if let [(memory, pool)] = images
            && memory.forks()
        {
            return self.run_forks(&runs, memory, pool);
        }
        let mut segments = (0..self.segments.len()).filter(|&segment| runs(segment));
        segments.try_for_each(|segment| self.run_segment(segment, images))
    }

    /// Runs some segments for one image, branches beside the main chain.
    fn run_forks(
        &self,
        runs: &(dyn Fn(usize) -> bool + Sync),
        memory: &mut Arena,
        pool: &mut ThreadPool,
    ) -> TractResult<()> {
        let step = |&[segment, step]: &[usize; 2]| &self.segments[segment][step];
        for steps in self.order.chunk_by(|a, b| step(a).turn.fork == step(b).turn.fork) {
            let those = || steps.iter().filter(|[segment, _]| runs(*segment)).map(step);
            let branch = || those().filter(|step| step.turn.memory == Memory::Branch);
            let beside = || those().filter(|step| step.turn.memory == Memory::Main);
            if step(&steps[0]).turn.fork.is_some() && branch().next().is_some() && beside().next().is_some() {
                memory.fork(self, branch(), beside(), pool)?;
            } else {
                those().try_for_each(|step| run(self, step, memory, pool))?;
            }
        }
        Ok(())
    }

    /// Runs one segment. Operators that read more weights than anything else run for one image after another: weights come from memory
    /// once, and from a cache then. Others run one after another for each image: what one writes is in the cache for the next. The image
    /// that was computed last is the first again: what it wrote is still there.
    fn run_segment(&self, segment: usize, images: &mut [(&mut Arena, &mut ThreadPool)]) -> TractResult<()> {
        let run = |step: &Step, (memory, pool): &mut (&mut Arena, &mut ThreadPool)| run(self, step, memory, pool);
        for steps in self.segments[segment].chunk_by(|a, b| a.is_mostly_weights == b.is_mostly_weights) {
            if steps[0].is_mostly_weights {
                for step in steps {
                    images.iter_mut().try_for_each(|image| run(step, image))?;
                    images.reverse();
                }
            } else {
                images.iter_mut().try_for_each(|image| steps.iter().try_for_each(|step| run(step, image)))?;
                images.reverse();
            }
        }
        Ok(())
    }
}

fn run(executor: &Executor, step: &Step, memory: &mut Arena, pool: &mut ThreadPool) -> TractResult<()> {
    memory.run(executor, step, pool).with_context(|| format!("evaluating {}", step.name))
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
