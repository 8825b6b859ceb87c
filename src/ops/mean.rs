//! Sums and means over the axes before the last, as global pooling and the mean over tokens are.

use serde::{Deserialize, Serialize};
use tract_core::internal::*;

use super::fused::{Fused, fused_op, volume};
use dyn_perceiver_kernels::pooling::{sum_rows, sum_rows_f16};
use dyn_perceiver_kernels::thread_pool::ThreadPool;

/// `scale` times the sum over the axes `from..to`, which stay with size 1; what is left behind them is summed entry by
/// entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Mean {
    pub from: usize,
    pub to: usize,
    /// Bits of the scale, so that the operator has an equality.
    pub scale: u32,
    /// Whether x is kept as halves where the CPU multiplies them, see [`dyn_perceiver_kernels::halves`].
    pub reads_halves: bool,
}

impl Fused for Mean {
    fn name(&self) -> &'static str {
        "Mean"
    }

    fn output_shape(&self, inputs: &[&[usize]]) -> TractResult<TVec<usize>> {
        let mut shape: TVec<usize> = inputs[0].into();
        shape[self.from..self.to].fill(1);
        Ok(shape)
    }

    fn check(&self, inputs: &[&[usize]]) -> TractResult<()> {
        let [x] = inputs else { bail!("expected 1 input, found {}", inputs.len()) };
        ensure!(self.from < self.to && self.to < x.len() && volume(x) > 0, "axes of {x:?}");
        Ok(())
    }

    fn compute(
        &self,
        inputs: &[(&[f32], &[usize])],
        pool: &mut ThreadPool,
        _scratch: &mut [f32],
        out: &mut [f32],
    ) -> TractResult<()> {
        let (x, shape) = inputs[0];
        if self.reads_halves {
            sum_rows_f16(pool, x, volume(&shape[..self.from]), f32::from_bits(self.scale), out);
            return Ok(());
        }
        let (rows, width) = (volume(&shape[self.from..self.to]), volume(&shape[self.to..]));
        for (x, out) in x.chunks_exact(rows * width).zip(out.chunks_exact_mut(width)) {
            sum_rows(pool, x, f32::from_bits(self.scale), out);
        }
        Ok(())
    }
}
fused_op!(Mean);
