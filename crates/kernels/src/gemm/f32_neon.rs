//! The f32 micro-kernel for NEON: multiply-adds by element.
//!
//! Broadcasting each entry of A takes an instruction for each, and on most cores the unit that multiplies; here one load
//! brings four entries, and the multiply-adds pick theirs by element.

use std::mem::MaybeUninit;

use super::epilogue::{Accumulators, Epilogue, NR, vectors};
use super::f32::{F32, OnePanel};
use super::micro_kernel::Tile;
use super::neon_loop::{add_f32, begin_f32};
use super::operands::Operands;
use super::store;
use crate::simd::{Neon, Simd};
use crate::sink::Sink;

impl OnePanel for Neon {
    #[inline(always)]
    fn sums<const M: usize, const N: usize>(
        self,
        operands: &Operands<'_, f32, f32>,
        row: &[f32; NR],
    ) -> Accumulators<Neon, M> {
        const { assert!(vectors::<Neon, N>() == 2 || vectors::<Neon, N>() == 4) };
        let Operands { panel, per_row, len, .. } = *operands;
        assert!(panel.len() >= per_row * len * NR);
        let mut weights = panel.as_ptr();
        // SAFETY: a fragment has `len` entries, and the panel as many rows of NR weights for it, those of
        // a fragment behind those of the one before.
        unsafe {
            let mut sums = begin_f32::<M, N>(row.first_chunk().expect("columns of a panel"));
            if per_row == 1 {
                // Apart, for the sake of products of short rows: a loop begins with pointers to all that it will read.
                add_f32::<M, N>(&mut sums, operands.fragments(0), &mut weights, len);
            } else {
                for t in 0..per_row {
                    add_f32::<M, N>(&mut sums, operands.fragments(t), &mut weights, len);
                }
            }
            sums
        }
    }

    #[inline(always)]
    fn run<const M: usize, const N: usize>(self, first: &Tile<'_, '_, F32<Neon>>, count: usize, out: &mut Sink<'_>) {
        run::<M, N>(self, first, count, out);
    }
}

/// Computes tiles and stores them. A function of its own: among others the compiler keeps their constants, and accumulators in
/// memory.
#[inline(never)]
fn run<const M: usize, const N: usize>(simd: Neon, first: &Tile<'_, '_, F32<Neon>>, count: usize, out: &mut Sink<'_>) {
    first.each(count, |tile| one::<M, N>(simd, tile, out));
}

#[inline(always)]
fn one<const M: usize, const N: usize>(simd: Neon, tile: &Tile<'_, '_, F32<Neon>>, out: &mut Sink<'_>) {
    let Tile { width, at, stride, epilogue: Epilogue { residual, activation, .. }, .. } = *tile;
    debug_assert!(!activation.is_costly());
    let mut sums = simd.sums::<M, N>(&tile.operands, tile.start);
    let is_whole = width == N;
    if let Some(residual) = residual {
        let residual = &residual[at..][..(M - 1) * stride + width];
        let mut padded = [[0.0; N]; M];
        let (from, stride) = if is_whole {
            (residual.as_ptr(), stride)
        } else {
            for (padded, residual) in padded.iter_mut().zip(residual.chunks(stride)) {
                padded[..width].copy_from_slice(&residual[..width]);
            }
            (padded.as_ptr().cast(), N)
        };
        for (i, row) in sums.iter_mut().enumerate() {
            for (v, sum) in row.iter_mut().enumerate().take(const { N / 4 }) {
                // SAFETY: row `i` is laid out as the output, and its N values end before the last that was checked; or it is
                // row `i` of `padded`.
                *sum = simd.add(*sum, unsafe { simd.load(from.add(i * stride + 4 * v)) });
            }
        }
    }
    tile.epilogue.activate::<Neon, M, N>(simd, &mut sums);
    let mut values = MaybeUninit::<[[f32; N]; M]>::uninit();
    let (to, apart) =
        if is_whole { (out.tile_within(at, M, stride, N), stride) } else { (values.as_mut_ptr().cast(), N) };
    for (i, row) in sums.iter().enumerate() {
        for (v, sum) in row.iter().enumerate().take(const { N / 4 }) {
            // SAFETY: the N values of the row are written, which are the tile's, or row `i` of `values`.
            unsafe { simd.store(to.add(i * apart + 4 * v), *sum) };
        }
    }
    if !is_whole {
        // SAFETY: the N values of each of the M rows have been written above.
        let values = unsafe { values.assume_init_ref() };
        for (i, values) in values.iter().enumerate() {
            store(out.entries(at + i * stride, width), values);
        }
    }
}
