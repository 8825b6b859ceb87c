//! The f32 micro-kernel's inner loop for NEON: multiply-adds by element.
//!
//! Broadcasting each entry of A takes an instruction for each, and on most cores the unit that multiplies; here one load
//! brings four entries, and the multiply-adds pick theirs by element.
//!
//! Six rows by sixteen columns are 24 accumulators; with six vectors of entries and two of weights they fill the 32 registers.
//! The compiler loads more weights at once if it may, and then keeps accumulators in memory, for a quarter more instructions:
//! [`pin`] holds it to two.

use std::arch::aarch64::{float32x4_t, vfmaq_laneq_f32, vfmaq_n_f32, vld1q_f32};
#[cfg(not(miri))]
use std::arch::asm;

use super::epilogue::{Accumulators, NR, start, vectors};
use super::f32::OnePanel;
use super::operands::Operands;
use crate::simd::Neon;

/// Loads through `at` that come later in the source are not moved before what makes `sum`. There is no instruction in it.
#[inline(always)]
fn pin(sum: &mut float32x4_t, at: &mut *const f32) {
    // SAFETY: it does nothing; both values come out as they went in.
    #[cfg(not(miri))]
    unsafe {
        asm!("/* {0:v} {1} */", inout(vreg) * sum, inout(reg) * at, options(pure, nomem, nostack, preserves_flags));
    }
    #[cfg(miri)]
    let _ = (sum, at);
}

/// The same number, which the compiler does not see through: it would keep a pointer for each row and increment them all.
#[inline(always)]
fn opaque(mut bytes: usize) -> usize {
    // SAFETY: it does nothing; the number comes out as it went in.
    #[cfg(not(miri))]
    unsafe {
        asm!("/* {0} */", inout(reg) bytes, options(pure, nomem, nostack, preserves_flags));
    }
    #[cfg(miri)]
    let _ = &mut bytes;
    bytes
}

impl OnePanel for Neon {
    #[inline(always)]
    fn sums<const M: usize, const N: usize>(
        self,
        operands: &Operands<'_, f32, f32>,
        row: &[f32; NR],
    ) -> Accumulators<Neon, M> {
        const { assert!(vectors::<Neon, N>() > 0) };
        let mut sums = start::<Neon, M, N>(self, row);
        for (t, weights) in operands.panel.chunks_exact(operands.len * NR).enumerate() {
            let fragments = operands.fragments::<M>(t);
            let (fours, rest) = weights.as_chunks::<{ 4 * NR }>();
            // SAFETY: a fragment has as many entries as there are rows of weights for it, and is gone through with them.
            unsafe {
                for (k, weights) in fours.iter().enumerate() {
                    let bytes = 4 * size_of::<f32>() * k;
                    let bytes = if M > 2 { opaque(bytes) } else { bytes };
                    let entries = fragments.map(|fragment| vld1q_f32(fragment.byte_add(bytes)));
                    let mut weights = weights.as_ptr();
                    by_element::<0, M, N>(&mut sums, &mut weights, &entries);
                    by_element::<1, M, N>(&mut sums, &mut weights, &entries);
                    by_element::<2, M, N>(&mut sums, &mut weights, &entries);
                    by_element::<3, M, N>(&mut sums, &mut weights, &entries);
                }
                for (k, weights) in rest.as_chunks::<NR>().0.iter().enumerate() {
                    let entries = fragments.map(|fragment| *fragment.add(4 * fours.len() + k));
                    for (v, weights) in weights[..N].as_chunks::<4>().0.iter().enumerate() {
                        let weights = vld1q_f32(weights.as_ptr());
                        for (row, entry) in sums.iter_mut().zip(entries) {
                            row[v] = vfmaq_n_f32(row[v], weights, entry);
                        }
                    }
                }
            }
        }
        sums
    }
}

/// Adds to every accumulator the weight of its column times element `ELEMENT` of its row's entries, for the row of weights
/// `ELEMENT` rows behind `weights`.
///
/// # Safety
/// That row of weights may be read.
#[inline(always)]
unsafe fn by_element<const ELEMENT: i32, const M: usize, const N: usize>(
    sums: &mut Accumulators<Neon, M>,
    weights: &mut *const f32,
    entries: &[float32x4_t; M],
) {
    for pair in 0..const { N / 8 } {
        // SAFETY: every aarch64 target has NEON; the weights are there by the caller's promise.
        unsafe {
            let at = weights.add(ELEMENT as usize * NR + pair * 8);
            let weights = [vld1q_f32(at), vld1q_f32(at.add(4))];
            for (row, entries) in sums.iter_mut().zip(entries) {
                for (v, weights) in weights.into_iter().enumerate() {
                    row[2 * pair + v] = vfmaq_laneq_f32::<ELEMENT>(row[2 * pair + v], weights, *entries);
                }
            }
        }
        for row in &mut *sums {
            pin(&mut row[2 * pair], weights);
            pin(&mut row[2 * pair + 1], weights);
        }
    }
}
