//! Operands of a GEMM: rows of A, which is not packed, and packed panels of B.

use std::ops::Range;

/// Rows of A, each of fragments that lie apart in memory: that makes a convolution in NHWC layout an implicit
/// GEMM without an im2col buffer, since the fragments of an output pixel are the input pixels under the kernel.
#[derive(Clone, Copy, Debug)]
pub struct Fragments<'a, T> {
    /// Where they are.
    pub rows: Rows<'a, T>,
    /// Fragments of a row.
    pub per_row: usize,
    /// Where in its slice a fragment begins.
    pub offset: usize,
    /// Entries of a fragment.
    pub len: usize,
}

/// Where rows of A are.
#[derive(Clone, Copy, Debug)]
pub enum Rows<'a, T> {
    /// The slices of their fragments, row after row. A fragment is entries `offset..offset + len` of its slice: one group of
    /// channels of a pixel.
    Listed(&'a [&'a [T]]),
    /// Rows at equal distances: listing them would cost as much as a short product.
    Spaced {
        /// From the slice of the first fragment on.
        values: &'a [T],
        /// How many rows there are.
        count: usize,
        /// Elements from one row to the next.
        step: usize,
        /// Elements from one fragment of a row to the next.
        apart: usize,
    },
}

impl<'a, T> Fragments<'a, T> {
    /// How many rows there are.
    #[inline(always)]
    pub(super) fn count(&self) -> usize {
        match self.rows {
            Rows::Listed(list) => list.len() / self.per_row,
            Rows::Spaced { count, .. } => count,
        }
    }

    /// Whether every fragment has all its entries.
    #[inline(always)]
    pub(super) fn is_whole(&self) -> bool {
        let Some(least) = self.offset.checked_add(self.len) else { return false };
        match self.rows {
            Rows::Listed(list) => list.iter().all(|slice| slice.len() >= least),
            Rows::Spaced { count: 0, .. } => true,
            Rows::Spaced { values, count, step, apart } => {
                let last = || {
                    let row = step.checked_mul(count - 1)?;
                    row.checked_add(apart.checked_mul(self.per_row.checked_sub(1)?)?)?.checked_add(least)
                };
                last().is_some_and(|last| last <= values.len())
            }
        }
    }

    /// Where some of the rows are.
    #[inline(always)]
    pub(super) fn tile(&self, rows: Range<usize>) -> TileRows<'a, T> {
        match self.rows {
            Rows::Listed(list) => TileRows::Listed(&list[rows.start * self.per_row..rows.end * self.per_row]),
            Rows::Spaced { values, step, apart, .. } => {
                TileRows::Spaced { at: values.as_ptr().wrapping_add(rows.start * step), step, apart }
            }
        }
    }
}

/// Where the rows of a tile are: [`Rows`], which were checked to be whole.
#[derive(Clone, Copy)]
pub(crate) enum TileRows<'a, T> {
    Listed(&'a [&'a [T]]),
    Spaced { at: *const T, step: usize, apart: usize },
}

/// Some rows of A and one panel of B, or as many as a tile is wide.
#[derive(Clone, Copy)]
pub(crate) struct Operands<'a, L, R> {
    /// Rows, checked by the driver to be whole.
    pub(super) rows: TileRows<'a, L>,
    pub(super) per_row: usize,
    pub(super) offset: usize,
    /// Entries of a fragment.
    pub(super) len: usize,
    /// Packed panels, one behind the other.
    pub(super) panel: &'a [R],
    /// What to prefetch, how many bytes to go on for each row of each panel, and for a whole tile.
    pub(super) ahead: *const u8,
    pub(super) pace: usize,
    pub(super) share: usize,
}

impl<'a, L, R> Operands<'a, L, R> {
    /// Goes on by so many rows, those of a tile.
    #[inline(always)]
    pub(super) fn advance(&mut self, rows: usize) {
        match &mut self.rows {
            TileRows::Listed(list) => *list = &list[rows * self.per_row..],
            TileRows::Spaced { at, step, .. } => *at = at.wrapping_add(rows * *step),
        }
        self.ahead = self.ahead.wrapping_add(self.share);
    }

    /// Where fragment `t` of each of the `M` rows begins; `self.len` entries may be read there.
    #[inline(always)]
    pub(super) fn fragments<const M: usize>(&self, t: usize) -> [*const L; M] {
        debug_assert!(t < self.per_row);
        match self.rows {
            TileRows::Listed(list) => {
                debug_assert!(list.len() >= M * self.per_row);
                // SAFETY: there are at least M rows of fragments, the panel has as many as a row, and each slice is long enough: that
                // was checked once for all, since here it would cost as much as a short fragment itself.
                std::array::from_fn(|i| unsafe { list.get_unchecked(i * self.per_row + t).as_ptr().add(self.offset) })
            }
            TileRows::Spaced { at, step, apart } => {
                // Wherever these point, they were checked to be in the slice.
                std::array::from_fn(|i| at.wrapping_add(i * step + t * apart + self.offset))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_that_end_early_are_not_whole_however_far_apart_they_are() {
        let values = [0.0f32; 10];
        let whole = |count, step, apart, per_row, len| {
            let rows = Rows::Spaced { values: &values, count, step, apart };
            Fragments { rows, per_row, offset: 1, len }.is_whole()
        };
        assert!(whole(3, 3, 0, 1, 3) && whole(2, 4, 2, 2, 3) && whole(0, usize::MAX, 1, 1, 100));
        assert!(!whole(3, 3, 0, 1, 4) && !whole(4, 3, 0, 1, 3) && !whole(2, 4, 3, 2, 3));
        let half = usize::MAX / 2 + 1;
        assert!(
            !whole(3, half, 0, 1, 3)
                && !whole(2, 1, half, 3, 1)
                && !whole(1, 1, 1, 1, usize::MAX)
                && !whole(1, 1, 1, 0, 1)
        );
    }
}
