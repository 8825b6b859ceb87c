//! PiSugar 2: UPS boards that tell the voltage and current of their power-bank chip, an IP5209 or IP5312 by Injoinic.

use embedded_hal::i2c::I2c;

use super::i2c::{I2cError, Registers};
use crate::energy::estimator::OcvCurve;
use crate::energy::gauge::{FuelGauge, GaugeReading, PowerMonitor, PowerReading, Supply};

const ADDRESS: u8 = 0x75;
/// Volts at a count of zero, and of one step.
const VOLTS_OFFSET: f32 = 2.6;
const VOLTS_STEP: f32 = 0.000_268_55;
/// Internal resistance of a usual pack, in ohms: what the voltage sags by under load.
const OHMS: f32 = 0.08;
/// Amperes within which the battery neither charges nor discharges.
const NOISE: f32 = 0.02;

/// Where a chip has its measurements, low byte first.
#[derive(Clone, Copy, Debug)]
struct Chip {
    voltage: u8,
    current: u8,
    /// Amperes of one step, positive while charging.
    step: f32,
}

const IP5209: Chip = Chip { voltage: 0xA2, current: 0xA4, step: 0.000_745_985 };
const IP5312: Chip = Chip { voltage: 0xD0, current: 0xD2, step: 0.002_685_54 };

/// The board at its fixed address 0x75. Its chip counts no charge: the state of charge is read off the voltage, less what
/// the load takes from it.
#[derive(Clone, Debug)]
pub struct PiSugar2<I> {
    registers: Registers<I>,
    chip: Chip,
    ocv: OcvCurve,
}

impl<I: I2c> PiSugar2<I> {
    /// A PiSugar 2, for the Raspberry Pi Zero.
    pub fn new(i2c: I) -> Self {
        PiSugar2 { registers: Registers::new(i2c, ADDRESS), chip: IP5209, ocv: OcvCurve::lithium_ion(1) }
    }

    /// A PiSugar 2 Plus or Pro, for larger Raspberry Pis.
    pub fn plus(i2c: I) -> Self {
        PiSugar2 { registers: Registers::new(i2c, ADDRESS), chip: IP5312, ocv: OcvCurve::lithium_ion(1) }
    }

    /// Gives the bus back.
    pub fn release(self) -> I {
        self.registers.release()
    }

    /// Fourteen bits in two's complement, low byte first. The chip answers single bytes.
    fn count(&mut self, register: u8) -> Result<f32, I2cError> {
        let [low] = self.registers.read(register)?;
        let [high] = self.registers.read(register + 1)?;
        // The sign is the highest of fourteen bits: moved to the top and back, it fills the two above it.
        Ok(f32::from((u16::from_be_bytes([high, low]) << 2).cast_signed() >> 2))
    }
}

impl<I: I2c> PowerMonitor for PiSugar2<I> {
    type Error = I2cError;

    fn read_power(&mut self) -> Result<PowerReading, I2cError> {
        let volts = VOLTS_OFFSET + self.count(self.chip.voltage)? * VOLTS_STEP;
        // A chip without its measurement reads zero, and no battery that runs a board has so low a voltage.
        if volts <= VOLTS_OFFSET {
            return Err(I2cError::NotReady { register: self.chip.voltage });
        }
        Ok(PowerReading::new(volts, -self.count(self.chip.current)? * self.chip.step))
    }
}

impl<I: I2c> FuelGauge for PiSugar2<I> {
    type Error = I2cError;

    fn read(&mut self) -> Result<GaugeReading, I2cError> {
        let power = self.read_power()?;
        let soc = self.ocv.soc(power.volts + power.amperes * OHMS);
        let reading = GaugeReading::new(soc).with_volts(power.volts);
        Ok(match power.amperes {
            amperes if amperes < -NOISE => reading.with_supply(Supply::Charging),
            amperes if amperes > NOISE => reading.with_supply(Supply::Battery),
            _ => reading,
        })
    }
}

#[cfg(test)]
mod tests {
    use embedded_hal_mock::eh1::i2c::{Mock, Transaction};

    use super::*;

    /// Two single-byte reads of a count.
    fn count(register: u8, value: i16) -> [Transaction; 2] {
        let [high, low] = value.to_be_bytes();
        let byte = |register, value| Transaction::write_read(0x75, [register].to_vec(), [value].to_vec());
        // The two bits above the count are not part of it.
        [byte(register, low), byte(register + 1, high & 0x3F)]
    }

    #[test]
    fn pisugar2_reads_charge_off_voltage_and_current() {
        // 2.6 V + 4655 x 0.26855 mV = 3.85 V; -671 x 0.745985 mA is half an ampere out of the battery.
        let bus = [count(0xA2, 4655), count(0xA4, -671)].concat();
        let mut gauge = PiSugar2::new(Mock::new(&bus));
        let reading = gauge.read().unwrap();
        assert!((reading.volts.unwrap() - 3.85).abs() < 1e-3);
        assert!((reading.soc - OcvCurve::lithium_ion(1).soc(3.89)).abs() < 2e-3, "{}", reading.soc);
        assert_eq!(reading.supply, Some(Supply::Battery));
        gauge.release().done();
    }

    #[test]
    fn pisugar2_plus_has_registers_and_steps_of_its_own() {
        let bus = [count(0xD0, 4655), count(0xD2, 186), count(0xD0, 5800), count(0xD2, 2), count(0xD0, 0)].concat();
        let mut gauge = PiSugar2::plus(Mock::new(&bus));
        assert_eq!(gauge.read().unwrap().supply, Some(Supply::Charging));
        assert_eq!(gauge.read().unwrap().supply, None);
        assert_eq!(gauge.read(), Err(I2cError::NotReady { register: 0xD0 }));
        gauge.release().done();
    }
}
