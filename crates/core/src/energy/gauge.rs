//! Sensors of the battery: the traits, what they read, and the ways in which they fail.

use core::convert::Infallible;
use core::fmt;
use core::time::Duration;

use serde::{Deserialize, Serialize};

/// A sensor that tells the state of charge.
///
/// An own gauge is a type with an error that knows its [`Fault`]:
/// ```
/// use dyn_perceiver_core::energy::{Fault, FuelGauge, GaugeReading, SensorError};
/// #[derive(Debug)]
/// struct Unplugged;
/// impl SensorError for Unplugged {
///     fn fault(&self) -> Fault {
///         Fault::Nack
///     }
/// }
/// struct Adc(Option<u16>);
/// impl FuelGauge for Adc {
///     type Error = Unplugged;
///     fn read(&mut self) -> Result<GaugeReading, Unplugged> {
///         self.0.map(|raw| GaugeReading::new(f32::from(raw) / 4095.0)).ok_or(Unplugged)
///     }
/// }
/// assert_eq!(Adc(Some(4095)).read().unwrap().soc, 1.0);
/// ```
pub trait FuelGauge {
    /// What can go wrong on the way to the sensor.
    type Error: SensorError;

    /// Reads the sensor once, without retrying.
    ///
    /// # Errors
    /// Whatever the bus or the file reports, and values that are physically impossible.
    fn read(&mut self) -> Result<GaugeReading, Self::Error>;
}

/// A sensor that tells voltage and current.
pub trait PowerMonitor {
    /// What can go wrong on the way to the sensor.
    type Error: SensorError;

    /// Reads the sensor once, without retrying.
    ///
    /// # Errors
    /// Whatever the bus or the file reports, and values that are physically impossible.
    fn read_power(&mut self) -> Result<PowerReading, Self::Error>;
}

#[cfg(feature = "std")]
impl<G: FuelGauge + ?Sized> FuelGauge for std::boxed::Box<G> {
    type Error = G::Error;

    fn read(&mut self) -> Result<GaugeReading, Self::Error> {
        (**self).read()
    }
}

#[cfg(feature = "std")]
impl<M: PowerMonitor + ?Sized> PowerMonitor for std::boxed::Box<M> {
    type Error = M::Error;

    fn read_power(&mut self) -> Result<PowerReading, Self::Error> {
        (**self).read_power()
    }
}

impl<G: FuelGauge + ?Sized> FuelGauge for &mut G {
    type Error = G::Error;

    fn read(&mut self) -> Result<GaugeReading, Self::Error> {
        (**self).read()
    }
}

impl<M: PowerMonitor + ?Sized> PowerMonitor for &mut M {
    type Error = M::Error;

    fn read_power(&mut self) -> Result<PowerReading, Self::Error> {
        (**self).read_power()
    }
}

/// What a fuel gauge says.
///
/// ```
/// use dyn_perceiver_core::energy::{GaugeReading, Supply};
/// let reading = GaugeReading::new(0.8).with_volts(3.9).with_supply(Supply::Charging);
/// assert!(reading.may_rise() && reading.time_to_empty.is_none());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub struct GaugeReading {
    /// State of charge in [0, 1].
    pub soc: f32,
    /// Terminal voltage, where the gauge measures it.
    pub volts: Option<f32>,
    /// Time until empty at the present load, where the gauge estimates it.
    pub time_to_empty: Option<Duration>,
    /// Where the board's power comes from, where the gauge knows.
    pub supply: Option<Supply>,
    /// Temperature of the battery in degrees Celsius, where the gauge measures it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub celsius: Option<f32>,
}

/// Where the board's power comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Supply {
    /// The battery alone: it is being discharged.
    Battery,
    /// The battery is being charged, by what may end at any time: the sun, for one.
    Charging,
    /// External power carries the board: mains, or a charger that is done or held back while it is plugged in.
    External,
}

impl GaugeReading {
    /// A reading of a state of charge in [0, 1] and nothing else.
    pub const fn new(soc: f32) -> Self {
        GaugeReading { soc, volts: None, time_to_empty: None, supply: None, celsius: None }
    }

