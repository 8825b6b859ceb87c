//! Energy governing: what is left of the battery, what a frame costs, and which operating point to run.
//!
//! A [`FuelGauge`] tells the state of charge, a [`PowerModel`] what each stage costs on a board, and a [`Governor`]
//! picks the operating point. Like [`crate::exit`], this module needs neither `std` nor an allocator and nothing in it
//! panics: the same code runs on a microcontroller.
//!
//! Units: energy in joules, power in watts, charge as state of charge (SoC) in [0, 1] or in milliwatt-hours.

mod battery;
mod clock;
pub mod companion;
pub mod drivers;
pub mod estimator;
pub mod gauge;
pub mod governor;
mod power;
pub mod switches;

pub use battery::Battery;
pub use estimator::{Chemistry, GaugeMonitor, GaugeTrouble, MonitorSettings};
pub use gauge::{Fault, FuelGauge, GaugeReading, GaugeState, PowerMonitor, PowerReading, SensorError, Supply};
pub use governor::{
    BudgetGovernor, BudgetPlan, Choice, FrameDemand, Governor, GovernorInput, GovernorSettings, Ladder, LadderError,
    Learned, Mission, MissionError, Reason, Rung, SocStep, SocSteps, Solar, StepsError,
};
pub use power::{JoulesSource, PowerModel, PowerModelError};

/// Joules in one milliwatt-hour.
pub const JOULES_PER_MWH: f32 = 3.6;
