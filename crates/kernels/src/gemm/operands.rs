//! Operands of a GEMM: rows of A, which is not packed, and packed panels of B.

/// Rows of A, each a list of fragments that lie apart in memory: that makes a convolution in NHWC layout an implicit
/// GEMM without an im2col buffer, since the fragments of an output pixel are the input pixels under the kernel.
#[derive(Clone, Copy, Debug)]
pub struct Fragments<'a, T> {
    /// Row after row. A fragment is entries `offset..offset + len` of its slice: one group of channels of a pixel.
    pub list: &'a [&'a [T]],
    /// Fragments of a row.
    pub per_row: usize,
    /// Where in its slice a fragment begins.
    pub offset: usize,
    /// Entries of a fragment.
    pub len: usize,
}

/// Some rows of A and one panel of B, or as many as a tile is wide.
pub(crate) struct Operands<'a, L, R> {
    /// Fragments, row after row, each checked by the driver to be long enough.
    pub(super) list: &'a [&'a [L]],
    pub(super) per_row: usize,
    pub(super) offset: usize,
    /// Entries of a fragment.
    pub(super) len: usize,
    /// Packed panels, one behind the other.
    pub(super) panel: &'a [R],
    /// What to prefetch, and how many bytes to go on for each row of each panel.
    pub(super) ahead: *const u8,
    pub(super) pace: usize,
}

impl<L, R> Operands<'_, L, R> {
    /// Where fragment `t` of each of the `M` rows begins; `self.len` entries may be read there.
    #[inline(always)]
    pub(super) fn fragments<const M: usize>(&self, t: usize) -> [*const L; M] {
        debug_assert!(self.list.len() == M * self.per_row && t < self.per_row);
        // SAFETY: there are M rows of fragments, the panel has as many as a row, and each slice is long enough: that was
        // checked once for all, since here it would cost as much as a short fragment itself.
        std::array::from_fn(|i| unsafe { self.list.get_unchecked(i * self.per_row + t).as_ptr().add(self.offset) })
    }
}
