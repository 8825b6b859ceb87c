//! The int8 inner loop for NEON without the dot-product extension.
//!
//! Sixteen bytes of packed weights are four columns of four entries. Products of two groups are added in 16 bits, which
//! 2 x 128 x 127 does not leave, and then pairwise to 32: a column has two lanes until the end.

use std::arch::aarch64::{
    int8x16_t, int32x4_t, vaddq_s32, vdupq_n_s32, vget_low_s8, vld1q_dup_s32, vld1q_f32, vld1q_s8, vld1q_s32,
    vmull_high_s8, vmull_s8, vpadalq_s16, vpaddq_s32, vreinterpretq_f32_s32, vreinterpretq_s8_s32,
};
use std::arch::asm;

use super::{Accumulators, Dot, DotKernel, GROUP, HALF, NR, Operands, PanelRow, Tile, some_columns, whole};
use crate::dispatch::int8::Neon;
use crate::simd::Neon as Floats;
use crate::sink::Sink;

/// Vectors that hold the sums of a panel's columns.
const VECTORS: usize = NR / 4;
/// Weights of a group of every column.
const ROW: usize = GROUP * NR;

/// Four bytes of a row in every lane.
///
/// # Safety
/// Four bytes may be read there.
#[inline(always)]
unsafe fn group(at: *const u8) -> int8x16_t {
    // SAFETY: by the caller's promise; the load has no alignment.
    unsafe { vreinterpretq_s8_s32(vld1q_dup_s32(at.cast())) }
}

/// Sums of the first `N` columns as floats, times the scales of their columns, plus the bias: eight columns after eight, so that
/// their scales are loaded once for all rows, and in assembly, since the compiler gets ahead of itself and moves sums to memory.
/// A multiply-add adds to a bias that was loaded for it, two vectors of them by one instruction.
#[inline(always)]
pub(super) fn rescaled<const M: usize, const N: usize>(
    sums: [[int32x4_t; VECTORS]; M],
    row: &PanelRow,
) -> Accumulators<Floats, M> {
    // SAFETY: the four scales and biases are there; the instructions touch registers alone, and every aarch64 target has NEON.
    unsafe {
        let mut results = sums.map(|row| row.map(|sum| vreinterpretq_f32_s32(sum)));
        for v in (0..N / 4).step_by(2) {
            let (low, high) = (vld1q_f32(row.scale.as_ptr().add(4 * v)), vld1q_f32(row.scale.as_ptr().add(4 * v + 4)));
            for results in &mut results {
                let (from_low, from_high) = (results[v], results[v + 1]);
                asm!(
                    "scvtf {x:v}.4s, {x:v}.4s",
                    "scvtf {y:v}.4s, {y:v}.4s",
                    "ldp {a:q}, {b:q}, [{bias}]",
                    "fmla {a:v}.4s, {x:v}.4s, {low:v}.4s",
                    "fmla {b:v}.4s, {y:v}.4s, {high:v}.4s",
                    x = inout(vreg) from_low => _, y = inout(vreg) from_high => _,
                    a = out(vreg) results[v], b = out(vreg) results[v + 1],
                    low = in(vreg) low, high = in(vreg) high, bias = in(reg) row.bias.as_ptr().add(4 * v),
                    options(readonly, nostack, preserves_flags),
                );
            }
        }
        results
    }
}

/// Sums of a row and a panel: each of the four vectors of columns has one for its lower and one for its upper two.
type Halves = [int32x4_t; 2 * VECTORS];

/// One step of the inner loop for a row and four columns: products of two groups in 16 bits, added pairwise to 32.
///
/// `$w` are the weights of the first group and `$u` of the second, `$x` and `$y` the entries, `$low` and `$high` the sums.
macro_rules! step {
    ($w:literal, $u:literal, $x:literal, $y:literal, $low:literal, $high:literal) => {
        concat!(
            "smull v30.8h, v",
            $w,
            ".8b, v",
            $x,
            ".8b\n",
            "smull2 v31.8h, v",
            $w,
            ".16b, v",
            $x,
            ".16b\n",
            "smlal v30.8h, v",
            $u,
            ".8b, v",
            $y,
            ".8b\n",
            "smlal2 v31.8h, v",
            $u,
            ".16b, v",
            $y,
            ".16b\n",
            "sadalp v",
            $low,
            ".4s, v30.8h\n",
            "sadalp v",
            $high,
            ".4s, v31.8h\n",
        )
    };
}

