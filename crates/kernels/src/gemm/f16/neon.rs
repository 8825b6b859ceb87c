//! f16 weights on NEON: widened, or multiplied as they are where the CPU has `fp16`.

use std::arch::aarch64::{
    float32x4_t, uint16x8_t, vaddq_f32, vcvt_f32_f16, vdupq_n_f32, vdupq_n_u16, vld1_u16, vld1q_f32, vmulq_n_f32,
    vreinterpret_f16_u16, vst1q_u16,
};
use std::arch::asm;

use super::convert::from_f32;
use super::widen::Widen;
use super::{Accumulators, Half, HalfEpilogue, HalfKernel, NR, Operands, PIECE, SHORT};
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

/// Sums in halves, as bits: `N / 8` vectors of each row.
pub(super) type Sums<const M: usize> = [[uint16x8_t; NR / 8]; M];

/// `$sum += $weights * $entries[$lane]` by `fmla`, or without `+` by `fmul`, in halves.
macro_rules! product {
    ($op:literal $sum:ident, $weights:literal, $entries:ident[$lane:literal]) => {
        concat!(
            $op,
            " {",
            stringify!($sum),
            ":v}.8h, ",
            $weights,
            ".8h, {",
            stringify!($entries),
            ":v}.h[",
            $lane,
            "]\n"
        )
    };
}

/// Loads a row of weights, or `half` of it where rows have eight columns, and takes its products with element `$j` of every row of
/// entries to that row's sums.
macro_rules! step {
    (wide $op:literal $j:literal $([$e:ident $a:ident $b:ident])+) => {
        concat!(
            "ldp q30, q31, [{weights}], #32\n",
            $(product!($op $a, "v30", $e[$j]), product!($op $b, "v31", $e[$j]),)+
        )
    };
    (half $op:literal $j:literal $([$e:ident $a:ident])+) => {
        concat!("ldr q30, [{weights}], #32\n", $(product!($op $a, "v30", $e[$j]),)+)
    };
}

/// Products of the next eight entries of each row; the first of them begins sums where `$op` is `fmul`.
macro_rules! eight {
    ($kind:ident $op:literal $([$x:ident $e:ident $($t:ident)+])+) => {
        concat!(
            $("ldr {", stringify!($e), ":q}, [{", stringify!($x), "}], #16\n",)+
            step!($kind $op 0 $([$e $($t)+])+),
            step!($kind "fmla" 1 $([$e $($t)+])+),
            step!($kind "fmla" 2 $([$e $($t)+])+),
            step!($kind "fmla" 3 $([$e $($t)+])+),
            step!($kind "fmla" 4 $([$e $($t)+])+),
            step!($kind "fmla" 5 $([$e $($t)+])+),
            step!($kind "fmla" 6 $([$e $($t)+])+),
            step!($kind "fmla" 7 $([$e $($t)+])+),
        )
    };
}

/// The loops over some entries of each row, sixteen a step `$sixteens` times, eight if `$eights` is 1, and then one `$ones` times: `$x`
/// points to a row's entries, `$e` holds them, and the rest of its list are its sums, by their places in `$sums`, each with what sums the
/// products of a step. Errors grow with the number of products added one by one, so that those of a step are added apart.
macro_rules! fragment {
    (
        $kind:ident ($sums:ident, $at:ident, $weights:ident, $sixteens:expr, $eights:expr, $ones:expr)
        $([$i:literal $x:ident $e:ident $($v:literal $a:ident $t:ident)+])+
    ) => {
        asm!(
            "cbnz {sixteens}, 2f",
            $($(concat!("movi {", stringify!($a), ":v}.8h, #0"),)+)+
            "b 4f",
            // The first step begins the sums.
            "2:",
            eight!($kind "fmul" $([$x $e $($a)+])+),
            eight!($kind "fmla" $([$x $e $($a)+])+),
            "subs {sixteens}, {sixteens}, #1",
            "b.eq 4f",
            "3:",
            eight!($kind "fmul" $([$x $e $($t)+])+),
            eight!($kind "fmla" $([$x $e $($t)+])+),
            "subs {sixteens}, {sixteens}, #1",
            $($(concat!("fadd {", stringify!($a), ":v}.8h, {", stringify!($a), ":v}.8h, {", stringify!($t), ":v}.8h"),)+)+
            "b.ne 3b",
            "4:",
            "cbz {eights}, 5f",
            eight!($kind "fmul" $([$x $e $($t)+])+),
            $($(concat!("fadd {", stringify!($a), ":v}.8h, {", stringify!($a), ":v}.8h, {", stringify!($t), ":v}.8h"),)+)+
            "5:",
            "cbz {ones}, 7f",
            "6:",
            $(concat!("ldr {", stringify!($e), ":h}, [{", stringify!($x), "}], #2"),)+
            step!($kind "fmla" 0 $([$e $($a)+])+),
            "subs {ones}, {ones}, #1",
            "b.ne 6b",
            "7:",
            weights = inout(reg) *$weights,
            sixteens = inout(reg) $sixteens => _,
            eights = in(reg) $eights,
            ones = inout(reg) $ones => _,
            $($x = inout(reg) $at[$i], $e = out(vreg_low16) _, $($a = out(vreg) $sums[$i][$v], $t = out(vreg) _,)+)+
            out("v30") _, out("v31") _,
            options(readonly, nostack),
        )
    };
}

