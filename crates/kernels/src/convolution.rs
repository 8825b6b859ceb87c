//! Dense and grouped convolution in channels-last layout, as a product over the pixels under the kernel.

use std::cell::RefCell;

use super::matmul::{Ahead, Columns, Epilogue, PANEL, ROWS, TILE, pack, packed_len, rows, scale_columns};
use super::team::{Sink, Team};

/// Height and width.
pub type Pair = [usize; 2];

/// Geometry of a two-dimensional convolution or pooling.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct Window {
    pub input: Pair,
    pub output: Pair,
    pub kernel: Pair,
    pub stride: Pair,
    /// Zeros before the first row and column; those behind the last follow from `output`.
    pub padding: Pair,
}

impl Window {
    /// Which taps of an axis fall inside the input for output position `o`, and the input position of tap 0, which may
    /// lie before the input.
    #[inline(always)]
    pub fn taps(&self, axis: usize, o: usize) -> (std::ops::Range<usize>, isize) {
        let start = (o * self.stride[axis]) as isize - self.padding[axis] as isize;
        let first = (-start).clamp(0, self.kernel[axis] as isize) as usize;
        let end = (self.input[axis] as isize - start).clamp(first as isize, self.kernel[axis] as isize) as usize;
        (first..end, start)
    }
}

/// A convolution's sizes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct Shape {
    pub window: Window,
    pub channels_in: usize,
    pub channels_out: usize,
    pub groups: usize,
}

impl Shape {
    fn reduction(&self) -> usize {
        self.window.kernel[0] * self.window.kernel[1] * (self.channels_in / self.groups)
    }

    /// Length of the packed weights of one group.
    fn group_len(&self) -> usize {
        packed_len(self.reduction(), self.channels_out / self.groups)
    }

    /// Length of the packed weights.
    pub fn packed_len(&self) -> usize {
        self.groups * self.group_len()
    }

    /// Packs weights given as (out, in / groups, height, width), row-major.
    pub fn pack(&self, oihw: &[f32]) -> Vec<f32> {
        let [kh, kw] = self.window.kernel;
        let (ci, co) = (self.channels_in / self.groups, self.channels_out / self.groups);
        let mut packed = vec![0.0; self.packed_len()];
        for (g, packed) in packed.chunks_exact_mut(self.group_len()).enumerate() {
            let weight = |k: usize, n: usize| {
                let (tap, i) = (k / ci, k % ci);
                oihw[((g * co + n) * ci + i) * kh * kw + tap]
            };
            pack(self.reduction(), co, weight, packed);
        }
        packed
    }

    /// Multiplies the weights of output channel `n` by `scale(n)`.
    pub fn scale_columns(&self, packed: &mut [f32], scale: &dyn Fn(usize) -> f32) {
        let co = self.channels_out / self.groups;
        for (g, packed) in packed.chunks_exact_mut(self.group_len()).enumerate() {
            scale_columns(packed, self.reduction(), co, |n| scale(g * co + n));
        }
    }
}

/// Below this many channels, the taps of a kernel row are better read as one piece than one by one.
const FEW_CHANNELS: usize = 48;

