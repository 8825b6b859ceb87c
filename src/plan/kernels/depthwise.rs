//! Depthwise convolution in channels-last layout: one filter per channel, sixteen channels at a time.

use std::ops::Range;

use super::arch::{Arch, vectorised};
use super::convolution::Window;
use super::matmul::Epilogue;
use super::team::{Sink, Team};

/// Channels computed together.
const LANES: usize = 16;
/// Output columns computed together: each weight is loaded once for all of them.
const COLUMNS: usize = 4;

/// Weights (channel, height, width) reordered to (height, width, channel).
pub(crate) fn pack(channels: usize, kernel: [usize; 2], oihw: &[f32]) -> Vec<f32> {
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
        let (kw, row_len) = (window.kernel[1], window.input[1] * channels);
        let mut bias = [0.0; L];
        if let Some(b) = self.epilogue.bias {
            bias.copy_from_slice(&b[c..c + L]);
        }
        let mut acc = [bias; W];
        let (ys, y0) = window.taps(0, self.oy);
        let step = window.stride[1] * channels;
        for ky in ys {
            let row = &self.x[(y0 + ky as isize) as usize * row_len..][..row_len];
            let weights = &self.weights[ky * kw * channels..][..kw * channels];
            let (mut at, mut weight) = (x0 * channels + c, xs.start * channels + c);
            for _ in xs.clone() {
                let w: &[f32; L] = lane(weights, weight);
                for (i, acc) in acc.iter_mut().enumerate() {
                    let x: &[f32; L] = lane(row, at + i * step);
                    for ((acc, x), w) in acc.iter_mut().zip(x).zip(w) {
                        *acc = A::mul_add(*x, *w, *acc);
                    }
                }
                (at, weight) = (at + channels, weight + channels);
            }
        }
        for (i, mut values) in acc.into_iter().enumerate() {
            let at = (self.oy * window.output[1] + ox + i) * channels + c;
            if let Some(residual) = self.epilogue.residual {
                values.iter_mut().zip(&residual[at..at + L]).for_each(|(v, r)| *v += r);
            }
            self.epilogue.activation.apply::<A, L>(&mut values);
            out.entries(at, L).copy_from_slice(&values);
        }
    }
}

/// The `L` values from `at`.
#[inline(always)]
fn lane<const L: usize>(values: &[f32], at: usize) -> &[f32; L] {
    debug_assert!(at + L <= values.len());
    // SAFETY: `values` is a whole row of pixels (or of taps), and `at` is a pixel in it (only taps inside the input are
    // gone through) times the channels plus a channel at most `channels - L`. `depthwise_body` checks the sizes this
    // rests on. Checked indexing costs a third of the speed of this kernel.
    unsafe { &*values.as_ptr().add(at).cast::<[f32; L]>() }
}

vectorised! {
    /// Rows `rows` of the output.
    fn some_rows(x: &[f32], window: &Window, channels: usize, weights: &[f32], epilogue: Epilogue<'_>, rows: Range<usize>, out: Sink<'_>) = depthwise_body;
}

/// Convolves one image `x` (height, width, channels) into `out`, with weights from [`pack`].
pub(crate) fn depthwise(
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
