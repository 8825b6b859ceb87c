//! AVX2 and fused multiply-adds: eight floats in a vector.

use std::arch::x86_64::{
    __m256, _mm256_add_ps, _mm256_fmadd_ps, _mm256_loadu_ps, _mm256_max_ps, _mm256_min_ps, _mm256_mul_ps,
    _mm256_set1_ps, _mm256_storeu_ps,
};

use super::arch::Arch;

/// For code that runs once the CPU has been found to have AVX2 and FMA, and no other. That is what makes every use of an
/// instruction in here sound.
#[derive(Clone, Copy)]
pub struct Avx2;

impl Arch for Avx2 {
    type Vector = __m256;
    const LANES: usize = 8;

    #[inline(always)]
    fn mul_add(a: f32, b: f32, c: f32) -> f32 {
        a.mul_add(b, c)
    }

    #[inline(always)]
    fn splat(value: f32) -> __m256 {
        // SAFETY: see the type.
        unsafe { _mm256_set1_ps(value) }
    }

    #[inline(always)]
    unsafe fn load(at: *const f32) -> __m256 {
        // SAFETY: see the type, and the caller's promise.
        unsafe { _mm256_loadu_ps(at) }
    }

    #[inline(always)]
    unsafe fn store(at: *mut f32, vector: __m256) {
        // SAFETY: see the type, and the caller's promise.
        unsafe { _mm256_storeu_ps(at, vector) };
    }

    #[inline(always)]
    fn add(a: __m256, b: __m256) -> __m256 {
        // SAFETY: see the type.
        unsafe { _mm256_add_ps(a, b) }
    }

    #[inline(always)]
    fn mul(a: __m256, b: __m256) -> __m256 {
        // SAFETY: see the type.
        unsafe { _mm256_mul_ps(a, b) }
    }

    #[inline(always)]
    fn fused(a: __m256, b: __m256, c: __m256) -> __m256 {
        // SAFETY: see the type.
        unsafe { _mm256_fmadd_ps(a, b, c) }
    }

    #[inline(always)]
    fn at_least(x: __m256, low: __m256) -> __m256 {
        // SAFETY: see the type. The instruction gives its second operand where one is NaN.
        unsafe { _mm256_max_ps(low, x) }
    }

    #[inline(always)]
    fn at_most(x: __m256, high: __m256) -> __m256 {
        // SAFETY: see the type. The instruction gives its second operand where one is NaN.
        unsafe { _mm256_min_ps(high, x) }
    }
}
