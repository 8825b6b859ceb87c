//! What a frame goes through: exits alone, a detector's gate and levels, or a network of videos.

use std::fmt;
use std::num::NonZeroUsize;
use std::sync::Arc;

use super::error::PipelineError;
use super::prepare::Prepared;
use super::video::{Video, VideoAnswer};
use super::{HeldBy, PipelineConfig};
use crate::detect::{Found, Tracker};
use crate::detector::{Asked, Detections, Finder};
use crate::exit::ExitPolicy;
use crate::gate::{LatentGate, Verdict};
use crate::plan::Plan;
use crate::runtime::{ExitSet, Gated, Outcome, RunError, Runtime, StageTimes};

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
        let (name, runtime) = match self {
            Network::Exits(runtime) => ("Exits", runtime.as_ref()),
            Network::Boxes(boxes) => ("Boxes", &boxes.runtime),
            Network::Video(video) => ("Video", video.runtime()),
        };
        f.debug_tuple(name).field(runtime).finish()
    }
}

impl Answered {
    /// The same answer for a later frame, for which these stages were run in vain.
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
        Ok(Network::Exits(Box::new(runtime(plan)?)))
    }

    /// Runs a frame under a policy, and says whether a gate behind the first exit held the `last` answer. Exits alone have
    /// such a gate: boxes are of their own frame, and a video is its change.
    pub(super) fn run(
        &mut self,
        frame: &Prepared,
        policy: &ExitPolicy,
        gate: Option<&mut LatentGate<Vec<f32>>>,
        last: Option<Answered>,
    ) -> Result<(Answered, Option<HeldBy>), RunError> {
        match self {
            Network::Exits(runtime) => run_gated(runtime, frame, policy, gate, last),
            Network::Boxes(boxes) => Ok((boxes.run(frame, policy)?, None)),
            Network::Video(video) => {
                let (outcome, answer) = video.run(frame, policy)?;
                Ok((Answered { outcome, found: None, video: Some(answer) }, None))
            }
        }
    }

    /// Runs a frame that was run before, to compare; none where that says nothing, or would be taken for another frame.
    pub(super) fn compare(&mut self, frame: &Prepared, policy: &ExitPolicy) -> Result<Option<Outcome>, RunError> {
        match self {
            Network::Exits(runtime) => runtime.run(&frame.tensor, policy).map(Some),
            Network::Boxes(_) | Network::Video(_) => Ok(None),
        }
    }

    /// Multiply-accumulates of a frame that was run under `policy` to where it left.
    pub(super) fn macs(&self, found: Option<&Detections>, policy: &ExitPolicy, left_at: usize) -> u64 {
        let plan = match self {
            Network::Exits(runtime) => runtime.plan(),
            Network::Boxes(boxes) => boxes.runtime.plan(),
            Network::Video(video) => video.runtime().plan(),
        };
        match found {
            Some(found) => found.macs(plan),
            None => plan.macs(policy, left_at),
        }
    }

    /// Whether classes of frames are classes of pictures, so that a picture's label says whether the answer is right.
    pub(super) fn classifies(&self) -> bool {
        !matches!(self, Network::Boxes(_))
    }
}

/// Runs a frame, as far as its code says anything new where there is a gate behind the first exit.
fn run_gated(
    runtime: &mut Runtime,
    frame: &Prepared,
    policy: &ExitPolicy,
    gate: Option<&mut LatentGate<Vec<f32>>>,
    last: Option<Answered>,
) -> Result<(Answered, Option<HeldBy>), RunError> {
    let answered = |outcome| Answered { outcome, found: None, video: None };
    let Some(gate) = gate else { return Ok((answered(runtime.run(&frame.tensor, policy)?), None)) };
    let holds = |code: &[f32]| last.is_some() && gate.judge(frame.time, code) == Verdict::Reuse;
    let outcome = match (runtime.run_unless(&frame.tensor, policy, holds)?, last) {
        (Gated::Held(stages), Some(last)) => return Ok((last.held(stages), Some(HeldBy::Code))),
        (Gated::Answered(outcome), _) => outcome,
        // The gate holds nothing where there is nothing to hold.
        (Gated::Held(_), None) => runtime.run(&frame.tensor, policy)?,
    };
    gate.ran(frame.time, runtime.code()?);
    Ok((answered(outcome), None))
}

impl Boxes {
    fn run(&mut self, frame: &Prepared, policy: &ExitPolicy) -> Result<Answered, RunError> {
        self.runtime.plan().check_policy(policy)?;
        if self.stream.replace(frame.stream).is_some_and(|stream| stream != frame.stream) {
            self.tracker.reset();
        }
        let asked = Asked::Policy(policy);
        let mut found = self.finder.find(&mut self.runtime, (&frame.tensor, frame.size), asked)?;
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
            probability: confidence,
            confidence,
            exit,
            answered_by: exit,
            exited_early: exit < policy.last_exit(),
            passed_over: ExitSet::default(),
            stages: found.stages,
        }
    }
}
