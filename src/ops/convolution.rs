//! Two-dimensional convolutions with constant weights, in channels-last layout.

use serde::{Deserialize, Serialize};
use tract_core::internal::*;

use super::epilogue::{Scalable, Stages, Tail, WithTail};
use super::fused::{Fused, WeightFormat, fused_op, product, volume};
use dyn_perceiver_kernels::convolution::{Shape, Window, convolve};
use dyn_perceiver_kernels::fake_quantise::Stage;
use dyn_perceiver_kernels::thread_pool::ThreadPool;
use dyn_perceiver_kernels::{depthwise, gemm};

/// Weights are packed in panels of this many columns at most, so there may be that many more of them.
const PANEL: usize = 64;

/// A dense or grouped convolution, `activation(x * weights + bias + residual)`. Inputs: x as ([batch,] height, width,
/// channels); the weights, packed; then what `tail` says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Convolution {
    pub shape: Shape,
    pub tail: Tail,
}

/// A convolution with one filter per channel; inputs as for [`Convolution`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Depthwise {
    pub window: Window,
    pub channels: usize,
    pub tail: Tail,
    /// Whether x and the result are kept as halves where the CPU multiplies them, see [`dyn_perceiver_kernels::halves`].
    pub halves: bool,
}

impl Depthwise {
    /// Whether x and the result can be kept as halves.
    pub(crate) fn can_be_halves(&self) -> bool {
        self.tail.can_be_halves() && !self.tail.residual && depthwise::keeps_halves(&self.window, self.channels)
    }
}

/// ([batch,] height, width, channels) of an output, from the shape of the input.
pub(crate) fn image_shape(input: &[usize], window: &Window, channels: usize) -> TVec<usize> {
    let mut shape: TVec<usize> = input.into();
    let rank = shape.len();
    shape[rank - 3] = window.output[0];
    shape[rank - 2] = window.output[1];
    shape[rank - 1] = channels;
    shape
}

/// That `input` is a batch of images that `window` slides over.
pub(crate) fn check_image(input: &[usize], window: &Window, channels: usize) -> TractResult<()> {
    let Window { input: [height, width], output, kernel, stride, padding } = *window;
    ensure!(input.len() >= 3 && input[input.len() - 3..] == [height, width, channels], "image of shape {input:?}");
    let sizes = || [height, width].into_iter().chain(output).chain(kernel).chain(stride);
    ensure!(channels > 0 && sizes().all(|size| (1..=LARGEST_SIDE).contains(&size)), "a window of {window:?}");
    ensure!(padding.iter().all(|size| *size <= LARGEST_SIDE), "a window of {window:?}");
    // What the windows span, padding behind the image counted in: some kernels make a copy of that size. It is bounded
    // by what the image and the weights have themselves.
    let span = |axis: usize| {
        let last = (output[axis] - 1) * stride[axis] + kernel[axis];
        last.max(window.input[axis] + padding[axis])
    };
    let own = product(&[height, width, channels])?.max(product(&[kernel[0], kernel[1], channels])?);
    let padded = product(&[span(0), span(1), channels])?;
    ensure!(
        padded <= own.saturating_mul(MOST_PADDING) || padded <= FREE,
        "a window of {window:?} spans {padded} values"
    );
    product(&[output[0], output[1], channels])?;
    Ok(())
}

/// Largest side of an image, a kernel or its padding.
pub(super) const LARGEST_SIDE: usize = 1 << 20;
/// How many times as large as the image and its kernel the padded image may be: a kernel of 13 x 13 on one pixel needs few.
const MOST_PADDING: usize = 64;
/// Padded images up to this size are not asked what they need it for.
const FREE: usize = 1 << 20;

