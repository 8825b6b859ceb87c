//! Every entry along an axis several times over: what enlarges an image to the nearest pixel.

use serde::{Deserialize, Serialize};
use tract_core::internal::*;

use super::fused::{Fused, fused_op, product, volume};
use dyn_perceiver_kernels::thread_pool::ThreadPool;

/// Entry `i` of an axis becomes entries `times * i` to `times * (i + 1) - 1`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Repeat {
    pub axis: usize,
    pub times: usize,
}

impl Fused for Repeat {
    fn name(&self) -> &'static str {
        "Repeat"
    }

    fn output_shape(&self, inputs: &[&[usize]]) -> TractResult<TVec<usize>> {
        let mut shape: TVec<usize> = inputs[0].into();
        shape[self.axis] = product(&[shape[self.axis], self.times])?;
        Ok(shape)
    }

    fn check(&self, inputs: &[&[usize]]) -> TractResult<()> {
        ensure!(inputs.len() == 1, "expected 1 input, found {}", inputs.len());
        ensure!(self.axis < inputs[0].len() && self.times > 0, "{self:?} of {:?}", inputs[0]);
        product(&self.output_shape(inputs)?)?;
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
        let len = volume(&shape[self.axis + 1..]);
        if len > 0 {
            for (entry, out) in x.chunks_exact(len).zip(out.chunks_exact_mut(len * self.times)) {
                out.chunks_exact_mut(len).for_each(|out| out.copy_from_slice(entry));
            }
        }
        Ok(())
    }

    fn details(&self) -> Vec<String> {
        vec![format!("axis: {}, times: {}", self.axis, self.times)]
    }
}
fused_op!(Repeat);
