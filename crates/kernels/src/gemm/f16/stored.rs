//! Products whose results stay halves: sums, bias and activation of eight columns an instruction.

use std::arch::aarch64::{vdupq_n_u16, vld1q_f32, vld1q_u16, vmulq_n_f32, vst1q_u16};
use std::ops::Range;

use super::convert::from_f32;
use super::neon::{Sums, add_short, piece};
use super::{HALF, HalfKernel, NR, Operands, PIECE, SHORT};
use crate::Activation;
use crate::dispatch::half::NeonFp16;
use crate::gemm::{Columns, Direct, Fragments, KernelFamily, MR, MicroKernel, Prefetch, Tile, gemm_body, gemm_rows};
use crate::halves::Largest;
use crate::halves::neon::{Extremes, activate, add, eight, extremes, largest};
use crate::sink::Sink;

/// Pieces that are summed in halves: the sum of two is rounded once, as if it were made in f32 and stored as a half.
const IN_HALVES: usize = 2 * PIECE;

/// The micro-kernel.
#[derive(Clone, Copy)]
pub(super) struct Stored(NeonFp16);

/// What products are scaled by, and what is done to them then. Magnitudes of results are told to `largest`.
#[derive(Clone, Copy)]
pub(crate) struct StoredEpilogue<'a> {
    pub(crate) scale: f32,
    pub(crate) bias: Option<&'a [f32]>,
    pub(crate) residual: Residual<'a>,
    pub(crate) activation: Activation,
    pub(crate) largest: &'a Largest,
}

/// What is added to a product, laid out as the output.
#[derive(Clone, Copy)]
pub(crate) enum Residual<'a> {
    Zeros,
    Floats(&'a [f32]),
    Halves(&'a [u16]),
}

impl Residual<'_> {
    /// Adds it to sums of `N` columns, row `i` of them from `at + i * stride`.
    #[inline]
    #[target_feature(enable = "neon,fp16")]
    fn add<const M: usize, const N: usize>(self, sums: &mut Sums<M>, at: usize, stride: usize) {
        // One check for all rows: one for each costs as much as adding it.
        let len = (M - 1) * stride + N;
        match self {
            Residual::Zeros => {}
            Residual::Floats(residual) => {
                let residual = residual[at..][..len].as_ptr();
                for (i, row) in sums.iter_mut().enumerate() {
                    for (v, sum) in row.iter_mut().enumerate().take(const { N / 8 }) {
                        // SAFETY: the N values of the row end before the last that was checked.
                        *sum = unsafe {
                            let from = residual.add(i * stride + 8 * v);
                            add(*sum, eight(vld1q_f32(from), vld1q_f32(from.add(4))))
                        };
                    }
                }
            }
            Residual::Halves(residual) => {
                let residual = residual[at..][..len].as_ptr();
                for (i, row) in sums.iter_mut().enumerate() {
                    for (v, sum) in row.iter_mut().enumerate().take(const { N / 8 }) {
                        // SAFETY: as above.
                        *sum = add(*sum, unsafe { vld1q_u16(residual.add(i * stride + 8 * v)) });
                    }
                }
            }
        }
    }

    /// Sums with it as by [`Residual::add`], where only the first `width` of the columns exist. By value: sums that something points to
    /// are kept in memory.
    #[inline(never)]
    #[target_feature(enable = "neon,fp16")]
    fn add_some<const M: usize>(self, mut sums: Sums<M>, width: usize, at: usize, stride: usize) -> Sums<M> {
        for (i, row) in sums.iter_mut().enumerate() {
            let (mut values, at) = ([0; NR], at + i * stride);
            match self {
                Residual::Zeros => return sums,
                Residual::Floats(all) => {
                    values.iter_mut().zip(&all[at..][..width]).for_each(|(value, x)| *value = from_f32(*x));
                }
                Residual::Halves(all) => values[..width].copy_from_slice(&all[at..][..width]),
            }
            for (v, sum) in row.iter_mut().enumerate() {
                // SAFETY: eight of the sixteen halves are read.
                *sum = add(*sum, unsafe { vld1q_u16(values.as_ptr().add(8 * v)) });
            }
        }
        sums
    }
}

impl MicroKernel for Stored {
    type Lhs = u16;
    type Rhs = u16;
    type Out = u16;
    /// The bias.
    type Row = [u16; NR];
    type Epilogue<'a> = StoredEpilogue<'a>;

    const MR: usize = MR;
    const FAMILY: KernelFamily = KernelFamily::F16;

