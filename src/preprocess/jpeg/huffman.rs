//! Huffman tables: read from a file, and the standard ones.

use super::bits::Bits;
use super::error::JpegError;

/// Codes of up to this many bits are found by one look into a table.
const FAST_BITS: u32 = 10;

/// More places than a block has: it is at its end.
pub(super) const END: u32 = 128;

/// Of a code of AC coefficients: places to go on, times 32, plus the bits of the code and of the value behind it, at most 31.
fn step(symbol: u8, length: u32) -> u16 {
    let (run, size) = (u32::from(symbol >> 4), u32::from(symbol & 15));
    let places = if size == 0 && run != 15 { END } else { run + 1 };
    (places << 5 | (length + size)) as u16
}

/// Decodes the symbols of one table.
#[derive(Clone, Debug)]
pub(super) struct Huffman {
    /// By the next [`FAST_BITS`] bits: the length of the code times 256 plus its symbol; 0 for codes that are longer.
    fast: Box<[u16; 1 << FAST_BITS]>,
    /// By the same bits, the code taken as one of AC coefficients: see [`step`](Self::step).
    steps: Box<[u16; 1 << FAST_BITS]>,
    /// By length - 1: the first code of the next length, shifted to 16 bits; beyond all codes for none.
    limits: [u32; 16],
    /// By length - 1: what to add to a code for the place of its symbol.
    offsets: [i32; 16],
    symbols: Vec<u8>,
}

impl Huffman {
    /// A table with so many codes of each length, and their symbols.
    pub(super) fn new(counts: [u8; 16], symbols: &[u8]) -> Result<Self, JpegError> {
        let wrong = || JpegError::refused("a Huffman table is wrong");
        let mut table = Self {
            fast: Box::new([0; 1 << FAST_BITS]),
            steps: Box::new([0; 1 << FAST_BITS]),
            limits: [0; 16],
            offsets: [0; 16],
            symbols: symbols.to_vec(),
        };
        let (mut code, mut place) = (0u32, 0usize);
        for (length, &count) in (1..=16).zip(&counts) {
            table.offsets[length - 1] = place as i32 - code as i32;
            for &symbol in symbols.get(place..place + usize::from(count)).ok_or_else(wrong)? {
                if code >> length != 0 {
                    return Err(wrong());
                }
                if length as u32 <= FAST_BITS {
                    let spread = FAST_BITS - length as u32;
                    let first = (code << spread) as usize;
                    let last = first + (1 << spread);
                    table.fast[first..last].fill((length as u16) << 8 | u16::from(symbol));
                    table.steps[first..last].fill(step(symbol, length as u32));
                }
                code += 1;
            }
            place += usize::from(count);
            table.limits[length - 1] = code << (16 - length);
            code <<= 1;
        }
        Ok(table)
    }

    /// The next symbol and the length of its code, which is not yet taken away; zeros, and a note, where there is no code.
    #[inline]
    pub(super) fn peek(&self, bits: &mut Bits<'_>) -> (u8, u32) {
        let next = bits.peek();
        let entry = self.fast[usize::from(next >> (16 - FAST_BITS))];
        if entry != 0 {
            return (entry as u8, u32::from(entry >> 8));
        }
        self.peek_long(next).unwrap_or_else(|| {
            bits.no_code();
            (0, 0)
        })
    }

    /// Passes over the next AC coefficient of a sequential block: takes its code and its value away, and returns by how many
    /// places the block goes on; [`END`] or more at the end of the block.
    #[inline]
    pub(super) fn step(&self, bits: &mut Bits<'_>) -> u32 {
        let next = bits.peek();
        let mut step = self.steps[usize::from(next >> (16 - FAST_BITS))];
        if step == 0 {
            let (symbol, length) = self.peek_long(next).unwrap_or_else(|| {
                bits.no_code();
                (0, 0)
            });
            step = self::step(symbol, length);
        }
        bits.skip(u32::from(step & 31));
        u32::from(step >> 5)
    }

