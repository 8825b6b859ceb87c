//! int8 GEMM: bytes times signed bytes in exact 32-bit sums, then one written requantisation to f32.
//!
//! Rows of A are f32 quantised to bytes with a zero point ([`quantise`]); weights are signed bytes with one scale per
//! column ([`pack_i8`]). A result is `activation(fma(sum as f32, scale, bias) + residual)`, each step rounded once and in
//! this order. Integer sums do not depend on order, so every kernel gives the same bits, on every instruction set.

#[cfg(target_arch = "aarch64")]
mod neon;
#[cfg(target_arch = "aarch64")]
mod neon_dot;
#[cfg(target_arch = "aarch64")]
mod neon_quantise;
mod pack;
mod plain;
#[cfg(test)]
mod tests;
#[cfg(target_arch = "x86_64")]
mod x86;

use std::ops::Range;

pub use self::pack::{PackedI8, pack_exact_i8, pack_i8};
use super::epilogue::{Accumulators, NR};
use super::family::{KernelFamily, Reduction};
use super::micro_kernel::{MicroKernel, Tile};
use super::operands::Operands;
use super::{Columns, Direct, Epilogue, Fragments, Prefetch, Split, gemm_body, gemm_rows, store};
use crate::dispatch::dispatch;
use crate::dispatch::int8::{self, dispatch_dot};
use crate::simd::Simd;
use crate::sink::Sink;
use crate::thread_pool::ThreadPool;

/// Entries of a column that one lane of a dot-product instruction takes.
const GROUP: usize = KernelFamily::I8.group();
const _: () = assert!(KernelFamily::I8.nr() == NR, "f32 accumulators have as many columns");
/// Columns that are computed where no more of a panel exist, by kernels that can.
const HALF: usize = NR / 2;
/// Rows of the tallest tile of any instruction set.
const MOST: usize = 6;
/// The largest weight: -128 is left out, so that weights are symmetric.
const LARGEST: f32 = 127.0;
/// The longest reduction whose sum, 255 x 127 an entry, fits 32 bits.
pub(crate) const LONGEST: usize = i32::MAX as usize / (255 * 127);

/// Entries of a quantised row of so many f32: whole groups of four.
pub const fn padded_i8(reduction: usize) -> usize {
    reduction.next_multiple_of(GROUP)
}

/// How a sum of bytes times weights becomes f32 again.
#[derive(Clone, Copy, Debug)]
pub struct Rescale<'a> {
    /// The byte that stands for 0.
    pub zero_point: u8,
    /// For each column, the sum of its weights.
    pub column_sums: &'a [i32],
    /// For each column, the scale of the rows times the scale of its weights.
    pub scales: &'a [f32],
    /// Whether the weights need products that take more than [`pack_i8`] makes: [`PackedI8::wide`].
    pub wide: bool,
}

/// The micro-kernel's epilogue.
#[derive(Clone, Copy, Debug)]
pub(crate) struct I8Epilogue<'a> {
    rescale: Rescale<'a>,
    float: Epilogue<'a>,
}

/// What the columns of a panel begin with and are scaled by.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PanelRow {
    offset: [i32; NR],
    scale: [f32; NR],
    bias: [f32; NR],
}

/// The inner loop of the int8 micro-kernel for an instruction set.
pub(crate) trait DotKernel: Copy + Send + Sync + 'static {
    /// Vectors of the results.
    type Simd: Simd;
    /// Rows of a whole tile, at most 6.
    const MR: usize;
    /// Rows of a tile that are computed at once: fewer where registers are few, and the cost of a tile is shared all the same.
    const AT_ONCE: usize = Self::MR;
    /// Whether it can compute the first [`HALF`] columns of a panel alone.
    const HAS_HALVES: bool = false;
    /// How the bytes of A are read: as they are, or as signed bytes, by 128 less.
    const IS_SIGNED: bool;

    /// Vectors of the results.
    fn simd(self) -> Self::Simd;

    /// The sums of `M` rows of A and a panel of B, of its first `N` columns at least, each added to the column's offset, as f32, times its scale, plus its bias.
    fn results<const M: usize, const N: usize>(
        self,
        operands: &Operands<'_, u8, i8>,
        row: &PanelRow,
    ) -> Accumulators<Self::Simd, M>;

    /// Computes and stores tiles of `M` rows and at most `N` columns.
    #[inline(always)]
    fn run<const M: usize, const N: usize>(self, first: &Tile<'_, '_, Dot<Self>>, count: usize, out: &mut Sink<'_>) {
        run::<Self, M, N>(self, first, count, out);
    }
}

/// The int8 micro-kernel of an instruction set.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dot<K>(K);

