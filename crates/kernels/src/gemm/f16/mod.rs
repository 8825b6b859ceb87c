//! GEMM with weights in half precision.
//!
//! Where a CPU multiplies halves (`fp16` of ARMv8.2), rows are halves, too, and sums are kept in halves for 64 entries at
//! most, those of sixteen entries each for itself, then added to f32 sums. Rows whose largest value is beyond 16 or below 1/4 are scaled
//! by a power of two: no sum can become infinite, however large the values are, and small ones keep their bits. Elsewhere weights are
//! widened and everything else is f32: half the memory is read, which pays for products of one row.

pub(crate) mod convert;
#[cfg(target_arch = "aarch64")]
mod neon;
#[cfg(target_arch = "aarch64")]
mod products;
#[cfg(target_arch = "aarch64")]
mod stored;
#[cfg(target_arch = "aarch64")]
mod stored_epilogue;
#[cfg(test)]
mod tests;
#[cfg(target_arch = "aarch64")]
mod waiting;
mod widen;

use std::ops::Range;
#[cfg(target_arch = "aarch64")]
use std::ops::RangeInclusive;
#[cfg(target_arch = "aarch64")]
use std::sync::atomic::{AtomicU16, Ordering};

#[cfg(target_arch = "aarch64")]
pub(crate) use self::neon::half_rows_fp16;
#[cfg(target_arch = "aarch64")]
pub(crate) use self::stored::half_rows_stored;
#[cfg(target_arch = "aarch64")]
pub(crate) use self::stored_epilogue::{Residual, StoredEpilogue};
use self::widen::half_gemm;
use super::epilogue::{Accumulators, NR};
use super::family::{KernelFamily, Reduction};
use super::micro_kernel::{MicroKernel, Tile};
use super::operands::Operands;
use super::{Epilogue, Split};
#[cfg(target_arch = "aarch64")]
use crate::dispatch::HalfToken;
use crate::dispatch::half;
use crate::halves::Ends;
#[cfg(target_arch = "aarch64")]
use crate::halves::{self, Form, Halves, Largest};
#[cfg(target_arch = "aarch64")]
use crate::memory::as_u16_mut;
use crate::simd::Simd;
use crate::sink::Sink;
use crate::thread_pool::ThreadPool;

/// Entries that are summed in halves.
#[cfg(target_arch = "aarch64")]
const PIECE: usize = 64;
/// Entries of short fragments that are, one after another.
#[cfg(target_arch = "aarch64")]
const SHORT: usize = 48;
/// Rows of a tile of a panel's columns: with the sums of a step, and what holds entries and weights, there is no room for more.
#[cfg(target_arch = "aarch64")]
const WIDE_ROWS: usize = 5;
/// Rows of one of half a panel, and of any whose products are added one after another.
#[cfg(target_arch = "aarch64")]
const MOST_ROWS: usize = 8;
/// The largest weight: with rows of at most 16, the sum of a piece stays below 65,504, the largest half.
pub const LARGEST_WEIGHT: f32 = 63.0;

/// Halves of rows that are multiplied without scaling: the largest magnitude is one of these, from 1/4 to 16.
#[cfg(target_arch = "aarch64")]
const AS_IS: RangeInclusive<u16> = 0x3400..=0x4C00;

/// Columns of halves that are computed where no more than half of a panel exists.
const HALF: usize = NR / 2;

/// What products are scaled by, and what is done to them then.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HalfEpilogue<'a> {
    pub(crate) scale: f32,
    pub(crate) float: Epilogue<'a>,
}

/// The inner loop for an instruction set.
pub(crate) trait HalfKernel: Copy + Send + Sync + 'static {
    /// Vectors of the results.
    type Simd: Simd;
    /// Entries of rows: f32, or halves.
    type Lhs: Copy + Send + Sync;
    /// Rows of a whole tile.
    const MR: usize = super::MR;
    /// Rows of one that is half a panel wide.
    const HALF_MR: usize = Self::MR;

    /// Vectors of the results.
    fn simd(self) -> Self::Simd;

    /// The sums of `M` rows of A and the first `N` columns of a panel of B.
    fn sums<const M: usize, const N: usize>(
        self,
        operands: &Operands<'_, Self::Lhs, u16>,
    ) -> Accumulators<Self::Simd, M>;

    /// Computes and stores tiles.
    #[inline(always)]
    fn tiles(self, first: &Tile<'_, '_, Half<Self>>, count: usize, out: &mut Sink<'_>) {
        if first.width > HALF {
            rows::<Self, NR>(self, first, count, out);
        } else {
            rows::<Self, HALF>(self, first, count, out);
        }
    }
}