/// The sums of the products of entries at `at` and the rows of weights from `weights` on, `len` of each, and brings both pointers behind
/// them.
///
/// # Safety
/// They may be read, and the CPU multiplies halves.
#[inline(always)]
pub(super) unsafe fn piece<const M: usize, const N: usize>(
    at: &mut [*const u16; M],
    weights: &mut *const u16,
    len: usize,
) -> Sums<M> {
    let (sixteens, eights, ones) = (len / 16, len % 16 / 8, len % 8);
    // SAFETY: by the caller's promise the CPU has the instructions and what is read is there; nothing is written.
    unsafe {
        let mut sums: Sums<M> = [[vdupq_n_u16(0); NR / 8]; M];
        match (M, N) {
            (1, NR) => fragment!(wide (sums, at, weights, sixteens, eights, ones)
                [0 x0 e0 0 a0 t0 1 b0 u0]),
            (2, NR) => fragment!(wide (sums, at, weights, sixteens, eights, ones)
                [0 x0 e0 0 a0 t0 1 b0 u0] [1 x1 e1 0 a1 t1 1 b1 u1]),
            (3, NR) => fragment!(wide (sums, at, weights, sixteens, eights, ones)
                [0 x0 e0 0 a0 t0 1 b0 u0] [1 x1 e1 0 a1 t1 1 b1 u1] [2 x2 e2 0 a2 t2 1 b2 u2]),
            (4, NR) => fragment!(wide (sums, at, weights, sixteens, eights, ones)
                [0 x0 e0 0 a0 t0 1 b0 u0] [1 x1 e1 0 a1 t1 1 b1 u1] [2 x2 e2 0 a2 t2 1 b2 u2]
                [3 x3 e3 0 a3 t3 1 b3 u3]),
            (5, NR) => fragment!(wide (sums, at, weights, sixteens, eights, ones)
                [0 x0 e0 0 a0 t0 1 b0 u0] [1 x1 e1 0 a1 t1 1 b1 u1] [2 x2 e2 0 a2 t2 1 b2 u2]
                [3 x3 e3 0 a3 t3 1 b3 u3] [4 x4 e4 0 a4 t4 1 b4 u4]),
            (6, NR) => fragment!(wide (sums, at, weights, sixteens, eights, ones)
                [0 x0 e0 0 a0 t0 1 b0 u0] [1 x1 e1 0 a1 t1 1 b1 u1] [2 x2 e2 0 a2 t2 1 b2 u2]
                [3 x3 e3 0 a3 t3 1 b3 u3] [4 x4 e4 0 a4 t4 1 b4 u4] [5 x5 e5 0 a5 t5 1 b5 u5]),
            (1, _) => fragment!(half (sums, at, weights, sixteens, eights, ones)
                [0 x0 e0 0 a0 t0]),
            (2, _) => fragment!(half (sums, at, weights, sixteens, eights, ones)
                [0 x0 e0 0 a0 t0] [1 x1 e1 0 a1 t1]),
            (3, _) => fragment!(half (sums, at, weights, sixteens, eights, ones)
                [0 x0 e0 0 a0 t0] [1 x1 e1 0 a1 t1] [2 x2 e2 0 a2 t2]),
            (4, _) => fragment!(half (sums, at, weights, sixteens, eights, ones)
                [0 x0 e0 0 a0 t0] [1 x1 e1 0 a1 t1] [2 x2 e2 0 a2 t2] [3 x3 e3 0 a3 t3]),
            (5, _) => fragment!(half (sums, at, weights, sixteens, eights, ones)
                [0 x0 e0 0 a0 t0] [1 x1 e1 0 a1 t1] [2 x2 e2 0 a2 t2] [3 x3 e3 0 a3 t3]
                [4 x4 e4 0 a4 t4]),
            (6, _) => fragment!(half (sums, at, weights, sixteens, eights, ones)
                [0 x0 e0 0 a0 t0] [1 x1 e1 0 a1 t1] [2 x2 e2 0 a2 t2] [3 x3 e3 0 a3 t3]
                [4 x4 e4 0 a4 t4] [5 x5 e5 0 a5 t5]),
            _ => unreachable!("tiles have six rows at most"),
        }
        sums
    }
}

