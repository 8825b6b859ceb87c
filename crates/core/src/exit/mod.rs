//! When to leave a multi-exit network: confidence of an exit, the policy, the decision.
//!
//! This module needs neither `std` nor an allocator, and nothing in it panics: it is the part that also runs on a
//! microcontroller. See [`Measure`] for how a number in [0, 1] is read off an exit's logits, and [`ExitPolicy`] for what
//! is done with it; [`Evidence`] for what earlier exits contribute, and [`Frontier`] for the policies worth having.

mod calibrated;
mod confidence;
mod digest;
mod ensemble;
mod frontier;
mod mixer;
mod policy;

pub use calibrated::{CalibratedPolicy, Guarantee, MAX_EXIT_NAME, MAX_POLICY_BYTES, POLICY_VERSION, PolicyFileError};
pub use confidence::{LogitsError, Measure, Reading};
pub use digest::{ModelDigest, NoDigest};
#[cfg(feature = "std")]
pub use ensemble::mix;
pub use ensemble::{Answer, Curve, Evidence, EvidenceError, Observer};
pub use frontier::{CostUnit, Frontier, FrontierError, MAX_POINTS, Mix, OperatingPoint};
pub use mixer::Mixer;
pub use policy::{Decision, ExitPolicy, ExitRule, MAX_EXITS, PolicyError};
