//! Why the solver found nothing.

use std::io;

use dyn_perceiver_core::exit::{CalibrationError, FrontierError, LogitsError, PolicyError};
use thiserror::Error;

use crate::evaluate::ReplayError;

/// Why there is no frontier.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SolveError {
    /// There are no samples to learn from.
    #[error("no samples to calibrate on")]
    NoSamples,
    /// No measure or no ensemble was allowed.
    #[error("no confidence measure or no ensemble to choose from")]
    NothingToChoose,
    /// The logits could not be read.
    #[error("reading logits")]
    Read(#[from] io::Error),
    /// A policy that was found cannot be replayed on the records.
    #[error(transparent)]
    Replay(#[from] ReplayError),
    /// The logits are not finite.
    #[error("logits of row {}", row + 1)]
    Logits {
        /// The row, from 0.
        row: u32,
        /// What is wrong.
        source: LogitsError,
    },
    /// A policy that was found is not valid.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// The curves that were fitted are no calibration.
    #[error(transparent)]
    Calibration(#[from] CalibrationError),
    /// The points that were found are not a valid frontier.
    #[error(transparent)]
    Frontier(#[from] FrontierError),
}
