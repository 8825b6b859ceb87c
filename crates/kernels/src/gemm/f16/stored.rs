//! Products whose results stay halves: sums, bias and activation of eight columns an instruction.

use std::arch::aarch64::{vdupq_n_u16, vld1q_u16, vmulq_n_f32, vst1q_u16};
use std::mem::MaybeUninit;
use std::ops::Range;

use super::products::{Sums, add_short, piece, put_piece};
use super::stored_epilogue::{StoredEpilogue, add_row, bias, finish, store};
use super::waiting::Waiting;
use super::{HALF, MOST_ROWS, NR, Operands, PIECE, SHORT, WIDE_ROWS};
use crate::dispatch::half::NeonFp16;
use crate::gemm::blocks::{gemm_by, long_blocks};
use crate::gemm::operands::TileRows;
use crate::gemm::{Columns, Direct, Fragments, KernelFamily, MicroKernel, Prefetch, Tile, gemm_body, gemm_rows};
use crate::halves::neon::{Extremes, add, eight};
use crate::sink::Sink;

/// Entries that are summed in halves alone.
const IN_HALVES: usize = 2 * PIECE;

/// Entries of a row of one fragment whose products are added one by one. With 32 the logits of a MobileNetV3 were off by 0.90 % of the
/// largest in place of 0.62 %.
const SHORT_ROWS: usize = 16;

/// The micro-kernel. `IS_SHORT` is for rows of few entries, whose products are added one by one: more rows have room in registers.
#[derive(Clone, Copy)]
pub(super) struct Stored<const IS_SHORT: bool>(NeonFp16);

impl<const IS_SHORT: bool> MicroKernel for Stored<IS_SHORT> {
    type Lhs = u16;
    type Rhs = u16;
    type Out = u16;
    /// The bias.
    type Row = [u16; NR];
    type Epilogue<'a> = StoredEpilogue<'a>;

    const MR: usize = if IS_SHORT { MOST_ROWS } else { WIDE_ROWS };
    const HALF_MR: usize = MOST_ROWS;
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
    fn tiles(self, first: &Tile<'_, '_, Stored<IS_SHORT>>, count: usize, out: &mut Sink<'_, u16>) {
        // SAFETY: the token proves that the CPU has what the functions are compiled for.
        unsafe {
            match (first.width > HALF, first.rows) {
                (true, 1) => run::<IS_SHORT, 1, NR>(first, count, out),
                (true, 2) => run::<IS_SHORT, 2, NR>(first, count, out),
                (true, 3) => run::<IS_SHORT, 3, NR>(first, count, out),
                (true, 4) => run::<IS_SHORT, 4, NR>(first, count, out),
                (true, 6) if IS_SHORT => run::<IS_SHORT, 6, NR>(first, count, out),
                (true, 7) if IS_SHORT => run::<IS_SHORT, 7, NR>(first, count, out),
                (true, 8) if IS_SHORT => run::<IS_SHORT, 8, NR>(first, count, out),
                (true, _) => run::<IS_SHORT, 5, NR>(first, count, out),
                (false, 1) => run::<IS_SHORT, 1, HALF>(first, count, out),
                (false, 2) => run::<IS_SHORT, 2, HALF>(first, count, out),
                (false, 3) => run::<IS_SHORT, 3, HALF>(first, count, out),
                (false, 4) => run::<IS_SHORT, 4, HALF>(first, count, out),
                (false, 5) => run::<IS_SHORT, 5, HALF>(first, count, out),
                (false, 6) => run::<IS_SHORT, 6, HALF>(first, count, out),
                (false, 7) => run::<IS_SHORT, 7, HALF>(first, count, out),
                (false, _) => run::<IS_SHORT, 8, HALF>(first, count, out),
            }
        }
    }
}

/// Computes tiles and stores them.
#[inline]
#[target_feature(enable = "neon,fp16")]
fn run<const IS_SHORT: bool, const M: usize, const N: usize>(
    first: &Tile<'_, '_, Stored<IS_SHORT>>,
    count: usize,
    out: &mut Sink<'_, u16>,
) {
    assert!(first.rows == M);
    let Operands { rows, per_row, offset, len, .. } = first.operands;
    if first.width < N {
        return partial::<IS_SHORT, M, N>(first, count, out);
    }
    match rows {
        TileRows::Spaced { at, step, .. }
            if per_row == 1 && (IS_SHORT || len <= IN_HALVES && first.epilogue.scale == 1.0) =>
        {
            plain::<IS_SHORT, M, N>(first, (at.wrapping_add(offset), step, len), count, out);
        }
        _ if IS_SHORT => fragments::<IS_SHORT, M, N>(first, count, out),
        _ => by_pieces::<IS_SHORT, M, N>(first, count, out),
    }
}

