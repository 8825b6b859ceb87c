//! The f32 micro-kernel's inner loop for NEON: multiply-adds by element.
//!
//! Broadcasting each entry of A takes an instruction for each, and on most cores the unit that multiplies; here one load
//! brings four entries, and the multiply-adds pick theirs by element.

use std::arch::aarch64::{float32x4_t, vfmaq_laneq_f32, vfmaq_n_f32, vld1q_f32};

use super::epilogue::{Accumulators, NR, start, vectors};
use super::f32::F32MicroKernel;
use super::operands::Operands;
use crate::simd::Neon;

impl F32MicroKernel for Neon {
    #[inline(always)]
    fn micro_kernel<const M: usize, const N: usize>(
        self,
        operands: &Operands<'_, f32, f32>,
        row: &[f32; NR],
    ) -> Accumulators<Neon, M> {
        const { assert!(vectors::<Neon, N>() > 0) };
        let mut sums = start::<Neon, M, N>(self, row);
        for (t, weights) in operands.panel.chunks_exact(operands.len * NR).enumerate() {
            let mut fragments = operands.fragments::<M>(t);
            let (fours, rest) = weights.as_chunks::<{ 4 * NR }>();
            // SAFETY: a fragment has as many entries as there are rows of weights for it, and is gone through with them.
            unsafe {
                for weights in fours {
                    let entries = fragments.map(|fragment| vld1q_f32(fragment));
                    fragments = fragments.map(|fragment| fragment.add(4));
                    let rows = weights.as_chunks::<NR>().0;
                    by_element::<0, M, N>(&mut sums, &rows[0], &entries);
                    by_element::<1, M, N>(&mut sums, &rows[1], &entries);
                    by_element::<2, M, N>(&mut sums, &rows[2], &entries);
                    by_element::<3, M, N>(&mut sums, &rows[3], &entries);
                }
                for weights in rest.as_chunks::<NR>().0 {
                    let entries = fragments.map(|fragment| *fragment);
                    fragments = fragments.map(|fragment| fragment.add(1));
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

/// Adds to every accumulator the weight of its column times element `ELEMENT` of its row's entries.
#[inline(always)]
fn by_element<const ELEMENT: i32, const M: usize, const N: usize>(
    sums: &mut Accumulators<Neon, M>,
    weights: &[f32; NR],
    entries: &[float32x4_t; M],
) {
    for (v, weights) in weights[..N].as_chunks::<4>().0.iter().enumerate() {
        // SAFETY: the four weights are there, and every aarch64 target has NEON.
        unsafe {
            let weights = vld1q_f32(weights.as_ptr());
            for (row, entries) in sums.iter_mut().zip(entries) {
                row[v] = vfmaq_laneq_f32::<ELEMENT>(row[v], weights, *entries);
            }
        }
    }
}
