//! The inner loop of the micro-kernels for NEON that multiply by element: `fmla` on f32, `sdot` on groups of four bytes.
//!
//! Both take 32 bits of a row at a time and sixteen times 32 bits of weights, so that one loop serves both. Six rows by sixteen
//! columns are 24 accumulators; with six vectors of entries and two of weights they fill the 32 registers. The loops are assembly:
//! the compiler moves accumulators to memory and back, and counts and points apart, for a tenth to a half more instructions
//! than these have.

use std::arch::aarch64::{float32x4_t, int32x4_t, vdupq_n_f32, vdupq_n_s32};
use std::arch::asm;

use super::epilogue::NR;

/// `$sum += $weights * $entries[$lane]` by the instruction, with what it calls the lanes of weights and of entries.
macro_rules! multiply {
    (($op:literal $wide:literal $narrow:literal) $sum:ident, $weights:literal, $entries:ident[$lane:literal]) => {
        concat!(
            $op,
            " {",
            stringify!($sum),
            ":v}.4s, ",
            $weights,
            $wide,
            ", {",
            stringify!($entries),
            ":v}",
            $narrow,
            "[",
            $lane,
            "]\n"
        )
    };
}

/// Loads a row of weights and adds to every accumulator its weight times element `$lane` of its row's entries. `wide` loads
/// sixteen at once, `pairs` eight and eight, for where registers are scarce, and `half` the first eight alone.
macro_rules! step {
    ($i:tt wide $lane:literal $([$e:ident $a:ident $b:ident $c:ident $d:ident])+) => {
        concat!(
            "ld1 {{v28.4s, v29.4s, v30.4s, v31.4s}}, [{weights}], #64\n",
            $(multiply!($i $a, "v28", $e[$lane]), multiply!($i $b, "v29", $e[$lane]),)+
            $(multiply!($i $c, "v30", $e[$lane]), multiply!($i $d, "v31", $e[$lane]),)+
        )
    };
    ($i:tt pairs $lane:literal $([$e:ident $a:ident $b:ident $c:ident $d:ident])+) => {
        concat!(
            "ldp q30, q31, [{weights}], #32\n",
            $(multiply!($i $a, "v30", $e[$lane]), multiply!($i $b, "v31", $e[$lane]),)+
            "ldp q30, q31, [{weights}], #32\n",
            $(multiply!($i $c, "v30", $e[$lane]), multiply!($i $d, "v31", $e[$lane]),)+
        )
    };
    ($i:tt half $lane:literal $([$e:ident $a:ident $b:ident])+) => {
        concat!(
            "ldp q30, q31, [{weights}], #64\n",
            $(multiply!($i $a, "v30", $e[$lane]), multiply!($i $b, "v31", $e[$lane]),)+
        )
    };
}

/// The loops over one fragment of each row, four entries a step `$fours` times and then one `$ones` times: `$x` points to a
/// row's entries, `$e` holds them, and the rest of its list are its accumulators, by their places in `$sums`.
macro_rules! fragment {
    (
        $i:tt $kind:ident [$($free:tt)+] ($sums:ident, $at:ident, $weights:ident, $fours:expr, $ones:expr)
        $([$row:literal $x:ident $e:ident $($v:literal $a:ident)+])+
    ) => {
        asm!(
            "cbz {fours}, 3f",
            "2:",
            $(concat!("ldr {", stringify!($e), ":q}, [{", stringify!($x), "}], #16"),)+
            step!($i $kind 0 $([$e $($a)+])+),
            step!($i $kind 1 $([$e $($a)+])+),
            step!($i $kind 2 $([$e $($a)+])+),
            step!($i $kind 3 $([$e $($a)+])+),
            "subs {fours}, {fours}, #1",
            "b.ne 2b",
            "3:",
            "cbz {ones}, 5f",
            "4:",
            $(concat!("ldr {", stringify!($e), ":s}, [{", stringify!($x), "}], #4"),)+
            step!($i $kind 0 $([$e $($a)+])+),
            "subs {ones}, {ones}, #1",
            "b.ne 4b",
            "5:",
            weights = inout(reg) $weights,
            fours = inout(reg) $fours => _,
            ones = inout(reg) $ones => _,
            $($x = inout(reg) $at[$row] => _, $e = out(vreg) _, $($a = inout(vreg) $sums[$row][$v],)+)+
            $(out($free) _,)+
            options(readonly, nostack),
        )
    };
}

