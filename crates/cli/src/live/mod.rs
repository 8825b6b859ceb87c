//! What a running loop shows to whoever looks: its newest numbers, its newest frame, the newest events.
//!
//! The loop puts them into slots that hold one item each. It never waits for a reader and never queues: what nobody took is
//! overwritten. While nobody looks, a frame costs one look at an atomic number and at the clock.

// Until a server and a debouncer use all of it.
#![allow(dead_code, unused_imports)]

mod event;
mod jpeg;
mod slot;
mod state;

pub(crate) use event::{Event, EventKind, Events, NewEvent};
pub(crate) use jpeg::encode;
pub(crate) use slot::{Live, Picture, Publisher};
pub(crate) use state::{Answer, Camera, Charge, Exit, Mission, State};
