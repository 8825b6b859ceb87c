//! The f32 micro-kernel's inner loop for AVX-512: a row of a panel is one register.
//!
//! Six rows make six accumulators, too few to keep two units busy that take four cycles each. Even and odd entries of the
//! reduction are summed apart and added at the end.

use std::arch::x86_64::{
    __m512, _mm256_castpd_ps, _mm512_add_ps, _mm512_castps_pd, _mm512_castps512_ps256, _mm512_extractf64x4_pd,
    _mm512_fmadd_ps, _mm512_loadu_ps, _mm512_set1_ps, _mm512_setzero_ps,
};

use super::epilogue::{Accumulators, NR};
use super::f32::{F32MicroKernel, by_vectors};
use super::operands::Operands;
use super::prefetch::prefetch_line;
use crate::simd::{Avx512, Simd as _};

const _: () = assert!(NR == 16, "a row of a panel is one register");

/// Adds to each accumulator a row of a panel times its fragment's entry `k`.
///
/// # Safety
/// The CPU has AVX-512F, `NR` weights may be read, and each fragment has more than `k` entries.
#[inline(always)]
unsafe fn multiply_add<const M: usize>(
    sums: &mut [__m512; M],
    weights: *const f32,
    fragments: &[*const f32; M],
    k: usize,
) {
    // SAFETY: by the caller's promise.
    unsafe {
        let weights = _mm512_loadu_ps(weights);
        for (sum, fragment) in sums.iter_mut().zip(fragments) {
            *sum = _mm512_fmadd_ps(_mm512_set1_ps(*fragment.add(k)), weights, *sum);
        }
    }
}

impl F32MicroKernel for Avx512 {
    #[inline(always)]
    fn micro_kernel<const M: usize, const N: usize>(
        self,
        operands: &Operands<'_, f32, f32>,
        row: &[f32; NR],
    ) -> Accumulators<Avx512, M> {
        if N < NR {
            return by_vectors::<Avx512, M, N>(self, operands, row);
        }
        // SAFETY: the token proves the instructions; what is read is named below.
        unsafe {
            let (mut even, mut odd) = ([_mm512_loadu_ps(row.as_ptr()); M], [_mm512_setzero_ps(); M]);
            let mut ahead = operands.ahead;
            for (t, weights) in operands.panel.chunks_exact(operands.len * NR).enumerate() {
                // A fragment has as many entries as there are rows of weights for it.
                let fragments = operands.fragments::<M>(t);
                let (twos, rest) = weights.as_chunks::<{ 2 * NR }>();
                for (k, weights) in twos.iter().enumerate() {
                    prefetch_line(ahead);
                    prefetch_line(ahead.wrapping_add(operands.pace));
                    ahead = ahead.wrapping_add(2 * operands.pace);
                    multiply_add(&mut even, weights.as_ptr(), &fragments, 2 * k);
                    multiply_add(&mut odd, weights.as_ptr().add(NR), &fragments, 2 * k + 1);
                }
                if rest.len() >= NR {
                    prefetch_line(ahead);
                    ahead = ahead.wrapping_add(operands.pace);
                    multiply_add(&mut even, rest.as_ptr(), &fragments, operands.len - 1);
                }
            }
            let mut sums = [[self.splat(0.0); NR / 4]; M];
            for (sums, (even, odd)) in sums.iter_mut().zip(even.into_iter().zip(odd)) {
                let sum = _mm512_add_ps(even, odd);
                sums[0] = _mm512_castps512_ps256(sum);
                sums[1] = _mm256_castpd_ps(_mm512_extractf64x4_pd::<1>(_mm512_castps_pd(sum)));
            }
            sums
        }
    }
}
