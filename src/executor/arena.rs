//! What a runtime keeps from frame to frame: buffers, values of tract's operators, and their states.

use std::num::NonZeroUsize;
use std::ops::Range;
use std::sync::atomic::Ordering;

use smallvec::SmallVec;
use tract_core::internal::*;

use crate::ops::Fused;
use crate::weights;

use super::branches::Memory;
use super::{Action, Executor, LINE, Operand, Place, Slot, Step};
use dyn_perceiver_kernels::memory::Floats;
use dyn_perceiver_kernels::thread_pool::ThreadPool;

/// What a kernel reads, with shapes, in place: a frame allocates nothing.
type Inputs<'a> = SmallVec<[(&'a [f32], &'a [usize]); 8]>;

/// The memory that one runtime works in; made for one [`Executor`].
pub(crate) struct Arena {
    /// The buffers of each [`Memory`], one after another.
    floats: [Floats; 2],
    /// Where each begins in its memory.
    starts: Vec<usize>,
    held: Vec<Option<TValue>>,
    states: Vec<TypedSimpleState>,
    /// Scratch memory of one operator at a time.
    scratch: Floats,
    /// What branches run with, where there are several threads.
    branch: Option<Branch>,
}

/// What one thread needs to run a branch.
struct Branch {
    pool: ThreadPool,
    scratch: Floats,
}

/// The buffers of a memory, or what is left of them while the result of a step is written.
#[derive(Clone, Copy)]
struct Buffers<'a> {
    /// The floats before the result.
    before: &'a [f32],
    /// Where those behind it begin.
    end: usize,
    behind: &'a [f32],
}

impl<'a> Buffers<'a> {
    fn all(floats: &'a [f32]) -> Buffers<'a> {
        Buffers { before: &[], end: 0, behind: floats }
    }

    fn get(self, place: Range<usize>) -> TractResult<&'a [f32]> {
        let found = match place.start.checked_sub(self.end) {
            Some(start) => self.behind.get(start..start + place.len()),
            None => self.before.get(place.clone()),
        };
        found.with_context(|| format!("{place:?} is not among the buffers, or is where the result goes"))
    }
}

/// What steps may use: of a memory that another thread uses at the same time, nothing.
struct Lane<'a> {
    executor: &'a Executor,
    floats: [&'a mut [f32]; 2],
    starts: &'a [usize],
    held: &'a [Option<TValue>],
    scratch: &'a mut [f32],
}

impl Lane<'_> {
    /// Runs a step of a fork: a kernel.
    fn run(&mut self, step: &Step, pool: &mut ThreadPool) -> TractResult<()> {
        let Action::Kernel(kernel) = &step.action else { bail!("an operator of tract's in a fork") };
        self.compute(step, kernel.as_ref(), pool).with_context(|| format!("evaluating {}", step.name))
    }

    fn compute(&mut self, step: &Step, kernel: &dyn Fused, pool: &mut ThreadPool) -> TractResult<()> {
        let Lane { executor, floats, starts, held, scratch } = self;
        let [Operand { place: Place::Buffer(buffer), shape }] = step.outputs.as_slice() else {
            bail!("a kernel has one result, in a buffer");
        };
        let [main, branch] = floats;
        let memory = executor.buffers[*buffer].memory;
        let (own, other): (&mut [f32], &[f32]) = match memory {
            Memory::Main => (main, branch),
            Memory::Branch => (branch, main),
        };
        let (start, len) = (starts[*buffer], shape.iter().product::<usize>());
        ensure!(start + len <= own.len(), "a result in another thread's memory");
        let (before, rest) = own.split_at_mut(start);
        let (result, behind) = rest.split_at_mut(len);
        let own = Buffers { before, end: before.len() + result.len(), behind };
        let buffers = match memory {
            Memory::Main => [own, Buffers::all(other)],
            Memory::Branch => [Buffers::all(other), own],
        };
        let inputs: Inputs<'_> = step
            .inputs
            .iter()
            .map(|operand| Ok((find(executor, buffers, starts, held, operand)?, operand.shape.as_slice())))
            .collect::<TractResult<_>>()?;
        kernel.compute(&inputs, pool, scratch, result)
    }
}

