//! Dense and grouped convolution in NHWC layout, as an implicit GEMM: a row of A is the pixels under the kernel, listed
//! where they lie, and no im2col buffer is filled.

mod halves;
mod int8;
mod kernel_rows;
pub mod winograd;

use std::ops::Range;

use serde::{Deserialize, Serialize};

pub use self::halves::convolve_f16;
pub use self::int8::convolve_i8;
use crate::fragments::{Listed, with_list};
use crate::gemm::{
    Columns, Epilogue, Fragments, MR, NR, Prefetch, ROWS, Rows, f32_rows, pack, packed_len, scale_columns,
};
use crate::sink::Sink;
use crate::thread_pool::ThreadPool;

/// Height and width.
pub type Pair = [usize; 2];

/// Geometry of a two-dimensional convolution or pooling.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Window {
    /// Size of the input.
    pub input: Pair,
    /// Size of the output.
    pub output: Pair,
    /// Size of the kernel.
    pub kernel: Pair,
    /// Input pixels from one output pixel to the next.
    pub stride: Pair,
    /// Zeros before the first row and column; those behind the last follow from `output`.
    pub padding: Pair,
}

impl Window {
    /// Which taps of an axis fall inside the input for output position `o`, and the input position of tap 0, which may
    /// lie before the input.
    #[inline(always)]
    pub fn taps(&self, axis: usize, o: usize) -> (Range<usize>, isize) {
        let start = (o * self.stride[axis]) as isize - self.padding[axis] as isize;
        let first = (-start).clamp(0, self.kernel[axis] as isize) as usize;
        let end = (self.input[axis] as isize - start).clamp(first as isize, self.kernel[axis] as isize) as usize;
        (first..end, start)
    }
}

/// A convolution's sizes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Shape {
    /// Where the kernel goes.
    pub window: Window,
    /// Channels of the input.
    pub channels_in: usize,
    /// Channels of the output.
    pub channels_out: usize,
    /// Groups of channels, which divide both.
    pub groups: usize,
}

/// Below this many channels, the taps of a kernel row are better read as one fragment than one by one.
const FEW_CHANNELS: usize = 48;

impl Shape {
    fn reduction(&self) -> usize {
        self.window.kernel[0] * self.window.kernel[1] * (self.channels_in / self.groups)
    }

    fn operations(&self) -> usize {
        self.window.output[0] * self.window.output[1] * self.channels_out * self.reduction()
    }

    /// Length of the packed weights of one group.
    fn group_len(&self) -> usize {
        packed_len(self.reduction(), self.channels_out / self.groups)
    }

    /// Whether a kernel row is one fragment.
    fn is_by_kernel_rows(&self) -> bool {
        self.groups == 1 && self.channels_in < FEW_CHANNELS && self.window.kernel[1] > 1
    }

    /// Length of the packed weights.
    pub fn packed_len(&self) -> usize {
        self.groups * self.group_len()
    }

    /// Floats of scratch memory that [`convolve`] needs on so many threads.
    pub fn scratch_len(&self, threads: usize) -> usize {
        if self.is_by_kernel_rows() { threads * kernel_rows::scratch_len(self) } else { self.channels_in }
    }

