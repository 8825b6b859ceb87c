//! Products in halves: the loops, in assembly, over entries of some rows and rows of packed weights.

use std::arch::aarch64::{uint16x8_t, vdupq_n_u16};
use std::arch::asm;

use super::{HALF, NR};

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

/// Loads a row of weights, or `half` of it where rows have eight columns, and adds its products with element `$j` of every row of entries
/// to that row's sums.
macro_rules! step {
    (wide $j:literal $([$e:ident $a:ident $b:ident])+) => {
        concat!(
            "ldp q30, q31, [{weights}], #32\n",
            $(product!("fmla" $a, "v30", $e[$j]), product!("fmla" $b, "v31", $e[$j]),)+
        )
    };
    (half $j:literal $([$e:ident $a:ident])+) => {
        concat!("ldr q30, [{weights}], #32\n", $(product!("fmla" $a, "v30", $e[$j]),)+)
    };
}

/// As [`step`] for two rows of weights, which one instruction loads; the first begins sums where `$op` is `fmul`.
macro_rules! steps {
    (wide $op:literal $i:literal $j:literal $([$e:ident $a:ident $b:ident])+) => {
        concat!(
            "ld1 {{v28.8h, v29.8h, v30.8h, v31.8h}}, [{weights}], #64\n",
            $(product!($op $a, "v28", $e[$i]), product!($op $b, "v29", $e[$i]),)+
            $(product!("fmla" $a, "v30", $e[$j]), product!("fmla" $b, "v31", $e[$j]),)+
        )
    };
    (half $op:literal $i:literal $j:literal $([$e:ident $a:ident])+) => {
        concat!(
            "ld1 {{v28.8h, v29.8h, v30.8h, v31.8h}}, [{weights}], #64\n",
            $(product!($op $a, "v28", $e[$i]),)+
            $(product!("fmla" $a, "v30", $e[$j]),)+
        )
    };
}

/// Products of the next eight entries of each row; the first of them begins sums where `$op` is `fmul`.
macro_rules! eight {
    ($kind:ident $op:literal $([$x:ident $e:ident $($t:ident)+])+) => {
        concat!(
            $("ldr {", stringify!($e), ":q}, [{", stringify!($x), "}], #16\n",)+
            steps!($kind $op 0 1 $([$e $($t)+])+),
            steps!($kind "fmla" 2 3 $([$e $($t)+])+),
            steps!($kind "fmla" 4 5 $([$e $($t)+])+),
            steps!($kind "fmla" 6 7 $([$e $($t)+])+),
        )
    };
}

/// Calls the macro `$of` with the rows of a tile: the place of each, what points to its entries, what holds them, and its sums, by their
/// places, each with what sums the products of a step. `$other` is for tiles of other sizes.
macro_rules! for_rows {
    ($of:ident $arguments:tt, $other:expr) => {
        match (M, N) {
            (1, NR) => $of!(wide $arguments [0 x0 e0 0 a0 t0 1 b0 u0]),
            (2, NR) => $of!(wide $arguments [0 x0 e0 0 a0 t0 1 b0 u0] [1 x1 e1 0 a1 t1 1 b1 u1]),
            (3, NR) => $of!(wide $arguments [0 x0 e0 0 a0 t0 1 b0 u0] [1 x1 e1 0 a1 t1 1 b1 u1] [2 x2 e2 0 a2 t2 1 b2 u2]),
            (4, NR) => $of!(wide $arguments [0 x0 e0 0 a0 t0 1 b0 u0] [1 x1 e1 0 a1 t1 1 b1 u1] [2 x2 e2 0 a2 t2 1 b2 u2]
                [3 x3 e3 0 a3 t3 1 b3 u3]),
            (5, NR) => $of!(wide $arguments [0 x0 e0 0 a0 t0 1 b0 u0] [1 x1 e1 0 a1 t1 1 b1 u1] [2 x2 e2 0 a2 t2 1 b2 u2]
                [3 x3 e3 0 a3 t3 1 b3 u3] [4 x4 e4 0 a4 t4 1 b4 u4]),
            (1, HALF) => $of!(half $arguments [0 x0 e0 0 a0 t0]),
            (2, HALF) => $of!(half $arguments [0 x0 e0 0 a0 t0] [1 x1 e1 0 a1 t1]),
            (3, HALF) => $of!(half $arguments [0 x0 e0 0 a0 t0] [1 x1 e1 0 a1 t1] [2 x2 e2 0 a2 t2]),
            (4, HALF) => $of!(half $arguments [0 x0 e0 0 a0 t0] [1 x1 e1 0 a1 t1] [2 x2 e2 0 a2 t2] [3 x3 e3 0 a3 t3]),
            (5, HALF) => $of!(half $arguments [0 x0 e0 0 a0 t0] [1 x1 e1 0 a1 t1] [2 x2 e2 0 a2 t2] [3 x3 e3 0 a3 t3]
                [4 x4 e4 0 a4 t4]),
            (6, HALF) => $of!(half $arguments [0 x0 e0 0 a0 t0] [1 x1 e1 0 a1 t1] [2 x2 e2 0 a2 t2] [3 x3 e3 0 a3 t3]
                [4 x4 e4 0 a4 t4] [5 x5 e5 0 a5 t5]),
            (7, HALF) => $of!(half $arguments [0 x0 e0 0 a0 t0] [1 x1 e1 0 a1 t1] [2 x2 e2 0 a2 t2] [3 x3 e3 0 a3 t3]
                [4 x4 e4 0 a4 t4] [5 x5 e5 0 a5 t5] [6 x6 e6 0 a6 t6]),
            (8, HALF) => $of!(half $arguments [0 x0 e0 0 a0 t0] [1 x1 e1 0 a1 t1] [2 x2 e2 0 a2 t2] [3 x3 e3 0 a3 t3]
                [4 x4 e4 0 a4 t4] [5 x5 e5 0 a5 t5] [6 x6 e6 0 a6 t6] [7 x7 e7 0 a7 t7]),
            _ => $other,
        }
    };
}

