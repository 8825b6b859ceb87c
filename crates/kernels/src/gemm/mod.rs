//! GEMM: C = epilogue(A x B), with B packed beforehand into panels of NR columns and A read where it lies.
//!
//! A micro-kernel (`MicroKernel`) computes MR x NR tiles; this module is the driver around it: cache blocking (MC),
//! panels, prefetch and threads. The epilogue (bias, residual, activation) is fused: it is applied to the accumulators.
//! A row of A may be a list of fragments, so that an NHWC convolution is an implicit GEMM without an im2col buffer.

mod blocks;
mod epilogue;
pub(crate) mod f16;
mod f32;
#[cfg(target_arch = "x86_64")]
mod f32_avx512;
#[cfg(all(target_arch = "aarch64", not(miri)))]
mod f32_neon;
mod family;
mod i8;
mod micro_kernel;
#[cfg(target_arch = "aarch64")]
#[cfg_attr(miri, allow(dead_code, reason = "Miri runs no assembly"))]
mod neon_loop;
mod operands;
mod prefetch;
#[cfg(test)]
mod tests;

use std::ops::Range;

use self::blocks::{Direct, Dispatched, gemm_body};
pub(crate) use self::epilogue::{Accumulators, start, vectors};
pub use self::epilogue::{Epilogue, NR};
pub use self::f16::{LARGEST_WEIGHT, gemm_f16, pack_f16, packed_len_f16, scratch_len_f16};
pub(crate) use self::f32::{F32, F32MicroKernel, MR};
pub use self::family::{Element, KernelFamily, Reduction, UnknownFamily};
pub(crate) use self::i8::i8_rows;
pub use self::i8::{PackedI8, Rescale, gemm_i8, pack_exact_i8, pack_i8, padded_i8, quantise};
pub(crate) use self::micro_kernel::{MicroKernel, Tile};
#[cfg(all(target_arch = "aarch64", not(miri)))]
pub(crate) use self::neon_loop::begin_f32;
pub use self::operands::{Fragments, Rows};
use self::operands::{Operands, TileRows};
pub(crate) use self::prefetch::Prefetch;
use crate::dispatch::dispatch_wide;
use crate::sink::Sink;
use crate::thread_pool::ThreadPool;

/// An MC x K cache block of A, sized to stay in L2 across the panels of B.
const MC_BYTES: usize = 128 * 1024;
/// Tiles of rows from which on several panels are multiplied at once.
const LEAST_TILES: usize = 4;
/// Rows of A whose fragments are listed at once.
pub(crate) const ROWS: usize = 16 * MR;

/// Length of the packed form of `reduction x columns` f32 weights.
pub fn packed_len(reduction: usize, columns: usize) -> usize {
    KernelFamily::F32.packed_len(Reduction::whole(reduction), columns)
}

/// Packs f32 weights (entry `(k, n)` given by `weight`) into panels of [`NR`] columns, each panel row-major.
///
/// # Panics
/// `packed` does not have [`packed_len`] entries.
pub fn pack(reduction: usize, columns: usize, weight: impl Fn(usize, usize) -> f32, packed: &mut [f32]) {
    KernelFamily::F32.pack(Reduction::whole(reduction), columns, weight, packed);
}

/// Multiplies column `n` of packed f32 weights by `scale(n)`.
pub fn scale_columns(packed: &mut [f32], reduction: usize, columns: usize, scale: impl Fn(usize) -> f32) {
    for (p, panel) in packed.chunks_exact_mut(reduction * NR).enumerate() {
        let scales: [f32; NR] = std::array::from_fn(|j| if p * NR + j < columns { scale(p * NR + j) } else { 0.0 });
        for row in panel.as_chunks_mut::<NR>().0 {
            row.iter_mut().zip(&scales).for_each(|(w, s)| *w *= s);
        }
    }
}

/// Where the rows of a product go: row `m` starts at `(first + m) * stride + offset` and has `columns` entries.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Columns {
    pub(crate) first: usize,
    pub(crate) stride: usize,
    pub(crate) offset: usize,
    pub(crate) columns: usize,
}

