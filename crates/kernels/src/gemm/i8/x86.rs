//! The int8 inner loop for x86-64: four bytes of a row against eight columns in one or three instructions.

use std::arch::x86_64::{
    __m256i, _mm256_add_epi32, _mm256_and_si256, _mm256_cvtepi32_ps, _mm256_dpbusd_avx_epi32, _mm256_dpbusd_epi32,
    _mm256_loadu_si256, _mm256_madd_epi16, _mm256_maddubs_epi16, _mm256_set1_epi16, _mm256_set1_epi32,
    _mm256_slli_epi16, _mm256_srai_epi16, _mm256_srli_epi16,
};

use super::{Accumulators, DotKernel, Epilogue, GROUP, NR, Operands, PanelRow};
use crate::dispatch::int8::{Avx2, Avx2Wide, Avx512Vnni, AvxVnni};
use crate::gemm::prefetch::prefetch_line;
use crate::simd::{Avx2 as Floats, Simd as _};

/// Sums of four products a lane.
trait Dot256: Copy + Send + Sync + 'static {
    /// Rows of a whole tile.
    const MR: usize;

    /// The proof that the CPU has AVX2.
    fn floats(self) -> Floats;

    /// `sums + bytes * weights`, bytes unsigned and weights signed.
    fn dot(self, sums: __m256i, bytes: __m256i, weights: __m256i) -> __m256i;
}

impl Dot256 for Avx2 {
    /// Eight accumulators, two of weights, one of bytes, one of ones, and what is between.
    const MR: usize = 4;

    #[inline(always)]
    fn floats(self) -> Floats {
        self.base()
    }

    #[inline(always)]
    fn dot(self, sums: __m256i, bytes: __m256i, weights: __m256i) -> __m256i {
        // SAFETY: the token proves that the CPU has the instructions. Sums of pairs do not saturate: `pack_i8` sees to it.
        unsafe {
            let pairs = _mm256_maddubs_epi16(bytes, weights);
            _mm256_add_epi32(sums, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)))
        }
    }
}

impl Dot256 for Avx2Wide {
    /// As for [`Avx2`]; bytes and weights take two each.
    const MR: usize = 4;

    #[inline(always)]
    fn floats(self) -> Floats {
        self.0.base()
    }

    #[inline(always)]
    fn dot(self, sums: __m256i, bytes: __m256i, weights: __m256i) -> __m256i {
        // SAFETY: the token proves that the CPU has the instructions.
        unsafe {
            // Every other entry in 16 bits: the compiler does so once for all rows and columns that share them.
            let even = _mm256_and_si256(bytes, _mm256_set1_epi16(0xFF));
            let odd = _mm256_srli_epi16::<8>(bytes);
            let even_weights = _mm256_srai_epi16::<8>(_mm256_slli_epi16::<8>(weights));
            let odd_weights = _mm256_srai_epi16::<8>(weights);
            let sums = _mm256_add_epi32(sums, _mm256_madd_epi16(even, even_weights));
            _mm256_add_epi32(sums, _mm256_madd_epi16(odd, odd_weights))
        }
    }
}

impl Dot256 for AvxVnni {
    const MR: usize = 6;

    #[inline(always)]
    fn floats(self) -> Floats {
        self.base()
    }

    #[inline(always)]
    fn dot(self, sums: __m256i, bytes: __m256i, weights: __m256i) -> __m256i {
        // SAFETY: the token proves that the CPU has the instruction.
        unsafe { _mm256_dpbusd_avx_epi32(sums, bytes, weights) }
    }
}

impl Dot256 for Avx512Vnni {
    const MR: usize = 6;

    #[inline(always)]
    fn floats(self) -> Floats {
        self.base()
    }

    #[inline(always)]
    fn dot(self, sums: __m256i, bytes: __m256i, weights: __m256i) -> __m256i {
        // SAFETY: the token proves that the CPU has the instruction.
        unsafe { _mm256_dpbusd_epi32(sums, bytes, weights) }
    }
}

impl<K: Dot256> DotKernel for K {
    type Simd = Floats;
    const MR: usize = <K as Dot256>::MR;
    const IS_SIGNED: bool = false;

    #[inline(always)]
    fn simd(self) -> Floats {
        self.floats()
    }

    #[inline(always)]
    fn results<const M: usize, const N: usize>(
        self,
        operands: &Operands<'_, u8, i8>,
        row: &PanelRow,
    ) -> Accumulators<Floats, M> {
        // SAFETY: the token proves AVX2, here and below; the offsets are read.
        let offset = unsafe {
            let at = row.offset.as_ptr();
            [_mm256_loadu_si256(at.cast()), _mm256_loadu_si256(at.add(8).cast())]
        };
        let mut sums = [offset; M];
        let mut ahead = operands.ahead;
        for (t, weights) in operands.panel.chunks_exact(operands.len * NR).enumerate() {
            let fragments = operands.fragments::<M>(t);
            for (k, weights) in weights.as_chunks::<{ GROUP * NR }>().0.iter().enumerate() {
                prefetch_line(ahead);
                ahead = ahead.wrapping_add(GROUP * operands.pace);
                // SAFETY: the 64 weights of the group are read.
                let weights = unsafe { [0, 32].map(|at| _mm256_loadu_si256(weights.as_ptr().add(at).cast())) };
                for (sums, fragment) in sums.iter_mut().zip(fragments) {
                    // SAFETY: a fragment has as many entries as there are weights in a column of its chunk: whole groups.
                    let bytes = unsafe {
                        let group = fragment.add(GROUP * k).cast::<i32>().read_unaligned();
                        _mm256_set1_epi32(group)
                    };
                    for (sum, weights) in sums.iter_mut().zip(weights) {
                        *sum = self.dot(*sum, bytes, weights);
                    }
                }
            }
        }
        // Loops, and no `map`: its closure may be called, compiled for the baseline of the target.
        let mut floats = [[self.floats().splat(0.0); NR / 4]; M];
        for (floats, sums) in floats.iter_mut().zip(sums) {
            for (float, sum) in floats.iter_mut().zip(sums) {
                // SAFETY: as above.
                *float = unsafe { _mm256_cvtepi32_ps(sum) };
            }
        }
        Epilogue::default().rescale::<Floats, M, NR>(self.floats(), floats, &row.scale, &row.bias)
    }
}
