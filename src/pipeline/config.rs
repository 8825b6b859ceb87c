//! What the loop runs on.

use std::time::Duration;

use super::GateConfig;
use crate::detect::TrackerSettings;
use crate::energy::{Battery, PowerModel};
use crate::exit::{Calibration, ExitPolicy};
use crate::runtime::Threads;
use crate::video::OverTimeConfig;

/// What the loop runs on: everything but the frames.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct PipelineConfig {
    /// Operating points, cheapest first.
    pub points: Vec<ExitPolicy>,
    /// How probably answers under these points are right, where that is known.
    pub calibration: Option<Calibration>,
    /// What stages cost on the board.
    pub power: PowerModel,
    /// The modelled battery that frames drain; none on mains, or if nobody asks how long the board lasts.
    pub battery: Option<Battery>,
    /// Time from one frame to the next; a frame that takes longer delays the next one.
    pub period: Duration,
    /// Whether each frame is also run to the last exit, to compare; that work is not charged to the battery.
    pub compare_full: bool,
    /// Threads that work on one frame, the loop's own among them.
    pub threads: Threads,
    /// Seconds of each stage that the loop's clock counts in place of the time that passes here: a run then comes out the
    /// same on a busy machine as on a quiet one.
    pub stage_seconds: Option<Vec<f32>>,
    /// Watts that decoding and resizing a frame adds to the idle board while it lasts; 0 leaves it out of the account.
    pub preparing_watts: f32,
    /// What decides whether a frame goes through the network; without it each does.
    pub gate: Option<GateConfig>,
    /// Boxes with a score above this count, in place of what a detector says.
    pub score: Option<f32>,
    /// When boxes of a detector are the same object, and when it is believed.
    pub tracker: TrackerSettings,
    /// How frames of a network of videos are decided together.
    pub over_time: OverTimeConfig,
}

impl PipelineConfig {
    /// A loop on one thread, without a pause between frames, that compares nothing.
    pub fn new(points: Vec<ExitPolicy>, power: PowerModel, battery: impl Into<Option<Battery>>) -> Self {
        PipelineConfig {
            points,
            calibration: None,
            power,
            battery: battery.into(),
            period: Duration::ZERO,
            compare_full: false,
            threads: Threads::default(),
            stage_seconds: None,
            preparing_watts: 0.0,
            gate: None,
            score: None,
            tracker: TrackerSettings::default(),
            over_time: OverTimeConfig::default(),
        }
    }

    /// The same with how probably answers are right, as [`CalibratedPolicy::calibration`] has it.
    ///
    /// [`CalibratedPolicy::calibration`]: crate::exit::CalibratedPolicy::calibration
    #[must_use]
    pub fn with_calibration(self, calibration: impl Into<Option<Calibration>>) -> Self {
        PipelineConfig { calibration: calibration.into(), ..self }
    }

    /// The same with a time from one frame to the next.
    #[must_use]
    pub fn with_period(self, period: Duration) -> Self {
        PipelineConfig { period, ..self }
    }

    /// The same with each frame also run to the last exit, to compare.
    #[must_use]
    pub fn comparing_full(self) -> Self {
        PipelineConfig { compare_full: true, ..self }
    }

    /// The same on so many threads, or on as many as [`Pipeline::new`](super::Pipeline::new) measures to be fastest here.
    #[must_use]
    pub fn with_threads(self, threads: impl Into<Threads>) -> Self {
        PipelineConfig { threads: threads.into(), ..self }
    }

    /// The same, with these watts added to the idle board's while a frame is decoded and resized.
    #[must_use]
    pub fn with_preparing_watts(self, preparing_watts: f32) -> Self {
        PipelineConfig { preparing_watts, ..self }
    }

    /// The same on a clock that counts modelled time: `stage_seconds` for the stages of a frame, and nothing between them.
    #[must_use]
    pub fn with_modelled_time(self, stage_seconds: Vec<f32>) -> Self {
        PipelineConfig { stage_seconds: Some(stage_seconds), ..self }
    }

    /// The same with a gate before the network.
    #[must_use]
    pub fn with_gate(self, gate: GateConfig) -> Self {
        PipelineConfig { gate: Some(gate), ..self }
    }

    /// The same with boxes counted from another score on.
    #[must_use]
    pub fn with_score(self, score: f32) -> Self {
        PipelineConfig { score: Some(score), ..self }
    }

    /// The same with another idea of when boxes are one object.
    #[must_use]
    pub fn with_tracker(self, tracker: TrackerSettings) -> Self {
        PipelineConfig { tracker, ..self }
    }

    /// The same with frames of a video decided together in another way.
    #[must_use]
    pub fn with_over_time(self, over_time: OverTimeConfig) -> Self {
        PipelineConfig { over_time, ..self }
    }

    /// Joules of resting for so long, taken from the battery.
    pub(super) fn rest(&mut self, time: Duration) {
        self.drain(self.power.resting_watts() * time.as_secs_f32());
    }

    pub(super) fn drain(&mut self, joules: f32) {
        if let Some(battery) = &mut self.battery {
            battery.drain(joules);
        }
    }
}