/// As [`step!`] for two rows, the second with entries in v22 and v23 and its own products: neither waits for the other.
macro_rules! steps {
    ($w:literal, $u:literal, $low:literal, $high:literal, $low2:literal, $high2:literal) => {
        concat!(
            "smull v28.8h, v",
            $w,
            ".8b, v20.8b\n",
            "smull2 v29.8h, v",
            $w,
            ".16b, v20.16b\n",
            "smull v30.8h, v",
            $w,
            ".8b, v22.8b\n",
            "smull2 v31.8h, v",
            $w,
            ".16b, v22.16b\n",
            "smlal v28.8h, v",
            $u,
            ".8b, v21.8b\n",
            "smlal2 v29.8h, v",
            $u,
            ".16b, v21.16b\n",
            "smlal v30.8h, v",
            $u,
            ".8b, v23.8b\n",
            "smlal2 v31.8h, v",
            $u,
            ".16b, v23.16b\n",
            "sadalp v",
            $low,
            ".4s, v28.8h\n",
            "sadalp v",
            $high,
            ".4s, v29.8h\n",
            "sadalp v",
            $low2,
            ".4s, v30.8h\n",
            "sadalp v",
            $high2,
            ".4s, v31.8h\n",
        )
    };
}

/// Adds to `sums` the products of `pairs` pairs of groups of a row with those of a panel.
///
/// In assembly, since the compiler makes three instructions of two here: it loads four bytes into half a vector and moves the
/// upper weights down to it, where `smull2` would take them as they are.
///
/// # Safety
/// `pairs` is not 0; eight bytes of the row and 128 of the panel may be read for each of them.
#[inline(always)]
unsafe fn pairs_of_one(sums: &mut Halves, row: *const u8, weights: *const i8, pairs: usize) {
    let [a, b, c, d, e, f, g, h] = *sums;
    let (a1, b1, c1, d1, e1, f1, g1, h1);
    // SAFETY: what is read may be read by the caller's promise; every aarch64 target has NEON.
    unsafe {
        asm!(
            "2:",
            "ld1r {{v20.4s}}, [{row}], #4",
            "ld1r {{v21.4s}}, [{row}], #4",
            "ldp q22, q23, [{weights}]",
            "ldp q24, q25, [{weights}, #64]",
            "ldp q26, q27, [{weights}, #32]",
            "ldp q28, q29, [{weights}, #96]",
            "add {weights}, {weights}, #128",
            step!("22", "24", "20", "21", "0", "1"),
            step!("23", "25", "20", "21", "2", "3"),
            step!("26", "28", "20", "21", "4", "5"),
            step!("27", "29", "20", "21", "6", "7"),
            "subs {pairs}, {pairs}, #1",
            "b.ne 2b",
            row = inout(reg) row => _, weights = inout(reg) weights => _, pairs = inout(reg) pairs => _,
            inout("v0") a => a1, inout("v1") b => b1, inout("v2") c => c1, inout("v3") d => d1,
            inout("v4") e => e1, inout("v5") f => f1, inout("v6") g => g1, inout("v7") h => h1,
            out("v20") _, out("v21") _, out("v22") _, out("v23") _, out("v24") _, out("v25") _, out("v26") _,
            out("v27") _, out("v28") _, out("v29") _, out("v30") _, out("v31") _,
            options(readonly, nostack),
        );
    }
    *sums = [a1, b1, c1, d1, e1, f1, g1, h1];
}

