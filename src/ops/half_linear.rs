//! A [`Linear`] whose weights are halves: multiplied as they are where the CPU can, widened elsewhere.

use serde::{Deserialize, Serialize};
use tract_core::internal::*;

use super::epilogue::Tail;
use super::fused::{Fused, WeightFormat, fused_op, product, volume};
use super::linear::Linear;
use dyn_perceiver_kernels::gemm::{gemm_f16, packed_len_f16, scratch_len_f16};
use dyn_perceiver_kernels::halves::{Ends, has_room};
use dyn_perceiver_kernels::memory::as_u16;
use dyn_perceiver_kernels::thread_pool::ThreadPool;

/// As [`Linear`], with the packed weights two in a word.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct HalfLinear {
    pub linear: Linear,
    /// Whether x is kept as halves where the CPU multiplies them, see [`dyn_perceiver_kernels::halves`].
    pub reads_halves: bool,
    /// Whether the residual is.
    pub adds_halves: bool,
    /// Whether the result is.
    pub makes_halves: bool,
}

impl HalfLinear {
    /// Whether the result can be kept as halves.
    pub(crate) fn can_make_halves(&self) -> bool {
        self.linear.tail.can_be_halves() && has_room(volume(&self.linear.shape))
    }

    /// The input that is the residual.
    pub(crate) fn residual(&self) -> Option<usize> {
        let Tail { bias, residual, .. } = self.linear.tail;
        residual.then_some(2 + usize::from(bias))
    }

    fn ends(&self) -> Ends {
        Ends { input: self.reads_halves, residual: self.adds_halves, output: self.makes_halves }
    }
}

impl Fused for HalfLinear {
    fn name(&self) -> &'static str {
        "HalfLinear"
    }

    fn is_linear(&self) -> bool {
        true
    }

    fn weights(&self) -> Option<WeightFormat> {
        Some(WeightFormat::F16)
    }

    fn output_shape(&self, inputs: &[&[usize]]) -> TractResult<TVec<usize>> {
        self.linear.output_shape(inputs)
    }

    fn check(&self, inputs: &[&[usize]]) -> TractResult<()> {
        let Linear { reduction, columns, shape, tail } = &self.linear;
        let (reduction, columns) = (*reduction, *columns);
        tail.check(inputs)?;
        let (x, result) = (volume(inputs[0]), product(shape)?);
        ensure!(reduction > 0 && columns > 0 && x > 0, "{reduction} x {columns} weights");
        product(&[reduction, columns.saturating_add(64)])?;
        ensure!(volume(inputs[1]) == packed_len_f16(reduction, columns) / 2, "packed weights {:?}", inputs[1]);
        ensure!(x.is_multiple_of(reduction) && product(&[x / reduction, columns])? == result);
        ensure!(!self.makes_halves || self.can_make_halves(), "halves of {tail:?}");
        tail.check_sizes(inputs, columns, result)
    }

    fn words(&self) -> std::ops::Range<usize> {
        1..2
    }

    fn scratch_len(&self, inputs: &[&[usize]], _threads: usize) -> usize {
        scratch_len_f16(volume(inputs[0]), volume(&self.linear.shape), self.ends())
    }

    fn compute(
        &self,
        inputs: &[(&[f32], &[usize])],
        pool: &mut ThreadPool,
        scratch: &mut [f32],
        out: &mut [f32],
    ) -> TractResult<()> {
        let Linear { reduction, columns, tail, .. } = &self.linear;
        let stages = tail.stages(inputs);
        let (epilogue, weights) = (tail.epilogue(inputs, &stages), as_u16(inputs[1].0));
        gemm_f16(pool, inputs[0].0, *reduction, weights, *columns, epilogue, self.ends(), scratch, out);
        Ok(())
    }

    fn macs(&self, inputs: &[&[usize]]) -> TractResult<usize> {
        self.linear.macs(inputs)
    }

    fn details(&self) -> Vec<String> {
        let Linear { reduction, columns, tail, .. } = &self.linear;
        vec![format!("{reduction} x {columns} f16 {tail:?} {:?}", self.ends())]
    }
}
fused_op!(HalfLinear);
