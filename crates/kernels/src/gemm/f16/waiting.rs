//! Sums in halves of pieces of a reduction, which wait in memory to be added in f32.
//!
//! Loops over entries take all registers: sums in f32 would go to memory and back around each of them, two registers for eight values.

use std::arch::aarch64::{
    float32x4_t, vaddq_f32, vdupq_n_f32, vdupq_n_u16, vld1q_f32, vld1q_u16, vst1q_f32, vst1q_u16,
};
use std::mem::MaybeUninit;

use super::products::{Sums, add_short, put_piece};
use super::{NR, Operands, PIECE, SHORT};
use crate::gemm::Accumulators;
use crate::gemm::operands::TileRows;
use crate::halves::neon::floats;
use crate::simd::Neon as Floats;

/// Pieces that wait, at most.
const WAITING: usize = 16;

/// Sums of `M` rows of `N` columns.
pub(super) struct Waiting<const M: usize, const N: usize> {
    pieces: [MaybeUninit<[[u16; N]; M]>; WAITING],
    count: usize,
    /// Sums of pieces that wait no longer, if there are any.
    floats: MaybeUninit<[[f32; N]; M]>,
    is_begun: bool,
}

impl<const M: usize, const N: usize> Waiting<M, N> {
    #[inline(always)]
    pub(super) fn none() -> Waiting<M, N> {
        let pieces = [MaybeUninit::uninit(); WAITING];
        Waiting { pieces, count: 0, floats: MaybeUninit::uninit(), is_begun: false }
    }

    /// The sums of the products of a tile.
    ///
    /// # Safety
    /// The CPU multiplies halves.
    #[inline(always)]
    pub(super) unsafe fn fill(&mut self, operands: &Operands<'_, u16, u16>) {
        (self.count, self.is_begun) = (0, false);
        let TileRows::Spaced { at, step, .. } = operands.rows else {
            // SAFETY: by the caller's promise.
            return unsafe { self.fill_fragments(operands) };
        };
        if operands.per_row != 1 {
            // SAFETY: as above.
            return unsafe { self.fill_fragments(operands) };
        }
        assert!(operands.panel.len() >= operands.len * NR);
        let at = at.wrapping_add(operands.offset);
        let (mut at, mut weights) = (std::array::from_fn(|i| at.wrapping_add(i * step)), operands.panel.as_ptr());
        // SAFETY: by the caller's promise; rows and the panel have `len` entries.
        unsafe { self.add(&mut at, &mut weights, operands.len) };
    }

    /// Adds the products of a fragment, and brings the weights behind them.
    ///
    /// # Safety
    /// They may be read, and the CPU multiplies halves.
    #[inline(always)]
    unsafe fn add(&mut self, at: &mut [*const u16; M], weights: &mut *const u16, len: usize) {
        let mut left = len;
        while left > 0 {
            let entries = left.min(PIECE);
            // SAFETY: by the caller's promise; the piece has M rows of N halves.
            unsafe { put_piece::<M, N>(at, weights, entries, self.next()) };
            left -= entries;
        }
    }

    /// As [`Waiting::fill`], of rows of fragments.
    #[inline(never)]
    #[target_feature(enable = "neon,fp16")]
    fn fill_fragments(&mut self, operands: &Operands<'_, u16, u16>) {
        let Operands { panel, per_row, len, .. } = *operands;
        assert!(panel.len() >= per_row * len * NR);
        let mut weights = panel.as_ptr();
        let mut t = 0;
        while t < per_row {
            if len > SHORT {
                // SAFETY: a fragment has `len` entries, and the panel as many rows of NR weights for it, those of a fragment behind those of
                // the one before.
                unsafe { self.add(&mut operands.fragments::<M>(t), &mut weights, len) };
                t += 1;
                continue;
            }
            // As many fragments as may be summed one entry after another.
            let mut sums: Sums<M> = [[vdupq_n_u16(0); NR / 8]; M];
            let until = per_row.min(t + SHORT / len);
            while t < until {
                // SAFETY: as above.
                unsafe { add_short::<M, N>(&mut sums, operands.fragments::<M>(t), &mut weights, len) };
                t += 1;
            }
            let to = self.next();
            for (i, row) in sums.iter().enumerate() {
                for (v, sum) in row.iter().enumerate().take(const { N / 8 }) {
                    // SAFETY: the piece has M rows of N halves.
                    unsafe { vst1q_u16(to.add(i * N + 8 * v), *sum) };
                }
            }
        }
    }

