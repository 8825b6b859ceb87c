//! Discrete-event simulation of missions: battery, load, camera, gauge and its faults, sun.
//!
//! A [`Scenario`] says what happens, a seed how chance falls, a [`Strategy`] who decides. One seed gives one [`Trace`] of
//! frames, weather and sun, and every strategy replays the same one, so that their differences are their own.

mod cell;
mod frames;
mod gauge;
mod missions;
mod replay;
mod scenario;
mod summary;
mod table;
mod trace;

pub use cell::{Cell, CellSettings};
pub use frames::{Frames, stage_shares};
pub use gauge::{FaultWindow, InjectedFault, SimulatedGauge};
pub use missions::compare;
pub use replay::{Outcome, Sample, Simulation, SimulationError, Strategy};
pub use scenario::{Arrivals, Scenario, Spells};
pub use summary::{Summary, summarise};
pub use trace::Trace;