/// As [`fragment`], for entries whose products are added to `$sums` one by one, eight a step `$eights` times and then one `$ones` times.
macro_rules! short_fragment {
    (
        $kind:ident ($sums:ident, $at:ident, $weights:ident, $eights:expr, $ones:expr)
        $([$i:literal $x:ident $e:ident $($v:literal $a:ident)+])+
    ) => {
        asm!(
            "cbz {eights}, 3f",
            "2:",
            eight!($kind "fmla" $([$x $e $($a)+])+),
            "subs {eights}, {eights}, #1",
            "b.ne 2b",
            "3:",
            "cbz {ones}, 5f",
            "4:",
            $(concat!("ldr {", stringify!($e), ":h}, [{", stringify!($x), "}], #2"),)+
            step!($kind "fmla" 0 $([$e $($a)+])+),
            "subs {ones}, {ones}, #1",
            "b.ne 4b",
            "5:",
            weights = inout(reg) $weights,
            eights = inout(reg) $eights => _,
            ones = inout(reg) $ones => _,
            $($x = inout(reg) $at[$i] => _, $e = out(vreg_low16) _, $($a = inout(vreg) $sums[$i][$v],)+)+
            out("v30") _, out("v31") _,
            options(readonly, nostack),
        )
    };
}

/// Adds to `sums` the products of `len` entries at `at` and the rows of weights from `weights` on, and brings `weights` behind them. For
/// [`SHORT`] entries at most in all: errors grow with the number of products added one by one.
///
/// # Safety
/// They may be read, and the CPU multiplies halves.
#[inline(always)]
pub(super) unsafe fn add_short<const M: usize, const N: usize>(
    sums: &mut Sums<M>,
    at: [*const u16; M],
    weights: &mut *const u16,
    len: usize,
) {
    let (mut from, eights, ones) = (*weights, len / 8, len % 8);
    // SAFETY: by the caller's promise the CPU has the instructions and what is read is there; nothing is written.
    unsafe {
        match (M, N) {
            (1, NR) => short_fragment!(wide (sums, at, from, eights, ones)
                [0 x0 e0 0 a0 1 b0]),
            (2, NR) => short_fragment!(wide (sums, at, from, eights, ones)
                [0 x0 e0 0 a0 1 b0] [1 x1 e1 0 a1 1 b1]),
            (3, NR) => short_fragment!(wide (sums, at, from, eights, ones)
                [0 x0 e0 0 a0 1 b0] [1 x1 e1 0 a1 1 b1] [2 x2 e2 0 a2 1 b2]),
            (4, NR) => short_fragment!(wide (sums, at, from, eights, ones)
                [0 x0 e0 0 a0 1 b0] [1 x1 e1 0 a1 1 b1] [2 x2 e2 0 a2 1 b2] [3 x3 e3 0 a3 1 b3]),
            (5, NR) => short_fragment!(wide (sums, at, from, eights, ones)
                [0 x0 e0 0 a0 1 b0] [1 x1 e1 0 a1 1 b1] [2 x2 e2 0 a2 1 b2] [3 x3 e3 0 a3 1 b3] [4 x4 e4 0 a4 1 b4]),
            (6, NR) => short_fragment!(wide (sums, at, from, eights, ones)
                [0 x0 e0 0 a0 1 b0] [1 x1 e1 0 a1 1 b1] [2 x2 e2 0 a2 1 b2] [3 x3 e3 0 a3 1 b3] [4 x4 e4 0 a4 1 b4] [5 x5 e5 0 a5 1 b5]),
            (1, _) => short_fragment!(half (sums, at, from, eights, ones)
                [0 x0 e0 0 a0]),
            (2, _) => short_fragment!(half (sums, at, from, eights, ones)
                [0 x0 e0 0 a0] [1 x1 e1 0 a1]),
            (3, _) => short_fragment!(half (sums, at, from, eights, ones)
                [0 x0 e0 0 a0] [1 x1 e1 0 a1] [2 x2 e2 0 a2]),
            (4, _) => short_fragment!(half (sums, at, from, eights, ones)
                [0 x0 e0 0 a0] [1 x1 e1 0 a1] [2 x2 e2 0 a2] [3 x3 e3 0 a3]),
            (5, _) => short_fragment!(half (sums, at, from, eights, ones)
                [0 x0 e0 0 a0] [1 x1 e1 0 a1] [2 x2 e2 0 a2] [3 x3 e3 0 a3] [4 x4 e4 0 a4]),
            (6, _) => short_fragment!(half (sums, at, from, eights, ones)
                [0 x0 e0 0 a0] [1 x1 e1 0 a1] [2 x2 e2 0 a2] [3 x3 e3 0 a3] [4 x4 e4 0 a4] [5 x5 e5 0 a5]),
            _ => unreachable!("tiles have six rows at most"),
        }
    }
    *weights = from;
}