    /// The same reading with another state of charge.
    #[must_use]
    pub const fn with_soc(self, soc: f32) -> Self {
        GaugeReading { soc, ..self }
    }

    /// The same reading with the terminal voltage.
    #[must_use]
    pub const fn with_volts(self, volts: f32) -> Self {
        GaugeReading { volts: Some(volts), ..self }
    }

    /// The same reading with the time until empty.
    #[must_use]
    pub const fn with_time_to_empty(self, time: Duration) -> Self {
        GaugeReading { time_to_empty: Some(time), ..self }
    }

    /// The same reading with where the board's power comes from.
    #[must_use]
    pub const fn with_supply(self, supply: Supply) -> Self {
        GaugeReading { supply: Some(supply), ..self }
    }

    /// The same reading with the battery's temperature in degrees Celsius.
    #[must_use]
    pub const fn with_celsius(self, celsius: f32) -> Self {
        GaugeReading { celsius: Some(celsius), ..self }
    }

    /// Whether the gauge says that charge flows into the battery, or could: only then may the state of charge rise.
    pub const fn may_rise(&self) -> bool {
        matches!(self.supply, Some(Supply::Charging | Supply::External))
    }
}

/// What a power monitor says.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub struct PowerReading {
    /// Voltage at the load.
    pub volts: f32,
    /// Current in amperes: positive into the load, negative while charging.
    pub amperes: f32,
}

impl PowerReading {
    /// A reading of volts at the load and amperes, positive into the load and negative while charging.
    pub const fn new(volts: f32, amperes: f32) -> Self {
        PowerReading { volts, amperes }
    }

    /// Power in watts: positive into the load, negative while charging.
    pub fn watts(&self) -> f32 {
        self.volts * self.amperes
    }
}

/// An error that knows which kind of fault it is.
pub trait SensorError: fmt::Debug {
    /// The fault.
    fn fault(&self) -> Fault;
}

impl SensorError for Infallible {
    fn fault(&self) -> Fault {
        match *self {}
    }
}

/// The ways in which a sensor fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Fault {
    /// Nobody answered at the address.
    Nack,
    /// The bus is stuck, lost arbitration or failed otherwise.
    Bus,
    /// The checksum of an answer is wrong.
    Checksum,
    /// A value is outside what is physically possible, or flagged as an overflow by the chip.
    OutOfRange,
    /// The sensor has no new value yet.
    NotReady,
    /// The value never changes although the battery is under load.
    Stuck,
    /// The state of charge jumped up although nothing charges the battery.
    Jump,
    /// A file of the operating system cannot be read or does not hold a number.
    File,
    /// Messages from another processor stopped arriving.
    Silent,
}

impl Fault {
    /// The fault in a few words.
    pub const fn name(self) -> &'static str {
        match self {
            Fault::Nack => "no answer",
            Fault::Bus => "bus failed",
            Fault::Checksum => "checksum wrong",
            Fault::OutOfRange => "value out of range",
            Fault::NotReady => "not ready",
            Fault::Stuck => "value stuck",
            Fault::Jump => "charge jumped up",
            Fault::File => "file unreadable",
            Fault::Silent => "messages stopped",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How far the fuel gauge can be believed at this moment, and whether the battery matters at all.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum GaugeState {
    /// A fresh, plausible reading of a battery in use.
    Good(GaugeReading),
    /// A fresh, plausible reading, and the board runs on external power: there is nothing to save.
    ExternalPower(GaugeReading),
    /// No plausible reading for a while.
    Stale {
        /// The last good one.
        last: GaugeReading,
        /// How old it is.
        age: Duration,
        /// What is wrong.
        fault: Fault,
    },
    /// No plausible reading for so long that the last one says nothing, or never any.
    Failed {
        /// What is wrong.
        fault: Fault,
    },
}

impl GaugeState {
    /// The reading, fresh or stale.
    pub fn reading(&self) -> Option<&GaugeReading> {
        match self {
            GaugeState::Good(reading)
            | GaugeState::ExternalPower(reading)
            | GaugeState::Stale { last: reading, .. } => Some(reading),
            GaugeState::Failed { .. } => None,
        }
    }
}
