//! The f32 micro-kernel's inner loop for NEON: multiply-adds by element.
//!
//! Broadcasting each entry of A takes an instruction for each, and on most cores the unit that multiplies; here one load
//! brings four entries, and the multiply-adds pick theirs by element.
//!
//! Six rows by sixteen columns are 24 accumulators; with six vectors of entries and two of weights they fill the 32 registers.
//! The loops are assembly: the compiler moves accumulators to memory and back, and counts and points apart, for a tenth to a
//! half more instructions than these have.

use std::arch::asm;
use std::mem::MaybeUninit;

use super::epilogue::{Accumulators, Epilogue, NR, vectors};
use super::f32::{F32, OnePanel};
use super::micro_kernel::Tile;
use super::operands::Operands;
use super::store;
use crate::activation::Activation;
use crate::simd::{Neon, Simd};
use crate::sink::Sink;

/// `$sum += $weights * $entries[$lane]`.
macro_rules! fmla {
    ($sum:ident, $weights:literal, $entries:ident[$lane:literal]) => {
        concat!(
            "fmla {",
            stringify!($sum),
            ":v}.4s, ",
            $weights,
            ".4s, {",
            stringify!($entries),
            ":v}.s[",
            $lane,
            "]\n"
        )
    };
}

/// Loads a row of weights and adds to every accumulator its weight times element `$lane` of its row's entries. `wide` loads
/// sixteen at once, `pairs` eight and eight, for where registers are scarce, and `half` the first eight alone.
macro_rules! step {
    (wide $lane:literal $([$e:ident $a:ident $b:ident $c:ident $d:ident])+) => {
        concat!(
            "ld1 {{v28.4s, v29.4s, v30.4s, v31.4s}}, [{weights}], #64\n",
            $(fmla!($a, "v28", $e[$lane]), fmla!($b, "v29", $e[$lane]),)+
            $(fmla!($c, "v30", $e[$lane]), fmla!($d, "v31", $e[$lane]),)+
        )
    };
    (pairs $lane:literal $([$e:ident $a:ident $b:ident $c:ident $d:ident])+) => {
        concat!(
            "ldp q30, q31, [{weights}], #32\n",
            $(fmla!($a, "v30", $e[$lane]), fmla!($b, "v31", $e[$lane]),)+
            "ldp q30, q31, [{weights}], #32\n",
            $(fmla!($c, "v30", $e[$lane]), fmla!($d, "v31", $e[$lane]),)+
        )
    };
    (half $lane:literal $([$e:ident $a:ident $b:ident])+) => {
        concat!(
            "ldp q30, q31, [{weights}], #64\n",
            $(fmla!($a, "v30", $e[$lane]), fmla!($b, "v31", $e[$lane]),)+
        )
    };
}

/// The loops over one fragment of each row, four entries a step `$fours` times and then one `$ones` times: `$x` points to a
/// row's entries, `$e` holds them, and the rest of its list are its accumulators, by their places in `$sums`.
macro_rules! fragment {
    (
        $kind:ident [$($free:tt)+] ($sums:ident, $at:ident, $weights:ident, $fours:expr, $ones:expr)
        $([$i:literal $x:ident $e:ident $($v:literal $a:ident)+])+
    ) => {
        asm!(
            "cbz {fours}, 3f",
            "2:",
            $(concat!("ldr {", stringify!($e), ":q}, [{", stringify!($x), "}], #16"),)+
            step!($kind 0 $([$e $($a)+])+),
            step!($kind 1 $([$e $($a)+])+),
            step!($kind 2 $([$e $($a)+])+),
            step!($kind 3 $([$e $($a)+])+),
            "subs {fours}, {fours}, #1",
            "b.ne 2b",
            "3:",
            "cbz {ones}, 5f",
            "4:",
            $(concat!("ldr {", stringify!($e), ":s}, [{", stringify!($x), "}], #4"),)+
            step!($kind 0 $([$e $($a)+])+),
            "subs {ones}, {ones}, #1",
            "b.ne 4b",
            "5:",
            weights = inout(reg) $weights,
            fours = inout(reg) $fours => _,
            ones = inout(reg) $ones => _,
            $($x = inout(reg) $at[$i] => _, $e = out(vreg) _, $($a = inout(vreg) $sums[$i][$v],)+)+
            $(out($free) _,)+
            options(readonly, nostack),
        )
    };
}