impl Arena {
    /// Memory for one thread.
    pub(crate) fn new(executor: &Executor) -> TractResult<Arena> {
        let mut starts = vec![];
        let mut lens = [0; 2];
        for buffer in &executor.buffers {
            let len = &mut lens[buffer.memory as usize];
            starts.push(*len);
            *len = (*len + buffer.floats).next_multiple_of(LINE);
        }
        Ok(Arena {
            floats: [Floats::zeroed(lens[0])?, Floats::zeroed(lens[1])?],
            starts,
            held: vec![None; executor.held],
            states: executor.plans.iter().map(|plan| plan.spawn()).collect::<TractResult<_>>()?,
            scratch: Floats::zeroed(executor.scratch_len(1, |_| true))?,
            branch: None,
        })
    }

    /// Makes it one for a pool.
    pub(crate) fn set_pool(&mut self, executor: &Executor, pool: &ThreadPool) -> TractResult<()> {
        self.scratch = Floats::zeroed(executor.scratch_len(pool.threads(), |_| true))?;
        let in_branch = |step: &Step| step.turn.fork.is_some() && step.turn.memory == Memory::Branch;
        self.branch = match pool.threads() {
            1 => None,
            _ => Some(Branch {
                pool: ThreadPool::with_isa(NonZeroUsize::MIN, pool.isa())?,
                scratch: Floats::zeroed(executor.scratch_len(1, in_branch))?,
            }),
        };
        Ok(())
    }

    /// The floats of a buffer's memory.
    fn memory(&mut self, executor: &Executor, buffer: usize) -> &mut Floats {
        &mut self.floats[executor.buffers[buffer].memory as usize]
    }

    /// Puts the image into its slot.
    pub(crate) fn set(&mut self, executor: &Executor, slot: Slot, values: &[f32]) -> TractResult<()> {
        let Place::Buffer(buffer) = executor.slot(slot)?.place else { bail!("the image's slot is no buffer") };
        let at = self.starts[buffer];
        self.memory(executor, buffer)[at..][..values.len()].copy_from_slice(values);
        Ok(())
    }

    /// Sets a slot that takes an input to zeros.
    pub(crate) fn clear(&mut self, executor: &Executor, slot: Slot) -> TractResult<()> {
        let operand = executor.slot(slot)?;
        let Place::Buffer(buffer) = operand.place else { bail!("an input's slot is no buffer") };
        let at = self.starts[buffer];
        self.memory(executor, buffer)[at..][..operand.len()].fill(0.0);
        Ok(())
    }

    /// Makes what one slot holds the content of another, of an input: by swapping their buffers, which
    /// [`Executor::can_swap`] has to allow, or by copying.
    pub(crate) fn carry(&mut self, executor: &Executor, from: Slot, to: Slot, swap: bool) -> TractResult<()> {
        let (source, target) = (executor.slot(from)?, executor.slot(to)?);
        let Place::Buffer(target_buffer) = target.place else { bail!("an input's slot is no buffer") };
        if let (Place::Buffer(source_buffer), true) = (&source.place, swap) {
            self.starts.swap(*source_buffer, target_buffer);
            return Ok(());
        }
        // An input is in the main chain's memory; what becomes it may be in either.
        let len = target.len();
        let at = self.starts[target_buffer];
        let [main, branch] = &mut self.floats;
        let value: &[f32] = match &source.place {
            Place::Buffer(buffer) => {
                let begin = self.starts[*buffer];
                match executor.buffers[*buffer].memory {
                    Memory::Main => {
                        main.copy_within(begin..begin + len, at);
                        return Ok(());
                    }
                    Memory::Branch => &branch[begin..begin + len],
                }
            }
            Place::Held(held) => {
                weights::floats(self.held[*held].as_deref().context("a state is carried before it is made")?)?
            }
            Place::Weights { segment, at: from } => &executor.weights[*segment][*from..*from + len],
            Place::Constant(tensor) => weights::floats(tensor)?,
        };
        main[at..at + len].copy_from_slice(value);
        Ok(())
    }

    /// What a slot holds after the segment that makes it has run.
    pub(crate) fn get<'a>(&'a self, executor: &'a Executor, slot: Slot) -> TractResult<&'a [f32]> {
        find(executor, self.buffers(), &self.starts, &self.held, executor.slot(slot)?)
    }

    /// What stands in front of the classifier that [`Executor::features`] is of, after its segment has run.
    pub(crate) fn features<'a>(&'a self, executor: &'a Executor) -> TractResult<Option<&'a [f32]>> {
        let find = |operand| find(executor, self.buffers(), &self.starts, &self.held, operand);
        executor.features().map(find).transpose()
    }

    fn buffers(&self) -> [Buffers<'_>; 2] {
        [Buffers::all(&self.floats[0]), Buffers::all(&self.floats[1])]
    }

