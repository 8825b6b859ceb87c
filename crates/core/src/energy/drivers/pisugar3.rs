//! PiSugar 3: a UPS board whose microcontroller reports voltage and charge (PiSugar wiki, "PiSugar 3 series").

use embedded_hal::i2c::I2c;

use super::i2c::{I2cError, Registers};
use crate::energy::gauge::{FuelGauge, GaugeReading, Supply};

const ADDRESS: u8 = 0x57;
const CONTROL: u8 = 0x02;
/// CONTROL: external power is plugged in.
const PLUGGED: u8 = 0x80;
const VOLTAGE_HIGH: u8 = 0x22;
const VOLTAGE_LOW: u8 = 0x23;
const PERCENT: u8 = 0x2A;

/// The board at its fixed address 0x57.
#[derive(Clone, Debug)]
pub struct PiSugar3<I> {
    registers: Registers<I>,
}

impl<I: I2c> PiSugar3<I> {
    /// The board on a bus.
    pub fn new(i2c: I) -> Self {
        PiSugar3 { registers: Registers::new(i2c, ADDRESS) }
    }

    /// Gives the bus back.
    pub fn release(self) -> I {
        self.registers.release()
    }
}

impl<I: I2c> FuelGauge for PiSugar3<I> {
    type Error = I2cError;

    fn read(&mut self) -> Result<GaugeReading, I2cError> {
        let [percent] = self.registers.read(PERCENT)?;
        if percent > 100 {
            return Err(I2cError::OutOfRange { register: PERCENT, raw: percent.into() });
        }
        // Its registers are single bytes.
        let [high] = self.registers.read(VOLTAGE_HIGH)?;
        let [low] = self.registers.read(VOLTAGE_LOW)?;
        let volts = f32::from(u16::from_be_bytes([high, low])) / 1000.0;
        let [control] = self.registers.read(CONTROL)?;
        let supply = if control & PLUGGED != 0 { Supply::External } else { Supply::Battery };
        Ok(GaugeReading::new(f32::from(percent) / 100.0).with_volts(volts).with_supply(supply))
    }
}

#[cfg(test)]
mod tests {
    use embedded_hal_mock::eh1::i2c::{Mock, Transaction};

    use super::*;

    fn byte(register: u8, value: u8) -> Transaction {
        Transaction::write_read(0x57, [register].to_vec(), [value].to_vec())
    }

    #[test]
    fn pisugar3_reads_percent_millivolts_and_the_plug() {
        let reading = |control| [byte(0x2A, 83), byte(0x22, 0x0F), byte(0x23, 0x8C), byte(0x02, control)];
        let mut bus = [reading(0xE4), reading(0x64)].concat();
        bus.push(byte(0x2A, 101));
        let mut gauge = PiSugar3::new(Mock::new(&bus));
        let plugged = gauge.read().unwrap();
        assert_eq!((plugged.soc, plugged.volts, plugged.supply), (0.83, Some(3.98), Some(Supply::External)));
        assert_eq!(gauge.read().unwrap().supply, Some(Supply::Battery));
        assert_eq!(gauge.read(), Err(I2cError::OutOfRange { register: 0x2A, raw: 101 }));
        gauge.release().done();
    }
}
