//! What happened to one frame of the loop.

use std::time::Duration;

use super::{HeldBy, VideoAnswer};
use crate::detector::Detections;
use crate::energy::Choice;
use crate::runtime::Outcome;

/// What happened to one frame.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Step {
    /// The frame's number in its stream.
    pub sequence: u64,
    /// The true class, where the source knows it.
    pub truth: Option<usize>,
    /// The answer; of a frame that did not go through the whole network the last one, with the times of what ran. Of a
    /// detector, `class` is one of its exits' classes (something, or nothing), `confidence` that of the exit or the best
    /// box's score, and `exit` a place in [`ModelInfo::outcome_names`](crate::model::ModelInfo::outcome_names). Of a network
    /// of videos, `class` is the answer over time.
    pub outcome: Outcome,
    /// The boxes, of a detector.
    pub found: Option<Detections>,
    /// What the frame came to among those before it, of a network of videos.
    pub video: Option<VideoAnswer>,
    /// Which gate let the last answer hold; none where this frame was answered.
    pub held_by: Option<HeldBy>,
    /// What the full network says, where that is compared.
    pub full: Option<Outcome>,
    /// State of charge after the frame; none without a battery, or if no gauge can tell.
    pub soc: Option<f32>,
    /// The operating point and why it is in force.
    pub choice: Choice,
    /// Multiply-accumulates of the network for this frame; 0 where it did not run.
    pub macs: u64,
    /// Joules that the frame added to idle consumption, its preparation included, modelled.
    pub joules: f32,
    /// Joules that the full network would have added, with the same preparation, modelled.
    pub joules_full: f32,
    /// Time for preprocessing, spent while an earlier frame was classified.
    pub preprocessing: Duration,
    /// Time from the frame's capture to the answer.
    pub age: Duration,
}

impl Step {
    /// Whether a gate let the last answer hold, so that the network did not run, or not beyond its first exit.
    pub fn reused(&self) -> bool {
        self.held_by.is_some()
    }
}
