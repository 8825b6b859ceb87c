//! Sums of rows and scaled rows, of halves where the CPU multiplies them.

#[cfg(target_arch = "aarch64")]
mod neon;

use super::{scale_rows, sum_rows};
#[cfg(target_arch = "aarch64")]
use crate::dispatch::HalfToken;
#[cfg(target_arch = "aarch64")]
use crate::halves::{Form, keep_floats};
use crate::thread_pool::ThreadPool;

/// As [`sum_rows`] for each of the images that `x` has. Where the CPU multiplies halves, `x` may be kept as halves.
pub fn sum_rows_f16(pool: &mut ThreadPool, x: &[f32], images: usize, scale: f32, out: &mut [f32]) {
    let (image, width) = (x.len() / images, out.len() / images);
    #[cfg(target_arch = "aarch64")]
    if let HalfToken::NeonFp16(kernel) = pool.half()
        && let Form::Halves(halves) = Form::of(x)
    {
        for (x, out) in halves.values.chunks_exact(image).zip(out.chunks_exact_mut(width)) {
            neon::sum_rows(pool, kernel, x, halves.largest, scale, out);
        }
        return;
    }
    for (x, out) in x.chunks_exact(image).zip(out.chunks_exact_mut(width)) {
        sum_rows(pool, x, scale, out);
    }
}

/// As [`scale_rows`] for each of the images that `x` has, by the image's own `scale`. Where the CPU multiplies halves, `x` may be kept as
/// halves, and then `out` is, where it can be. `scratch` has room for `x` and the scales of an image.
pub fn scale_rows_f16(
    pool: &mut ThreadPool,
    x: &[f32],
    images: usize,
    scale: &[f32],
    scratch: &mut [f32],
    out: &mut [f32],
) {
    let (image, width) = (x.len() / images, scale.len() / images);
    let floats = |pool: &mut ThreadPool, x: &[f32], out: &mut [f32]| {
        for ((x, scale), out) in x.chunks_exact(image).zip(scale.chunks_exact(width)).zip(out.chunks_exact_mut(image)) {
            scale_rows(pool, x, scale, out);
        }
    };
    #[cfg(target_arch = "aarch64")]
    if let HalfToken::NeonFp16(kernel) = pool.half() {
        match Form::of(x) {
            Form::Halves(halves) => {
                if neon::scale_rows(pool, kernel, halves, images, scale, scratch, out) {
                    return;
                }
                let wide = &mut scratch[..halves.values.len()];
                kernel.widen(halves.values, wide);
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
    use super::*;
    use crate::gemm::f16::convert::{from_f32, to_f32};
    use crate::halves::{Form, has_room};
    use crate::oracle::{for_each_half, kept, read};
    use crate::testing::values;

    fn halves(seed: u64, len: usize, scale: f32) -> Vec<f32> {
        values(seed, len).iter().map(|x| to_f32(from_f32(scale * x))).collect()
    }

    #[test]
    fn sums_of_rows_of_halves_match_reference() {
        for (width, rows, scale) in (1..70).flat_map(|width| [(width, 7, 1.0), (width, 4, 60_000.0), (width, 1, 1.0)]) {
            let images = 2;
            if !has_room(images * rows * width) {
                continue;
            }
            let x = halves(1, images * rows * width, scale);
            let sum = |i: usize| -> f64 {
                let image = &x[i / width * rows * width..][..rows * width];
                0.5 * image.chunks_exact(width).map(|row| f64::from(row[i % width])).sum::<f64>()
            };
            let kept = kept(&x);
            for_each_half(|pool| {
                for x in if pool.half_isa().is_arithmetic() { vec![&x, &kept] } else { vec![&x] } {
                    let mut out = vec![f32::NAN; images * width];
                    sum_rows_f16(pool, x, images, 0.5, &mut out);
                    for (i, found) in out.iter().enumerate() {
                        let error = (f64::from(*found) - sum(i)).abs();
                        assert!(error <= 2e-3 * f64::from(scale), "{pool:?}, {width}, {i}: off by {error}");
                    }
                }
            });
        }
    }

    #[test]
    fn scaled_rows_of_halves_match_reference() {
        for (width, rows, size, gate, expected) in (1..40).flat_map(|width| {
            let kept = [(8.0, 1.0), (300.0, 1.0), (60_000.0, 0.5), (60_000.0, 1e-3)].map(|(x, gate)| (x, gate, true));
            let other = [(60_000.0, 3.0), (0.05, 1e-4)].map(|(x, gate)| (x, gate, false));
            kept.into_iter().chain(other).map(move |(x, gate, expected)| (width, 5, x, gate, expected))
        }) {
            let images = 2;
            let x: Vec<f32> = halves(1, images * rows * width, size)
                .iter()
                .map(|x| to_f32(from_f32(x.abs().max(size / 2.0))))
                .collect();
            let scales: Vec<f32> = values(2, images * width).iter().map(|x| gate * (0.75 + 0.25 * x)).collect();
            let kept = kept(&x);
            for_each_half(|pool| {
                let arithmetic = pool.half_isa().is_arithmetic();
                for is_kept in [false, true] {
                    let x_ = if is_kept && arithmetic { &kept } else { &x };
                    let (mut out, mut scratch) = (vec![f32::NAN; x.len()], vec![f32::NAN; x.len() + width]);
                    scale_rows_f16(pool, x_, images, &scales, &mut scratch, &mut out);
                    let is_halves = matches!(Form::of(&out), Form::Halves(_));
                    assert_eq!(is_halves, arithmetic && is_kept && expected, "{size} {gate}");
                    for (i, found) in read(&out).0.iter().enumerate() {
                        let scale = scales[i / (rows * width) * width + i % width];
                        let (expected, limit) = (x[i] * scale, if is_halves { 1.5e-3 } else { 1e-6 });
                        assert!((found - expected).abs() <= limit * expected.abs(), "{found} instead of {expected}");
                    }
                }
            });
        }
    }
}
