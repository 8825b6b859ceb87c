//! What a plan is made of: segments as rewritten graphs, before tract prepares them for this CPU, and what is known of
//! them. A bundle stores exactly this.

use tract_core::internal::*;

use super::partition::{self, Goals, MAX_LEVEL_GOALS, Partition, SegmentGraph, StateSlots};
use super::{ExitSet, GraphError, Slot, cost};
use crate::deadline;
use crate::model::{BoxSpec, Model, ModelInfo, declutter};
use crate::passes;

/// What one stage costs when every exit is evaluated.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[non_exhaustive]
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

/// A model in segments; exits are in order of cost.
#[derive(Clone)]
pub(crate) struct Parts {
    pub info: ModelInfo,
    pub stages: Vec<Stage>,
    /// What the model's own graph costs, by which exits need it; independent of how it is rewritten.
    pub costs: Vec<(ExitSet, cost::GroupCost)>,
    /// In an order in which they can run.
    pub segments: Vec<SegmentGraph>,
    /// How many slots there are.
    pub slots: usize,
    /// Where the image goes.
    pub input: Slot,
    /// Where each exit's logits are found.
    pub exits: Vec<Slot>,
    /// Where the maps of each goal of boxes are found: class scores and deltas of each of its levels.
    pub levels: Vec<Vec<Slot>>,
    /// What goes from frame to frame.
    pub states: Vec<StateSlots>,
}

impl Parts {
    /// Rewrites a model's graph and cuts it; without `staged`, everything that any exit needs is one segment.
    pub(crate) fn of(model: Model, staged: bool) -> Result<Parts, GraphError> {
        let Model { mut graph, mut info, .. } = model;
        let path = info.path.clone();
        let refuse = |place: &str, error: TractError| GraphError {
            path: path.clone(),
            place: place.to_string(),
            source: error.into(),
        };
        let in_graph = |error| refuse("graph", error);
        let goals = goals(&info);
        if goals.levels.len() > MAX_LEVEL_GOALS {
            return Err(in_graph(format_err!("{} goals beside the exits", goals.levels.len())));
        }
        let mut order = partition::exits_by_cost(&graph, goals.exits).map_err(in_graph)?;
        info.exits = order.iter().map(|&output| info.exits[output].clone()).collect();
        order.extend(goals.exits..graph.outputs.len());
        let outlets: Vec<OutletId> = order.iter().map(|&output| graph.outputs[output]).collect();
        graph.select_output_outlets(&outlets).map_err(in_graph)?;
        let costs = partition::costs(&graph, &goals, staged).map_err(in_graph)?;
        let graph = passes::rewrite(graph).map_err(|e| refuse("rewriting", e))?;
        let parts = partition::partition(&graph, &goals, staged).map_err(in_graph)?;
        let bytes = |&outlet: &OutletId| cost::bytes(graph.outlet_fact(outlet)?);
        let slot_bytes: Vec<usize> = parts.slots.iter().map(bytes).collect::<TractResult<_>>().map_err(in_graph)?;
        // From here on the segments own the weights.
        drop(graph);
        let stages = stages(&parts, &slot_bytes, &costs, &info.exits);
        let Partition { mut segments, input, exits, levels, states, .. } = parts;
        for segment in &mut segments {
            deadline::check().map_err(|e| in_graph(e.into()))?;
            declutter(&mut segment.graph).map_err(|e| refuse(stage_of(segment.need, &info.exits), e))?;
        }
        Ok(Parts { info, stages, costs, segments, slots: slot_bytes.len(), input, exits, levels, states })
    }
}

/// What a model can be asked for.
pub(crate) fn goals(info: &ModelInfo) -> Goals {
    let maps = |level: &usize| [2 * level, 2 * level + 1];
    let levels = info.boxes.iter().flat_map(BoxSpec::goals).map(|goal| goal.levels.iter().flat_map(maps).collect());
    let states = info.video.as_ref().map_or(0, |video| video.states.len());
    Goals { exits: info.exits.len(), levels: levels.collect(), states }
}

/// The exit at whose stage a segment runs first.
pub(crate) fn stage_of(need: ExitSet, exits: &[String]) -> &str {
    need.first().and_then(|exit| exits.get(exit)).map_or("boxes", String::as_str)
}

fn stages(
    parts: &Partition,
    slot_bytes: &[usize],
    costs: &[(ExitSet, cost::GroupCost)],
    exits: &[String],
) -> Vec<Stage> {
    let mut cumulative_macs = 0;
    let mut stages = vec![];
    for (k, exit) in exits.iter().enumerate() {
        let own = || parts.segments.iter().filter(|s| s.need.first() == Some(k));
        let carried = |slot: &&Slot| parts.segments.iter().any(|s| s.need.first() > Some(k) && s.inputs.contains(slot));
        let carry = own().flat_map(|s| &s.outputs).filter(carried).map(|slot| slot_bytes[slot.0] as u64);
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
