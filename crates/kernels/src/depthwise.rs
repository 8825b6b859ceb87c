//! Depthwise convolution in NHWC layout: one filter per channel, vectorised over sixteen channels at a time.

mod halves;
#[cfg(all(target_arch = "aarch64", not(miri)))]
mod neon;
mod tiles;

use std::ops::Range;

pub use self::halves::{depthwise_f16, keeps_halves, scratch_len_f16};
use crate::convolution::Window;
#[cfg(all(target_arch = "aarch64", not(miri)))]
use crate::dispatch::Token;
use crate::dispatch::dispatch_wide;
use crate::fake_quantise::stages_of_rows;
use crate::gemm::{Accumulators, Epilogue, NR, start, vectors};
use crate::simd::Simd;
use crate::sink::Sink;
use crate::thread_pool::ThreadPool;

/// Channels computed together.
pub(crate) const LANES: usize = 16;
/// Output columns computed together: each weight is loaded once for all of them.
const COLUMNS: usize = 4;
/// Taps of a window that are summed apart where only one column is computed.
const APART: usize = 4;

/// Weights (channel, height, width) reordered to (height, width, channel).
pub fn pack(channels: usize, kernel: [usize; 2], oihw: &[f32]) -> Vec<f32> {
    let taps = kernel[0] * kernel[1];
    (0..taps * channels).map(|i| oihw[(i % channels) * taps + i / channels]).collect()
}

/// An image and the filters it is convolved with.
#[derive(Clone, Copy)]
struct Operands<'a> {
    x: &'a [f32],
    /// By value: behind a reference, its fields would be read anew after every store to the output.
    window: Window,
    channels: usize,
    weights: &'a [f32],
    epilogue: Epilogue<'a>,
}

#[inline(always)]
fn depthwise_body<S: Simd>(simd: S, operands: Operands<'_>, rows: Range<usize>, mut out: Sink<'_>) {
    let Operands { x, window, channels, weights, .. } = operands;
    assert_eq!(x.len(), window.input[0] * window.input[1] * channels, "image");
    assert_eq!(weights.len(), window.kernel[0] * window.kernel[1] * channels, "weights");
    // Output columns that have all their taps inside the input.
    let whole = |ox: &usize| window.taps(1, *ox).0 == (0..window.kernel[1]);
    let from = (0..window.output[1]).find(whole).unwrap_or(window.output[1]);
    let inside = from..(from..window.output[1]).find(|ox| !whole(ox)).unwrap_or(window.output[1]);
    for oy in rows {
        let row = Row { operands, oy };
        let mut c = 0;
        while c + LANES <= channels {
            row.columns::<S, LANES>(simd, c, &inside, &mut out);
            c += LANES;
        }
        while c + 8 <= channels {
            row.columns::<S::Narrow, 8>(simd.narrow(), c, &inside, &mut out);
            c += 8;
        }
        while c < channels {
            row.single(simd, c, &mut out);
            c += 1;
        }
    }
}

/// One row of the output.
struct Row<'a> {
    operands: Operands<'a>,
    oy: usize,
}

