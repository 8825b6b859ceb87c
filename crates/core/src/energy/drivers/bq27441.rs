//! BQ27441-G1: a fuel gauge that counts charge through a shunt (Texas Instruments SLUUAC9).

use core::time::Duration;

use embedded_hal::i2c::I2c;

use super::i2c::{I2cError, Registers, signed};
use crate::energy::gauge::{FuelGauge, GaugeReading, PowerMonitor, PowerReading, Supply};

const ADDRESS: u8 = 0x55;
const TEMPERATURE: u8 = 0x02;
const VOLTAGE: u8 = 0x04;
const REMAINING_CAPACITY: u8 = 0x0C;
const AVERAGE_CURRENT: u8 = 0x10;
const STATE_OF_CHARGE: u8 = 0x1C;

/// Milliamperes that a battery which neither charges nor discharges may show.
const NOISE: f32 = 5.0;

/// The chip at its fixed address 0x55.
#[derive(Clone, Debug)]
pub struct Bq27441<I> {
    registers: Registers<I>,
}

impl<I: I2c> Bq27441<I> {
    /// The chip on a bus.
    pub fn new(i2c: I) -> Self {
        Bq27441 { registers: Registers::new(i2c, ADDRESS) }
    }

    /// Gives the bus back.
    pub fn release(self) -> I {
        self.registers.release()
    }

    fn volts(&mut self) -> Result<f32, I2cError> {
        Ok(f32::from(self.registers.read_le(VOLTAGE)?) / 1000.0)
    }

    /// Milliamperes, positive while charging: the chip's own sign.
    fn charge_current(&mut self) -> Result<f32, I2cError> {
        Ok(f32::from(signed(self.registers.read_le(AVERAGE_CURRENT)?)))
    }
}

impl<I: I2c> FuelGauge for Bq27441<I> {
    type Error = I2cError;

    fn read(&mut self) -> Result<GaugeReading, I2cError> {
        let raw = self.registers.read_le(STATE_OF_CHARGE)?;
        if raw > 100 {
            return Err(I2cError::OutOfRange { register: STATE_OF_CHARGE, raw });
        }
        let volts = self.volts()?;
        let current = self.charge_current()?;
        let left = f32::from(self.registers.read_le(REMAINING_CAPACITY)?);
        // Tenths of a kelvin.
        let celsius = f32::from(self.registers.read_le(TEMPERATURE)?) / 10.0 - 273.15;
        let reading = GaugeReading::new(f32::from(raw) / 100.0).with_volts(volts).with_celsius(celsius);
        let reading = match current {
            _ if current > NOISE => reading.with_supply(Supply::Charging),
            _ if current < -NOISE => reading.with_supply(Supply::Battery),
            _ => reading,
        };
        let hours = if current < 0.0 { left / -current } else { f32::INFINITY };
        Ok(match Duration::try_from_secs_f32(hours * 3600.0) {
            Ok(time) => reading.with_time_to_empty(time),
            Err(_) => reading,
        })
    }
}

impl<I: I2c> PowerMonitor for Bq27441<I> {
    type Error = I2cError;

    fn read_power(&mut self) -> Result<PowerReading, I2cError> {
        let volts = self.volts()?;
        Ok(PowerReading::new(volts, -self.charge_current()? / 1000.0))
    }
}

#[cfg(test)]
mod tests {
    use embedded_hal_mock::eh1::i2c::{Mock, Transaction};

    use super::*;

    fn word(register: u8, value: u16) -> Transaction {
        Transaction::write_read(0x55, [register].to_vec(), value.to_le_bytes().to_vec())
    }

    #[test]
    fn bq27441_discharging_is_a_negative_current_of_the_chip_and_a_positive_load() {
        let minus_250 = 0xFF06;
        let mut gauge = Bq27441::new(Mock::new(&[
            word(0x1C, 64),
            word(0x04, 3790),
            word(0x10, minus_250),
            word(0x0C, 1000),
            word(0x02, 2881),
            word(0x04, 3790),
            word(0x10, minus_250),
        ]));
        let reading = gauge.read().unwrap();
        assert_eq!((reading.soc, reading.volts, reading.supply), (0.64, Some(3.79), Some(Supply::Battery)));
        assert!((reading.celsius.unwrap() - 14.95).abs() < 1e-3);
        assert_eq!(reading.time_to_empty, Some(Duration::from_secs(4 * 3600)));
        assert_eq!(gauge.read_power(), Ok(PowerReading::new(3.79, 0.25)));
        gauge.release().done();
    }

    #[test]
    fn bq27441_refuses_more_than_full() {
        let mut gauge = Bq27441::new(Mock::new(&[word(0x1C, 0xFFFF)]));
        assert_eq!(gauge.read(), Err(I2cError::OutOfRange { register: 0x1C, raw: 0xFFFF }));
        gauge.release().done();
    }
}
