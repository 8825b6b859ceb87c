//! Average, sum and maximum pooling, in channels-last layout.

use serde::{Deserialize, Serialize};
use tract_core::internal::*;

use super::convolution::{check_image, image_shape};
use super::fused::{Fused, fused_op};
use dyn_perceiver_kernels::convolution::Window;
use dyn_perceiver_kernels::pooling::{self, Pooling};
use dyn_perceiver_kernels::thread_pool::ThreadPool;

/// Pools an image ([batch,] height, width, channels).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Pool {
    pub window: Window,
    pub pooling: Pooling,
}

impl Fused for Pool {
    fn name(&self) -> &'static str {
        "Pool"
    }

    fn output_shape(&self, inputs: &[&[usize]]) -> TractResult<TVec<usize>> {
        let shape = inputs[0];
        Ok(image_shape(shape, &self.window, shape[shape.len() - 1]))
    }

    fn check(&self, inputs: &[&[usize]]) -> TractResult<()> {
        ensure!(inputs.len() == 1, "expected 1 input, found {}", inputs.len());
        check_image(inputs[0], &self.window, inputs[0].last().copied().unwrap_or(0))
    }

    fn compute(
        &self,
        inputs: &[(&[f32], &[usize])],
        pool: &mut ThreadPool,
        _scratch: &mut [f32],
        out: &mut [f32],
    ) -> TractResult<()> {
        let (x, shape) = inputs[0];
        let channels = shape[shape.len() - 1];
        let [image, result] = [self.window.input, self.window.output].map(|[h, w]| h * w * channels);
        for (x, out) in x.chunks_exact(image).zip(out.chunks_exact_mut(result)) {
            pooling::pool(pool, x, &self.window, channels, self.pooling, out);
        }
        Ok(())
    }

    fn details(&self) -> Vec<String> {
        vec![format!("{:?} {:?}", self.pooling, self.window)]
    }
}
fused_op!(Pool);
