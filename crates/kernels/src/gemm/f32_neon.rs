//! The f32 micro-kernel's inner loop for NEON: multiply-adds by element.
//!
//! Broadcasting each entry of A takes an instruction for each, and on most cores the unit that multiplies; here one load
//! brings four entries, and the multiply-adds pick theirs by element.
//!
//! Six rows by sixteen columns are 24 accumulators; with six vectors of entries and two of weights they fill the 32 registers.
//! The loops are assembly: the compiler moves accumulators to memory and back, and counts and points apart, for a tenth to a
//! half more instructions than these have.

use std::arch::asm;

use super::epilogue::{Accumulators, NR, start, vectors};
use super::f32::OnePanel;
use super::operands::Operands;
use crate::simd::Neon;

/// `$sum += $weights * $entries[$lane]`.
macro_rules! fmla {
    ($sum:ident, $weights:literal, $entries:ident[$lane:literal]) => {
        concat!("fmla {", stringify!($sum), ":v}.4s, ", $weights, ".4s, {", stringify!($entries), ":v}.s[", $lane, "]\n")
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

impl OnePanel for Neon {
    #[inline(always)]
    fn sums<const M: usize, const N: usize>(
        self,
        operands: &Operands<'_, f32, f32>,
        row: &[f32; NR],
    ) -> Accumulators<Neon, M> {
        const { assert!(vectors::<Neon, N>() == 2 || vectors::<Neon, N>() == 4) };
        let mut sums = start::<Neon, M, N>(self, row);
        let (fours, ones) = (operands.len / 4, operands.len % 4);
        let mut weights = operands.panel.as_ptr();
        assert!(operands.panel.len() >= operands.per_row * operands.len * NR);
        for t in 0..operands.per_row {
            let at = operands.fragments::<M>(t);
            // SAFETY: every aarch64 target has NEON. A fragment has `operands.len` entries and the panel as many rows of NR
            // weights for it, the rows of a fragment behind those of the one before; no more is read, and nothing is written.
            unsafe {
                match (M, N) {
                    (1, NR) => fragment!(wide ["v28" "v29" "v30" "v31"] (sums, at, weights, fours, ones)
                        [0 x0 e0 0 a0 1 b0 2 c0 3 d0]),
                    (2, NR) => fragment!(wide ["v28" "v29" "v30" "v31"] (sums, at, weights, fours, ones)
                        [0 x0 e0 0 a0 1 b0 2 c0 3 d0] [1 x1 e1 0 a1 1 b1 2 c1 3 d1]),
                    (3, NR) => fragment!(wide ["v28" "v29" "v30" "v31"] (sums, at, weights, fours, ones)
                        [0 x0 e0 0 a0 1 b0 2 c0 3 d0] [1 x1 e1 0 a1 1 b1 2 c1 3 d1] [2 x2 e2 0 a2 1 b2 2 c2 3 d2]),
                    (4, NR) => fragment!(wide ["v28" "v29" "v30" "v31"] (sums, at, weights, fours, ones)
                        [0 x0 e0 0 a0 1 b0 2 c0 3 d0] [1 x1 e1 0 a1 1 b1 2 c1 3 d1] [2 x2 e2 0 a2 1 b2 2 c2 3 d2]
                        [3 x3 e3 0 a3 1 b3 2 c3 3 d3]),
                    (5, NR) => fragment!(wide ["v28" "v29" "v30" "v31"] (sums, at, weights, fours, ones)
                        [0 x0 e0 0 a0 1 b0 2 c0 3 d0] [1 x1 e1 0 a1 1 b1 2 c1 3 d1] [2 x2 e2 0 a2 1 b2 2 c2 3 d2]
                        [3 x3 e3 0 a3 1 b3 2 c3 3 d3] [4 x4 e4 0 a4 1 b4 2 c4 3 d4]),
                    (6, NR) => fragment!(pairs ["v30" "v31"] (sums, at, weights, fours, ones)
                        [0 x0 e0 0 a0 1 b0 2 c0 3 d0] [1 x1 e1 0 a1 1 b1 2 c1 3 d1] [2 x2 e2 0 a2 1 b2 2 c2 3 d2]
                        [3 x3 e3 0 a3 1 b3 2 c3 3 d3] [4 x4 e4 0 a4 1 b4 2 c4 3 d4] [5 x5 e5 0 a5 1 b5 2 c5 3 d5]),
                    (1, _) => fragment!(half ["v30" "v31"] (sums, at, weights, fours, ones) [0 x0 e0 0 a0 1 b0]),
                    (2, _) => fragment!(half ["v30" "v31"] (sums, at, weights, fours, ones)
                        [0 x0 e0 0 a0 1 b0] [1 x1 e1 0 a1 1 b1]),
                    (3, _) => fragment!(half ["v30" "v31"] (sums, at, weights, fours, ones)
                        [0 x0 e0 0 a0 1 b0] [1 x1 e1 0 a1 1 b1] [2 x2 e2 0 a2 1 b2]),
                    (4, _) => fragment!(half ["v30" "v31"] (sums, at, weights, fours, ones)
                        [0 x0 e0 0 a0 1 b0] [1 x1 e1 0 a1 1 b1] [2 x2 e2 0 a2 1 b2] [3 x3 e3 0 a3 1 b3]),
                    (5, _) => fragment!(half ["v30" "v31"] (sums, at, weights, fours, ones)
                        [0 x0 e0 0 a0 1 b0] [1 x1 e1 0 a1 1 b1] [2 x2 e2 0 a2 1 b2] [3 x3 e3 0 a3 1 b3]
                        [4 x4 e4 0 a4 1 b4]),
                    (6, _) => fragment!(half ["v30" "v31"] (sums, at, weights, fours, ones)
                        [0 x0 e0 0 a0 1 b0] [1 x1 e1 0 a1 1 b1] [2 x2 e2 0 a2 1 b2] [3 x3 e3 0 a3 1 b3]
                        [4 x4 e4 0 a4 1 b4] [5 x5 e5 0 a5 1 b5]),
                    _ => unreachable!("tiles have six rows at most"),
                }
            }
        }
        sums
    }
}
