//! A multi-exit graph as stage plans: partitioned, optimised by tract for this CPU, ready to run.
//!
//! Stage k is what exit k needs and no earlier exit needed. A policy may leave exits out, so a stage is kept as
//! segments, each needed by one and the same set of exits; see [`Plan::stages`] for what they cost and
//! [`crate::runtime::Runtime`] for running them.

mod error;

use std::fmt;
use std::path::Path;

use tract_core::internal::*;

pub use crate::executor::LayerCounts;
pub use crate::graph::parts::Stage;
pub use error::PlanError;

use crate::bundle_format::{self, BundleInfo};
use crate::executor::{Executor, RunError, is_all_kernels};
use crate::exit::ExitPolicy;
use crate::graph::partition::SegmentGraph;
use crate::graph::parts::{Parts, stage_of};
use crate::graph::{ExitSet, GraphError, Slot, StateSlots, cost};
use crate::model::{self, BoxSpec, LevelGoal, LoadOptions, Model, ModelInfo};
use crate::{deadline, quiet};

/// Stage plans of one model, ready to run. Immutable; share one between threads with an `Arc`.
pub struct Plan {
    info: ModelInfo,
    stages: Vec<Stage>,
    /// What the model's own graph costs, by which exits need it; independent of how it is rewritten.
    costs: Vec<(ExitSet, cost::GroupCost)>,
    /// For each segment of the executor, which exits need it.
    pub(crate) needs: Vec<ExitSet>,
    pub(crate) executor: Executor,
    pub(crate) input: Slot,
    pub(crate) exits: Vec<Slot>,
    /// For each goal of boxes, where the maps of its levels are found.
    pub(crate) levels: Vec<Vec<Slot>>,
    pub(crate) states: Vec<State>,
    goals: Vec<LevelGoal>,
    bundle: Option<Box<BundleInfo>>,
}

/// What goes from frame to frame in a plan.
#[derive(Clone, Debug)]
pub(crate) struct State {
    pub slots: StateSlots,
    /// The segment that makes what becomes it.
    pub segment: usize,
    /// The segments that read it: where none of them ran, it is held.
    pub readers: Vec<usize>,
    /// Whether two buffers change places, or a copy is made.
    pub swap: bool,
}

impl State {
    /// Whether a frame that ran these segments makes it anew.
    pub(crate) fn is_new(&self, done: &[bool]) -> bool {
        done[self.segment] && (self.readers.is_empty() || self.readers.iter().any(|&segment| done[segment]))
    }
}

impl Plan {
    /// Partitions the model and optimises every part.
    ///
    /// # Errors
    /// [`PlanError`] when tract refuses a part, or when it takes longer than the deadline that the model was loaded under.
    pub fn new(model: Model) -> Result<Plan, PlanError> {
        Self::build(model, true)
    }

    /// The whole graph as one plan, which computes every exit whichever is asked for: what staged plans are compared with.
    ///
    /// # Errors
    /// As [`Plan::new`].
    pub fn unstaged(model: Model) -> Result<Plan, PlanError> {
        Self::build(model, false)
    }

    fn build(model: Model, staged: bool) -> Result<Plan, PlanError> {
        let (path, limit) = (model.info.path.clone(), model.limits.deadline);
        let built = deadline::within(limit, move || Self::build_here(model, staged));
        built.unwrap_or_else(|overdue| Err(model::late(overdue, &path, limit).into()))
    }

    /// As [`Plan::new`], on this thread and without a deadline.
    fn build_here(model: Model, staged: bool) -> Result<Plan, PlanError> {
        let path = model.info.path.clone();
        let built = quiet::catch(|| Self::prepare(Parts::of(model, staged)?, None));
        built.unwrap_or_else(|reason| Err(panicked(&path, reason)))
    }

    /// Optimises every part of a model that is in segments already.
    pub(crate) fn from_parts(parts: Parts) -> Result<Plan, PlanError> {
        let path = parts.info.path.clone();
        quiet::catch(|| Self::prepare(parts, None)).unwrap_or_else(|reason| Err(panicked(&path, reason)))
    }

    /// Loads a model or a [bundle](crate::bundle), whichever the file is, and makes it ready to run.
    ///
    /// # Errors
    /// [`PlanError`] when the file is neither, or not sound; when it is a bundle and `options` want other exits or
    /// another batch than it was compiled for; when tract refuses a part of the graph; when it takes longer than the
    /// deadline in the options' limits.
    pub fn load(path: impl AsRef<Path>, options: &LoadOptions) -> Result<Plan, PlanError> {
        let path = path.as_ref();
        let (inner, asked) = (path.to_path_buf(), options.clone());
        let loaded = deadline::within(options.limits.deadline, move || Self::load_here(&inner, &asked));
        loaded.unwrap_or_else(|overdue| Err(model::late(overdue, path, options.limits.deadline).into()))
    }

