//! Pooling in channels-last layout.

use super::arch::{Arch, vectorised};
use super::convolution::Window;
use super::team::Team;

/// Channels computed together.
const LANES: usize = 8;

/// How the pixels under a window become one.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub enum Pooling {
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
fn pool_body<A: Arch>(x: &[f32], window: &Window, channels: usize, pooling: Pooling, first: usize, out: &mut [f32]) {
    for (pixel, out) in out.chunks_exact_mut(channels).enumerate().map(|(i, out)| (first + i, out)) {
        let (lanes, rest) = out.as_chunks_mut::<LANES>();
        let rest_at = lanes.len() * LANES;
        for (i, out) in lanes.iter_mut().enumerate() {
            pool_lanes(x, window, channels, pooling, pixel, i * LANES, out);
        }
        for (i, out) in rest.iter_mut().enumerate() {
            pool_lanes(x, window, channels, pooling, pixel, rest_at + i, std::array::from_mut(out));
        }
    }
}

/// One pixel's channels from `c` on: their results stay in registers.
#[inline(always)]
fn pool_lanes<const L: usize>(
    x: &[f32],
    window: &Window,
    channels: usize,
    pooling: Pooling,
    pixel: usize,
    c: usize,
    out: &mut [f32; L],
) {
    let (ys, y0) = window.taps(0, pixel / window.output[1]);
    let (xs, x0) = window.taps(1, pixel % window.output[1]);
    let taps = ys.flat_map(|ky| {
        let row = (y0 + ky as isize) as usize * window.input[1];
        xs.clone().map(move |kx| {
            let at = (row + (x0 + kx as isize) as usize) * channels + c;
            x[at..].first_chunk::<L>().expect("the image has all its channels")
        })
    });
    match pooling {
        Pooling::Max => {
            let mut max = [f32::NEG_INFINITY; L];
            taps.for_each(|x| max.iter_mut().zip(x).for_each(|(m, x)| *m = if *x > *m { *x } else { *m }));
            *out = max;
        }
        Pooling::Sum { scale } => {
            let mut sum = [0.0; L];
            taps.for_each(|x| sum.iter_mut().zip(x).for_each(|(s, x)| *s += x));
            *out = sum.map(|s| s * scale);
        }
    }
}

vectorised! {
    /// The pixels of the output from `first` on, as many as `out` has.
    fn some_pixels(x: &[f32], window: &Window, channels: usize, pooling: Pooling, first: usize, out: &mut [f32]) = pool_body;
}

/// Pools one image `x` (height, width, channels) into `out`.
pub fn pool(team: &mut Team, x: &[f32], window: &Window, channels: usize, pooling: Pooling, out: &mut [f32]) {
    let pixels = out.len() / channels;
    let operations = out.len() * window.kernel[0] * window.kernel[1];
    let piece = pixels.div_ceil(team.parts(operations, pixels));
    team.run_pieces(out, piece * channels, &|part, out| {
        some_pixels(x, window, channels, pooling, part * piece, out);
    });
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
    fn scale_some_rows(x: &[f32], scale: &[f32], out: &mut [f32]) = scale_rows_body;
}

/// Multiplies each row of `x` by `scale`.
pub fn scale_rows(team: &mut Team, x: &[f32], scale: &[f32], out: &mut [f32]) {
    let rows = out.len() / scale.len();
    let piece = rows.div_ceil(team.parts(out.len(), rows)) * scale.len();
    team.run_pieces(out, piece, &|part, out| scale_some_rows(&x[part * piece..][..out.len()], scale, out));
}

/// Columns summed together.
const SUMS: usize = 32;

#[inline(always)]
fn sum_rows_body<A: Arch>(x: &[f32], width: usize, scale: f32, first: usize, out: &mut [f32]) {
    let (lanes, rest) = out.as_chunks_mut::<SUMS>();
    let rest_at = first + lanes.len() * SUMS;
    for (i, out) in lanes.iter_mut().enumerate() {
        sum_lanes(x, width, scale, first + i * SUMS, out);
    }
    let (lanes, single) = rest.as_chunks_mut::<LANES>();
    let single_at = rest_at + lanes.len() * LANES;
    for (i, out) in lanes.iter_mut().enumerate() {
        sum_lanes(x, width, scale, rest_at + i * LANES, out);
    }
    for (i, out) in single.iter_mut().enumerate() {
        sum_lanes(x, width, scale, single_at + i, std::array::from_mut(out));
    }
}

/// The columns from `c` on: their sums stay in registers.
#[inline(always)]
fn sum_lanes<const L: usize>(x: &[f32], width: usize, scale: f32, c: usize, out: &mut [f32; L]) {
    let mut sum = [0.0; L];
    for row in x.chunks_exact(width) {
        let row: &[f32; L] = row[c..].first_chunk().expect("a row has all its columns");
        sum.iter_mut().zip(row).for_each(|(s, x)| *s += x);
    }
    *out = sum.map(|s| s * scale);
}

vectorised! {
    /// The columns from `first` on, as many as `out` has.
    fn sum_some_columns(x: &[f32], width: usize, scale: f32, first: usize, out: &mut [f32]) = sum_rows_body;
}

/// `scale` times the sum of the rows of `x`, which have `out.len()` columns.
pub fn sum_rows(team: &mut Team, x: &[f32], scale: f32, out: &mut [f32]) {
    let width = out.len();
    let lanes = width.div_ceil(SUMS);
    let piece = lanes.div_ceil(team.parts(x.len(), lanes)) * SUMS;
    team.run_pieces(out, piece, &|part, out| sum_some_columns(x, width, scale, part * piece, out));
}

#[cfg(test)]
mod tests {
    use super::super::oracle::{assert_close, values};
    use super::*;

    #[test]
    fn rows_are_summed_column_by_column() {
        for width in 1..130 {
            let x = values(1, 7 * width);
            let expected: Vec<f32> =
                (0..width).map(|c| 0.5 * x.chunks_exact(width).map(|row| row[c]).sum::<f32>()).collect();
            for threads in [1, 3] {
                let mut out = vec![f32::NAN; width];
                sum_rows(&mut Team::new(threads.try_into().unwrap()).unwrap(), &x, 0.5, &mut out);
                assert_close(&out, &expected);
            }
        }
    }

    #[test]
    fn rows_are_scaled_entry_by_entry() {
        for width in 1..67 {
            let (x, scale) = (values(1, 5 * width), values(2, width));
            let mut out = vec![f32::NAN; x.len()];
            scale_rows(&mut Team::alone(), &x, &scale, &mut out);
            let expected: Vec<f32> = x.iter().enumerate().map(|(i, x)| x * scale[i % width]).collect();
            assert_eq!(out, expected);
        }
    }
}
