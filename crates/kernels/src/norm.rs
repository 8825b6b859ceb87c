//! Layer normalisation and softmax along rows.

use crate::dispatch::dispatch_wide;
use crate::math::exp_below_zero;
use crate::simd::Simd;
use crate::thread_pool::ThreadPool;

/// Lanes of a partial sum: independent accumulators hide the latency of the additions.
const LANES: usize = 16;

/// Vectors that hold so many, at most.
const VECTORS: usize = LANES / 4;

/// Rows taken at once: along one row each step waits for the one before.
const ROWS: usize = 4;

/// The sum of all lanes, or with `LARGEST` the largest. Folded by halves, vectors as long as there are several: lanes one by one would leave
/// their registers.
#[inline(always)]
fn fold_lanes<S: Simd, const LARGEST: bool>(simd: S, lanes: &[f32; LANES]) -> f32 {
    let mut all = [simd.splat(0.0); VECTORS];
    let mut count = const { LANES / S::LANES };
    for (v, vector) in all.iter_mut().enumerate().take(count) {
        // SAFETY: so many vectors are LANES floats.
        *vector = unsafe { simd.load(lanes.as_ptr().add(v * S::LANES)) };
    }
    while count > 1 {
        count /= 2;
        for v in 0..count {
            let (a, b) = (all[v], all[v + count]);
            all[v] = if LARGEST { simd.max(a, b) } else { simd.add(a, b) };
        }
    }
    let mut lanes = [0.0; LANES];
    // SAFETY: no vector has more floats than LANES.
    unsafe { simd.store(lanes.as_mut_ptr(), all[0]) };
    let mut width = const { S::LANES / 2 };
    while width > 0 {
        for i in 0..width {
            let (a, b) = (lanes[i], lanes[i + width]);
            lanes[i] = if LARGEST { larger(a, b) } else { a + b };
        }
        width /= 2;
    }
    lanes[0]
}

#[inline(always)]
fn larger(a: f32, b: f32) -> f32 {
    if b > a { b } else { a }
}

/// Of `N` rows of `width` entries each, the sum of the entries' distances from `from`, to the power of 1 or, if `SQUARED`, 2.
#[inline(always)]
fn sums<S: Simd, const N: usize, const SQUARED: bool>(simd: S, rows: &[f32], width: usize, from: [f32; N]) -> [f32; N] {
    let rows = rows[..N * width].as_ptr();
    let (mut parts, mut at) = ([[simd.splat(0.0); VECTORS]; N], 0);
    // Whole blocks of vectors, then single vectors.
    for vectors in [const { LANES / S::LANES }, 1] {
        while at + vectors * S::LANES <= width {
            for (row, (parts, from)) in parts.iter_mut().zip(from).enumerate() {
                for (v, part) in parts.iter_mut().enumerate().take(vectors) {
                    // SAFETY: the vector ends within the row, and there are N of these.
                    let x = unsafe { simd.load(rows.add(row * width + at + v * S::LANES)) };
                    let distance = simd.sub(x, simd.splat(from));
                    *part = if SQUARED { simd.mul_add(distance, distance, *part) } else { simd.add(*part, distance) };
                }
            }
            at += vectors * S::LANES;
        }
    }
    let mut sums = [0.0; N];
    for row in 0..N {
        let mut lanes = [0.0; LANES];
        for (v, part) in parts[row].iter().enumerate().take(const { LANES / S::LANES }) {
            // SAFETY: as many vectors are as many floats.
            unsafe { simd.store(lanes.as_mut_ptr().add(v * S::LANES), *part) };
        }
        sums[row] = fold_lanes::<S, false>(simd, &lanes);
        for i in at..width {
            // SAFETY: the entry is within the row.
            let distance = unsafe { *rows.add(row * width + i) } - from[row];
            sums[row] = if SQUARED { simd.mul_add_scalar(distance, distance, sums[row]) } else { sums[row] + distance };
        }
    }
    sums
}