    #[cold]
    fn peek_long(&self, next: u16) -> Option<(u8, u32)> {
        let length = (FAST_BITS..16).map(|length| length as usize).find(|&i| u32::from(next) < self.limits[i]);
        let length = length?;
        let place = i32::from(next >> (15 - length)) + self.offsets[length];
        self.symbols.get(usize::try_from(place).ok()?).map(|&symbol| (symbol, length as u32 + 1))
    }

    /// One of the four tables that a file may leave out: of DC or AC coefficients, of luminance (0) or chrominance (1).
    pub(super) fn standard(is_ac: bool, number: usize) -> Result<Self, JpegError> {
        let table = STANDARD.iter().find(|table| table.is_ac == is_ac && table.number == number);
        let table = table.ok_or_else(|| JpegError::refused("a scan uses a Huffman table that is not there"))?;
        Self::new(table.counts, table.symbols)
    }
}

/// A table of ITU-T T.81, annex K.3.
struct Standard {
    is_ac: bool,
    number: usize,
    counts: [u8; 16],
    symbols: &'static [u8],
}

/// Appends a segment with all four standard tables. UVC cameras leave it out, as AVI files do.
pub(super) fn write_standard_tables(file: &mut Vec<u8>) {
    let length: usize = 2 + STANDARD.iter().map(|table| 17 + table.symbols.len()).sum::<usize>();
    file.extend([0xff, 0xc4]);
    file.extend((length as u16).to_be_bytes());
    for table in &STANDARD {
        file.push(u8::from(table.is_ac) << 4 | table.number as u8);
        file.extend(table.counts);
        file.extend(table.symbols);
    }
}

const DC_SYMBOLS: &[u8] = &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11];

