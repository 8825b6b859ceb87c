//! What a runtime keeps from frame to frame: buffers, values of tract's operators, and their states.

use std::ops::Range;

use smallvec::SmallVec;
use tract_core::internal::*;

use crate::weights;

use super::{Action, Executor, LINE, Operand, Place, Slot, Step};
use dyn_perceiver_kernels::memory::Floats;
use dyn_perceiver_kernels::thread_pool::ThreadPool;

/// What a kernel reads, with shapes, in place: a frame allocates nothing.
type Inputs<'a> = SmallVec<[(&'a [f32], &'a [usize]); 8]>;

/// The memory that one runtime works in; made for one [`Executor`].
pub(crate) struct Arena {
    /// All buffers, one after another.
    floats: Floats,
    /// Where each begins.
    starts: Vec<usize>,
    held: Vec<Option<TValue>>,
    states: Vec<TypedSimpleState>,
    /// Scratch memory of one operator at a time.
    scratch: Floats,
}

/// The buffers, or what is left of them while the result of a step is written.
#[derive(Clone, Copy)]
struct Buffers<'a> {
    /// The floats before the result.
    before: &'a [f32],
    /// Where those behind it begin.
    end: usize,
    behind: &'a [f32],
}

impl<'a> Buffers<'a> {
    fn get(self, place: Range<usize>) -> TractResult<&'a [f32]> {
        let found = match place.start.checked_sub(self.end) {
            Some(start) => self.behind.get(start..start + place.len()),
            None => self.before.get(place.clone()),
        };
        found.with_context(|| format!("{place:?} is not among the buffers, or is where the result goes"))
    }
}

impl Arena {
    /// Memory for a pool of so many threads.
    pub(crate) fn new(executor: &Executor, threads: usize) -> TractResult<Arena> {
        let mut starts = vec![];
        let mut len = 0;
        for buffer in &executor.buffers {
            starts.push(len);
            len = (len + buffer).next_multiple_of(LINE);
        }
        Ok(Arena {
            floats: Floats::zeroed(len)?,
            starts,
            held: vec![None; executor.held],
            states: executor.plans.iter().map(|plan| plan.spawn()).collect::<TractResult<_>>()?,
            scratch: Floats::zeroed(executor.scratch_len(threads))?,
        })
    }

    /// Makes it one for a pool of so many threads.
    pub(crate) fn set_threads(&mut self, executor: &Executor, threads: usize) -> TractResult<()> {
        self.scratch = Floats::zeroed(executor.scratch_len(threads))?;
        Ok(())
    }

    /// Puts the image into its slot.
    pub(crate) fn set(&mut self, executor: &Executor, slot: Slot, values: &[f32]) -> TractResult<()> {
        let Place::Buffer(buffer) = executor.slot(slot)?.place else { bail!("the image's slot is no buffer") };
        self.floats[self.starts[buffer]..][..values.len()].copy_from_slice(values);
        Ok(())
    }

    /// Sets a slot that takes an input to zeros.
    pub(crate) fn clear(&mut self, executor: &Executor, slot: Slot) -> TractResult<()> {
        let operand = executor.slot(slot)?;
        let Place::Buffer(buffer) = operand.place else { bail!("an input's slot is no buffer") };
        self.floats[self.starts[buffer]..][..operand.len()].fill(0.0);
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
        let len = target.len();
        let at = self.starts[target_buffer];
        match &source.place {
            Place::Buffer(buffer) => {
                let begin = self.starts[*buffer];
                self.floats.copy_within(begin..begin + len, at);
            }
            Place::Held(held) => {
                let value = self.held[*held].as_deref().context("a state is carried before it is made")?;
                self.floats[at..at + len].copy_from_slice(weights::floats(value)?);
            }
            Place::Weights { segment, at: from } => {
                self.floats[at..at + len].copy_from_slice(&executor.weights[*segment][*from..*from + len]);
            }
            Place::Constant(tensor) => self.floats[at..at + len].copy_from_slice(weights::floats(tensor)?),
        }
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

    fn buffers(&self) -> Buffers<'_> {
        Buffers { before: &[], end: 0, behind: &self.floats }
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
                let [Operand { place: Place::Buffer(buffer), shape }] = step.outputs.as_slice() else {
                    bail!("a kernel has one result, in a buffer");
                };
                let (before, rest) = self.floats.split_at_mut(self.starts[*buffer]);
                let (result, behind) = rest.split_at_mut(shape.iter().product());
                let buffers = Buffers { before, end: before.len() + result.len(), behind };
                let inputs: Inputs<'_> = step
                    .inputs
                    .iter()
                    .map(|operand| {
                        let floats = find(executor, buffers, &self.starts, &self.held, operand)?;
                        Ok((floats, operand.shape.as_slice()))
                    })
                    .collect::<TractResult<_>>()?;
                kernel.compute(&inputs, pool, &mut self.scratch, result)?;
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
}

/// The floats of an operand.
fn find<'a>(
    executor: &'a Executor,
    buffers: Buffers<'a>,
    starts: &[usize],
    held: &'a [Option<TValue>],
    operand: &'a Operand,
) -> TractResult<&'a [f32]> {
    match &operand.place {
        Place::Buffer(buffer) => buffers.get(starts[*buffer]..starts[*buffer] + operand.len()),
        Place::Held(value) => weights::floats(held[*value].as_deref().context("a value is read before it is made")?),
        Place::Weights { segment, at } => Ok(&executor.weights[*segment][*at..*at + operand.len()]),
        Place::Constant(tensor) => weights::floats(tensor),
    }
}
