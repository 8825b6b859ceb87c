//! Arena memory: anonymous mappings in huge pages where the system has them.
//!
//! A frame reads every weight once, tens of megabytes in order: with pages of 4 KiB, address translation alone costs some
//! five percent of the frame.

use std::io;
use std::ops::{Deref, DerefMut};

use memmap2::MmapMut;

/// Floats at the beginning of a page, 0 at first.
#[derive(Debug)]
pub struct Floats {
    map: MmapMut,
    len: usize,
}

impl Floats {
    /// Maps `len` floats.
    ///
    /// # Errors
    /// The system has no such memory to give.
    pub fn zeroed(len: usize) -> io::Result<Floats> {
        // The system refuses to map nothing.
        let map = MmapMut::map_anon((len * size_of::<f32>()).max(1))?;
        // A kernel without huge pages refuses, and the small ones will do.
        #[cfg(target_os = "linux")]
        let _ = map.advise(memmap2::Advice::HugePage);
        Ok(Floats { map, len })
    }
}

impl Deref for Floats {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        // A page is aligned to floats, so that the cast finds nothing to refuse.
        bytemuck::cast_slice(&self.map[..self.len * size_of::<f32>()])
    }
}

impl DerefMut for Floats {
    fn deref_mut(&mut self) -> &mut [f32] {
        bytemuck::cast_slice_mut(&mut self.map[..self.len * size_of::<f32>()])
    }
}

/// The bytes of words that hold four int8 weights each.
pub fn as_i8(words: &[f32]) -> &[i8] {
    bytemuck::cast_slice(words)
}

/// Words that hold two halves each.
pub fn as_u16(words: &[f32]) -> &[u16] {
    bytemuck::cast_slice(words)
}

/// Scratch memory as halves.
pub fn as_u16_mut(words: &mut [f32]) -> &mut [u16] {
    bytemuck::cast_slice_mut(words)
}

/// Halves, two in a word; an odd one at the end has zero beside it.
pub fn words_of_halves(halves: &[u16]) -> Vec<i32> {
    let word = |two: &[u16]| {
        let [low, high] = [0, 1].map(|i| two.get(i).copied().unwrap_or(0).to_ne_bytes());
        i32::from_ne_bytes([low[0], low[1], high[0], high[1]])
    };
    halves.chunks(2).map(word).collect()
}

/// Words that hold one 32-bit integer each.
pub fn as_i32(words: &[f32]) -> &[i32] {
    bytemuck::cast_slice(words)
}

/// Scratch memory as bytes.
pub fn as_bytes_mut(words: &mut [f32]) -> &mut [u8] {
    bytemuck::cast_slice_mut(words)
}

/// Integers as the words that an arena of floats holds.
pub fn as_floats(words: &[i32]) -> &[f32] {
    bytemuck::cast_slice(words)
}

/// int8 weights, four in a word; a part of a word at the end is filled with zeros.
pub fn words_of(weights: &[i8]) -> Vec<i32> {
    let word = |four: &[i8]| i32::from_ne_bytes(std::array::from_fn(|i| four.get(i).map_or(0, |w| *w as u8)));
    weights.chunks(4).map(word).collect()
}

/// Tells glibc's allocator to give large blocks back to the system when they are freed: it would otherwise keep as much
/// as the largest block ever freed, which after loading a model is the model. Call it once, at the start of a process;
/// elsewhere it does nothing.
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
    fn words_hold_what_was_put_in() {
        let weights = [1, -2, 3, -4, 5, -6];
        let words = words_of(&weights);
        assert_eq!(as_i8(as_floats(&words)), [1, -2, 3, -4, 5, -6, 0, 0]);
        assert_eq!(as_i32(as_floats(&words)), words);
        let halves = [1, 2, 0xFFFF];
        assert_eq!(as_u16(as_floats(&words_of_halves(&halves))), [1, 2, 0xFFFF, 0]);
        let mut scratch = [0.0; 2];
        as_u16_mut(&mut scratch)[0] = 9;
        assert_eq!(as_u16(&scratch), [9, 0, 0, 0]);
        as_bytes_mut(&mut scratch)[4] = 7;
        assert_eq!(as_i32(&scratch), [i32::from_ne_bytes([9, 0, 0, 0]), i32::from_ne_bytes([7, 0, 0, 0])]);
    }

    #[test]
    #[cfg_attr(miri, ignore = "Miri maps no memory")]
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
