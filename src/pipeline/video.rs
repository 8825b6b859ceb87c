//! A network of videos in the loop: what forgets its states and answers.

use std::time::Instant;

use super::error::PipelineError;
use super::prepare::Prepared;
use crate::exit::{ExitPolicy, FrameAnswer, is_gap};
use crate::runtime::{Outcome, RunError, Runtime};
use crate::video::{OverTimeConfig, VideoRuntime};

/// Why what came before a frame was forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ResetReason {
    /// More than two frame periods had passed since the frame before it.
    Gap,
    /// It came from another file or folder, or after the camera was lost.
    Stream,
    /// The frame before it left no finite numbers behind.
    NotFinite,
}

impl ResetReason {
    /// The name in records.
    pub const fn name(self) -> &'static str {
        match self {
            ResetReason::Gap => "gap",
            ResetReason::Stream => "stream",
            ResetReason::NotFinite => "not-finite",
        }
    }
}

/// What a frame of a video came to.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct VideoAnswer {
    /// The answer over time, and this frame's part in it.
    pub frame: FrameAnswer,
    /// Whether states behind the first exit were held for longer than the settings allow.
    pub stale: bool,
    /// Why what came before was forgotten, where it was.
    pub reset: Option<ResetReason>,
}

impl VideoAnswer {
    /// The same for a later frame, for which nothing was run.
    pub(super) fn held(mut self) -> Self {
        (self.frame.changed, self.reset) = (false, None);
        self
    }
}

/// A network of videos and what it remembers.
pub(super) struct Video {
    inner: VideoRuntime,
    /// Seconds from frame to frame that the model was trained on, where frames have times of their own.
    period: Option<f32>,
    /// The stream and the time of the last frame.
    last: Option<(u64, Instant)>,
}

impl Video {
    pub(super) fn new(
        runtime: Runtime,
        policy: &ExitPolicy,
        config: OverTimeConfig,
        is_live: bool,
    ) -> Result<Self, PipelineError> {
        let info = runtime.plan().info();
        let period = info.video.as_ref().and_then(|video| video.frame_period).filter(|_| is_live);
        let settings = config.settings(info, policy)?;
        Ok(Video { inner: VideoRuntime::new(runtime, settings)?, period, last: None })
    }

    pub(super) fn runtime(&self) -> &Runtime {
        &self.inner.runtime
    }

    /// Why this frame is not the next one of what came before, if it is not.
    fn reset_before(&mut self, frame: &Prepared) -> Option<ResetReason> {
        let (stream, at) = self.last.replace((frame.stream, frame.captured))?;
        let elapsed = frame.captured.saturating_duration_since(at);
        if stream != frame.stream {
            Some(ResetReason::Stream)
        } else if is_gap(elapsed.as_secs_f32(), self.period) {
            Some(ResetReason::Gap)
        } else {
            self.inner.spoilt.then_some(ResetReason::NotFinite)
        }
    }

    pub(super) fn run(&mut self, frame: &Prepared, policy: &ExitPolicy) -> Result<(Outcome, VideoAnswer), RunError> {
        let reset = self.reset_before(frame);
        if reset.is_some() {
            self.inner.reset();
        }
        let (outcome, answer) = self.inner.run(&frame.tensor, policy)?;
        let stale = self.inner.over_time.is_stale(policy.last_exit());
        Ok((outcome, VideoAnswer { frame: answer, stale, reset }))
    }
}
