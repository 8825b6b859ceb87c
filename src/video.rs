//! The facade of videos: frames of one video, in order, to an answer over time.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

#[cfg(doc)]
use crate::error::Error;
use crate::error::Result;
use crate::exit::{Decision, ExitPolicy, FrameAnswer, LogitsError, OverTime, OverTimeError, OverTimeSettings};
use crate::frame::Frame;
use crate::model::ModelInfo;
use crate::plan::{Plan, check_rules};
use crate::preparation::Preparation;
use crate::runtime::{ExitSet, Outcome, RunError, Runtime, StageTime, StageTimes};

/// How frames of a video are decided together, see [`OverTimeSettings`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct OverTimeConfig {
    /// Frames over which logits are summed; none takes what the model says, else 8.
    pub window: Option<usize>,
    /// An answer changes after so many equal ones in a row; none takes what a calibrated bundle says, else 2.
    pub repeats: Option<u32>,
    /// States that were held for more frames count as stale; none takes the window.
    pub hold: Option<u32>,
}

impl OverTimeConfig {
    /// Frames over which logits are summed where neither user nor model say: those of TSM's clips.
    pub const WINDOW: usize = 8;
    /// Equal answers after which the answer changes where nobody says.
    pub const REPEATS: u32 = 2;

    /// A window of so many frames.
    #[must_use]
    pub fn with_window(mut self, frames: usize) -> Self {
        self.window = Some(frames);
        self
    }

    /// An answer changes after so many equal ones in a row.
    #[must_use]
    pub fn with_repeats(mut self, repeats: u32) -> Self {
        self.repeats = Some(repeats);
        self
    }

    /// States that were held for more than `frames` frames count as stale.
    #[must_use]
    pub fn with_hold(mut self, frames: u32) -> Self {
        self.hold = Some(frames);
        self
    }

    /// The window for a model.
    pub fn window_for(&self, info: &ModelInfo) -> usize {
        self.window.or(info.video.as_ref().and_then(|video| video.window)).unwrap_or(Self::WINDOW)
    }

    /// Equal answers in a row for a model.
    pub fn repeats_for(&self, info: &ModelInfo) -> u32 {
        self.repeats.or(info.video.as_ref().and_then(|video| video.repeats)).unwrap_or(Self::REPEATS)
    }

    /// Settings for a model, its frames under a policy.
    ///
    /// # Errors
    /// [`OverTimeError`] for a window or number of answers that cannot be.
    pub fn settings(&self, info: &ModelInfo, policy: &ExitPolicy) -> Result<OverTimeSettings, OverTimeError> {
        let settings = OverTimeSettings::new(policy.clone(), self.window_for(info), self.repeats_for(info))?;
        Ok(self.hold.map_or(settings.clone(), |hold| settings.with_hold(hold)))
    }
}

/// A network of videos: preprocessing, states and the decision over time in one.
///
/// ```no_run
/// use std::sync::Arc;
///
/// use dyn_perceiver::exit::{ExitPolicy, Measure};
/// use dyn_perceiver::model::LoadOptions;
/// use dyn_perceiver::video::{OverTimeConfig, VideoClassifier};
/// use dyn_perceiver::{Frame, Plan};
///
/// let plan = Arc::new(Plan::load("video.onnx", &LoadOptions::default())?);
/// let policy = ExitPolicy::with_thresholds(Measure::MaxSoftmax, plan.stages().len(), &[0.99, 0.99, 0.99])?;
/// let settings = OverTimeConfig::default().settings(plan.info(), &policy)?;
/// let mut video = VideoClassifier::new(plan, settings)?;
/// # let frames = [Frame::default()];
/// for frame in &frames {
///     let (_, answer) = video.classify(frame)?;
///     println!("{:?}", answer.class);
/// }
/// video.reset();
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct VideoClassifier {
    preparation: Preparation,
    video: VideoRuntime,
    input: Vec<f32>,
}

impl fmt::Debug for VideoClassifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VideoClassifier").field("runtime", &self.video.runtime).finish_non_exhaustive()
    }
}

impl VideoClassifier {
    /// A video that has not begun, on the calling thread.
    ///
    /// # Errors
    /// [`Error::Policy`] when the settings are for another number of exits, and as [`Runtime::new`].
    pub fn new(plan: Arc<Plan>, settings: OverTimeSettings) -> Result<VideoClassifier> {
        let (exits, rules) = (plan.stages().len(), settings.policy().rules().len());
        if exits != rules {
            return Err(RunError::PolicyExits { expected: exits, actual: rules }.into());
        }
        let preparation = Preparation::new(&plan.info().input)?;
        let video = VideoRuntime::new(Runtime::new(plan)?, settings)?;
        Ok(VideoClassifier { preparation, video, input: Vec::new() })
    }