impl Row<'_> {
    /// All columns of this output row for channels `c..c + L`; those in `inside` have all their taps inside the input.
    #[inline(always)]
    fn columns<S: Simd, const L: usize>(&self, simd: S, c: usize, inside: &Range<usize>, out: &mut Sink<'_>) {
        let Window { kernel, stride, .. } = self.operands.window;
        match (kernel[1], stride[1]) {
            (3, 1) => self.slide::<S, L, 3>(simd, c, out),
            (5, 1) => self.slide::<S, L, 5>(simd, c, out),
            _ => self.lanes::<S, L>(simd, c, inside, out),
        }
    }

    /// The same for a kernel of `K` columns and a stride of 1.
    #[inline(always)]
    fn slide<S: Simd, const L: usize, const K: usize>(&self, simd: S, c: usize, out: &mut Sink<'_>) {
        let columns = self.operands.window.output[1];
        let mut ox = 0;
        while S::LANES == L && columns - ox >= 2 * COLUMNS {
            self.sliding_tile::<S, L, K, { 2 * COLUMNS }>(simd, c, ox, out);
            ox += 2 * COLUMNS;
        }
        while columns - ox >= COLUMNS {
            self.sliding_tile::<S, L, K, COLUMNS>(simd, c, ox, out);
            ox += COLUMNS;
        }
        if columns - ox >= 2 {
            self.sliding_tile::<S, L, K, 2>(simd, c, ox, out);
            ox += 2;
        }
        if ox < columns {
            self.sliding_tile::<S, L, K, 1>(simd, c, ox, out);
        }
    }

    /// Columns `ox..ox + W` for a stride of 1: each pixel of a row is loaded once for all taps that it is under.
    #[inline(always)]
    fn sliding_tile<S: Simd, const L: usize, const K: usize, const W: usize>(
        &self,
        simd: S,
        c: usize,
        ox: usize,
        out: &mut Sink<'_>,
    ) {
        let Operands { x, window, channels, weights, epilogue } = self.operands;
        let span = const { W - 1 + K };
        let (ys, y0) = window.taps(0, self.oy);
        // Columns of the image under the tile, and which of them are inside.
        let x0 = ox as isize - window.padding[1] as isize;
        let first = (-x0).clamp(0, span as isize) as usize;
        let end = (window.input[1] as isize - x0).clamp(first as isize, span as isize) as usize;
        let mut bias = [0.0; NR];
        if let Some(all) = epilogue.bias {
            bias[..L].copy_from_slice(&all[c..c + L]);
        }
        let mut sums = start::<S, W, L>(simd, &bias);
        if first < end && !ys.is_empty() {
            let y = (y0 + ys.start as isize) as usize;
            // The last pixel and the last weights that are read are inside: images and weights were checked to be whole.
            assert!(y + ys.len() <= window.input[0] && ys.end <= window.kernel[0] && window.kernel[1] == K);
            assert!(c + L <= channels);
            let at = ((y * window.input[1]) as isize + x0) * channels as isize + c as isize;
            let whole = first == 0 && end == span;
            for v in 0..const { vectors::<S, L>() } {
                let mut x = x.as_ptr().wrapping_offset(at).wrapping_add(v * S::LANES);
                let mut weights = weights.as_ptr().wrapping_add(ys.start * K * channels + c + v * S::LANES);
                for _ in ys.clone() {
                    let mut taps = [simd.splat(0.0); K];
                    for (k, tap) in taps.iter_mut().enumerate() {
                        // SAFETY: by the checks above.
                        *tap = unsafe { simd.load(weights.wrapping_add(k * channels)) };
                    }
                    for j in 0..span {
                        if !whole && !(first..end).contains(&j) {
                            continue;
                        }
                        // SAFETY: the column is inside, and by the checks above.
                        let pixel = unsafe { simd.load(x.wrapping_add(j * channels)) };
                        for (k, tap) in taps.iter().enumerate() {
                            if let Some(sums) = j.checked_sub(k).and_then(|i| sums.get_mut(i)) {
                                sums[v] = simd.mul_add(pixel, *tap, sums[v]);
                            }
                        }
                    }
                    x = x.wrapping_add(window.input[1] * channels);
                    weights = weights.wrapping_add(K * channels);
                }
            }
        }
        let at = (self.oy * window.output[1] + ox) * channels + c;
        epilogue.finish::<S, W, L>(simd, sums, at, channels, out);
    }

    /// All columns of this output row for channels `c..c + L`; those in `inside` have all their taps inside the input.
    #[inline(always)]
    fn lanes<S: Simd, const L: usize>(&self, simd: S, c: usize, inside: &Range<usize>, out: &mut Sink<'_>) {
        let Window { input, output, kernel, stride, .. } = self.operands.window;
        for ox in (0..inside.start).chain(inside.end..output[1]) {
            let (xs, x0) = self.operands.window.taps(1, ox);
            self.tile::<S, L, 1>(simd, c, ox, (x0 + xs.start as isize) as usize, xs, out);
        }
        let mut ox = inside.start;
        while ox < inside.end {
            let x0 = ox * stride[1] - self.operands.window.padding[1];
            debug_assert!(x0 + kernel[1] <= input[1]);
            let all = 0..kernel[1];
            // Where all channels are one vector, four sums cannot keep the units busy that multiply.
            if S::LANES == L && inside.end - ox >= 2 * COLUMNS {
                self.tile::<S, L, { 2 * COLUMNS }>(simd, c, ox, x0, all, out);
                ox += 2 * COLUMNS;
                continue;
            }
            match inside.end - ox {
                1 => self.tile::<S, L, 1>(simd, c, ox, x0, all, out),
                2 => self.tile::<S, L, 2>(simd, c, ox, x0, all, out),
                3 => self.tile::<S, L, 3>(simd, c, ox, x0, all, out),
                _ => self.tile::<S, L, COLUMNS>(simd, c, ox, x0, all, out),
            }
            ox += COLUMNS;
        }
    }

    /// Columns `ox..ox + W`, of which `xs` are the taps inside; the first of them is at `x0` for the first column.
    #[inline(always)]
    fn tile<S: Simd, const L: usize, const W: usize>(
        &self,
        simd: S,
        c: usize,
        ox: usize,
        x0: usize,
        xs: Range<usize>,
        out: &mut Sink<'_>,
    ) {
        let Operands { window, channels, epilogue, .. } = self.operands;
        let taps = self.taps(c, x0, xs);
        let at = (self.oy * window.output[1] + ox) * channels + c;
        let bias = epilogue.bias.map(|bias| &bias[c..c + L]);
        let mut start = [0.0; NR];
        if let Some(bias) = bias {
            start[..L].copy_from_slice(bias);
        }
        let sums = taps.filter::<S, W, L>(simd, &start);
        epilogue.finish::<S, W, L>(simd, sums, at, channels, out);
    }

    /// All columns of this output row for channel `c` alone.
    #[inline(always)]
    fn single<S: Simd>(&self, simd: S, c: usize, out: &mut Sink<'_>) {
        let Operands { window, channels, epilogue, .. } = self.operands;
        for ox in 0..window.output[1] {
            let (xs, x0) = window.taps(1, ox);
            let taps = self.taps(c, (x0 + xs.start as isize) as usize, xs);
            let at = (self.oy * window.output[1] + ox) * channels + c;
            let sum = epilogue.bias.map_or(0.0, |bias| bias[c]) + taps.single(simd);
            let mut value = [sum + epilogue.residual.map_or(0.0, |residual| residual[at])];
            epilogue.activation.apply::<S, 1>(simd, &mut value);
            out.entries(at, 1)[0] = value[0];
        }
    }

    /// The taps `xs` inside, the first of them at `x0`, from channel `c` on.
    #[inline(always)]
    fn taps(&self, c: usize, x0: usize, xs: Range<usize>) -> Taps<'_> {
        let Operands { x, window, channels, weights, .. } = self.operands;
        let (ys, y0) = window.taps(0, self.oy);
        let (row_stride, weight_stride) = (window.input[1] * channels, window.kernel[1] * channels);
        let size = if xs.is_empty() { [0, 0] } else { [ys.len(), xs.len()] };
        let (x, weights) = if size.contains(&0) {
            (&[][..], &[][..])
        } else {
            let y = (y0 + ys.start as isize) as usize;
            let weights = &weights[ys.start * weight_stride + xs.start * channels + c..];
            (&x[y * row_stride + x0 * channels + c..], weights)
        };
        Taps { x, weights, size, row_stride, weight_stride, channels, step: window.stride[1] * channels }
    }
}

