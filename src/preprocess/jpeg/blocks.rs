//! The blocks of a scan: their codes are read and their values passed over.

use super::bits::Bits;
use super::error::JpegError;
use super::huffman::{END, Huffman};

/// Bytes between the last block of a scan and the marker behind it that may be left over. Some encoders leave a few, but
/// after damage in the middle blocks are read from wrong places, and many are.
const MOST_UNUSED: usize = 64;

/// What a scan does to the blocks of a component.
pub(super) enum Pass {
    Sequential { dc: Huffman, ac: Huffman },
    DcFirst { dc: Huffman },
    DcRefine,
    AcFirst { ac: Huffman },
    AcRefine { ac: Huffman },
}

/// The blocks between two markers.
pub(super) struct Blocks<'a> {
    pub(super) bits: Bits<'a>,
    /// Last coefficient of the scan.
    last: u32,
    /// Blocks that follow without a further coefficient.
    end_run: u32,
    /// DC coefficient of the block before, of the first component.
    predictor: i32,
}

impl<'a> Blocks<'a> {
    /// Begins at a place in a file, in a scan whose last coefficient is `last`.
    pub(super) fn new(file: &'a [u8], at: usize, last: u32) -> Self {
        Self { bits: Bits::new(file, at), last, end_run: 0, predictor: 0 }
    }

    /// Walks through one block; `nonzero` is there for those of progressive files, `mean` for those of luminance, where it is
    /// wanted.
    #[inline]
    pub(super) fn block(
        &mut self,
        pass: &Pass,
        first: u32,
        nonzero: Option<&mut u64>,
        mean: Option<&mut i16>,
    ) -> Result<(), JpegError> {
        match (pass, nonzero) {
            (Pass::Sequential { dc, ac }, _) => self.sequential(dc, ac, mean),
            (Pass::DcFirst { dc }, _) => self.dc_first(dc, mean),
            (Pass::DcRefine, _) => {
                self.bits.take(1);
                Ok(())
            }
            (Pass::AcFirst { ac }, Some(nonzero)) => self.ac_first(ac, first, nonzero),
            (Pass::AcRefine { ac }, Some(nonzero)) => self.ac_refine(ac, first, nonzero),
            (Pass::AcFirst { .. } | Pass::AcRefine { .. }, None) => Ok(()),
        }
    }

    fn sequential(&mut self, dc: &Huffman, ac: &Huffman, mean: Option<&mut i16>) -> Result<(), JpegError> {
        self.dc_first(dc, mean)?;
        let mut k = 1;
        while k <= 63 {
            k += ac.step(&mut self.bits);
        }
        if k > 64 && k <= END { Err(too_many()) } else { Ok(()) }
    }

    fn dc_first(&mut self, dc: &Huffman, mean: Option<&mut i16>) -> Result<(), JpegError> {
        let (size, length) = dc.peek(&mut self.bits);
        if size > 15 {
            return Err(too_many());
        }
        let size = u32::from(size);
        let Some(mean) = mean else {
            self.bits.skip(length + size);
            return Ok(());
        };
        self.bits.skip(length);
        let value = self.bits.take(size) as i32;
        // Negative differences are stored as one less, without their sign.
        let is_negative = size > 0 && value < 1 << (size - 1);
        let difference = if is_negative { value + 1 - (1 << size) } else { value };
        self.predictor = self.predictor.wrapping_add(difference);
        *mean = self.predictor.clamp(i16::MIN.into(), i16::MAX.into()) as i16;
        Ok(())
    }

    fn ac_first(&mut self, ac: &Huffman, first: u32, nonzero: &mut u64) -> Result<(), JpegError> {
        if self.end_run > 0 {
            self.end_run -= 1;
            return Ok(());
        }
        let mut k = first;
        while k <= self.last {
            let (symbol, length) = ac.peek(&mut self.bits);
            let (run, size) = (u32::from(symbol >> 4), u32::from(symbol & 15));
            self.bits.skip(length + size);
            if size == 0 && run != 15 {
                self.end_run = (1 << run) - 1 + self.bits.take(run);
                break;
            }
            k += run;
            if size > 0 {
                if k > self.last {
                    return Err(too_many());
                }
                *nonzero |= 1 << k;
            }
            k += 1;
        }
        Ok(())
    }

    fn ac_refine(&mut self, ac: &Huffman, first: u32, nonzero: &mut u64) -> Result<(), JpegError> {
        let mut k = first;
        while k <= self.last && self.end_run == 0 {
            let (symbol, length) = ac.peek(&mut self.bits);
            let (mut run, size) = (u32::from(symbol >> 4), u32::from(symbol & 15));
            if size > 1 {
                return Err(too_many());
            }
            // A new coefficient is one bit: its sign.
            self.bits.skip(length + size);
            if size == 0 && run != 15 {
                self.end_run = (1 << run) + self.bits.take(run);
                break;
            }
            // Pass `run` coefficients that are still zero; those that are not have a bit each on the way.
            while k <= self.last {
                if *nonzero >> k & 1 == 1 {
                    self.bits.take(1);
                } else if run == 0 {
                    break;
                } else {
                    run -= 1;
                }
                k += 1;
            }
            if size > 0 {
                if k > self.last {
                    return Err(too_many());
                }
                *nonzero |= 1 << k;
            }
            k += 1;
        }
        if self.end_run > 0 {
            self.end_run -= 1;
            while k <= self.last {
                if *nonzero >> k & 1 == 1 {
                    self.bits.take(1);
                }
                k += 1;
            }
        }
        Ok(())
    }

    /// Place of the marker behind the data.
    pub(super) fn end(&mut self) -> Result<usize, JpegError> {
        let bits = std::mem::replace(&mut self.bits, Bits::new(&[], 0));
        match bits.finish() {
            (at, unused) if unused <= MOST_UNUSED => Ok(at),
            (_, unused) => {
                Err(JpegError::refused(format!("{unused} bytes of its data belong to no part of the picture")))
            }
        }
    }
}

fn too_many() -> JpegError {
    JpegError::refused("its data hold more coefficients than a block has")
}