    #[inline(always)]
    fn columns<'a>(epilogue: Self::Epilogue<'a>, columns: Range<usize>) -> Self::Epilogue<'a> {
        StoredEpilogue { bias: epilogue.bias.map(|bias| &bias[columns]), ..epilogue }
    }

    #[inline(always)]
    fn start(self, epilogue: StoredEpilogue<'_>, columns: Range<usize>) -> [u16; NR] {
        let mut bias = [0.0; NR];
        if let Some(all) = epilogue.bias {
            bias[..columns.len()].copy_from_slice(&all[columns]);
        }
        let mut row = [0; NR];
        self.0.narrow_as_is(&bias, &mut row);
        row
    }

    #[inline(always)]
    fn tiles(self, first: &Tile<'_, '_, Stored>, count: usize, out: &mut Sink<'_, u16>) {
        if first.width > HALF {
            rows::<NR>(self.0, first, count, out);
        } else {
            rows::<HALF>(self.0, first, count, out);
        }
    }
}

#[inline(always)]
fn rows<const N: usize>(kernel: NeonFp16, first: &Tile<'_, '_, Stored>, count: usize, out: &mut Sink<'_, u16>) {
    // SAFETY: the token proves that the CPU has what the functions are compiled for.
    unsafe {
        match first.rows {
            1 => run::<1, N>(kernel, first, count, out),
            2 => run::<2, N>(kernel, first, count, out),
            3 => run::<3, N>(kernel, first, count, out),
            4 => run::<4, N>(kernel, first, count, out),
            5 => run::<5, N>(kernel, first, count, out),
            _ => run::<MR, N>(kernel, first, count, out),
        }
    }
}

/// Computes tiles and stores them. A function of its own: among others the compiler keeps sums in memory.
#[inline(never)]
#[target_feature(enable = "neon,fp16")]
fn run<const M: usize, const N: usize>(
    kernel: NeonFp16,
    first: &Tile<'_, '_, Stored>,
    count: usize,
    out: &mut Sink<'_, u16>,
) {
    let (mut tile, mut most) = (*first, Extremes::none());
    for left in (0..count).rev() {
        one::<M, N>(kernel, &tile, &mut most, out);
        if left > 0 {
            tile.advance();
        }
    }
    most.raise(first.epilogue.largest);
}

/// Computes and stores a tile, and takes what it makes into `most`.
#[inline]
#[target_feature(enable = "neon,fp16")]
fn one<const M: usize, const N: usize>(
    kernel: NeonFp16,
    tile: &Tile<'_, '_, Stored>,
    most: &mut Extremes,
    out: &mut Sink<'_, u16>,
) {
    let vectors = const { N / 8 };
    let StoredEpilogue { scale, residual, activation, .. } = tile.epilogue;
    let Operands { per_row, len, .. } = tile.operands;
    let is_short = if per_row == 1 { len <= IN_HALVES } else { per_row * len <= SHORT };
    let mut sums = if is_short && scale == 1.0 {
        halves::<M, N>(&tile.operands)
    } else {
        scaled::<M, N>(kernel, &tile.operands, scale)
    };
    for row in &mut sums {
        for (v, sum) in row.iter_mut().enumerate().take(vectors) {
            // SAFETY: eight of the sixteen biases are read.
            *sum = add(*sum, unsafe { vld1q_u16(tile.start.as_ptr().add(8 * v)) });
        }
    }
    if tile.width == N {
        residual.add::<M, N>(&mut sums, tile.at, tile.stride);
    } else {
        sums = residual.add_some(sums, tile.width, tile.at, tile.stride);
    }
    let is_looked_at_behind = activation == Activation::HardSwish;
    if !is_looked_at_behind {
        match N {
            HALF => extremes::<M, 1, { NR / 8 }>(&sums, most),
            _ => extremes::<M, { NR / 8 }, { NR / 8 }>(&sums, most),
        }
    }
    // SAFETY: this function is compiled for a CPU that computes in halves.
    unsafe {
        match N {
            HALF => activate::<M, 1, { NR / 8 }>(activation, &mut sums),
            _ => activate::<M, { NR / 8 }, { NR / 8 }>(activation, &mut sums),
        }
    }
    if is_looked_at_behind {
        most.positive = match N {
            HALF => largest::<M, 1, { NR / 8 }>(activation, &sums, most.positive),
            _ => largest::<M, { NR / 8 }, { NR / 8 }>(activation, &sums, most.positive),
        };
    }
    if tile.width == N {
        let to = out.tile_within(tile.at, M, tile.stride, N);
        for (i, row) in sums.iter().enumerate() {
            for (v, sum) in row.iter().enumerate().take(vectors) {
                // SAFETY: the N halves of the row are written, which are the tile's.
                unsafe { vst1q_u16(to.add(i * tile.stride + 8 * v), *sum) };
            }
        }
    } else {
        for (i, row) in sums.iter().enumerate() {
            let mut halves = [0; NR];
            for (v, sum) in row.iter().enumerate() {
                // SAFETY: eight of the sixteen halves are written.
                unsafe { vst1q_u16(halves.as_mut_ptr().add(8 * v), *sum) };
            }
            out.entries(tile.at + i * tile.stride, tile.width).copy_from_slice(&halves[..tile.width]);
        }
    }
}

