//! x86-64 with AVX-512F: as [`Avx2`] in everything but the GEMM, whose inner loop keeps sixteen floats in a zmm register.

use std::arch::x86_64::__m256;

use super::{Avx2, Simd};

/// Proof that the CPU has AVX-512F, AVX2 and FMA; only [`Avx512::detect`] makes one.
#[derive(Clone, Copy, Debug)]
pub struct Avx512(Avx2);

impl Avx512 {
    /// The token, if the CPU has AVX-512F, AVX2 and FMA.
    pub fn detect() -> Option<Avx512> {
        Avx2::detect().filter(|_| std::arch::is_x86_feature_detected!("avx512f")).map(Avx512)
    }

    /// The proof that the CPU has AVX2.
    #[inline(always)]
    pub fn base(self) -> Avx2 {
        self.0
    }
}

impl Simd for Avx512 {
    type Vector = __m256;
    const LANES: usize = Avx2::LANES;

    #[inline(always)]
    fn mul_add_scalar(self, a: f32, b: f32, c: f32) -> f32 {
        self.0.mul_add_scalar(a, b, c)
    }

    #[inline(always)]
    fn splat(self, value: f32) -> __m256 {
        self.0.splat(value)
    }

    #[inline(always)]
    unsafe fn load(self, at: *const f32) -> __m256 {
        // SAFETY: by the caller's promise.
        unsafe { self.0.load(at) }
    }

    #[inline(always)]
    unsafe fn store(self, at: *mut f32, vector: __m256) {
        // SAFETY: by the caller's promise.
        unsafe { self.0.store(at, vector) };
    }

    #[inline(always)]
    fn add(self, a: __m256, b: __m256) -> __m256 {
        self.0.add(a, b)
    }

    #[inline(always)]
    fn sub(self, a: __m256, b: __m256) -> __m256 {
        self.0.sub(a, b)
    }

    #[inline(always)]
    fn mul(self, a: __m256, b: __m256) -> __m256 {
        self.0.mul(a, b)
    }

    #[inline(always)]
    fn mul_add(self, a: __m256, b: __m256, c: __m256) -> __m256 {
        self.0.mul_add(a, b, c)
    }

    #[inline(always)]
    fn max(self, x: __m256, low: __m256) -> __m256 {
        self.0.max(x, low)
    }

    #[inline(always)]
    fn min(self, x: __m256, high: __m256) -> __m256 {
        self.0.min(x, high)
    }
}
