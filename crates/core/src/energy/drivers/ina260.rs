//! INA260: a power monitor with its shunt inside (Texas Instruments SBOS656).

use embedded_hal::i2c::I2c;

use super::i2c::{I2cError, Registers, signed};
use crate::energy::gauge::{PowerMonitor, PowerReading};

const CURRENT: u8 = 0x01;
const BUS_VOLTAGE: u8 = 0x02;

/// Amperes and volts of one step.
const STEP: f32 = 0.00125;

/// One INA260 (address 0x40 to 0x4F).
#[derive(Clone, Debug)]
pub struct Ina260<I> {
    registers: Registers<I>,
    /// -1 where the chip is wired so that charging reads positive.
    sign: f32,
}

impl<I: I2c> Ina260<I> {
    /// The chip at an address.
    pub fn new(i2c: I, address: u8) -> Self {
        Ina260 { registers: Registers::new(i2c, address), sign: 1.0 }
    }

    /// For a chip wired so that charging reads positive.
    #[must_use]
    pub fn charging_positive(self) -> Self {
        Ina260 { sign: -1.0, ..self }
    }

    /// Gives the bus back.
    pub fn release(self) -> I {
        self.registers.release()
    }
}

impl<I: I2c> PowerMonitor for Ina260<I> {
    type Error = I2cError;

    fn read_power(&mut self) -> Result<PowerReading, I2cError> {
        let raw = self.registers.read_be(BUS_VOLTAGE)?;
        // 36 V is the most the chip may see; above it, and with the sign bit, nothing real is on the bus.
        if raw > 28_800 {
            return Err(I2cError::OutOfRange { register: BUS_VOLTAGE, raw });
        }
        let amperes = f32::from(signed(self.registers.read_be(CURRENT)?)) * STEP * self.sign;
        Ok(PowerReading::new(f32::from(raw) * STEP, amperes))
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
    fn ina260_reads_volts_and_signed_amperes() {
        let bus = [word(0x02, 0x2570), word(0x01, 0xFFFC), word(0x02, 0xFFFF)];
        let mut monitor = Ina260::new(Mock::new(&bus), 0x40);
        let PowerReading { volts, amperes, .. } = monitor.read_power().unwrap();
        assert!((volts - 11.98).abs() < 1e-3 && (amperes + 0.005).abs() < 1e-6);
        assert_eq!(monitor.read_power(), Err(I2cError::OutOfRange { register: 2, raw: 0xFFFF }));
        monitor.release().done();
        let mut reversed = Ina260::new(Mock::new(&bus[..2]), 0x40).charging_positive();
        assert!((reversed.read_power().unwrap().amperes - 0.005).abs() < 1e-6);
        reversed.release().done();
    }
}