/// The driver: computes the rows of C that belong to the rows of `a`. What `prefetch` says is fetched meanwhile.
#[inline(always)]
pub(crate) fn gemm_rows<K: MicroKernel>(
    kernel: K,
    a: Fragments<'_, K::Lhs>,
    packed: &[K::Rhs],
    to: Columns,
    epilogue: K::Epilogue<'_>,
    prefetch: Prefetch,
    mut out: Sink<'_, K::Out>,
) {
    let Fragments { per_row, offset, len, .. } = a;
    let (nr, reduction) = (K::FAMILY.nr(), Reduction { fragments: per_row, len });
    let rows = a.count();
    if rows == 0 {
        return;
    }
    assert!(a.is_whole(), "a fragment of a row ends early");
    let (in_tile, is_unfinished) = kernel.split_epilogue(epilogue);
    let entries = reduction.entries();
    let most = (MC_BYTES / size_of::<K::Lhs>() / entries.max(1)).next_multiple_of(K::MR).max(K::MR);
    let (mut ahead, bytes) = match prefetch {
        Prefetch::NextPanel => (std::ptr::null(), 0),
        Prefetch::Memory { at, bytes } => (at, bytes),
    };
    let base = to.first * to.stride + to.offset;
    // Once for all tiles.
    out.tile(base, rows, to.stride, to.columns);
    for block in even(rows, most) {
        let tiles = block.len().div_ceil(K::MR);
        let panel_len = K::FAMILY.panel_len(reduction);
        // Few rows wait for the weights, and one stream of them comes faster than two.
        let most = if tiles < LEAST_TILES { 1 } else { K::PANELS };
        for (p, panel) in packed.chunks(most * panel_len).enumerate() {
            let column = p * most * nr;
            let panels = panel.len() / panel_len;
            let width = (panels * nr).min(to.columns - column);
            let start = kernel.start(epilogue, column..column + width);
            let height = match panels {
                1 if width <= nr / 2 => K::HALF_MR,
                1 => K::NARROW_MR,
                _ => K::MR,
            };
            // Each tile asks for its share of what is to be fetched.
            let pace = if bytes == 0 {
                ahead = panel.as_ptr_range().end.cast();
                (nr * size_of::<K::Rhs>()).div_ceil(block.len().div_ceil(height))
            } else {
                bytes.div_ceil((rows.div_ceil(height) * packed.len() / nr).max(1))
            };
            // One for all tiles of the panels: what they have in common is written once.
            let share = pace * entries * panels;
            let mut row = block.start;
            let rows = a.tile(row..row);
            // One for all tiles of the panels: what they have in common is written once.
            let mut tile = Tile {
                operands: Operands { rows, per_row, offset, len, panel, ahead, pace, share },
                start: &start,
                rows: 0,
                width,
                at: 0,
                stride: to.stride,
                epilogue: in_tile,
            };
            for (count, height) in heights(block.len(), height) {
                tile.operands.rows = a.tile(row..row + count * height);
                (tile.rows, tile.at) = (height, base + row * to.stride + column);
                kernel.tiles(&tile, count, &mut out);
                tile.operands.ahead = tile.operands.ahead.wrapping_add(count * share);
                row += count * height;
            }
            ahead = tile.operands.ahead;
        }
        if is_unfinished {
            // Rows that lie side by side are one.
            let (rows, len) =
                if to.columns == to.stride { (1, block.len() * to.columns) } else { (block.len(), to.columns) };
            for row in 0..rows {
                let at = base + (block.start + row) * to.stride;
                kernel.finish_rows(epilogue, at, to.stride, out.entries(at, len));
            }
        }
    }
}

/// Cuts `0..len` into the fewest ranges of at most `most`, as even as can be: seven rows are better done as four and three
/// than as six and one, which leaves the arithmetic units waiting.
#[inline(always)]
pub(crate) fn even(len: usize, most: usize) -> impl Iterator<Item = Range<usize>> {
    let mut start = 0;
    heights(len, most).flat_map(|(count, height)| std::iter::repeat_n(height, count)).map(move |height| {
        start += height;
        start - height..start
    })
}

