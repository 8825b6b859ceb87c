//! The int8 inner loop for NEON with the dot-product extension.
//!
//! It reads what the one without reads: sixteen bytes of packed weights are four columns of four entries, and `sdot` adds the four
//! products of a column to one lane.

use std::arch::aarch64::{int8x16_t, int32x4_t, vld1q_s8};
use std::arch::asm;

use super::neon::{ROW, VECTORS, begun, group, rescaled};
use super::{Accumulators, DotKernel, GROUP, NR, Operands, PanelRow};
use crate::dispatch::int8::NeonDot;
use crate::simd::Neon as Floats;

/// The same pointer, of which the compiler does not know that it lies at a distance from others: it would compute each anew in the
/// inner loop.
#[inline(always)]
fn opaque(mut at: *const u8) -> *const u8 {
    // SAFETY: it does nothing; the pointer comes out as it went in.
    unsafe {
        asm!("/* {0} */", inout(reg) at, options(pure, nomem, nostack, preserves_flags));
    }
    at
}

/// `sums` plus the products of four entries of each column with group `LANE` of a row's sixteen entries. The intrinsic is
/// not stable.
///
/// # Safety
/// The CPU has the dot-product extension.
#[inline(always)]
unsafe fn sdot<const LANE: usize>(mut sums: int32x4_t, weights: int8x16_t, entries: int8x16_t) -> int32x4_t {
    // SAFETY: by the caller's promise the CPU has the instruction; it touches registers alone.
    unsafe {
        asm!(
            "sdot {sums:v}.4s, {weights:v}.16b, {entries:v}.4b[{lane}]",
            sums = inout(vreg) sums, weights = in(vreg) weights, entries = in(vreg) entries, lane = const LANE,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    sums
}

/// Adds to every accumulator the products with group `LANE` of its row's entries.
///
/// # Safety
/// As for [`sdot`].
#[inline(always)]
unsafe fn by_group<const LANE: usize, const M: usize, const N: usize>(
    sums: &mut [[int32x4_t; VECTORS]; M],
    weights: &[i8; ROW],
    entries: &[int8x16_t; M],
) {
    for v in 0..N / 4 {
        // SAFETY: the sixteen weights are there; the rest by the caller's promise.
        unsafe {
            let weights = vld1q_s8(weights.as_ptr().add(16 * v));
            for (row, entries) in sums.iter_mut().zip(entries) {
                row[v] = sdot::<LANE>(row[v], weights, *entries);
            }
        }
    }
}

impl DotKernel for NeonDot {
    type Simd = Floats;
    /// 24 accumulators, six of entries, and what is left for weights.
    const MR: usize = 6;
    const HAS_HALVES: bool = true;
    const IS_SIGNED: bool = true;

    #[inline(always)]
    fn simd(self) -> Floats {
        self.base()
    }

    #[inline(always)]
    fn results<const M: usize, const N: usize>(
        self,
        operands: &Operands<'_, u8, i8>,
        row: &PanelRow,
    ) -> Accumulators<Floats, M> {
        // SAFETY: the token proves the extension; what is read is named below.
        unsafe {
            let mut sums = [begun(&row.offset); M];
            for t in 0..operands.per_row {
                // SAFETY: a panel has the weights of every fragment.
                let len = operands.len * NR;
                let weights = std::slice::from_raw_parts(operands.panel.as_ptr().add(t * len), len);
                let mut fragments = operands.fragments::<M>(t).map(opaque);
                let (fours, rest) = weights.as_chunks::<{ 4 * ROW }>();
                for weights in fours {
                    // A fragment has as many entries as its weights have rows, and is gone through with them.
                    let entries = fragments.map(|fragment| vld1q_s8(fragment.cast()));
                    fragments = fragments.map(|fragment| fragment.add(4 * GROUP));
                    let rows = weights.as_chunks::<ROW>().0;
                    by_group::<0, M, N>(&mut sums, &rows[0], &entries);
                    by_group::<1, M, N>(&mut sums, &rows[1], &entries);
                    by_group::<2, M, N>(&mut sums, &rows[2], &entries);
                    by_group::<3, M, N>(&mut sums, &rows[3], &entries);
                }
                for weights in rest.as_chunks::<ROW>().0 {
                    let entries = fragments.map(|fragment| group(fragment));
                    fragments = fragments.map(|fragment| fragment.add(GROUP));
                    by_group::<0, M, N>(&mut sums, weights, &entries);
                }
            }
            rescaled::<M, N>(sums, row)
        }
    }
}
