//! What the companion microcontroller does, apart from its hardware: this library also runs, and is tested, on a host.
//!
//! A microcontroller that never sleeps deeply costs milliwatts, the Linux board beside it watts. So the small one reads
//! the fuel gauge and governs, and the large one is told the operating point by a small framed message. It also holds the switch
//! of the large one's supply, by a [`wake`] plan.

#![cfg_attr(target_os = "none", no_std)]

pub mod bench;
mod companion;
mod config;
pub mod wake;

pub use companion::Companion;
pub use config::{Config, ConfigError};
