//! Layer normalisation and soft-max along rows.

use super::arch::{Arch, vectorised};
use super::math::exp;

/// Lanes of a partial sum: independent accumulators hide the latency of the additions.
const LANES: usize = 16;

#[inline(always)]
fn sum(row: &[f32], f: impl Fn(f32) -> f32) -> f32 {
    let (chunks, rest) = row.as_chunks::<LANES>();
    let mut acc = [0.0; LANES];
    for chunk in chunks {
        for (a, x) in acc.iter_mut().zip(chunk) {
            *a += f(*x);
        }
    }
    acc.iter().sum::<f32>() + rest.iter().map(|x| f(*x)).sum::<f32>()
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
    /// Normalises each row of `x` (`scale.len()` entries) to mean 0 and variance 1, then scales and shifts it:
    /// `(x - mean) / sqrt(variance + epsilon) * scale + shift` (Ba et al., 2016).
    pub(crate) fn layer_norm(x: &[f32], scale: &[f32], shift: &[f32], epsilon: f32, out: &mut [f32]) = layer_norm_body;
}

/// Soft-max of the first `width` entries of each row of `stride` entries; the others become 0. Each row's entries are
/// scaled first.
#[inline(always)]
pub(crate) fn softmax_rows<A: Arch>(rows: &mut [f32], stride: usize, width: usize) {
    for row in rows.chunks_exact_mut(stride) {
        let (row, padding) = row.split_at_mut(width);
        padding.fill(0.0);
        let (chunks, rest) = row.as_chunks_mut::<LANES>();
        let mut max = [f32::NEG_INFINITY; LANES];
        for chunk in chunks.iter() {
            for (m, x) in max.iter_mut().zip(chunk) {
                *m = if *x > *m { *x } else { *m };
            }
        }
        let max = max.iter().chain(rest.iter()).fold(f32::NEG_INFINITY, |m, x| m.max(*x));
        let mut acc = [0.0; LANES];
        for chunk in chunks.iter_mut() {
            for (a, x) in acc.iter_mut().zip(chunk) {
                *x = exp::<A>(*x - max);
                *a += *x;
            }
        }
        let mut total = acc.iter().sum::<f32>();
        for x in rest.iter_mut() {
            *x = exp::<A>(*x - max);
            total += *x;
        }
        let inverse = 1.0 / total;
        row.iter_mut().for_each(|x| *x *= inverse);
    }
}

#[inline(always)]
fn softmax_body<A: Arch>(rows: &mut [f32], width: usize) {
    softmax_rows::<A>(rows, width, width);
}

vectorised! {
    /// Soft-max of each row of `width` entries, in place.
    pub(crate) fn softmax(rows: &mut [f32], width: usize) = softmax_body;
}
