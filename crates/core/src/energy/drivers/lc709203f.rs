//! LC709203F: a fuel gauge by voltage model with checksums (onsemi data sheet LC709203F/D).

use embedded_hal::i2c::I2c;

use super::i2c::{I2cError, Registers};
use crate::energy::gauge::{FuelGauge, GaugeReading};

const ADDRESS: u8 = 0x0B;
const CELL_VOLTAGE: u8 = 0x09;
/// Indicator to empty, in steps of 0.1 %.
const ITE: u8 = 0x0F;

/// CRC-8 with polynomial x^8 + x^2 + x + 1 from 0, as in SMBus.
const CRC: crc::Crc<u8, crc::NoTable> = crc::Crc::<u8, crc::NoTable>::new(&crc::CRC_8_SMBUS);

/// The chip at its fixed address 0x0B.
#[derive(Clone, Debug)]
pub struct Lc709203f<I> {
    registers: Registers<I>,
}

impl<I: I2c> Lc709203f<I> {
    /// The chip on a bus.
    pub fn new(i2c: I) -> Self {
        Lc709203f { registers: Registers::new(i2c, ADDRESS) }
    }

    /// Gives the bus back.
    pub fn release(self) -> I {
        self.registers.release()
    }

    /// A word, low byte first, followed by the checksum over the whole exchange with both address bytes.
    fn word(&mut self, register: u8) -> Result<u16, I2cError> {
        let [low, high, actual] = self.registers.read::<3>(register)?;
        let expected = CRC.checksum(&[ADDRESS << 1, register, (ADDRESS << 1) | 1, low, high]);
        if expected != actual {
            return Err(I2cError::Checksum { register, expected, actual });
        }
        Ok(u16::from_le_bytes([low, high]))
    }
}

impl<I: I2c> FuelGauge for Lc709203f<I> {
    type Error = I2cError;

    fn read(&mut self) -> Result<GaugeReading, I2cError> {
        let raw = self.word(ITE)?;
        if raw > 1000 {
            return Err(I2cError::OutOfRange { register: ITE, raw });
        }
        let volts = f32::from(self.word(CELL_VOLTAGE)?) / 1000.0;
        Ok(GaugeReading::new(f32::from(raw) / 1000.0).with_volts(volts))
    }
}

#[cfg(test)]
mod tests {
    use embedded_hal_mock::eh1::i2c::{Mock, Transaction};

    use super::*;

    fn word(register: u8, bytes: [u8; 3]) -> Transaction {
        Transaction::write_read(0x0B, [register].to_vec(), bytes.to_vec())
    }

    /// CRC-8 bit by bit, as the data sheet draws it.
    fn checksum(bytes: &[u8]) -> u8 {
        bytes.iter().fold(0, |crc, byte| {
            (0..8).fold(crc ^ byte, |crc: u8, _| if crc & 0x80 != 0 { (crc << 1) ^ 0x07 } else { crc << 1 })
        })
    }

    fn sealed(register: u8, value: u16) -> Transaction {
        let [low, high] = value.to_le_bytes();
        word(register, [low, high, checksum(&[0x16, register, 0x17, low, high])])
    }

    #[test]
    fn reads_low_byte_first_and_checks_the_checksum() {
        let mut gauge = Lc709203f::new(Mock::new(&[sealed(0x0F, 725), sealed(0x09, 3812)]));
        let reading = gauge.read().unwrap();
        assert_eq!((reading.soc, reading.volts), (0.725, Some(3.812)));
        gauge.release().done();
    }

    #[test]
    fn refuses_a_wrong_checksum_and_impossible_charge() {
        let mut gauge = Lc709203f::new(Mock::new(&[word(0x0F, [0xD5, 0x02, 0x00]), sealed(0x0F, 1001)]));
        assert!(matches!(gauge.read(), Err(I2cError::Checksum { register: 0x0F, actual: 0, .. })));
        assert_eq!(gauge.read(), Err(I2cError::OutOfRange { register: 0x0F, raw: 1001 }));
        gauge.release().done();
    }
}