/// Tiles of whole width, of rows at equal distances, whose sums never leave the registers. A function of its own, without what others need:
/// among that the compiler keeps pointers and sums in memory.
#[inline(never)]
#[target_feature(enable = "neon,fp16")]
fn plain<const IS_SHORT: bool, const M: usize, const N: usize>(
    first: &Tile<'_, '_, Stored<IS_SHORT>>,
    (mut at, step, len): (*const u16, usize, usize),
    count: usize,
    out: &mut Sink<'_, u16>,
) {
    let Tile { start, stride, epilogue: StoredEpilogue { residual, activation, largest, .. }, .. } = *first;
    let panel = first.operands.panel;
    assert!(panel.len() >= len * NR);
    let (mut place, mut most) = (first.at, Extremes::none());
    for _ in 0..count {
        let (mut weights, mut rows) = (panel.as_ptr(), std::array::from_fn(|i| at.wrapping_add(i * step)));
        let bias = bias::<N>(start);
        let mut sums: Sums<M>;
        // SAFETY: this function is compiled for such a CPU; rows and the panel have `len` entries.
        unsafe {
            if IS_SHORT {
                sums = [bias; M];
                add_short::<M, N>(&mut sums, rows, &mut weights, len);
            } else {
                sums = if len <= PIECE {
                    piece::<M, N>(&mut rows, &mut weights, len)
                } else {
                    two_pieces::<M, N>(&mut rows, &mut weights, len)
                };
                for sums in &mut sums {
                    add_row::<N>(sums, bias);
                }
            }
        }
        // SAFETY: as above.
        unsafe {
            residual.add::<M, N>(&mut sums, place, stride);
            finish::<M, N>(&mut sums, activation, &mut most);
        }
        store::<M, N>(&sums, place, stride, out);
        at = at.wrapping_add(M * step);
        place += M * stride;
    }
    most.raise(largest);
}

/// The sums of two pieces, each for itself and then together: that is rounded once, as if it were made in f32 and stored as a half. The first
/// waits in memory, since the loop over the second takes all registers.
///
/// # Safety
/// As for [`piece`].
#[inline(always)]
unsafe fn two_pieces<const M: usize, const N: usize>(
    rows: &mut [*const u16; M],
    weights: &mut *const u16,
    len: usize,
) -> Sums<M> {
    let mut first = MaybeUninit::<[[u16; N]; M]>::uninit();
    // SAFETY: by the caller's promise; M rows of N halves are written, and then read.
    unsafe {
        put_piece::<M, N>(rows, weights, PIECE, first.as_mut_ptr().cast());
        let mut sums = piece::<M, N>(rows, weights, len - PIECE);
        let from: *const u16 = first.as_ptr().cast();
        for (i, row) in sums.iter_mut().enumerate() {
            for (v, sum) in row.iter_mut().enumerate().take(const { N / 8 }) {
                *sum = add(*sum, vld1q_u16(from.add(i * N + 8 * v)));
            }
        }
        sums
    }
}

/// As [`plain`], of short rows of fragments.
#[inline(never)]
#[target_feature(enable = "neon,fp16")]
fn fragments<const IS_SHORT: bool, const M: usize, const N: usize>(
    first: &Tile<'_, '_, Stored<IS_SHORT>>,
    count: usize,
    out: &mut Sink<'_, u16>,
) {
    let StoredEpilogue { residual, activation, largest, .. } = first.epilogue;
    let (mut tile, mut most) = (*first, Extremes::none());
    for left in (0..count).rev() {
        // SAFETY: this function is compiled for such a CPU.
        unsafe {
            let mut sums = short::<M, N>(&tile.operands, tile.start);
            residual.add::<M, N>(&mut sums, tile.at, tile.stride);
            finish::<M, N>(&mut sums, activation, &mut most);
            store::<M, N>(&sums, tile.at, tile.stride, out);
        }
        if left > 0 {
            tile.advance();
        }
    }
    most.raise(largest);
}

/// The bias, and the products of short rows. Inlined always, since sums are to stay in registers.
///
/// # Safety
/// The CPU computes in halves.
#[inline(always)]
unsafe fn short<const M: usize, const N: usize>(operands: &Operands<'_, u16, u16>, start: &[u16; NR]) -> Sums<M> {
    let Operands { panel, per_row, len, .. } = *operands;
    assert!(panel.len() >= per_row * len * NR);
    // SAFETY: by the caller's promise.
    let (mut weights, mut sums) = (panel.as_ptr(), unsafe { [bias::<N>(start); M] });
    for t in 0..per_row {
        // SAFETY: as above; a fragment has `len` entries, and the panel as many rows of NR weights for it.
        unsafe { add_short::<M, N>(&mut sums, operands.fragments::<M>(t), &mut weights, len) };
    }
    sums
}

