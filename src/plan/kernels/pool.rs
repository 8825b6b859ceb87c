//! Pooling in channels-last layout.

use super::arch::{Arch, vectorised};
use super::convolution::Window;

/// How the pixels under a window become one.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub(crate) enum Pooling {
    /// Their maximum.
    Max,
    /// Their sum, scaled.
    Sum {
        /// The scale, not NaN.
        scale: f32,
    },
}

impl Eq for Pooling {}

#[inline(always)]
fn pool_body<A: Arch>(x: &[f32], window: &Window, channels: usize, pooling: Pooling, out: &mut [f32]) {
    for (pixel, out) in out.chunks_exact_mut(channels).enumerate() {
        out.fill(match pooling {
            Pooling::Max => f32::NEG_INFINITY,
            Pooling::Sum { .. } => 0.0,
        });
        let (ys, y0) = window.taps(0, pixel / window.output[1]);
        let (xs, x0) = window.taps(1, pixel % window.output[1]);
        for ky in ys {
            for kx in xs.clone() {
                let at = (y0 + ky as isize) as usize * window.input[1] + (x0 + kx as isize) as usize;
                let x = &x[at * channels..][..channels];
                match pooling {
                    Pooling::Max => out.iter_mut().zip(x).for_each(|(o, x)| *o = if *x > *o { *x } else { *o }),
                    Pooling::Sum { .. } => out.iter_mut().zip(x).for_each(|(o, x)| *o += x),
                }
            }
        }
        if let Pooling::Sum { scale } = pooling {
            out.iter_mut().for_each(|o| *o *= scale);
        }
    }
}

vectorised! {
    /// Pools one image `x` (height, width, channels) into `out`.
    pub(crate) fn pool(x: &[f32], window: &Window, channels: usize, pooling: Pooling, out: &mut [f32]) = pool_body;
}

#[inline(always)]
fn scale_rows_body<A: Arch>(x: &[f32], scale: &[f32], out: &mut [f32]) {
    for (x, out) in x.chunks_exact(scale.len()).zip(out.chunks_exact_mut(scale.len())) {
        for ((out, x), s) in out.iter_mut().zip(x).zip(scale) {
            *out = x * s;
        }
    }
}

vectorised! {
    /// Multiplies each row of `x` by `scale`.
    pub(crate) fn scale_rows(x: &[f32], scale: &[f32], out: &mut [f32]) = scale_rows_body;
}

#[cfg(test)]
mod tests {
    use super::super::oracle::values;
    use super::*;

    #[test]
    fn rows_are_scaled_entry_by_entry() {
        for width in 1..67 {
            let (x, scale) = (values(1, 5 * width), values(2, width));
            let mut out = vec![f32::NAN; x.len()];
            scale_rows(&x, &scale, &mut out);
            let expected: Vec<f32> = x.iter().enumerate().map(|(i, x)| x * scale[i % width]).collect();
            assert_eq!(out, expected);
        }
    }
}
