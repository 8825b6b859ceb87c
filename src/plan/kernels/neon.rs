//! What is written in NEON instructions by hand. The compiler's code for the plain product loads each entry of the left
//! factor with an instruction of its own, which on most cores waits for the unit that multiplies; here one load brings
//! four entries, and the multiply-adds pick theirs by element. And it takes apart the vectors that it is given to apply
//! an activation to.

use std::arch::aarch64::{
    float32x4_t, vdupq_n_f32, vfmaq_laneq_f32, vfmaq_n_f32, vld1q_f32, vmaxq_f32, vminq_f32, vmulq_f32, vst1q_f32,
};

use super::arch::{Arch, Separate};
use super::matmul::{Factors, PANEL};

/// Floats in a vector.
const LANES: usize = 4;

/// Sums of some rows, a panel of columns each, of which the first `N` are used.
type Sums<const M: usize> = [[float32x4_t; PANEL / LANES]; M];

/// See [`Factors::product`].
#[inline(always)]
pub(crate) fn product<const M: usize, const N: usize>(factors: &Factors<'_>, start: [f32; N]) -> [[f32; N]; M] {
    const { assert!(N.is_multiple_of(LANES) && N <= PANEL) };
    // SAFETY: NEON is part of every aarch64 target. Vectors are loaded from and stored to arrays of the vector's length;
    // what is read of the pieces is argued where it is read.
    unsafe {
        let mut sums: Sums<M> = [[vdupq_n_f32(0.0); PANEL / LANES]; M];
        for (v, start) in start.as_chunks::<LANES>().0.iter().enumerate() {
            let start = vld1q_f32(start.as_ptr());
            sums.iter_mut().for_each(|row| row[v] = start);
        }
        for (t, weights) in factors.panel.chunks_exact(factors.piece * PANEL).enumerate() {
            // SAFETY: a piece has as many entries as there are rows of weights for it, and is gone through with them.
            let mut pieces = factors.pieces::<M>(t);
            let (fours, rest) = weights.as_chunks::<{ LANES * PANEL }>();
            for weights in fours {
                let entries = pieces.map(|piece| vld1q_f32(piece));
                pieces = pieces.map(|piece| piece.add(LANES));
                let rows = weights.as_chunks::<PANEL>().0;
                by_element::<0, M, N>(&mut sums, &rows[0], &entries);
                by_element::<1, M, N>(&mut sums, &rows[1], &entries);
                by_element::<2, M, N>(&mut sums, &rows[2], &entries);
                by_element::<3, M, N>(&mut sums, &rows[3], &entries);
            }
            for weights in rest.as_chunks::<PANEL>().0 {
                let entries = pieces.map(|piece| *piece);
                pieces = pieces.map(|piece| piece.add(1));
                for (v, weights) in weights[..N].as_chunks::<LANES>().0.iter().enumerate() {
                    let weights = vld1q_f32(weights.as_ptr());
                    for (row, entry) in sums.iter_mut().zip(entries) {
                        row[v] = vfmaq_n_f32(row[v], weights, entry);
                    }
                }
            }
        }
        let mut out = [[0.0; N]; M];
        for (out, sums) in out.iter_mut().zip(sums) {
            for (out, sums) in out.as_chunks_mut::<LANES>().0.iter_mut().zip(sums) {
                vst1q_f32(out.as_mut_ptr(), sums);
            }
        }
        out
    }
}

/// Adds to every sum the weight of its column times element `ELEMENT` of its row's entries.
#[inline(always)]
fn by_element<const ELEMENT: i32, const M: usize, const N: usize>(
    sums: &mut Sums<M>,
    weights: &[f32; PANEL],
    entries: &[float32x4_t; M],
) {
    for (v, weights) in weights[..N].as_chunks::<LANES>().0.iter().enumerate() {
        // SAFETY: NEON is part of every aarch64 target, and the four weights are there.
        unsafe {
            let weights = vld1q_f32(weights.as_ptr());
            for (row, entries) in sums.iter_mut().zip(entries) {
                row[v] = vfmaq_laneq_f32::<ELEMENT>(row[v], weights, *entries);
            }
        }
    }
}

/// See [`Arch::clamp`].
#[inline(always)]
pub(crate) fn clamp<const N: usize>(values: &mut [f32; N], low: f32, high: f32) {
    let (vectors, rest) = values.as_chunks_mut::<LANES>();
    for values in vectors {
        // SAFETY: NEON is part of every aarch64 target, and the four values are there. Minimum and maximum keep NaN.
        unsafe {
            let raised = vmaxq_f32(vld1q_f32(values.as_ptr()), vdupq_n_f32(low));
            vst1q_f32(values.as_mut_ptr(), vminq_f32(raised, vdupq_n_f32(high)));
        }
    }
    rest.iter_mut().for_each(|value| Separate::clamp(std::array::from_mut(value), low, high));
}

/// See [`Arch::hard_swish`].
#[inline(always)]
pub(crate) fn hard_swish<const N: usize>(values: &mut [f32; N]) {
    let (vectors, rest) = values.as_chunks_mut::<LANES>();
    for values in vectors {
        // SAFETY: NEON is part of every aarch64 target, and the four values are there.
        unsafe {
            let x = vld1q_f32(values.as_ptr());
            let gate = vfmaq_n_f32(vdupq_n_f32(0.5), x, 1.0 / 6.0);
            let gate = vminq_f32(vmaxq_f32(gate, vdupq_n_f32(0.0)), vdupq_n_f32(1.0));
            vst1q_f32(values.as_mut_ptr(), vmulq_f32(x, gate));
        }
    }
    rest.iter_mut().for_each(|value| Separate::hard_swish(std::array::from_mut(value)));
}
