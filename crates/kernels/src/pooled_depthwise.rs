//! A depthwise convolution under a pooling whose windows differ, as adaptive pooling's do, in one kernel.
//!
//! Both are linear, so each output position is a sum over a window of the image, under a filter of its own. Windows of an
//! axis are of few kinds, and positions of the same kinds of rows and columns share their filter. NHWC layout.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::depthwise::{LANES, Taps};
use crate::dispatch::dispatch_wide;
use crate::gemm::{Epilogue, NR};
use crate::simd::Simd;
use crate::sink::Sink;
use crate::thread_pool::ThreadPool;

/// The windows along one axis of the image, one for each position of the output.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Windows {
    /// Size of the image along this axis.
    pub input: usize,
    /// Zeros before the image.
    pub padding: usize,
    /// Where each window begins, counted from the first of those zeros.
    pub starts: Vec<usize>,
    /// Of which kind each window is.
    pub kinds: Vec<usize>,
    /// How long the windows of each kind are.
    pub lengths: Vec<usize>,
}

impl Windows {
    /// Size of the output along this axis.
    pub fn output(&self) -> usize {
        self.starts.len()
    }

    /// Taps of all windows together.
    pub fn taps(&self) -> usize {
        self.kinds.iter().map(|kind| self.lengths[*kind]).sum()
    }

    /// Length of the longest window.
    pub fn longest(&self) -> usize {
        self.lengths.iter().copied().max().unwrap_or(0)
    }

    /// Which taps of window `o` fall inside the image, and where in the image the first of them is.
    #[inline(always)]
    fn inside(&self, o: usize) -> (Range<usize>, usize) {
        let (start, length) = (self.starts[o], self.lengths[self.kinds[o]]);
        let first = self.padding.saturating_sub(start).min(length);
        let end = (self.padding + self.input).saturating_sub(start).clamp(first, length);
        (first..end, (start + first).saturating_sub(self.padding))
    }
}

/// Length of the filters: for each kind of rows and of columns, one of (longest rows, longest columns, channels).
pub fn filters_len(rows: &Windows, columns: &Windows, channels: usize) -> usize {
    rows.lengths.len() * columns.lengths.len() * rows.longest() * columns.longest() * channels
}

/// An image and the filters it is summed under.
#[derive(Clone, Copy)]
struct Operands<'a> {
    x: &'a [f32],
    rows: &'a Windows,
    columns: &'a Windows,
    channels: usize,
    filters: &'a [f32],
    /// A value per channel for each kind of rows and of columns.
    bias: &'a [f32],
}

impl Operands<'_> {
    /// The taps inside the image of one output position, from channel `c` on.
    #[inline(always)]
    fn taps(&self, oy: usize, ox: usize, c: usize) -> Taps<'_> {
        let channels = self.channels;
        let ((ys, y), (xs, x)) = (self.rows.inside(oy), self.columns.inside(ox));
        let (row_stride, weight_stride) = (self.columns.input * channels, self.columns.longest() * channels);
        let taps = Taps { x: &[], weights: &[], size: [0, 0], row_stride, weight_stride, channels, step: 0 };
        if ys.is_empty() || xs.is_empty() {
            return taps;
        }
        let filter = self.kind(oy, ox) * self.rows.longest() * weight_stride;
        let weights = &self.filters[filter + ys.start * weight_stride + xs.start * channels + c..];
        Taps { x: &self.x[y * row_stride + x * channels + c..], weights, size: [ys.len(), xs.len()], ..taps }
    }

    /// Which filter and bias an output position has.
    #[inline(always)]
    fn kind(&self, oy: usize, ox: usize) -> usize {
        self.rows.kinds[oy] * self.columns.lengths.len() + self.columns.kinds[ox]
    }

    /// One output position for channels `c..c + L`.
    #[inline(always)]
    fn lanes<S: Simd, const L: usize>(&self, simd: S, [oy, ox]: [usize; 2], c: usize, out: &mut Sink<'_>) {
        let mut bias = [0.0; NR];
        bias[..L].copy_from_slice(&self.bias[self.kind(oy, ox) * self.channels + c..][..L]);
        let sums = self.taps(oy, ox, c).sum::<S, L>(simd, &bias);
        let at = (oy * self.columns.output() + ox) * self.channels + c;
        Epilogue::default().finish::<S, 1, L>(simd, sums, at, self.channels, out);
    }
}

