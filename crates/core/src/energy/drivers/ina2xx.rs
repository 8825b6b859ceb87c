//! INA219 and INA226: power monitors with one shunt (Texas Instruments SBOS448 and SBOS547), also on UPS HATs.

use core::fmt;

use embedded_hal::i2c::I2c;

use super::i2c::{I2cError, Registers, signed};
use crate::energy::gauge::{PowerMonitor, PowerReading};

const BUS_VOLTAGE: u8 = 0x02;
const CURRENT: u8 = 0x04;
const CALIBRATION: u8 = 0x05;

/// INA219: bit 0 of the bus voltage, the current or power calculation overflowed.
const OVERFLOW: u16 = 1;
/// INA219: bit 1 of the bus voltage, a conversion is ready.
const READY: u16 = 2;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Chip {
    Ina219,
    Ina226,
}

/// The shunt resistance or largest current makes no calibration that fits the register.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub struct ShuntError {
    /// Ohms of the shunt.
    pub ohms: f32,
    /// Largest current in amperes.
    pub max_amperes: f32,
}

impl fmt::Display for ShuntError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ShuntError { ohms, max_amperes } = self;
        write!(f, "a shunt of {ohms} ohm for {max_amperes} A gives no calibration between 1 and 65535")
    }
}

impl core::error::Error for ShuntError {}

/// One INA219 or INA226.
///
/// The calibration register is written before the first reading and again whenever the chip has lost it; that reading is
/// then reported as not ready instead of as zero amperes.
#[derive(Clone, Debug)]
pub struct Ina2xx<I> {
    registers: Registers<I>,
    chip: Chip,
    calibration: u16,
    step: f32,
    /// -1 where the shunt is wired so that charging reads positive.
    sign: f32,
}

impl<I: I2c> Ina2xx<I> {
    /// An INA219 (address 0x40 to 0x4F) on a shunt of `ohms`, for currents up to `max_amperes`.
    ///
    /// # Errors
    /// [`ShuntError`] when the two do not fit the chip.
    pub fn ina219(i2c: I, address: u8, ohms: f32, max_amperes: f32) -> Result<Self, ShuntError> {
        Self::new(i2c, address, Chip::Ina219, ohms, max_amperes)
    }

    /// An INA226 (address 0x40 to 0x4F).
    ///
    /// # Errors
    /// [`ShuntError`] when shunt and current do not fit the chip.
    pub fn ina226(i2c: I, address: u8, ohms: f32, max_amperes: f32) -> Result<Self, ShuntError> {
        Self::new(i2c, address, Chip::Ina226, ohms, max_amperes)
    }

    /// The INA219 of a UPS HAT: usually at 0x43 with a shunt of 0.01 ohm, wired so that charging reads positive.
    ///
    /// # Errors
    /// None in practice: the figures fit the chip.
    pub fn ups_hat(i2c: I, address: u8) -> Result<Self, ShuntError> {
        Ok(Self::ina219(i2c, address, 0.01, 5.0)?.charging_positive())
    }

    /// For a shunt wired so that charging reads positive.
    #[must_use]
    pub fn charging_positive(self) -> Self {
        Ina2xx { sign: -1.0, ..self }
    }

    fn new(i2c: I, address: u8, chip: Chip, ohms: f32, max_amperes: f32) -> Result<Self, ShuntError> {
        // The smallest step with which the largest current fits 15 bits.
        let step = max_amperes / 32_768.0;
        let scale = match chip {
            Chip::Ina219 => 0.04096,
            Chip::Ina226 => 0.00512,
        };
        // Truncated, as both data sheets say.
        let calibration = scale / (step * ohms);
        if !(1.0..65_536.0).contains(&calibration) || ohms <= 0.0 {
            return Err(ShuntError { ohms, max_amperes });
        }
        let registers = Registers::new(i2c, address);
        let calibration = calibration as u16;
        // Bit 0 of the INA219's register cannot be set.
        let calibration = if chip == Chip::Ina219 { calibration & !1 } else { calibration };
        Ok(Ina2xx { registers, chip, calibration, step, sign: 1.0 })
    }

    /// The I2C address.
    pub fn address(&self) -> u8 {
        self.registers.address()
    }

    /// Gives the bus back.
    pub fn release(self) -> I {
        self.registers.release()
    }
}

impl<I: I2c> PowerMonitor for Ina2xx<I> {
    type Error = I2cError;

    fn read_power(&mut self) -> Result<PowerReading, I2cError> {
        if self.registers.read_be(CALIBRATION)? != self.calibration {
            self.registers.write_be(CALIBRATION, self.calibration)?;
            return Err(I2cError::NotReady { register: CALIBRATION });
        }
        let raw = self.registers.read_be(BUS_VOLTAGE)?;
        let volts = match self.chip {
            Chip::Ina219 => {
                if raw & OVERFLOW != 0 {
                    return Err(I2cError::OutOfRange { register: BUS_VOLTAGE, raw });
                }
                if raw & READY == 0 {
                    return Err(I2cError::NotReady { register: BUS_VOLTAGE });
                }
                f32::from(raw >> 3) * 0.004
            }
            // 36 V is the most the chip may see; above it, and with the sign bit, nothing real is on the bus.
            Chip::Ina226 if raw > 28_800 => return Err(I2cError::OutOfRange { register: BUS_VOLTAGE, raw }),
            Chip::Ina226 => f32::from(raw) * 0.00125,
        };
        let amperes = f32::from(signed(self.registers.read_be(CURRENT)?)) * self.step * self.sign;
        Ok(PowerReading::new(volts, amperes))
    }
}

