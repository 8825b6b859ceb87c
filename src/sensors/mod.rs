//! Sensors of a Linux board: kernel files and I2C chips by name, the companion microcontroller, profiles and stored state.
//!
//! The drivers and the estimation are in [`crate::energy`], which needs no operating system; here is what does.

mod any;
#[cfg(all(feature = "i2c", target_os = "linux"))]
mod chips;
mod companion;
pub mod linux;
mod mission_clock;
mod name;
pub mod open;
pub mod profile;
pub mod store;
mod switch;

pub use any::{AnyGauge, AnyMonitor, AnySensorError, any_gauge, any_monitor};
pub use companion::{Companion, Silence};
pub use mission_clock::MissionClock;
pub use switch::{SWITCHES, SupplySwitch};
