//! Bits of entropy-coded data.

use super::JpegError;

/// Reads the bits between two markers: a byte 0xff in the data is followed by 0x00, any other byte there is a marker.
///
/// No bit is made up: to consume more than there are is an error.
pub(super) struct Bits<'a> {
    data: &'a [u8],
    /// Place of the next byte to load.
    at: usize,
    /// Loaded bits, the next one uppermost; those below `count` are ones.
    buffer: u64,
    count: u32,
    /// Whether everything before the next marker, or the end of the data, has been loaded.
    at_marker: bool,
}

impl<'a> Bits<'a> {
    pub(super) fn new(data: &'a [u8], at: usize) -> Self {
        Self { data, at, buffer: u64::MAX, count: 0, at_marker: false }
    }

    /// Loads until there are 32 bits or a marker comes.
    #[inline]
    fn refill(&mut self) {
        if self.count >= 32 {
            return;
        }
        // Four bytes at once where none of them is 0xff.
        if let Some(&[a, b, c, d]) = self.data.get(self.at..).and_then(<[u8]>::first_chunk::<4>)
            && a != 0xff
            && b != 0xff
            && c != 0xff
            && d != 0xff
        {
            self.push(u64::from(u32::from_be_bytes([a, b, c, d])), 32);
            self.at += 4;
            return;
        }
        self.refill_slowly();
    }

    #[cold]
    fn refill_slowly(&mut self) {
        while self.count < 32 && !self.at_marker {
            match (self.data.get(self.at), self.data.get(self.at + 1)) {
                (Some(0xff), Some(0x00)) => {
                    self.push(0xff, 8);
                    self.at += 2;
                }
                (Some(0xff) | None, _) => self.at_marker = true,
                (Some(&byte), _) => {
                    self.push(byte.into(), 8);
                    self.at += 1;
                }
            }
        }
    }

    #[inline]
    fn push(&mut self, bits: u64, count: u32) {
        let shift = 64 - count - self.count;
        let mask = ((1u64 << count) - 1) << shift;
        self.buffer = self.buffer & !mask | bits << shift;
        self.count += count;
    }

    /// The next 16 bits; ones behind the end.
    #[inline]
    pub(super) fn peek(&mut self) -> u16 {
        self.refill();
        (self.buffer >> 48) as u16
    }

    /// Takes up to 32 bits away, at least 16 of which have been [peeked](Self::peek) at.
    #[inline]
    pub(super) fn skip(&mut self, count: u32) -> Result<(), JpegError> {
        if count > self.count {
            self.refill();
            if count > self.count {
                return Err(self.ended());
            }
        }
        // `count` is at most 32, so neither shift is by 64.
        self.buffer = self.buffer << count | ((1 << count) - 1);
        self.count -= count;
        Ok(())
    }

    /// Takes the next `count` bits, at most 16.
    #[inline]
    pub(super) fn take(&mut self, count: u32) -> Result<u32, JpegError> {
        let value = u32::from(self.peek()) >> (16 - count);
        self.skip(count)?;
        Ok(value)
    }

    /// Takes one bit.
    pub(super) fn skip_one(&mut self) -> Result<(), JpegError> {
        self.skip(1)
    }

    /// Place of the marker behind the data, and how many bytes before it were never used that are not padding.
    pub(super) fn finish(mut self) -> (usize, usize) {
        // What was loaded and not used; a last byte may be used in part.
        let mut unused = (self.count / 8) as usize;
        loop {
            match (self.data.get(self.at), self.data.get(self.at + 1)) {
                (Some(0xff), Some(0x00)) => self.at += 2,
                (Some(0xff) | None, _) => return (self.at, unused),
                // Some encoders fill up with zeros.
                (Some(0x00), _) => self.at += 1,
                (Some(_), _) => {
                    self.at += 1;
                    unused += 1;
                }
            }
        }
    }

    /// Why no code was found in what was [peeked](Self::peek) at.
    pub(super) fn no_code(&self) -> JpegError {
        if self.at_marker && self.count < 16 {
            return self.ended();
        }
        JpegError::refused("its data hold a code that means nothing")
    }

    fn ended(&self) -> JpegError {
        JpegError::refused(match self.data.get(self.at) {
            Some(_) => "its data end before the picture is complete",
            None => "it is cut short",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_are_read_up_to_a_marker_and_none_is_made_up() {
        let data = [0b1010_0101, 0xff, 0x00, 0x12, 0x34, 0x56, 0xff, 0xd9];
        let mut bits = Bits::new(&data, 0);
        assert_eq!(bits.take(4).unwrap(), 0b1010);
        assert_eq!(bits.take(12).unwrap(), 0b0101_1111_1111);
        assert_eq!(bits.take(16).unwrap(), 0x1234);
        assert_eq!(bits.take(6).unwrap(), 0x56 >> 2);
        assert_eq!(bits.peek() >> 14, 0x56 & 3);
        assert!(bits.take(3).is_err());
        assert_eq!(bits.take(2).unwrap(), 0x56 & 3);
        assert_eq!(bits.finish(), (6, 0));
    }

    #[test]
    fn bytes_that_were_not_used_are_counted_but_padding_is_not() {
        let data = [1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 0, 0, 0xff, 0x00, 0xff, 0xd9];
        let mut bits = Bits::new(&data, 0);
        bits.take(12).unwrap();
        assert_eq!(bits.finish(), (14, 7));
    }
}
