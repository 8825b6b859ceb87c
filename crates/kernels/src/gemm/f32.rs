//! The f32 micro-kernel: MR x NR = 6 x 16 with broadcasts of A, for any instruction set; an instruction set may bring
//! its own inner loop.

use std::ops::Range;

use super::KernelFamily;
use super::epilogue::{Accumulators, Epilogue, NR, start, vectors};
use super::micro_kernel::{MicroKernel, Tile};
use super::operands::Operands;
use super::prefetch::prefetch_line;
use crate::activation::Activation;
#[cfg(target_arch = "x86_64")]
use crate::simd::Avx2;
use crate::simd::{Plain, Simd};
use crate::sink::Sink;

/// MR: 12 ymm accumulators, 2 of B and 1 broadcast of A fill the sixteen AVX2 registers.
pub(crate) const MR: usize = 6;
/// Where no more than half of a last panel is used, only that half is computed.
const HALF: usize = NR / 2;

/// The f32 micro-kernel of an instruction set.
pub(crate) trait F32MicroKernel: Simd {
    /// What the accumulators of a row of a tile begin with, [`F32MicroKernel::PANELS`] times [`NR`] of them.
    type Start: Copy + Default + AsMut<[f32]>;
    /// Panels that a tile is wide, at most.
    const PANELS: usize;
    /// Rows of a tile that is one panel wide.
    const NARROW_MR: usize = MR;
    /// Whether Hardswish is applied to whole rows, too, and not in the tile.
    const HARD_SWISH_BY_ROWS: bool = false;

    /// Computes and stores tiles, as [`MicroKernel::tiles`].
    fn tiles(self, first: &Tile<'_, '_, F32<Self>>, count: usize, out: &mut Sink<'_>);
}

/// An instruction set with tiles of one panel, over the vectors of [`Simd`].
pub(super) trait OnePanel: Simd {
    /// The product of `M` rows of A and the first `N` columns of a panel of B, added to `row` in every row.
    #[inline(always)]
    fn sums<const M: usize, const N: usize>(
        self,
        operands: &Operands<'_, f32, f32>,
        row: &[f32; NR],
    ) -> Accumulators<Self, M> {
        by_vectors::<Self, M, N>(self, operands, row)
    }

    /// Computes and stores tiles of `M` rows and at most `N` columns.
    #[inline(always)]
    fn run<const M: usize, const N: usize>(self, first: &Tile<'_, '_, F32<Self>>, count: usize, out: &mut Sink<'_>) {
        let mut tile = *first;
        for _ in 0..count {
            run::<Self, M, N>(self, &tile, out);
            tile.advance();
        }
    }
}

impl OnePanel for Plain {}
#[cfg(all(target_arch = "aarch64", miri))]
impl OnePanel for crate::simd::Neon {}
#[cfg(target_arch = "x86_64")]
impl OnePanel for Avx2 {}

impl<S: OnePanel> F32MicroKernel for S {
    type Start = [f32; NR];
    const PANELS: usize = 1;

