//! NEON, which every aarch64 target has: four floats in a vector.

use std::arch::aarch64::{
    float32x4_t, vaddq_f32, vdupq_n_f32, vfmaq_f32, vfmaq_laneq_f32, vfmaq_n_f32, vld1q_f32, vmaxq_f32, vminq_f32,
    vmulq_f32, vst1q_f32,
};

use super::arch::Arch;
use super::matmul::{Factors, PANEL, Sums};

/// See the module.
#[derive(Clone, Copy)]
pub struct Neon;

impl Arch for Neon {
    type Vector = float32x4_t;
    const LANES: usize = 4;

    #[inline(always)]
    fn mul_add(a: f32, b: f32, c: f32) -> f32 {
        a.mul_add(b, c)
    }

    #[inline(always)]
    fn splat(value: f32) -> float32x4_t {
        // SAFETY: NEON is part of every aarch64 target, here and below.
        unsafe { vdupq_n_f32(value) }
    }

    #[inline(always)]
    unsafe fn load(at: *const f32) -> float32x4_t {
        // SAFETY: by the caller's promise.
        unsafe { vld1q_f32(at) }
    }

    #[inline(always)]
    unsafe fn store(at: *mut f32, vector: float32x4_t) {
        // SAFETY: by the caller's promise.
        unsafe { vst1q_f32(at, vector) };
    }

    #[inline(always)]
    fn add(a: float32x4_t, b: float32x4_t) -> float32x4_t {
        // SAFETY: see `splat`.
        unsafe { vaddq_f32(a, b) }
    }

    #[inline(always)]
    fn mul(a: float32x4_t, b: float32x4_t) -> float32x4_t {
        // SAFETY: see `splat`.
        unsafe { vmulq_f32(a, b) }
    }

    #[inline(always)]
    fn fused(a: float32x4_t, b: float32x4_t, c: float32x4_t) -> float32x4_t {
        // SAFETY: see `splat`.
        unsafe { vfmaq_f32(c, a, b) }
    }

    #[inline(always)]
    fn at_least(x: float32x4_t, low: float32x4_t) -> float32x4_t {
        // SAFETY: see `splat`. Where one operand is NaN, so is the result.
        unsafe { vmaxq_f32(x, low) }
    }

    #[inline(always)]
    fn at_most(x: float32x4_t, high: float32x4_t) -> float32x4_t {
        // SAFETY: see `splat`. Where one operand is NaN, so is the result.
        unsafe { vminq_f32(x, high) }
    }

    /// Loading each entry of the left factor into all lanes takes an instruction for each, and on most cores the unit that
    /// multiplies; here one load brings four entries, and the multiply-adds pick theirs by element.
    #[inline(always)]
    fn product<const M: usize, const N: usize>(factors: &Factors<'_>, start: &[f32; PANEL]) -> Sums<Neon, M> {
        let mut sums = super::matmul::started::<Neon, M, N>(start);
        for (t, weights) in factors.panel.chunks_exact(factors.piece * PANEL).enumerate() {
            let mut pieces = factors.pieces::<M>(t);
            let (fours, rest) = weights.as_chunks::<{ 4 * PANEL }>();
            // SAFETY: a piece has as many entries as there are rows of weights for it, and is gone through with them.
            unsafe {
                for weights in fours {
                    let entries = pieces.map(|piece| vld1q_f32(piece));
                    pieces = pieces.map(|piece| piece.add(4));
                    let rows = weights.as_chunks::<PANEL>().0;
                    by_element::<0, M, N>(&mut sums, &rows[0], &entries);
                    by_element::<1, M, N>(&mut sums, &rows[1], &entries);
                    by_element::<2, M, N>(&mut sums, &rows[2], &entries);
                    by_element::<3, M, N>(&mut sums, &rows[3], &entries);
                }
                for weights in rest.as_chunks::<PANEL>().0 {
                    let entries = pieces.map(|piece| *piece);
                    pieces = pieces.map(|piece| piece.add(1));
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

/// Adds to every sum the weight of its column times element `ELEMENT` of its row's entries.
#[inline(always)]
fn by_element<const ELEMENT: i32, const M: usize, const N: usize>(
    sums: &mut Sums<Neon, M>,
    weights: &[f32; PANEL],
    entries: &[float32x4_t; M],
) {
    for (v, weights) in weights[..N].as_chunks::<4>().0.iter().enumerate() {
        // SAFETY: the four weights are there.
        unsafe {
            let weights = vld1q_f32(weights.as_ptr());
            for (row, entries) in sums.iter_mut().zip(entries) {
                row[v] = vfmaq_laneq_f32::<ELEMENT>(row[v], weights, *entries);
            }
        }
    }
}
