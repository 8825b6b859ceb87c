//! From a tensor to boxes in the frame's pixels: gate, levels and suppression, on a runtime that others own.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::detect::{Anchors, BoundingBox, Candidates, Letterbox, LevelMaps, Limits};
use crate::exit::{ExitPolicy, ExitRule, Measure};
use crate::model::BoxSpec;
use crate::plan::Plan;
use crate::preprocess::{Crop, Preprocess};
use crate::runtime::{ExitSet, RunError, Runtime, StageTime, StageTimes};

/// Room for boxes before suppression: five levels of a thousand, and then some.
const CANDIDATES: usize = 8192;

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
    /// Width and height of the frame in pixels, in which boxes are.
    pub frame: [u32; 2],
    /// Wall time of the network and of its boxes, without preprocessing.
    pub latency: Duration,
    /// The same, exit by exit and goal by goal; goals are counted on from the exits, as in [`ModelInfo::outcome_names`](crate::model::ModelInfo::outcome_names).
    pub stages: StageTimes,
}

impl Detections {
    /// Nothing yet.
    pub(crate) fn empty(frame: [u32; 2]) -> Self {
        let (latency, stages) = (Duration::ZERO, StageTimes::default());
        Detections { boxes: vec![], gated_at: None, exits: vec![], goals: 0, frame, latency, stages }
    }

    /// The exits that were evaluated.
    pub fn evaluated(&self) -> ExitSet {
        ExitSet::of(self.exits.iter().map(|exit| exit.0))
    }

    /// Multiply-accumulates that `plan` took for it.
    pub fn macs(&self, plan: &Plan) -> u64 {
        plan.macs_with_boxes(self.evaluated(), self.goals)
    }

    /// Where the frame ended, a place in [`ModelInfo::outcome_names`](crate::model::ModelInfo::outcome_names): the exit that said that nothing is there, or the last
    /// goal that was computed.
    pub fn outcome(&self, plan: &Plan) -> usize {
        let exits = plan.info().exits.len();
        let asked = self.exits.last().map_or(0, |exit| exit.0);
        self.gated_at.unwrap_or(if self.goals > 0 { exits + self.goals - 1 } else { asked })
    }
}

/// All that a detector says of a frame, for whoever looks for a policy.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Examined {
    /// Each exit that tells an empty frame, with its class and confidence; none where a logit is no number.
    pub exits: Vec<(usize, Option<(usize, f32)>)>,
    /// The class of these exits that means nothing is there.
    pub nothing: usize,
    /// For each of [`Plan::goals`], the boxes that are found up to it.
    pub levels: Vec<Vec<Detection>>,
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
    /// The number of the object that it is, where a loop follows objects and believes this one.
    pub track: Option<u32>,
}

/// What is computed of one frame.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Asked<'a> {
    /// One confidence for all exits that tell an empty frame, or none; and so many goals.
    Plain(Option<f32>, usize),
    /// What a policy over exits and goals says.
    Policy(&'a ExitPolicy),
}

impl Asked<'_> {
    /// From which confidence on this exit is believed; none where it is not asked, infinite where it ends no frame.
    fn threshold(&self, exit: usize) -> Option<f32> {
        match self {
            Asked::Plain(gate, _) => *gate,
            Asked::Policy(policy) => match policy.rules().get(exit) {
                Some(ExitRule::Leave(threshold)) => Some(*threshold),
                Some(ExitRule::Ask) => Some(f32::INFINITY),
                _ => None,
            },
        }
    }

    fn measure(&self) -> Measure {
        match self {
            Asked::Plain(..) => Measure::MaxSoftmax,
            Asked::Policy(policy) => policy.measure(),
        }
    }

    /// How many goals are computed of a frame of which an exit said this class with this confidence.
    fn goals(&self, exits: usize, said: Option<(usize, f32)>) -> usize {
        let policy = match self {
            Asked::Plain(_, goals) => return *goals,
            Asked::Policy(policy) => policy,
        };
        let levels = policy.rules().get(exits..=policy.last_exit()).unwrap_or(&[]);
        let left_out = |rule: &ExitRule| match (rule, said) {
            (ExitRule::Unless { class, confidence }, Some((said, sure))) => {
                said == usize::from(*class) && sure >= *confidence
            }
            _ => false,
        };
        levels.iter().position(left_out).unwrap_or(levels.len())
    }
}

/// What turns maps into boxes.
pub(crate) struct Finder {
    spec: BoxSpec,
    anchors: Anchors,
    /// The exits that tell an empty frame, in order of cost, and the class that says so.
    gate: (Vec<usize>, usize),
    labels: Vec<Arc<str>>,
    /// Width and height of the network's input.
    size: [u32; 2],
    candidates: Box<Candidates<CANDIDATES>>,
    /// Boxes with a score above this count, in place of what the model says.
    pub(crate) score: Option<f32>,
}

impl Finder {
    /// For the boxes of a plan.
    ///
    /// # Errors
    /// [`RunError::NoBoxes`] for a model that is no detector, [`RunError::Batch`] for a plan that takes several images at
    /// once.
    pub(crate) fn new(plan: &Plan) -> Result<Self, RunError> {
        let info = plan.info();
        let spec = info.boxes.clone().ok_or(RunError::NoBoxes)?;
        if info.input.batch != 1 {
            return Err(RunError::Batch { batch: info.input.batch });
        }
        let anchors = spec.anchors().ok_or(RunError::NoBoxes)?;
        let named = |class: usize| {
            spec.labels.get(class).map_or_else(|| format!("class {class}").into(), |l| l.as_str().into())
        };
        let labels = (0..spec.classes).map(named).collect();
        let presence = info.presence.as_ref();
        let tells = |exit: &usize| presence.is_some_and(|presence| presence.exits.contains(&info.exits[*exit]));
        let gate = ((0..info.exits.len()).filter(tells).collect(), presence.map_or(0, |presence| presence.nothing));
        let size = [info.input.width as u32, info.input.height as u32];
        Ok(Finder { spec, anchors, gate, labels, size, candidates: Box::new(Candidates::new()), score: None })
    }

