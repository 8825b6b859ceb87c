//! Cyclic redundancy checks, bit by bit: no table of 256 words in a microcontroller's flash, and the messages are short.

/// CRC-32/ISO-HDLC, as in Ethernet and zip files.
pub(crate) fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32, _| if crc & 1 != 0 { (crc >> 1) ^ 0xEDB8_8320 } else { crc >> 1 };
    !bytes.iter().fold(u32::MAX, |crc, &byte| (0..8).fold(crc ^ u32::from(byte), step))
}

/// CRC-16/IBM-3740, often called CRC-16/CCITT-FALSE.
pub(crate) fn crc16(bytes: &[u8]) -> u16 {
    let step = |crc: u16, _| if crc & 0x8000 != 0 { (crc << 1) ^ 0x1021 } else { crc << 1 };
    bytes.iter().fold(u16::MAX, |crc, &byte| (0..8).fold(crc ^ (u16::from(byte) << 8), step))
}

/// CRC-8/SMBUS: polynomial x^8 + x^2 + x + 1, from 0.
pub(crate) fn crc8(bytes: &[u8]) -> u8 {
    let step = |crc: u8, _| if crc & 0x80 != 0 { (crc << 1) ^ 0x07 } else { crc << 1 };
    bytes.iter().fold(0, |crc, &byte| (0..8).fold(crc ^ byte, step))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The check values that the catalogues of these codes give for the nine digits.
    #[test]
    fn crc_of_the_nine_digits_is_that_of_the_catalogue() {
        assert_eq!(crc32(b"123456789"), 0xCBF4_3926);
        assert_eq!(crc16(b"123456789"), 0x29B1);
        assert_eq!(crc8(b"123456789"), 0xF4);
    }
}
