//! Layer normalisation and soft-max along rows.

use super::arch::{Arch, vectorised};
use super::math::exp;
use super::team::Team;

/// Lanes of a partial sum: independent accumulators hide the latency of the additions.
const LANES: usize = 16;

/// Folds lanes by halves, which vectorises where one by one would not.
#[inline(always)]
fn fold_lanes(mut lanes: [f32; LANES], f: impl Fn(f32, f32) -> f32) -> f32 {
    let mut width = LANES / 2;
    while width > 0 {
        for i in 0..width {
            lanes[i] = f(lanes[i], lanes[i + width]);
        }
        width /= 2;
    }
    lanes[0]
}

#[inline(always)]
fn larger(a: f32, b: f32) -> f32 {
    if b > a { b } else { a }
}

#[inline(always)]
fn sum(row: &[f32], f: impl Fn(f32) -> f32) -> f32 {
    let (chunks, rest) = row.as_chunks::<LANES>();
    let mut acc = [0.0; LANES];
    for chunk in chunks {
        for (a, x) in acc.iter_mut().zip(chunk) {
            *a += f(*x);
        }
    }
    fold_lanes(acc, |a, b| a + b) + rest.iter().map(|x| f(*x)).sum::<f32>()
}

#[inline(always)]
fn layer_norm_body<A: Arch>(x: &[f32], scale: &[f32], shift: &[f32], epsilon: f32, out: &mut [f32]) {
    let width = scale.len();
    for (x, out) in x.chunks_exact(width).zip(out.chunks_exact_mut(width)) {
        let mean = sum(x, |x| x) / width as f32;
        let variance = sum(x, |x| (x - mean) * (x - mean)) / width as f32;
        let inverse = 1.0 / (variance + epsilon).sqrt();
        for (((out, x), scale), shift) in out.iter_mut().zip(x).zip(scale).zip(shift) {
            *out = A::mul_add((x - mean) * inverse, *scale, *shift);
        }
    }
}

vectorised! {
    fn some_rows(x: &[f32], scale: &[f32], shift: &[f32], epsilon: f32, out: &mut [f32]) = layer_norm_body;
}

/// Normalises each row of `x` (`scale.len()` entries) to mean 0 and variance 1, then scales and shifts it:
/// `(x - mean) / sqrt(variance + epsilon) * scale + shift` (Ba et al., 2016).
pub fn layer_norm(team: &mut Team, x: &[f32], scale: &[f32], shift: &[f32], epsilon: f32, out: &mut [f32]) {
    let width = scale.len();
    let rows = out.len() / width;
    let piece = rows.div_ceil(team.parts(4 * out.len(), rows)) * width;
    team.run_pieces(out, piece, &|part, out| {
        some_rows(&x[part * piece..][..out.len()], scale, shift, epsilon, out);
    });
}

/// Soft-max of the first `width` entries of each row of `stride` entries; the others become 0.
#[inline(always)]
pub fn softmax_rows<A: Arch>(rows: &mut [f32], stride: usize, width: usize) {
    for row in rows.chunks_exact_mut(stride) {
        let (row, padding) = row.split_at_mut(width);
        padding.fill(0.0);
        let (chunks, rest) = row.as_chunks_mut::<LANES>();
        let mut max = [f32::NEG_INFINITY; LANES];
        for chunk in chunks.iter() {
            for (m, x) in max.iter_mut().zip(chunk) {
                *m = larger(*m, *x);
            }
        }
        let max = rest.iter().fold(fold_lanes(max, larger), |m, x| larger(m, *x));
        let mut acc = [0.0; LANES];
        for chunk in chunks.iter_mut() {
            for (a, x) in acc.iter_mut().zip(chunk) {
                *x = exp::<A>(*x - max);
                *a += *x;
            }
        }
        let mut total = fold_lanes(acc, |a, b| a + b);
        for x in rest.iter_mut() {
            *x = exp::<A>(*x - max);
            total += *x;
        }
        let inverse = 1.0 / total;
        row.iter_mut().for_each(|x| *x *= inverse);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::arch::{Native, Plain};
    use super::super::oracle::{assert_close, values};
    use super::*;

    proptest! {
        #[test]
        fn layer_norm_equals_its_definition(rows in 1_usize..9, width in 1_usize..67, mean in -100.0_f32..100.0) {
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
            let mut out = vec![f32::NAN; x.len()];
            layer_norm(&mut Team::alone(), &x, &scale, &shift, 1e-5, &mut out);
            // A large mean costs digits in any float32 implementation.
            let largest = expected.iter().fold(1e-3_f32, |m, x| m.max(x.abs()));
            for (f, e) in out.iter().zip(&expected) {
                prop_assert!((f - e).abs() <= largest * (1e-5 + 1e-5 * mean.abs()), "{} instead of {}", f, e);
            }
        }

        #[test]
        fn softmax_equals_its_definition(rows in 1_usize..9, width in 1_usize..67, spread in 0.1_f32..60.0) {
            let x: Vec<f32> = values(1, rows * width).iter().map(|x| x * spread).collect();
            for kernel in [softmax_rows::<Native>, softmax_rows::<Plain>] {
            let mut out = x.clone();
            kernel(&mut out, width, width);
            for (x, out) in x.chunks(width).zip(out.chunks(width)) {
                let max = x.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                let exps: Vec<f64> = x.iter().map(|x| f64::from(x - max).exp()).collect();
                let total: f64 = exps.iter().sum();
                assert_close(out, &exps.iter().map(|e| (e / total) as f32).collect::<Vec<_>>());
            }
            }
        }
    }
}
