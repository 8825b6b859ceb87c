//! Early-exit decisions: confidence of an exit, the exit policy, ensembling of exits, the Pareto frontier of policies.
//!
//! This module needs neither `std` nor an allocator, and nothing in it panics: it is the part that also runs on a
//! microcontroller. See [`Measure`] for how a number in [0, 1] is read off an exit's logits, and [`ExitPolicy`] for what
//! is done with it; [`Calibration`] for how probably an answer is right; [`OverTime`] for the frames of a video; [`Ensemble`] for what earlier exits contribute, and [`Frontier`] for the policies worth having.

mod calibrated;
mod calibration;
mod confidence;
mod digest;
mod ensemble;
mod frontier;
mod mixer;
mod observer;
mod over_time;
mod per_exit;
mod policy;

pub use calibrated::{CalibratedPolicy, Guarantee, MAX_EXIT_NAME, MAX_POLICY_BYTES, POLICY_VERSION, PolicyFileError};
pub use calibration::{Calibration, CalibrationError};
pub use confidence::{LogitsError, Measure, Reading, UnknownMeasure};
pub use digest::{DigestError, ModelDigest};
pub use ensemble::{Curve, Ensemble, EnsembleError, EnsembleKind, mix_logits};
pub use frontier::{CostUnit, Frontier, FrontierError, MAX_POINTS, Mix, OperatingPoint};
pub use mixer::Mixer;
pub use observer::{Answer, Observer};
pub use over_time::{FrameAnswer, MAX_WINDOW, OverTime, OverTimeError, OverTimeSettings, is_gap};
pub use per_exit::{ExitCountError, MAX_EXITS, PerExit};
pub use policy::{Decision, ExitPolicy, ExitRule, PolicyError};
