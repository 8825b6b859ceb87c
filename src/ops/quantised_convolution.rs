//! A [`Convolution`] whose weights are int8: the image is quantised by a static scale, products are exact integers, and the
//! result is f32 again, the same bits on every CPU.

use serde::{Deserialize, Serialize};
use tract_core::internal::*;

use super::convolution::{Convolution, each_image, pixels};
use super::epilogue::{Tail, WithTail};
use super::fused::{Fused, WeightFormat, fused_op, volume};
use dyn_perceiver_kernels::convolution::{Shape, convolve_i8};
use dyn_perceiver_kernels::gemm::Rescale;
use dyn_perceiver_kernels::memory::{as_bytes_mut, as_i8, as_i32};
use dyn_perceiver_kernels::thread_pool::ThreadPool;

/// `activation((x quantised) * weights * scales + bias + residual)`. Inputs: x as ([batch,] height, width, channels); the
/// packed weights, four in a word; the sums of the weights of each column; the scale of each column, that of x in it; then
/// what the tail of `convolution` says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct QuantisedConvolution {
    pub convolution: Convolution,
    /// Bits of what a step of the bytes of x stands for, so that the operator has an equality.
    pub scale: u32,
    /// The byte that stands for 0.
    pub zero_point: u8,
    /// Whether the weights are larger than `vpmaddubsw` can add up, as other programs quantise them.
    pub wide: bool,
}

/// Inputs of a convolution in float, the scales where it has its weights.
fn as_float<T: Copy>(inputs: &[T]) -> TractResult<TVec<T>> {
    let [x, _, _, scales, tail @ ..] = inputs else { bail!("expected 4 inputs or more, found {}", inputs.len()) };
    Ok([*x, *scales].into_iter().chain(tail.iter().copied()).collect())
}

impl Fused for QuantisedConvolution {
    fn name(&self) -> &'static str {
        "QuantisedConvolution"
    }

    fn weights(&self) -> Option<WeightFormat> {
        Some(WeightFormat::Int8)
    }

    fn output_shape(&self, inputs: &[&[usize]]) -> TractResult<TVec<usize>> {
        self.convolution.output_shape(&as_float(inputs)?)
    }

    fn check(&self, inputs: &[&[usize]]) -> TractResult<()> {
        self.convolution.check_but_weights(&as_float(inputs)?)?;
        let (shape, scale) = (&self.convolution.shape, f32::from_bits(self.scale));
        ensure!(scale.is_normal() && scale > 0.0, "a scale of {scale}");
        ensure!(shape.fits_i8(), "a convolution of {shape:?}");
        ensure!(volume(inputs[1]) * size_of::<f32>() == shape.packed_len_i8(), "packed weights {:?}", inputs[1]);
        let columns = shape.channels_out;
        ensure!(volume(inputs[2]) == columns && volume(inputs[3]) == columns, "{columns} sums and scales");
        Ok(())
    }

    fn words(&self) -> std::ops::Range<usize> {
        1..3
    }

    fn scratch_len(&self, _inputs: &[&[usize]], _threads: usize) -> usize {
        self.convolution.shape.scratch_len_i8().div_ceil(size_of::<f32>())
    }

    fn compute(
        &self,
        inputs: &[(&[f32], &[usize])],
        pool: &mut ThreadPool,
        scratch: &mut [f32],
        out: &mut [f32],
    ) -> TractResult<()> {
        let Convolution { shape, tail } = &self.convolution;
        let Shape { window, channels_in, channels_out, .. } = *shape;
        let (image, result) = (pixels(window.input) * channels_in, pixels(window.output) * channels_out);
        let (weights, column_sums, scales) = (as_i8(inputs[1].0), as_i32(inputs[2].0), inputs[3].0);
        let rescale = Rescale { zero_point: self.zero_point, column_sums, scales, wide: self.wide };
        let (scale, bytes) = (f32::from_bits(self.scale), as_bytes_mut(scratch));
        each_image(&as_float(inputs)?, image, result, tail, out, |x, epilogue, out| {
            convolve_i8(pool, x, scale, shape, weights, rescale, epilogue, bytes, out);
        });
        Ok(())
    }

    fn macs(&self, inputs: &[&[usize]]) -> TractResult<usize> {
        self.convolution.macs(&as_float(inputs)?)
    }

    fn details(&self) -> Vec<String> {
        let Convolution { shape, tail } = &self.convolution;
        let (scale, zero_point) = (f32::from_bits(self.scale), self.zero_point);
        vec![format!("{shape:?} int8, scale {scale}, zero point {zero_point}, {tail:?}")]
    }
}
fused_op!(QuantisedConvolution);

impl WithTail for QuantisedConvolution {
    fn tail_mut(&mut self) -> &mut Tail {
        &mut self.convolution.tail
    }

    fn columns(&self) -> usize {
        self.convolution.shape.channels_out
    }
}