/// `(x - mean) * inverse * scale + shift` along a row.
#[inline(always)]
fn scale_row<S: Simd>(simd: S, x: &[f32], [mean, inverse]: [f32; 2], [scale, shift]: [&[f32]; 2], out: &mut [f32]) {
    let width = out.len();
    let [x, scale, shift] = [x, scale, shift].map(|values| values[..width].as_ptr());
    let (out, mut at) = (out.as_mut_ptr(), 0);
    let (means, inverses) = (simd.splat(mean), simd.splat(inverse));
    for vectors in [const { LANES / S::LANES }, 1] {
        while at + vectors * S::LANES <= width {
            // All are read before any is written, so that two come by one instruction where there is one for that.
            let mut read = [[simd.splat(0.0); 3]; VECTORS];
            for (v, read) in read.iter_mut().enumerate().take(vectors) {
                // SAFETY: the vector ends within the width, which all three have.
                unsafe {
                    *read = [
                        simd.load(x.add(at + v * S::LANES)),
                        simd.load(scale.add(at + v * S::LANES)),
                        simd.load(shift.add(at + v * S::LANES)),
                    ];
                }
            }
            for (v, [x, scale, shift]) in read.into_iter().enumerate().take(vectors) {
                let y = simd.mul(simd.sub(x, means), inverses);
                // SAFETY: as above, of what is written.
                unsafe { simd.store(out.add(at + v * S::LANES), simd.mul_add(y, scale, shift)) };
            }
            at += vectors * S::LANES;
        }
    }
    for i in at..width {
        // SAFETY: as above.
        unsafe { *out.add(i) = simd.mul_add_scalar((*x.add(i) - mean) * inverse, *scale.add(i), *shift.add(i)) };
    }
}

/// Of `N` rows.
#[inline(always)]
fn layer_norm_of<S: Simd, const N: usize>(
    simd: S,
    x: &[f32],
    [scale, shift]: [&[f32]; 2],
    epsilon: f32,
    out: &mut [f32],
) {
    let width = scale.len();
    let mut mean = sums::<S, N, false>(simd, x, width, [0.0; N]);
    for mean in &mut mean {
        *mean /= width as f32;
    }
    let variance = sums::<S, N, true>(simd, x, width, mean);
    for row in 0..N {
        let inverse = 1.0 / (variance[row] / width as f32 + epsilon).sqrt();
        let (x, out) = (&x[row * width..][..width], &mut out[row * width..][..width]);
        scale_row(simd, x, [mean[row], inverse], [scale, shift], out);
    }
}

#[inline(always)]
fn layer_norm_body<S: Simd>(simd: S, x: &[f32], scale: &[f32], shift: &[f32], epsilon: f32, out: &mut [f32]) {
    let width = scale.len();
    let whole = out.len() / (ROWS * width) * (ROWS * width);
    let (blocks, rest) = out.split_at_mut(whole);
    for (x, out) in x.chunks_exact(ROWS * width).zip(blocks.chunks_exact_mut(ROWS * width)) {
        layer_norm_of::<S, ROWS>(simd, x, [scale, shift], epsilon, out);
    }
    for (x, out) in x[whole..].chunks_exact(width).zip(rest.chunks_exact_mut(width)) {
        layer_norm_of::<S, 1>(simd, x, [scale, shift], epsilon, out);
    }
}

dispatch_wide! {
    fn some_rows(x: &[f32], scale: &[f32], shift: &[f32], epsilon: f32, out: &mut [f32]) = layer_norm_body;
}

/// Normalises each row of `x` (`scale.len()` entries) to mean 0 and variance 1, then scales and shifts it:
/// `(x - mean) / sqrt(variance + epsilon) * scale + shift` (Ba et al., 2016).
pub fn layer_norm(pool: &mut ThreadPool, x: &[f32], scale: &[f32], shift: &[f32], epsilon: f32, out: &mut [f32]) {
    let width = scale.len();
    let rows = out.len() / width;
    let chunk = rows.div_ceil(pool.parts(4 * out.len(), rows)) * width;
    let token = pool.token();
    pool.run_chunks(out, chunk, &|part, out| {
        some_rows(token, &x[part * chunk..][..out.len()], scale, shift, epsilon, out);
    });
}

/// Softmax of the first `width` entries of each row of `stride` entries, a multiple of [`LANES`]; the others become 0.
#[inline(always)]
pub(crate) fn softmax_rows<S: Simd>(simd: S, rows: &mut [f32], stride: usize, width: usize) {
    let vectors = stride / LANES;
    let mut blocks = rows.as_chunks_mut::<LANES>().0.chunks_exact_mut(ROWS * vectors);
    for block in &mut blocks {
        softmax_of::<S, ROWS>(simd, block, vectors, width);
    }
    for row in blocks.into_remainder().chunks_exact_mut(vectors) {
        softmax_of::<S, 1>(simd, row, vectors, width);
    }
}