    fn load_here(path: &Path, options: &LoadOptions) -> Result<Plan, PlanError> {
        // A pipe can be read once; a bundle is mapped, so it is a file.
        let is_file = std::fs::metadata(path).is_ok_and(|metadata| metadata.is_file());
        if is_file && bundle_format::is_bundle(path) {
            let (parts, bundle) = bundle_format::load(path, options)?;
            let prepared = quiet::catch(|| Self::prepare(parts, Some(Box::new(bundle))));
            return prepared.unwrap_or_else(|reason| Err(panicked(path, reason)));
        }
        let bytes = model::read_file(path, options.limits.file_bytes)?;
        Self::build_here(Model::from_bytes_here(bytes, path, options)?, true)
    }

    fn prepare(parts: Parts, bundle: Option<Box<BundleInfo>>) -> Result<Plan, PlanError> {
        let Parts { info, stages, costs, mut segments, slots, input, exits, levels, states } = parts;
        let image = [info.input.batch, info.input.channels, info.input.height, info.input.width];
        let shapes = info.video.iter().flat_map(|video| &video.states).map(|state| state.shape.as_slice());
        let inputs = states.iter().map(|state| state.input).zip(shapes);
        let inputs: Vec<(Slot, &[usize])> = std::iter::once((input, &image[..])).chain(inputs).collect();
        let mut executor = Executor::new(slots, &inputs);
        let made: Vec<Vec<Slot>> = segments.iter().map(|segment| segment.outputs.clone()).collect();
        let read: Vec<Vec<Slot>> = segments.iter().map(|segment| segment.inputs.clone()).collect();
        let needs: Vec<ExitSet> = segments.iter().map(|segment| segment.need).collect();
        let refuse = |place: &str, error: TractError| GraphError {
            path: info.path.clone(),
            place: place.to_string(),
            source: error.into(),
        };
        let refuse_stage = |need: ExitSet, error| refuse(stage_of(need, &info.exits), error);
        for SegmentGraph { need, graph, .. } in &mut segments {
            let ready = deadline::check().map_err(TractError::from).and_then(|()| is_all_kernels(graph));
            let ready = ready.and_then(|all_kernels| if all_kernels { Ok(()) } else { graph.optimize() });
            ready.map_err(|error| refuse_stage(*need, error))?;
        }
        executor.schedule(&segments).map_err(|error| refuse("graph", error))?;
        // One after another, so that the weights of a graph are freed when they have been gathered.
        for SegmentGraph { need, graph, inputs, outputs } in segments {
            let added = executor.add(&graph, &inputs, &outputs, exits.first().copied());
            added.map_err(|error| refuse_stage(need, error))?;
        }
        let shared = |next: Slot| states.iter().filter(|state| state.next == next).count() > 1;
        let state = |slots: &StateSlots| {
            let segment = made.iter().position(|outputs| outputs.contains(&slots.next));
            let swap = !shared(slots.next) && executor.can_swap(slots.next, slots.input);
            let readers = (0..read.len()).filter(|&segment| read[segment].contains(&slots.input)).collect();
            segment.map(|segment| State { slots: *slots, segment, readers, swap })
        };
        let found: Vec<State> = states.iter().filter_map(state).collect();
        let goals = info.boxes.as_ref().map(BoxSpec::goals).unwrap_or_default();
        Ok(Plan { info, stages, costs, executor, needs, input, exits, levels, states: found, goals, bundle })
    }

    /// Bytes of memory that hold the weights, mapped from the system past the allocator; none of them in a plan from a
    /// bundle, whose weights stay in its file.
    pub fn weight_memory(&self) -> usize {
        self.executor.weight_memory()
    }

    /// Values in the code of an image, see [`Runtime::code`](crate::runtime::Runtime::code).
    pub fn code_len(&self) -> usize {
        self.executor.features_len().unwrap_or(self.info.classes)
    }

    /// How many branches of small operators run beside larger ones, on a thread of their own, where a runtime has several: in a Dynamic
    /// Perceiver the latent code beside each stage of the backbone.
    pub fn branches(&self) -> usize {
        self.executor.branches()
    }

    /// What a bundle says beside the model, where the plan came from one.
    pub fn bundle(&self) -> Option<&BundleInfo> {
        self.bundle.as_deref()
    }

    /// How many of the layers with weights run in float32, halves and int8. Those that tract runs are not counted.
    pub fn layers(&self) -> LayerCounts {
        self.executor.layers()
    }