/// What is under the kernel for some neighbouring output columns and channels, borders left out.
pub(crate) struct Taps<'a> {
    /// From the first tap of the first column on.
    pub(crate) x: &'a [f32],
    /// From the first tap's weights on.
    pub(crate) weights: &'a [f32],
    /// Rows and columns of taps; none of either where there are none of the other.
    pub(crate) size: [usize; 2],
    /// Floats from one row of the image to the next.
    pub(crate) row_stride: usize,
    /// Floats from the weights of one row of taps to the next.
    pub(crate) weight_stride: usize,
    /// Floats from one tap to the next, of image and weights.
    pub(crate) channels: usize,
    /// Floats of the image from one output column to the next.
    pub(crate) step: usize,
}

impl Taps<'_> {
    /// Sums of weights times image, `W` columns of `L` channels, added to `start` in every column.
    #[inline(always)]
    fn filter<S: Simd, const W: usize, const L: usize>(&self, simd: S, row: &[f32; NR]) -> Accumulators<S, W> {
        let mut sums = start::<S, W, L>(simd, row);
        let [rows, columns] = self.size;
        if rows == 0 {
            return sums;
        }
        // The last that is read: checked indexing of each costs a third of the speed of this kernel.
        let [down, across] = [rows - 1, columns - 1];
        assert!(down * self.row_stride + across * self.channels + (W - 1) * self.step + L <= self.x.len());
        assert!(down * self.weight_stride + across * self.channels + L <= self.weights.len());
        for ky in 0..rows {
            let mut x = self.x[ky * self.row_stride..].as_ptr();
            let mut weights = self.weights[ky * self.weight_stride..].as_ptr();
            for _ in 0..columns {
                for v in 0..const { vectors::<S, L>() } {
                    // SAFETY: nothing behind the last checked above is read.
                    let weight = unsafe { simd.load(weights.add(v * S::LANES)) };
                    for (i, sums) in sums.iter_mut().enumerate() {
                        // SAFETY: as for the weights.
                        let x = unsafe { simd.load(x.add(i * self.step + v * S::LANES)) };
                        sums[v] = simd.mul_add(x, weight, sums[v]);
                    }
                }
                (x, weights) = (x.wrapping_add(self.channels), weights.wrapping_add(self.channels));
            }
        }
        sums
    }

    /// The sum of one column of `L` channels, added to `start`. Neighbouring taps are summed apart: a long chain of sums
    /// would keep the units waiting that multiply.
    #[inline(always)]
    pub(crate) fn sum<S: Simd, const L: usize>(&self, simd: S, row: &[f32; NR]) -> Accumulators<S, 1> {
        let mut sums = start::<S, APART, L>(simd, &[0.0; NR]);
        let [rows, columns] = self.size;
        if rows > 0 {
            // Checked here once, as in `filter`.
            let [down, across] = [rows - 1, columns - 1];
            assert!(down * self.row_stride + across * self.channels + L <= self.x.len());
            assert!(down * self.weight_stride + across * self.channels + L <= self.weights.len());
        }
        for ky in 0..rows {
            let x = self.x[ky * self.row_stride..].as_ptr();
            let weights = self.weights[ky * self.weight_stride..].as_ptr();
            for first in (0..columns).step_by(APART) {
                for (i, sums) in sums.iter_mut().enumerate().take(columns - first) {
                    for (v, sum) in sums.iter_mut().enumerate().take(const { vectors::<S, L>() }) {
                        let at = (first + i) * self.channels + v * S::LANES;
                        // SAFETY: nothing behind the last checked above is read.
                        let (x, weight) = unsafe { (simd.load(x.add(at)), simd.load(weights.add(at))) };
                        *sum = simd.mul_add(x, weight, *sum);
                    }
                }
            }
        }
        let mut total = start::<S, 1, L>(simd, row);
        for sums in sums {
            for v in 0..const { vectors::<S, L>() } {
                total[0][v] = simd.add(total[0][v], sums[v]);
            }
        }
        total
    }

    /// The sum for a single channel of the first column.
    #[inline(always)]
    pub(crate) fn single<S: Simd>(&self, simd: S) -> f32 {
        let mut sum = 0.0;
        for (ky, kx) in (0..self.size[0]).flat_map(|ky| (0..self.size[1]).map(move |kx| (ky, kx))) {
            let x = self.x[ky * self.row_stride + kx * self.channels];
            sum = simd.mul_add_scalar(x, self.weights[ky * self.weight_stride + kx * self.channels], sum);
        }
        sum
    }
}

