//! A simulated fuel gauge with noise, resolution and injected faults.

use core::ops::Range;
use core::time::Duration;

use dyn_perceiver_core::energy::gauge::{Fault, FuelGauge, GaugeReading, SensorError, Supply};

/// A fault to inject.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum InjectedFault {
    /// Nobody answers.
    Nack,
    /// The bus is stuck.
    Bus,
    /// Checksums are wrong.
    Checksum,
    /// Values are physically impossible.
    OutOfRange,
    /// The last value is repeated for ever.
    Stuck,
    /// The state of charge is told 30 points too high.
    Jump,
}

impl InjectedFault {
    /// Every fault.
    pub const ALL: [InjectedFault; 6] = [
        InjectedFault::Nack,
        InjectedFault::Bus,
        InjectedFault::Checksum,
        InjectedFault::OutOfRange,
        InjectedFault::Stuck,
        InjectedFault::Jump,
    ];

    /// The name on the command line and in tables.
    pub const fn name(self) -> &'static str {
        match self {
            InjectedFault::Nack => "nack",
            InjectedFault::Bus => "bus",
            InjectedFault::Checksum => "checksum",
            InjectedFault::OutOfRange => "out-of-range",
            InjectedFault::Stuck => "stuck",
            InjectedFault::Jump => "jump",
        }
    }
}

/// When a fault is there.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct FaultWindow {
    /// Which.
    pub fault: InjectedFault,
    /// From when.
    pub from: Duration,
    /// Until when.
    pub until: Duration,
}

impl FaultWindow {
    /// The fault, for so long.
    pub fn new(fault: InjectedFault, when: Range<Duration>) -> Self {
        FaultWindow { fault, from: when.start, until: when.end }
    }
}

/// An error of the simulated gauge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SimulatedError(Fault);

impl SensorError for SimulatedError {
    fn fault(&self) -> Fault {
        self.0
    }
}

/// The gauge: told the truth by the simulation, it tells what a sensor would.
#[derive(Clone, Debug)]
pub struct SimulatedGauge {
    rng: fastrand::Rng,
    noise: f32,
    resolution: f32,
    window: Option<FaultWindow>,
    active: Option<InjectedFault>,
    truth: GaugeReading,
    told: Option<GaugeReading>,
}

impl SimulatedGauge {
    /// A gauge with normal noise of standard deviation `noise` and steps of `resolution`, both in units of SoC.
    pub fn new(seed: u64, noise: f32, resolution: f32, window: Option<FaultWindow>) -> Self {
        SimulatedGauge {
            rng: fastrand::Rng::with_seed(seed),
            noise,
            resolution,
            window,
            active: None,
            truth: GaugeReading::new(1.0),
            told: None,
        }
    }

    /// Tells the gauge the truth at `elapsed`.
    pub fn set(&mut self, elapsed: Duration, soc: f32, volts: f32, supply: Supply) {
        self.truth = GaugeReading::new(soc).with_volts(volts).with_supply(supply);
        self.active = self.window.filter(|w| (w.from..w.until).contains(&elapsed)).map(|w| w.fault);
    }
}

/// A draw from the standard normal distribution (Box and Muller, 1958).
pub(crate) fn normal(rng: &mut fastrand::Rng) -> f32 {
    let radius = (-2.0 * (1.0 - rng.f32()).ln()).sqrt();
    radius * (core::f32::consts::TAU * rng.f32()).cos()
}

impl FuelGauge for SimulatedGauge {
    type Error = SimulatedError;

    fn read(&mut self) -> Result<GaugeReading, SimulatedError> {
        let mut soc = self.truth.soc + self.noise * normal(&mut self.rng);
        match self.active {
            Some(InjectedFault::Nack) => return Err(SimulatedError(Fault::Nack)),
            Some(InjectedFault::Bus) => return Err(SimulatedError(Fault::Bus)),
            Some(InjectedFault::Checksum) => return Err(SimulatedError(Fault::Checksum)),
            Some(InjectedFault::OutOfRange) => return Ok(self.truth.with_soc(2.55)),
            Some(InjectedFault::Stuck) => return Ok(self.told.unwrap_or(self.truth)),
            Some(InjectedFault::Jump) => soc += 0.3,
            None => {}
        }
        if self.resolution > 0.0 {
            soc = (soc / self.resolution).round() * self.resolution;
        }
        let reading = self.truth.with_soc(soc.clamp(0.0, 1.0));
        self.told = Some(reading);
        Ok(reading)
    }
}
