//! Pooling in NHWC layout: windows, whole images (the sum of rows), and the scaling of channels that follows it.

mod halves;

pub use self::halves::{scale_rows_f16, sum_rows_f16};
use crate::convolution::Window;
use crate::dispatch::dispatch;
use crate::simd::Simd;
use crate::thread_pool::ThreadPool;

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
fn pool_body<S: Simd>(
    _simd: S,
    x: &[f32],
    window: &Window,
    channels: usize,
    pooling: Pooling,
    first: usize,
    out: &mut [f32],
) {
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

dispatch! {
    /// The pixels of the output from `first` on, as many as `out` has.
    fn some_pixels(x: &[f32], window: &Window, channels: usize, pooling: Pooling, first: usize, out: &mut [f32]) = pool_body;
}

/// Pools one image `x` (height, width, channels) into `out`.
pub fn pool(pool: &mut ThreadPool, x: &[f32], window: &Window, channels: usize, pooling: Pooling, out: &mut [f32]) {
    let pixels = out.len() / channels;
    let operations = out.len() * window.kernel[0] * window.kernel[1];
    let chunk = pixels.div_ceil(pool.parts(operations, pixels));
    let token = pool.token();
    pool.run_chunks(out, chunk * channels, &|part, out| {
        some_pixels(token, x, window, channels, pooling, part * chunk, out);
    });
}

#[inline(always)]
fn scale_rows_body<S: Simd>(_simd: S, x: &[f32], scale: &[f32], out: &mut [f32]) {
    for (x, out) in x.chunks_exact(scale.len()).zip(out.chunks_exact_mut(scale.len())) {
        for ((out, x), s) in out.iter_mut().zip(x).zip(scale) {
            *out = x * s;
        }
    }
}

dispatch! {
    fn scale_some_rows(x: &[f32], scale: &[f32], out: &mut [f32]) = scale_rows_body;
}

/// Multiplies each row of `x` by `scale`.
pub fn scale_rows(pool: &mut ThreadPool, x: &[f32], scale: &[f32], out: &mut [f32]) {
    let rows = out.len() / scale.len();
    let chunk = rows.div_ceil(pool.parts(out.len(), rows)) * scale.len();
    let token = pool.token();
    pool.run_chunks(out, chunk, &|part, out| scale_some_rows(token, &x[part * chunk..][..out.len()], scale, out));
}

/// Columns summed together.
const SUMS: usize = 32;

#[inline(always)]
fn sum_rows_body<S: Simd>(_simd: S, x: &[f32], width: usize, scale: f32, first: usize, out: &mut [f32]) {
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

dispatch! {
    /// The columns from `first` on, as many as `out` has.
    fn sum_some_columns(x: &[f32], width: usize, scale: f32, first: usize, out: &mut [f32]) = sum_rows_body;
}

/// `scale` times the sum of the rows of `x`, which have `out.len()` columns.
pub fn sum_rows(pool: &mut ThreadPool, x: &[f32], scale: f32, out: &mut [f32]) {
    let width = out.len();
    let lanes = width.div_ceil(SUMS);
    let chunk = lanes.div_ceil(pool.parts(x.len(), lanes)) * SUMS;
    let token = pool.token();
    pool.run_chunks(out, chunk, &|part, out| sum_some_columns(token, x, width, scale, part * chunk, out));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::oracle::{assert_close, cases, for_each_isa, most, windows};
    use crate::testing::values;

    proptest! {
        #![proptest_config(cases(200))]

        #[test]
        fn pooling_matches_reference(window in windows(), channels in 1..most(40)) {
            prop_assume!((0..2).all(|a| (0..window.output[a]).all(|o| !window.taps(a, o).0.is_empty())));
            let x = values(1, window.input[0] * window.input[1] * channels);
            let inside = |oy: usize, ox: usize, c: usize| -> Vec<f32> {
                let (ys, y0) = window.taps(0, oy);
                let (xs, x0) = window.taps(1, ox);
                let at = |y: usize, x_: usize| {
                    let pixel = (y0 + y as isize) * window.input[1] as isize + x0 + x_ as isize;
                    x[pixel as usize * channels + c]
                };
                ys.flat_map(|y| xs.clone().map(move |x| (y, x))).map(|(y, x)| at(y, x)).collect()
            };
            let outputs: Vec<Vec<f32>> = (0..window.output[0] * window.output[1] * channels)
                .map(|i| inside(i / channels / window.output[1], i / channels % window.output[1], i % channels))
                .collect();
            let largest: Vec<f32> =
                outputs.iter().map(|v| v.iter().copied().fold(f32::NEG_INFINITY, f32::max)).collect();
            for_each_isa(outputs.len(), |pool_, out| pool(pool_, &x, &window, channels, Pooling::Max, out), |out| {
                assert_eq!(out, largest);
            });
            let sums: Vec<f32> = outputs.iter().map(|v| v.iter().sum::<f32>() * 0.5).collect();
            let half = Pooling::Sum { scale: 0.5 };
            for_each_isa(outputs.len(), |pool_, out| pool(pool_, &x, &window, channels, half, out), |out| {
                assert_close(out, &sums);
            });
        }
    }

    #[test]
    fn sum_rows_matches_reference() {
        for width in 1..130 {
            let x = values(1, 7 * width);
            let expected: Vec<f32> =
                (0..width).map(|c| 0.5 * x.chunks_exact(width).map(|row| row[c]).sum::<f32>()).collect();
            for_each_isa(width, |pool, out| sum_rows(pool, &x, 0.5, out), |out| assert_close(out, &expected));
        }
    }

    #[test]
    fn scale_rows_matches_reference() {
        for width in 1..67 {
            let (x, scale) = (values(1, 5 * width), values(2, width));
            let expected: Vec<f32> = x.iter().enumerate().map(|(i, x)| x * scale[i % width]).collect();
            for_each_isa(x.len(), |pool, out| scale_rows(pool, &x, &scale, out), |out| assert_eq!(out, expected));
        }
    }
}
