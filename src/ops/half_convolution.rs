//! A [`Convolution`] of one image whose weights are halves: multiplied as they are where the CPU can, widened elsewhere.

use serde::{Deserialize, Serialize};
use tract_core::internal::*;

use super::convolution::{Convolution, pixels};
use super::fused::{Fused, WeightFormat, fused_op, volume};
use dyn_perceiver_kernels::convolution::convolve_f16;
use dyn_perceiver_kernels::halves::{Ends, has_room};
use dyn_perceiver_kernels::memory::as_u16;
use dyn_perceiver_kernels::thread_pool::ThreadPool;

/// As [`Convolution`], with the packed weights two in a word.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct HalfConvolution {
    pub convolution: Convolution,
    /// Whether x is kept as halves where the CPU multiplies them, see [`dyn_perceiver_kernels::halves`].
    pub reads_halves: bool,
    /// Whether the result is.
    pub makes_halves: bool,
}

impl HalfConvolution {
    /// Whether the result can be kept as halves.
    pub(crate) fn can_make_halves(&self) -> bool {
        let Convolution { shape, tail } = &self.convolution;
        tail.can_be_halves() && !tail.residual && has_room(pixels(shape.window.output) * shape.channels_out)
    }
}

impl Fused for HalfConvolution {
    fn name(&self) -> &'static str {
        "HalfConvolution"
    }

    fn weights(&self) -> Option<WeightFormat> {
        Some(WeightFormat::F16)
    }

    fn output_shape(&self, inputs: &[&[usize]]) -> TractResult<TVec<usize>> {
        self.convolution.output_shape(inputs)
    }

    fn check(&self, inputs: &[&[usize]]) -> TractResult<()> {
        self.convolution.check_but_weights(inputs)?;
        let shape = &self.convolution.shape;
        ensure!(volume(inputs[0]) == pixels(shape.window.input) * shape.channels_in, "{:?} is no image", inputs[0]);
        // Panels have an even number of columns.
        ensure!(2 * volume(inputs[1]) == shape.packed_len(), "packed weights {:?}", inputs[1]);
        ensure!(!self.makes_halves || self.can_make_halves(), "halves of {:?}", self.convolution);
        Ok(())
    }

    fn words(&self) -> std::ops::Range<usize> {
        1..2
    }

    fn scratch_len(&self, _inputs: &[&[usize]], threads: usize) -> usize {
        self.convolution.shape.scratch_len_f16(threads)
    }

    fn compute(
        &self,
        inputs: &[(&[f32], &[usize])],
        pool: &mut ThreadPool,
        scratch: &mut [f32],
        out: &mut [f32],
    ) -> TractResult<()> {
        let Convolution { shape, tail } = &self.convolution;
        let stages = tail.stages(inputs);
        let (epilogue, weights) = (tail.epilogue(inputs, &stages), as_u16(inputs[1].0));
        let ends = Ends { input: self.reads_halves, residual: false, output: self.makes_halves };
        convolve_f16(pool, inputs[0].0, shape, weights, epilogue, ends, scratch, out);
        Ok(())
    }

    fn macs(&self, inputs: &[&[usize]]) -> TractResult<usize> {
        self.convolution.macs(inputs)
    }

    fn details(&self) -> Vec<String> {
        let HalfConvolution { convolution: Convolution { shape, tail }, reads_halves, makes_halves } = self;
        vec![format!("{shape:?} f16 {tail:?}, halves in {reads_halves}, out {makes_halves}")]
    }
}
fused_op!(HalfConvolution);
