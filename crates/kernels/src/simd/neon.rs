//! aarch64 NEON: four floats in a q register.

use std::arch::aarch64::{
    float32x4_t, vaddq_f32, vdupq_n_f32, vfmaq_f32, vld1q_f32, vmaxq_f32, vminq_f32, vmulq_f32, vst1q_f32, vsubq_f32,
};

use super::{Simd, not_inlined};

/// Token of NEON, which every CPU of the target has; made by [`Neon::detect`] like the tokens of other sets.
#[derive(Clone, Copy, Debug)]
pub struct Neon(());

impl Neon {
    /// The token: NEON is part of every aarch64 target that this crate builds for.
    pub fn detect() -> Option<Neon> {
        cfg!(target_feature = "neon").then_some(Neon(()))
    }
}

impl Simd for Neon {
    type Vector = float32x4_t;
    type Narrow = Neon;
    const LANES: usize = 4;

    #[inline(always)]
    fn narrow(self) -> Neon {
        self
    }

    #[inline(always)]
    fn mul_add_scalar(self, a: f32, b: f32, c: f32) -> f32 {
        a.mul_add(b, c)
    }

    #[inline(always)]
    fn splat(self, value: f32) -> float32x4_t {
        // SAFETY: the token proves that the target has NEON, here and below.
        unsafe { vdupq_n_f32(value) }
    }

    #[inline(always)]
    unsafe fn load(self, at: *const f32) -> float32x4_t {
        // SAFETY: by the caller's promise.
        unsafe { vld1q_f32(at) }
    }

    #[inline(always)]
    unsafe fn store(self, at: *mut f32, vector: float32x4_t) {
        // SAFETY: by the caller's promise.
        unsafe { vst1q_f32(at, vector) };
    }

    #[inline(always)]
    fn add(self, a: float32x4_t, b: float32x4_t) -> float32x4_t {
        // SAFETY: see `splat`.
        unsafe { vaddq_f32(a, b) }
    }

    #[inline(always)]
    fn sub(self, a: float32x4_t, b: float32x4_t) -> float32x4_t {
        // SAFETY: see `splat`.
        unsafe { vsubq_f32(a, b) }
    }

    #[inline(always)]
    fn mul(self, a: float32x4_t, b: float32x4_t) -> float32x4_t {
        // SAFETY: see `splat`.
        unsafe { vmulq_f32(a, b) }
    }

    #[inline(always)]
    fn mul_add(self, a: float32x4_t, b: float32x4_t, c: float32x4_t) -> float32x4_t {
        // SAFETY: see `splat`.
        unsafe { vfmaq_f32(c, a, b) }
    }

    #[inline(always)]
    fn max(self, x: float32x4_t, low: float32x4_t) -> float32x4_t {
        // SAFETY: see `splat`. Where one operand is NaN, so is the result.
        unsafe { vmaxq_f32(x, low) }
    }

    #[inline(always)]
    fn min(self, x: float32x4_t, high: float32x4_t) -> float32x4_t {
        // SAFETY: see `splat`. Where one operand is NaN, so is the result.
        unsafe { vminq_f32(x, high) }
    }

    not_inlined!();
}
