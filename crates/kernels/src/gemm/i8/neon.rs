//! The int8 inner loop for NEON, with and without the dot-product extension.
//!
//! Both read the same packed weights: sixteen bytes are four columns of four entries. `sdot` adds the four products of a
//! column to one lane. Without it, products of two groups are added in 16 bits, which 2 x 128 x 127 does not leave, and then
//! pairwise to 32: a column has two lanes until the end.

use std::arch::aarch64::{
    int8x16_t, int32x4_t, vaddq_s32, vcvtq_f32_s32, vdupq_n_s32, vget_low_s8, vld1q_dup_s32, vld1q_s8, vld1q_s32,
    vmlal_high_s8, vmlal_s8, vmull_high_s8, vmull_s8, vpadalq_s16, vpaddq_s32, vreinterpretq_s8_s32,
};
use std::arch::asm;

use super::{Accumulators, DotKernel, GROUP, NR, Operands};
use crate::dispatch::int8::{Neon, NeonDot};
use crate::simd::Neon as Floats;

/// Vectors that hold the sums of a panel's columns.
const VECTORS: usize = NR / 4;
/// Weights of a group of every column.
const ROW: usize = GROUP * NR;

/// Four bytes of a row in every lane.
///
/// # Safety
/// Four bytes may be read there.
#[inline(always)]
unsafe fn group(at: *const u8) -> int8x16_t {
    // SAFETY: by the caller's promise; the load has no alignment.
    unsafe { vreinterpretq_s8_s32(vld1q_dup_s32(at.cast())) }
}

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

/// `offset` added to the sums, as floats.
#[inline(always)]
fn floats<const M: usize>(sums: [[int32x4_t; VECTORS]; M], offset: &[i32; NR]) -> Accumulators<Floats, M> {
    sums.map(|row| {
        let mut v = 0;
        row.map(|sum| {
            // SAFETY: the four offsets are there, and every aarch64 target has NEON.
            let float = unsafe { vcvtq_f32_s32(vaddq_s32(sum, vld1q_s32(offset.as_ptr().add(4 * v)))) };
            v += 1;
            float
        })
    })
}

impl DotKernel for Neon {
    type Simd = Floats;
    /// Sixteen accumulators: a column has two lanes of each row.
    const MR: usize = 2;
    const IS_SIGNED: bool = true;

    #[inline(always)]
    fn simd(self) -> Floats {
        self.base()
    }

    #[inline(always)]
    fn sums<const M: usize>(self, operands: &Operands<'_, u8, i8>, offset: &[i32; NR]) -> Accumulators<Floats, M> {
        // SAFETY: every aarch64 target has NEON; what is read is named below.
        unsafe {
            let mut sums = [[[vdupq_n_s32(0); 2]; VECTORS]; M];
            for (t, weights) in operands.panel.chunks_exact(operands.len * NR).enumerate() {
                let mut fragments = operands.fragments::<M>(t);
                let (pairs, rest) = weights.as_chunks::<{ 2 * ROW }>();
                for weights in pairs {
                    // A fragment has as many entries as its weights have rows, and is gone through with them.
                    let first = fragments.map(|fragment| group(fragment));
                    let second = fragments.map(|fragment| group(fragment.add(GROUP)));
                    fragments = fragments.map(|fragment| fragment.add(2 * GROUP));
                    for v in 0..VECTORS {
                        let one = vld1q_s8(weights.as_ptr().add(16 * v));
                        let other = vld1q_s8(weights.as_ptr().add(ROW + 16 * v));
                        for ((sums, first), second) in sums.iter_mut().zip(first).zip(second) {
                            let [low, high] = &mut sums[v];
                            let products = vmull_s8(vget_low_s8(one), vget_low_s8(first));
                            let products = vmlal_s8(products, vget_low_s8(other), vget_low_s8(second));
                            *low = vpadalq_s16(*low, products);
                            let products = vmlal_high_s8(vmull_high_s8(one, first), other, second);
                            *high = vpadalq_s16(*high, products);
                        }
                    }
                }
                for weights in rest.as_chunks::<ROW>().0 {
                    let entries = fragments.map(|fragment| group(fragment));
                    fragments = fragments.map(|fragment| fragment.add(GROUP));
                    for v in 0..VECTORS {
                        let weights = vld1q_s8(weights.as_ptr().add(16 * v));
                        for (sums, entries) in sums.iter_mut().zip(entries) {
                            let [low, high] = &mut sums[v];
                            *low = vpadalq_s16(*low, vmull_s8(vget_low_s8(weights), vget_low_s8(entries)));
                            *high = vpadalq_s16(*high, vmull_high_s8(weights, entries));
                        }
                    }
                }
            }
            floats(sums.map(|row| row.map(|[low, high]| vpaddq_s32(low, high))), offset)
        }
    }
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
unsafe fn by_group<const LANE: usize, const M: usize>(
    sums: &mut [[int32x4_t; VECTORS]; M],
    weights: &[i8; ROW],
    entries: &[int8x16_t; M],
) {
    for v in 0..VECTORS {
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
    const IS_SIGNED: bool = true;

    #[inline(always)]
    fn simd(self) -> Floats {
        self.base()
    }

    #[inline(always)]
    fn sums<const M: usize>(self, operands: &Operands<'_, u8, i8>, offset: &[i32; NR]) -> Accumulators<Floats, M> {
        // SAFETY: the token proves the extension; what is read is named below.
        unsafe {
            let mut sums = [[vdupq_n_s32(0); VECTORS]; M];
            for (t, weights) in operands.panel.chunks_exact(operands.len * NR).enumerate() {
                let mut fragments = operands.fragments::<M>(t).map(opaque);
                let (fours, rest) = weights.as_chunks::<{ 4 * ROW }>();
                for weights in fours {
                    // A fragment has as many entries as its weights have rows, and is gone through with them.
                    let entries = fragments.map(|fragment| vld1q_s8(fragment.cast()));
                    fragments = fragments.map(|fragment| fragment.add(4 * GROUP));
                    let rows = weights.as_chunks::<ROW>().0;
                    by_group::<0, M>(&mut sums, &rows[0], &entries);
                    by_group::<1, M>(&mut sums, &rows[1], &entries);
                    by_group::<2, M>(&mut sums, &rows[2], &entries);
                    by_group::<3, M>(&mut sums, &rows[3], &entries);
                }
                for weights in rest.as_chunks::<ROW>().0 {
                    let entries = fragments.map(|fragment| group(fragment));
                    fragments = fragments.map(|fragment| fragment.add(GROUP));
                    by_group::<0, M>(&mut sums, weights, &entries);
                }
            }
            floats(sums, offset)
        }
    }
}