/// As [`start`](super::epilogue::start), where each row is loaded, two vectors at a time, and not copied from the first.
#[inline(always)]
fn begin<const M: usize, const N: usize>(simd: Neon, row: &[f32; NR]) -> Accumulators<Neon, M> {
    let mut at = row.as_ptr();
    let mut sums = [[simd.splat(0.0); NR / 4]; M];
    for sums in &mut sums {
        // SAFETY: it does nothing; the compiler does not see that the pointer comes out as it went in.
        unsafe { asm!("/* {0} */", inout(reg) at, options(pure, nomem, nostack, preserves_flags)) };
        for (v, sum) in sums.iter_mut().enumerate().take(const { N / 4 }) {
            // SAFETY: the first N of the row's values are read.
            *sum = unsafe { simd.load(at.add(4 * v)) };
        }
    }
    sums
}

/// Adds to `sums` the products of entries at `at` and the rows of weights from `weights` on, `len` of each, and brings `weights`
/// behind them.
///
/// # Safety
/// They may be read.
#[inline(always)]
unsafe fn add_fragment<const M: usize, const N: usize>(
    sums: &mut Accumulators<Neon, M>,
    at: [*const f32; M],
    weights: &mut *const f32,
    len: usize,
) {
    let (mut from, fours, ones) = (*weights, len / 4, len % 4);
    // SAFETY: every aarch64 target has NEON; what is read is there by the caller's promise, and nothing is written.
    unsafe {
        match (M, N) {
            (1, NR) => fragment!(wide ["v28" "v29" "v30" "v31"] (sums, at, from, fours, ones)
                [0 x0 e0 0 a0 1 b0 2 c0 3 d0]),
            (2, NR) => fragment!(wide ["v28" "v29" "v30" "v31"] (sums, at, from, fours, ones)
                [0 x0 e0 0 a0 1 b0 2 c0 3 d0] [1 x1 e1 0 a1 1 b1 2 c1 3 d1]),
            (3, NR) => fragment!(wide ["v28" "v29" "v30" "v31"] (sums, at, from, fours, ones)
                [0 x0 e0 0 a0 1 b0 2 c0 3 d0] [1 x1 e1 0 a1 1 b1 2 c1 3 d1] [2 x2 e2 0 a2 1 b2 2 c2 3 d2]),
            (4, NR) => fragment!(wide ["v28" "v29" "v30" "v31"] (sums, at, from, fours, ones)
                [0 x0 e0 0 a0 1 b0 2 c0 3 d0] [1 x1 e1 0 a1 1 b1 2 c1 3 d1] [2 x2 e2 0 a2 1 b2 2 c2 3 d2] [3 x3 e3 0 a3 1 b3 2 c3 3 d3]),
            (5, NR) => fragment!(wide ["v28" "v29" "v30" "v31"] (sums, at, from, fours, ones)
                [0 x0 e0 0 a0 1 b0 2 c0 3 d0] [1 x1 e1 0 a1 1 b1 2 c1 3 d1] [2 x2 e2 0 a2 1 b2 2 c2 3 d2] [3 x3 e3 0 a3 1 b3 2 c3 3 d3]
                [4 x4 e4 0 a4 1 b4 2 c4 3 d4]),
            (6, NR) => fragment!(pairs ["v30" "v31"] (sums, at, from, fours, ones)
                [0 x0 e0 0 a0 1 b0 2 c0 3 d0] [1 x1 e1 0 a1 1 b1 2 c1 3 d1] [2 x2 e2 0 a2 1 b2 2 c2 3 d2] [3 x3 e3 0 a3 1 b3 2 c3 3 d3]
                [4 x4 e4 0 a4 1 b4 2 c4 3 d4] [5 x5 e5 0 a5 1 b5 2 c5 3 d5]),
            (1, _) => fragment!(half ["v30" "v31"] (sums, at, from, fours, ones)
                [0 x0 e0 0 a0 1 b0]),
            (2, _) => fragment!(half ["v30" "v31"] (sums, at, from, fours, ones)
                [0 x0 e0 0 a0 1 b0] [1 x1 e1 0 a1 1 b1]),
            (3, _) => fragment!(half ["v30" "v31"] (sums, at, from, fours, ones)
                [0 x0 e0 0 a0 1 b0] [1 x1 e1 0 a1 1 b1] [2 x2 e2 0 a2 1 b2]),
            (4, _) => fragment!(half ["v30" "v31"] (sums, at, from, fours, ones)
                [0 x0 e0 0 a0 1 b0] [1 x1 e1 0 a1 1 b1] [2 x2 e2 0 a2 1 b2] [3 x3 e3 0 a3 1 b3]),
            (5, _) => fragment!(half ["v30" "v31"] (sums, at, from, fours, ones)
                [0 x0 e0 0 a0 1 b0] [1 x1 e1 0 a1 1 b1] [2 x2 e2 0 a2 1 b2] [3 x3 e3 0 a3 1 b3]
                [4 x4 e4 0 a4 1 b4]),
            (6, _) => fragment!(half ["v30" "v31"] (sums, at, from, fours, ones)
                [0 x0 e0 0 a0 1 b0] [1 x1 e1 0 a1 1 b1] [2 x2 e2 0 a2 1 b2] [3 x3 e3 0 a3 1 b3]
                [4 x4 e4 0 a4 1 b4] [5 x5 e5 0 a5 1 b5]),
            _ => unreachable!("tiles have six rows at most"),
        }
    }
    *weights = from;
}

