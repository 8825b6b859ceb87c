//! Memory for weights and results, in large pages where the system has them.
//!
//! A frame reads every weight once, tens of megabytes in order: with pages of 4 KiB, address translation alone costs some
//! five percent of the frame.

use std::io;
use std::ops::{Deref, DerefMut};

use memmap2::MmapMut;

/// Floats at the beginning of a page, 0 at first.
pub struct Floats {
    map: MmapMut,
    len: usize,
}

impl Floats {
    pub fn zeroed(len: usize) -> io::Result<Floats> {
        // The system refuses to map nothing.
        let map = MmapMut::map_anon((len * size_of::<f32>()).max(1))?;
        // A kernel without large pages refuses, and the small ones will do.
        #[cfg(target_os = "linux")]
        let _ = map.advise(memmap2::Advice::HugePage);
        Ok(Floats { map, len })
    }
}

impl Deref for Floats {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        // SAFETY: every bit pattern is a float.
        let (before, floats, _) = unsafe { self.map.align_to::<f32>() };
        debug_assert!(before.is_empty(), "a page is aligned to floats");
        &floats[..self.len]
    }
}

impl DerefMut for Floats {
    fn deref_mut(&mut self) -> &mut [f32] {
        // SAFETY: every bit pattern is a float, and every float is four bytes.
        let (before, floats, _) = unsafe { self.map.align_to_mut::<f32>() };
        debug_assert!(before.is_empty(), "a page is aligned to floats");
        &mut floats[..self.len]
    }
}

/// See `dyn_perceiver::return_freed_memory`.
pub fn return_freed_memory() {
    // The largest block that glibc carves out of memory it keeps; its own default, which it otherwise raises to the size
    // of the largest block ever freed.
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: the call takes no pointers, may be made at any time, and an allocator that refuses it stays as it was.
    unsafe {
        nix::libc::mallopt(nix::libc::M_MMAP_THRESHOLD, 128 * 1024);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_are_zero_until_written() {
        for len in [0, 1, 1 << 20] {
            let mut floats = Floats::zeroed(len).unwrap();
            assert_eq!(floats.len(), len);
            assert!(floats.iter().all(|f| *f == 0.0));
            floats.fill(1.0);
            assert!(floats.iter().all(|f| *f == 1.0));
        }
    }
}
