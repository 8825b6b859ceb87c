//! Replaying policies on records: accuracy, cost and where samples leave; policies beside each other.

mod calibration_error;
mod chance;
mod point;
mod replay;

pub use calibration_error::calibration_error;
pub use chance::{NearChance, near_chance};
pub use point::CostAccuracy;
pub use replay::{PolicySummary, ReplayError, SampleOutcome, replay};
