//! MAX17048 and MAX17049: a fuel gauge by voltage model (Analog Devices data sheet 19-6171).

use core::time::Duration;

use embedded_hal::i2c::I2c;

use super::i2c::{I2cError, Registers, signed};
use crate::energy::gauge::{FuelGauge, GaugeReading, Supply};

const ADDRESS: u8 = 0x36;
const VCELL: u8 = 0x02;
const SOC: u8 = 0x04;
const CRATE: u8 = 0x16;

/// Volts of one step of VCELL.
const VCELL_STEP: f32 = 78.125e-6;
/// Charge per hour of one step of CRATE, 0.208 %.
const CRATE_STEP: f32 = 0.00208;
/// Charge per hour within which the rate is noise: a few steps either way, also of a battery that rests on its charger.
const CRATE_NOISE: f32 = 0.01;

/// The chip at its fixed address 0x36.
#[derive(Clone, Debug)]
pub struct Max17048<I> {
    registers: Registers<I>,
    cells: f32,
}

impl<I: I2c> Max17048<I> {
    /// A MAX17048 on one cell.
    pub fn new(i2c: I) -> Self {
        Max17048 { registers: Registers::new(i2c, ADDRESS), cells: 1.0 }
    }

    /// A MAX17049 on two cells in series: VCELL counts half of the voltage.
    pub fn max17049(i2c: I) -> Self {
        Max17048 { registers: Registers::new(i2c, ADDRESS), cells: 2.0 }
    }

    /// Gives the bus back.
    pub fn release(self) -> I {
        self.registers.release()
    }
}

impl<I: I2c> FuelGauge for Max17048<I> {
    type Error = I2cError;

    fn read(&mut self) -> Result<GaugeReading, I2cError> {
        let raw = self.registers.read_be(SOC)?;
        let soc = f32::from(raw) / 25_600.0;
        // The model runs a little past full; far past it is no reading.
        if soc > 1.1 {
            return Err(I2cError::OutOfRange { register: SOC, raw });
        }
        let soc = soc.min(1.0);
        let volts = f32::from(self.registers.read_be(VCELL)?) * VCELL_STEP * self.cells;
        let per_hour = f32::from(signed(self.registers.read_be(CRATE)?)) * CRATE_STEP;
        let reading = GaugeReading::new(soc).with_volts(volts);
        let reading = match per_hour {
            _ if per_hour > CRATE_NOISE => reading.with_supply(Supply::Charging),
            _ if per_hour < -CRATE_NOISE => reading.with_supply(Supply::Battery),
            _ => reading,
        };
        let hours = if per_hour < 0.0 { soc / -per_hour } else { f32::INFINITY };
        Ok(match Duration::try_from_secs_f32(hours * 3600.0) {
            Ok(time) => reading.with_time_to_empty(time),
            Err(_) => reading,
        })
    }
}

#[cfg(test)]
mod tests {
    use embedded_hal_mock::eh1::i2c::{Mock, Transaction};

    use super::*;

    fn read(soc: [u8; 2], vcell: [u8; 2], crate_: [u8; 2]) -> Result<GaugeReading, I2cError> {
        let transaction = |register, bytes: [u8; 2]| Transaction::write_read(0x36, [register].to_vec(), bytes.to_vec());
        let mut all = std::vec![transaction(0x04, soc)];
        if soc[0] < 110 {
            all.extend([transaction(0x02, vcell), transaction(0x16, crate_)]);
        }
        let mut gauge = Max17048::new(Mock::new(&all));
        let reading = gauge.read();
        gauge.release().done();
        reading
    }

    #[test]
    fn max17048_reads_charge_voltage_and_rate_high_byte_first() {
        // 0x3280 / 256 = 50.5 %; 0xC000 x 78.125 µV = 3.84 V; 0xFFB0 is -80 steps of 0.208 %/h.
        let reading = read([0x32, 0x80], [0xC0, 0x00], [0xFF, 0xB0]).unwrap();
        assert!((reading.soc - 0.505).abs() < 1e-6);
        assert!((reading.volts.unwrap() - 3.84).abs() < 1e-4);
        assert_eq!(reading.supply, Some(Supply::Battery));
        let hours = reading.time_to_empty.unwrap().as_secs_f32() / 3600.0;
        assert!((hours - 0.505 / (80.0 * 0.00208)).abs() < 1e-3);
        assert_eq!(read([0x64, 0x40], [0xD0, 0x00], [0x00, 0x10]).unwrap().supply, Some(Supply::Charging));
        assert_eq!(read([0x64, 0x40], [0xD0, 0x00], [0x00, 0x10]).unwrap().soc, 1.0);
    }

    #[test]
    fn max17048_rate_of_a_step_or_two_is_noise() {
        for crate_ in [[0x00, 0x00], [0x00, 0x01], [0xFF, 0xFE]] {
            assert_eq!(read([0x64, 0x00], [0xD0, 0x00], crate_).unwrap().supply, None);
        }
    }

    #[test]
    fn max17048_on_a_bus_that_reads_all_ones_is_out_of_range() {
        assert_eq!(read([0xFF; 2], [0xFF; 2], [0xFF; 2]), Err(I2cError::OutOfRange { register: 4, raw: 0xFFFF }));
    }
}
