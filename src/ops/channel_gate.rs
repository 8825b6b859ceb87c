//! Channels of an image scaled by a gate of one value each, as squeeze-and-excitation does.

use serde::{Deserialize, Serialize};
use tract_core::internal::*;

use super::fused::{Fused, fused_op, volume};
use dyn_perceiver_kernels::pooling::{scale_rows, scale_rows_f16};
use dyn_perceiver_kernels::thread_pool::ThreadPool;

/// `x * gate`. Inputs: x as (batch.., positions.., channels); the gate, which has `batch` leading axes as x, then axes
/// of size 1, then channels.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Scale {
    pub batch: usize,
    /// Whether x and the result are kept as halves where the CPU multiplies them, see [`dyn_perceiver_kernels::halves`].
    pub halves: bool,
}

impl Fused for Scale {
    fn name(&self) -> &'static str {
        "Scale"
    }

    fn output_shape(&self, inputs: &[&[usize]]) -> TractResult<TVec<usize>> {
        Ok(inputs[0].into())
    }

    fn check(&self, inputs: &[&[usize]]) -> TractResult<()> {
        let [x, gate] = inputs else { bail!("expected 2 inputs, found {}", inputs.len()) };
        ensure!(self.batch < x.len() && volume(x) > 0);
        ensure!(volume(gate) == volume(&x[..self.batch]) * x[x.len() - 1], "gate {gate:?} for {x:?}");
        Ok(())
    }

    fn scratch_len(&self, inputs: &[&[usize]], _threads: usize) -> usize {
        if self.halves { volume(inputs[0]) + volume(inputs[1]) } else { 0 }
    }

    fn compute(
        &self,
        inputs: &[(&[f32], &[usize])],
        pool: &mut ThreadPool,
        scratch: &mut [f32],
        out: &mut [f32],
    ) -> TractResult<()> {
        let ((x, shape), gate) = (inputs[0], inputs[1].0);
        if self.halves {
            scale_rows_f16(pool, x, volume(&shape[..self.batch]), gate, scratch, out);
            return Ok(());
        }
        let image: usize = shape[self.batch..].iter().product();
        let channels = shape[shape.len() - 1];
        let gates = gate.chunks_exact(channels);
        for ((x, gate), out) in x.chunks_exact(image).zip(gates).zip(out.chunks_exact_mut(image)) {
            scale_rows(pool, x, gate, out);
        }
        Ok(())
    }
}
fused_op!(Scale);
