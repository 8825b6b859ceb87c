//! A multi-exit graph as stage plans: partitioned, optimised by tract for this CPU, ready to run.
//!
//! Stage k is what exit k needs and no earlier exit needed. A policy may leave exits out, so a stage is kept as
//! segments, each needed by one and the same set of exits; see [`Plan::stages`] for what they cost and
//! [`crate::runtime::Runtime`] for running them.

mod cost;
mod error;
pub(crate) mod kernels;
mod partition;
pub(crate) mod rewrite;

use std::fmt;
use std::sync::Arc;

use tract_core::internal::*;

pub use error::PlanError;
pub(crate) use partition::{ExitSet, Slot};

use crate::exit::ExitPolicy;
use crate::model::{Model, ModelInfo};

/// Stage plans of one model, ready to run. Immutable; share one between threads with an `Arc`.
pub struct Plan {
    info: ModelInfo,
    stages: Vec<Stage>,
    pub(crate) segments: Vec<PlannedSegment>,
    pub(crate) slots: usize,
    pub(crate) input: Slot,
    pub(crate) exits: Vec<Slot>,
}

pub(crate) struct PlannedSegment {
    pub need: ExitSet,
    pub inputs: Vec<Slot>,
    pub outputs: Vec<Slot>,
    pub plan: Arc<TypedSimplePlan>,
    cost: cost::SegmentCost,
}

/// What one stage costs when every exit is evaluated.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Stage {
    /// The exit at its end.
    pub exit: String,
    /// Graph nodes in this stage.
    pub nodes: usize,
    /// Multiply-accumulates in this stage.
    pub macs: u64,
    /// Multiply-accumulates to this exit with every earlier exit evaluated too.
    pub cumulative_macs: u64,
    /// Multiply-accumulates to this exit when no other is evaluated.
    pub exit_alone_macs: u64,
    /// Weights and biases first used in this stage.
    pub parameters: u64,
    /// Their bytes.
    pub weight_bytes: u64,
    /// Bytes of the tensors that this stage hands to later ones.
    pub carry_bytes: u64,
}

impl Plan {
    /// Partitions the model and optimises every part.
    ///
    /// # Errors
    /// [`PlanError`] when tract refuses a part.
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
        let Model { graph, mut info } = model;
        let path = info.path.clone();
        let refuse = |place: &str, error: TractError| PlanError::Optimise {
            path: path.clone(),
            place: place.to_string(),
            reason: format!("{error:#}"),
        };
        let parts = partition::partition(&graph, staged).map_err(|e| refuse("partition", e))?;
        // From here on the segments own the weights.
        drop(graph);
        info.exits = parts.order.iter().map(|&output| info.exits[output].clone()).collect();
        let stages = stages(&parts, &info.exits);
        let mut segments = vec![];
        for segment in parts.segments {
            let stage = segment.need.first().and_then(|exit| info.exits.get(exit)).map_or("", String::as_str);
            let plan = segment.graph.into_optimized().and_then(TypedSimplePlan::new).map_err(|e| refuse(stage, e))?;
            let partition::Segment { need, inputs, outputs, cost, .. } = segment;
            segments.push(PlannedSegment { need, inputs, outputs, plan, cost });
        }
        Ok(Plan { info, stages, segments, slots: parts.slot_bytes.len(), input: parts.input, exits: parts.exits })
    }

    /// What is known of the model; exits are in order of cost, cheapest first.
    pub fn info(&self) -> &ModelInfo {
        &self.info
    }

    /// One stage per exit, in order of cost.
    pub fn stages(&self) -> &[Stage] {
        &self.stages
    }

    /// Multiply-accumulates of a frame that leaves at `exit` under `policy`.
    pub fn macs(&self, policy: &ExitPolicy, exit: usize) -> u64 {
        self.run_to(policy, exit).map(|s| s.cost.macs).sum()
    }

    /// Graph nodes that a frame leaving at `exit` under `policy` runs.
    pub fn nodes(&self, policy: &ExitPolicy, exit: usize) -> usize {
        self.run_to(policy, exit).map(|s| s.cost.nodes).sum()
    }

    fn run_to(&self, policy: &ExitPolicy, exit: usize) -> impl Iterator<Item = &PlannedSegment> {
        let evaluated = (0..=exit).filter(|&k| policy.evaluates(k)).fold(ExitSet::default(), ExitSet::with);
        self.segments.iter().filter(move |segment| segment.need.intersects(evaluated))
    }
}

impl fmt::Debug for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plan").field("info", &self.info).field("stages", &self.stages).finish_non_exhaustive()
    }
}

fn stages(parts: &partition::Partition, exits: &[String]) -> Vec<Stage> {
    let mut cumulative_macs = 0;
    let stage_of = |segment: &partition::Segment| segment.need.first();
    let mut stages = vec![];
    for (k, exit) in exits.iter().enumerate() {
        let own: Vec<_> = parts.segments.iter().filter(|s| stage_of(s) == Some(k)).collect();
        let later: Vec<_> = parts.segments.iter().filter(|s| stage_of(s) > Some(k)).collect();
        let carried = |slot: &&Slot| later.iter().any(|s| s.inputs.contains(slot));
        let carry = own.iter().flat_map(|s| &s.outputs).filter(carried).map(|slot| parts.slot_bytes[slot.0] as u64);
        let macs = own.iter().map(|s| s.cost.macs).sum();
        cumulative_macs += macs;
        stages.push(Stage {
            exit: exit.clone(),
            nodes: own.iter().map(|s| s.cost.nodes).sum(),
            macs,
            cumulative_macs,
            exit_alone_macs: parts.segments.iter().filter(|s| s.need.contains(k)).map(|s| s.cost.macs).sum(),
            parameters: own.iter().map(|s| s.cost.parameters).sum(),
            weight_bytes: own.iter().map(|s| s.cost.weight_bytes).sum(),
            carry_bytes: carry.sum(),
        });
    }
    stages
}