    /// The plans that are run.
    pub fn plan(&self) -> &Arc<Plan> {
        self.video.runtime.plan()
    }

    /// Forgets all frames: what comes is another video.
    pub fn reset(&mut self) {
        self.video.reset();
    }

    /// Runs the next frame under the policy of the settings. Of the outcome, `class` is the answer over time, or before the
    /// first what the window says; the rest is this frame's. After a frame whose logits were no numbers, what comes is
    /// another video.
    ///
    /// # Errors
    /// [`Error::Preprocess`] when the frame is not what it says it is, [`Error::Run`] when the network fails.
    pub fn classify(&mut self, frame: &Frame) -> Result<(Outcome, FrameAnswer)> {
        self.preparation.run(frame, &mut self.input)?;
        if self.video.spoilt {
            self.video.reset();
        }
        let policy = self.video.over_time.settings().policy().clone();
        Ok(self.video.run(&self.input, &policy)?)
    }

    /// Logits of every exit at the next frame, without deciding anything.
    ///
    /// # Errors
    /// As [`VideoClassifier::classify`].
    pub fn logits(&mut self, frame: &Frame) -> Result<Vec<Vec<f32>>> {
        self.preparation.run(frame, &mut self.input)?;
        Ok(self.video.runtime.all_logits(&self.input)?)
    }
}

/// A runtime whose frames are decided together.
pub(crate) struct VideoRuntime {
    pub(crate) runtime: Runtime,
    pub(crate) over_time: OverTime<Vec<f32>>,
    /// Whether the last frame left something behind that is no number.
    pub(crate) spoilt: bool,
}

impl VideoRuntime {
    pub(crate) fn new(runtime: Runtime, settings: OverTimeSettings) -> Result<Self, OverTimeError> {
        let info = runtime.plan().info();
        let room = OverTime::<Vec<f32>>::storage_len(info.exits.len(), info.classes, settings.window());
        let over_time = OverTime::new(settings, info.classes, vec![0.0; room])?;
        Ok(VideoRuntime { over_time, runtime, spoilt: false })
    }

    pub(crate) fn reset(&mut self) {
        self.runtime.reset();
        self.over_time.reset();
        self.spoilt = false;
    }

    /// Runs the next frame.
    pub(crate) fn run(&mut self, input: &[f32], policy: &ExitPolicy) -> Result<(Outcome, FrameAnswer), RunError> {
        let expected = self.runtime.plan().info().exits.len();
        self.spoilt = false;
        if self.over_time.set_policy(policy).is_err() {
            return Err(RunError::PolicyExits { expected, actual: policy.rules().len() });
        }
        check_rules(policy, expected)?;
        self.runtime.begin(input)?;
        self.over_time.begin();
        let mut stages = StageTimes::default();
        let walked = self.exits(policy, &mut stages);
        let answer = self.over_time.finish();
        let passed_over = walked.inspect_err(|_| self.spoilt = true)?;
        self.spoilt = passed_over.is_some();
        let (Some(exit), Some(reading)) = (answer.exit, answer.reading) else {
            let (exit, source) = passed_over.unwrap_or((0, LogitsError::Empty));
            return Err(RunError::Logits { exit: self.runtime.plan().info().exits[exit].clone(), source });
        };
        let outcome = Outcome {
            class: answer.class.unwrap_or(reading.class),
            softmax: reading.softmax,
            confidence: reading.confidence,
            // Calibration is of single images.
            probability: None,
            exit,
            answered_by: exit,
            exited_early: exit < policy.last_exit(),
            passed_over: passed_over.map_or_else(ExitSet::default, |(exit, _)| ExitSet::of([exit])),
            stages,
        };
        Ok((outcome, answer))
    }

    /// Goes from exit to exit until the frame leaves; the first exit with logits that are no numbers, if there was one.
    fn exits(
        &mut self,
        policy: &ExitPolicy,
        stages: &mut StageTimes,
    ) -> Result<Option<(usize, LogitsError)>, RunError> {
        let mut passed_over = None;
        for exit in (0..=policy.last_exit()).filter(|&exit| policy.evaluates(exit)) {
            let began = Instant::now();
            let logits = self.runtime.advance(exit)?;
            let observed = self.over_time.observe(exit, logits);
            stages.push(StageTime { exit, time: began.elapsed() });
            match observed {
                Ok(Decision::Leave) => break,
                Ok(Decision::Continue) => {}
                Err(error) => passed_over = passed_over.or(Some((exit, error))),
            }
        }
        Ok(passed_over)
    }
}
