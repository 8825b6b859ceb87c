//! Replaying policies on records: accuracy, cost and where samples leave; policies beside each other.

mod compare;
mod replay;

pub use compare::{CostAccuracy, Curves, Difference};
pub use replay::{Summary, Taken, cost_of, evaluated, simulate, summarise};