#[cfg(test)]
mod tests {
    use embedded_hal::i2c::{ErrorKind, NoAcknowledgeSource};
    use embedded_hal_mock::eh1::i2c::{Mock, Transaction};

    use super::*;
    use crate::energy::gauge::{Fault, SensorError};

    fn word(address: u8, register: u8, value: u16) -> Transaction {
        Transaction::write_read(address, [register].to_vec(), value.to_be_bytes().to_vec())
    }

    #[test]
    fn ina2xx_calibration_is_truncated_as_in_the_data_sheet() {
        for (ohms, amperes, expected) in [(0.1, 3.2768, 4096), (0.01, 5.0, 26_842), (0.1, 2.0, 6710)] {
            let monitor = Ina2xx::ina219(Mock::new(&[]), 0x40, ohms, amperes).unwrap();
            assert!(monitor.calibration.abs_diff(expected) <= 2, "{}", monitor.calibration);
            monitor.release().done();
        }
        let monitor = Ina2xx::ina226(Mock::new(&[]), 0x40, 0.002, 16.384).unwrap();
        assert!(monitor.calibration.abs_diff(5120) <= 1);
        monitor.release().done();
    }

    #[test]
    fn ina219_reads_volts_and_signed_amperes() {
        let bus = [
            word(0x40, 0x05, 0x0000),
            Transaction::write(0x40, [0x05, 0x10, 0x00].to_vec()),
            word(0x40, 0x05, 0x1000),
            word(0x40, 0x02, 0x609A),
            word(0x40, 0x04, 0x2710),
            word(0x40, 0x05, 0x1000),
            word(0x40, 0x02, 0x609A),
            word(0x40, 0x04, 0xD8F0),
        ];
        let mut monitor = Ina2xx::ina219(Mock::new(&bus), 0x40, 0.1, 3.2768).unwrap();
        assert_eq!(monitor.calibration, 0x1000);
        assert_eq!(monitor.read_power(), Err(I2cError::NotReady { register: 5 }));
        let PowerReading { volts, amperes, .. } = monitor.read_power().unwrap();
        assert!((volts - 12.364).abs() < 1e-3, "{volts}");
        assert!((amperes - 1.0).abs() < 1e-5);
        assert!((monitor.read_power().unwrap().amperes + 1.0).abs() < 1e-5);
        monitor.release().done();
    }

    #[test]
    fn overflow_and_unfinished_conversions_are_told() {
        let bus = [
            word(0x43, 0x05, 26_842),
            word(0x43, 0x02, 0x609B),
            word(0x43, 0x05, 26_842),
            word(0x43, 0x02, 0x6098),
            word(0x43, 0x05, 26_842),
            word(0x43, 0x02, 0x609A),
            word(0x43, 0x04, 0x0001),
        ];
        let mut monitor = Ina2xx::ups_hat(Mock::new(&bus), 0x43).unwrap();
        monitor.calibration = 26_842;
        assert_eq!(monitor.read_power(), Err(I2cError::OutOfRange { register: 2, raw: 0x609B }));
        assert_eq!(monitor.read_power(), Err(I2cError::NotReady { register: 2 }));
        assert!(monitor.read_power().unwrap().amperes < 0.0);
        monitor.release().done();
    }

    #[test]
    fn ina226_has_its_own_steps() {
        let bus = [word(0x41, 0x05, 5120), word(0x41, 0x02, 0x2570), word(0x41, 0x04, 0xFFFF)];
        let mut monitor = Ina2xx::ina226(Mock::new(&bus), 0x41, 0.002, 16.384).unwrap();
        monitor.calibration = 5120;
        let PowerReading { volts, amperes, .. } = monitor.read_power().unwrap();
        assert!((volts - 11.98).abs() < 1e-3);
        assert!((amperes + 0.0005).abs() < 1e-6);
        monitor.release().done();
    }

    #[test]
    fn ina2xx_bus_faults_are_classified() {
        let nack = ErrorKind::NoAcknowledge(NoAcknowledgeSource::Address);
        for (kind, fault) in
            [(nack, Fault::Nack), (ErrorKind::Bus, Fault::Bus), (ErrorKind::ArbitrationLoss, Fault::Bus)]
        {
            let mut monitor = Ina2xx::ups_hat(Mock::new(&[word(0x43, 0x05, 0).with_error(kind)]), 0x43).unwrap();
            let error = monitor.read_power().unwrap_err();
            assert_eq!(error, I2cError::Bus { address: 0x43, kind });
            assert_eq!(error.fault(), fault);
            monitor.release().done();
        }
    }

    #[test]
    fn ina2xx_impossible_shunts_are_refused() {
        for (ohms, amperes) in [(0.0, 1.0), (-0.1, 1.0), (f32::NAN, 1.0), (1e-9, 1.0), (100.0, 100.0)] {
            let mut bus = Mock::new(&[]);
            assert!(Ina2xx::ina219(bus.clone(), 0x40, ohms, amperes).is_err());
            bus.done();
        }
    }
}