#[inline(always)]
fn pooled_body<S: Simd>(simd: S, operands: Operands<'_>, rows: Range<usize>, mut out: Sink<'_>) {
    let Operands { x, channels, filters, bias, columns, .. } = operands;
    assert_eq!(x.len(), operands.rows.input * columns.input * channels, "image");
    assert_eq!(filters.len(), filters_len(operands.rows, columns, channels), "filters");
    assert_eq!(bias.len(), operands.rows.lengths.len() * columns.lengths.len() * channels, "bias");
    for (oy, ox) in rows.flat_map(|oy| (0..columns.output()).map(move |ox| (oy, ox))) {
        let mut c = 0;
        while c + LANES <= channels {
            operands.lanes::<S, LANES>(simd, [oy, ox], c, &mut out);
            c += LANES;
        }
        while c + 8 <= channels {
            operands.lanes::<S::Narrow, 8>(simd.narrow(), [oy, ox], c, &mut out);
            c += 8;
        }
        while c < channels {
            let bias = bias[operands.kind(oy, ox) * channels + c];
            let at = (oy * columns.output() + ox) * channels + c;
            out.entries(at, 1)[0] = bias + operands.taps(oy, ox, c).single(simd);
            c += 1;
        }
    }
}

dispatch_wide! {
    /// Rows `rows` of the output.
    fn some_rows(operands: Operands<'_>, rows: Range<usize>, out: Sink<'_>) = pooled_body;
}

/// Sums one image `x` (height, width, channels) under `filters`, laid out as [`filters_len`] says, and adds `bias`, a value per
/// channel for each kind of rows and of columns.
///
/// # Panics
/// A slice has another length than the windows say, or a window is of a kind that is not there.
pub fn pooled_depthwise(
    pool: &mut ThreadPool,
    x: &[f32],
    [rows, columns]: [&Windows; 2],
    channels: usize,
    [filters, bias]: [&[f32]; 2],
    out: &mut [f32],
) {
    let all = rows.output();
    let parts = pool.parts(rows.taps() * columns.taps() * channels, all);
    let operands = Operands { x, rows, columns, channels, filters, bias };
    let (token, out) = (pool.token(), Sink::new(out));
    pool.run(parts, &|part| {
        let rows = part * all / parts..(part + 1) * all / parts;
        // SAFETY: each part writes its own rows.
        some_rows(token, operands, rows, unsafe { out.share() });
    });
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::oracle::{assert_close_to, cases, for_each_isa, largest, most};
    use crate::testing::values;

    fn windows() -> impl Strategy<Value = Windows> {
        let length = prop::collection::vec(1_usize..9, 1..4);
        (1_usize..13, 0_usize..4, length, prop::collection::vec((0_usize..16, 0_usize..3), 1..6)).prop_map(
            |(input, padding, lengths, outputs)| {
                let kinds = outputs.iter().map(|(_, kind)| kind % lengths.len()).collect();
                Windows {
                    input,
                    padding,
                    starts: outputs.into_iter().map(|(start, _)| start).collect(),
                    kinds,
                    lengths,
                }
            },
        )
    }

    proptest! {
        #![proptest_config(cases(100))]

        #[test]
        fn every_position_is_a_sum_under_the_filter_of_its_kind(
            rows in windows(), columns in windows(), channels in 1..most(67),
        ) {
            let x = values(1, rows.input * columns.input * channels);
            let filters = values(2, filters_len(&rows, &columns, channels));
            let bias = values(3, rows.lengths.len() * columns.lengths.len() * channels);
            let mut sums = vec![];
            for (oy, ox) in (0..rows.output()).flat_map(|oy| (0..columns.output()).map(move |ox| (oy, ox))) {
                let kind = rows.kinds[oy] * columns.lengths.len() + columns.kinds[ox];
                for c in 0..channels {
                    let mut sum = f64::from(bias[kind * channels + c]);
                    for (ky, kx) in (0..rows.lengths[rows.kinds[oy]])
                        .flat_map(|ky| (0..columns.lengths[columns.kinds[ox]]).map(move |kx| (ky, kx)))
                    {
                        let y = (rows.starts[oy] + ky).checked_sub(rows.padding).filter(|y| *y < rows.input);
                        let column = (columns.starts[ox] + kx).checked_sub(columns.padding).filter(|x| *x < columns.input);
                        let weight = (kind * rows.longest() + ky) * columns.longest() + kx;
                        if let (Some(y), Some(column)) = (y, column) {
                            sum += f64::from(x[(y * columns.input + column) * channels + c])
                                * f64::from(filters[weight * channels + c]);
                        }
                    }
                    sums.push(sum);
                }
            }
            let expected: Vec<f32> = sums.iter().map(|sum| *sum as f32).collect();
            for_each_isa(expected.len(), |pool, out| {
                pooled_depthwise(pool, &x, [&rows, &columns], channels, [&filters, &bias], out);
            }, |out| assert_close_to(out, &expected, 4.0 * largest(&sums)));
        }
    }
}