/// Convolves one image `x` (height, width, channels) into `out`, with weights from [`Shape::pack`].
pub fn convolve(team: &mut Team, x: &[f32], shape: &Shape, packed: &[f32], epilogue: Epilogue<'_>, out: &mut [f32]) {
    let Shape { window, channels_in, channels_out, groups } = *shape;
    let [kh, kw] = window.kernel;
    let pixels = window.output[0] * window.output[1];
    let operations = pixels * channels_out * shape.reduction();
    if groups == 1 && channels_in < FEW_CHANNELS && kw > 1 {
        return by_kernel_rows(team, x, shape, packed, epilogue, out);
    }
    let zeros = vec![0.0; channels_in];
    let row = window.input[1] * channels_in;
    // Rows of the image that the pixels before this one have read.
    let rows_until = |pixel: usize| {
        let (ys, y0) = window.taps(0, pixel.saturating_sub(1) / window.output[1]);
        (y0 + ys.end as isize).clamp(0, window.input[0] as isize) as usize
    };
    let out = Sink::new(out);
    // What may be cut beside the pixels: groups, or the panels of an only group.
    let co = channels_out / groups;
    let lanes = if groups > 1 { groups } else { co.div_ceil(PANEL) };
    let lane_len = packed.len() / lanes;
    // The larger factor is cut, so that no two threads read the same part of it.
    let parts = team.parts(operations, if packed.len() > x.len() { lanes } else { pixels.div_ceil(TILE) });
    team.run(parts, &|part| {
        let cut = |len: usize, unit: usize| {
            let units = len.div_ceil(unit);
            part * units / parts * unit..len.min((part + 1) * units / parts * unit)
        };
        let (lanes, pixels) =
            if packed.len() > x.len() { (cut(lanes, 1), 0..pixels) } else { (0..lanes, cut(pixels, TILE)) };
        let mut taps: Vec<&[f32]> = Vec::with_capacity(ROWS * kh * kw);
        for first in pixels.clone().step_by(ROWS) {
            let block = first..(first + ROWS).min(pixels.end);
            // Rows of the image that the next block is the first to read: the hardware does not see them coming where
            // groups or strides make it a pattern with holes.
            let next = rows_until(block.end)..rows_until((block.end + ROWS).min(pixels.end));
            let next = &x[next.start * row..next.end * row];
            taps.clear();
            for pixel in block {
                let (ys, y0) = window.taps(0, pixel / window.output[1]);
                let (xs, x0) = window.taps(1, pixel % window.output[1]);
                for ky in 0..kh {
                    for kx in 0..kw {
                        taps.push(if ys.contains(&ky) && xs.contains(&kx) {
                            let at = (y0 + ky as isize) as usize * window.input[1] + (x0 + kx as isize) as usize;
                            &x[at * channels_in..][..channels_in]
                        } else {
                            &zeros
                        });
                    }
                }
            }
            // One product for each group, or one for the panels of the only group.
            let products = if groups > 1 { lanes.clone() } else { 0..1 };
            for g in products {
                let (packed, from, until) = if groups > 1 {
                    (&packed[g * lane_len..(g + 1) * lane_len], g * co, (g + 1) * co)
                } else {
                    let packed = &packed[lanes.start * lane_len..lanes.end * lane_len];
                    (packed, lanes.start * PANEL, co.min(lanes.end * PANEL))
                };
                let ci = channels_in / groups;
                let to = Columns { stride: channels_out, offset: from, columns: until - from };
                let epilogue = Epilogue { bias: epilogue.bias.map(|b| &b[from..until]), ..epilogue };
                // SAFETY: each part writes its own pixels or its own channels.
                let out = unsafe { out.share() };
                let ahead = if packed.len() > x.len() {
                    Ahead::WEIGHTS
                } else {
                    Ahead::of(&next[g * next.len() / groups..(g + 1) * next.len() / groups])
                };
                rows(&taps, kh * kw, g * ci, ci, packed, first, to, epilogue, ahead, out);
            }
        }
    });
}

/// The same for an ungrouped convolution of few channels: in a copy of the image with its padding, the pixels under a
/// kernel row are one piece of memory.
fn by_kernel_rows(team: &mut Team, x: &[f32], shape: &Shape, packed: &[f32], epilogue: Epilogue<'_>, out: &mut [f32]) {
    let Shape { window, channels_in, channels_out, .. } = *shape;
    let [kh, kw] = window.kernel;
    let padded = |axis: usize| {
        let needed = (window.output[axis] - 1) * window.stride[axis] + window.kernel[axis];
        needed.max(window.padding[axis] + window.input[axis])
    };
    let (rows_in, row_in) = (padded(0), padded(1) * channels_in);
    let row = window.input[1] * channels_in;
    let mut copy = vec![];
    let x = if (rows_in, row_in) == (window.input[0], row) {
        x
    } else {
        copy = PADDED.take();
        copy.clear();
        copy.resize(rows_in * row_in, 0.0);
        let top = window.padding[0] * row_in + window.padding[1] * channels_in;
        for (to, from) in copy[top..].chunks_mut(row_in).zip(x.chunks_exact(row)) {
            to[..row].copy_from_slice(from);
        }
        &copy
    };
    let pixels = window.output[0] * window.output[1];
    let blocks = pixels.div_ceil(ROWS);
    let parts = team.parts(pixels * channels_out * shape.reduction(), blocks);
    let out = Sink::new(out);
    team.run(parts, &|part| {
        let mut taps: Vec<&[f32]> = Vec::with_capacity(ROWS * kh);
        for block in part * blocks / parts..(part + 1) * blocks / parts {
            taps.clear();
            for pixel in block * ROWS..((block + 1) * ROWS).min(pixels) {
                let y = pixel / window.output[1] * window.stride[0];
                let start = pixel % window.output[1] * window.stride[1] * channels_in;
                taps.extend((y..y + kh).map(|y| &x[y * row_in + start..][..kw * channels_in]));
            }
            let to = Columns { stride: channels_out, offset: 0, columns: channels_out };
            // SAFETY: each part writes its own pixels.
            let out = unsafe { out.share() };
            rows(&taps, kh, 0, kw * channels_in, packed, block * ROWS, to, epilogue, Ahead::WEIGHTS, out);
        }
    });
    PADDED.set(copy);
}

