//! Layer normalisation, which tract holds as a mean, a difference and an `RmsNorm`.

use serde::{Deserialize, Serialize};
use tract_core::internal::*;

use super::fused::{Fused, fused_op, volume};
use dyn_perceiver_kernels::norm::layer_norm;
use dyn_perceiver_kernels::thread_pool::ThreadPool;

/// Normalises along the last axis. Inputs: x, scale and shift (one value per entry of a row each).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LayerNorm {
    /// Bits of epsilon, so that the operator has an equality.
    pub epsilon: u32,
}

impl Fused for LayerNorm {
    fn name(&self) -> &'static str {
        "LayerNorm"
    }

    fn output_shape(&self, inputs: &[&[usize]]) -> TractResult<TVec<usize>> {
        Ok(inputs[0].into())
    }

    fn check(&self, inputs: &[&[usize]]) -> TractResult<()> {
        let [x, scale, shift] = inputs else { bail!("expected 3 inputs, found {}", inputs.len()) };
        ensure!(x.last().is_some_and(|row| *row > 0 && volume(scale) == *row && volume(shift) == *row));
        Ok(())
    }

    fn compute(
        &self,
        inputs: &[(&[f32], &[usize])],
        pool: &mut ThreadPool,
        _scratch: &mut [f32],
        out: &mut [f32],
    ) -> TractResult<()> {
        layer_norm(pool, inputs[0].0, inputs[1].0, inputs[2].0, f32::from_bits(self.epsilon), out);
        Ok(())
    }
}
fused_op!(LayerNorm);
