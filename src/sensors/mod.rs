//! Sensors of a Linux board: kernel files and I2C chips by name, the companion microcontroller, profiles and stored state.
//!
//! The drivers and the estimation are in [`crate::energy`], which needs no operating system; here is what does.

mod companion;
pub mod linux;
pub mod open;
pub mod profile;
pub mod store;

pub use companion::{Companion, Silence};