impl<K: DotKernel> MicroKernel for Dot<K> {
    type Lhs = u8;
    type Rhs = i8;
    type Out = f32;
    type Row = PanelRow;
    type Epilogue<'a> = I8Epilogue<'a>;

    const MR: usize = K::MR;
    const FAMILY: KernelFamily = KernelFamily::I8;

    #[inline(always)]
    fn columns<'a>(epilogue: Self::Epilogue<'a>, columns: Range<usize>) -> Self::Epilogue<'a> {
        let I8Epilogue { rescale, float } = epilogue;
        let (column_sums, scales) = (&rescale.column_sums[columns.clone()], &rescale.scales[columns.clone()]);
        let bias = float.bias.map(|bias| &bias[columns]);
        I8Epilogue { rescale: Rescale { column_sums, scales, ..rescale }, float: Epilogue { bias, ..float } }
    }

    #[inline(always)]
    fn split_epilogue<'a>(self, epilogue: Self::Epilogue<'a>) -> (Self::Epilogue<'a>, bool) {
        let (float, is_unfinished) = epilogue.float.split(false);
        (I8Epilogue { float, ..epilogue }, is_unfinished)
    }

    #[inline(always)]
    fn start(self, epilogue: I8Epilogue<'_>, columns: Range<usize>) -> PanelRow {
        let I8Epilogue { rescale, float } = epilogue;
        let zero_point = i32::from(rescale.zero_point) - if K::IS_SIGNED { 128 } else { 0 };
        let mut row = PanelRow { offset: [0; NR], scale: [0.0; NR], bias: [0.0; NR] };
        for (offset, sum) in row.offset.iter_mut().zip(&rescale.column_sums[columns.clone()]) {
            // Sums of a file that lies wrap; those of real weights do not.
            *offset = sum.wrapping_mul(-zero_point);
        }
        row.scale[..columns.len()].copy_from_slice(&rescale.scales[columns.clone()]);
        if let Some(bias) = float.bias {
            row.bias[..columns.len()].copy_from_slice(&bias[columns]);
        }
        row
    }

    #[inline(always)]
    fn tiles(self, first: &Tile<'_, '_, Dot<K>>, count: usize, out: &mut Sink<'_>) {
        if K::AT_ONCE == K::MR {
            return self.rows(first, count, out);
        }
        // The rows of all tiles, as many at once as the kernel takes, and what is left.
        let rows = count * first.rows;
        let (count, rest) = (rows / K::AT_ONCE, rows % K::AT_ONCE);
        let mut some = Tile { rows: K::AT_ONCE, ..*first };
        if count > 0 {
            self.rows(&some, count, out);
            some.operands.advance(count * some.rows);
            some.at += count * some.rows * some.stride;
        }
        if rest > 0 {
            some.rows = rest;
            self.rows(&some, 1, out);
        }
    }

    #[inline(always)]
    fn finish_rows(self, epilogue: I8Epilogue<'_>, at: usize, columns: usize, rows: &mut [f32]) {
        self.0.simd().activate_row(epilogue.float.activation, rows);
        self.0.simd().apply_stages(epilogue.float.then, at, columns, rows);
    }
}

impl<K: DotKernel> Dot<K> {
    /// Computes and stores tiles of at most [`DotKernel::AT_ONCE`] rows.
    #[inline(always)]
    fn rows(self, first: &Tile<'_, '_, Dot<K>>, count: usize, out: &mut Sink<'_>) {
        match first.rows {
            1 => columns::<K, 1>(self.0, first, count, out),
            2 => columns::<K, 2>(self.0, first, count, out),
            3 if K::AT_ONCE >= 3 => columns::<K, 3>(self.0, first, count, out),
            4 if K::AT_ONCE >= 4 => columns::<K, 4>(self.0, first, count, out),
            5 if K::AT_ONCE >= 5 => columns::<K, 5>(self.0, first, count, out),
            6 if K::AT_ONCE >= 6 => columns::<K, 6>(self.0, first, count, out),
            rows => unreachable!("{rows} rows at once, of {}", K::AT_ONCE),
        }
    }
}

#[inline(always)]
fn columns<K: DotKernel, const M: usize>(kernel: K, first: &Tile<'_, '_, Dot<K>>, count: usize, out: &mut Sink<'_>) {
    const { assert!(M <= MOST) };
    match first.width {
        ..=HALF if K::HAS_HALVES => kernel.run::<M, HALF>(first, count, out),
        _ => kernel.run::<M, NR>(first, count, out),
    }
}

#[inline(always)]
fn run<K: DotKernel, const M: usize, const N: usize>(
    kernel: K,
    first: &Tile<'_, '_, Dot<K>>,
    count: usize,
    out: &mut Sink<'_>,
) {
    let mut tile = *first;
    if first.width == N {
        for _ in 0..count {
            whole::<K, M, N>(kernel, &tile, out);
            tile.advance();
        }
    } else {
        for _ in 0..count {
            some_columns::<K, M, N>(kernel, &tile, out);
            tile.advance();
        }
    }
}