/// As [`even`], as counts of ranges of the same length, the longer ones first.
#[inline(always)]
fn heights(len: usize, most: usize) -> impl Iterator<Item = (usize, usize)> + Clone {
    let parts = len.div_ceil(most).max(1);
    let (size, longer) = (len / parts, len % parts);
    [(longer, size + 1), (parts - longer, size)].into_iter().filter(|(count, _)| *count > 0)
}

/// Stores the first of `values`, fewer than there are: in two moves that overlap, where a call of `memcpy` takes longer
/// than a short product.
#[inline(always)]
pub(crate) fn store(out: &mut [f32], values: &[f32]) {
    let width = out.len();
    if width >= 8 {
        out[..8].copy_from_slice(&values[..8]);
        out[width - 8..].copy_from_slice(&values[width - 8..width]);
    } else if width >= 4 {
        out[..4].copy_from_slice(&values[..4]);
        out[width - 4..].copy_from_slice(&values[width - 4..width]);
    } else {
        for (out, value) in out.iter_mut().zip(&values[..width.min(3)]) {
            *out = *value;
        }
    }
}

#[inline(always)]
fn f32_rows_body<S: F32MicroKernel>(
    simd: S,
    a: Fragments<'_, f32>,
    packed: &[f32],
    to: Columns,
    epilogue: Epilogue<'_>,
    prefetch: Prefetch,
    out: Sink<'_>,
) {
    gemm_rows(F32(simd), a, packed, to, epilogue, prefetch, out);
}

