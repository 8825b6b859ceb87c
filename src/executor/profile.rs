//! Where a frame's time goes, operator by operator.

use std::time::{Duration, Instant};

use dyn_perceiver_kernels::thread_pool::ThreadPool;
use tract_core::internal::*;

use super::{Action, Arena, Executor, Step};
use crate::graph::Slot;
use crate::ops::fused::WeightFormat;

/// Is given each kernel's name in the graph and its inputs, with their shapes, before it runs.
pub(crate) type Watcher<'a> = dyn FnMut(&str, &[(&[f32], &[usize])]) + 'a;

/// What one operator of a plan took.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct OperatorTime {
    /// The node's name in the graph.
    pub node: String,
    /// The kind of operator, such as `Convolution`; `tract:` and a name for one that tract runs.
    pub operator: String,
    /// Shapes of its inputs.
    pub shapes: Vec<Vec<usize>>,
    /// Multiply-accumulates; 0 where they are not known.
    pub macs: u64,
    /// The median over the frames that were timed.
    pub time: Duration,
}

/// Layers with constant weights, by what these are kept and multiplied as: convolutions and linear layers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LayerCounts {
    /// In float32.
    pub f32: usize,
    /// Kept in halves.
    pub f16: usize,
    /// In int8, with exact sums.
    pub int8: usize,
}

impl Executor {
    /// Counts the layers with weights.
    pub(crate) fn layers(&self) -> LayerCounts {
        let mut counts = LayerCounts::default();
        for step in self.segments.iter().flatten() {
            let Action::Kernel(kernel) = &step.action else { continue };
            match kernel.weights() {
                Some(WeightFormat::F32) => counts.f32 += 1,
                Some(WeightFormat::F16) => counts.f16 += 1,
                Some(WeightFormat::Int8) => counts.int8 += 1,
                None => {}
            }
        }
        counts
    }

    /// Times each step of `frames` whole frames of `image`, in the order in which they run.
    pub(crate) fn profile(
        &self,
        arena: &mut Arena,
        pool: &mut ThreadPool,
        input: Slot,
        image: &[f32],
        frames: usize,
    ) -> TractResult<Vec<OperatorTime>> {
        let steps: Vec<&Step> = self.segments.iter().flatten().collect();
        let mut times = vec![vec![]; steps.len()];
        for _ in 0..frames.max(1) {
            arena.set(self, input, image)?;
            for (step, times) in steps.iter().zip(&mut times) {
                let start = Instant::now();
                arena.run(self, step, pool)?;
                times.push(start.elapsed());
            }
        }
        let median = |mut times: Vec<Duration>| {
            times.sort_unstable();
            times[times.len() / 2]
        };
        Ok(steps.into_iter().zip(times).map(|(step, times)| self.operator_time(step, median(times))).collect())
    }

    /// Runs a whole frame of `image`; `see` is given each kernel's name in the graph and its inputs before it runs.
    pub(crate) fn observe(
        &self,
        arena: &mut Arena,
        pool: &mut ThreadPool,
        (input, image): (Slot, &[f32]),
        see: &mut Watcher<'_>,
    ) -> TractResult<()> {
        arena.set(self, input, image)?;
        for step in self.segments.iter().flatten() {
            if matches!(step.action, Action::Kernel(_)) {
                see(&step.name, &arena.inputs(self, step)?);
            }
            arena.run(self, step, pool)?;
        }
        Ok(())
    }

    fn operator_time(&self, step: &Step, time: Duration) -> OperatorTime {
        let shapes: Vec<&[usize]> = step.inputs.iter().map(|input| input.shape.as_slice()).collect();
        let (operator, macs) = match &step.action {
            Action::Kernel(kernel) => (kernel.name().to_owned(), kernel.macs(&shapes).unwrap_or(0) as u64),
            Action::Tract { state } => {
                let op = self.plans[*state].model().nodes().last().map(|node| node.op.name().into_owned());
                (format!("tract:{}", op.unwrap_or_default()), 0)
            }
        };
        let shapes = shapes.into_iter().map(<[usize]>::to_vec).collect();
        OperatorTime { node: step.name.clone(), operator, shapes, macs, time }
    }
}
