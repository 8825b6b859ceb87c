//! INA3221: a power monitor with three channels (Texas Instruments SBOS576), as on Jetson boards.

use embedded_hal::i2c::I2c;

use super::i2c::{I2cError, Registers, signed};
use crate::energy::gauge::{PowerMonitor, PowerReading};

/// One of the three channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Channel {
    /// The first.
    One,
    /// The second.
    Two,
    /// The third.
    Three,
}

impl Channel {
    /// The channel with a number from 1 to 3, as the data sheet counts them.
    pub const fn numbered(number: u8) -> Option<Self> {
        match number {
            1 => Some(Channel::One),
            2 => Some(Channel::Two),
            3 => Some(Channel::Three),
            _ => None,
        }
    }

    /// Registers of shunt and bus voltage.
    const fn registers(self) -> (u8, u8) {
        match self {
            Channel::One => (0x01, 0x02),
            Channel::Two => (0x03, 0x04),
            Channel::Three => (0x05, 0x06),
        }
    }
}

/// One channel of an INA3221 (address 0x40 to 0x43).
#[derive(Clone, Debug)]
pub struct Ina3221<I> {
    registers: Registers<I>,
    channel: Channel,
    ohms: f32,
}

impl<I: I2c> Ina3221<I> {
    /// The channel with a shunt of `ohms`.
    pub fn new(i2c: I, address: u8, channel: Channel, ohms: f32) -> Self {
        Ina3221 { registers: Registers::new(i2c, address), channel, ohms }
    }

    /// For a shunt wired so that charging reads positive.
    #[must_use]
    pub fn charging_positive(self) -> Self {
        Ina3221 { ohms: -self.ohms, ..self }
    }

    /// Gives the bus back.
    pub fn release(self) -> I {
        self.registers.release()
    }
}

/// Thirteen bits in two's complement in the upper part of a register: the shift keeps the sign.
const fn steps(raw: u16) -> i16 {
    signed(raw) >> 3
}

impl<I: I2c> PowerMonitor for Ina3221<I> {
    type Error = I2cError;

    fn read_power(&mut self) -> Result<PowerReading, I2cError> {
        let (shunt, bus) = self.channel.registers();
        let raw = self.registers.read_be(bus)?;
        let volts = f32::from(steps(raw)) * 0.008;
        // The chip takes 26 V at most, and none below ground.
        if !(0.0..=26.0).contains(&volts) {
            return Err(I2cError::OutOfRange { register: bus, raw });
        }
        let raw = self.registers.read_be(shunt)?;
        let amperes = f32::from(steps(raw)) * 40e-6 / self.ohms;
        if !amperes.is_finite() {
            return Err(I2cError::OutOfRange { register: shunt, raw });
        }
        Ok(PowerReading::new(volts, amperes))
    }
}

#[cfg(test)]
mod tests {
    use embedded_hal_mock::eh1::i2c::{Mock, Transaction};

    use super::*;

    fn word(register: u8, value: u16) -> Transaction {
        Transaction::write_read(0x40, [register].to_vec(), value.to_be_bytes().to_vec())
    }

    #[test]
    fn ina3221_negative_shunt_values_keep_their_sign() {
        for (channel, shunt, bus) in [(Channel::One, 1, 2), (Channel::Two, 3, 4), (Channel::Three, 5, 6)] {
            // 0x2710 >> 3 = 1250 steps of 8 mV; 0xFFF8 is one step of 40 µV below zero.
            let mock = Mock::new(&[word(bus, 0x2710), word(shunt, 0xFFF8), word(bus, 0x2710), word(shunt, 0x03E8)]);
            let mut monitor = Ina3221::new(mock, 0x40, channel, 0.1);
            let reading = monitor.read_power().unwrap();
            assert!((reading.volts - 10.0).abs() < 1e-4);
            assert!((reading.amperes + 0.0004).abs() < 1e-7);
            assert!((monitor.read_power().unwrap().amperes - 0.05).abs() < 1e-6);
            monitor.release().done();
            let mock = Mock::new(&[word(bus, 0x2710), word(shunt, 0xFFF8)]);
            let mut reversed = Ina3221::new(mock, 0x40, channel, 0.1).charging_positive();
            assert!((reversed.read_power().unwrap().amperes - 0.0004).abs() < 1e-7);
            reversed.release().done();
        }
    }

    #[test]
    fn ina3221_volts_below_ground_are_impossible() {
        let mut monitor = Ina3221::new(Mock::new(&[word(2, 0xFFF8)]), 0x40, Channel::One, 0.1);
        assert_eq!(monitor.read_power(), Err(I2cError::OutOfRange { register: 2, raw: 0xFFF8 }));
        monitor.release().done();
    }
}
