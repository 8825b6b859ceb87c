//! Depthwise convolution in channels-last layout: one filter per channel, sixteen channels at a time.

use super::arch::{Arch, vectorised};
use super::convolution::Window;
use super::matmul::Epilogue;

/// Channels computed together.
const LANES: usize = 16;
/// Output columns computed together away from the borders: each weight is loaded once for all of them.
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
    out: &mut [f32],
) {
    // Output columns from..to have all their taps inside the input.
    let inside = |ox: &usize| window.taps(1, *ox).0 == (0..window.kernel[1]);
    let from = (0..window.output[1]).find(inside).unwrap_or(window.output[1]);
    let to = (from..window.output[1]).find(|ox| !inside(ox)).unwrap_or(window.output[1]);
    for oy in 0..window.output[0] {
        let row = Row { x, window, channels, weights, epilogue, oy };
        let mut c = 0;
        while c + LANES <= channels {
            row.lanes::<A, LANES>(c, from, to, out);
            c += LANES;
        }
        while c + 8 <= channels {
            row.lanes::<A, 8>(c, from, to, out);
            c += 8;
        }
        while c < channels {
            row.lanes::<A, 1>(c, from, to, out);
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
    /// All columns of this output row for channels `c..c + L`.
    #[inline(always)]
    fn lanes<A: Arch, const L: usize>(&self, c: usize, from: usize, to: usize, out: &mut [f32]) {
        let mut ox = 0;
        while ox < self.window.output[1] {
            if ox >= from && ox + COLUMNS <= to {
                self.tile::<A, L, COLUMNS>(c, ox, 0..self.window.kernel[1], out);
                ox += COLUMNS;
            } else {
                self.tile::<A, L, 1>(c, ox, self.window.taps(1, ox).0, out);
                ox += 1;
            }
        }
    }

    #[inline(always)]
    fn tile<A: Arch, const L: usize, const W: usize>(
        &self,
        c: usize,
        ox: usize,
        taps: std::ops::Range<usize>,
        out: &mut [f32],
    ) {
        let window = self.window;
        let mut bias = [0.0; L];
        if let Some(b) = self.epilogue.bias {
            bias.copy_from_slice(&b[c..c + L]);
        }
        let mut acc = [bias; W];
        let (ys, y0) = window.taps(0, self.oy);
        let x0 = (ox * window.stride[1] + taps.start) as isize - window.padding[1] as isize;
        let step = window.stride[1] * self.channels;
        for ky in ys {
            let pixel = (y0 + ky as isize) as usize * window.input[1] + x0.max(0) as usize;
            let mut x = &self.x[pixel * self.channels + c..];
            let mut w = &self.weights[(ky * window.kernel[1] + taps.start) * self.channels + c..];
            for kx in taps.clone() {
                if kx != taps.start {
                    x = &x[self.channels..];
                    w = &w[self.channels..];
                }
                let weights: &[f32; L] = w.first_chunk().expect("weights hold every tap of every channel");
                for (i, acc) in acc.iter_mut().enumerate() {
                    let x: &[f32; L] = x[i * step..].first_chunk().expect("the window lies inside the input");
                    for ((acc, x), w) in acc.iter_mut().zip(x).zip(weights) {
                        *acc = A::mul_add(*x, *w, *acc);
                    }
                }
            }
        }
        for (i, mut values) in acc.into_iter().enumerate() {
            let at = (self.oy * window.output[1] + ox + i) * self.channels + c;
            if let Some(residual) = self.epilogue.residual {
                for (v, r) in values.iter_mut().zip(&residual[at..at + L]) {
                    *v += r;
                }
            }
            self.epilogue.activation.apply::<A, L>(&mut values);
            out[at..at + L].copy_from_slice(&values);
        }
    }
}

vectorised! {
    /// Convolves one image `x` (height, width, channels) into `out`, with weights from [`pack`].
    pub(crate) fn depthwise(x: &[f32], window: &Window, channels: usize, weights: &[f32], epilogue: Epilogue<'_>, out: &mut [f32]) = depthwise_body;
}
