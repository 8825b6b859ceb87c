//! The bytes of a pickle, read one instruction at a time within a bound.

use std::io::{self, BufRead};

use super::object::Refusal;

/// A reader that counts where it is and gives no more than `length` bytes.
pub(super) struct Input<R> {
    reader: R,
    at: u64,
    length: u64,
}

impl<R: BufRead> Input<R> {
    pub(super) fn new(reader: R, length: u64) -> Self {
        Self { reader, at: 0, length }
    }

    /// Bytes taken so far.
    pub(super) fn at(&self) -> u64 {
        self.at
    }

    /// Says that the pickle is damaged at this position.
    pub(super) fn malformed<T>(&self, reason: impl Into<String>) -> Result<T, Refusal> {
        Err(Refusal::Malformed(self.at, reason.into()))
    }

    /// Refuses an argument that is longer than what is left, before any memory is taken for it.
    fn claim(&mut self, count: usize) -> Result<(), Refusal> {
        let left = self.length - self.at;
        if u64::try_from(count).is_ok_and(|count| count <= left) {
            return Ok(());
        }
        self.malformed(format!("ends within an argument of {count} bytes"))
    }

    fn ended(&self, error: &io::Error) -> Refusal {
        Refusal::Malformed(self.at, format!("cannot be read: {error}"))
    }

    /// The next `N` bytes.
    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], Refusal> {
        self.claim(N)?;
        let mut bytes = [0; N];
        if let Err(error) = self.reader.read_exact(&mut bytes) {
            return Err(self.ended(&error));
        }
        self.at += N as u64;
        Ok(bytes)
    }

    /// The next `count` bytes.
    pub(super) fn bytes(&mut self, count: usize) -> Result<Vec<u8>, Refusal> {
        self.claim(count)?;
        let mut bytes = vec![0; count];
        if let Err(error) = self.reader.read_exact(&mut bytes) {
            return Err(self.ended(&error));
        }
        self.at += count as u64;
        Ok(bytes)
    }

    /// Passes over `count` bytes.
    pub(super) fn skip(&mut self, count: usize) -> Result<(), Refusal> {
        self.claim(count)?;
        let mut left = count;
        while left > 0 {
            let available = match self.reader.fill_buf() {
                Ok(buffer) => buffer.len().min(left),
                Err(error) => return Err(self.ended(&error)),
            };
            if available == 0 {
                return self.malformed("ends within an argument");
            }
            self.reader.consume(available);
            left -= available;
        }
        self.at += count as u64;
        Ok(())
    }

    /// A little-endian unsigned number of `N` bytes, 8 at most.
    pub(super) fn unsigned<const N: usize>(&mut self) -> Result<usize, Refusal> {
        let value = self.array::<N>()?.iter().rev().fold(0u64, |value, &byte| value << 8 | u64::from(byte));
        match usize::try_from(value) {
            Ok(value) => Ok(value),
            Err(_) => self.malformed(format!("length {value} is out of range")),
        }
    }

    /// The text up to the end of the line, of at most `longest` bytes.
    pub(super) fn line(&mut self, longest: usize) -> Result<String, Refusal> {
        let mut line = Vec::new();
        loop {
            match self.array()? {
                [b'\n'] => return Ok(String::from_utf8_lossy(&line).into_owned()),
                [byte] => line.push(byte),
            }
            if line.len() > longest {
                return self.malformed(format!("a name of more than {longest} bytes"));
            }
        }
    }
}
