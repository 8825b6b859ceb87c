//! Depthwise convolution in channels-last layout: one filter per channel, sixteen channels at a time.

use std::ops::Range;

use super::arch::{Arch, vectorised};
use super::convolution::Window;
use super::matmul::{Epilogue, PANEL, Sums, started};
use super::team::{Sink, Team};

/// Channels computed together.
const LANES: usize = 16;
/// Output columns computed together: each weight is loaded once for all of them.
const COLUMNS: usize = 4;

/// Weights (channel, height, width) reordered to (height, width, channel).
pub fn pack(channels: usize, kernel: [usize; 2], oihw: &[f32]) -> Vec<f32> {
    let taps = kernel[0] * kernel[1];
    (0..taps * channels).map(|i| oihw[(i % channels) * taps + i / channels]).collect()
}

#[inline(always)]
fn depthwise_body<A: Arch>(
    x: &[f32],
    window: &Window,
    channels: usize,
    weights: &[f32],
    epilogue: Epilogue<'_>,
    rows: Range<usize>,
    mut out: Sink<'_>,
) {
    let Window { input, kernel, .. } = *window;
    assert_eq!(x.len(), input[0] * input[1] * channels, "image");
    assert_eq!(weights.len(), kernel[0] * kernel[1] * channels, "weights");
    // Output columns that have all their taps inside the input.
    let whole = |ox: &usize| window.taps(1, *ox).0 == (0..window.kernel[1]);
    let from = (0..window.output[1]).find(whole).unwrap_or(window.output[1]);
    let inside = from..(from..window.output[1]).find(|ox| !whole(ox)).unwrap_or(window.output[1]);
    for oy in rows {
        let row = Row { x, window, channels, weights, epilogue, oy };
        let mut c = 0;
        while c + LANES <= channels {
            row.lanes::<A, LANES>(c, &inside, &mut out);
            c += LANES;
        }
        while c + 8 <= channels {
            row.lanes::<A, 8>(c, &inside, &mut out);
            c += 8;
        }
        while c < channels {
            row.lanes::<A, 1>(c, &inside, &mut out);
            c += 1;
        }
    }
}

struct Row<'a> {
    x: &'a [f32],
    window: &'a Window,
    channels: usize,
    weights: &'a [f32],
    epilogue: Epilogue<'a>,
    oy: usize,
}

impl Row<'_> {
    /// All columns of this output row for channels `c..c + L`; those in `inside` have all their taps inside the input.
    #[inline(always)]
    fn lanes<A: Arch, const L: usize>(&self, c: usize, inside: &Range<usize>, out: &mut Sink<'_>) {
        let Window { input, output, kernel, stride, .. } = *self.window;
        for ox in (0..inside.start).chain(inside.end..output[1]) {
            let (xs, x0) = self.window.taps(1, ox);
            self.tile::<A, L, 1>(c, ox, (x0 + xs.start as isize) as usize, xs, out);
        }
        let mut ox = inside.start;
        while ox < inside.end {
            let x0 = ox * stride[1] - self.window.padding[1];
            debug_assert!(x0 + kernel[1] <= input[1]);
            let all = 0..kernel[1];
            match inside.end - ox {
                1 => self.tile::<A, L, 1>(c, ox, x0, all, out),
                2 => self.tile::<A, L, 2>(c, ox, x0, all, out),
                3 => self.tile::<A, L, 3>(c, ox, x0, all, out),
                _ => self.tile::<A, L, COLUMNS>(c, ox, x0, all, out),
            }
            ox += COLUMNS;
        }
    }

    /// Columns `ox..ox + W`, of which `xs` are the taps inside; the first of them is at `x0` for the first column.
    #[inline(always)]
    fn tile<A: Arch, const L: usize, const W: usize>(
        &self,
        c: usize,
        ox: usize,
        x0: usize,
        xs: Range<usize>,
        out: &mut Sink<'_>,
    ) {
        let (window, channels) = (self.window, self.channels);
        let (ys, y0) = window.taps(0, self.oy);
        let (row_stride, weight_stride) = (window.input[1] * channels, window.kernel[1] * channels);
        let size = if xs.is_empty() { [0, 0] } else { [ys.len(), xs.len()] };
        let (x, weights) = if size.contains(&0) {
            (&[][..], &[][..])
        } else {
            let y = (y0 + ys.start as isize) as usize;
            let weights = &self.weights[ys.start * weight_stride + xs.start * channels + c..];
            (&self.x[y * row_stride + x0 * channels + c..], weights)
        };
        let step = window.stride[1] * channels;
        let taps = Taps { x, weights, size, row_stride, weight_stride, channels, step };
        let at = (self.oy * window.output[1] + ox) * channels + c;
        let bias = self.epilogue.bias.map(|bias| &bias[c..c + L]);
        if L == 1 {
            for i in 0..W {
                let sum = bias.map_or(0.0, |bias| bias[0]) + taps.single::<A>(i);
                let at = at + i * channels;
                let mut value = [sum + self.epilogue.residual.map_or(0.0, |residual| residual[at])];
                self.epilogue.activation.apply::<A, 1>(&mut value);
                out.entries(at, 1)[0] = value[0];
            }
        } else {
            let mut start = [0.0; PANEL];
            if let Some(bias) = bias {
                start[..L].copy_from_slice(bias);
            }
            let sums = taps.filter::<A, W, L>(&start);
            self.epilogue.finish::<A, W, L>(sums, at, channels, out);
        }
    }
}

