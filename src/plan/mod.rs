//! A multi-exit graph as stage plans: partitioned, optimised by tract for this CPU, ready to run.
//!
//! Stage k is what exit k needs and no earlier exit needed. A policy may leave exits out, so a stage is kept as
//! segments, each needed by one and the same set of exits; see [`Plan::stages`] for what they cost and
//! [`crate::runtime::Runtime`] for running them.

mod cost;
mod error;
pub(crate) mod kernels;
mod partition;
pub(crate) mod program;
pub(crate) mod rewrite;

use std::fmt;

use tract_core::internal::*;

pub use error::PlanError;
pub(crate) use partition::{ExitSet, Slot};

use crate::exit::ExitPolicy;
use crate::model::{Model, ModelInfo};

/// Stage plans of one model, ready to run. Immutable; share one between threads with an `Arc`.
pub struct Plan {
    info: ModelInfo,
    stages: Vec<Stage>,
    /// What the model's own graph costs, by which exits need it; independent of how it is rewritten.
    costs: Vec<(ExitSet, cost::GroupCost)>,
    /// For each segment of the program, which exits need it.
    pub(crate) needs: Vec<ExitSet>,
    pub(crate) program: program::Program,
    pub(crate) input: Slot,
    pub(crate) exits: Vec<Slot>,
}

/// What one stage costs when every exit is evaluated.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Stage {
    /// The exit at its end.
    pub exit: String,
    /// Nodes of the model's graph in this stage.
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
        let Model { mut graph, mut info } = model;
        let path = info.path.clone();
        let refuse = |place: &str, error: TractError| PlanError::Optimise {
            path: path.clone(),
            place: place.to_string(),
            reason: format!("{error:#}"),
        };
        let in_graph = |error| refuse("graph", error);
        let order = partition::exits_by_cost(&graph).map_err(in_graph)?;
        info.exits = order.iter().map(|&output| info.exits[output].clone()).collect();
        let outlets: Vec<OutletId> = order.iter().map(|&output| graph.outputs[output]).collect();
        graph.select_output_outlets(&outlets).map_err(in_graph)?;
        let costs = partition::costs(&graph, staged).map_err(in_graph)?;
        let graph = rewrite::rewrite(graph).map_err(|e| refuse("rewriting", e))?;
        let parts = partition::partition(&graph, staged).map_err(in_graph)?;
        // From here on the segments own the weights.
        drop(graph);
        let stages = stages(&parts, &costs, &info.exits);
        let input = &info.input;
        let image = [input.batch, input.channels, input.height, input.width];
        let mut program = program::Program::new(parts.slot_bytes.len(), parts.input, &image);
        let mut needs = vec![];
        for partition::Segment { need, graph, inputs, outputs } in parts.segments {
            let stage = need.first().and_then(|exit| info.exits.get(exit)).map_or("", String::as_str);
            let added = graph.into_optimized().and_then(|graph| program.add(&graph, &inputs, &outputs));
            added.map_err(|e| refuse(stage, e))?;
            needs.push(need);
        }
        Ok(Plan { info, stages, costs, program, needs, input: parts.input, exits: parts.exits })
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
        self.costs_to(policy, exit).map(|cost| cost.macs).sum()
    }

    /// Nodes of the model's graph that a frame leaving at `exit` under `policy` evaluates.
    pub fn nodes(&self, policy: &ExitPolicy, exit: usize) -> usize {
        self.costs_to(policy, exit).map(|cost| cost.nodes).sum()
    }

    fn costs_to(&self, policy: &ExitPolicy, exit: usize) -> impl Iterator<Item = &cost::GroupCost> {
        let evaluated = (0..=exit).filter(|&k| policy.evaluates(k)).fold(ExitSet::default(), ExitSet::with);
        self.costs.iter().filter(move |(need, _)| need.intersects(evaluated)).map(|(_, cost)| cost)
    }
}

impl fmt::Debug for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plan").field("info", &self.info).field("stages", &self.stages).finish_non_exhaustive()
    }
}

fn stages(parts: &partition::Partition, costs: &[(ExitSet, cost::GroupCost)], exits: &[String]) -> Vec<Stage> {
    let mut cumulative_macs = 0;
    let mut stages = vec![];
    for (k, exit) in exits.iter().enumerate() {
        let own = || parts.segments.iter().filter(|s| s.need.first() == Some(k));
        let carried = |slot: &&Slot| parts.segments.iter().any(|s| s.need.first() > Some(k) && s.inputs.contains(slot));
        let carry = own().flat_map(|s| &s.outputs).filter(carried).map(|slot| parts.slot_bytes[slot.0] as u64);
        let sum = |value: fn(&cost::GroupCost) -> u64| -> u64 {
            costs.iter().filter(|(need, _)| need.first() == Some(k)).map(|(_, cost)| value(cost)).sum()
        };
        let macs = sum(|cost| cost.macs);
        cumulative_macs += macs;
        stages.push(Stage {
            exit: exit.clone(),
            nodes: sum(|cost| cost.nodes as u64) as usize,
            macs,
            cumulative_macs,
            exit_alone_macs: costs.iter().filter(|(need, _)| need.contains(k)).map(|(_, cost)| cost.macs).sum(),
            parameters: sum(|cost| cost.parameters),
            weight_bytes: sum(|cost| cost.weight_bytes),
            carry_bytes: carry.sum(),
        });
    }
    stages
}