    #[inline(always)]
    fn tiles(self, first: &Tile<'_, '_, F32<S>>, count: usize, out: &mut Sink<'_>) {
        if first.width > HALF {
            rows::<S, NR>(self, first, count, out)
        } else {
            rows::<S, HALF>(self, first, count, out)
        }
    }
}

/// The inner loop over the vectors of [`Simd`].
#[inline(always)]
fn by_vectors<S: Simd, const M: usize, const N: usize>(
    simd: S,
    operands: &Operands<'_, f32, f32>,
    row: &[f32; NR],
) -> Accumulators<S, M> {
    let mut sums = start::<S, M, N>(simd, row);
    let vectors = const { vectors::<S, N>() };
    let mut ahead = operands.ahead;
    for (t, weights) in operands.panel.chunks_exact(operands.len * NR).enumerate() {
        let fragments = operands.fragments::<M>(t);
        for (k, weights) in weights.as_chunks::<NR>().0.iter().enumerate() {
            prefetch_line(ahead);
            ahead = ahead.wrapping_add(operands.pace);
            let mut row = [simd.splat(0.0); NR / 4];
            for (v, row) in row.iter_mut().enumerate().take(vectors) {
                // SAFETY: the first N of the panel's weights are read.
                *row = unsafe { simd.load(weights.as_ptr().add(v * S::LANES)) };
            }
            for (sums, fragment) in sums.iter_mut().zip(fragments) {
                // SAFETY: every fragment has `operands.len` entries, and its chunk of the panel as many rows, so that k is
                // below that. A check per entry would stand between the multiply-adds and keep the weights out of
                // registers; `take(operands.len)` costs a second comparison in the loop.
                let entry = simd.splat(unsafe { *fragment.add(k) });
                for (sum, weights) in sums.iter_mut().zip(row).take(vectors) {
                    *sum = simd.mul_add(entry, weights, *sum);
                }
            }
        }
    }
    sums
}

/// The f32 micro-kernel of an instruction set.
#[derive(Clone, Copy, Debug)]
pub(crate) struct F32<S>(pub(crate) S);

impl<S: F32MicroKernel> MicroKernel for F32<S> {
    type Lhs = f32;
    type Rhs = f32;
    type Out = f32;
    type Row = S::Start;
    type Epilogue<'a> = Epilogue<'a>;

    const MR: usize = MR;
    const PANELS: usize = S::PANELS;
    const NARROW_MR: usize = S::NARROW_MR;
    const FAMILY: KernelFamily = KernelFamily::F32;

    #[inline(always)]
    fn columns<'a>(epilogue: Self::Epilogue<'a>, columns: Range<usize>) -> Self::Epilogue<'a> {
        Epilogue { bias: epilogue.bias.map(|bias| &bias[columns]), ..epilogue }
    }

    /// A costly activation is applied to whole rows, as a loop that vectorises.
    #[inline(always)]
    fn split_epilogue<'a>(self, epilogue: Self::Epilogue<'a>) -> (Self::Epilogue<'a>, bool) {
        epilogue.split(S::HARD_SWISH_BY_ROWS && epilogue.activation == Activation::HardSwish)
    }

    #[inline(always)]
    fn start(self, epilogue: Epilogue<'_>, columns: Range<usize>) -> S::Start {
        let mut row = S::Start::default();
        if let Some(bias) = epilogue.bias {
            row.as_mut()[..columns.len()].copy_from_slice(&bias[columns]);
        }
        row
    }

    #[inline(always)]
    fn tiles(self, first: &Tile<'_, '_, F32<S>>, count: usize, out: &mut Sink<'_>) {
        self.0.tiles(first, count, out);
    }

    #[inline(always)]
    fn finish_rows(self, epilogue: Epilogue<'_>, at: usize, columns: usize, rows: &mut [f32]) {
        self.0.activate_row(epilogue.activation, rows);
        self.0.apply_stages(epilogue.then, at, columns, rows);
    }
}

/// Computes tiles of `N >= width` columns.
#[inline(always)]
fn rows<S: OnePanel, const N: usize>(simd: S, first: &Tile<'_, '_, F32<S>>, count: usize, out: &mut Sink<'_>) {
    match first.rows {
        1 => simd.run::<1, N>(first, count, out),
        2 => simd.run::<2, N>(first, count, out),
        3 => simd.run::<3, N>(first, count, out),
        4 => simd.run::<4, N>(first, count, out),
        5 => simd.run::<5, N>(first, count, out),
        _ => simd.run::<MR, N>(first, count, out),
    }
}

#[inline(always)]
fn run<S: OnePanel, const M: usize, const N: usize>(simd: S, tile: &Tile<'_, '_, F32<S>>, out: &mut Sink<'_>) {
    let operands = &tile.operands;
    debug_assert_eq!(operands.panel.len(), operands.per_row * operands.len * NR);
    let sums = simd.sums::<M, N>(operands, tile.start);
    if tile.width == N {
        return tile.epilogue.finish::<S, M, N>(simd, sums, tile.at, tile.stride, out);
    }
    tile.epilogue.finish_some::<S, M, N>(simd, &sums, tile.width, tile.at, tile.stride, out);
}