/// The micro-kernel of an instruction set.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Half<K>(K);

impl<K: HalfKernel> MicroKernel for Half<K> {
    type Lhs = K::Lhs;
    type Rhs = u16;
    type Out = f32;
    type Row = [f32; NR];
    type Epilogue<'a> = HalfEpilogue<'a>;

    const MR: usize = K::MR;
    const HALF_MR: usize = K::HALF_MR;
    const FAMILY: KernelFamily = KernelFamily::F16;

    #[inline(always)]
    fn columns<'a>(epilogue: Self::Epilogue<'a>, columns: Range<usize>) -> Self::Epilogue<'a> {
        let bias = epilogue.float.bias.map(|bias| &bias[columns]);
        HalfEpilogue { float: Epilogue { bias, ..epilogue.float }, ..epilogue }
    }

    #[inline(always)]
    fn split_epilogue<'a>(self, epilogue: Self::Epilogue<'a>) -> (Self::Epilogue<'a>, bool) {
        let (float, is_unfinished) = epilogue.float.split(false);
        (HalfEpilogue { float, ..epilogue }, is_unfinished)
    }

    #[inline(always)]
    fn start(self, epilogue: HalfEpilogue<'_>, columns: Range<usize>) -> [f32; NR] {
        let mut row = [0.0; NR];
        if let Some(bias) = epilogue.float.bias {
            row[..columns.len()].copy_from_slice(&bias[columns]);
        }
        row
    }

    #[inline(always)]
    fn tiles(self, first: &Tile<'_, '_, Half<K>>, count: usize, out: &mut Sink<'_>) {
        self.0.tiles(first, count, out);
    }

    #[inline(always)]
    fn finish_rows(self, epilogue: HalfEpilogue<'_>, at: usize, columns: usize, rows: &mut [f32]) {
        self.0.simd().activate_row(epilogue.float.activation, rows);
        self.0.simd().apply_stages(epilogue.float.then, at, columns, rows);
    }
}

#[inline(always)]
fn rows<K: HalfKernel, const N: usize>(kernel: K, first: &Tile<'_, '_, Half<K>>, count: usize, out: &mut Sink<'_>) {
    match first.rows {
        1 => run::<K, 1, N>(kernel, first, count, out),
        2 => run::<K, 2, N>(kernel, first, count, out),
        3 => run::<K, 3, N>(kernel, first, count, out),
        4 => run::<K, 4, N>(kernel, first, count, out),
        5 => run::<K, 5, N>(kernel, first, count, out),
        _ => run::<K, { super::MR }, N>(kernel, first, count, out),
    }
}

#[inline(always)]
fn run<K: HalfKernel, const M: usize, const N: usize>(
    kernel: K,
    first: &Tile<'_, '_, Half<K>>,
    count: usize,
    out: &mut Sink<'_>,
) {
    let mut tile = *first;
    for _ in 0..count {
        one::<K, M, N>(kernel, &tile, out);
        tile.advance();
    }
}

#[inline(always)]
fn one<K: HalfKernel, const M: usize, const N: usize>(kernel: K, tile: &Tile<'_, '_, Half<K>>, out: &mut Sink<'_>) {
    let simd = kernel.simd();
    let HalfEpilogue { scale, float } = tile.epilogue;
    let scales = [scale; NR];
    let sums = kernel.sums::<M, N>(&tile.operands);
    let sums = match scale == 1.0 {
        true => float.add_bias::<K::Simd, M, N>(simd, sums, tile.start),
        false => float.rescale::<K::Simd, M, N>(simd, sums, &scales, tile.start),
    };
    if tile.width == N {
        float.finish::<K::Simd, M, N>(simd, sums, tile.at, tile.stride, out);
    } else {
        float.finish_some::<K::Simd, M, N>(simd, &sums, tile.width, tile.at, tile.stride, out);
    }
}

/// Floats of scratch memory that [`gemm_f16`] needs for so many entries of `x` and results.
pub fn scratch_len_f16(entries: usize, results: usize, ends: Ends) -> usize {
    entries.div_ceil(2) + if ends.residual { results } else { 0 }
}