    /// Where the next sums are to be stored, before anything else is done.
    #[inline(always)]
    fn next(&mut self) -> *mut u16 {
        if self.count == WAITING {
            self.fold();
        }
        self.count += 1;
        self.pieces[self.count - 1].as_mut_ptr().cast()
    }

    #[cold]
    #[inline(never)]
    fn fold(&mut self) {
        let to: *mut f32 = self.floats.as_mut_ptr().cast();
        for at in (0..M * N).step_by(8) {
            let [[low, high]] = self.total::<1>(at);
            // SAFETY: eight of the M * N floats are written; the instructions are NEON's, which every aarch64 target has.
            unsafe {
                vst1q_f32(to.add(at), low);
                vst1q_f32(to.add(at + 4), high);
            }
        }
        (self.count, self.is_begun) = (0, true);
    }

    /// The sums in f32 of `V` times eight places from `at` on, counted row after row.
    #[inline(always)]
    pub(super) fn total<const V: usize>(&self, at: usize) -> [[float32x4_t; 2]; V] {
        debug_assert!(at + 8 * V <= M * N && (self.count > 0 || self.is_begun));
        let mut from: *const u16 = self.pieces.as_ptr().cast::<u16>().wrapping_add(at);
        let before: *const f32 = self.floats.as_ptr().cast::<f32>().wrapping_add(at);
        // SAFETY: the places are among the M * N of each piece, of which the first `count` were stored, and of the floats, which were
        // where they are begun. The instructions are NEON's, which every aarch64 target has.
        unsafe {
            let mut sums = [[vdupq_n_f32(0.0); 2]; V];
            let mut left = self.count;
            if self.is_begun {
                for (v, sums) in sums.iter_mut().enumerate() {
                    *sums = [vld1q_f32(before.add(8 * v)), vld1q_f32(before.add(8 * v + 4))];
                }
            } else {
                for (v, sums) in sums.iter_mut().enumerate() {
                    *sums = floats(vld1q_u16(from.add(8 * v)));
                }
                (from, left) = (from.wrapping_add(M * N), left - 1);
            }
            while left > 0 {
                for (v, sums) in sums.iter_mut().enumerate() {
                    let [low, high] = floats(vld1q_u16(from.add(8 * v)));
                    *sums = [vaddq_f32(sums[0], low), vaddq_f32(sums[1], high)];
                }
                (from, left) = (from.wrapping_add(M * N), left - 1);
            }
            sums
        }
    }

    /// All sums in f32.
    #[inline(always)]
    pub(super) fn floats(&self) -> Accumulators<Floats, M> {
        // SAFETY: the instruction touches registers alone; every aarch64 target has NEON.
        let mut sums = unsafe { [[vdupq_n_f32(0.0); NR / 4]; M] };
        macro_rules! vectors {
            ($count:expr) => {
                for (v, [low, high]) in self.total::<{ $count }>(0).into_iter().enumerate() {
                    let (row, place) = (8 * v / N, 8 * v % N / 4);
                    (sums[row][place], sums[row][place + 1]) = (low, high);
                }
            };
        }
        match const { M * N / 8 } {
            1 => vectors!(1),
            2 => vectors!(2),
            3 => vectors!(3),
            4 => vectors!(4),
            5 => vectors!(5),
            6 => vectors!(6),
            7 => vectors!(7),
            8 => vectors!(8),
            10 => vectors!(10),
            _ => unreachable!("tiles have five rows at most, or eight of half a panel"),
        }
        sums
    }
}
