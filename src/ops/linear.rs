//! Products of an activation with constant weights: every `EinSum` of that kind, be it a linear layer or a pointwise
//! convolution.

use serde::{Deserialize, Serialize};
use tract_core::internal::*;

use super::epilogue::{Scalable, Tail, WithTail};
use super::fused::{Fused, WeightFormat, fused_op, product, sequence, volume};
use dyn_perceiver_kernels::gemm;
use dyn_perceiver_kernels::thread_pool::ThreadPool;

/// Weights are packed in panels of this many columns at most, so there may be that many more of them.
const PANEL: usize = 64;

/// `activation(x * weights + bias + residual)`. Inputs: x, whose last axes hold `reduction` entries a row; the weights,
/// packed; then what `tail` says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Linear {
    pub reduction: usize,
    pub columns: usize,
    /// Shape of the output; its last axes hold `columns` entries.
    #[serde(with = "sequence")]
    pub shape: TVec<usize>,
    pub tail: Tail,
}

impl Fused for Linear {
    fn name(&self) -> &'static str {
        "Linear"
    }

    fn is_linear(&self) -> bool {
        true
    }

    fn weights(&self) -> Option<WeightFormat> {
        Some(WeightFormat::F32)
    }

    fn output_shape(&self, inputs: &[&[usize]]) -> TractResult<TVec<usize>> {
        self.tail.check(inputs)?;
        Ok(self.shape.clone())
    }

    fn check(&self, inputs: &[&[usize]]) -> TractResult<()> {
        self.tail.check(inputs)?;
        let (x, weights) = (volume(inputs[0]), volume(inputs[1]));
        product(&[self.reduction, self.columns.saturating_add(PANEL)])?;
        product(&self.shape)?;
        ensure!(self.columns > 0 && x > 0);
        ensure!(self.reduction > 0 && weights == gemm::packed_len(self.reduction, self.columns));
        ensure!(
            x.is_multiple_of(self.reduction) && product(&[x / self.reduction, self.columns])? == volume(&self.shape)
        );
        self.tail.check_sizes(inputs, self.columns, volume(&self.shape))
    }

    fn compute(
        &self,
        inputs: &[(&[f32], &[usize])],
        pool: &mut ThreadPool,
        _scratch: &mut [f32],
        out: &mut [f32],
    ) -> TractResult<()> {
        let stages = self.tail.stages(inputs);
        let epilogue = self.tail.epilogue(inputs, &stages);
        gemm::gemm(pool, inputs[0].0, self.reduction, inputs[1].0, self.columns, epilogue, out);
        Ok(())
    }

    fn macs(&self, _inputs: &[&[usize]]) -> TractResult<usize> {
        Ok(self.shape.iter().product::<usize>() * self.reduction)
    }

    fn details(&self) -> Vec<String> {
        vec![format!("{} x {} {:?}", self.reduction, self.columns, self.tail)]
    }
}
fused_op!(Linear);

impl WithTail for Linear {
    fn tail_mut(&mut self) -> &mut Tail {
        &mut self.tail
    }

    fn columns(&self) -> usize {
        self.columns
    }
}

impl Scalable for Linear {
    fn scale_weights(&self, packed: &mut [f32], scale: &dyn Fn(usize) -> f32) {
        gemm::scale_columns(packed, self.reduction, self.columns, scale);
    }
}