impl OnePanel for Neon {
    #[inline(always)]
    fn sums<const M: usize, const N: usize>(
        self,
        operands: &Operands<'_, f32, f32>,
        row: &[f32; NR],
    ) -> Accumulators<Neon, M> {
        const { assert!(vectors::<Neon, N>() == 2 || vectors::<Neon, N>() == 4) };
        let Operands { panel, per_row, len, .. } = *operands;
        assert!(panel.len() >= per_row * len * NR);
        let (mut sums, mut weights) = (begin::<M, N>(self, row), panel.as_ptr());
        // SAFETY: a fragment has `len` entries, and the panel as many rows of NR weights for it, those of a fragment behind
        // those of the one before.
        unsafe {
            if per_row == 1 {
                // Apart, for the sake of products of short rows: a loop begins with pointers to all that it will read.
                add_fragment::<M, N>(&mut sums, operands.fragments(0), &mut weights, len);
            } else {
                for t in 0..per_row {
                    add_fragment::<M, N>(&mut sums, operands.fragments(t), &mut weights, len);
                }
            }
        }
        sums
    }

    #[inline(always)]
    fn run<const M: usize, const N: usize>(self, tile: &Tile<'_, '_, F32<Neon>>, out: &mut Sink<'_>) {
        run::<M, N>(self, tile, out);
    }
}

/// Computes a tile and stores it. A function of its own: among others the compiler keeps their constants, and accumulators in
/// memory.
#[inline(never)]
fn run<const M: usize, const N: usize>(simd: Neon, tile: &Tile<'_, '_, F32<Neon>>, out: &mut Sink<'_>) {
    let Tile { width, at, stride, epilogue: Epilogue { residual, activation, .. }, .. } = *tile;
    debug_assert!(!activation.is_costly());
    let mut sums = simd.sums::<M, N>(&tile.operands, tile.start);
    let is_whole = width == N;
    if let Some(residual) = residual {
        let residual = &residual[at..][..(M - 1) * stride + width];
        let mut padded = [[0.0; N]; M];
        let (from, stride) = if is_whole {
            (residual.as_ptr(), stride)
        } else {
            for (padded, residual) in padded.iter_mut().zip(residual.chunks(stride)) {
                padded[..width].copy_from_slice(&residual[..width]);
            }
            (padded.as_ptr().cast(), N)
        };
        for (i, row) in sums.iter_mut().enumerate() {
            for (v, sum) in row.iter_mut().enumerate().take(const { N / 4 }) {
                // SAFETY: row `i` is laid out as the output, and its N values end before the last that was checked; or it is
                // row `i` of `padded`.
                *sum = simd.add(*sum, unsafe { simd.load(from.add(i * stride + 4 * v)) });
            }
        }
    }
    match activation {
        // Without an upper limit, as ReLU is.
        Activation::Clamp { low, high: f32::INFINITY } => {
            let low = simd.splat(low);
            sums.as_flattened_mut().iter_mut().for_each(|sum| *sum = simd.max(*sum, low));
        }
        _ => tile.epilogue.activate::<Neon, M, N>(simd, &mut sums),
    }
    let mut values = MaybeUninit::<[[f32; N]; M]>::uninit();
    let (to, apart) = if is_whole { (out.tile(at, M, stride, N), stride) } else { (values.as_mut_ptr().cast(), N) };
    for (i, row) in sums.iter().enumerate() {
        for (v, sum) in row.iter().enumerate().take(const { N / 4 }) {
            // SAFETY: the N values of the row are written, which are the tile's, or row `i` of `values`.
            unsafe { simd.store(to.add(i * apart + 4 * v), *sum) };
        }
    }
    if !is_whole {
        // SAFETY: the N values of each of the M rows have been written above.
        let values = unsafe { values.assume_init_ref() };
        for (i, values) in values.iter().enumerate() {
            store(out.entries(at + i * stride, width), values);
        }
    }
}
