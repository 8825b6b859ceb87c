//! A result that several threads write at once, each its own entries.
//!
//! Splitting the slice beforehand does not do: a part of a GEMM may be a range of columns, whose entries are not
//! contiguous.

use std::marker::PhantomData;

/// A mutable slice whose entries may be written through several handles.
#[derive(Debug)]
pub struct Sink<'a, T = f32> {
    start: *mut T,
    len: usize,
    out: PhantomData<&'a mut [T]>,
}

// SAFETY: a sink gives access to numbers, which any thread may write, and `share` answers for who writes which.
unsafe impl<T: Send> Send for Sink<'_, T> {}
// SAFETY: a shared reference to a sink gives no access without `share`.
unsafe impl<T: Send> Sync for Sink<'_, T> {}

impl<'a, T> Sink<'a, T> {
    /// A sink for all entries of `out`.
    pub fn new(out: &'a mut [T]) -> Sink<'a, T> {
        Sink { start: out.as_mut_ptr(), len: out.len(), out: PhantomData }
    }

    /// Another sink for the same entries.
    ///
    /// # Safety
    /// No entry may be taken from both while the one taken first is in use.
    pub unsafe fn share(&self) -> Sink<'a, T> {
        Sink { start: self.start, len: self.len, out: PhantomData }
    }

    /// The `len` entries from `at`.
    ///
    /// # Panics
    /// They are not all in the slice.
    #[inline(always)]
    pub fn entries(&mut self, at: usize, len: usize) -> &mut [T] {
        assert!(at <= self.len && len <= self.len - at, "{len} entries from {at} of {}", self.len);
        // SAFETY: they are part of the slice that the first of these sinks was made from, which is borrowed for as long
        // as any of them lives; nobody else refers to them, by the promise given to `share` and by `&mut self`.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(at), len) }
    }

    /// Where a tile begins: `rows` rows of `len` entries, the first from `at` on, `stride` entries from one to the next. Only
    /// these entries may be written through the pointer, as if they had been taken by [`Sink::entries`].
    ///
    /// # Panics
    /// They are not all in the slice.
    #[inline(always)]
    pub(crate) fn tile(&mut self, at: usize, rows: usize, stride: usize, len: usize) -> *mut T {
        let fits = self.has_tile(at, rows, stride, len);
        assert!(fits, "{rows} rows of {len} entries, {stride} apart, from {at} of {}", self.len);
        self.start.wrapping_add(at)
    }

    /// As [`Sink::tile`], of a tile inside one that was checked there: checking each would cost as much as storing some of its rows.
    #[inline(always)]
    pub(crate) fn tile_within(&mut self, at: usize, rows: usize, stride: usize, len: usize) -> *mut T {
        debug_assert!(self.has_tile(at, rows, stride, len));
        self.start.wrapping_add(at)
    }

    #[inline(always)]
    fn has_tile(&self, at: usize, rows: usize, stride: usize, len: usize) -> bool {
        let last = rows.checked_sub(1).and_then(|steps| steps.checked_mul(stride)?.checked_add(len));
        at <= self.len && last.is_some_and(|last| last <= self.len - at)
    }

    /// Where entry `at` is, to prefetch it: no reference is made, since other threads may be writing there.
    #[inline(always)]
    pub fn address(&self, at: usize) -> *const T {
        self.start.wrapping_add(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_that_are_not_all_inside_are_refused() {
        let mut out = vec![0; 6];
        for (at, rows, stride, len) in [(1, 2, 3, 3), (7, 1, 0, 0), (0, 3, usize::MAX / 2 + 1, 1), (0, 0, 1, 1)] {
            let refused = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                Sink::new(&mut out).tile(at, rows, stride, len);
            }));
            assert!(refused.is_err(), "{rows} rows of {len} from {at}");
        }
        Sink::new(&mut out).tile(1, 2, 3, 2);
    }

    #[test]
    fn sink_shares_write_disjoint_entries() {
        let mut out = vec![0; 6];
        let mut one = Sink::new(&mut out);
        // SAFETY: the two write different entries.
        let mut other = unsafe { one.share() };
        let (left, right) = (one.entries(0, 2), other.entries(2, 4));
        left.fill(1);
        right.fill(2);
        assert_eq!(out, [1, 1, 2, 2, 2, 2]);
    }

    #[test]
    fn sink_addresses_are_those_of_the_entries() {
        let mut out = vec![0.0; 6];
        let start = out.as_ptr();
        let sink = Sink::new(&mut out);
        assert_eq!(sink.address(4), start.wrapping_add(4));
    }

    #[test]
    #[should_panic(expected = "3 entries from 4 of 6")]
    fn sink_refuses_entries_beyond_its_end() {
        Sink::new(&mut [0.0; 6]).entries(4, 3);
    }
}
