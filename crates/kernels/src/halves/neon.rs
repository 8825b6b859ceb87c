//! Eight halves in a register: epilogues in halves, and ways from floats to halves and back.

use std::arch::aarch64::{
    float32x4_t, uint16x8_t, vaddq_f16, vandq_u16, vcvt_f16_f32, vcvt_f32_f16, vcvt_high_f16_f32, vcvt_high_f32_f16,
    vdupq_n_u16, vfmaq_f16, vget_low_f16, vld1q_f32, vld1q_u16, vmaxq_f16, vmaxq_s16, vmaxq_u16, vmaxvq_u16, vminq_f16,
    vmulq_f16, vreinterpretq_f16_u16, vreinterpretq_s16_u16, vreinterpretq_u16_f16, vreinterpretq_u16_s16, vst1q_f32,
    vst1q_u16,
};

use super::{Largest, MAGNITUDE, is_bounded};
use crate::Activation;
use crate::dispatch::half::NeonFp16;
use crate::gemm::f16::convert::{from_f32, to_f32};

/// Eight floats as halves.
#[inline(always)]
pub(crate) fn eight(low: float32x4_t, high: float32x4_t) -> uint16x8_t {
    // SAFETY: the instructions touch registers alone; every aarch64 target has NEON.
    unsafe { vreinterpretq_u16_f16(vcvt_high_f16_f32(vcvt_f16_f32(low), high)) }
}

/// Eight halves as floats.
#[inline(always)]
pub(crate) fn floats(halves: uint16x8_t) -> [float32x4_t; 2] {
    // SAFETY: as for `eight`.
    unsafe {
        let halves = vreinterpretq_f16_u16(halves);
        [vcvt_f32_f16(vget_low_f16(halves)), vcvt_high_f32_f16(halves)]
    }
}

/// `a + b` in halves.
#[inline]
#[target_feature(enable = "neon,fp16")]
pub(crate) fn add(a: uint16x8_t, b: uint16x8_t) -> uint16x8_t {
    vreinterpretq_u16_f16(vaddq_f16(vreinterpretq_f16_u16(a), vreinterpretq_f16_u16(b)))
}

/// `a * b` in halves.
#[inline]
#[target_feature(enable = "neon,fp16")]
pub(crate) fn multiply(a: uint16x8_t, b: uint16x8_t) -> uint16x8_t {
    vreinterpretq_u16_f16(vmulq_f16(vreinterpretq_f16_u16(a), vreinterpretq_f16_u16(b)))
}

/// `sum + a * b` in halves, rounded once.
#[inline]
#[target_feature(enable = "neon,fp16")]
pub(crate) fn multiply_add(sum: uint16x8_t, a: uint16x8_t, b: uint16x8_t) -> uint16x8_t {
    let [sum, a, b] = [vreinterpretq_f16_u16(sum), vreinterpretq_f16_u16(a), vreinterpretq_f16_u16(b)];
    vreinterpretq_u16_f16(vfmaq_f16(sum, a, b))
}

/// The larger of both in every lane; NaN where one is.
#[inline]
#[target_feature(enable = "neon,fp16")]
fn max(a: uint16x8_t, b: uint16x8_t) -> uint16x8_t {
    vreinterpretq_u16_f16(vmaxq_f16(vreinterpretq_f16_u16(a), vreinterpretq_f16_u16(b)))
}

/// The smaller of both in every lane; NaN where one is.
#[inline]
#[target_feature(enable = "neon,fp16")]
fn min(a: uint16x8_t, b: uint16x8_t) -> uint16x8_t {
    vreinterpretq_u16_f16(vminq_f16(vreinterpretq_f16_u16(a), vreinterpretq_f16_u16(b)))
}

/// Applies an activation that is not costly to halves, the first `V` vectors of each row. Inlined always, since sums are to stay in
/// registers.
///
/// # Safety
/// The CPU computes in halves.
#[inline(always)]
pub(crate) unsafe fn activate<const M: usize, const V: usize, const ALL: usize>(
    activation: Activation,
    rows: &mut [[uint16x8_t; ALL]; M],
) {
    // SAFETY: by the caller's promise.
    unsafe {
        match activation {
            // Without an upper limit, as ReLU is.
            Activation::Clamp { low, high: f32::INFINITY } => {
                let low = vdupq_n_u16(from_f32(low));
                for row in rows {
                    for x in row.iter_mut().take(V) {
                        *x = max(*x, low);
                    }
                }
            }
            Activation::Clamp { low, high } => {
                let (low, high) = (vdupq_n_u16(from_f32(low)), vdupq_n_u16(from_f32(high)));
                for row in rows {
                    for x in row.iter_mut().take(V) {
                        *x = min(max(*x, low), high);
                    }
                }
            }
            Activation::HardSwish => {
                // 1/6, 1/2, 0 and 1.
                let (sixth, half) = (vdupq_n_u16(0x3155), vdupq_n_u16(0x3800));
                let (zero, one) = (vdupq_n_u16(0), vdupq_n_u16(0x3C00));
                for row in rows {
                    for x in row.iter_mut().take(V) {
                        *x = multiply(*x, min(max(multiply_add(half, *x, sixth), zero), one));
                    }
                }
            }
            Activation::Identity | Activation::Sigmoid | Activation::Gelu => {}
        }
    }
}

