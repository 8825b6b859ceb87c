//! The facade of detection: a model file and a frame to boxes in the frame's pixels.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::detect::{Anchors, BoundingBox, Candidates, Letterbox, LevelMaps, Limits};
#[cfg(doc)]
use crate::error::Error;
use crate::error::Result;
use crate::exit::Measure;
use crate::frame::Frame;
use crate::model::BoxSpec;
use crate::plan::Plan;
use crate::preprocess::{Crop, Preprocessor};
use crate::runtime::{RunError, Runtime};

/// Room for boxes before suppression: five levels of a thousand, and then some.
const CANDIDATES: usize = 8192;

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
    spec: BoxSpec,
    anchors: Anchors,
    /// The exits that tell an empty frame, in order of cost, and the class that says so.
    gate: (Vec<usize>, usize),
    labels: Vec<Arc<str>>,
    input: Vec<f32>,
    candidates: Box<Candidates<CANDIDATES>>,
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

/// What was found in a frame.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Detections {
    /// Boxes, best first.
    pub boxes: Vec<Detection>,
    /// The exit that said that nothing is there, from 0, where one ended the frame.
    pub gated_at: Option<usize>,
    /// Exits that were evaluated, in order, each with its class and confidence.
    pub exits: Vec<(usize, usize, f32)>,
    /// How many of [`Plan::goals`] were computed.
    pub goals: usize,
    /// Wall time of the network and of its boxes, without preprocessing.
    pub latency: Duration,
}

/// One box.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Detection {
    /// Where, in pixels of the frame.
    pub area: BoundingBox,
    /// Index of its class.
    pub class: usize,
    /// Its name; `class 7` for class 7 of a model without labels.
    pub label: Arc<str>,
    /// How sure, in [0, 1].
    pub score: f32,
    /// The level that it is from, a place in [`BoxSpec::levels`].
    pub level: usize,
}

impl fmt::Debug for Detector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Detector { runtime, settings, spec, .. } = self;
        let mut shown = f.debug_struct("Detector");
        shown.field("runtime", runtime).field("settings", settings).field("spec", spec).finish_non_exhaustive()
    }
}

impl Detector {
    /// A detector over shared plans, on the calling thread.
    ///
    /// # Errors
    /// [`RunError::NoBoxes`] for a model that is no detector, [`RunError::Batch`] for a plan that takes several images at
    /// once, and as [`Runtime::new`].
    pub fn new(plan: Arc<Plan>, settings: DetectorSettings) -> Result<Detector> {
        let info = plan.info();
        let spec = info.boxes.clone().ok_or(RunError::NoBoxes)?;
        if info.input.batch != 1 {
            return Err(RunError::Batch { batch: info.input.batch }.into());
        }
        let anchors = spec.anchors().ok_or(RunError::NoBoxes)?;
        let preprocessor = Preprocessor::new(info.input.preprocess().with_crop(Crop::Letterbox))?;
        let named = |class: usize| {
            spec.labels.get(class).map_or_else(|| format!("class {class}").into(), |l| l.as_str().into())
        };
        let labels = (0..spec.classes).map(named).collect();
        let presence = info.presence.as_ref();
        let tells = |exit: &usize| presence.is_some_and(|presence| presence.exits.contains(&info.exits[*exit]));
        let gate = ((0..info.exits.len()).filter(tells).collect(), presence.map_or(0, |presence| presence.nothing));
        Ok(Detector {
            preprocessor,
            settings,
            anchors,
            gate,
            labels,
            input: Vec::new(),
            candidates: Box::new(Candidates::new()),
            runtime: Runtime::new(plan.clone())?,
            spec,
        })
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
        let preprocess = *self.preprocessor.preprocess();
        self.input.resize(preprocess.len(), 0.0);
        self.preprocessor.run(frame, &mut self.input)?;
        let input = self.runtime.plan().info().input.len();
        let began = Instant::now();
        // A grey model takes the first of three planes, luminance repeated.
        self.runtime.begin(self.input.get(..input).unwrap_or(&self.input))?;
        let mut found = Detections { boxes: vec![], gated_at: None, exits: vec![], goals: 0, latency: Duration::ZERO };
        if self.is_empty_frame(&mut found)? {
            found.latency = began.elapsed();
            return Ok(found);
        }
        let all = self.runtime.plan().goals().len();
        found.goals = self.settings.goals.unwrap_or(all).min(all);
        let limits = Limits::new(self.settings.score.unwrap_or(self.spec.score), self.spec.candidates);
        let size = [preprocess.width as f32, preprocess.height as f32];
        let code = self.spec.code();
        self.candidates.clear();
        for goal in 0..found.goals {
            for maps in self.runtime.advance_to_boxes(goal)? {
                let stride = self.spec.levels[maps.level].stride;
                let level = LevelMaps::new(stride, maps.shape, self.spec.classes, maps.scores, maps.deltas);
                let level = level.map_err(RunError::Maps)?;
                self.candidates.add_level(maps.level as u8, &level, &self.anchors, &code, size, &limits);
            }
        }
        let kept = self.candidates.suppress(self.spec.overlap, self.spec.boxes);
        let letterbox = Letterbox::fit([frame.width, frame.height], [preprocess.width, preprocess.height]);
        let in_frame = |found: &crate::detect::Found| {
            let class = usize::from(found.label);
            Some(Detection {
                area: letterbox?.to_frame(found.area)?,
                class,
                label: self.labels.get(class)?.clone(),
                score: found.score,
                level: usize::from(found.level),
            })
        };
        found.boxes = kept.iter().filter_map(in_frame).collect();
        found.latency = began.elapsed();
        Ok(found)
    }

    /// Asks the exits, if they are to be asked; a logit that is no number passes its exit over.
    fn is_empty_frame(&mut self, found: &mut Detections) -> Result<bool> {
        let Some(threshold) = self.settings.gate else { return Ok(false) };
        let (exits, nothing) = &self.gate;
        for &exit in exits {
            let Ok(reading) = Measure::MaxSoftmax.read(self.runtime.advance(exit)?) else { continue };
            found.exits.push((exit, reading.class, reading.confidence));
            if reading.confidence >= threshold {
                found.gated_at = (reading.class == *nothing).then_some(exit);
                return Ok(found.gated_at.is_some());
            }
        }
        Ok(false)
    }
}
