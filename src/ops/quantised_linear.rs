//! A [`Linear`] whose weights are int8: rows are quantised by a static scale, products are exact integers, and the result
//! is f32 again, the same bits on every CPU.

use serde::{Deserialize, Serialize};
use tract_core::internal::*;

use super::epilogue::{Tail, WithTail};
use super::fused::{Fused, WeightFormat, fused_op, product, volume};
use super::linear::Linear;
use dyn_perceiver_kernels::gemm::{KernelFamily, Reduction, Rescale, gemm_i8, padded_i8, quantise};
use dyn_perceiver_kernels::memory::{as_bytes_mut, as_i8, as_i32};
use dyn_perceiver_kernels::thread_pool::ThreadPool;

/// The longest reduction whose sums fit 32 bits, with room to spare.
pub(crate) const LONGEST: usize = 1 << 16;

/// `activation((x quantised) * weights * scales + bias + residual)`. Inputs: x, whose last axes hold `reduction` entries a
/// row; the packed weights, four in a word; the sums of the weights of each column; the scale of each column, that of x
/// in it; then what the tail of `linear` says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct QuantisedLinear {
    pub linear: Linear,
    /// Bits of what a step of the bytes of x stands for, so that the operator has an equality.
    pub scale: u32,
    /// The byte that stands for 0.
    pub zero_point: u8,
    /// Whether the weights are larger than `vpmaddubsw` can add up, as other programs quantise them.
    pub wide: bool,
}

/// Inputs before those of the tail, less the two that a tail counts with.
const BEFORE_TAIL: usize = 2;

impl QuantisedLinear {
    /// Words of the packed weights.
    pub(crate) fn packed_words(reduction: usize, columns: usize) -> usize {
        KernelFamily::I8.packed_len(Reduction::whole(reduction), columns) / size_of::<f32>()
    }
}

impl Fused for QuantisedLinear {
    fn name(&self) -> &'static str {
        "QuantisedLinear"
    }

    fn is_linear(&self) -> bool {
        true
    }

    fn weights(&self) -> Option<WeightFormat> {
        Some(WeightFormat::Int8)
    }

    fn output_shape(&self, inputs: &[&[usize]]) -> TractResult<TVec<usize>> {
        ensure!(inputs.len() >= BEFORE_TAIL, "expected 4 inputs or more, found {}", inputs.len());
        self.linear.tail.check(&inputs[BEFORE_TAIL..])?;
        Ok(self.linear.shape.clone())
    }

    fn check(&self, inputs: &[&[usize]]) -> TractResult<()> {
        self.output_shape(inputs)?;
        let Linear { reduction, columns, shape, tail } = &self.linear;
        let (reduction, columns) = (*reduction, *columns);
        let (x, result) = (volume(inputs[0]), product(shape)?);
        let scale = f32::from_bits(self.scale);
        ensure!(scale.is_normal() && scale > 0.0, "a scale of {scale}");
        ensure!((1..=LONGEST).contains(&reduction) && columns > 0 && x > 0, "{reduction} x {columns} weights");
        product(&[padded_i8(reduction), columns.saturating_add(KernelFamily::I8.nr())])?;
        ensure!(volume(inputs[1]) == Self::packed_words(reduction, columns), "packed weights {:?}", inputs[1]);
        ensure!(volume(inputs[2]) == columns && volume(inputs[3]) == columns, "{columns} sums and scales");
        ensure!(x.is_multiple_of(reduction) && product(&[x / reduction, columns])? == result);
        product(&[x / reduction, padded_i8(reduction)])?;
        tail.check_sizes(&inputs[BEFORE_TAIL..], columns, result)
    }

    fn words(&self) -> std::ops::Range<usize> {
        1..3
    }

    fn scratch_len(&self, inputs: &[&[usize]], _threads: usize) -> usize {
        let rows = volume(inputs[0]) / self.linear.reduction;
        rows * padded_i8(self.linear.reduction) / size_of::<f32>()
    }

    fn compute(
        &self,
        inputs: &[(&[f32], &[usize])],
        pool: &mut ThreadPool,
        scratch: &mut [f32],
        out: &mut [f32],
    ) -> TractResult<()> {
        let (x, reduction) = (inputs[0].0, self.linear.reduction);
        let bytes = &mut as_bytes_mut(scratch)[..x.len() / reduction * padded_i8(reduction)];
        quantise(pool, x, reduction, f32::from_bits(self.scale), self.zero_point, bytes);
        let (column_sums, scales) = (as_i32(inputs[2].0), inputs[3].0);
        let rescale = Rescale { zero_point: self.zero_point, column_sums, scales, wide: self.wide };
        let (tail, stages) = (&self.linear.tail, self.linear.tail.stages(&inputs[BEFORE_TAIL..]));
        let epilogue = tail.epilogue(&inputs[BEFORE_TAIL..], &stages);
        gemm_i8(pool, bytes, reduction, as_i8(inputs[1].0), rescale, epilogue, out);
        Ok(())
    }

    fn macs(&self, inputs: &[&[usize]]) -> TractResult<usize> {
        self.linear.macs(inputs)
    }

    fn details(&self) -> Vec<String> {
        let Linear { reduction, columns, tail, .. } = &self.linear;
        let (scale, zero_point) = (f32::from_bits(self.scale), self.zero_point);
        vec![format!("{reduction} x {columns} int8, scale {scale}, zero point {zero_point}, {tail:?}")]
    }
}
fused_op!(QuantisedLinear);

impl WithTail for QuantisedLinear {
    fn tail_mut(&mut self) -> &mut Tail {
        &mut self.linear.tail
    }

    fn columns(&self) -> usize {
        self.linear.columns
    }
}
