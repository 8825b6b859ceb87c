//! Discrete-event simulation of missions: battery, load, camera, gauge and its faults, sun.
//!
//! A [`Scenario`] says what happens, a seed how chance falls, a [`Strategy`] who decides. One seed gives one [`Trace`] of
//! frames, weather and sun, and every strategy replays the same one, so that their differences are their own.

mod cell;
mod compare;
mod decide;
mod engine;
mod error;
mod frames;
mod gauge;
mod scenario;
mod simulation;
mod strategy;
mod summary;
mod table;
mod trace;

pub use cell::{Cell, CellSettings};
pub use compare::compare;
pub use engine::{MissionOutcome, MissionSample};
pub use error::SimulationError;
pub use frames::Frames;
pub use gauge::{FaultWindow, InjectedFault, SimulatedError, SimulatedGauge};
pub use scenario::{Arrivals, Scenario, Spells};
pub use simulation::Simulation;
pub use strategy::Strategy;
pub use summary::MissionSummary;
pub use trace::Trace;
