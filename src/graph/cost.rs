//! What a part of a graph costs, counted on its nodes: MACs, parameters, bytes.

use std::collections::HashSet;

use tract_core::internal::*;
use tract_core::ops::cnn::Conv;
use tract_core::ops::einsum::EinSum;
use tract_core::ops::konst::Const;

/// Cost of some nodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct GroupCost {
    /// Nodes that compute something.
    pub nodes: usize,
    pub macs: u64,
    pub parameters: u64,
    pub weight_bytes: u64,
}

/// Multiply-accumulates of one node: output elements times reduction length for convolutions and matrix products, 0 for
/// everything else, as papers count them.
pub(crate) fn macs(graph: &TypedModel, id: usize) -> TractResult<u64> {
    let node = graph.node(id);
    if !(node.op_is::<Conv>() || node.op_is::<EinSum>()) {
        return Ok(0);
    }
    let mut macs = 0;
    for (kind, count) in node.op.cost(&graph.node_input_facts(id)?)? {
        if matches!(kind, Cost::FMA(_)) {
            macs += count.to_usize()? as u64;
        }
    }
    Ok(macs)
}

/// Bytes of a tensor of known shape.
pub(crate) fn bytes(fact: &TypedFact) -> TractResult<usize> {
    Ok(fact.shape.volume().to_usize()? * fact.datum_type.size_of())
}

/// Cost of the nodes `members`. A constant counts where it is seen first, `seen` says which were.
pub(crate) fn of_group(graph: &TypedModel, members: &[usize], seen: &mut HashSet<usize>) -> TractResult<GroupCost> {
    let mut cost = GroupCost { nodes: members.len(), ..GroupCost::default() };
    for &id in members {
        cost.macs += macs(graph, id)?;
        for input in &graph.node(id).inputs {
            if let Some(constant) = graph.node(input.node).op_as::<Const>()
                && seen.insert(input.node)
            {
                let tensor = constant.val();
                // Single numbers are divisors, epsilons and absent biases, not weights.
                if tensor.datum_type().is_float() && tensor.len() > 1 {
                    cost.parameters += tensor.len() as u64;
                    cost.weight_bytes += (tensor.len() * tensor.datum_type().size_of()) as u64;
                }
            }
        }
    }
    Ok(cost)
}
