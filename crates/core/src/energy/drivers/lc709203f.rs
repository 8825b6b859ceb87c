//! LC709203F: a fuel gauge by voltage model with checksums (onsemi data sheet LC709203F/D).

use embedded_hal::i2c::I2c;

use super::i2c::{I2cError, Registers};
use crate::crc::crc8;
use crate::energy::gauge::{FuelGauge, GaugeReading};

const ADDRESS: u8 = 0x0B;
const CELL_VOLTAGE: u8 = 0x09;
/// Adjustment for the pack's capacity.
const APA: u8 = 0x0B;
/// Indicator to empty, in steps of 0.1 %.
const ITE: u8 = 0x0F;

/// Which curve of voltage over charge: that of cells of 3.7 V nominal, charged to 4.2 V.
const PROFILE: u8 = 0x12;
const PROFILE_4V2: u16 = 1;
const POWER_MODE: u8 = 0x15;
const OPERATIONAL: u16 = 1;

/// Adjustment over capacity in milliampere-hours, from the data sheet's table.
const ADJUSTMENT: [(f32, f32); 6] =
    [(100.0, 8.0), (200.0, 11.0), (500.0, 16.0), (1000.0, 25.0), (2000.0, 45.0), (3000.0, 54.0)];
const USUAL_MAH: f32 = 2000.0;

/// The chip at its fixed address 0x0B.
///
/// Before the first reading, and whenever the chip has lost them, it is given its power mode, the pack's capacity and the
/// profile of the cell: without them it sleeps or tells the charge of another battery.
#[derive(Clone, Debug)]
pub struct Lc709203f<I> {
    registers: Registers<I>,
    adjustment: u16,
    initialised: bool,
}

impl<I: I2c> Lc709203f<I> {
    /// The chip on a bus, with a pack of 2 Ah.
    pub fn new(i2c: I) -> Self {
        let registers = Registers::new(i2c, ADDRESS);
        Lc709203f { registers, adjustment: adjustment(USUAL_MAH), initialised: false }
    }

    /// For a pack of another capacity in milliampere-hours.
    #[must_use]
    pub fn with_capacity_mah(self, milliampere_hours: f32) -> Self {
        Lc709203f { adjustment: adjustment(milliampere_hours), ..self }
    }

    fn initialise(&mut self) -> Result<(), I2cError> {
        self.write(POWER_MODE, OPERATIONAL)?;
        self.write(APA, self.adjustment)?;
        self.write(PROFILE, PROFILE_4V2)
    }

    /// Writes a word, low byte first, with the checksum over the whole exchange.
    fn write(&mut self, register: u8, value: u16) -> Result<(), I2cError> {
        let [low, high] = value.to_le_bytes();
        let checksum = crc8(&[ADDRESS << 1, register, low, high]);
        self.registers.write(&[register, low, high, checksum])
    }

    /// Gives the bus back.
    pub fn release(self) -> I {
        self.registers.release()
    }

    /// A word, low byte first, followed by the checksum over the whole exchange with both address bytes.
    fn word(&mut self, register: u8) -> Result<u16, I2cError> {
        let [low, high, actual] = self.registers.read::<3>(register)?;
        let expected = crc8(&[ADDRESS << 1, register, (ADDRESS << 1) | 1, low, high]);
        if expected != actual {
            return Err(I2cError::Checksum { register, expected, actual });
        }
        Ok(u16::from_le_bytes([low, high]))
    }
}

/// The nearest step of the adjustment, straight between the table's rows.
fn adjustment(milliampere_hours: f32) -> u16 {
    let (mut below, mut value) = ((0.0, 0.0), 0.0);
    for row in ADJUSTMENT {
        if below.0 == 0.0 || milliampere_hours > below.0 {
            let share = ((milliampere_hours - below.0) / (row.0 - below.0)).clamp(0.0, 1.0);
            value = if below.0 == 0.0 || share.is_nan() { row.1 } else { below.1 + share * (row.1 - below.1) };
        }
        below = row;
    }
    (value + 0.5) as u16
}

impl<I: I2c> FuelGauge for Lc709203f<I> {
    type Error = I2cError;

    fn read(&mut self) -> Result<GaugeReading, I2cError> {
        if !self.initialised || self.word(POWER_MODE)? != OPERATIONAL {
            self.initialised = false;
            self.initialise()?;
            self.initialised = true;
        }
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

    fn write(register: u8, value: u16) -> Transaction {
        let [low, high] = value.to_le_bytes();
        Transaction::write(0x0B, [register, low, high, checksum(&[0x16, register, low, high])].to_vec())
    }

    /// What is written before the first reading.
    fn initialised(apa: u16) -> [Transaction; 3] {
        [write(0x15, 1), write(0x0B, apa), write(0x12, 1)]
    }

    #[test]
    fn lc709203f_is_initialised_before_the_first_reading_and_when_it_was_reset() {
        let mut bus = initialised(0x19).to_vec();
        bus.extend([sealed(0x0F, 500), sealed(0x09, 3700)]);
        bus.extend([sealed(0x15, 1), sealed(0x0F, 499), sealed(0x09, 3700), sealed(0x15, 2)]);
        bus.extend(initialised(0x19));
        bus.extend([sealed(0x0F, 498), sealed(0x09, 3700)]);
        let mut gauge = Lc709203f::new(Mock::new(&bus)).with_capacity_mah(1000.0);
        assert_eq!([0; 3].map(|_| gauge.read().unwrap().soc), [0.5, 0.499, 0.498]);
        gauge.release().done();
    }

    #[test]
    fn lc709203f_adjustment_is_that_of_the_data_sheet() {
        for (mah, expected) in
            [(100.0, 0x08), (200.0, 0x0B), (500.0, 0x10), (1000.0, 0x19), (2000.0, 0x2D), (3000.0, 0x36)]
        {
            assert_eq!(adjustment(mah), expected);
        }
        assert_eq!([0.0, f32::NAN, 1e9, 1500.0].map(adjustment), [0x08, 0x08, 0x36, 35]);
    }

    #[test]
    fn lc709203f_reads_low_byte_first_and_checks_the_checksum() {
        let mut bus = initialised(0x2D).to_vec();
        bus.extend([sealed(0x0F, 725), sealed(0x09, 3812)]);
        let mut gauge = Lc709203f::new(Mock::new(&bus));
        let reading = gauge.read().unwrap();
        assert_eq!((reading.soc, reading.volts), (0.725, Some(3.812)));
        gauge.release().done();
    }

    #[test]
    fn lc709203f_refuses_a_wrong_checksum_and_impossible_charge() {
        let mut bus = initialised(0x2D).to_vec();
        bus.extend([word(0x0F, [0xD5, 0x02, 0x00]), sealed(0x15, 1), sealed(0x0F, 1001)]);
        let mut gauge = Lc709203f::new(Mock::new(&bus));
        assert!(matches!(gauge.read(), Err(I2cError::Checksum { register: 0x0F, actual: 0, .. })));
        assert_eq!(gauge.read(), Err(I2cError::OutOfRange { register: 0x0F, raw: 1001 }));
        gauge.release().done();
    }
}