/// The sums of rows in halves.
#[inline]
#[target_feature(enable = "neon,fp16")]
fn halves<const M: usize, const N: usize>(operands: &Operands<'_, u16, u16>) -> Sums<M> {
    let Operands { panel, per_row, len, .. } = *operands;
    assert!(panel.len() >= per_row * len * NR);
    let mut weights = panel.as_ptr();
    if per_row > 1 {
        let mut sums: Sums<M> = [[vdupq_n_u16(0); NR / 8]; M];
        for t in 0..per_row {
            // SAFETY: the token proves the extension; a fragment has `len` entries, and the panel as many rows of NR weights for it.
            unsafe { add_short::<M, N>(&mut sums, operands.fragments::<M>(t), &mut weights, len) };
        }
        return sums;
    }
    let (mut at, mut left) = (operands.fragments::<M>(0), len.min(PIECE));
    // SAFETY: as above, for the only fragment.
    let mut sums = unsafe { piece::<M, N>(&mut at, &mut weights, left) };
    left = len - left;
    if left > 0 {
        // SAFETY: as above.
        let more = unsafe { piece::<M, N>(&mut at, &mut weights, left) };
        for (row, more) in sums.iter_mut().zip(more) {
            for v in 0..const { N / 8 } {
                row[v] = add(row[v], more[v]);
            }
        }
    }
    sums
}

/// The sums of rows in f32, scaled and made halves.
#[inline]
#[target_feature(enable = "neon,fp16")]
fn scaled<const M: usize, const N: usize>(kernel: NeonFp16, operands: &Operands<'_, u16, u16>, scale: f32) -> Sums<M> {
    let floats = kernel.sums::<M, N>(operands);
    let mut sums: Sums<M> = [[vdupq_n_u16(0); NR / 8]; M];
    let is_scaled = scale != 1.0;
    for (sums, floats) in sums.iter_mut().zip(floats) {
        for v in 0..const { N / 8 } {
            let (low, high) = (floats[2 * v], floats[2 * v + 1]);
            sums[v] = match is_scaled {
                true => eight(vmulq_n_f32(low, scale), vmulq_n_f32(high, scale)),
                false => eight(low, high),
            };
        }
    }
    sums
}

/// The driver on rows of halves.
pub(super) fn half_gemm_stored(
    kernel: NeonFp16,
    x: &[u16],
    reduction: usize,
    packed: &[u16],
    to: Columns,
    epilogue: StoredEpilogue<'_>,
    out: Sink<'_, u16>,
) {
    #[target_feature(enable = "neon,fp16")]
    fn fp16(
        kernel: NeonFp16,
        x: &[u16],
        reduction: usize,
        packed: &[u16],
        to: Columns,
        epilogue: StoredEpilogue<'_>,
        out: Sink<'_, u16>,
    ) {
        gemm_body(Direct { kernel: Stored(kernel), packed, epilogue }, x, reduction, to, out);
    }
    // SAFETY: the token proves that the CPU has what the function is compiled for.
    unsafe { fp16(kernel, x, reduction, packed, to, epilogue, out) }
}

