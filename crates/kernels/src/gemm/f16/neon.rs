//! f16 weights on NEON: widened, or multiplied as they are where the CPU has `fp16`.

use std::arch::aarch64::{
    float32x4_t, vcvt_f32_f16, vld1_u16, vld1q_f32, vmulq_n_f32, vreinterpret_f16_u16, vst1q_u16,
};

use super::convert::from_f32;
use super::waiting::Waiting;
use super::widen::Widen;
use super::{Accumulators, HALF, Half, HalfEpilogue, HalfKernel, MOST_ROWS, NR, Operands, WIDE_ROWS};
use crate::dispatch::half::{Neon, NeonFp16};
use crate::gemm::{Columns, Direct, Fragments, Prefetch, Tile, gemm_body, gemm_rows};
use crate::halves::neon::eight;
use crate::simd::Neon as Floats;
use crate::sink::Sink;

impl NeonFp16 {
    /// Halves nearest to the floats times a power of two.
    pub(super) fn narrow(self, x: &[f32], scale: f32, halves: &mut [u16]) {
        let (sixteens, rest) = x.as_chunks::<16>();
        let (out, out_rest) = halves.as_chunks_mut::<16>();
        for (x, halves) in sixteens.iter().zip(out) {
            for half in [0, 8] {
                // SAFETY: eight floats are read and eight halves written; every aarch64 target has NEON.
                unsafe {
                    let (x, halves) = (x.as_ptr().add(half), halves.as_mut_ptr().add(half));
                    let (low, high) = (vmulq_n_f32(vld1q_f32(x), scale), vmulq_n_f32(vld1q_f32(x.add(4)), scale));
                    vst1q_u16(halves, eight(low, high));
                }
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

impl HalfKernel for NeonFp16 {
    type Simd = Floats;
    type Lhs = u16;

    const MR: usize = WIDE_ROWS;
    const HALF_MR: usize = MOST_ROWS;

    #[inline(always)]
    fn simd(self) -> Floats {
        self.base()
    }

    #[inline(always)]
    fn sums<const M: usize, const N: usize>(self, operands: &Operands<'_, u16, u16>) -> Accumulators<Floats, M> {
        let mut waiting = Waiting::<M, N>::none();
        // SAFETY: the token proves the extension.
        unsafe { waiting.fill(operands) };
        waiting.floats()
    }

    #[inline(always)]
    fn tiles(self, first: &Tile<'_, '_, Half<NeonFp16>>, count: usize, out: &mut Sink<'_>) {
        // SAFETY: the token proves that the CPU has what the functions are compiled for.
        unsafe {
            match (first.width > HALF, first.rows) {
                (true, 1) => run::<1, NR>(self, first, count, out),
                (true, 2) => run::<2, NR>(self, first, count, out),
                (true, 3) => run::<3, NR>(self, first, count, out),
                (true, 4) => run::<4, NR>(self, first, count, out),
                (true, _) => run::<5, NR>(self, first, count, out),
                (false, 1) => run::<1, HALF>(self, first, count, out),
                (false, 2) => run::<2, HALF>(self, first, count, out),
                (false, 3) => run::<3, HALF>(self, first, count, out),
                (false, 4) => run::<4, HALF>(self, first, count, out),
                (false, 5) => run::<5, HALF>(self, first, count, out),
                (false, 6) => run::<6, HALF>(self, first, count, out),
                (false, 7) => run::<7, HALF>(self, first, count, out),
                (false, _) => run::<8, HALF>(self, first, count, out),
            }
        }
    }
}

/// Computes tiles and stores them.
#[inline]
#[target_feature(enable = "neon,fp16")]
fn run<const M: usize, const N: usize>(
    kernel: NeonFp16,
    first: &Tile<'_, '_, Half<NeonFp16>>,
    count: usize,
    out: &mut Sink<'_>,
) {
    assert!(first.rows == M);
    if first.width == N { whole::<M, N>(kernel, first, count, out) } else { partial::<M, N>(kernel, first, count, out) }
}

/// Tiles of which some columns do not exist.
#[inline(never)]
#[target_feature(enable = "neon,fp16")]
fn partial<const M: usize, const N: usize>(
    kernel: NeonFp16,
    first: &Tile<'_, '_, Half<NeonFp16>>,
    count: usize,
    out: &mut Sink<'_>,
) {
    first.each(count, |tile| super::one::<NeonFp16, M, N>(kernel, tile, out));
}

/// Tiles of whole width. A function of its own: among others the compiler keeps constants in memory.
#[inline(never)]
#[target_feature(enable = "neon,fp16")]
fn whole<const M: usize, const N: usize>(
    kernel: NeonFp16,
    first: &Tile<'_, '_, Half<NeonFp16>>,
    count: usize,
    out: &mut Sink<'_>,
) {
    let HalfEpilogue { scale, float } = first.epilogue;
    let (mut tile, mut waiting, simd) = (*first, Waiting::<M, N>::none(), kernel.simd());
    for left in (0..count).rev() {
        // SAFETY: this function is compiled for such a CPU.
        unsafe { waiting.fill(&tile.operands) };
        let sums = match scale == 1.0 {
            true => float.add_bias::<Floats, M, N>(simd, waiting.floats(), tile.start),
            false => float.rescale::<Floats, M, N>(simd, waiting.floats(), &[scale; NR], tile.start),
        };
        float.finish::<Floats, M, N>(simd, sums, tile.at, tile.stride, out);
        if left > 0 {
            tile.advance();
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

/// Rows of fragments of halves.
pub(crate) fn half_rows_fp16(
    kernel: NeonFp16,
    a: Fragments<'_, u16>,
    packed: &[u16],
    to: Columns,
    epilogue: HalfEpilogue<'_>,
    prefetch: Prefetch,
    out: Sink<'_>,
) {
    #[target_feature(enable = "neon,fp16")]
    fn fp16(
        kernel: NeonFp16,
        a: Fragments<'_, u16>,
        packed: &[u16],
        to: Columns,
        epilogue: HalfEpilogue<'_>,
        prefetch: Prefetch,
        out: Sink<'_>,
    ) {
        gemm_rows(Half(kernel), a, packed, to, epilogue, prefetch, out);
    }
    // SAFETY: the token proves that the CPU has what the function is compiled for.
    unsafe { fp16(kernel, a, packed, to, epilogue, prefetch, out) }
}