thread_local! {
    /// The last padded copy's memory: mapping it anew for every frame takes longer than copying.
    static PADDED: RefCell<Vec<f32>> = const { RefCell::new(vec![]) };
}

#[cfg(test)]
pub mod tests {
    use proptest::prelude::*;

    use super::super::depthwise;
    use super::super::oracle::{activation, activations, assert_close, assert_close_to, values};
    use super::super::pool::{Pooling, pool};
    use super::*;

    /// Any window with its padding, that has an output.
    pub fn windows() -> impl Strategy<Value = Window> {
        let pair = |to: usize| prop::array::uniform2(0..to);
        (pair(17), pair(8), pair(3), pair(5), pair(5)).prop_filter_map("no output", |(size, k, s, before, after)| {
            let (input, kernel, stride) = (size.map(|d| d + 1), k.map(|d| d + 1), s.map(|d| d + 1));
            let room: Vec<Option<usize>> =
                (0..2).map(|a| (input[a] + before[a] + after[a]).checked_sub(kernel[a])).collect();
            let output = [room[0]? / stride[0] + 1, room[1]? / stride[1] + 1];
            Some(Window { input, output, kernel, stride, padding: before })
        })
    }

    /// The definition, in double precision: `bias + sum` over the taps inside.
    pub fn plain(x: &[f32], shape: &Shape, oihw: &[f32], bias: &[f32]) -> Vec<f64> {
        let Shape { window: w, channels_in, channels_out, groups } = *shape;
        let (ci, co) = (channels_in / groups, channels_out / groups);
        let mut out = vec![];
        for (oy, ox, n) in
            (0..w.output[0]).flat_map(|y| (0..w.output[1]).flat_map(move |x| (0..channels_out).map(move |n| (y, x, n))))
        {
            let mut sum = f64::from(bias[n]);
            for (ky, kx, i) in
                (0..w.kernel[0]).flat_map(|y| (0..w.kernel[1]).flat_map(move |x| (0..ci).map(move |i| (y, x, i))))
            {
                let y = (oy * w.stride[0] + ky).checked_sub(w.padding[0]).filter(|y| *y < w.input[0]);
                let column = (ox * w.stride[1] + kx).checked_sub(w.padding[1]).filter(|x| *x < w.input[1]);
                if let (Some(y), Some(column)) = (y, column) {
                    let value = x[(y * w.input[1] + column) * channels_in + n / co * ci + i];
                    let weight = oihw[((n * ci + i) * w.kernel[0] + ky) * w.kernel[1] + kx];
                    sum += f64::from(value) * f64::from(weight);
                }
            }
            out.push(sum);
        }
        out
    }

