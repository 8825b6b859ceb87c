//! When to leave a multi-exit network: confidence of an exit, the policy, the decision.
//!
//! This module needs neither `std` nor an allocator, and nothing in it panics: it is the part that also runs on a
//! microcontroller. See [`Measure`] for how a number in [0, 1] is read off an exit's logits, and [`ExitPolicy`] for what
//! is done with it.

mod confidence;
mod policy;

pub use confidence::{LogitsError, Measure, Reading};
pub use policy::{Decision, ExitPolicy, ExitRule, MAX_EXITS, PolicyError};
