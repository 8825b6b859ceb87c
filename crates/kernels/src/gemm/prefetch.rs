//! Software prefetch: what a GEMM will read or write next is fetched into L2 while it computes.

/// Memory to prefetch while a GEMM is computed.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Prefetch {
    /// What lies behind each panel of B: the next panel, or what the next GEMM begins with.
    NextPanel,
    /// Memory that is read or written next. It may be anywhere, since a prefetch is a hint.
    Memory {
        /// Where it begins.
        at: *const u8,
        /// Its length, not 0.
        bytes: usize,
    },
}

impl Prefetch {
    /// `len` elements from `at` on; the next panel where there are none.
    pub(crate) fn elements<T>(at: *const T, len: usize) -> Prefetch {
        if len == 0 {
            return Prefetch::NextPanel;
        }
        Prefetch::Memory { at: at.cast(), bytes: len * size_of::<T>() }
    }

    /// A slice that is read next; the next panel where it is empty.
    pub(crate) fn slice<T>(slice: &[T]) -> Prefetch {
        Prefetch::elements(slice.as_ptr(), slice.len())
    }
}

/// Asks for the cache line that `at` is in, to be found in L2; `at` may be anywhere.
#[inline(always)]
pub(crate) fn prefetch_line(at: *const u8) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    // SAFETY: the instruction is a hint. It reads nothing and faults nowhere, and every x86-64 CPU has it.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T1 }>(at.cast());
    }
    // Elsewhere it is left to the hardware: there was nothing to measure on.
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    let _ = at;
}
