//! What happens during a mission.

use core::time::Duration;

use super::cell::CellSettings;
use super::gauge::InjectedFault;
use dyn_perceiver_core::energy::estimator::MonitorSettings;
use dyn_perceiver_core::energy::governor::{FrameDemand, GovernorSettings, Mission};

/// How the camera asks for frames.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Arrivals {
    /// One frame every so many seconds.
    Periodic(f32),
    /// Events at random, on average so many an hour.
    Poisson(f32),
    /// Events at random, so many an hour from 6 to 18 o'clock and so many at night. A mission begins at 6.
    DayNight(f32, f32),
}

impl Arrivals {
    /// Frames an hour on average over a day.
    pub fn per_hour(&self) -> f32 {
        match *self {
            Arrivals::Periodic(seconds) => 3600.0 / seconds,
            Arrivals::Poisson(rate) => rate,
            Arrivals::DayNight(day, night) => (day + night) / 2.0,
        }
    }
}

/// Spells of hard and of easy frames, as a scene has them.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Spells {
    /// Mean length of a spell in seconds.
    pub seconds: f32,
    /// Share of a hard spell's frames that come from the harder half of the records; of an easy spell's from the easier.
    pub purity: f32,
}

impl Spells {
    /// Spells of so many seconds on average, and the share of their frames that are of their kind.
    pub fn new(seconds: f32, purity: f32) -> Self {
        Spells { seconds, purity }
    }
}

/// Time of day at which every mission begins.
pub(crate) const BEGINS: Duration = Duration::from_secs(6 * 3600);

/// A mission with everything that chance decides.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Scenario {
    /// The mission.
    pub mission: Mission,
    /// The governor's habits and what it is told of the battery.
    pub settings: GovernorSettings,
    /// The watch over the gauge.
    pub watch: MonitorSettings,
    /// The camera.
    pub arrivals: Arrivals,
    /// Hard and easy spells.
    pub spells: Spells,
    /// The battery; its health is drawn from `health`.
    pub cell: CellSettings,
    /// Lowest and highest health of the battery. The governor is not told.
    pub health: (f32, f32),
    /// Mean temperature in °C by day and night, drawn between the two, and its swing up and down over a day.
    pub celsius: (f32, f32),
    /// Swing of the temperature over a day.
    pub swing: f32,
    /// Standard deviation, as a share, by which the board's real idle watts and joules per stage differ from the power
    /// model. The governor is not told.
    pub model_error: f32,
    /// Standard deviation of the gauge's noise, in units of SoC.
    pub gauge_noise: f32,
    /// Steps of the gauge.
    pub gauge_resolution: f32,
    /// A fault to inject at a random time, until the mission ends.
    pub fault: Option<InjectedFault>,
    /// Peak watts of a solar panel; 0 for none.
    pub solar_watts: f32,
    /// Share of frames that show what the one before showed, so that a gate lets its answer hold: they cost nothing, and are
    /// as right as that one. In [0, 1].
    pub quiet: f32,
    /// Step of the simulation in seconds.
    pub tick: f32,
}

impl Scenario {
    /// A mission of `duration` with a battery of `capacity_mwh`: a cell 80 to 100 % healthy at 5 to 25 °C, a power model
    /// that is 5 % wrong, a gauge with 0.5 % noise and steps of 1/256.
    pub fn new(duration: Duration, reserve: f32, arrivals: Arrivals, capacity_mwh: f32) -> Self {
        let frames = match arrivals {
            Arrivals::Periodic(seconds) => FrameDemand::Period(Duration::from_secs_f32(seconds.max(1e-3))),
            Arrivals::Poisson(rate) => FrameDemand::PerHour(rate),
            Arrivals::DayNight(day, night) => FrameDemand::DayNight { day, night, begins: BEGINS },
        };
        let settings = GovernorSettings::new(capacity_mwh).with_brown_out_volts(3.15);
        Scenario {
            mission: Mission::new(duration, frames).with_reserve(reserve),
            settings,
            watch: MonitorSettings::default(),
            arrivals,
            spells: Spells { seconds: 1200.0, purity: 0.8 },
            cell: CellSettings::lithium_ion(capacity_mwh),
            health: (0.8, 1.0),
            celsius: (5.0, 25.0),
            swing: 6.0,
            model_error: 0.05,
            gauge_noise: 0.005,
            gauge_resolution: 1.0 / 256.0,
            fault: None,
            solar_watts: 0.0,
            quiet: 0.0,
            tick: 10.0,
        }
    }
}