dispatch_wide! {
    /// Rows `rows` of the output.
    fn some_rows(operands: Operands<'_>, rows: Range<usize>, out: Sink<'_>) = depthwise_body;
}

/// Convolves one image `x` (height, width, channels) into `out`, with weights from [`pack`].
pub fn depthwise(
    pool: &mut ThreadPool,
    x: &[f32],
    window: &Window,
    channels: usize,
    weights: &[f32],
    epilogue: Epilogue<'_>,
    out: &mut [f32],
) {
    let rows = window.output[0];
    let parts = pool.parts(out.len() * window.kernel[0] * window.kernel[1], rows);
    // Stages are applied row by row; everything else to tiles.
    let operands = Operands { x, window: *window, channels, weights, epilogue: Epilogue { then: &[], ..epilogue } };
    let (token, out) = (pool.token(), Sink::new(out));
    pool.run(parts, &|part| {
        let rows = part * rows / parts..(part + 1) * rows / parts;
        // SAFETY: each part writes its own rows.
        let mut out = unsafe { out.share() };
        let compute = |rows: Range<usize>, out: Sink<'_>| {
            #[cfg(all(target_arch = "aarch64", not(miri)))]
            if let Token::Neon(simd) = token
                && neon::takes(&operands)
            {
                return neon::rows(simd, operands, rows, out);
            }
            some_rows(token, operands, rows, out);
        };
        if epilogue.then.is_empty() {
            return compute(rows, out);
        }
        let len = window.output[1] * channels;
        for row in rows {
            // SAFETY: nothing is taken from the other while the row is computed.
            compute(row..row + 1, unsafe { out.share() });
            stages_of_rows(token, epilogue.then, row * len, channels, out.entries(row * len, len));
        }
    });
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::convolution::Shape;
    use crate::oracle::{
        activation, activations, assert_close_to, cases, convolution, for_each_isa, largest, most, windows,
    };
    use crate::testing::values;

    proptest! {
        #![proptest_config(cases(200))]

        #[test]
        fn depthwise_matches_reference(
            window in windows(), channels in 1..most(67), act in activations(), residual: bool,
        ) {
            let shape = Shape { window, channels_in: channels, channels_out: channels, groups: channels };
            let x = values(1, window.input[0] * window.input[1] * channels);
            let w = values(2, channels * window.kernel[0] * window.kernel[1]);
            let bias = values(3, channels);
            let sums = convolution(&x, &shape, &w, &bias);
            let r = values(4, sums.len());
            let expected: Vec<f32> = sums
                .iter()
                .zip(&r)
                .map(|(s, r)| activation(act, s + if residual { f64::from(*r) } else { 0.0 }) as f32)
                .collect();
            let epilogue = Epilogue { bias: Some(&bias), residual: residual.then_some(&r), activation: act, ..Epilogue::default() };
            let packed = pack(channels, window.kernel, &w);
            for_each_isa(expected.len(), |pool, out| {
                depthwise(pool, &x, &window, channels, &packed, epilogue, out);
            }, |out| assert_close_to(out, &expected, largest(&sums)));
        }
    }
}