    fn largest(sums: &[f64]) -> f32 {
        sums.iter().fold(1.0, |m: f64, x| m.max(x.abs())) as f32
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        #[test]
        fn equals_its_definition(
            window in windows(), groups in 1_usize..4, ci in 1_usize..67, co in 1_usize..40, act in activations(),
            residual: bool,
        ) {
            let shape = Shape { window, channels_in: groups * ci, channels_out: groups * co, groups };
            let x = values(1, window.input[0] * window.input[1] * shape.channels_in);
            let w = values(2, shape.channels_out * ci * window.kernel[0] * window.kernel[1]);
            let bias = values(3, shape.channels_out);
            let sums = plain(&x, &shape, &w, &bias);
            let r = values(4, sums.len());
            let expected: Vec<f32> = sums
                .iter()
                .zip(&r)
                .map(|(s, r)| activation(act, s + if residual { f64::from(*r) } else { 0.0 }) as f32)
                .collect();
            let epilogue = Epilogue { bias: Some(&bias), residual: residual.then_some(&r), activation: act };
            let [mut out, mut three] = [(); 2].map(|()| vec![f32::NAN; expected.len()]);
            let packed = shape.pack(&w);
            convolve(&mut Team::alone(), &x, &shape, &packed, epilogue, &mut out);
            assert_close_to(&out, &expected, largest(&sums));
            convolve(&mut Team::new(3.try_into().unwrap()).unwrap(), &x, &shape, &packed, epilogue, &mut three);
            prop_assert_eq!(out, three);
        }

        #[test]
        fn depthwise_equals_its_definition(window in windows(), channels in 1_usize..67, act in activations(), residual: bool) {
            let shape = Shape { window, channels_in: channels, channels_out: channels, groups: channels };
            let x = values(1, window.input[0] * window.input[1] * channels);
            let w = values(2, channels * window.kernel[0] * window.kernel[1]);
            let bias = values(3, channels);
            let sums = plain(&x, &shape, &w, &bias);
            let r = values(4, sums.len());
            let expected: Vec<f32> = sums
                .iter()
                .zip(&r)
                .map(|(s, r)| activation(act, s + if residual { f64::from(*r) } else { 0.0 }) as f32)
                .collect();
            let epilogue = Epilogue { bias: Some(&bias), residual: residual.then_some(&r), activation: act };
            let [mut out, mut three] = [(); 2].map(|()| vec![f32::NAN; expected.len()]);
            let packed = depthwise::pack(channels, window.kernel, &w);
            depthwise::depthwise(&mut Team::alone(), &x, &window, channels, &packed, epilogue, &mut out);
            assert_close_to(&out, &expected, largest(&sums));
            let mut team = Team::new(3.try_into().unwrap()).unwrap();
            depthwise::depthwise(&mut team, &x, &window, channels, &packed, epilogue, &mut three);
            prop_assert_eq!(out, three);
        }

        #[test]
        fn pooling_equals_its_definition(window in windows(), channels in 1_usize..40) {
            prop_assume!((0..2).all(|a| (0..window.output[a]).all(|o| !window.taps(a, o).0.is_empty())));
            let x = values(1, window.input[0] * window.input[1] * channels);
            let inside = |oy: usize, ox: usize, c: usize| -> Vec<f32> {
                let (ys, y0) = window.taps(0, oy);
                let (xs, x0) = window.taps(1, ox);
                let at = |y: usize, x_: usize| x[(((y0 + y as isize) * window.input[1] as isize + x0 + x_ as isize) as usize) * channels + c];
                ys.flat_map(|y| xs.clone().map(move |x| (y, x))).map(|(y, x)| at(y, x)).collect()
            };
            let outputs: Vec<Vec<f32>> = (0..window.output[0] * window.output[1] * channels)
                .map(|i| inside(i / channels / window.output[1], i / channels % window.output[1], i % channels))
                .collect();
            let mut out = vec![f32::NAN; outputs.len()];
            pool(&mut Team::alone(), &x, &window, channels, Pooling::Max, &mut out);
            let expected: Vec<f32> = outputs.iter().map(|v| v.iter().copied().fold(f32::NEG_INFINITY, f32::max)).collect();
            prop_assert_eq!(&out, &expected);
            pool(&mut Team::new(3.try_into().unwrap()).unwrap(), &x, &window, channels, Pooling::Sum { scale: 0.5 }, &mut out);
            let expected: Vec<f32> = outputs.iter().map(|v| v.iter().sum::<f32>() * 0.5).collect();
            assert_close(&out, &expected);
        }
    }
}