/// Calls `f` with each image of a batch, its output, and where its residuals are.
pub(super) fn each_image<'a>(
    inputs: &[(&'a [f32], &[usize])],
    image: usize,
    result: usize,
    tail: &Tail,
    out: &mut [f32],
    mut f: impl FnMut(&[f32], gemm::Epilogue<'_>, &mut [f32]),
) {
    let all = tail.stages(inputs);
    let epilogue = tail.epilogue(inputs, &[]);
    for (i, (x, out)) in inputs[0].0.chunks_exact(image).zip(out.chunks_exact_mut(result)).enumerate() {
        let of_image = |residual: Option<&'a [f32]>| residual.map(|r| &r[i * result..(i + 1) * result]);
        let stages: Stages<'_> =
            all.iter().map(|stage| Stage { residual: of_image(stage.residual), ..*stage }).collect();
        f(x, gemm::Epilogue { residual: of_image(epilogue.residual), then: &stages, ..epilogue }, out);
    }
}

pub(super) fn pixels(pair: [usize; 2]) -> usize {
    pair[0] * pair[1]
}

impl Convolution {
    /// All that [`Fused::check`] looks at but the weights, whose length must be one that can be.
    pub(super) fn check_but_weights(&self, inputs: &[&[usize]]) -> TractResult<()> {
        self.tail.check(inputs)?;
        let Shape { window, channels_in, channels_out, groups } = self.shape;
        check_image(inputs[0], &window, channels_in)?;
        ensure!(groups > 0 && channels_in.is_multiple_of(groups) && channels_out.is_multiple_of(groups));
        ensure!(channels_out > 0);
        let [rows, columns] = window.kernel;
        let columns_of_group = (channels_out / groups).saturating_add(PANEL);
        product(&[rows, columns, channels_in / groups, columns_of_group, groups])?;
        product(&[window.output[0], window.output[1], channels_out])?;
        self.tail.check_sizes(inputs, channels_out, volume(&image_shape(inputs[0], &window, channels_out)))
    }
}

impl Fused for Convolution {
    fn name(&self) -> &'static str {
        "Convolution"
    }

    fn weights(&self) -> Option<WeightFormat> {
        Some(WeightFormat::F32)
    }

    fn output_shape(&self, inputs: &[&[usize]]) -> TractResult<TVec<usize>> {
        self.tail.check(inputs)?;
        Ok(image_shape(inputs[0], &self.shape.window, self.shape.channels_out))
    }

    fn check(&self, inputs: &[&[usize]]) -> TractResult<()> {
        self.check_but_weights(inputs)?;
        ensure!(volume(inputs[1]) == self.shape.packed_len());
        Ok(())
    }

    fn scratch_len(&self, _inputs: &[&[usize]], threads: usize) -> usize {
        self.shape.scratch_len(threads)
    }

    fn compute(
        &self,
        inputs: &[(&[f32], &[usize])],
        pool: &mut ThreadPool,
        scratch: &mut [f32],
        out: &mut [f32],
    ) -> TractResult<()> {
        let Shape { window, channels_in, channels_out, .. } = self.shape;
        let (image, result) = (pixels(window.input) * channels_in, pixels(window.output) * channels_out);
        each_image(inputs, image, result, &self.tail, out, |x, epilogue, out| {
            convolve(pool, x, &self.shape, inputs[1].0, epilogue, scratch, out);
        });
        Ok(())
    }

    fn macs(&self, inputs: &[&[usize]]) -> TractResult<usize> {
        let outputs: usize = self.output_shape(inputs)?.iter().product();
        Ok(outputs * pixels(self.shape.window.kernel) * (self.shape.channels_in / self.shape.groups))
    }

    fn details(&self) -> Vec<String> {
        vec![format!("{:?} {:?}", self.shape, self.tail)]
    }
}
fused_op!(Convolution);

impl Fused for Depthwise {
    fn name(&self) -> &'static str {
        "Depthwise"
    }

    fn weights(&self) -> Option<WeightFormat> {
        Some(WeightFormat::F32)
    }

    fn output_shape(&self, inputs: &[&[usize]]) -> TractResult<TVec<usize>> {
        self.tail.check(inputs)?;
        Ok(image_shape(inputs[0], &self.window, self.channels))
    }

    fn check(&self, inputs: &[&[usize]]) -> TractResult<()> {
        self.tail.check(inputs)?;
        check_image(inputs[0], &self.window, self.channels)?;
        ensure!(volume(inputs[1]) == pixels(self.window.kernel) * self.channels);
        ensure!(!self.halves || self.can_be_halves(), "halves of {:?} {:?}", self.window, self.tail);
        let result = image_shape(inputs[0], &self.window, self.channels);
        self.tail.check_sizes(inputs, self.channels, volume(&result))
    }

    fn scratch_len(&self, inputs: &[&[usize]], _threads: usize) -> usize {
        let image = pixels(self.window.input) * self.channels;
        if self.halves { depthwise::scratch_len_f16(volume(inputs[0]) / image, &self.window, self.channels) } else { 0 }
    }

    fn compute(
        &self,
        inputs: &[(&[f32], &[usize])],
        pool: &mut ThreadPool,
        scratch: &mut [f32],
        out: &mut [f32],
    ) -> TractResult<()> {
        if self.halves {
            let epilogue = self.tail.epilogue(inputs, &[]);
            let (x, weights) = (inputs[0].0, inputs[1].0);
            depthwise::depthwise_f16(pool, x, &self.window, self.channels, weights, epilogue, scratch, out);
            return Ok(());
        }
        let (image, result) = (pixels(self.window.input) * self.channels, pixels(self.window.output) * self.channels);
        each_image(inputs, image, result, &self.tail, out, |x, epilogue, out| {
            depthwise::depthwise(pool, x, &self.window, self.channels, inputs[1].0, epilogue, out);
        });
        Ok(())
    }

    fn macs(&self, inputs: &[&[usize]]) -> TractResult<usize> {
        Ok(self.output_shape(inputs)?.iter().product::<usize>() * pixels(self.window.kernel))
    }

    fn details(&self) -> Vec<String> {
        vec![format!("{:?} {} halves {} {:?}", self.window, self.channels, self.halves, self.tail)]
    }
}
fused_op!(Depthwise);

