//! What a run yields: the answer for an image.

use std::time::Duration;

use super::StageTimes;
use crate::graph::ExitSet;

/// The answer for one image.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Outcome {
    /// Index of the class.
    pub class: usize,
    /// Its soft-max at the exit taken, which is no calibrated probability.
    pub softmax: f32,
    /// Confidence by the policy's measure and ensemble.
    pub confidence: f32,
    /// Probability that the answer is right, as calibration found it; none where no [`Calibration`] is known for the policy, and of
    /// detectors and networks of videos.
    ///
    /// [`Calibration`]: crate::exit::Calibration
    pub probability: Option<f32>,
    /// The exit at which the frame left, from 0, in order of cost.
    pub exit: usize,
    /// The exit whose answer this is: an earlier one where the policy recalls exits seen before.
    pub answered_by: usize,
    /// Whether the policy left before the last exit that it evaluates.
    pub exited_early: bool,
    /// Exits that were evaluated but passed over, because a logit was not a finite number.
    pub passed_over: ExitSet,
    /// For each exit evaluated, how long what it needed anew took.
    pub stages: StageTimes,
}

impl Outcome {
    /// Wall time of all stages together.
    pub fn latency(&self) -> Duration {
        self.stages.iter().map(|stage| stage.time).sum()
    }

    /// The same answer for a later frame, for which these stages were run in vain.
    #[cfg(feature = "camera")]
    pub(crate) fn held(self, stages: StageTimes) -> Outcome {
        Outcome { stages, ..self }
    }
}