#[rustfmt::skip]
const STANDARD: [Standard; 4] = [
    Standard { is_ac: false, number: 0, counts: [0, 1, 5, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0], symbols: DC_SYMBOLS },
    Standard { is_ac: false, number: 1, counts: [0, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0], symbols: DC_SYMBOLS },
    Standard {
        is_ac: true,
        number: 0,
        counts: [0, 2, 1, 3, 3, 2, 4, 3, 5, 5, 4, 4, 0, 0, 1, 0x7d],
        symbols: &[
            0x01, 0x02, 0x03, 0x00, 0x04, 0x11, 0x05, 0x12, 0x21, 0x31, 0x41, 0x06, 0x13, 0x51, 0x61, 0x07, 0x22, 0x71,
            0x14, 0x32, 0x81, 0x91, 0xa1, 0x08, 0x23, 0x42, 0xb1, 0xc1, 0x15, 0x52, 0xd1, 0xf0, 0x24, 0x33, 0x62, 0x72,
            0x82, 0x09, 0x0a, 0x16, 0x17, 0x18, 0x19, 0x1a, 0x25, 0x26, 0x27, 0x28, 0x29, 0x2a, 0x34, 0x35, 0x36, 0x37,
            0x38, 0x39, 0x3a, 0x43, 0x44, 0x45, 0x46, 0x47, 0x48, 0x49, 0x4a, 0x53, 0x54, 0x55, 0x56, 0x57, 0x58, 0x59,
            0x5a, 0x63, 0x64, 0x65, 0x66, 0x67, 0x68, 0x69, 0x6a, 0x73, 0x74, 0x75, 0x76, 0x77, 0x78, 0x79, 0x7a, 0x83,
            0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8a, 0x92, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99, 0x9a, 0xa2, 0xa3,
            0xa4, 0xa5, 0xa6, 0xa7, 0xa8, 0xa9, 0xaa, 0xb2, 0xb3, 0xb4, 0xb5, 0xb6, 0xb7, 0xb8, 0xb9, 0xba, 0xc2, 0xc3,
            0xc4, 0xc5, 0xc6, 0xc7, 0xc8, 0xc9, 0xca, 0xd2, 0xd3, 0xd4, 0xd5, 0xd6, 0xd7, 0xd8, 0xd9, 0xda, 0xe1, 0xe2,
            0xe3, 0xe4, 0xe5, 0xe6, 0xe7, 0xe8, 0xe9, 0xea, 0xf1, 0xf2, 0xf3, 0xf4, 0xf5, 0xf6, 0xf7, 0xf8, 0xf9, 0xfa,
        ],
    },
    Standard {
        is_ac: true,
        number: 1,
        counts: [0, 2, 1, 2, 4, 4, 3, 4, 7, 5, 4, 4, 0, 1, 2, 0x77],
        symbols: &[
            0x00, 0x01, 0x02, 0x03, 0x11, 0x04, 0x05, 0x21, 0x31, 0x06, 0x12, 0x41, 0x51, 0x07, 0x61, 0x71, 0x13, 0x22,
            0x32, 0x81, 0x08, 0x14, 0x42, 0x91, 0xa1, 0xb1, 0xc1, 0x09, 0x23, 0x33, 0x52, 0xf0, 0x15, 0x62, 0x72, 0xd1,
            0x0a, 0x16, 0x24, 0x34, 0xe1, 0x25, 0xf1, 0x17, 0x18, 0x19, 0x1a, 0x26, 0x27, 0x28, 0x29, 0x2a, 0x35, 0x36,
            0x37, 0x38, 0x39, 0x3a, 0x43, 0x44, 0x45, 0x46, 0x47, 0x48, 0x49, 0x4a, 0x53, 0x54, 0x55, 0x56, 0x57, 0x58,
            0x59, 0x5a, 0x63, 0x64, 0x65, 0x66, 0x67, 0x68, 0x69, 0x6a, 0x73, 0x74, 0x75, 0x76, 0x77, 0x78, 0x79, 0x7a,
            0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8a, 0x92, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99, 0x9a,
            0xa2, 0xa3, 0xa4, 0xa5, 0xa6, 0xa7, 0xa8, 0xa9, 0xaa, 0xb2, 0xb3, 0xb4, 0xb5, 0xb6, 0xb7, 0xb8, 0xb9, 0xba,
            0xc2, 0xc3, 0xc4, 0xc5, 0xc6, 0xc7, 0xc8, 0xc9, 0xca, 0xd2, 0xd3, 0xd4, 0xd5, 0xd6, 0xd7, 0xd8, 0xd9, 0xda,
            0xe2, 0xe3, 0xe4, 0xe5, 0xe6, 0xe7, 0xe8, 0xe9, 0xea, 0xf2, 0xf3, 0xf4, 0xf5, 0xf6, 0xf7, 0xf8, 0xf9, 0xfa,
        ],
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn standard_tables_are_whole() {
        for table in &STANDARD {
            let codes: usize = table.counts.iter().map(|&count| usize::from(count)).sum();
            assert_eq!(codes, table.symbols.len());
            assert!(Huffman::standard(table.is_ac, table.number).is_ok());
        }
        assert!(Huffman::standard(false, 2).is_err());
    }

    #[test]
    fn codes_of_every_length_are_found() {
        // One code per length: 0, 10, 110, and so on; the code of sixteen ones is left out.
        let symbols: Vec<u8> = (0..16).collect();
        let table = Huffman::new([1; 16], &symbols).unwrap();
        for length in 1..=16u32 {
            let code = (0xffff_u32 << (17 - length)) as u16;
            let data =
                code.to_be_bytes().into_iter().flat_map(|byte| if byte == 0xff { vec![0xff, 0] } else { vec![byte] });
            let data: Vec<u8> = data.collect();
            let found = table.peek(&mut Bits::new(&data, 0));
            assert_eq!(found, (length as u8 - 1, length));
        }
        let mut bits = Bits::new(&[0xff, 0, 0xff, 0], 0);
        table.peek(&mut bits);
        assert!(bits.check().is_err());
    }

    #[test]
    fn a_table_with_more_codes_than_fit_is_refused() {
        let mut counts = [0; 16];
        counts[0] = 3;
        assert!(Huffman::new(counts, &[1, 2, 3]).is_err());
        counts[0] = 2;
        assert!(Huffman::new(counts, &[1]).is_err());
    }
}
