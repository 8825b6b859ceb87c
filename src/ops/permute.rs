//! An operator that reorders axes, and the means to wire it.

use serde::{Deserialize, Serialize};
use tract_core::internal::*;

use super::fused::{Fused, fused_op, sequence};
use dyn_perceiver_kernels::thread_pool::ThreadPool;
use dyn_perceiver_kernels::transpose;

/// Output axis `k` is input axis `order[k]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Permute {
    #[serde(with = "sequence")]
    pub order: TVec<usize>,
}

impl Fused for Permute {
    fn name(&self) -> &'static str {
        "Permute"
    }

    fn output_shape(&self, inputs: &[&[usize]]) -> TractResult<TVec<usize>> {
        let shape = inputs[0];
        ensure!(shape.len() == self.order.len(), "order {:?} on shape {:?}", self.order, shape);
        Ok(self.order.iter().map(|a| shape[*a]).collect())
    }

    fn check(&self, inputs: &[&[usize]]) -> TractResult<()> {
        ensure!(inputs.len() == 1, "expected 1 input, found {}", inputs.len());
        let (rank, most) = (inputs[0].len(), transpose::MOST_AXES);
        ensure!(rank <= most, "{rank} axes, expected {most} at most");
        let mut sorted = self.order.clone();
        sorted.sort_unstable();
        ensure!(sorted.iter().copied().eq(0..inputs[0].len()), "order {:?} on shape {:?}", self.order, inputs[0]);
        Ok(())
    }

    fn is_reshape(&self, inputs: &[&[usize]]) -> bool {
        transpose::is_reshape(inputs[0], &self.order)
    }

    fn compute(
        &self,
        inputs: &[(&[f32], &[usize])],
        _pool: &mut ThreadPool,
        _scratch: &mut [f32],
        out: &mut [f32],
    ) -> TractResult<()> {
        let (x, shape) = inputs[0];
        transpose::transpose(x, shape, &self.order, out);
        Ok(())
    }

    fn details(&self) -> Vec<String> {
        vec![format!("order: {:?}", self.order)]
    }
}
fused_op!(Permute);

/// The order that undoes `order`.
pub(crate) fn inverse(order: &[usize]) -> TVec<usize> {
    let mut inverse: TVec<usize> = order.into();
    for (k, axis) in order.iter().enumerate() {
        inverse[*axis] = k;
    }
    inverse
}

/// A constant with its axes in `order`.
pub(crate) fn permuted_const(tensor: &Tensor, order: &[usize]) -> TractResult<Tensor> {
    tensor.clone().permute_axes(order)
}
