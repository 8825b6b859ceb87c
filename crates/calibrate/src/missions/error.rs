//! Why a mission cannot be simulated.

use dyn_perceiver_core::energy::governor::{LadderError, MissionError};
use dyn_perceiver_core::exit::PolicyError;
use thiserror::Error;

use crate::evaluate::ReplayError;

/// Why a simulation cannot be set up.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SimulationError {
    /// Frontier and power model are for different networks.
    #[error(transparent)]
    Ladder(#[from] LadderError),
    /// The records are for another network.
    #[error("the records have {actual} exits, the policy {expected}")]
    Records {
        /// Exits of the frontier.
        expected: usize,
        /// Exits of the records.
        actual: usize,
    },
    /// There are no records to draw frames from.
    #[error("no records to draw frames from")]
    NoRecords,
    /// A policy cannot be replayed on the records.
    #[error(transparent)]
    Replay(#[from] ReplayError),
    /// The mission or the settings are out of range.
    #[error(transparent)]
    Mission(#[from] MissionError),
    /// No policy for so many exits.
    #[error(transparent)]
    Policy(#[from] PolicyError),
}