/// Length of the packed form of `reduction x columns` weights.
pub fn packed_len_f16(reduction: usize, columns: usize) -> usize {
    KernelFamily::F16.packed_len(Reduction::whole(reduction), columns)
}

/// Packs weights, entry `(k, n)` given by `weight`, as halves; none where one is not finite or beyond [`LARGEST_WEIGHT`].
pub fn pack_f16(reduction: usize, columns: usize, weight: impl Fn(usize, usize) -> f32) -> Option<Vec<u16>> {
    let mut packed = vec![0; packed_len_f16(reduction, columns)];
    let mut fits = true;
    let half = |k: usize, n: usize| convert::from_f32(weight(k, n));
    KernelFamily::F16.pack(Reduction::whole(reduction), columns, half, &mut packed);
    packed.iter().for_each(|half| fits &= convert::to_f32(half & 0x7FFF) <= LARGEST_WEIGHT);
    fits.then_some(packed)
}

/// The power of two that brings all of `x` to at most 16, the largest above 8; 1 where that is not possible.
#[cfg(target_arch = "aarch64")]
fn scale_down(x: &[f32]) -> f32 {
    let largest = x.iter().map(|x| x.to_bits() & 0x7FFF_FFFF).max().unwrap_or(0);
    match largest >> 23 {
        // Infinities and NaN come out as such; zeros and the smallest numbers as zeros.
        255 | 0 => 1.0,
        exponent => f32::from_bits((257 - exponent.max(4)) << 23),
    }
}

/// Makes halves of `x`, by a power of two where the largest would be small, or too large for sums in halves. Returns what results have to
/// be multiplied by.
#[cfg(target_arch = "aarch64")]
fn narrow(pool: &mut ThreadPool, kernel: half::NeonFp16, x: &[f32], halves: &mut [u16]) -> f32 {
    let largest = AtomicU16::new(0);
    in_parts(pool, x, halves, &|x, halves| {
        largest.fetch_max(kernel.narrow_as_is(x, halves), Ordering::Relaxed);
    });
    if AS_IS.contains(&largest.into_inner()) {
        return 1.0;
    }
    let down = scale_down(x);
    in_parts(pool, x, halves, &|x, halves| kernel.narrow(x, down, halves));
    1.0 / down
}

/// Calls `convert` for parts of `x` and of where it goes.
#[cfg(target_arch = "aarch64")]
fn in_parts<T: Sync, U: Send>(
    pool: &mut ThreadPool,
    x: &[T],
    out: &mut [U],
    convert: &(dyn Fn(&[T], &mut [U]) + Sync),
) {
    let parts = pool.parts(x.len(), x.len());
    let sink = Sink::new(out);
    pool.run(parts, &|part| {
        let (from, until) = (part * x.len() / parts, (part + 1) * x.len() / parts);
        // SAFETY: each part writes its own entries.
        let mut out = unsafe { sink.share() };
        convert(&x[from..until], out.entries(from, until - from));
    });
}

/// Rows that are multiplied in halves, and what results have to be multiplied by. What is in `x` is taken as it is where it may be, else
/// put into `scratch`.
#[cfg(target_arch = "aarch64")]
pub(crate) fn rows_in_halves<'a>(
    pool: &mut ThreadPool,
    kernel: half::NeonFp16,
    x: Form<'a>,
    scratch: &'a mut [u16],
) -> (&'a [u16], f32) {
    match x {
        Form::Halves(Halves { values, largest }) if AS_IS.contains(&largest) || largest == 0 => (values, 1.0),
        Form::Halves(Halves { values, largest }) => {
            let scratch = &mut scratch[..values.len()];
            let down = scale_down(&[convert::to_f32(largest)]);
            in_parts(pool, values, scratch, &|x, halves| kernel.scale(x, down, halves));
            (scratch, 1.0 / down)
        }
        Form::Floats(x) => {
            let scratch = &mut scratch[..x.len()];
            let scale = narrow(pool, kernel, x, scratch);
            (scratch, scale)
        }
    }
}