/// Rows of fragments of halves.
pub(crate) fn half_rows_stored(
    kernel: NeonFp16,
    a: Fragments<'_, u16>,
    packed: &[u16],
    to: Columns,
    epilogue: StoredEpilogue<'_>,
    prefetch: Prefetch,
    out: Sink<'_, u16>,
) {
    #[target_feature(enable = "neon,fp16")]
    fn fp16(
        kernel: NeonFp16,
        a: Fragments<'_, u16>,
        packed: &[u16],
        to: Columns,
        epilogue: StoredEpilogue<'_>,
        prefetch: Prefetch,
        out: Sink<'_, u16>,
    ) {
        gemm_rows(Stored(kernel), a, packed, to, epilogue, prefetch, out);
    }
    // SAFETY: the token proves that the CPU has what the function is compiled for.
    unsafe { fp16(kernel, a, packed, to, epilogue, prefetch, out) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{convert, gemm_f16, pack_f16, scratch_len_f16};
    use crate::Activation;
    use crate::gemm::Epilogue;
    use crate::halves::{Ends, has_halves, has_room};
    use crate::oracle::{activation, activations, cases, for_each_half, kept, most, read};
    use crate::testing::values;

    proptest! {
        #![proptest_config(cases(150))]

        #[test]
        fn results_kept_as_halves_match_three_loops(
            m in 2..=most(67), k in 1..=most(200), n in 1..=most(67), act in activations(), input: bool, output: bool,
            add: bool, residual: bool, exponent in -4_i32..16,
        ) {
            prop_assume!(has_halves(act) && has_room(m * k) && has_room(m * n));
            let scale = 2.0_f32.powi(exponent);
            let x: Vec<f32> = values(1, m * k).iter().map(|x| convert::to_f32(convert::from_f32(x * scale))).collect();
            let (w, bias) = (values(2, k * n), values(3, n));
            let weights: Vec<f32> = w.iter().map(|w| convert::to_f32(convert::from_f32(*w))).collect();
            let packed = pack_f16(k, n, |k, column| w[k * n + column]).unwrap();
            let r: Vec<f32> = values(4, m * n).iter().map(|x| convert::to_f32(convert::from_f32(x * scale))).collect();
            let (halves, r_halves, mut first) = (kept(&x), kept(&r), None);
            for_each_half(|pool| {
                let arithmetic = pool.half_isa().is_arithmetic();
                let ends = Ends { input, residual, output };
                let (mut out, mut scratch) = (vec![f32::NAN; m * n], vec![f32::NAN; scratch_len_f16(m * k, m * n, ends)]);
                let from = if input && arithmetic { &halves } else { &x };
                let added = if residual && arithmetic { &r_halves } else { &r };
                let (bias, added) = (Some(&bias[..]), add.then_some(&added[..]));
                let epilogue = Epilogue { bias, residual: added, activation: act, ..Epilogue::default() };
                gemm_f16(pool, from, k, &packed, n, epilogue, ends, &mut scratch, &mut out);
                let (out, is_halves) = read(&out);
                assert!(arithmetic || !is_halves);
                for (i, found) in out.iter().enumerate() {
                    let terms = (0..k).map(|j| f64::from(x[i / n * k + j]) * f64::from(weights[j * n + i % n]));
                    let size: f64 = terms.clone().map(f64::abs).sum();
                    let added = if add { f64::from(r[i]) } else { 0.0 };
                    let expected = terms.sum::<f64>() + f64::from(bias.unwrap()[i % n]) + added;
                    let error = (f64::from(*found) - activation(act, expected)).abs();
                    let limit = if arithmetic { 6e-3 } else { 2e-5 };
                    assert!(error <= limit * (1.0 + size + f64::from(scale)), "{pool:?}, {i}: off by {error}, kept {is_halves}");
                }
                // The same bits on any number of threads.
                if arithmetic {
                    let first = first.get_or_insert_with(|| out.clone());
                    assert!(first.iter().zip(&out).all(|(a, b)| a.to_bits() == b.to_bits()), "{pool:?}");
                }
            });
        }
    }

    /// Results beyond the largest half, and such as halves have no bits for, are floats; all others halves.
    #[test]
    fn results_are_floats_where_halves_will_not_do() {
        for (size, weight, act, expected) in [
            (1.0, 1.0, Activation::Identity, true),
            (1.0, 1.0, Activation::HardSwish, true),
            (60_000.0, 2.0, Activation::Identity, false),
            (60_000.0, -2.0, Activation::Identity, false),
            (60_000.0, 2.0, Activation::HardSwish, false),
            (60_000.0, 2.0, Activation::Clamp { low: 0.0, high: 6.0 }, false),
            (60_000.0, -2.0, Activation::Clamp { low: 0.0, high: f32::INFINITY }, false),
            (10_000.0, 2.0, Activation::Clamp { low: 0.0, high: 6.0 }, true),
            (1e30, 1.0, Activation::Identity, false),
            (1e-6, 1.0, Activation::Identity, false),
            (1e-6, -1.0, Activation::HardSwish, false),
            (f32::NAN, 1.0, Activation::Identity, false),
        ] {
            let x = [size; 8];
            let packed = pack_f16(2, 4, |_, _| weight).unwrap();
            for_each_half(|pool| {
                let (mut out, mut scratch) = ([0.0; 16], [0.0; 4]);
                let epilogue = Epilogue { activation: act, ..Epilogue::default() };
                let ends = Ends { output: true, ..Ends::default() };
                gemm_f16(pool, &x, 2, &packed, 4, epilogue, ends, &mut scratch, &mut out);
                let (found, is_halves) = read(&out);
                assert_eq!(is_halves, expected && pool.half_isa().is_arithmetic(), "{size} {weight} {act:?}");
                let sum = activation(act, f64::from(size) * f64::from(weight) * 2.0) as f32;
                let right = |found: &f32| (found - sum).abs() <= 2e-3 * sum.abs() || found.is_nan() && sum.is_nan();
                assert!(found.iter().all(right), "{found:?} instead of {sum}");
            });
        }
    }
}