/// As [`pairs_of_one`] for two rows: sixteen accumulators, four of entries, eight of weights, four of products.
///
/// # Safety
/// As there, for both rows.
#[inline(always)]
unsafe fn pairs_of_two(sums: [&mut Halves; 2], rows: [*const u8; 2], weights: *const i8, pairs: usize) {
    let [[a, b, c, d, e, f, g, h], [i, j, k, l, m, n, o, p]] = [*sums[0], *sums[1]];
    let (a1, b1, c1, d1, e1, f1, g1, h1);
    let (i1, j1, k1, l1, m1, n1, o1, p1);
    // SAFETY: as above.
    unsafe {
        asm!(
            "2:",
            "ld1r {{v20.4s}}, [{row}], #4",
            "ld1r {{v22.4s}}, [{other}], #4",
            "ldp q16, q17, [{weights}]",
            "ldp q18, q19, [{weights}, #64]",
            "ld1r {{v21.4s}}, [{row}], #4",
            "ld1r {{v23.4s}}, [{other}], #4",
            "ldp q24, q25, [{weights}, #32]",
            "ldp q26, q27, [{weights}, #96]",
            "add {weights}, {weights}, #128",
            steps!("16", "18", "0", "1", "8", "9"),
            steps!("17", "19", "2", "3", "10", "11"),
            steps!("24", "26", "4", "5", "12", "13"),
            "subs {pairs}, {pairs}, #1",
            steps!("25", "27", "6", "7", "14", "15"),
            "b.ne 2b",
            row = inout(reg) rows[0] => _, other = inout(reg) rows[1] => _,
            weights = inout(reg) weights => _, pairs = inout(reg) pairs => _,
            inout("v0") a => a1, inout("v1") b => b1, inout("v2") c => c1, inout("v3") d => d1,
            inout("v4") e => e1, inout("v5") f => f1, inout("v6") g => g1, inout("v7") h => h1,
            inout("v8") i => i1, inout("v9") j => j1, inout("v10") k => k1, inout("v11") l => l1,
            inout("v12") m => m1, inout("v13") n => n1, inout("v14") o => o1, inout("v15") p => p1,
            out("v16") _, out("v17") _, out("v18") _, out("v19") _, out("v20") _, out("v21") _, out("v22") _, out("v23") _,
            out("v24") _, out("v25") _, out("v26") _, out("v27") _, out("v28") _, out("v29") _, out("v30") _, out("v31") _,
            options(readonly, nostack),
        );
    }
    *sums[0] = [a1, b1, c1, d1, e1, f1, g1, h1];
    *sums[1] = [i1, j1, k1, l1, m1, n1, o1, p1];
}

/// As [`pairs_of_two`] for the first eight columns.
///
/// # Safety
/// As there.
#[inline(always)]
unsafe fn half_pairs_of_two(sums: [&mut Halves; 2], rows: [*const u8; 2], weights: *const i8, pairs: usize) {
    let [[a, b, c, d, ..], [i, j, k, l, ..]] = [*sums[0], *sums[1]];
    let (a1, b1, c1, d1, i1, j1, k1, l1);
    // SAFETY: as there.
    unsafe {
        asm!(
            "2:",
            "ld1r {{v20.4s}}, [{row}], #4",
            "ld1r {{v22.4s}}, [{other}], #4",
            "ldp q16, q17, [{weights}]",
            "ldp q18, q19, [{weights}, #64]",
            "ld1r {{v21.4s}}, [{row}], #4",
            "ld1r {{v23.4s}}, [{other}], #4",
            "add {weights}, {weights}, #128",
            steps!("16", "18", "0", "1", "8", "9"),
            "subs {pairs}, {pairs}, #1",
            steps!("17", "19", "2", "3", "10", "11"),
            "b.ne 2b",
            row = inout(reg) rows[0] => _, other = inout(reg) rows[1] => _,
            weights = inout(reg) weights => _, pairs = inout(reg) pairs => _,
            inout("v0") a => a1, inout("v1") b => b1, inout("v2") c => c1, inout("v3") d => d1,
            inout("v8") i => i1, inout("v9") j => j1, inout("v10") k => k1, inout("v11") l => l1,
            out("v16") _, out("v17") _, out("v18") _, out("v19") _, out("v20") _, out("v21") _, out("v22") _, out("v23") _,
            out("v28") _, out("v29") _, out("v30") _, out("v31") _,
            options(readonly, nostack),
        );
    }
    sums[0][..HALF / 2].copy_from_slice(&[a1, b1, c1, d1]);
    sums[1][..HALF / 2].copy_from_slice(&[i1, j1, k1, l1]);
}

/// As [`pairs_of_one`] for the first eight columns.
///
/// # Safety
/// As there.
#[inline(always)]
unsafe fn half_pairs_of_one(sums: &mut Halves, row: *const u8, weights: *const i8, pairs: usize) {
    let [a, b, c, d, ..] = *sums;
    let (a1, b1, c1, d1);
    // SAFETY: as there.
    unsafe {
        asm!(
            "2:",
            "ld1r {{v20.4s}}, [{row}], #4",
            "ld1r {{v21.4s}}, [{row}], #4",
            "ldp q22, q23, [{weights}]",
            "ldp q24, q25, [{weights}, #64]",
            "add {weights}, {weights}, #128",
            step!("22", "24", "20", "21", "0", "1"),
            step!("23", "25", "20", "21", "2", "3"),
            "subs {pairs}, {pairs}, #1",
            "b.ne 2b",
            row = inout(reg) row => _, weights = inout(reg) weights => _, pairs = inout(reg) pairs => _,
            inout("v0") a => a1, inout("v1") b => b1, inout("v2") c => c1, inout("v3") d => d1,
            out("v20") _, out("v21") _, out("v22") _, out("v23") _, out("v24") _, out("v25") _, out("v30") _, out("v31") _,
            options(readonly, nostack),
        );
    }
    sums[..HALF / 2].copy_from_slice(&[a1, b1, c1, d1]);
}

