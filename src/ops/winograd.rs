//! 3x3 convolutions with stride 1 by Winograd's minimal filtering.

use serde::{Deserialize, Serialize};
use tract_core::internal::*;

use super::convolution::{Convolution, each_image, pixels};
use super::fused::{Fused, WeightFormat, fused_op, product, volume};
use dyn_perceiver_kernels::convolution::{Shape, winograd};
use dyn_perceiver_kernels::thread_pool::ThreadPool;

/// As [`Convolution`], with weights that are transformed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Winograd {
    pub convolution: Convolution,
}

impl Winograd {
    /// The operator for a convolution, if that is less work.
    pub(crate) fn of(convolution: &Convolution) -> Option<Winograd> {
        winograd::pays(&convolution.shape).then(|| Winograd { convolution: convolution.clone() })
    }

    fn shape(&self) -> &Shape {
        &self.convolution.shape
    }
}

/// Transformed weights are as many times more as a kernel has fewer places than a tile.
const TRANSFORMED: usize = 36;

impl Fused for Winograd {
    fn name(&self) -> &'static str {
        "Winograd"
    }

    fn weights(&self) -> Option<WeightFormat> {
        Some(WeightFormat::F32)
    }

    fn output_shape(&self, inputs: &[&[usize]]) -> TractResult<TVec<usize>> {
        self.convolution.output_shape(inputs)
    }

    fn check(&self, inputs: &[&[usize]]) -> TractResult<()> {
        self.convolution.check_but_weights(inputs)?;
        let shape = self.shape();
        ensure!(winograd::fits(shape), "a convolution of {shape:?}");
        // Tiles and their products, in scratch memory and for one group at a time in the weights.
        let Shape { window, channels_in, channels_out, groups } = *shape;
        product(&[window.output[0] + 4, window.output[1] + 4, TRANSFORMED, channels_in.saturating_add(channels_out)])?;
        product(&[TRANSFORMED, channels_in, (channels_out / groups).saturating_add(64)])?;
        ensure!(volume(inputs[1]) == winograd::packed_len(shape), "transformed weights {:?}", inputs[1]);
        Ok(())
    }

    fn scratch_len(&self, _inputs: &[&[usize]], threads: usize) -> usize {
        winograd::scratch_len(self.shape(), threads)
    }

    fn compute(
        &self,
        inputs: &[(&[f32], &[usize])],
        pool: &mut ThreadPool,
        scratch: &mut [f32],
        out: &mut [f32],
    ) -> TractResult<()> {
        let Shape { window, channels_in, channels_out, .. } = *self.shape();
        let (image, result) = (pixels(window.input) * channels_in, pixels(window.output) * channels_out);
        each_image(inputs, image, result, &self.convolution.tail, out, |x, epilogue, out| {
            winograd::convolve(pool, x, self.shape(), inputs[1].0, epilogue, scratch, out);
        });
        Ok(())
    }

    /// Those of the convolution it stands for: rates and costs stay comparable.
    fn macs(&self, inputs: &[&[usize]]) -> TractResult<usize> {
        self.convolution.macs(inputs)
    }

    fn details(&self) -> Vec<String> {
        self.convolution.details()
    }
}
fused_op!(Winograd);