    /// What is known of the model; exits are in order of cost, cheapest first.
    pub fn info(&self) -> &ModelInfo {
        &self.info
    }

    /// One stage per exit, in order of cost.
    pub fn stages(&self) -> &[Stage] {
        &self.stages
    }

    /// Multiply-accumulates of a frame that leaves at `exit` under `policy`; of a detector, that ends with this outcome.
    pub fn macs(&self, policy: &ExitPolicy, exit: usize) -> u64 {
        self.costs_to(policy, exit).map(|cost| cost.macs).sum()
    }

    /// Nodes of the model's graph that a frame leaving at `exit` under `policy` evaluates.
    pub fn nodes(&self, policy: &ExitPolicy, exit: usize) -> usize {
        self.costs_to(policy, exit).map(|cost| cost.nodes).sum()
    }

    /// What can be asked for beside the exits, coarse to fine: boxes of levels. None where the model is no detector.
    pub fn goals(&self) -> &[LevelGoal] {
        &self.goals
    }

    /// How many outcomes a frame can have: the exits, and the goals of boxes after them.
    pub fn outcomes(&self) -> usize {
        self.exits.len() + self.goals.len()
    }

    /// For each outcome, multiply-accumulates and nodes that it adds to those before it.
    pub fn outcome_costs(&self) -> Vec<(u64, usize)> {
        let every = |outcomes: usize| (0..outcomes).fold(ExitSet::default(), ExitSet::with);
        let total = |outcomes: usize| {
            let asked = every(outcomes);
            let of = self.costs.iter().filter(|(need, _)| need.intersects(asked));
            of.fold((0, 0), |(macs, nodes), (_, cost)| (macs + cost.macs, nodes + cost.nodes))
        };
        let added = |outcome: usize| {
            let (before, with) = (total(outcome), total(outcome + 1));
            (with.0 - before.0, with.1 - before.1)
        };
        (0..self.outcomes()).map(added).collect()
    }

    /// That a policy has a rule for each outcome, and rules about classes only where boxes are computed already.
    pub(crate) fn check_policy(&self, policy: &ExitPolicy) -> Result<(), RunError> {
        let (expected, actual) = (self.outcomes(), policy.rules().len());
        if expected != actual {
            return Err(RunError::PolicyExits { expected, actual });
        }
        check_rules(policy, self.exits.len() + 1)
    }

    /// Multiply-accumulates of a frame that evaluates these exits and the first `goals` of [`Plan::goals`].
    pub fn macs_with_boxes(&self, exits: ExitSet, goals: usize) -> u64 {
        self.costs_with_boxes(exits, goals).map(|cost| cost.macs).sum()
    }

    /// Nodes of the model's graph that such a frame evaluates.
    pub fn nodes_with_boxes(&self, exits: ExitSet, goals: usize) -> usize {
        self.costs_with_boxes(exits, goals).map(|cost| cost.nodes).sum()
    }

    fn costs_with_boxes(&self, exits: ExitSet, goals: usize) -> impl Iterator<Item = &cost::GroupCost> {
        let first = self.exits.len();
        let asked = (first..first + goals.min(self.goals.len())).fold(exits, ExitSet::with);
        self.costs.iter().filter(move |(need, _)| need.intersects(asked)).map(|(_, cost)| cost)
    }

    fn costs_to(&self, policy: &ExitPolicy, exit: usize) -> impl Iterator<Item = &cost::GroupCost> {
        let evaluated = (0..=exit).filter(|&k| policy.evaluates(k)).fold(ExitSet::default(), ExitSet::with);
        self.costs.iter().filter(move |(need, _)| need.intersects(evaluated)).map(|(_, cost)| cost)
    }
}

/// That no rule before this outcome is about a class.
pub(crate) fn check_rules(policy: &ExitPolicy, first: usize) -> Result<(), RunError> {
    match policy.first_conditional() {
        Some(outcome) if outcome < first => Err(RunError::PolicyRule { outcome }),
        _ => Ok(()),
    }
}

fn panicked(path: &Path, reason: String) -> PlanError {
    GraphError { path: path.into(), place: "graph".into(), source: reason.into() }.into()
}

/// Asks the process's allocator to give large blocks back to the system once they are freed, for a program to call before
/// it loads a model. Loading frees blocks as large as the model's largest tensors; glibc, unless it is told, keeps them
/// for as long as the process lives. Does nothing with other C libraries.
pub fn return_freed_memory() {
    dyn_perceiver_kernels::memory::return_freed_memory();
}

impl fmt::Debug for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plan").field("info", &self.info).field("stages", &self.stages).finish_non_exhaustive()
    }
}