    /// A tensor as tract's operators take it: a copy where it is in a buffer.
    fn value(&self, executor: &Executor, operand: &Operand) -> TractResult<TValue> {
        let mut tensor = match &operand.place {
            Place::Held(held) => {
                let value = self.held[*held].clone().context("a value is read before it is made")?;
                if value.shape() == operand.shape.as_slice() {
                    return Ok(value);
                }
                value.into_tensor()
            }
            Place::Constant(tensor) => tensor.as_ref().clone(),
            Place::Buffer(_) | Place::Weights { .. } => {
                tensor1(find(executor, self.buffers(), &self.starts, &self.held, operand)?)
            }
        };
        tensor.set_shape(&operand.shape)?;
        Ok(tensor.into_tvalue())
    }

    /// What a kernel reads, before it runs.
    pub(super) fn inputs<'a>(&'a self, executor: &'a Executor, step: &'a Step) -> TractResult<Inputs<'a>> {
        let operands = step.inputs.iter();
        let input = |operand: &'a Operand| {
            let floats = find(executor, self.buffers(), &self.starts, &self.held, operand)?;
            Ok((floats, operand.shape.as_slice()))
        };
        operands.map(input).collect()
    }

    pub(super) fn run(&mut self, executor: &Executor, step: &Step, pool: &mut ThreadPool) -> TractResult<()> {
        match &step.action {
            Action::Kernel(kernel) => {
                let [main, branch] = &mut self.floats;
                let Arena { starts, held, scratch, .. } = self;
                Lane { executor, floats: [main, branch], starts, held, scratch }.compute(
                    step,
                    kernel.as_ref(),
                    pool,
                )?;
            }
            Action::Tract { state } => {
                let inputs = step.inputs.iter().map(|i| self.value(executor, i)).collect::<TractResult<_>>()?;
                let made = self.states[*state].run(inputs)?;
                for (operand, value) in step.outputs.iter().zip(made) {
                    let Place::Held(held) = operand.place else { bail!("tract's results are held") };
                    self.held[held] = Some(value);
                }
            }
        }
        for held in &step.last_reads {
            self.held[*held] = None;
        }
        Ok(())
    }

    /// Whether branches have a thread of their own.
    pub(super) fn forks(&self) -> bool {
        self.branch.is_some()
    }

    /// Runs the steps of a branch on one thread while `beside` run on the others; what is left of the branch when these have ended, on
    /// all threads.
    pub(super) fn fork<'s>(
        &mut self,
        executor: &Executor,
        branch: impl Iterator<Item = &'s Step> + Send,
        beside: impl Iterator<Item = &'s Step>,
        pool: &mut ThreadPool,
    ) -> TractResult<()> {
        let Some(own) = &mut self.branch else { bail!("a branch without a thread") };
        let ([main, other], starts) = (&mut self.floats, &*self.starts);
        let (mut left, mut branched, mut besides) = (branch, Ok(()), Ok(()));
        // Values of tract's operators are read by no step of a fork.
        let mut lane = Lane { executor, floats: [&mut [], other], starts, held: &[], scratch: &mut own.scratch };
        let mut chain = Lane { executor, floats: [main, &mut []], starts, held: &[], scratch: &mut self.scratch };
        pool.run_beside(
            &mut |stop| {
                while !stop.load(Ordering::Relaxed)
                    && branched.is_ok()
                    && let Some(step) = left.next()
                {
                    branched = lane.run(step, &mut own.pool);
                }
            },
            |pool| besides = beside.into_iter().try_for_each(|step| chain.run(step, pool)),
        );
        branched.and(besides)?;
        left.try_for_each(|step| self.run(executor, step, pool))
    }
}

/// The floats of an operand.
fn find<'a>(
    executor: &'a Executor,
    buffers: [Buffers<'a>; 2],
    starts: &[usize],
    held: &'a [Option<TValue>],
    operand: &'a Operand,
) -> TractResult<&'a [f32]> {
    match &operand.place {
        Place::Buffer(buffer) => {
            let place = starts[*buffer]..starts[*buffer] + operand.len();
            buffers[executor.buffers[*buffer].memory as usize].get(place)
        }
        Place::Held(value) => weights::floats(held[*value].as_deref().context("a value is read before it is made")?),
        Place::Weights { segment, at } => Ok(&executor.weights[*segment][*at..*at + operand.len()]),
        Place::Constant(tensor) => weights::floats(tensor),
    }
}
