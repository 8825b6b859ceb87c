//! Depthwise convolutions of halves that give halves, where the CPU multiplies them.

#[cfg(target_arch = "aarch64")]
mod neon;

use super::depthwise;
use super::tiles::covers;
use crate::convolution::Window;
use crate::gemm::Epilogue;
use crate::thread_pool::ThreadPool;

/// Whether [`depthwise_f16`] keeps results of such convolutions as halves.
pub fn keeps_halves(window: &Window, channels: usize) -> bool {
    covers(window, channels)
}

/// Halves of the weights and the bias, and floats of the images: the floats of scratch memory that [`depthwise_f16`] needs.
pub fn scratch_len_f16(images: usize, window: &Window, channels: usize) -> usize {
    let weights = (window.kernel[0] * window.kernel[1] + 1) * channels;
    weights.div_ceil(2) + images * window.input[0] * window.input[1] * channels
}

/// As [`depthwise`] for all images of `x`, without a residual or stages and with an activation that is not costly. Where the CPU multiplies
/// halves `x` may be kept as halves, and then `out` is, where it can be.
///
/// # Panics
/// A slice is too short.
#[allow(clippy::too_many_arguments)]
pub fn depthwise_f16(
    pool: &mut ThreadPool,
    x: &[f32],
    window: &Window,
    channels: usize,
    weights: &[f32],
    epilogue: Epilogue<'_>,
    scratch: &mut [f32],
    out: &mut [f32],
) {
    let [image, result] = [window.input, window.output].map(|[height, width]| height * width * channels);
    let floats = |pool: &mut ThreadPool, x: &[f32], out: &mut [f32]| {
        for (x, out) in x.chunks_exact(image).zip(out.chunks_exact_mut(result)) {
            depthwise(pool, x, window, channels, weights, epilogue, out);
        }
    };
    #[cfg(target_arch = "aarch64")]
    if let crate::dispatch::HalfToken::NeonFp16(kernel) = pool.half() {
        use crate::halves::{Form, keep_floats};

        match Form::of(x) {
            Form::Halves(x) => {
                let convolution = neon::Convolution { window: *window, channels, weights, epilogue };
                if convolution.keep(pool, kernel, x, scratch, out) {
                    return;
                }
                let wide = &mut scratch[..x.values.len()];
                kernel.widen(x.values, wide);
                floats(pool, wide, out);
            }
            Form::Floats(x) => floats(pool, x, out),
        }
        return keep_floats(out);
    }
    let _ = scratch;
    floats(pool, x, out);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::pack;
    use super::*;
    use crate::Activation;
    use crate::convolution::Shape;
    use crate::gemm::f16::convert::{from_f32, to_f32};
    use crate::halves::{Form, has_halves};
    use crate::oracle::{activation, activations, cases, convolution, for_each_half, kept, read};
    use crate::testing::values;

    /// Checks a convolution of values of size `scale`; gives back whether results were kept as halves wherever halves are multiplied.
    fn check(window: Window, images: usize, channels: usize, act: Activation, scale: f32, weight: f32) -> bool {
        let shape = Shape { window, channels_in: channels, channels_out: channels, groups: channels };
        let image = window.input[0] * window.input[1] * channels;
        let x: Vec<f32> = values(1, images * image).iter().map(|x| to_f32(from_f32(x * scale))).collect();
        let w: Vec<f32> = values(2, channels * window.kernel[0] * window.kernel[1])
            .iter()
            .map(|w| to_f32(from_f32(w * weight)))
            .collect();
        let bias = values(3, channels);
        let sums: Vec<f64> = x.chunks(image).flat_map(|x| convolution(x, &shape, &w, &bias)).collect();
        let magnitude = |values: &[f32]| values.iter().map(|value| value.abs()).collect::<Vec<f32>>();
        let sizes: Vec<f64> = magnitude(&x)
            .chunks(image)
            .flat_map(|x| convolution(x, &shape, &magnitude(&w), &magnitude(&bias)))
            .collect();
        let weights = pack(channels, window.kernel, &w);
        let epilogue = Epilogue { bias: Some(&bias), activation: act, ..Epilogue::default() };
        let (mut all_kept, mut first) = (true, None);
        for_each_half(|pool| {
            let arithmetic = pool.half_isa().is_arithmetic();
            for is_kept in [false, true] {
                let x = if is_kept && arithmetic { kept(&x) } else { x.clone() };
                let mut scratch = vec![f32::NAN; scratch_len_f16(images, &window, channels)];
                let mut out = vec![f32::NAN; sums.len()];
                depthwise_f16(pool, &x, &window, channels, &weights, epilogue, &mut scratch, &mut out);
                let is_halves = matches!(Form::of(&out), Form::Halves(_));
                assert!(!is_halves || arithmetic && is_kept);
                all_kept &= is_halves || !(arithmetic && is_kept);
                let (out, _) = read(&out);
                for (i, ((found, sum), size)) in out.iter().zip(&sums).zip(&sizes).enumerate() {
                    let error = (f64::from(*found) - activation(act, *sum)).abs();
                    let limit = if is_halves { 3e-3 } else { 2e-5 };
                    assert!(error <= limit * (0.5 + size), "{pool:?}, {i}: off by {error}, kept {is_halves}");
                }
                // The same bits on any number of threads.
                if is_halves {
                    let first = first.get_or_insert_with(|| out.clone());
                    assert!(first.iter().zip(&out).all(|(a, b)| a.to_bits() == b.to_bits()), "{pool:?}");
                }
            }
        });
        all_kept
    }

    proptest! {
        #![proptest_config(cases(100))]

        #[test]
        fn depthwise_of_halves_matches_reference(
            kernel in prop::sample::select(vec![3_usize, 5]), stride in 1_usize..3, height in 1_usize..8,
            above in 0_usize..7, columns in 7_usize..24, odd in 0_usize..2, channels in 8_usize..30, images in 1_usize..3,
            act in activations(), exponent in -3_i32..10,
        ) {
            prop_assume!(has_halves(act));
            let width = columns * stride - if stride == 2 { odd } else { 0 };
            let input = [height, width];
            // Rows may have as much padding as to have all taps in it.
            let padding = [above.max(kernel / 2), kernel / 2];
            let output = [0, 1].map(|axis| (input[axis] + 2 * padding[axis] - kernel) / stride + 1);
            let window = Window { input, output, kernel: [kernel; 2], stride: [stride; 2], padding };
            let all_kept = check(window, images, channels, act, 2.0_f32.powi(exponent), 1.0);
            let is_usual = columns.is_multiple_of(7) && (stride == 1 || odd == 0);
            prop_assert!(!is_usual || keeps_halves(&window, channels), "{window:?}");
            prop_assert!(all_kept || !keeps_halves(&window, channels), "{window:?}");
        }
    }

    /// Sums that may not be halves are made in f32, be they beyond the largest half or not.
    #[test]
    fn sums_that_may_be_beyond_halves_are_floats() {
        let window = Window { input: [4, 7], output: [4, 7], kernel: [3, 3], stride: [1, 1], padding: [1, 1] };
        assert!(check(window, 1, 8, Activation::Identity, 1.0, 1.0));
        let is_kept = |scale| check(window, 1, 8, Activation::Clamp { low: 0.0, high: 6.0 }, scale, 60.0);
        assert!(is_kept(64.0));
        let arithmetic = std::cell::Cell::new(false);
        for_each_half(|pool| arithmetic.set(arithmetic.get() || pool.half_isa().is_arithmetic()));
        assert!(!is_kept(60_000.0) || !arithmetic.get());
    }
}