/// Of `N` rows of so many vectors each.
#[inline(always)]
fn softmax_of<S: Simd, const N: usize>(simd: S, rows: &mut [[f32; LANES]], vectors: usize, width: usize) {
    // Of what pads a row exp gives 0.
    for row in 0..N {
        rows.as_flattened_mut()[row * vectors * LANES..][width..vectors * LANES].fill(f32::NEG_INFINITY);
    }
    let mut max = [[f32::NEG_INFINITY; LANES]; N];
    for v in 0..vectors {
        for row in 0..N {
            for lane in 0..LANES {
                max[row][lane] = larger(max[row][lane], rows[row * vectors + v][lane]);
            }
        }
    }
    let mut largest = [0.0; N];
    for row in 0..N {
        largest[row] = fold_lanes::<S, true>(simd, &max[row]);
    }
    let mut total = [[0.0; LANES]; N];
    for v in 0..vectors {
        for row in 0..N {
            let x = &mut rows[row * vectors + v];
            for lane in 0..LANES {
                x[lane] = exp_below_zero(simd, x[lane] - largest[row]);
                total[row][lane] += x[lane];
            }
        }
    }
    let mut inverse = [0.0; N];
    for row in 0..N {
        inverse[row] = 1.0 / fold_lanes::<S, false>(simd, &total[row]);
    }
    for v in 0..vectors {
        for row in 0..N {
            for x in &mut rows[row * vectors + v] {
                *x *= inverse[row];
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::oracle::{assert_close, cases, for_each_isa, most};
    use crate::testing::values;

    dispatch_wide! {
        fn softmax(rows: &mut [f32], stride: usize, width: usize) = softmax_rows;
    }

    proptest! {
        #![proptest_config(cases(256))]

        #[test]
        fn layer_norm_matches_reference(rows in 1_usize..9, width in 1..most(67), mean in -100.0_f32..100.0) {
            let x: Vec<f32> = values(1, rows * width).iter().map(|x| x + mean).collect();
            let (scale, shift) = (values(2, width), values(3, width));
            let expected: Vec<f32> = x
                .chunks(width)
                .flat_map(|row| {
                    let mean = row.iter().map(|x| f64::from(*x)).sum::<f64>() / width as f64;
                    let variance = row.iter().map(|x| (f64::from(*x) - mean).powi(2)).sum::<f64>() / width as f64;
                    let norm = |x: f32| (f64::from(x) - mean) / (variance + 1e-5).sqrt();
                    row.iter()
                        .enumerate()
                        .map(|(i, x)| (norm(*x) * f64::from(scale[i]) + f64::from(shift[i])) as f32)
                        .collect::<Vec<_>>()
                })
                .collect();
            // A large mean costs digits in any float32 implementation.
            let largest = expected.iter().fold(1e-3_f32, |m, x| m.max(x.abs()));
            for_each_isa(x.len(), |pool, out| layer_norm(pool, &x, &scale, &shift, 1e-5, out), |out| {
                for (f, e) in out.iter().zip(&expected) {
                    assert!((f - e).abs() <= largest * (1e-5 + 1e-5 * mean.abs()), "{f} instead of {e}");
                }
            });
        }

        #[test]
        fn softmax_matches_reference(
            rows in 1_usize..9, width in 1..most(67), more in 0_usize..2, spread in 0.1_f32..60.0,
        ) {
            let stride = width.next_multiple_of(LANES) + more * LANES;
            let x: Vec<f32> = values(1, rows * stride).iter().map(|x| x * spread).collect();
            for_each_isa(x.len(), |pool, out| {
                out.copy_from_slice(&x);
                softmax(pool.token(), out, stride, width);
            }, |out| {
                for (x, out) in x.chunks(stride).zip(out.chunks(stride)) {
                    let (x, (out, padding)) = (&x[..width], out.split_at(width));
                    let max = x.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                    let exps: Vec<f64> = x.iter().map(|x| f64::from(x - max).exp()).collect();
                    let total: f64 = exps.iter().sum();
                    assert_close(out, &exps.iter().map(|e| (e / total) as f32).collect::<Vec<_>>());
                    assert!(padding.iter().all(|p| *p == 0.0));
                }
            });
        }
    }
}
