//! Replaying policies on records: accuracy, cost and where samples leave; policies beside each other.

mod chance;
mod curves;
mod replay;

pub use chance::{NearChance, near_chance};
pub use curves::{CostAccuracy, Difference, ParetoCurves};
pub use replay::{PolicySummary, ReplayError, SampleOutcome, replay};