/// Tiles of whole width and rows of any length: the sums of pieces wait in memory.
#[inline(never)]
#[target_feature(enable = "neon,fp16")]
fn by_pieces<const IS_SHORT: bool, const M: usize, const N: usize>(
    first: &Tile<'_, '_, Stored<IS_SHORT>>,
    count: usize,
    out: &mut Sink<'_, u16>,
) {
    let StoredEpilogue { residual, activation, largest, .. } = first.epilogue;
    let (mut tile, mut most, mut waiting) = (*first, Extremes::none(), Waiting::<M, N>::none());
    for left in (0..count).rev() {
        // SAFETY: this function is compiled for such a CPU.
        unsafe {
            let mut sums = waited::<IS_SHORT, M, N>(&tile, &mut waiting);
            residual.add::<M, N>(&mut sums, tile.at, tile.stride);
            finish::<M, N>(&mut sums, activation, &mut most);
            store::<M, N>(&sums, tile.at, tile.stride, out);
        }
        if left > 0 {
            tile.advance();
        }
    }
    most.raise(largest);
}

/// The sums of a tile with their bias. Inlined always, since they are to stay in registers.
///
/// # Safety
/// The CPU computes in halves.
#[inline(always)]
unsafe fn waited<const IS_SHORT: bool, const M: usize, const N: usize>(
    tile: &Tile<'_, '_, Stored<IS_SHORT>>,
    waiting: &mut Waiting<M, N>,
) -> Sums<M> {
    let scale = tile.epilogue.scale;
    // SAFETY: by the caller's promise; every aarch64 target has NEON.
    unsafe {
        waiting.fill(&tile.operands);
        let mut sums: Sums<M> = [[vdupq_n_u16(0); NR / 8]; M];
        for (sums, floats) in sums.iter_mut().zip(waiting.floats()) {
            for (v, sum) in sums.iter_mut().enumerate().take(const { N / 8 }) {
                let (low, high) = (floats[2 * v], floats[2 * v + 1]);
                *sum = match scale == 1.0 {
                    true => eight(low, high),
                    false => eight(vmulq_n_f32(low, scale), vmulq_n_f32(high, scale)),
                };
            }
        }
        let bias = bias::<N>(tile.start);
        for sums in &mut sums {
            add_row::<N>(sums, bias);
        }
        sums
    }
}

/// Tiles of which some columns do not exist.
#[inline(never)]
#[target_feature(enable = "neon,fp16")]
fn partial<const IS_SHORT: bool, const M: usize, const N: usize>(
    first: &Tile<'_, '_, Stored<IS_SHORT>>,
    count: usize,
    out: &mut Sink<'_, u16>,
) {
    let StoredEpilogue { residual, activation, largest, .. } = first.epilogue;
    let (mut tile, mut most) = (*first, Extremes::none());
    for left in (0..count).rev() {
        let Tile { width, at, stride, .. } = tile;
        let sums = match IS_SHORT {
            // SAFETY: this function is compiled for such a CPU.
            true => unsafe { short::<M, N>(&tile.operands, tile.start) },
            // SAFETY: as above.
            false => unsafe { waited::<IS_SHORT, M, N>(&tile, &mut Waiting::none()) },
        };
        let mut sums = residual.add_some(sums, width, at, stride);
        // SAFETY: this function is compiled for such a CPU.
        unsafe { finish::<M, N>(&mut sums, activation, &mut most) };
        for (i, row) in sums.iter().enumerate() {
            let mut halves = [0; NR];
            for (v, sum) in row.iter().enumerate() {
                // SAFETY: eight of the sixteen halves are written.
                unsafe { vst1q_u16(halves.as_mut_ptr().add(8 * v), *sum) };
            }
            out.entries(at + i * stride, width).copy_from_slice(&halves[..width]);
        }
        if left > 0 {
            tile.advance();
        }
    }
    most.raise(largest);
}

/// Whether products are added one by one.
fn is_short(per_row: usize, len: usize, epilogue: &StoredEpilogue<'_>) -> bool {
    epilogue.scale == 1.0 && if per_row == 1 { len <= SHORT_ROWS } else { per_row * len <= SHORT }
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
        if is_short(1, reduction, &epilogue) {
            let rows = long_blocks::<u16>(reduction);
            gemm_by(Direct { kernel: Stored::<true>(kernel), packed, epilogue }, x, reduction, rows, to, out);
        } else {
            gemm_body(Direct { kernel: Stored::<false>(kernel), packed, epilogue }, x, reduction, to, out);
        }
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
        if is_short(a.per_row, a.len, &epilogue) {
            gemm_rows(Stored::<true>(kernel), a, packed, to, epilogue, prefetch, out);
        } else {
            gemm_rows(Stored::<false>(kernel), a, packed, to, epilogue, prefetch, out);
        }
    }
    // SAFETY: the token proves that the CPU has what the function is compiled for.
    unsafe { fp16(kernel, a, packed, to, epilogue, prefetch, out) }
}

#[cfg(test)]
mod tests;