impl HalfKernel for NeonFp16 {
    type Simd = Floats;
    type Lhs = u16;

    #[inline(always)]
    fn simd(self) -> Floats {
        self.base()
    }

    #[inline(always)]
    fn sums<const M: usize, const N: usize>(self, operands: &Operands<'_, u16, u16>) -> Accumulators<Floats, M> {
        const { assert!(N == NR || N == NR / 2) };
        let Operands { panel, per_row, len, .. } = *operands;
        assert!(panel.len() >= per_row * len * NR);
        let mut weights = panel.as_ptr();
        // SAFETY: the token proves the extension; a fragment has `len` entries, and the panel as many rows of NR weights for it,
        // those of a fragment behind those of the one before.
        unsafe {
            let mut floats = [[vdupq_n_f32(0.0); NR / 4]; M];
            let (mut t, mut is_first) = (0, true);
            while t < per_row {
                let mut left = len;
                if per_row > 1 && len <= SHORT {
                    // As many fragments as may be summed one entry after another.
                    let mut sums: Sums<M> = [[vdupq_n_u16(0); NR / 8]; M];
                    let until = per_row.min(t + SHORT / len);
                    while t < until {
                        add_short::<M, N>(&mut sums, operands.fragments::<M>(t), &mut weights, len);
                        t += 1;
                    }
                    take::<M, N>(&mut floats, &sums, is_first);
                    (left, is_first) = (0, false);
                } else {
                    t += 1;
                }
                if left > 0 {
                    let mut at = operands.fragments::<M>(t - 1);
                    while left > 0 {
                        let entries = left.min(PIECE);
                        let sums = piece::<M, N>(&mut at, &mut weights, entries);
                        take::<M, N>(&mut floats, &sums, is_first);
                        (left, is_first) = (left - entries, false);
                    }
                }
            }
            floats
        }
    }

    #[inline(always)]
    fn run<const M: usize, const N: usize>(
        self,
        first: &Tile<'_, '_, Half<NeonFp16>>,
        count: usize,
        out: &mut Sink<'_>,
    ) {
        // SAFETY: the token proves that the CPU has what the function is compiled for.
        unsafe { run::<M, N>(self, first, count, out) }
    }
}

/// Adds sums in halves to sums in f32, which begin with the first.
#[inline(always)]
fn take<const M: usize, const N: usize>(floats: &mut Accumulators<Floats, M>, sums: &Sums<M>, is_first: bool) {
    for (floats, sums) in floats.iter_mut().zip(sums) {
        for v in 0..const { N / 8 } {
            for (float, wide) in floats[2 * v..].iter_mut().zip(crate::halves::neon::floats(sums[v])) {
                // SAFETY: the instruction touches registers alone; every aarch64 target has NEON.
                *float = if is_first { wide } else { unsafe { vaddq_f32(*float, wide) } };
            }
        }
    }
}

/// Computes tiles and stores them. A function of its own: among others the compiler keeps accumulators in memory.
#[inline(never)]
#[target_feature(enable = "neon,fp16")]
fn run<const M: usize, const N: usize>(
    kernel: NeonFp16,
    first: &Tile<'_, '_, Half<NeonFp16>>,
    count: usize,
    out: &mut Sink<'_>,
) {
    first.each(count, |tile| super::one::<NeonFp16, M, N>(kernel, tile, out));
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
