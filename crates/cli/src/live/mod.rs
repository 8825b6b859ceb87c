//! What a running loop shows to whoever looks: its newest numbers, its newest frame, the newest events.
//!
//! The loop puts them into slots that hold one item each. It never waits for a reader and never queues: what nobody took is
//! overwritten. While nobody looks, a frame costs one look at an atomic number and at the clock.

// What of it is read depends on the features.
#![allow(dead_code, unused_imports)]

mod event;
mod jpeg;
#[cfg(feature = "live")]
mod report;
#[cfg(feature = "live")]
mod slot;
#[cfg(feature = "live")]
mod state;
#[cfg(feature = "live")]
mod wish;

pub(crate) use event::{Event, EventKind, Events, NewEvent, Publication};
pub(crate) use jpeg::encode;
#[cfg(feature = "live")]
pub(crate) use report::{Facts, machine};
#[cfg(feature = "live")]
pub(crate) use slot::{Live, Picture, Publisher};
#[cfg(all(feature = "live", test))]
pub(crate) use state::sample as sample_state;
#[cfg(feature = "live")]
pub(crate) use state::{Answer, Camera, Charge, Exit, Mission, State};
#[cfg(feature = "live")]
pub(crate) use wish::Wish;
