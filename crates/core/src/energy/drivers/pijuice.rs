//! PiJuice: a UPS board whose microcontroller reports charge, voltage, temperature and where its power comes from.

use embedded_hal::i2c::I2c;

use super::i2c::{I2cError, Registers};
use crate::energy::gauge::{FuelGauge, GaugeReading, Supply};

const ADDRESS: u8 = 0x14;
const STATUS: u8 = 0x40;
const CHARGE_LEVEL: u8 = 0x41;
const BATTERY_TEMPERATURE: u8 = 0x47;
const BATTERY_VOLTAGE: u8 = 0x49;

/// STATUS, bits 2 and 3: there is no battery.
const NO_BATTERY: u8 = 3;
/// STATUS, bits 4 to 7: an input with enough power, in either pair of bits.
const INPUT_PRESENT: u8 = 3;

/// Degrees that a battery can have and work; what lies outside comes from a sensor that is missing or broken.
const POSSIBLE_CELSIUS: core::ops::RangeInclusive<f32> = -40.0..=85.0;

/// The board at its usual address 0x14.
#[derive(Clone, Debug)]
pub struct PiJuice<I> {
    registers: Registers<I>,
}

impl<I: I2c> PiJuice<I> {
    /// The board on a bus.
    pub fn new(i2c: I) -> Self {
        PiJuice { registers: Registers::new(i2c, ADDRESS) }
    }

    /// Gives the bus back.
    pub fn release(self) -> I {
        self.registers.release()
    }

    /// A byte, followed by the complement of itself as its checksum.
    fn byte(&mut self, register: u8) -> Result<u8, I2cError> {
        let [value, actual] = self.registers.read(register)?;
        let expected = 0xFF ^ value;
        if expected == actual { Ok(value) } else { Err(I2cError::Checksum { register, expected, actual }) }
    }

    /// A word, low byte first, followed by the complement of the exclusive or of both bytes.
    fn word(&mut self, register: u8) -> Result<u16, I2cError> {
        let [low, high, actual] = self.registers.read(register)?;
        let expected = 0xFF ^ low ^ high;
        if expected == actual {
            Ok(u16::from_le_bytes([low, high]))
        } else {
            Err(I2cError::Checksum { register, expected, actual })
        }
    }
}

impl<I: I2c> FuelGauge for PiJuice<I> {
    type Error = I2cError;

    fn read(&mut self) -> Result<GaugeReading, I2cError> {
        let status = self.byte(STATUS)?;
        let battery = (status >> 2) & 3;
        if battery == NO_BATTERY {
            return Err(I2cError::NotReady { register: STATUS });
        }
        let percent = self.byte(CHARGE_LEVEL)?;
        if percent > 100 {
            return Err(I2cError::OutOfRange { register: CHARGE_LEVEL, raw: percent.into() });
        }
        let supply = match (battery, [(status >> 4) & 3, status >> 6].contains(&INPUT_PRESENT)) {
            (_, true) => Supply::External,
            (0, false) => Supply::Battery,
            // From an input that is too weak to carry the board.
            (_, false) => Supply::Charging,
        };
        let volts = f32::from(self.word(BATTERY_VOLTAGE)?) / 1000.0;
        let reading = GaugeReading::new(f32::from(percent) / 100.0).with_volts(volts).with_supply(supply);
        // Whole degrees, signed, in the low byte. It depends on the battery's sensor, which may be missing: a reading without it is a
        // reading all the same, but a bus that fails is told.
        match self.word(BATTERY_TEMPERATURE) {
            Ok(word) => {
                let celsius = f32::from(word.to_le_bytes()[0].cast_signed());
                Ok(if POSSIBLE_CELSIUS.contains(&celsius) { reading.with_celsius(celsius) } else { reading })
            }
            Err(I2cError::Checksum { .. }) => Ok(reading),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use embedded_hal_mock::eh1::i2c::{Mock, Transaction};

    use super::*;

    fn answer(register: u8, bytes: &[u8]) -> Transaction {
        let checksum = bytes.iter().fold(0xFF, |sum, byte| sum ^ byte);
        Transaction::write_read(0x14, [register].to_vec(), [bytes, &[checksum]].concat())
    }

    #[test]
    fn pijuice_reads_charge_voltage_and_where_power_comes_from() {
        // No input; charging from a weak one; mains on the micro-USB input; mains on the pins.
        let inputs =
            [(0x00, Supply::Battery), (0x24, Supply::Charging), (0x34, Supply::External), (0xC8, Supply::External)];
        for (status, supply) in inputs {
            let bus = [
                answer(0x40, &[status]),
                answer(0x41, &[76]),
                answer(0x49, &3890u16.to_le_bytes()),
                answer(0x47, &[0x15, 0x00]),
            ];
            let mut gauge = PiJuice::new(Mock::new(&bus));
            let reading = gauge.read().unwrap();
            assert_eq!((reading.soc, reading.volts, reading.supply), (0.76, Some(3.89), Some(supply)), "{status:#x}");
            assert_eq!(reading.celsius, Some(21.0));
            gauge.release().done();
        }
    }

    #[test]
    fn pijuice_reads_frost_and_does_without_a_temperature() {
        // -10 degrees; a sensor at its limit; a checksum that is wrong.
        let spoiled = Transaction::write_read(0x14, [0x47].to_vec(), [0x15, 0x00, 0x00].to_vec());
        let cases = [(answer(0x47, &[0xF6, 0x00]), Some(-10.0)), (answer(0x47, &[0x7F, 0x00]), None), (spoiled, None)];
        for (temperature, celsius) in cases {
            let bus = [answer(0x40, &[0x00]), answer(0x41, &[76]), answer(0x49, &3890u16.to_le_bytes()), temperature];
            let mut gauge = PiJuice::new(Mock::new(&bus));
            let reading = gauge.read().unwrap();
            assert_eq!((reading.celsius, reading.soc), (celsius, 0.76));
            gauge.release().done();
        }
    }

    #[test]
    fn pijuice_refuses_what_is_impossible() {
        let bus = [
            answer(0x40, &[0x0C]),
            answer(0x40, &[0x00]),
            answer(0x41, &[101]),
            Transaction::write_read(0x14, [0x40].to_vec(), [0x00, 0x00].to_vec()),
        ];
        let mut gauge = PiJuice::new(Mock::new(&bus));
        assert_eq!(gauge.read(), Err(I2cError::NotReady { register: 0x40 }));
        assert_eq!(gauge.read(), Err(I2cError::OutOfRange { register: 0x41, raw: 101 }));
        assert_eq!(gauge.read(), Err(I2cError::Checksum { register: 0x40, expected: 0xFF, actual: 0 }));
        gauge.release().done();
    }
}