/// The loop with an instruction, as a function of the numbers of rows and columns.
macro_rules! add_fragment {
    ($(#[$meta:meta])* $name:ident, $entry:ty, $weight:ty, $sum:ty, $i:tt) => {
        $(#[$meta])*
        #[inline(always)]
        pub(super) unsafe fn $name<const M: usize, const N: usize>(
            sums: &mut [[$sum; NR / 4]; M],
            at: [*const $entry; M],
            weights: &mut *const $weight,
            len: usize,
        ) {
            let (mut from, fours, ones) = (*weights, len / 4, len % 4);
            // SAFETY: every aarch64 target has NEON, and what more the instruction needs is there by the caller's promise, as is what
            // is read; nothing is written.
            unsafe {
                match (M, N) {
                    (1, NR) => fragment!($i wide ["v28" "v29" "v30" "v31"] (sums, at, from, fours, ones)
                        [0 x0 e0 0 a0 1 b0 2 c0 3 d0]),
                    (2, NR) => fragment!($i wide ["v28" "v29" "v30" "v31"] (sums, at, from, fours, ones)
                        [0 x0 e0 0 a0 1 b0 2 c0 3 d0] [1 x1 e1 0 a1 1 b1 2 c1 3 d1]),
                    (3, NR) => fragment!($i wide ["v28" "v29" "v30" "v31"] (sums, at, from, fours, ones)
                        [0 x0 e0 0 a0 1 b0 2 c0 3 d0] [1 x1 e1 0 a1 1 b1 2 c1 3 d1] [2 x2 e2 0 a2 1 b2 2 c2 3 d2]),
                    (4, NR) => fragment!($i wide ["v28" "v29" "v30" "v31"] (sums, at, from, fours, ones)
                        [0 x0 e0 0 a0 1 b0 2 c0 3 d0] [1 x1 e1 0 a1 1 b1 2 c1 3 d1] [2 x2 e2 0 a2 1 b2 2 c2 3 d2] [3 x3 e3 0 a3 1 b3 2 c3 3 d3]),
                    (5, NR) => fragment!($i wide ["v28" "v29" "v30" "v31"] (sums, at, from, fours, ones)
                        [0 x0 e0 0 a0 1 b0 2 c0 3 d0] [1 x1 e1 0 a1 1 b1 2 c1 3 d1] [2 x2 e2 0 a2 1 b2 2 c2 3 d2] [3 x3 e3 0 a3 1 b3 2 c3 3 d3]
                        [4 x4 e4 0 a4 1 b4 2 c4 3 d4]),
                    (6, NR) => fragment!($i pairs ["v30" "v31"] (sums, at, from, fours, ones)
                        [0 x0 e0 0 a0 1 b0 2 c0 3 d0] [1 x1 e1 0 a1 1 b1 2 c1 3 d1] [2 x2 e2 0 a2 1 b2 2 c2 3 d2] [3 x3 e3 0 a3 1 b3 2 c3 3 d3]
                        [4 x4 e4 0 a4 1 b4 2 c4 3 d4] [5 x5 e5 0 a5 1 b5 2 c5 3 d5]),
                    (1, _) => fragment!($i half ["v30" "v31"] (sums, at, from, fours, ones)
                        [0 x0 e0 0 a0 1 b0]),
                    (2, _) => fragment!($i half ["v30" "v31"] (sums, at, from, fours, ones)
                        [0 x0 e0 0 a0 1 b0] [1 x1 e1 0 a1 1 b1]),
                    (3, _) => fragment!($i half ["v30" "v31"] (sums, at, from, fours, ones)
                        [0 x0 e0 0 a0 1 b0] [1 x1 e1 0 a1 1 b1] [2 x2 e2 0 a2 1 b2]),
                    (4, _) => fragment!($i half ["v30" "v31"] (sums, at, from, fours, ones)
                        [0 x0 e0 0 a0 1 b0] [1 x1 e1 0 a1 1 b1] [2 x2 e2 0 a2 1 b2] [3 x3 e3 0 a3 1 b3]),
                    (5, _) => fragment!($i half ["v30" "v31"] (sums, at, from, fours, ones)
                        [0 x0 e0 0 a0 1 b0] [1 x1 e1 0 a1 1 b1] [2 x2 e2 0 a2 1 b2] [3 x3 e3 0 a3 1 b3]
                        [4 x4 e4 0 a4 1 b4]),
                    (6, _) => fragment!($i half ["v30" "v31"] (sums, at, from, fours, ones)
                        [0 x0 e0 0 a0 1 b0] [1 x1 e1 0 a1 1 b1] [2 x2 e2 0 a2 1 b2] [3 x3 e3 0 a3 1 b3]
                        [4 x4 e4 0 a4 1 b4] [5 x5 e5 0 a5 1 b5]),
                    _ => unreachable!("tiles have six rows at most"),
                }
            }
            *weights = from;
        }
    };
}

add_fragment! {
    /// Adds to `sums` the products of entries at `at` and the rows of weights from `weights` on, `len` of each, and brings
    /// `weights` behind them.
    ///
    /// # Safety
    /// They may be read.
    add_f32, f32, f32, float32x4_t, ("fmla" ".4s" ".s")
}

add_fragment! {
    /// As [`add_f32`] for bytes, in groups of four: `len` groups, each with sixteen columns of four weights.
    ///
    /// # Safety
    /// They may be read, and the CPU has the dot-product extension.
    add_i8, u8, i8, int32x4_t, ("sdot" ".16b" ".4b")
}

/// Defines the function that makes the first accumulators of `M` rows: each row is loaded, two vectors at a time. The compiler would copy
/// them from the first.
macro_rules! begin {
    ($(#[$meta:meta])* $name:ident, $entry:ty, $sum:ty, $zero:expr) => {
        $(#[$meta])*
        #[inline(always)]
        pub(crate) fn $name<const M: usize, const N: usize>(row: &[$entry; N]) -> [[$sum; NR / 4]; M] {
            const { assert!(N == NR || N == NR / 2) };
            // SAFETY: every aarch64 target has NEON; the N values of the row are read.
            unsafe {
                let mut sums = [[$zero; NR / 4]; M];
                for [a, b, c, d] in &mut sums {
                    asm!("ldp {a:q}, {b:q}, [{row}]", a = lateout(vreg) *a, b = lateout(vreg) *b, row = in(reg) row,
                        options(readonly, nostack, preserves_flags));
                    if N == NR {
                        asm!("ldp {c:q}, {d:q}, [{row}, #32]", c = lateout(vreg) *c, d = lateout(vreg) *d, row = in(reg) row,
                            options(readonly, nostack, preserves_flags));
                    }
                }
                sums
            }
        }
    };
}

begin! {
    /// Accumulators of `N` columns, all rows `row`.
    begin_f32, f32, float32x4_t, vdupq_n_f32(0.0)
}

begin! {
    /// As [`begin_f32`] for sums of bytes.
    begin_i8, i32, int32x4_t, vdupq_n_s32(0)
}