impl WithTail for Convolution {
    fn tail_mut(&mut self) -> &mut Tail {
        &mut self.tail
    }

    fn columns(&self) -> usize {
        self.shape.channels_out
    }
}

impl Scalable for Convolution {
    fn scale_weights(&self, packed: &mut [f32], scale: &dyn Fn(usize) -> f32) {
        self.shape.scale_columns(packed, scale);
    }
}

impl WithTail for Depthwise {
    fn tail_mut(&mut self) -> &mut Tail {
        &mut self.tail
    }

    fn columns(&self) -> usize {
        self.channels
    }
}

impl Scalable for Depthwise {
    fn scale_weights(&self, packed: &mut [f32], scale: &dyn Fn(usize) -> f32) {
        packed.iter_mut().enumerate().for_each(|(i, w)| *w *= scale(i % self.channels));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window() -> Window {
        Window { input: [8, 8], output: [8, 8], kernel: [3, 3], stride: [1, 1], padding: [1, 1] }
    }

    #[test]
    fn windows_of_networks_are_accepted() {
        let check =
            |window: &Window, channels| check_image(&[1, window.input[0], window.input[1], channels], window, channels);
        check(&window(), 4).unwrap();
        // A large kernel on a single pixel, as at the end of small networks.
        let pixel = Window { input: [1, 1], output: [1, 1], kernel: [7, 7], stride: [1, 1], padding: [3, 3] };
        check(&pixel, 4096).unwrap();
        let rows = Window { input: [1, 64], output: [1, 60], kernel: [1, 5], stride: [1, 1], padding: [0, 0] };
        check(&rows, 16).unwrap();
    }

    #[test]
    fn windows_that_wrap_or_ask_for_any_memory_are_refused() {
        let huge = [1 << 31, 1 << 44, 1 << 62, (1 << 63) - 1, 1 << 63, usize::MAX];
        for size in huge {
            let edits: [fn(&mut Window, usize); 5] = [
                |window, size| window.padding[0] = size,
                |window, size| window.kernel[1] = size,
                |window, size| window.stride[0] = size,
                |window, size| window.output[1] = size,
                |window, size| window.input[0] = size,
            ];
            for edit in edits {
                let mut wrong = window();
                edit(&mut wrong, size);
                assert!(check_image(&[1, wrong.input[0], 8, 4], &wrong, 4).is_err(), "{wrong:?}");
            }
        }
        // Sizes that are each possible, but make a copy of terabytes.
        let spread = Window { stride: [1 << 19, 1 << 19], ..window() };
        assert!(check_image(&[1, 8, 8, 4], &spread, 4).is_err());
        assert!(check_image(&[8, 8], &window(), 4).is_err());
        assert!(check_image(&[8, 8, 0], &window(), 0).is_err());
    }

    #[test]
    fn packed_weights_of_a_length_that_wraps_are_refused() {
        let shape = Shape { window: window(), channels_in: 4, channels_out: 1 << 62, groups: 1 };
        let op = Convolution { shape, tail: Tail::default() };
        assert!(op.check(&[&[1, 8, 8, 4], &[144]]).is_err());
    }
}
