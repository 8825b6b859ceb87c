//! Tensors cut and put together along one axis: what a state takes from features, and where it goes in again.

use serde::{Deserialize, Serialize};
use tract_core::internal::*;

use super::fused::{Fused, fused_op, volume};
use dyn_perceiver_kernels::thread_pool::ThreadPool;

/// Inputs end to end along an axis.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Join {
    pub axis: usize,
}

/// `start..end` of an axis.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Part {
    pub axis: usize,
    pub start: usize,
    pub end: usize,
}

impl Fused for Join {
    fn name(&self) -> &'static str {
        "Join"
    }

    fn output_shape(&self, inputs: &[&[usize]]) -> TractResult<TVec<usize>> {
        let mut shape: TVec<usize> = inputs[0].into();
        shape[self.axis] = inputs.iter().map(|shape| shape[self.axis]).sum();
        Ok(shape)
    }

    fn check(&self, inputs: &[&[usize]]) -> TractResult<()> {
        let first = inputs.first().context("nothing to join")?;
        ensure!(self.axis < first.len(), "axis {} of {first:?}", self.axis);
        let alike = |shape: &&[usize]| {
            shape.len() == first.len() && (0..first.len()).all(|axis| axis == self.axis || shape[axis] == first[axis])
        };
        ensure!(inputs.iter().all(alike), "{inputs:?} along axis {}", self.axis);
        let length = inputs.iter().try_fold(0_usize, |sum, shape| sum.checked_add(shape[self.axis]));
        ensure!(length.is_some_and(|length| length <= 1 << 32), "{inputs:?} along axis {}", self.axis);
        Ok(())
    }

    fn compute(
        &self,
        inputs: &[(&[f32], &[usize])],
        _pool: &mut ThreadPool,
        _scratch: &mut [f32],
        out: &mut [f32],
    ) -> TractResult<()> {
        let row: usize = inputs.iter().map(|(_, shape)| volume(&shape[self.axis..])).sum();
        let mut begin = 0;
        for (x, shape) in inputs {
            let len = volume(&shape[self.axis..]);
            if len > 0 {
                for (x, out) in x.chunks_exact(len).zip(out.chunks_exact_mut(row)) {
                    out[begin..begin + len].copy_from_slice(x);
                }
            }
            begin += len;
        }
        Ok(())
    }

    fn details(&self) -> Vec<String> {
        vec![format!("axis: {}", self.axis)]
    }
}
fused_op!(Join);

impl Fused for Part {
    fn name(&self) -> &'static str {
        "Part"
    }

    fn output_shape(&self, inputs: &[&[usize]]) -> TractResult<TVec<usize>> {
        let mut shape: TVec<usize> = inputs[0].into();
        shape[self.axis] = self.end - self.start;
        Ok(shape)
    }

    fn check(&self, inputs: &[&[usize]]) -> TractResult<()> {
        ensure!(inputs.len() == 1, "expected 1 input, found {}", inputs.len());
        let length = inputs[0].get(self.axis).with_context(|| format!("axis {} of {:?}", self.axis, inputs[0]))?;
        ensure!(self.start < self.end && self.end <= *length, "{}..{} of {length}", self.start, self.end);
        Ok(())
    }

    fn compute(
        &self,
        inputs: &[(&[f32], &[usize])],
        _pool: &mut ThreadPool,
        _scratch: &mut [f32],
        out: &mut [f32],
    ) -> TractResult<()> {
        let (x, shape) = inputs[0];
        let inner = volume(&shape[self.axis + 1..]);
        let (row, len) = (shape[self.axis] * inner, (self.end - self.start) * inner);
        if len > 0 {
            for (x, out) in x.chunks_exact(row).zip(out.chunks_exact_mut(len)) {
                out.copy_from_slice(&x[self.start * inner..self.end * inner]);
            }
        }
        Ok(())
    }

    fn details(&self) -> Vec<String> {
        vec![format!("axis: {}, {}..{}", self.axis, self.start, self.end)]
    }
}
fused_op!(Part);
