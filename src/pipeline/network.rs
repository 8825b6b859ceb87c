//! What a frame goes through: exits alone, a detector's gate and levels, or a network of videos.

use std::fmt;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Instant;

use super::PipelineConfig;
use super::error::PipelineError;
use super::gate::HeldBy;
use super::prepare::Prepared;
use super::video::{Video, VideoAnswer};
use crate::detect::{Found, Tracker};
use crate::detector::{Asked, Detections, Finder};
use crate::exit::ExitPolicy;
use crate::gate::{LatentGate, Verdict};
use crate::plan::Plan;
use crate::runtime::{ExitSet, Gated, Outcome, RunError, Runtime, StageTime, StageTimes};

/// Objects that are followed at a time.
const TRACKS: usize = 128;

/// The network of a loop, and what it remembers from frame to frame.
pub(super) enum Network {
    Exits(Box<Runtime>),
    Boxes(Box<Boxes>),
    Video(Box<Video>),
}

/// What came of a frame.
#[derive(Clone, Debug)]
pub(super) struct Answered {
    pub outcome: Outcome,
    pub found: Option<Detections>,
    pub video: Option<VideoAnswer>,
}

/// A detector, and the objects that it follows.
pub(super) struct Boxes {
    runtime: Runtime,
    finder: Finder,
    tracker: Tracker<TRACKS>,
    /// The boxes of a frame and the numbers of their tracks, which keep their memory.
    boxes: Vec<Found>,
    tracks: Vec<Option<u32>>,
    /// The camera, file or folder of the last frame.
    stream: Option<u64>,
}

impl fmt::Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self {
            Network::Exits(_) => "Exits",
            Network::Boxes(_) => "Boxes",
            Network::Video(_) => "Video",
        };
        f.debug_tuple(name).field(self.runtime()).finish()
    }
}

impl Answered {
    /// The same answer for a later frame, for which no more was run than these stages.
    pub(super) fn held(self, stages: StageTimes) -> Answered {
        let found = self.found.map(|mut found| {
            (found.stages, found.latency) = (stages, stages.iter().map(|stage| stage.time).sum());
            found
        });
        Answered { outcome: self.outcome.held(stages), found, video: self.video.map(VideoAnswer::held) }
    }
}

impl Network {
    /// What the plan is for, on so many threads. `is_live` says whether frames have times of their own.
    pub(super) fn new(
        plan: Arc<Plan>,
        threads: NonZeroUsize,
        config: &PipelineConfig,
        is_live: bool,
    ) -> Result<Self, PipelineError> {
        let runtime = |plan: Arc<Plan>| {
            Runtime::new(plan).and_then(|runtime| runtime.with_threads(threads)).map_err(PipelineError::Setup)
        };
        if plan.info().boxes.is_some() {
            let mut finder = Finder::new(&plan).map_err(PipelineError::Setup)?;
            finder.score = config.score;
            let (tracker, boxes, tracks) = (Tracker::new(config.tracker), vec![], vec![]);
            let runtime = runtime(plan)?;
            return Ok(Network::Boxes(Box::new(Boxes { runtime, finder, tracker, boxes, tracks, stream: None })));
        }
        if plan.info().video.is_some() {
            let policy = config.points.first().ok_or(PipelineError::NoPoints)?;
            return Ok(Network::Video(Box::new(Video::new(runtime(plan)?, policy, config.over_time, is_live)?)));
        }
        let mut runtime = runtime(plan)?;
        runtime.set_calibration(config.calibration.clone());
        Ok(Network::Exits(Box::new(runtime)))
    }

    /// Runs a frame under a policy, as far as its code says anything new where there is a gate behind the first exit, and
    /// says whether that held the `last` answer. In a video every frame counts: there is no such gate.
    pub(super) fn run(
        &mut self,
        frame: &Prepared,
        policy: &ExitPolicy,
        gate: Option<&mut LatentGate<Vec<f32>>>,
        last: Option<Answered>,
    ) -> Result<(Answered, Option<HeldBy>), RunError> {
        let Some(gate) = gate else { return Ok((self.run_whole(frame, policy)?, None)) };
        let holds = |code: &[f32]| last.is_some() && gate.judge(frame.time, code) == Verdict::Reuse;
        let held = match self {
            Network::Exits(runtime) => match runtime.run_unless(&frame.tensor, policy, holds)? {
                Gated::Held(stages) => Err(stages),
                Gated::Answered(outcome) => Ok(Answered { outcome, found: None, video: None }),
            },
            Network::Boxes(boxes) => boxes.run_unless(frame, policy, holds)?,
            Network::Video(_) => return Ok((self.run_whole(frame, policy)?, None)),
        };
        let answered = match (held, last) {
            (Err(stages), Some(last)) => return Ok((last.held(stages), Some(HeldBy::Code))),
            (Ok(answered), _) => answered,
            // The gate holds nothing where there is nothing to hold.
            (Err(_), None) => self.run_whole(frame, policy)?,
        };
        gate.ran(frame.time, self.runtime().code()?);
        Ok((answered, None))
    }

