//! A file in memory, as the system maps it.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::Path;

use memmap2::Mmap;

/// A bundle's file, mapped: its pages are read when they are first used, and the system may drop them again.
pub(crate) struct Mapping {
    map: Mmap,
}

impl Mapping {
    /// Maps a file.
    pub(crate) fn open(path: &Path) -> io::Result<Mapping> {
        let file = File::open(path)?;
        // SAFETY: the bytes must not change while they are borrowed. Bundles are never written in place: they are written
        // beside and renamed, which leaves the file that is mapped as it was. Who overwrites or truncates a bundle in
        // place while a program runs it gets wrong results or ends that program, as with a shared library; bytes are
        // checked against their checksums once, when the bundle is loaded.
        let map = unsafe { Mmap::map(&file)? };
        Ok(Mapping { map })
    }

    /// The whole file.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.map
    }

    /// The floats that lie at `bytes`; none when that is not within the file or not aligned to floats.
    pub(crate) fn floats(&self, bytes: Range<usize>) -> Option<&[f32]> {
        let bytes = self.map.get(bytes)?;
        // SAFETY: every bit pattern is a float.
        let (before, floats, after) = unsafe { bytes.align_to::<f32>() };
        (before.is_empty() && after.is_empty()).then_some(floats)
    }
}
