//! x86-64 with AVX-512F: sixteen floats in a zmm register, and fewer by masks.

use std::arch::x86_64::{
    __m512, __mmask16, _mm512_add_ps, _mm512_fmadd_ps, _mm512_loadu_ps, _mm512_mask_storeu_ps, _mm512_maskz_loadu_ps,
    _mm512_max_ps, _mm512_min_ps, _mm512_mul_ps, _mm512_set1_ps, _mm512_storeu_ps, _mm512_sub_ps,
};

use super::{Avx2, Simd, not_inlined};

/// Proof that the CPU has AVX-512F, AVX2 and FMA; only [`Avx512::detect`] makes one.
#[derive(Clone, Copy, Debug)]
pub struct Avx512(Avx2);

/// The first `count` lanes, of at most sixteen.
#[inline(always)]
fn first(count: usize) -> __mmask16 {
    debug_assert!(count <= Avx512::LANES);
    ((1_u32 << count) - 1) as __mmask16
}

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

    /// The floats of a slice, at most sixteen, and zeros behind them.
    #[inline(always)]
    pub(crate) fn load_first(self, from: &[f32]) -> __m512 {
        // SAFETY: the token proves that the CPU has the instruction; lanes that the mask leaves out are not read.
        unsafe { _mm512_maskz_loadu_ps(first(from.len()), from.as_ptr()) }
    }

    /// Writes a slice of at most sixteen floats, the first lanes.
    #[inline(always)]
    pub(crate) fn store_first(self, to: &mut [f32], vector: __m512) {
        // SAFETY: the token proves that the CPU has the instruction; lanes that the mask leaves out are not written.
        unsafe { _mm512_mask_storeu_ps(to.as_mut_ptr(), first(to.len()), vector) };
    }
}

impl Simd for Avx512 {
    type Vector = __m512;
    type Narrow = Avx2;
    const LANES: usize = 16;

    #[inline(always)]
    fn narrow(self) -> Avx2 {
        self.0
    }

    #[inline(always)]
    fn mul_add_scalar(self, a: f32, b: f32, c: f32) -> f32 {
        a.mul_add(b, c)
    }

    #[inline(always)]
    fn splat(self, value: f32) -> __m512 {
        // SAFETY: the token proves that the CPU has the instruction, here and below.
        unsafe { _mm512_set1_ps(value) }
    }

    #[inline(always)]
    unsafe fn load(self, at: *const f32) -> __m512 {
        // SAFETY: see `splat`, and the caller's promise.
        unsafe { _mm512_loadu_ps(at) }
    }

    #[inline(always)]
    unsafe fn store(self, at: *mut f32, vector: __m512) {
        // SAFETY: see `splat`, and the caller's promise.
        unsafe { _mm512_storeu_ps(at, vector) };
    }

    #[inline(always)]
    fn add(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: see `splat`.
        unsafe { _mm512_add_ps(a, b) }
    }

    #[inline(always)]
    fn sub(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: see `splat`.
        unsafe { _mm512_sub_ps(a, b) }
    }

    #[inline(always)]
    fn mul(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: see `splat`.
        unsafe { _mm512_mul_ps(a, b) }
    }

    #[inline(always)]
    fn mul_add(self, a: __m512, b: __m512, c: __m512) -> __m512 {
        // SAFETY: see `splat`.
        unsafe { _mm512_fmadd_ps(a, b, c) }
    }

    #[inline(always)]
    fn max(self, x: __m512, low: __m512) -> __m512 {
        // SAFETY: see `splat`. The instruction gives its second operand where one is NaN.
        unsafe { _mm512_max_ps(low, x) }
    }

    #[inline(always)]
    fn min(self, x: __m512, high: __m512) -> __m512 {
        // SAFETY: see `splat`. The instruction gives its second operand where one is NaN.
        unsafe { _mm512_min_ps(high, x) }
    }

    not_inlined!(#[target_feature(enable = "avx2,fma,avx512f")]);
}