/// A tile of `N` columns.
#[inline(always)]
fn whole<K: DotKernel, const M: usize, const N: usize>(kernel: K, tile: &Tile<'_, '_, Dot<K>>, out: &mut Sink<'_>) {
    let (float, at, stride) = (tile.epilogue.float, tile.at, tile.stride);
    let results = kernel.results::<M, N>(&tile.operands, tile.start);
    float.finish::<K::Simd, M, N>(kernel.simd(), results, at, stride, out);
}

/// A tile of fewer than `N` columns: finished beside as if all existed. Apart from [`whole`], since results that either of two
/// ends may need are kept in memory for both.
#[inline(always)]
fn some_columns<K: DotKernel, const M: usize, const N: usize>(
    kernel: K,
    tile: &Tile<'_, '_, Dot<K>>,
    out: &mut Sink<'_>,
) {
    let (float, width) = (tile.epilogue.float, tile.width);
    let row = |i: usize| tile.at + i * tile.stride;
    let (mut whole, mut added) = ([[0.0; N]; MOST], [[0.0; N]; MOST]);
    if let Some(residual) = float.residual {
        for (i, added) in added.iter_mut().enumerate().take(M) {
            added[..width].copy_from_slice(&residual[row(i)..][..width]);
        }
    }
    let beside = Epilogue { residual: float.residual.map(|_| added.as_flattened()), ..float };
    let results = kernel.results::<M, N>(&tile.operands, tile.start);
    beside.finish::<K::Simd, M, N>(kernel.simd(), results, 0, N, &mut Sink::new(whole.as_flattened_mut()));
    for (i, whole) in whole.iter().enumerate().take(M) {
        store(out.entries(row(i), width), whole);
    }
}

#[inline(always)]
fn i8_gemm_body<K: DotKernel>(
    kernel: K,
    x: &[u8],
    reduction: usize,
    packed: &[i8],
    to: Columns,
    epilogue: I8Epilogue<'_>,
    out: Sink<'_>,
) {
    gemm_body(Direct { kernel: Dot(kernel), packed, epilogue }, x, reduction, to, out);
}

dispatch_dot! {
    fn i8_gemm(x: &[u8], reduction: usize, packed: &[i8], to: Columns, epilogue: I8Epilogue<'_>, out: Sink<'_>) = i8_gemm_body;
}

#[inline(always)]
fn i8_rows_body<K: DotKernel>(
    kernel: K,
    a: Fragments<'_, u8>,
    packed: &[i8],
    to: Columns,
    (rescale, float): (Rescale<'_>, Epilogue<'_>),
    prefetch: Prefetch,
    out: Sink<'_>,
) {
    let epilogue = Dot::<K>::columns(I8Epilogue { rescale, float }, to.offset..to.offset + to.columns);
    gemm_rows(Dot(kernel), a, packed, to, epilogue, prefetch, out);
}

dispatch_dot! {
    /// [`gemm_rows`] of the int8 micro-kernel; the epilogue is that of all columns of C.
    pub(crate) fn i8_rows(a: Fragments<'_, u8>, packed: &[i8], to: Columns, epilogue: (Rescale<'_>, Epilogue<'_>), prefetch: Prefetch, out: Sink<'_>) = i8_rows_body;
}

/// Adding it rounds to the nearest integer, to even where two are as near, and leaves that integer in the low bits.
const ROUND: f32 = 12_582_912.0;

/// `clamp(round(x * inverse) + zero_point, 0, 255) ^ flip`; NaN becomes the lowest byte.
#[inline(always)]
fn byte(x: f32, (inverse, zero_point): (f32, u8), flip: u8) -> u8 {
    let (low, high) = (-f32::from(zero_point), f32::from(255 - zero_point));
    let scaled = x * inverse;
    let raised = if scaled > low { scaled } else { low };
    let limited = if raised < high { raised } else { high };
    (((limited + ROUND).to_bits() as u8).wrapping_add(zero_point)) ^ flip
}

/// `bytes = clamp(round(x * inverse) + zero_point, 0, 255) ^ flip`, row by row; NaN becomes the lowest byte.
#[inline(always)]
fn quantise_body<S: Simd>(
    _simd: S,
    x: &[f32],
    reduction: usize,
    (inverse, zero_point): (f32, u8),
    flip: u8,
    bytes: &mut [u8],
) {
    let byte = |x| byte(x, (inverse, zero_point), flip);
    let padded = padded_i8(reduction);
    if padded == reduction {
        bytes.iter_mut().zip(x).for_each(|(byte_, x)| *byte_ = byte(*x));
        return;
    }
    for (bytes, x) in bytes.chunks_exact_mut(padded).zip(x.chunks_exact(reduction)) {
        bytes.iter_mut().zip(x).for_each(|(byte_, x)| *byte_ = byte(*x));
        // They meet weights that are 0; written, so that nothing depends on what was there.
        bytes[reduction..].fill(0);
    }
}