    /// Packs weights given in OIHW layout: (out, in / groups, height, width), row-major.
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

/// Convolves one image `x` (height, width, channels) into `out`, with weights from [`Shape::pack`] and
/// [`Shape::scratch_len`] floats of scratch memory.
///
/// # Panics
/// A slice is shorter than `shape` says.
pub fn convolve(
    pool: &mut ThreadPool,
    x: &[f32],
    shape: &Shape,
    packed: &[f32],
    epilogue: Epilogue<'_>,
    scratch: &mut [f32],
    out: &mut [f32],
) {
    if shape.is_by_kernel_rows() {
        let token = pool.token();
        let copies: (_, kernel_rows::Elements<f32>) = (scratch, |copy| copy);
        kernel_rows::convolve(pool, x, shape, packed.len(), copies, out, &|a, weights, to, prefetch, out| {
            f32_rows(token, a, &packed[weights], to, epilogue, prefetch, out);
        });
    } else {
        // The fragment of a tap outside the image.
        let zeros = &mut scratch[..shape.channels_in];
        zeros.fill(0.0);
        let token = pool.token();
        by_taps(pool, [x, zeros], shape, packed.len(), out, &|a, weights, to, prefetch, out| {
            let bias = epilogue.bias.map(|bias| &bias[to.offset..][..to.columns]);
            f32_rows(token, a, &packed[weights], to, Epilogue { bias, ..epilogue }, prefetch, out);
        });
    }
}

/// Computes the product of some rows with some of the packed weights.
type Product<'a, T, O> = dyn Fn(Fragments<'_, T>, Range<usize>, Columns, Prefetch, Sink<'_, O>) + Sync + 'a;

/// Each tap of a pixel is a fragment of `x`, or of `outside`, the channels of a pixel outside the image. Packed weights have
/// `packed_len` elements.
fn by_taps<T: Listed + Sync, O: Send>(
    pool: &mut ThreadPool,
    [x, outside]: [&[T]; 2],
    shape: &Shape,
    packed_len: usize,
    out: &mut [O],
    product: &Product<'_, T, O>,
) {
    let Shape { window, channels_in, channels_out, groups } = *shape;
    let [kh, kw] = window.kernel;
    let pixels = window.output[0] * window.output[1];
    let row = window.input[1] * channels_in;
    // Rows of the image that the pixels before this one have read.
    let rows_until = |pixel: usize| {
        let (ys, y0) = window.taps(0, pixel.saturating_sub(1) / window.output[1]);
        (y0 + ys.end as isize).clamp(0, window.input[0] as isize) as usize
    };
    let out = Sink::new(out);
    // What may be cut beside the pixels: groups, or the panels of an only group.
    let co = channels_out / groups;
    let lanes = if groups > 1 { groups } else { co.div_ceil(NR) };
    let lane_len = packed_len / lanes;
    // The larger operand is cut, so that no two threads read the same part of it.
    let parts = pool.parts(shape.operations(), if packed_len > x.len() { lanes } else { pixels.div_ceil(MR) });
    let list_taps = |block: Range<usize>, list: &mut Vec<_>| {
        for pixel in block {
            let (ys, y0) = window.taps(0, pixel / window.output[1]);
            let (xs, x0) = window.taps(1, pixel % window.output[1]);
            for ky in 0..kh {
                for kx in 0..kw {
                    list.push(if ys.contains(&ky) && xs.contains(&kx) {
                        let at = (y0 + ky as isize) as usize * window.input[1] + (x0 + kx as isize) as usize;
                        &x[at * channels_in..][..channels_in]
                    } else {
                        outside
                    });
                }
            }
        }
    };
    let compute = |part: usize, list: &mut Vec<_>| {
        let cut = |len: usize, unit: usize| {
            let units = len.div_ceil(unit);
            part * units / parts * unit..len.min((part + 1) * units / parts * unit)
        };
        let (lanes, pixels) =
            if packed_len > x.len() { (cut(lanes, 1), 0..pixels) } else { (0..lanes, cut(pixels, MR)) };
        for first in pixels.clone().step_by(ROWS) {
            let block = first..(first + ROWS).min(pixels.end);
            // Rows of the image that the next block is the first to read: the hardware does not see them coming where
            // groups or strides make it a pattern with holes.
            let next = rows_until(block.end)..rows_until((block.end + ROWS).min(pixels.end));
            let next = &x[next.start * row..next.end * row];
            list.clear();
            list_taps(block, list);
            // One GEMM for each group, or one for the panels of the only group.
            let products = if groups > 1 { lanes.clone() } else { 0..1 };
            for g in products {
                let (weights, from, until) = if groups > 1 {
                    (g * lane_len..(g + 1) * lane_len, g * co, (g + 1) * co)
                } else {
                    (lanes.start * lane_len..lanes.end * lane_len, lanes.start * NR, co.min(lanes.end * NR))
                };
                let ci = channels_in / groups;
                let to = Columns { first, stride: channels_out, offset: from, columns: until - from };
                let prefetch = if packed_len > x.len() {
                    Prefetch::NextPanel
                } else {
                    Prefetch::slice(&next[g * next.len() / groups..(g + 1) * next.len() / groups])
                };
                let a = Fragments { rows: Rows::Listed(list), per_row: kh * kw, offset: g * ci, len: ci };
                // SAFETY: each part writes its own pixels or its own channels.
                product(a, weights, to, prefetch, unsafe { out.share() });
            }
        }
    };
    pool.run(parts, &|part| with_list(|list| compute(part, list)));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::oracle::{
        activation, activations, assert_close_to, cases, convolution, for_each_isa, largest, most, windows,
    };
    use crate::testing::values;

    proptest! {
        #![proptest_config(cases(200))]

        #[test]
        fn convolution_matches_reference(
            window in windows(), groups in 1_usize..4, ci in 1..most(67), co in 1..most(40), act in activations(),
            residual: bool,
        ) {
            let shape = Shape { window, channels_in: groups * ci, channels_out: groups * co, groups };
            let x = values(1, window.input[0] * window.input[1] * shape.channels_in);
            let w = values(2, shape.channels_out * ci * window.kernel[0] * window.kernel[1]);
            let bias = values(3, shape.channels_out);
            let sums = convolution(&x, &shape, &w, &bias);
            let r = values(4, sums.len());
            let expected: Vec<f32> = sums
                .iter()
                .zip(&r)
                .map(|(s, r)| activation(act, s + if residual { f64::from(*r) } else { 0.0 }) as f32)
                .collect();
            let epilogue = Epilogue { bias: Some(&bias), residual: residual.then_some(&r), activation: act, ..Epilogue::default() };
            let packed = shape.pack(&w);
            for_each_isa(expected.len(), |pool, out| {
                // Whatever earlier operators have left there.
                let mut scratch = vec![f32::NAN; shape.scratch_len(pool.threads())];
                convolve(pool, &x, &shape, &packed, epilogue, &mut scratch, out);
            }, |out| assert_close_to(out, &expected, largest(&sums)));
        }
    }
}
