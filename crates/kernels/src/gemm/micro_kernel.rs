//! The seam between the GEMM driver and its micro-kernels: element types, tile geometry (MR, NR) and packed layout
//! belong to the micro-kernel, cache blocking and threads to the driver.
//!
//! f32, f16 and int8 kernels differ in all of these, so nothing above this trait may assume 6 x 16 floats.

use std::ops::Range;

use super::KernelFamily;
use super::operands::Operands;
use crate::sink::Sink;

/// Computes MR x NR tiles of C from rows of A and packed panels of B. Implemented per instruction set; the driver is
/// compiled anew for each.
pub(crate) trait MicroKernel: Copy + 'static {
    /// Elements of A.
    type Lhs: Copy + Send + Sync;
    /// Elements of packed B.
    type Rhs: Copy + Send + Sync;
    /// Elements of C.
    type Out: Copy + Send;
    /// Accumulators of all columns: what each row of a tile begins with.
    type Row: Copy;
    /// What is done to accumulators before they are stored.
    type Epilogue<'a>: Copy + Send + Sync;

    /// Rows of a tile as wide as can be.
    const MR: usize;
    /// Panels that a tile is wide, at most.
    const PANELS: usize = 1;
    /// Rows of a tile that is one panel wide.
    const NARROW_MR: usize = Self::MR;
    /// Rows of a tile that is half a panel wide, or less.
    const HALF_MR: usize = Self::NARROW_MR;
    /// Packed layout of B; its NR is the columns of a panel.
    const FAMILY: KernelFamily;

    /// The epilogue of some columns of C, from that of all.
    fn columns<'a>(epilogue: Self::Epilogue<'a>, columns: Range<usize>) -> Self::Epilogue<'a>;

    /// What of the epilogue [`MicroKernel::tile`] does, and whether [`MicroKernel::finish_rows`] has to do more.
    #[inline(always)]
    fn split_epilogue<'a>(self, epilogue: Self::Epilogue<'a>) -> (Self::Epilogue<'a>, bool) {
        (epilogue, false)
    }

    /// What accumulators of some columns, at most those of a tile, begin with: the bias, or zeros.
    fn start(self, epilogue: Self::Epilogue<'_>, columns: Range<usize>) -> Self::Row;

    /// Computes and stores `count` tiles of equally many rows, no more than tiles of their width have, `first` and those below it. All are
    /// in C, as the driver has checked. Together, since a micro-kernel begins and ends with what they have in common: for products of
    /// short rows that is a good part of the work. Each is computed in a loop, and not by a closure: it may be called, compiled for the
    /// baseline of the target.
    fn tiles(self, first: &Tile<'_, '_, Self>, count: usize, out: &mut Sink<'_, Self::Out>);

    /// Does the rest of the epilogue to stored results: `at` is the place of the first in C, whose rows have `columns` entries. They
    /// are part of one row, or whole rows.
    #[inline(always)]
    fn finish_rows(self, _epilogue: Self::Epilogue<'_>, _at: usize, _columns: usize, _rows: &mut [Self::Out]) {}
}

/// One tile of C and what it is computed from.
#[derive(Clone, Copy)]
pub(crate) struct Tile<'a, 'e, K: MicroKernel> {
    /// Rows of A and the panels of B.
    pub(crate) operands: Operands<'a, K::Lhs, K::Rhs>,
    /// What each row of accumulators begins with.
    pub(crate) start: &'a K::Row,
    /// Rows of the tile, from 1 to all of its width's.
    pub(crate) rows: usize,
    /// Columns of the tile that exist, from 1 to all of its panels'.
    pub(crate) width: usize,
    /// Where in the output its first row starts.
    pub(crate) at: usize,
    /// Elements of the output from one row to the next.
    pub(crate) stride: usize,
    pub(crate) epilogue: K::Epilogue<'e>,
}

impl<K: MicroKernel> Tile<'_, '_, K> {
    /// Goes on to the tile below.
    #[inline(always)]
    pub(crate) fn advance(&mut self) {
        self.operands.advance(self.rows);
        self.at += self.rows * self.stride;
    }

    /// Calls `compute` with this tile and those below it, `count` in all. For NEON alone, whose code needs no features beyond what a closure
    /// is compiled for, and is shorter so than with a loop in the same function.
    #[cfg(target_arch = "aarch64")]
    #[inline(always)]
    pub(crate) fn each(mut self, count: usize, mut compute: impl FnMut(&Self)) {
        for left in (0..count).rev() {
            compute(&self);
            if left > 0 {
                self.advance();
            }
        }
    }
}
