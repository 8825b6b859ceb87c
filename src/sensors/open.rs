//! Sensors by name, as a user writes them: `max17048:/dev/i2c-1`, `ina219:/dev/i2c-1:0x43:0.01`, `power-supply`.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use thiserror::Error;

use super::Companion;
use super::linux::{LinuxError, PowerSupply, Rail, Rapl};
use crate::energy::estimator::{CoulombGauge, CoulombSettings, CoulombState};
use crate::energy::gauge::{Fault, FuelGauge, GaugeReading, PowerMonitor, PowerReading, SensorError};

/// Why a sensor could not be opened.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum OpenError {
    /// No such kind of sensor.
    #[error("{name:?} is no sensor; expected one of {expected}")]
    Unknown {
        /// What was written.
        name: String,
        /// What could have been.
        expected: &'static str,
    },
    /// A part of the name is missing or wrong.
    #[error("{name:?}: expected {expected}")]
    Part {
        /// What was written.
        name: String,
        /// What it should look like.
        expected: &'static str,
    },
    /// The kernel's files do not have it.
    #[error(transparent)]
    Linux(#[from] LinuxError),
    /// The bus cannot be opened.
    #[error("{path}: {reason}")]
    Bus {
        /// The device.
        path: PathBuf,
        /// What the system says.
        reason: String,
    },
}

/// An error of any sensor.
#[derive(Debug, Error)]
#[error("{text}")]
pub struct AnySensorError {
    fault: Fault,
    text: String,
}

impl AnySensorError {
    fn new(error: impl SensorError + std::fmt::Display) -> Self {
        AnySensorError { fault: error.fault(), text: error.to_string() }
    }
}

impl SensorError for AnySensorError {
    fn fault(&self) -> Fault {
        self.fault
    }
}

/// A sensor whose error has become [`AnySensorError`].
struct Erased<S>(S);

impl<S: FuelGauge<Error: std::fmt::Display>> FuelGauge for Erased<S> {
    type Error = AnySensorError;

    fn read(&mut self) -> Result<GaugeReading, AnySensorError> {
        self.0.read().map_err(AnySensorError::new)
    }
}

impl<S: PowerMonitor<Error: std::fmt::Display>> PowerMonitor for Erased<S> {
    type Error = AnySensorError;

    fn read_power(&mut self) -> Result<PowerReading, AnySensorError> {
        self.0.read_power().map_err(AnySensorError::new)
    }
}

/// Any fuel gauge.
pub type AnyGauge = Box<dyn FuelGauge<Error = AnySensorError> + Send>;
/// Any power monitor.
pub type AnyMonitor = Box<dyn PowerMonitor<Error = AnySensorError> + Send>;

/// A companion microcontroller tells something every minute; after three it counts as silent.
const PATIENCE: Duration = Duration::from_secs(180);

/// Opens the line to a companion microcontroller: a serial device, already set to the right speed.
///
/// # Errors
/// [`OpenError::Bus`] when the device cannot be opened.
pub fn open_companion(device: &str) -> Result<Companion, OpenError> {
    let line = File::open(device).map_err(|error| OpenError::Bus { path: device.into(), reason: error.to_string() })?;
    Ok(Companion::listen(line, PATIENCE))
}

/// Opens a power monitor as a fuel gauge that counts the charge, from `state` on where there is one.
///
/// # Errors
/// As [`open_monitor`].
pub fn open_counted(name: &str, settings: CoulombSettings, state: Option<CoulombState>) -> Result<AnyGauge, OpenError> {
    let begun = Instant::now();
    Ok(Box::new(CoulombGauge::new(open_monitor(name)?, move || begun.elapsed(), settings, state)))
}

/// A companion as one gauge among others.
#[must_use]
pub fn companion_gauge(companion: Companion) -> AnyGauge {
    Box::new(Erased(companion))
}

/// Opens a fuel gauge: `power-supply[:NAME]`, or on an I2C bus `max17048:BUS`, `max17049:BUS`, `lc709203f:BUS`,
/// `bq27441:BUS`, `pisugar3:BUS`, where BUS is a device such as `/dev/i2c-1`; or `companion:DEVICE`, the serial line of a
/// companion microcontroller.
///
/// # Errors
/// [`OpenError`] naming what was expected.
pub fn open_gauge(name: &str) -> Result<AnyGauge, OpenError> {
    let (kind, rest) = name.split_once(':').unwrap_or((name, ""));
    match kind {
        "power-supply" => {
            let supply = PowerSupply::find(Path::new(PowerSupply::ROOT), (!rest.is_empty()).then_some(rest))?;
            Ok(Box::new(Erased(supply)))
        }
        #[cfg(all(feature = "i2c", target_os = "linux"))]
        "max17048" => Ok(Box::new(Erased(crate::energy::drivers::Max17048::new(bus(name, rest)?)))),
        #[cfg(all(feature = "i2c", target_os = "linux"))]
        "max17049" => Ok(Box::new(Erased(crate::energy::drivers::Max17048::max17049(bus(name, rest)?)))),
        #[cfg(all(feature = "i2c", target_os = "linux"))]
        "lc709203f" => Ok(Box::new(Erased(crate::energy::drivers::Lc709203f::new(bus(name, rest)?)))),
        #[cfg(all(feature = "i2c", target_os = "linux"))]
        "bq27441" => Ok(Box::new(Erased(crate::energy::drivers::Bq27441::new(bus(name, rest)?)))),
        #[cfg(all(feature = "i2c", target_os = "linux"))]
        "pisugar3" => Ok(Box::new(Erased(crate::energy::drivers::PiSugar3::new(bus(name, rest)?)))),
        "companion" => Ok(companion_gauge(open_companion(rest)?)),
        _ => Err(OpenError::Unknown {
            name: name.to_owned(),
            expected: "power-supply[:NAME], companion:DEVICE, max17048:BUS, max17049:BUS, lc709203f:BUS, bq27441:BUS, pisugar3:BUS",
        }),
    }
}