/// Adds to `sums` the products of the last group of rows whose groups are not even in number.
///
/// # Safety
/// Four bytes of each row and 64 weights may be read.
#[inline(always)]
unsafe fn last_group<const M: usize, const N: usize>(sums: &mut [Halves; M], rows: [*const u8; M], weights: *const i8) {
    // SAFETY: by the caller's promise.
    unsafe {
        let entries = rows.map(|row| group(row));
        for v in 0..N / 4 {
            let weights = vld1q_s8(weights.add(16 * v));
            for (sums, entries) in sums.iter_mut().zip(entries) {
                sums[2 * v] = vpadalq_s16(sums[2 * v], vmull_s8(vget_low_s8(weights), vget_low_s8(entries)));
                sums[2 * v + 1] = vpadalq_s16(sums[2 * v + 1], vmull_high_s8(weights, entries));
            }
        }
    }
}

impl DotKernel for Neon {
    type Simd = Floats;
    const MR: usize = 6;
    /// A column has two lanes of each row, so that two rows take sixteen accumulators.
    const AT_ONCE: usize = 2;
    const HAS_HALVES: bool = true;
    const IS_SIGNED: bool = true;

    #[inline(always)]
    fn simd(self) -> Floats {
        self.base()
    }

    #[inline(always)]
    fn results<const M: usize, const N: usize>(
        self,
        operands: &Operands<'_, u8, i8>,
        row: &PanelRow,
    ) -> Accumulators<Floats, M> {
        // SAFETY: every aarch64 target has NEON. A fragment has as many entries as its weights have rows, whole groups; both are
        // gone through together.
        unsafe {
            let mut sums = [[vdupq_n_s32(0); 2 * VECTORS]; M];
            let (pairs, odd) = (operands.len / (2 * GROUP), !operands.len.is_multiple_of(2 * GROUP));
            for t in 0..operands.per_row {
                let fragments = operands.fragments::<M>(t);
                let weights = operands.panel.as_ptr().add(t * operands.len * NR);
                if pairs > 0 {
                    match sums.as_mut_slice() {
                        [row] if N == HALF => half_pairs_of_one(row, fragments[0], weights, pairs),
                        [one, other] if N == HALF => {
                            half_pairs_of_two([one, other], [fragments[0], fragments[M - 1]], weights, pairs);
                        }
                        [row] => pairs_of_one(row, fragments[0], weights, pairs),
                        [one, other] => pairs_of_two([one, other], [fragments[0], fragments[M - 1]], weights, pairs),
                        _ => unreachable!("{M} rows at once, of {}", Self::AT_ONCE),
                    }
                }
                if odd {
                    let rows = fragments.map(|fragment| fragment.add(2 * GROUP * pairs));
                    last_group::<M, N>(&mut sums, rows, weights.add(2 * ROW * pairs));
                }
            }
            let begun: [int32x4_t; VECTORS] = std::array::from_fn(|v| vld1q_s32(row.offset.as_ptr().add(4 * v)));
            let whole =
                |row: Halves| std::array::from_fn(|v| vaddq_s32(begun[v], vpaddq_s32(row[2 * v], row[2 * v + 1])));
            rescaled::<M, N>(sums.map(whole), row)
        }
    }

    #[inline(always)]
    fn run<const M: usize, const N: usize>(self, first: &Tile<'_, '_, Dot<Neon>>, count: usize, out: &mut Sink<'_>) {
        run::<M, N>(self, first, count, out);
    }
}

/// Computes tiles and stores them. A function of its own: among others the compiler keeps their constants in memory.
#[inline(never)]
fn run<const M: usize, const N: usize>(
    kernel: Neon,
    first: &Tile<'_, '_, Dot<Neon>>,
    count: usize,
    out: &mut Sink<'_>,
) {
    if first.width == N {
        first.each(count, |tile| whole::<_, M, N>(kernel, tile, out));
    } else {
        first.each(count, |tile| some_columns::<_, M, N>(kernel, tile, out));
    }
}