    fn run_whole(&mut self, frame: &Prepared, policy: &ExitPolicy) -> Result<Answered, RunError> {
        match self {
            Network::Exits(runtime) => {
                let outcome = runtime.run(&frame.tensor, policy)?;
                Ok(Answered { outcome, found: None, video: None })
            }
            Network::Boxes(boxes) => boxes.run(frame, policy),
            Network::Video(video) => {
                let (outcome, answer) = video.run(frame, policy)?;
                Ok(Answered { outcome, found: None, video: Some(answer) })
            }
        }
    }

    fn runtime(&self) -> &Runtime {
        match self {
            Network::Exits(runtime) => runtime,
            Network::Boxes(boxes) => &boxes.runtime,
            Network::Video(video) => video.runtime(),
        }
    }

    /// The plans that are run.
    pub(super) fn plan(&self) -> &Plan {
        self.runtime().plan()
    }

    /// Runs a frame that was run before, to compare; none where that says nothing, or would be taken for another frame.
    pub(super) fn compare(&mut self, frame: &Prepared, policy: &ExitPolicy) -> Result<Option<Outcome>, RunError> {
        match self {
            Network::Exits(runtime) => runtime.run(&frame.tensor, policy).map(Some),
            Network::Boxes(_) | Network::Video(_) => Ok(None),
        }
    }

    /// Multiply-accumulates of a frame that was run under `policy`.
    pub(super) fn macs(&self, answered: &Answered, policy: &ExitPolicy) -> u64 {
        let plan = self.plan();
        match &answered.found {
            Some(found) => found.macs(plan),
            None => plan.macs(policy, answered.outcome.exit),
        }
    }

    /// Whether classes of frames are classes of pictures, so that a picture's label says whether the answer is right.
    pub(super) fn classifies(&self) -> bool {
        !matches!(self, Network::Boxes(_))
    }
}

impl Boxes {
    fn run(&mut self, frame: &Prepared, policy: &ExitPolicy) -> Result<Answered, RunError> {
        self.runtime.plan().check_policy(policy)?;
        self.runtime.begin(&frame.tensor)?;
        self.go_on(frame, policy)
    }

    /// Runs a frame to the first exit, asks `holds` with its code whether an earlier answer holds, and goes on where it does
    /// not; else the stage that ran.
    fn run_unless(
        &mut self,
        frame: &Prepared,
        policy: &ExitPolicy,
        holds: impl FnOnce(&[f32]) -> bool,
    ) -> Result<Result<Answered, StageTimes>, RunError> {
        self.runtime.plan().check_policy(policy)?;
        let began = Instant::now();
        self.runtime.begin(&frame.tensor)?;
        self.runtime.advance(0)?;
        let time = began.elapsed();
        if holds(self.runtime.code()?) {
            let mut stages = StageTimes::default();
            stages.push(StageTime { exit: 0, time });
            return Ok(Err(stages));
        }
        self.go_on(frame, policy).map(Ok)
    }

    /// The rest of a frame that was begun.
    fn go_on(&mut self, frame: &Prepared, policy: &ExitPolicy) -> Result<Answered, RunError> {
        if self.stream.replace(frame.stream).is_some_and(|stream| stream != frame.stream) {
            self.tracker.reset();
        }
        let asked = Asked::Policy(policy);
        let mut found = self.finder.go_on(&mut self.runtime, frame.size, asked)?;
        self.boxes.clear();
        let label = |class: usize| u16::try_from(class).unwrap_or(u16::MAX);
        self.boxes.extend(found.boxes.iter().map(|found| Found::new(found.area, found.score, label(found.class))));
        self.tracks.clear();
        self.tracks.resize(self.boxes.len(), None);
        self.tracker.update(&self.boxes, &mut self.tracks);
        for (found, track) in found.boxes.iter_mut().zip(&self.tracks) {
            found.track = *track;
        }
        let outcome = self.outcome(&found, policy);
        Ok(Answered { outcome, found: Some(found), video: None })
    }

    /// The frame in the words of exits: whether something is there, and where it ended.
    fn outcome(&self, found: &Detections, policy: &ExitPolicy) -> Outcome {
        let nothing = self.finder.nothing();
        let said = found.exits.last().map(|&(_, class, confidence)| (class, confidence));
        let (class, confidence) = match (found.boxes.first(), said) {
            (Some(best), Some((class, _))) if class != nothing => (class, best.score),
            (Some(best), _) => (usize::from(nothing == 0), best.score),
            (None, Some((class, confidence))) if class == nothing => (nothing, confidence),
            // No box is what no exit was sure of.
            (None, _) => (nothing, 0.0),
        };
        let exit = found.outcome(self.runtime.plan());
        Outcome {
            class,
            softmax: confidence,
            confidence,
            probability: None,
            exit,
            answered_by: exit,
            exited_early: exit < policy.last_exit(),
            passed_over: ExitSet::default(),
            stages: found.stages,
        }
    }
}
