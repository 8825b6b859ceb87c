//! A product of a matrix A, block of rows by block of rows.

use super::micro_kernel::MicroKernel;
use super::operands::{Fragments, Rows};
use super::prefetch::Prefetch;
use super::{Columns, Epilogue, ROWS, even, f32_rows, gemm_rows};
use crate::dispatch::Token;
use crate::sink::Sink;

/// Rows of A of so many bytes stay in L1, across the panels of B.
#[cfg(target_arch = "aarch64")]
const A_IN_L1_BYTES: usize = 32 * 1024;

/// How many rows of A are multiplied block by block where a block's beginning costs as much as a tile of its rows: [`ROWS`] at least.
#[cfg(target_arch = "aarch64")]
pub(super) fn long_blocks<L>(reduction: usize) -> usize {
    (A_IN_L1_BYTES / size_of::<L>() / reduction.max(1) / ROWS).max(1) * ROWS
}

/// Packed B of at most so many bytes stays in L1; the next rows of C are prefetched instead of the next panel of B.
const B_IN_L1_BYTES: usize = 16 * 1024;

/// A product whose rows are computed block by block. A trait and not a closure: a closure would be compiled for the baseline
/// of the target.
pub(super) trait Blocks {
    type Lhs;
    type Out;

    /// Bytes of packed B.
    fn packed_bytes(&self) -> usize;

    /// As [`gemm_rows`].
    fn rows(&self, a: Fragments<'_, Self::Lhs>, to: Columns, prefetch: Prefetch, out: Sink<'_, Self::Out>);
}

/// Computed where it is called, in code for the instruction set of the kernel.
pub(super) struct Direct<'a, 'e, K: MicroKernel> {
    pub(super) kernel: K,
    pub(super) packed: &'a [K::Rhs],
    pub(super) epilogue: K::Epilogue<'e>,
}

impl<K: MicroKernel> Blocks for Direct<'_, '_, K> {
    type Lhs = K::Lhs;
    type Out = K::Out;

    #[inline(always)]
    fn packed_bytes(&self) -> usize {
        size_of_val(self.packed)
    }

    #[inline(always)]
    fn rows(&self, a: Fragments<'_, K::Lhs>, to: Columns, prefetch: Prefetch, out: Sink<'_, K::Out>) {
        gemm_rows(self.kernel, a, self.packed, to, self.epilogue, prefetch, out);
    }
}

/// A product in f32, dispatched block by block.
pub(super) struct Dispatched<'a> {
    pub(super) token: Token,
    pub(super) packed: &'a [f32],
    pub(super) epilogue: Epilogue<'a>,
}

impl Blocks for Dispatched<'_> {
    type Lhs = f32;
    type Out = f32;

    fn packed_bytes(&self) -> usize {
        size_of_val(self.packed)
    }

    fn rows(&self, a: Fragments<'_, f32>, to: Columns, prefetch: Prefetch, out: Sink<'_>) {
        f32_rows(self.token, a, self.packed, to, self.epilogue, prefetch, out);
    }
}

/// The driver for a matrix A: `x` is row-major with rows of `reduction` entries.
#[inline(always)]
pub(super) fn gemm_body<B: Blocks>(blocks: B, x: &[B::Lhs], reduction: usize, to: Columns, out: Sink<'_, B::Out>) {
    gemm_by(blocks, x, reduction, ROWS, to, out);
}

/// As [`gemm_body`], in blocks of so many rows.
#[inline(always)]
pub(super) fn gemm_by<B: Blocks>(
    blocks: B,
    x: &[B::Lhs],
    reduction: usize,
    most: usize,
    to: Columns,
    out: Sink<'_, B::Out>,
) {
    let end = (to.first + x.len() / reduction) * to.stride;
    for block in even(x.len() / reduction, most) {
        let x = &x[block.start * reduction..block.end * reduction];
        let prefetch = if blocks.packed_bytes() <= B_IN_L1_BYTES {
            let written = (to.first + block.end) * to.stride;
            Prefetch::elements(out.address(written), (ROWS * to.stride).min(end - written))
        } else {
            Prefetch::NextPanel
        };
        let rows = Rows::Spaced { values: x, count: block.len(), step: reduction, apart: 0 };
        let a = Fragments { rows, per_row: 1, offset: 0, len: reduction };
        let to = Columns { first: to.first + block.start, ..to };
        // SAFETY: one after another, and each writes its own rows.
        blocks.rows(a, to, prefetch, unsafe { out.share() });
    }
}
