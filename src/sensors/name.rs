//! Names of sensors: their kinds, and what is wrong with a name.

use std::error::Error as StdError;
use std::path::PathBuf;

use thiserror::Error;

use super::linux::LinuxError;

/// What a sensor measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SensorRole {
    /// The state of charge of a battery.
    Gauge,
    /// Voltage and current.
    Monitor,
}

/// A kind of sensor that can be opened by name.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct SensorKind {
    /// The first part of the name.
    pub name: &'static str,
    /// The parts after it, in the form `:BUS:ADDRESS[:OPTIONAL]`.
    pub parts: &'static str,
    /// What it measures.
    pub role: SensorRole,
}

const fn gauge(name: &'static str, parts: &'static str) -> SensorKind {
    SensorKind { name, parts, role: SensorRole::Gauge }
}

const fn monitor(name: &'static str, parts: &'static str) -> SensorKind {
    SensorKind { name, parts, role: SensorRole::Monitor }
}

/// Every kind of sensor: errors, help and documentation list these. BUS is a device such as `/dev/i2c-1`. A negative OHMS
/// is a shunt wired so that charging reads positive.
pub const SENSORS: &[SensorKind] = &[
    gauge("power-supply", "[:NAME]"),
    gauge("companion", ":DEVICE"),
    gauge("bq27441", ":BUS"),
    gauge("lc709203f", ":BUS[:MAH]"),
    gauge("max17040", ":BUS"),
    gauge("max17041", ":BUS"),
    gauge("max17043", ":BUS"),
    gauge("max17044", ":BUS"),
    gauge("max17048", ":BUS"),
    gauge("max17049", ":BUS"),
    gauge("pijuice", ":BUS"),
    gauge("pisugar2", ":BUS"),
    gauge("pisugar2-plus", ":BUS"),
    gauge("pisugar3", ":BUS"),
    monitor("rail", ":LABEL"),
    monitor("ina219", ":BUS:ADDRESS:OHMS"),
    monitor("ina226", ":BUS:ADDRESS:OHMS"),
    monitor("ina260", ":BUS:ADDRESS"),
    monitor("ina3221", ":BUS:ADDRESS:OHMS[:CHANNEL]"),
    monitor("ups-hat", ":BUS[:ADDRESS]"),
];

/// The forms of all sensors, gauges first.
fn forms() -> String {
    let of = |role| {
        let kinds = SENSORS.iter().filter(move |kind| kind.role == role);
        kinds.map(|kind| format!("{}{}", kind.name, kind.parts)).collect::<Vec<_>>().join(", ")
    };
    format!("a gauge ({}) or a power monitor ({})", of(SensorRole::Gauge), of(SensorRole::Monitor))
}

/// Why a sensor could not be opened.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum OpenError {
    /// No such kind of sensor.
    #[error("{name:?} is no sensor; expected {expected}")]
    Unknown {
        /// What was written.
        name: String,
        /// What could have been.
        expected: String,
    },
    /// A sensor of the other role.
    #[error("{name:?} measures {}, expected {}", measures(*is), measures(*expected))]
    Role {
        /// What was written.
        name: String,
        /// What it is.
        is: SensorRole,
        /// What was wanted.
        expected: SensorRole,
    },
    /// A part of the name is missing, wrong or too much.
    #[error("{name:?}: expected {expected}")]
    Part {
        /// What was written.
        name: String,
        /// What it should look like.
        expected: String,
    },
    /// The kernel's files do not have it.
    #[error(transparent)]
    Linux(#[from] LinuxError),
    /// The bus or line cannot be opened.
    #[error("{}: cannot be opened", path.display())]
    Bus {
        /// The device.
        path: PathBuf,
        /// What the system says.
        source: Box<dyn StdError + Send + Sync>,
    },
    /// This build has no drivers of chips on I2C buses.
    #[error("{name:?}: this program was built without sensors on I2C buses")]
    NoI2c {
        /// What was written.
        name: String,
    },
}

fn measures(role: SensorRole) -> &'static str {
    match role {
        SensorRole::Gauge => "the state of charge",
        SensorRole::Monitor => "voltage and current",
    }
}

/// A name taken apart: its kind, and the parts after the first colon.
pub(super) struct Name<'a> {
    pub(super) whole: &'a str,
    pub(super) kind: &'static SensorKind,
    /// All after the first colon.
    pub(super) rest: &'a str,
}

impl<'a> Name<'a> {
    pub(super) fn parse(whole: &'a str, role: SensorRole) -> Result<Self, OpenError> {
        let (first, rest) = whole.split_once(':').unwrap_or((whole, ""));
        match SENSORS.iter().find(|kind| kind.name == first) {
            Some(kind) if kind.role == role => Ok(Name { whole, kind, rest }),
            Some(kind) => Err(OpenError::Role { name: whole.to_owned(), is: kind.role, expected: role }),
            None => Err(OpenError::Unknown { name: whole.to_owned(), expected: forms() }),
        }
    }

    /// The parts after the first colon, which must be so many at least and at most.
    #[cfg(all(feature = "i2c", target_os = "linux"))]
    pub(super) fn parts(&self, least: usize, most: usize) -> Result<Vec<&'a str>, OpenError> {
        let parts: Vec<&str> = if self.rest.is_empty() { Vec::new() } else { self.rest.split(':').collect() };
        if (least..=most).contains(&parts.len()) { Ok(parts) } else { Err(self.wrong()) }
    }

    /// The name is not as its kind wants it.
    pub(super) fn wrong(&self) -> OpenError {
        OpenError::Part { name: self.whole.to_owned(), expected: format!("{}{}", self.kind.name, self.kind.parts) }
    }
}
