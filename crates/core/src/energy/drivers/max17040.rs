//! MAX17040, MAX17041, MAX17043 and MAX17044: fuel gauges by voltage model without a rate of charge (Maxim 19-5210).

use embedded_hal::i2c::I2c;

use super::i2c::{I2cError, Registers};
use crate::energy::gauge::{FuelGauge, GaugeReading};

const ADDRESS: u8 = 0x36;
const VCELL: u8 = 0x02;
const SOC: u8 = 0x04;

/// Volts of one of the twelve-bit steps of VCELL.
const VCELL_STEP: f32 = 0.00125;

/// The chip at its fixed address 0x36.
#[derive(Clone, Debug)]
pub struct Max17040<I> {
    registers: Registers<I>,
    cells: f32,
}

impl<I: I2c> Max17040<I> {
    /// A MAX17040 or MAX17043 on one cell.
    pub fn new(i2c: I) -> Self {
        Max17040 { registers: Registers::new(i2c, ADDRESS), cells: 1.0 }
    }

    /// A MAX17041 or MAX17044 on two cells in series: VCELL counts half of the voltage.
    pub fn max17041(i2c: I) -> Self {
        Max17040 { registers: Registers::new(i2c, ADDRESS), cells: 2.0 }
    }

    /// Gives the bus back.
    pub fn release(self) -> I {
        self.registers.release()
    }
}

impl<I: I2c> FuelGauge for Max17040<I> {
    type Error = I2cError;

    fn read(&mut self) -> Result<GaugeReading, I2cError> {
        let raw = self.registers.read_be(SOC)?;
        let soc = f32::from(raw) / 25_600.0;
        // The model runs a little past full; far past it is no reading.
        if soc > 1.1 {
            return Err(I2cError::OutOfRange { register: SOC, raw });
        }
        let volts = f32::from(self.registers.read_be(VCELL)? >> 4) * VCELL_STEP * self.cells;
        Ok(GaugeReading::new(soc.min(1.0)).with_volts(volts))
    }
}

#[cfg(test)]
mod tests {
    use embedded_hal_mock::eh1::i2c::{Mock, Transaction};

    use super::*;

    fn word(register: u8, value: u16) -> Transaction {
        Transaction::write_read(0x36, [register].to_vec(), value.to_be_bytes().to_vec())
    }

    #[test]
    fn max17040_reads_charge_and_twelve_bits_of_voltage() {
        // 0x3280 / 256 = 50.5 %; 0xC00 x 1.25 mV = 3.84 V, and the low nibble is nothing.
        for (cells, volts) in [(1, 3.84), (2, 7.68)] {
            let mock = Mock::new(&[word(0x04, 0x3280), word(0x02, 0xC00F), word(0x04, 0xFFFF)]);
            let mut gauge = if cells == 1 { Max17040::new(mock) } else { Max17040::max17041(mock) };
            let reading = gauge.read().unwrap();
            assert!((reading.soc - 0.505).abs() < 1e-6 && (reading.volts.unwrap() - volts).abs() < 1e-4);
            assert_eq!(reading.supply, None);
            assert_eq!(gauge.read(), Err(I2cError::OutOfRange { register: 4, raw: 0xFFFF }));
            gauge.release().done();
        }
    }
}
