//! f16 weights widened to f32, where everything else is f32.

use super::convert::to_f32;
use super::{Accumulators, Half, HalfEpilogue, HalfKernel, NR, Operands};
#[cfg(target_arch = "x86_64")]
use crate::dispatch::half::F16c;
use crate::dispatch::half::{HalfToken, Plain};
use crate::gemm::epilogue::vectors;
use crate::gemm::prefetch::prefetch_line;
use crate::gemm::{Columns, Direct, gemm_body};
use crate::simd::{self, Simd};
use crate::sink::Sink;

/// A vector of floats from as many halves.
pub(crate) trait Widen: Copy + Send + Sync + 'static {
    type Simd: Simd;

    fn floats(self) -> Self::Simd;

    /// The halves from `at` on.
    ///
    /// # Safety
    /// As many halves as a vector has lanes may be read there.
    unsafe fn widen(self, at: *const u16) -> <Self::Simd as Simd>::Vector;
}

impl Widen for Plain {
    type Simd = simd::Plain;

    #[inline(always)]
    fn floats(self) -> simd::Plain {
        simd::Plain
    }

    #[inline(always)]
    unsafe fn widen(self, at: *const u16) -> [f32; 4] {
        // SAFETY: by the caller's promise; an array of halves is aligned as a half is.
        unsafe { at.cast::<[u16; 4]>().read() }.map(to_f32)
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::{__m256, _mm_loadu_si128, _mm256_cvtph_ps};

    use super::{F16c, Widen};
    use crate::simd::Avx2;

    impl Widen for F16c {
        type Simd = Avx2;

        #[inline(always)]
        fn floats(self) -> Avx2 {
            self.base()
        }

        #[inline(always)]
        unsafe fn widen(self, at: *const u16) -> __m256 {
            // SAFETY: the token proves that the CPU has the instructions; the rest by the caller's promise.
            unsafe { _mm256_cvtph_ps(_mm_loadu_si128(at.cast())) }
        }
    }
}

impl<K: Widen> HalfKernel for K {
    type Simd = <K as Widen>::Simd;
    type Lhs = f32;

    #[inline(always)]
    fn simd(self) -> Self::Simd {
        self.floats()
    }

    #[inline(always)]
    fn sums<const M: usize, const N: usize>(self, operands: &Operands<'_, f32, u16>) -> Accumulators<Self::Simd, M> {
        let simd = self.floats();
        let lanes = <<K as Widen>::Simd as Simd>::LANES;
        let mut sums = [[simd.splat(0.0); NR / 4]; M];
        let mut ahead = operands.ahead;
        for (t, weights) in operands.panel.chunks_exact(operands.len * NR).enumerate() {
            let fragments = operands.fragments::<M>(t);
            for (k, weights) in weights.as_chunks::<NR>().0.iter().enumerate() {
                prefetch_line(ahead);
                ahead = ahead.wrapping_add(operands.pace);
                let mut row = [simd.splat(0.0); NR / 4];
                for (v, row) in row.iter_mut().enumerate().take(const { vectors::<Self::Simd, N>() }) {
                    // SAFETY: the first N of the panel's weights are read.
                    *row = unsafe { self.widen(weights.as_ptr().add(v * lanes)) };
                }
                for (sums, fragment) in sums.iter_mut().zip(fragments) {
                    // SAFETY: every fragment has `operands.len` entries, and its chunk of the panel as many rows.
                    let entry = simd.splat(unsafe { *fragment.add(k) });
                    for (sum, weights) in sums.iter_mut().zip(row).take(const { vectors::<Self::Simd, N>() }) {
                        *sum = simd.mul_add(entry, weights, *sum);
                    }
                }
            }
        }
        sums
    }
}

#[inline(always)]
fn body<K: HalfKernel>(
    kernel: K,
    x: &[K::Lhs],
    reduction: usize,
    packed: &[u16],
    to: Columns,
    epilogue: HalfEpilogue<'_>,
    out: Sink<'_>,
) {
    gemm_body(Direct { kernel: Half(kernel), packed, epilogue }, x, reduction, to, out);
}

/// The driver on rows of f32.
pub(super) fn half_gemm(
    token: HalfToken,
    x: &[f32],
    reduction: usize,
    packed: &[u16],
    to: Columns,
    epilogue: HalfEpilogue<'_>,
    out: Sink<'_>,
) {
    match token {
        HalfToken::Plain(kernel) => body(kernel, x, reduction, packed, to, epilogue, out),
        #[cfg(target_arch = "x86_64")]
        HalfToken::F16c(kernel) => {
            #[target_feature(enable = "avx2,fma,f16c")]
            fn f16c(
                kernel: F16c,
                x: &[f32],
                reduction: usize,
                packed: &[u16],
                to: Columns,
                epilogue: HalfEpilogue<'_>,
                out: Sink<'_>,
            ) {
                body(kernel, x, reduction, packed, to, epilogue, out);
            }
            // SAFETY: the token proves that the CPU has what the function is compiled for.
            unsafe { f16c(kernel, x, reduction, packed, to, epilogue, out) }
        }
        #[cfg(target_arch = "aarch64")]
        HalfToken::Neon(kernel) => body(kernel, x, reduction, packed, to, epilogue, out),
        #[cfg(target_arch = "aarch64")]
        HalfToken::NeonFp16(_) => unreachable!("its rows are halves"),
    }
}