dispatch! {
    fn quantise_rows(x: &[f32], reduction: usize, scheme: (f32, u8), flip: u8, bytes: &mut [u8]) = quantise_body;
}

/// Quantises rows of `reduction` entries to `bytes`, each row padded to [`padded_i8`] entries:
/// `clamp(round(x / scale) + zero_point, 0, 255)`, rounded to even, NaN as the lowest byte. On instruction sets that
/// multiply signed bytes the result is 128 less, so it is good for [`gemm_i8`] on the same pool only.
///
/// # Panics
/// `bytes` is shorter than the rows need.
pub fn quantise(pool: &mut ThreadPool, x: &[f32], reduction: usize, scale: f32, zero_point: u8, bytes: &mut [u8]) {
    let (rows, padded) = (x.len() / reduction, padded_i8(reduction));
    let parts = pool.parts(x.len(), rows);
    let flip = if pool.dot().is_signed() { 0x80 } else { 0 };
    let (token, sink) = (pool.token(), Sink::new(&mut bytes[..rows * padded]));
    pool.run(parts, &|part| {
        let (from, until) = (part * rows / parts, (part + 1) * rows / parts);
        // SAFETY: each part writes its own rows.
        let mut bytes = unsafe { sink.share() };
        let bytes = bytes.entries(from * padded, (until - from) * padded);
        let (x, scheme) = (&x[from * reduction..until * reduction], (1.0 / scale, zero_point));
        #[cfg(target_arch = "aarch64")]
        if flip != 0 {
            return neon_quantise::rows(x, reduction, padded, scheme, bytes);
        }
        quantise_rows(token, x, reduction, scheme, flip, bytes);
    });
}

/// `out = activation((bytes - zero point) * weights * scales + bias + residual)`: `bytes` are rows of `reduction` entries
/// from [`quantise`] on the same pool, `packed` the weights from [`pack_i8`], `out` row-major with one entry per scale in
/// a row. Sums are exact.
///
/// # Panics
/// `reduction` is longer than 66,311 entries, whose sums might not fit 32 bits, or a slice is too short.
///
/// ```
/// use dyn_perceiver_kernels::gemm::{Epilogue, KernelFamily, Reduction, Rescale, gemm_i8, pack_i8, quantise};
/// use dyn_perceiver_kernels::thread_pool::ThreadPool;
///
/// // Two rows of four entries, one column of weights 0.5, 1, 0, -1.
/// let (x, weights) = ([1.0, 2.0, 3.0, 4.0, -1.0, 0.0, 1.0, 0.0], [0.5, 1.0, 0.0, -1.0]);
/// let packed = pack_i8(Reduction::whole(4), 1, |k, _| weights[k]);
/// let (mut bytes, mut out) = ([0; 8], [0.0; 2]);
/// let pool = &mut ThreadPool::single();
/// // Bytes 0 to 255 stand for -1 to 4.1.
/// let (scale, zero_point) = (0.02, 50);
/// quantise(pool, &x, 4, scale, zero_point, &mut bytes);
/// let scales: Vec<f32> = packed.scales.iter().map(|weights| scale * weights).collect();
/// let rescale = Rescale { zero_point, column_sums: &packed.column_sums, scales: &scales, wide: packed.wide };
/// gemm_i8(pool, &bytes, 4, &packed.weights, rescale, Epilogue::default(), &mut out);
/// assert!((out[0] - -1.5).abs() < 0.03 && (out[1] - -0.5).abs() < 0.03, "{out:?}");
/// ```
pub fn gemm_i8(
    pool: &mut ThreadPool,
    bytes: &[u8],
    reduction: usize,
    packed: &[i8],
    rescale: Rescale<'_>,
    epilogue: Epilogue<'_>,
    out: &mut [f32],
) {
    assert!(reduction <= LONGEST, "a reduction of {reduction} entries");
    assert_eq!(rescale.scales.len(), rescale.column_sums.len(), "columns");
    let padded = padded_i8(reduction);
    let (token, split) =
        (pool.dot().taking(rescale.wide), Split { reduction: Reduction::whole(padded), columns: rescale.scales.len() });
    let epilogue = I8Epilogue { rescale, float: epilogue };
    split.run::<Dot<int8::Plain>>(pool, bytes, packed, epilogue, out, &|x, packed, to, epilogue, out| {
        i8_gemm(token, x, padded, packed, to, epilogue, out);
    });
}