/// Opens a power monitor: `rail:LABEL` (hwmon or iio), or on an I2C bus `ina219:BUS:ADDRESS:OHMS`,
/// `ina226:BUS:ADDRESS:OHMS`, `ina3221:BUS:ADDRESS:OHMS` (its first channel), `ups-hat:BUS[:ADDRESS]`.
///
/// # Errors
/// [`OpenError`] naming what was expected.
pub fn open_monitor(name: &str) -> Result<AnyMonitor, OpenError> {
    let (kind, rest) = name.split_once(':').unwrap_or((name, ""));
    match kind {
        "rail" => {
            let rail = Rail::find(Path::new(Rail::HWMON), rest).or_else(|hwmon| {
                // The error that is told is that of hwmon: iio is the older way.
                Rail::find(Path::new(Rail::IIO), rest).map_err(|_| hwmon)
            })?;
            Ok(Box::new(Erased(rail)))
        }
        #[cfg(all(feature = "i2c", target_os = "linux"))]
        "ina219" | "ina226" | "ina3221" | "ups-hat" => {
            use crate::energy::drivers::{Channel, Ina2xx, Ina3221};

            let expected = if kind == "ups-hat" { "ups-hat:BUS[:ADDRESS]" } else { "KIND:BUS:ADDRESS:OHMS" };
            let part = || OpenError::Part { name: name.to_owned(), expected };
            let mut parts = rest.split(':');
            let device = bus(name, parts.next().unwrap_or(""))?;
            let address = match parts.next() {
                Some(text) => address(text).ok_or_else(part)?,
                None if kind == "ups-hat" => 0x43,
                None => return Err(part()),
            };
            if kind == "ups-hat" {
                return Ok(Box::new(Erased(Ina2xx::ups_hat(device, address).map_err(|_| part())?)));
            }
            let ohms: f32 =
                parts.next().and_then(|text| text.parse().ok()).filter(|ohms| *ohms > 0.0).ok_or_else(part)?;
            // The largest current is what the shunt's full scale is reached at.
            Ok(match kind {
                "ina219" => Box::new(Erased(Ina2xx::ina219(device, address, ohms, 0.32 / ohms).map_err(|_| part())?)),
                "ina226" => {
                    Box::new(Erased(Ina2xx::ina226(device, address, ohms, 0.08192 / ohms).map_err(|_| part())?))
                }
                _ => Box::new(Erased(Ina3221::new(device, address, Channel::One, ohms))),
            })
        }
        _ => Err(OpenError::Unknown {
            name: name.to_owned(),
            expected: "rail:LABEL, ina219:BUS:ADDRESS:OHMS, ina226:BUS:ADDRESS:OHMS, ina3221:BUS:ADDRESS:OHMS, \
                       ups-hat:BUS[:ADDRESS]",
        }),
    }
}

/// Opens the energy counter of an x86 processor.
///
/// # Errors
/// [`OpenError::Linux`] where there is none or it may not be read.
pub fn open_rapl() -> Result<Rapl, OpenError> {
    Ok(Rapl::find(Path::new(Rapl::ROOT))?)
}

#[cfg(all(feature = "i2c", target_os = "linux"))]
fn bus(name: &str, path: &str) -> Result<linux_embedded_hal::I2cdev, OpenError> {
    if path.is_empty() {
        return Err(OpenError::Part {
            name: name.to_owned(),
            expected: "an I2C bus such as /dev/i2c-1 after the colon",
        });
    }
    linux_embedded_hal::I2cdev::new(path)
        .map_err(|error| OpenError::Bus { path: path.into(), reason: error.to_string() })
}

/// A 7-bit address in decimal or, after 0x, hexadecimal.
#[cfg(all(feature = "i2c", target_os = "linux"))]
fn address(text: &str) -> Option<u8> {
    let parsed = match text.strip_prefix("0x") {
        Some(hexadecimal) => u8::from_str_radix(hexadecimal, 16),
        None => text.parse(),
    };
    parsed.ok().filter(|address| (0x08..0x78).contains(address))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_wrong_are_told_what_was_expected() {
        let text = |result: Result<(), OpenError>| result.unwrap_err().to_string();
        let gauge = |name: &str| text(open_gauge(name).map(|_| ()));
        let monitor = |name: &str| text(open_monitor(name).map(|_| ()));
        assert!(gauge("max99999:/dev/i2c-1").contains("max17048:BUS"));
        assert!(monitor("volts").contains("rail:LABEL"));
        #[cfg(all(feature = "i2c", target_os = "linux"))]
        {
            assert!(gauge("max17048").contains("/dev/i2c-1 after the colon"));
            assert!(gauge("max17048:/dev/no-such-bus").contains("/dev/no-such-bus"));
            assert!(monitor("ina219:/dev/no-such-bus:0x40:0.1").contains("/dev/no-such-bus"));
            assert_eq!(
                (address("0x43"), address("64"), address("0x99"), address("x")),
                (Some(0x43), Some(64), None, None)
            );
        }
    }
}