/// The loops over some entries of each row, sixteen a step `sixteens` times, eight if `eights` is 1, and then one `ones` times. Errors
/// grow with the number of products added one by one, so that those of a step are added apart.
macro_rules! loops {
    ($kind:ident $([$i:literal $x:ident $e:ident $($v:literal $a:ident $t:ident)+])+) => {
        concat!(
            "cbnz {sixteens}, 2f\n",
            $($(concat!("movi {", stringify!($a), ":v}.8h, #0\n"),)+)+
            "b 4f\n",
            // The first step begins the sums.
            "2:\n",
            eight!($kind "fmul" $([$x $e $($a)+])+),
            eight!($kind "fmla" $([$x $e $($a)+])+),
            "subs {sixteens}, {sixteens}, #1\n",
            "b.eq 4f\n",
            "3:\n",
            eight!($kind "fmul" $([$x $e $($t)+])+),
            eight!($kind "fmla" $([$x $e $($t)+])+),
            "subs {sixteens}, {sixteens}, #1\n",
            $($(concat!("fadd {", stringify!($a), ":v}.8h, {", stringify!($a), ":v}.8h, {", stringify!($t), ":v}.8h\n"),)+)+
            "b.ne 3b\n",
            "4:\n",
            "cbz {eights}, 5f\n",
            eight!($kind "fmul" $([$x $e $($t)+])+),
            $($(concat!("fadd {", stringify!($a), ":v}.8h, {", stringify!($a), ":v}.8h, {", stringify!($t), ":v}.8h\n"),)+)+
            "5:\n",
            "cbz {ones}, 7f\n",
            "6:\n",
            $(concat!("ldr {", stringify!($e), ":h}, [{", stringify!($x), "}], #2\n"),)+
            step!($kind 0 $([$e $($a)+])+),
            "subs {ones}, {ones}, #1\n",
            "b.ne 6b\n",
            "7:\n",
        )
    };
}

/// [`loops`], whose sums stay in registers.
macro_rules! fragment {
    (
        $kind:ident ($sums:ident, $at:ident, $weights:ident, $len:ident)
        $([$i:literal $x:ident $e:ident $($v:literal $a:ident $t:ident)+])+
    ) => {
        asm!(
            loops!($kind $([$i $x $e $($v $a $t)+])+),
            weights = inout(reg) *$weights,
            sixteens = inout(reg) $len / 16 => _,
            eights = in(reg) $len % 16 / 8,
            ones = inout(reg) $len % 8 => _,
            $($x = inout(reg) $at[$i], $e = out(vreg_low16) _, $($a = out(vreg) $sums[$i][$v], $t = out(vreg) _,)+)+
            out("v28") _, out("v29") _, out("v30") _, out("v31") _,
            options(readonly, nostack),
        )
    };
}

/// Stores the sums of a row.
macro_rules! put {
    ($a:ident $b:ident) => {
        concat!("stp {", stringify!($a), ":q}, {", stringify!($b), ":q}, [{to}], #32\n")
    };
    ($a:ident) => {
        concat!("str {", stringify!($a), ":q}, [{to}], #16\n")
    };
}

/// [`loops`], whose sums are stored.
macro_rules! put_fragment {
    (
        $kind:ident ($to:ident, $at:ident, $weights:ident, $len:ident)
        $([$i:literal $x:ident $e:ident $($v:literal $a:ident $t:ident)+])+
    ) => {
        asm!(
            loops!($kind $([$i $x $e $($v $a $t)+])+),
            $(put!($($a)+),)+
            weights = inout(reg) *$weights,
            to = inout(reg) $to => _,
            sixteens = inout(reg) $len / 16 => _,
            eights = in(reg) $len % 16 / 8,
            ones = inout(reg) $len % 8 => _,
            $($x = inout(reg) $at[$i], $e = out(vreg_low16) _, $($a = out(vreg) _, $t = out(vreg) _,)+)+
            out("v28") _, out("v29") _, out("v30") _, out("v31") _,
            options(nostack),
        )
    };
}

