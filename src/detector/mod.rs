//! The facade of detection: a model file and a frame to boxes in the frame's pixels.

mod find;

use std::fmt;
use std::sync::Arc;

#[cfg(doc)]
use crate::error::Error;
use crate::error::Result;
use crate::exit::ExitPolicy;
use crate::frame::Frame;
use crate::plan::Plan;
use crate::preprocess::Preprocessor;
use crate::runtime::Runtime;
pub(crate) use find::{Asked, Finder};
pub use find::{Detection, Detections, Examined};

/// A detector: preprocessing, network, gate, levels and boxes in one.
///
/// ```no_run
/// use std::sync::Arc;
///
/// use dyn_perceiver::detector::{Detector, DetectorSettings};
/// use dyn_perceiver::model::LoadOptions;
/// use dyn_perceiver::{Frame, Plan};
///
/// let plan = Arc::new(Plan::load("detector.onnx", &LoadOptions::default())?);
/// let mut detector = Detector::new(plan, DetectorSettings::default().with_gate(0.95))?;
/// # let frame = Frame::default();
/// for found in detector.detect(&frame)?.boxes {
///     println!("{} {:?}", found.label, found.area.corners());
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Detector {
    runtime: Runtime,
    preprocessor: Preprocessor,
    settings: DetectorSettings,
    finder: Finder,
    input: Vec<f32>,
}

/// What a detector computes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct DetectorSettings {
    /// Confidence (the largest soft-max probability) at which an exit that says nothing is there ends the frame, and one
    /// that says something is there sends it on to the boxes. None asks no exit.
    pub gate: Option<f32>,
    /// How many of [`Plan::goals`] are computed, coarse to fine. None computes all.
    pub goals: Option<usize>,
    /// Boxes with a score above this count, in place of what the model says.
    pub score: Option<f32>,
}

impl DetectorSettings {
    /// Asks the exits first, and believes them from this confidence on.
    #[must_use]
    pub fn with_gate(mut self, confidence: f32) -> Self {
        self.gate = Some(confidence);
        self
    }

    /// Computes the first `goals` of [`Plan::goals`] alone.
    #[must_use]
    pub fn with_goals(mut self, goals: usize) -> Self {
        self.goals = Some(goals);
        self
    }

    /// Counts boxes with a score above this.
    #[must_use]
    pub fn with_score(mut self, score: f32) -> Self {
        self.score = Some(score);
        self
    }
}

impl fmt::Debug for Detector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Detector { runtime, settings, .. } = self;
        f.debug_struct("Detector").field("runtime", runtime).field("settings", settings).finish_non_exhaustive()
    }
}

impl Detector {
    /// A detector over shared plans, on the calling thread.
    ///
    /// # Errors
    /// [`RunError::NoBoxes`](crate::runtime::RunError::NoBoxes) for a model that is no detector,
    /// [`RunError::Batch`](crate::runtime::RunError::Batch) for a plan that takes several images at once, and as
    /// [`Runtime::new`].
    pub fn new(plan: Arc<Plan>, settings: DetectorSettings) -> Result<Detector> {
        let finder = Finder::new(&plan)?;
        let preprocessor = Preprocessor::new(Finder::preprocess(&plan))?;
        Ok(Detector { preprocessor, settings, finder, input: Vec::new(), runtime: Runtime::new(plan)? })
    }

    /// The plans that are run.
    pub fn plan(&self) -> &Arc<Plan> {
        self.runtime.plan()
    }

    /// What is computed.
    pub fn settings(&self) -> DetectorSettings {
        self.settings
    }

    /// Changes what is computed, as a governor does from frame to frame.
    pub fn set_settings(&mut self, settings: DetectorSettings) {
        self.settings = settings;
    }

    /// Finds the boxes of one frame.
    ///
    /// # Errors
    /// [`Error::Preprocess`] when the frame is not what it says it is, [`Error::Run`] when the network fails.
    pub fn detect(&mut self, frame: &Frame) -> Result<Detections> {
        let all = self.runtime.plan().goals().len();
        let DetectorSettings { gate, goals, .. } = self.settings;
        self.run(frame, Asked::Plain(gate, goals.unwrap_or(all)))
    }

    /// The same by a policy over [`ModelInfo::outcome_names`](crate::model::ModelInfo::outcome_names): exits that it evaluates are asked, each believed from its
    /// threshold on, and boxes are computed up to the last level that it evaluates, or to the one before the first that is
    /// left out for what the exit asked last said.
    ///
    /// # Errors
    /// As [`Detector::detect`], and [`RunError::PolicyExits`](crate::runtime::RunError::PolicyExits) when the policy is for
    /// another number of outcomes.
    pub fn detect_with(&mut self, frame: &Frame, policy: &ExitPolicy) -> Result<Detections> {
        self.runtime.plan().check_policy(policy)?;
        self.run(frame, Asked::Policy(policy))
    }

    /// All that can be known of a frame, for whoever looks for a policy: every exit that tells an empty frame, and the boxes
    /// up to each goal.
    ///
    /// # Errors
    /// As [`Detector::detect`].
    pub fn examine(&mut self, frame: &Frame) -> Result<Examined> {
        let len = self.prepare(frame)?;
        let input = (&self.input[..len], self.preprocessor.frame_size());
        Ok(self.finder.examine(&mut self.runtime, input)?)
    }

    fn run(&mut self, frame: &Frame, asked: Asked<'_>) -> Result<Detections> {
        let len = self.prepare(frame)?;
        let input = (&self.input[..len], self.preprocessor.frame_size());
        Ok(self.finder.find(&mut self.runtime, input, asked)?)
    }

    /// Makes a frame the input, and says how many floats of it the network takes.
    fn prepare(&mut self, frame: &Frame) -> Result<usize> {
        self.input.resize(self.preprocessor.preprocess().len(), 0.0);
        self.preprocessor.run(frame, &mut self.input)?;
        self.finder.score = self.settings.score;
        // A grey model takes the first of three planes, luminance repeated.
        Ok(self.runtime.plan().info().input.len().min(self.input.len()))
    }
}
