//! f16 weights on NEON: widened, or multiplied as they are where the CPU has `fp16`.

use std::arch::aarch64::{
    float32x4_t, uint16x8_t, vaddq_f32, vcombine_f16, vcvt_f16_f32, vcvt_f32_f16, vcvt_high_f32_f16, vdupq_n_f32,
    vdupq_n_u16, vget_low_f16, vld1_u16, vld1q_dup_u16, vld1q_f32, vld1q_u16, vmulq_n_f32, vreinterpret_f16_u16,
    vreinterpretq_f16_u16, vreinterpretq_u16_f16, vst1q_u16,
};
use std::arch::asm;

use super::convert::from_f32;
use super::widen::Widen;
use super::{Accumulators, Half, HalfEpilogue, HalfKernel, NR, Operands, PIECE};
use crate::dispatch::half::{Neon, NeonFp16};
use crate::gemm::{Columns, Direct, gemm_body};
use crate::simd::Neon as Floats;
use crate::sink::Sink;

impl NeonFp16 {
    /// Halves nearest to the floats times a power of two.
    pub(super) fn narrow(self, x: &[f32], scale: f32, halves: &mut [u16]) {
        let (eights, rest) = x.as_chunks::<8>();
        let (out, out_rest) = halves.as_chunks_mut::<8>();
        for (x, halves) in eights.iter().zip(out) {
            // SAFETY: eight floats are read and eight halves written; every aarch64 target has NEON.
            unsafe {
                let low = vcvt_f16_f32(vmulq_n_f32(vld1q_f32(x.as_ptr()), scale));
                let high = vcvt_f16_f32(vmulq_n_f32(vld1q_f32(x.as_ptr().add(4)), scale));
                vst1q_u16(halves.as_mut_ptr(), vreinterpretq_u16_f16(vcombine_f16(low, high)));
            }
        }
        out_rest.iter_mut().zip(rest).for_each(|(half, x)| *half = from_f32(x * scale));
    }
}

impl Widen for Neon {
    type Simd = Floats;

    #[inline(always)]
    fn floats(self) -> Floats {
        self.base()
    }

    #[inline(always)]
    unsafe fn widen(self, at: *const u16) -> float32x4_t {
        // SAFETY: by the caller's promise; every aarch64 target has NEON, which converts halves.
        unsafe { vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(at))) }
    }
}

/// Sums in halves, as bits: `N / 8` vectors of each row.
type Sums<const M: usize> = [[uint16x8_t; NR / 8]; M];

/// `sums + weights * entries[LANE]` in halves. As an instruction of its own: the intrinsic is a call wherever the function
/// around it is not compiled for `fp16` by itself.
///
/// # Safety
/// The CPU multiplies halves.
#[inline(always)]
unsafe fn fmla<const LANE: usize>(mut sums: uint16x8_t, weights: uint16x8_t, entries: uint16x8_t) -> uint16x8_t {
    // SAFETY: by the caller's promise the CPU has the instruction; it touches registers alone.
    unsafe {
        asm!(
            "fmla {sums:v}.8h, {weights:v}.8h, {entries:v}.h[{lane}]",
            sums = inout(vreg) sums, weights = in(vreg) weights, entries = in(vreg_low16) entries, lane = const LANE,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    sums
}

/// Adds to every accumulator the weights of a row of B times entry `LANE` of its row's eight.
///
/// # Safety
/// The CPU multiplies halves.
#[inline(always)]
unsafe fn by_element<const LANE: usize, const M: usize, const N: usize>(
    sums: &mut Sums<M>,
    weights: &[u16; NR],
    entries: &[uint16x8_t; M],
) {
    for v in 0..N / 8 {
        // SAFETY: the eight weights are there; the rest by the caller's promise.
        unsafe {
            let weights = vld1q_u16(weights.as_ptr().add(8 * v));
            for (row, entries) in sums.iter_mut().zip(entries) {
                row[v] = fmla::<LANE>(row[v], weights, *entries);
            }
        }
    }
}

impl HalfKernel for NeonFp16 {
    type Simd = Floats;
    type Lhs = u16;

    #[inline(always)]
    fn simd(self) -> Floats {
        self.base()
    }

    #[inline(always)]
    fn sums<const M: usize, const N: usize>(self, operands: &Operands<'_, u16, u16>) -> Accumulators<Floats, M> {
        const { assert!(N % 8 == 0) };
        // SAFETY: the token proves the extension; what is read is named below.
        unsafe {
            let mut floats = [[vdupq_n_f32(0.0); NR / 4]; M];
            let zero = vdupq_n_u16(0);
            for (t, weights) in operands.panel.chunks_exact(operands.len * NR).enumerate() {
                let mut fragments = operands.fragments::<M>(t);
                for piece in weights.chunks(PIECE * NR) {
                    let mut sums: Sums<M> = [[zero; NR / 8]; M];
                    let (eights, rest) = piece.as_chunks::<{ 8 * NR }>();
                    for weights in eights {
                        // A fragment has as many entries as its weights have rows, and is gone through with them.
                        let entries = fragments.map(|fragment| vld1q_u16(fragment));
                        fragments = fragments.map(|fragment| fragment.add(8));
                        let rows = weights.as_chunks::<NR>().0;
                        by_element::<0, M, N>(&mut sums, &rows[0], &entries);
                        by_element::<1, M, N>(&mut sums, &rows[1], &entries);
                        by_element::<2, M, N>(&mut sums, &rows[2], &entries);
                        by_element::<3, M, N>(&mut sums, &rows[3], &entries);
                        by_element::<4, M, N>(&mut sums, &rows[4], &entries);
                        by_element::<5, M, N>(&mut sums, &rows[5], &entries);
                        by_element::<6, M, N>(&mut sums, &rows[6], &entries);
                        by_element::<7, M, N>(&mut sums, &rows[7], &entries);
                    }
                    for weights in rest.as_chunks::<NR>().0 {
                        let entries = fragments.map(|fragment| vld1q_dup_u16(fragment));
                        fragments = fragments.map(|fragment| fragment.add(1));
                        by_element::<0, M, N>(&mut sums, weights, &entries);
                    }
                    for (floats, sums) in floats.iter_mut().zip(sums) {
                        for v in 0..N / 8 {
                            let sums = vreinterpretq_f16_u16(sums[v]);
                            floats[2 * v] = vaddq_f32(floats[2 * v], vcvt_f32_f16(vget_low_f16(sums)));
                            floats[2 * v + 1] = vaddq_f32(floats[2 * v + 1], vcvt_high_f32_f16(sums));
                        }
                    }
                }
            }
            floats
        }
    }
}

/// The driver on rows of halves.
pub(super) fn half_gemm_fp16(
    kernel: NeonFp16,
    x: &[u16],
    reduction: usize,
    packed: &[u16],
    to: Columns,
    epilogue: HalfEpilogue<'_>,
    out: Sink<'_>,
) {
    #[target_feature(enable = "neon,fp16")]
    fn fp16(
        kernel: NeonFp16,
        x: &[u16],
        reduction: usize,
        packed: &[u16],
        to: Columns,
        epilogue: HalfEpilogue<'_>,
        out: Sink<'_>,
    ) {
        gemm_body(Direct { kernel: Half(kernel), packed, epilogue }, x, reduction, to, out);
    }
    // SAFETY: the token proves that the CPU has what the function is compiled for.
    unsafe { fp16(kernel, x, reduction, packed, to, epilogue, out) }
}
