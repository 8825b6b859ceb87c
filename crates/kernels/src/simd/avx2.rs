//! x86-64 with AVX2 and FMA: eight floats in a ymm register.

use std::arch::x86_64::{
    __m256, _mm256_add_ps, _mm256_fmadd_ps, _mm256_loadu_ps, _mm256_max_ps, _mm256_min_ps, _mm256_mul_ps,
    _mm256_set1_ps, _mm256_storeu_ps, _mm256_sub_ps,
};

use super::{Simd, not_inlined};

/// Proof that the CPU has AVX2 and FMA; only [`Avx2::detect`] makes one.
#[derive(Clone, Copy, Debug)]
pub struct Avx2(());

impl Avx2 {
    /// The token, if the CPU has AVX2 and FMA.
    pub fn detect() -> Option<Avx2> {
        let found = std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("fma");
        found.then_some(Avx2(()))
    }
}

impl Simd for Avx2 {
    type Vector = __m256;
    type Narrow = Avx2;
    const LANES: usize = 8;

    #[inline(always)]
    fn narrow(self) -> Avx2 {
        self
    }

    #[inline(always)]
    fn mul_add_scalar(self, a: f32, b: f32, c: f32) -> f32 {
        a.mul_add(b, c)
    }

    #[inline(always)]
    fn splat(self, value: f32) -> __m256 {
        // SAFETY: the token proves that the CPU has the instruction, here and below.
        unsafe { _mm256_set1_ps(value) }
    }

    #[inline(always)]
    unsafe fn load(self, at: *const f32) -> __m256 {
        // SAFETY: see `splat`, and the caller's promise.
        unsafe { _mm256_loadu_ps(at) }
    }

    #[inline(always)]
    unsafe fn store(self, at: *mut f32, vector: __m256) {
        // SAFETY: see `splat`, and the caller's promise.
        unsafe { _mm256_storeu_ps(at, vector) };
    }

    #[inline(always)]
    fn add(self, a: __m256, b: __m256) -> __m256 {
        // SAFETY: see `splat`.
        unsafe { _mm256_add_ps(a, b) }
    }

    #[inline(always)]
    fn sub(self, a: __m256, b: __m256) -> __m256 {
        // SAFETY: see `splat`.
        unsafe { _mm256_sub_ps(a, b) }
    }

    #[inline(always)]
    fn mul(self, a: __m256, b: __m256) -> __m256 {
        // SAFETY: see `splat`.
        unsafe { _mm256_mul_ps(a, b) }
    }

    #[inline(always)]
    fn mul_add(self, a: __m256, b: __m256, c: __m256) -> __m256 {
        // SAFETY: see `splat`.
        unsafe { _mm256_fmadd_ps(a, b, c) }
    }

    #[inline(always)]
    fn max(self, x: __m256, low: __m256) -> __m256 {
        // SAFETY: see `splat`. The instruction gives its second operand where one is NaN.
        unsafe { _mm256_max_ps(low, x) }
    }

    #[inline(always)]
    fn min(self, x: __m256, high: __m256) -> __m256 {
        // SAFETY: see `splat`. The instruction gives its second operand where one is NaN.
        unsafe { _mm256_min_ps(high, x) }
    }

    not_inlined!(#[target_feature(enable = "avx2,fma")]);
}