    /// How a frame becomes the input: whole, in its own shape.
    pub(crate) fn preprocess(plan: &Plan) -> Preprocess {
        plan.info().input.preprocess().with_crop(Crop::Letterbox)
    }

    /// The class of the exits that means nothing is there.
    pub(crate) fn nothing(&self) -> usize {
        self.gate.1
    }

    /// Finds the boxes of the frame of width and height `frame` that `input` was made of.
    pub(crate) fn find(
        &mut self,
        runtime: &mut Runtime,
        (input, frame): (&[f32], [u32; 2]),
        asked: Asked<'_>,
    ) -> Result<Detections, RunError> {
        runtime.begin(input)?;
        self.go_on(runtime, frame, asked)
    }

    /// The same for a frame that the runtime has begun already.
    pub(crate) fn go_on(
        &mut self,
        runtime: &mut Runtime,
        frame: [u32; 2],
        asked: Asked<'_>,
    ) -> Result<Detections, RunError> {
        let mut found = Detections::empty(frame);
        let began = Instant::now();
        if !self.is_empty_frame(runtime, asked, &mut found)? {
            self.boxes(runtime, frame, asked, &mut found)?;
        }
        found.latency = began.elapsed();
        Ok(found)
    }

    /// All that can be known of a frame: what each exit that tells an empty one says, and the boxes up to each goal.
    pub(crate) fn examine(
        &mut self,
        runtime: &mut Runtime,
        (input, frame): (&[f32], [u32; 2]),
    ) -> Result<Examined, RunError> {
        runtime.begin(input)?;
        let mut exits = vec![];
        for &exit in &self.gate.0 {
            let reading = Measure::MaxSoftmax.read(runtime.advance(exit)?);
            exits.push((exit, reading.ok().map(|reading| (reading.class, reading.confidence))));
        }
        let mut levels = vec![];
        for goals in 1..=runtime.plan().goals().len() {
            // What was computed for fewer goals is not computed again.
            let mut found = Detections::empty(frame);
            self.boxes(runtime, frame, Asked::Plain(None, goals), &mut found)?;
            levels.push(found.boxes);
        }
        Ok(Examined { exits, levels, nothing: self.nothing() })
    }

    /// Asks the exits, if they are to be asked; a logit that is no number passes its exit over.
    fn is_empty_frame(
        &self,
        runtime: &mut Runtime,
        asked: Asked<'_>,
        found: &mut Detections,
    ) -> Result<bool, RunError> {
        let (exits, nothing) = &self.gate;
        for &exit in exits {
            let Some(threshold) = asked.threshold(exit) else { continue };
            let began = Instant::now();
            let reading = asked.measure().read(runtime.advance(exit)?);
            found.stages.push(StageTime { exit, time: began.elapsed() });
            let Ok(reading) = reading else { continue };
            found.exits.push((exit, reading.class, reading.confidence));
            if reading.confidence >= threshold {
                found.gated_at = (reading.class == *nothing).then_some(exit);
                return Ok(found.gated_at.is_some());
            }
        }
        Ok(false)
    }

    fn boxes(
        &mut self,
        runtime: &mut Runtime,
        frame: [u32; 2],
        asked: Asked<'_>,
        found: &mut Detections,
    ) -> Result<(), RunError> {
        let (all, exits) = (runtime.plan().goals().len(), runtime.plan().info().exits.len());
        let said = found.exits.last().map(|&(_, class, confidence)| (class, confidence));
        found.goals = asked.goals(exits, said).min(all);
        let limits = Limits::new(self.score.unwrap_or(self.spec.score), self.spec.candidates);
        let size = self.size.map(|side| side as f32);
        let code = self.spec.code();
        self.candidates.clear();
        let mut began = Instant::now();
        for goal in 0..found.goals {
            for maps in runtime.advance_to_boxes(goal)? {
                let stride = self.spec.levels[maps.level].stride;
                let level = LevelMaps::new(stride, maps.shape, self.spec.classes, maps.scores, maps.deltas);
                let level = level.map_err(RunError::Maps)?;
                self.candidates.add_level(maps.level as u8, &level, &self.anchors, &code, size, &limits);
            }
            if goal + 1 < found.goals {
                found.stages.push(StageTime { exit: exits + goal, time: began.elapsed() });
                began = Instant::now();
            }
        }
        let kept = self.candidates.suppress(self.spec.overlap, self.spec.boxes);
        let letterbox = Letterbox::fit(frame, self.size);
        let in_frame = |found: &crate::detect::Found| {
            let class = usize::from(found.label);
            Some(Detection {
                area: letterbox?.to_frame(found.area)?,
                class,
                label: self.labels.get(class)?.clone(),
                score: found.score,
                level: usize::from(found.level),
                track: None,
            })
        };
        found.boxes.extend(kept.iter().filter_map(in_frame));
        if let Some(last) = found.goals.checked_sub(1) {
            found.stages.push(StageTime { exit: exits + last, time: began.elapsed() });
        }
        Ok(())
    }
}
