//! Why the loop stopped before its source did.

use thiserror::Error;

use crate::camera::CameraError;
use crate::exit::{OverTimeError, PolicyError};
use crate::preprocess::PreprocessError;
use crate::runtime::RunError;

/// Why the loop stopped before its source did.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum PipelineError {
    /// The frame source failed.
    #[error(transparent)]
    Camera(#[from] CameraError),
    /// The runtime could not be set up.
    #[error("the loop's runtime cannot be set up")]
    Setup(#[source] RunError),
    /// A frame could not be classified.
    #[error("frame {sequence} cannot be classified")]
    Run {
        /// The frame's number in its stream.
        sequence: u64,
        /// What went wrong.
        source: RunError,
    },
    /// The model's preprocessing makes no sense.
    #[error(transparent)]
    Preprocess(#[from] PreprocessError),
    /// The full network as a policy.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// Frames of a video cannot be decided together like this.
    #[error(transparent)]
    OverTime(#[from] OverTimeError),
    /// There is no operating point to choose from.
    #[error("the pipeline needs at least one operating point")]
    NoPoints,
}

impl PipelineError {
    /// Whether the loop should go on with [`Pipeline::step`](super::Pipeline::step): the camera is being reconnected, or one frame came damaged.
    #[must_use]
    pub fn is_temporary(&self) -> bool {
        matches!(self, Self::Camera(error) if error.is_temporary())
    }

    /// Whether it is about a single frame or file, so that a loop may go on: one that came damaged, an image file that
    /// cannot be read, a frame that the network has no answer to.
    #[must_use]
    pub fn is_of_one_frame(&self) -> bool {
        match self {
            Self::Camera(error) => error.is_of_one_frame(),
            Self::Run { .. } => true,
            _ => false,
        }
    }
}