/// `out = activation(x * weights + bias + residual)` with `packed` from [`pack_f16`], `x` and `out` as for
/// [`gemm`](super::gemm). Where halves are multiplied, `x` and the residual may be kept as such, and `out` is where it can be, as `ends`
/// tells: results that are have no stages and an activation that is not costly. `scratch` has [`scratch_len_f16`] floats.
///
/// # Panics
/// A slice is too short.
///
/// ```
/// use dyn_perceiver_kernels::gemm::{Epilogue, gemm_f16, pack_f16};
/// use dyn_perceiver_kernels::halves::Ends;
/// use dyn_perceiver_kernels::thread_pool::ThreadPool;
///
/// let (x, weights) = ([1.0, 2.0, 3.0, 4.0], [[1.0, 0.0, 1.0], [0.0, 1.0, 1.0]]);
/// let packed = pack_f16(2, 3, |k, n| weights[k][n]).expect("weights are small");
/// let (mut out, mut scratch) = ([0.0; 6], [0.0; 2]);
/// let (mut pool, epilogue) = (ThreadPool::single(), Epilogue::default());
/// gemm_f16(&mut pool, &x, 2, &packed, 3, epilogue, Ends::default(), &mut scratch, &mut out);
/// assert_eq!(out, [1.0, 2.0, 3.0, 3.0, 4.0, 7.0]);
/// ```
#[allow(clippy::too_many_arguments)]
pub fn gemm_f16(
    pool: &mut ThreadPool,
    x: &[f32],
    reduction: usize,
    packed: &[u16],
    columns: usize,
    epilogue: Epilogue<'_>,
    ends: Ends,
    scratch: &mut [f32],
    out: &mut [f32],
) {
    let (token, split) = (pool.half(), Split { reduction: Reduction::whole(reduction), columns });
    match token {
        #[cfg(target_arch = "aarch64")]
        HalfToken::NeonFp16(kernel) => {
            let (wide, halves) = scratch.split_at_mut(if ends.residual { out.len() } else { 0 });
            let form = |values, is_kept| if is_kept { Form::of(values) } else { Form::Floats(values) };
            let (halves, scale) = rows_in_halves(pool, kernel, form(x, ends.input), as_u16_mut(halves));
            let residual = epilogue.residual.map(|residual| form(residual, ends.residual));
            if ends.output && stored(pool, kernel, split, halves, packed, scale, (epilogue, residual), out) {
                return;
            }
            let residual = match residual {
                Some(Form::Halves(residual)) => {
                    in_parts(pool, residual.values, wide, &|halves, wide| kernel.widen(halves, wide));
                    Some(&*wide)
                }
                Some(Form::Floats(residual)) => Some(residual),
                None => None,
            };
            let epilogue = HalfEpilogue { scale, float: Epilogue { residual, ..epilogue } };
            split.run::<Half<half::NeonFp16>>(pool, halves, packed, epilogue, out, &|x, packed, to, epilogue, out| {
                neon::half_gemm_fp16(kernel, x, reduction, packed, to, epilogue, out);
            });
            if ends.output {
                halves::keep_floats(out);
            }
        }
        _ => {
            let _ = (scratch, ends);
            let epilogue = HalfEpilogue { scale: 1.0, float: epilogue };
            split.run::<Half<half::Plain>>(pool, x, packed, epilogue, out, &|x, packed, to, epilogue, out| {
                half_gemm(token, x, reduction, packed, to, epilogue, out);
            });
        }
    }
}

/// The product, kept as halves; whether they will do.
#[cfg(target_arch = "aarch64")]
#[allow(clippy::too_many_arguments)]
fn stored(
    pool: &mut ThreadPool,
    kernel: half::NeonFp16,
    split: Split,
    x: &[u16],
    packed: &[u16],
    scale: f32,
    (epilogue, residual): (Epilogue<'_>, Option<Form<'_>>),
    out: &mut [f32],
) -> bool {
    let Epilogue { bias, activation, then, .. } = epilogue;
    assert!(then.is_empty() && halves::has_halves(activation), "results are no halves");
    let Some(room) = halves::room(out) else { return false };
    let residual = match residual {
        Some(Form::Halves(residual)) => Residual::Halves(residual.values),
        Some(Form::Floats(residual)) => Residual::Floats(residual),
        None => Residual::Zeros,
    };
    let (largest, reduction) = (Largest::default(), split.reduction.entries());
    let epilogue = StoredEpilogue { scale, bias, residual, activation, largest: &largest };
    split.run::<stored::Stored<false>>(pool, x, packed, epilogue, room, &|x, packed, to, epilogue, out| {
        stored::half_gemm_stored(kernel, x, reduction, packed, to, epilogue, out);
    });
    halves::keep(out, largest.before(activation))
}
