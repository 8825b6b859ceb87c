//! What the companion microcontroller does, apart from its hardware: this library also runs, and is tested, on a host.
//!
//! A microcontroller that never sleeps deeply costs milliwatts, the Linux board beside it watts. So the small one reads
//! the fuel gauge and governs, and the large one is told the operating point by a small framed message. It also holds the switch
//! of the large one's supply where its configuration has a [`wake`] plan: [`Keeper`] is both in one loop, [`Companion`] the governor
//! alone.

#![cfg_attr(target_os = "none", no_std)]

pub mod bench;
mod companion;
mod config;
mod keeper;
pub mod wake;

pub use companion::Companion;
pub use config::{Config, ConfigError};
pub use keeper::{Keeper, Kept};