/// The sums of the products of entries at `at` and the rows of weights from `weights` on, `len` of each, and brings both pointers behind
/// them. For tiles of five rows at most, of eight where they are half a panel wide.
///
/// # Safety
/// They may be read, and the CPU multiplies halves.
#[inline(always)]
pub(super) unsafe fn piece<const M: usize, const N: usize>(
    at: &mut [*const u16; M],
    weights: &mut *const u16,
    len: usize,
) -> Sums<M> {
    // SAFETY: by the caller's promise the CPU has the instructions and what is read is there; nothing is written.
    unsafe {
        let mut sums: Sums<M> = [[vdupq_n_u16(0); NR / 8]; M];
        for_rows!(fragment(sums, at, weights, len), unreachable!("such tiles have fewer rows"));
        sums
    }
}

/// As [`piece`], and stores the sums at `to`, row after row. Registers that the loop needs hold nothing
/// between two of these.
///
/// # Safety
/// They may be read, `M * N` halves may be written at `to`, and the CPU multiplies halves.
#[inline(always)]
pub(super) unsafe fn put_piece<const M: usize, const N: usize>(
    at: &mut [*const u16; M],
    weights: &mut *const u16,
    len: usize,
    to: *mut u16,
) {
    // SAFETY: by the caller's promise the CPU has the instructions, what is read is there, and what is written may be.
    unsafe {
        for_rows!(put_fragment(to, at, weights, len), unreachable!("such tiles have fewer rows"));
    }
}

/// As [`loops`], for entries whose products are added to `$sums` one by one, eight a step `$eights` times and then one `$ones` times.
macro_rules! short_fragment {
    (
        $kind:ident ($sums:ident, $at:ident, $weights:ident, $eights:expr, $ones:expr)
        $([$i:literal $x:ident $e:ident $($v:literal $a:ident $t:ident)+])+
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
            step!($kind 0 $([$e $($a)+])+),
            "subs {ones}, {ones}, #1",
            "b.ne 4b",
            "5:",
            weights = inout(reg) *$weights,
            eights = inout(reg) $eights => _,
            ones = inout(reg) $ones => _,
            $($x = inout(reg) $at[$i] => _, $e = out(vreg_low16) _, $($a = inout(vreg) $sums[$i][$v],)+)+
            out("v28") _, out("v29") _, out("v30") _, out("v31") _,
            options(readonly, nostack),
        )
    };
}

/// Adds to `sums` the products of `len` entries at `at` and the rows of weights from `weights` on, and brings `weights` behind them. For
/// [`SHORT`](super::SHORT) entries at most in all: errors grow with the number of products added one by one. For tiles of eight rows at
/// most.
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
    let (eights, ones) = (len / 8, len % 8);
    // SAFETY: by the caller's promise the CPU has the instructions and what is read is there; nothing is written.
    unsafe {
        for_rows!(
            short_fragment(sums, at, weights, eights, ones),
            match (M, N) {
                (6, NR) => short_fragment!(wide (sums, at, weights, eights, ones)
                [0 x0 e0 0 a0 t0 1 b0 u0] [1 x1 e1 0 a1 t1 1 b1 u1] [2 x2 e2 0 a2 t2 1 b2 u2] [3 x3 e3 0 a3 t3 1 b3 u3]
                [4 x4 e4 0 a4 t4 1 b4 u4] [5 x5 e5 0 a5 t5 1 b5 u5]),
                (7, NR) => short_fragment!(wide (sums, at, weights, eights, ones)
                [0 x0 e0 0 a0 t0 1 b0 u0] [1 x1 e1 0 a1 t1 1 b1 u1] [2 x2 e2 0 a2 t2 1 b2 u2] [3 x3 e3 0 a3 t3 1 b3 u3]
                [4 x4 e4 0 a4 t4 1 b4 u4] [5 x5 e5 0 a5 t5 1 b5 u5] [6 x6 e6 0 a6 t6 1 b6 u6]),
                (8, NR) => short_fragment!(wide (sums, at, weights, eights, ones)
                [0 x0 e0 0 a0 t0 1 b0 u0] [1 x1 e1 0 a1 t1 1 b1 u1] [2 x2 e2 0 a2 t2 1 b2 u2] [3 x3 e3 0 a3 t3 1 b3 u3]
                [4 x4 e4 0 a4 t4 1 b4 u4] [5 x5 e5 0 a5 t5 1 b5 u5] [6 x6 e6 0 a6 t6 1 b6 u6] [7 x7 e7 0 a7 t7 1 b7 u7]),
                _ => unreachable!("tiles have eight rows at most"),
            }
        );
    }
}