/// What is under the kernel for some neighbouring output columns and channels, borders left out.
struct Taps<'a> {
    /// From the first tap of the first column on.
    x: &'a [f32],
    /// From the first tap's weights on.
    weights: &'a [f32],
    /// Rows and columns of taps; none of either where there are none of the other.
    size: [usize; 2],
    /// Floats from one row of the image to the next.
    row_stride: usize,
    /// Floats from the weights of one row of taps to the next.
    weight_stride: usize,
    /// Floats from one tap to the next, of image and weights.
    channels: usize,
    /// Floats of the image from one output column to the next.
    step: usize,
}

impl Taps<'_> {
    /// Sums of weights times image, `W` columns of `L` channels, added to `start` in every column.
    #[inline(always)]
    fn filter<A: Arch, const W: usize, const L: usize>(&self, start: &[f32; PANEL]) -> Sums<A, W> {
        let mut sums = started::<A, W, L>(start);
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
                for v in 0..L / A::LANES {
                    // SAFETY: nothing behind the last checked above is read, here and below.
                    let weight = unsafe { A::load(weights.add(v * A::LANES)) };
                    for (i, sums) in sums.iter_mut().enumerate() {
                        let x = unsafe { A::load(x.add(i * self.step + v * A::LANES)) };
                        sums[v] = A::fused(x, weight, sums[v]);
                    }
                }
                (x, weights) = (x.wrapping_add(self.channels), weights.wrapping_add(self.channels));
            }
        }
        sums
    }

    /// The sum for a single channel of column `column`.
    #[inline(always)]
    fn single<A: Arch>(&self, column: usize) -> f32 {
        let mut sum = 0.0;
        for (ky, kx) in (0..self.size[0]).flat_map(|ky| (0..self.size[1]).map(move |kx| (ky, kx))) {
            let x = self.x[ky * self.row_stride + kx * self.channels + column * self.step];
            sum = A::mul_add(x, self.weights[ky * self.weight_stride + kx * self.channels], sum);
        }
        sum
    }
}

vectorised! {
    /// Rows `rows` of the output.
    fn some_rows(x: &[f32], window: &Window, channels: usize, weights: &[f32], epilogue: Epilogue<'_>, rows: Range<usize>, out: Sink<'_>) = depthwise_body;
}

/// Convolves one image `x` (height, width, channels) into `out`, with weights from [`pack`].
pub fn depthwise(
    team: &mut Team,
    x: &[f32],
    window: &Window,
    channels: usize,
    weights: &[f32],
    epilogue: Epilogue<'_>,
    out: &mut [f32],
) {
    let rows = window.output[0];
    let parts = team.parts(out.len() * window.kernel[0] * window.kernel[1], rows);
    let out = Sink::new(out);
    team.run(parts, &|part| {
        let rows = part * rows / parts..(part + 1) * rows / parts;
        // SAFETY: each part writes its own rows.
        some_rows(x, window, channels, weights, epilogue, rows, unsafe { out.share() });
    });
}
