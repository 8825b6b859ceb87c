//! Bits of entropy-coded data.

use super::error::JpegError;

/// Reads the bits between two markers: a byte 0xff in the data is followed by 0x00, any other byte there is a marker.
///
/// What goes wrong is kept and told by [`check`](Self::check), so that nothing has to be returned for every code. No bit is
/// made up: to consume more than there are is an error.
pub(super) struct Bits<'a> {
    data: &'a [u8],
    /// Place of the next byte to load.
    at: usize,
    /// Loaded bits, the next one uppermost; those below `count` are zeros.
    buffer: u64,
    count: u32,
    /// Whether everything before the next marker, or the end of the data, has been loaded.
    at_marker: bool,
    fault: Option<Fault>,
}

#[derive(Clone, Copy, Debug)]
enum Fault {
    Ended,
    NoCode,
}

impl<'a> Bits<'a> {
    pub(super) fn new(data: &'a [u8], at: usize) -> Self {
        Self { data, at, buffer: 0, count: 0, at_marker: false, fault: None }
    }

    /// Loads until there are 32 bits or a marker comes.
    #[inline]
    fn refill(&mut self) {
        // Four bytes at once where none of them is 0xff: only then has the complement no byte of zeros.
        if let Some(&bytes) = self.data.get(self.at..).and_then(<[u8]>::first_chunk::<4>) {
            let bits = u32::from_be_bytes(bytes);
            let zeros = (!bits).wrapping_sub(0x0101_0101) & bits & 0x8080_8080;
            if zeros == 0 {
                self.buffer |= u64::from(bits) << (32 - self.count);
                self.count += 32;
                self.at += 4;
                return;
            }
        }
        self.refill_slowly();
    }

    #[cold]
    fn refill_slowly(&mut self) {
        while self.count < 32 && !self.at_marker {
            let byte = match (self.data.get(self.at), self.data.get(self.at + 1)) {
                (Some(0xff), Some(0x00)) => {
                    self.at += 1;
                    0xff
                }
                (Some(0xff) | None, _) => {
                    self.at_marker = true;
                    return;
                }
                (Some(&byte), _) => byte,
            };
            self.buffer |= u64::from(byte) << (56 - self.count);
            self.count += 8;
            self.at += 1;
        }
    }

    /// The next 16 bits; ones behind the end.
    #[inline]
    pub(super) fn peek(&mut self) -> u16 {
        if self.count < 32 && !self.at_marker {
            self.refill();
        }
        if self.count < 16 {
            return ((self.buffer | u64::MAX >> self.count) >> 48) as u16;
        }
        (self.buffer >> 48) as u16
    }

    /// Takes up to 32 bits away, all of them behind those that were [peeked](Self::peek) at last.
    #[inline]
    pub(super) fn skip(&mut self, count: u32) {
        if count > self.count {
            self.fault = self.fault.or(Some(Fault::Ended));
            (self.buffer, self.count) = (0, 0);
            return;
        }
        // `count` is at most 32: the shift is never by 64.
        self.buffer <<= count;
        self.count -= count;
    }

    /// Takes the next `count` bits, at most 16.
    #[inline]
    pub(super) fn take(&mut self, count: u32) -> u32 {
        let value = u32::from(self.peek()) >> (16 - count);
        self.skip(count);
        value
    }

    /// Notes that what was [peeked](Self::peek) at is no code.
    #[cold]
    pub(super) fn no_code(&mut self) {
        let fault = if self.at_marker && self.count < 16 { Fault::Ended } else { Fault::NoCode };
        self.fault = self.fault.or(Some(fault));
    }

    /// What went wrong so far.
    #[inline]
    pub(super) fn check(&self) -> Result<(), JpegError> {
        match self.fault {
            None => Ok(()),
            Some(fault) => Err(self.error(fault)),
        }
    }

    #[cold]
    fn error(&self, fault: Fault) -> JpegError {
        JpegError::refused(match (fault, self.data.get(self.at)) {
            (Fault::NoCode, _) => "its data hold a code that means nothing",
            (Fault::Ended, Some(_)) => "its data end before the picture is complete",
            (Fault::Ended, None) => "it is cut short",
        })
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
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_are_read_up_to_a_marker_and_none_is_made_up() {
        let data = [0b1010_0101, 0xff, 0x00, 0x12, 0x34, 0x56, 0xff, 0xd9];
        let mut bits = Bits::new(&data, 0);
        assert_eq!(bits.take(4), 0b1010);
        assert_eq!(bits.take(12), 0b0101_1111_1111);
        assert_eq!(bits.take(16), 0x1234);
        assert_eq!(bits.take(6), 0x56 >> 2);
        assert_eq!(bits.peek(), (0x56 & 3) << 14 | 0x3fff);
        assert_eq!(bits.take(2), 0x56 & 3);
        assert!(bits.check().is_ok());
        bits.take(1);
        assert!(bits.check().unwrap_err().to_string().contains("before the picture is complete"));
        assert_eq!(bits.finish(), (6, 0));
    }

    #[test]
    fn bytes_that_were_not_used_are_counted_but_padding_is_not() {
        let data = [1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 0, 0, 0xff, 0x00, 0xff, 0xd9];
        let mut bits = Bits::new(&data, 0);
        bits.take(12);
        assert_eq!(bits.finish(), (14, 7));
    }
}