/// The larger of `most` and the magnitudes of results behind an activation, the first `V` vectors of each row; of bounded ones, of the
/// positive alone.
#[inline(always)]
pub(crate) fn largest<const M: usize, const V: usize, const ALL: usize>(
    activation: Activation,
    rows: &[[uint16x8_t; ALL]; M],
    mut most: uint16x8_t,
) -> uint16x8_t {
    // SAFETY: the instructions touch registers alone; every aarch64 target has NEON.
    unsafe {
        if is_bounded(activation) {
            for row in rows {
                for x in row.iter().take(V) {
                    most = vreinterpretq_u16_s16(vmaxq_s16(vreinterpretq_s16_u16(most), vreinterpretq_s16_u16(*x)));
                }
            }
        } else {
            for row in rows {
                for x in row.iter().take(V) {
                    most = vmaxq_u16(most, vandq_u16(*x, vdupq_n_u16(MAGNITUDE)));
                }
            }
        }
    }
    most
}

/// The larger of `most` and of halves above zero, and of those below, the first `V` vectors of each row.
#[inline(always)]
pub(crate) fn extremes<const M: usize, const V: usize, const ALL: usize>(
    rows: &[[uint16x8_t; ALL]; M],
    most: &mut Extremes,
) {
    for row in rows {
        for x in row.iter().take(V) {
            // SAFETY: the instructions touch registers alone; every aarch64 target has NEON.
            unsafe {
                let positive = vmaxq_s16(vreinterpretq_s16_u16(most.positive), vreinterpretq_s16_u16(*x));
                *most = Extremes {
                    positive: vreinterpretq_u16_s16(positive),
                    // As numbers without a sign, those below zero are above all others.
                    negative: vmaxq_u16(most.negative, *x),
                };
            }
        }
    }
}

/// The largest halves above zero and those farthest below, lane by lane.
#[derive(Clone, Copy)]
pub(crate) struct Extremes {
    pub(crate) positive: uint16x8_t,
    negative: uint16x8_t,
}

impl Extremes {
    /// Those of none.
    #[inline(always)]
    pub(crate) fn none() -> Extremes {
        // SAFETY: the instructions touch registers alone; every aarch64 target has NEON.
        let zeros = unsafe { vdupq_n_u16(0) };
        Extremes { positive: zeros, negative: zeros }
    }

    /// Takes them into the largest of all.
    pub(crate) fn raise(self, largest: &Largest) {
        // SAFETY: as above.
        let (positive, negative) = unsafe { (vmaxvq_u16(self.positive), vmaxvq_u16(self.negative)) };
        largest.raise(positive);
        largest.raise_negative(if negative > MAGNITUDE { negative & MAGNITUDE } else { 0 });
    }
}

impl NeonFp16 {
    /// Halves nearest to floats; the largest of their magnitudes, as bits.
    pub(crate) fn narrow_as_is(self, x: &[f32], halves: &mut [u16]) -> u16 {
        let (sixteens, rest) = x.as_chunks::<16>();
        let (out, out_rest) = halves.as_chunks_mut::<16>();
        let mut largest = 0;
        // SAFETY: sixteen floats are read and sixteen halves written; every aarch64 target has NEON.
        unsafe {
            let (magnitude, mut most) = (vdupq_n_u16(MAGNITUDE), vdupq_n_u16(0));
            for (x, halves) in sixteens.iter().zip(out) {
                for half in [0, 8] {
                    let (x, halves) = (x.as_ptr().add(half), halves.as_mut_ptr().add(half));
                    let both = eight(vld1q_f32(x), vld1q_f32(x.add(4)));
                    most = vmaxq_u16(most, vandq_u16(both, magnitude));
                    vst1q_u16(halves, both);
                }
            }
            largest = vmaxvq_u16(most).max(largest);
        }
        for (half, x) in out_rest.iter_mut().zip(rest) {
            *half = from_f32(*x);
            largest = largest.max(*half & MAGNITUDE);
        }
        largest
    }

    /// Floats that are the halves.
    pub(crate) fn widen(self, halves: &[u16], out: &mut [f32]) {
        let (eights, rest) = halves.as_chunks::<8>();
        let (to, to_rest) = out.as_chunks_mut::<8>();
        for (halves, out) in eights.iter().zip(to) {
            // SAFETY: eight halves are read and eight floats written; every aarch64 target has NEON.
            unsafe {
                let [low, high] = floats(vld1q_u16(halves.as_ptr()));
                vst1q_f32(out.as_mut_ptr(), low);
                vst1q_f32(out.as_mut_ptr().add(4), high);
            }
        }
        to_rest.iter_mut().zip(rest).for_each(|(out, half)| *out = to_f32(*half));
    }

    /// Halves times a power of two.
    pub(crate) fn scale(self, halves: &[u16], factor: f32, out: &mut [u16]) {
        #[target_feature(enable = "neon,fp16")]
        fn fp16(halves: &[u16], factor: f32, out: &mut [u16]) {
            let (eights, rest) = halves.as_chunks::<8>();
            let (to, to_rest) = out.as_chunks_mut::<8>();
            let by = vdupq_n_u16(from_f32(factor));
            for (halves, out) in eights.iter().zip(to) {
                // SAFETY: eight halves are read and eight written.
                unsafe {
                    vst1q_u16(out.as_mut_ptr(), multiply(vld1q_u16(halves.as_ptr()), by));
                }
            }
            to_rest.iter_mut().zip(rest).for_each(|(out, half)| *out = from_f32(to_f32(*half) * factor));
        }
        // SAFETY: the token proves that the CPU has what the function is compiled for.
        unsafe { fp16(halves, factor, out) }
    }
}
