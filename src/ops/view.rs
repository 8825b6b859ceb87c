//! Nodes of a graph that are only another way to look at a tensor, and the shapes of tensors.

use tract_core::internal::*;
use tract_core::ops::change_axes::IntoShape;

use super::fused;

/// Whether a node's output has the elements of its first input in their order.
pub(crate) fn is_reshape(graph: &TypedModel, node: &TypedNode) -> TractResult<bool> {
    if let Some(op) = node.op_as::<AxisOp>() {
        return Ok(!matches!(op, AxisOp::Move(..)));
    }
    if let Some(op) = node.op_as::<IntoShape>() {
        return Ok(op.strides == Tensor::natural_strides(&op.dims));
    }
    let Some(op) = fused(node.op.as_ref()) else { return Ok(false) };
    let shapes = shapes(graph, &node.inputs)?;
    let shapes: TVec<&[usize]> = shapes.iter().map(|shape| shape.as_slice()).collect();
    Ok(op.is_reshape(&shapes))
}

/// The shape of a tensor, which is concrete.
pub(crate) fn shape(graph: &TypedModel, outlet: OutletId) -> TractResult<TVec<usize>> {
    let fact = graph.outlet_fact(outlet)?;
    Ok(fact.shape.as_concrete().with_context(|| format!("expected a concrete shape, found {:?}", fact.shape))?.into())
}

/// Those of some tensors.
pub(crate) fn shapes(graph: &TypedModel, outlets: &[OutletId]) -> TractResult<TVec<TVec<usize>>> {
    outlets.iter().map(|outlet| shape(graph, *outlet)).collect()
}