dispatch_wide! {
    /// [`gemm_rows`] of the f32 micro-kernel.
    pub(crate) fn f32_rows(a: Fragments<'_, f32>, packed: &[f32], to: Columns, epilogue: Epilogue<'_>, prefetch: Prefetch, out: Sink<'_>) = f32_rows_body;
}

/// The driver for groups: group `g` of the columns of C is that of the entries of `rows` times its own weights, without an
/// epilogue. What does not depend on the group is done once, since each may be a product of 16 x 16 weights.
#[inline(always)]
fn f32_groups_body<S: F32MicroKernel>(
    simd: S,
    rows: &[&[f32]],
    groups: usize,
    packed: &[f32],
    columns: usize,
    mut out: Sink<'_>,
) {
    let kernel = F32(simd);
    let Some(len) = rows.first().map(|row| row.len() / groups) else { return };
    assert!(rows.len() <= ROWS && rows.iter().all(|row| row.len() >= groups * len), "rows of {len} entries");
    let height = if columns <= NR { S::NARROW_MR } else { MR };
    let (tiles, count) = (heights(rows.len(), height), rows.len().div_ceil(height));
    let (pace, start) = ((NR * size_of::<f32>()).div_ceil(count), S::Start::default());
    // Once for all tiles.
    out.tile(0, rows.len(), groups * columns, groups * columns);
    for (g, packed) in packed.chunks_exact(packed_len(len, columns)).enumerate().take(groups) {
        for (p, panel) in packed.chunks(S::PANELS * len * NR).enumerate() {
            let (column, panels) = (p * S::PANELS * NR, panel.len() / (len * NR));
            let (mut ahead, share) = (panel.as_ptr_range().end.cast::<u8>(), pace * len * panels);
            let mut row = 0;
            for (count, height) in tiles.clone() {
                let list = TileRows::Listed(&rows[row..row + count * height]);
                let tile = Tile {
                    operands: Operands { rows: list, per_row: 1, offset: g * len, len, panel, ahead, pace, share },
                    start: &start,
                    rows: height,
                    width: (panels * NR).min(columns - column),
                    at: (row * groups + g) * columns + column,
                    stride: groups * columns,
                    epilogue: Epilogue::default(),
                };
                kernel.tiles(&tile, count, &mut out);
                ahead = ahead.wrapping_add(count * share);
                row += count * height;
            }
        }
    }
}

dispatch_wide! {
    /// The groups' products.
    pub(crate) fn f32_groups(rows: &[&[f32]], groups: usize, packed: &[f32], columns: usize, out: Sink<'_>) = f32_groups_body;
}

/// A GEMM cut into parts for the threads of a pool.
#[derive(Clone, Copy)]
struct Split {
    reduction: Reduction,
    columns: usize,
}

/// Computes one part of a GEMM: rows of A, panels of B, where the product goes, its epilogue, and C.
type Part<'a, K> = dyn Fn(
        &[<K as MicroKernel>::Lhs],
        &[<K as MicroKernel>::Rhs],
        Columns,
        <K as MicroKernel>::Epilogue<'_>,
        Sink<'_, <K as MicroKernel>::Out>,
    ) + Sync
    + 'a;

impl Split {
    /// Cuts the larger operand, so that no two threads read the same part of it.
    fn run<K: MicroKernel>(
        self,
        pool: &mut ThreadPool,
        x: &[K::Lhs],
        packed: &[K::Rhs],
        epilogue: K::Epilogue<'_>,
        out: &mut [K::Out],
        compute: &Part<'_, K>,
    ) {
        let Split { reduction, columns } = self;
        let (nr, entries, panel) = (K::FAMILY.nr(), reduction.entries(), K::FAMILY.panel_len(reduction));
        let (rows, panels) = (x.len() / entries, columns.div_ceil(nr));
        let operations = rows * entries * columns;
        let out = Sink::new(out);
        if size_of_val(packed) > size_of_val(x) {
            let parts = pool.parts(operations, panels);
            pool.run(parts, &|part| {
                let (from, until) = (part * panels / parts, (part + 1) * panels / parts);
                let (offset, end) = (from * nr, columns.min(until * nr));
                let to = Columns { first: 0, stride: columns, offset, columns: end - offset };
                let packed = &packed[from * panel..until * panel];
                // SAFETY: each part writes its own columns.
                compute(x, packed, to, K::columns(epilogue, offset..end), unsafe { out.share() });
            });
        } else {
            let tiles = rows.div_ceil(K::MR);
            let parts = pool.parts(operations, tiles);
            pool.run(parts, &|part| {
                let (from, until) = (part * tiles / parts * K::MR, rows.min((part + 1) * tiles / parts * K::MR));
                let to = Columns { first: from, stride: columns, offset: 0, columns };
                // SAFETY: each part writes its own rows.
                compute(&x[from * entries..until * entries], packed, to, epilogue, unsafe { out.share() });
            });
        }
    }
}

/// `out = activation(x * weights + bias + residual)`: `x` is row-major with rows of `reduction` entries, `packed` the
/// weights after [`pack`], `out` row-major with `columns` entries a row.
///
/// ```
/// use dyn_perceiver_kernels::gemm::{Epilogue, gemm, pack, packed_len};
/// use dyn_perceiver_kernels::thread_pool::ThreadPool;
///
/// let (x, weights) = ([1.0, 2.0, 3.0, 4.0], [[1.0, 0.0, 1.0], [0.0, 1.0, 1.0]]);
/// let mut packed = vec![0.0; packed_len(2, 3)];
/// pack(2, 3, |k, n| weights[k][n], &mut packed);
/// let mut out = [0.0; 6];
/// gemm(&mut ThreadPool::single(), &x, 2, &packed, 3, Epilogue::default(), &mut out);
/// assert_eq!(out, [1.0, 2.0, 3.0, 3.0, 4.0, 7.0]);
/// ```
pub fn gemm(
    pool: &mut ThreadPool,
    x: &[f32],
    reduction: usize,
    packed: &[f32],
    columns: usize,
    epilogue: Epilogue<'_>,
    out: &mut [f32],
) {
    let (token, split) = (pool.token(), Split { reduction: Reduction::whole(reduction), columns });
    split.run::<F32<crate::simd::Plain>>(pool, x, packed, epilogue, out, &|x, packed, to, epilogue, out| {
        gemm_body(Dispatched { token, packed, epilogue }, x, reduction, to, out);
    });
}
