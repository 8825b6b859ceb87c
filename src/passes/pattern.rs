//! Structural pattern matching on graphs: what every fusion pass asks of a node and its neighbours.

use tract_core::internal::*;
use tract_core::ops::binary::TypedBinOp;

use crate::ops::view::is_reshape;

/// The only reader of a node's only output, unless that output is one of the model's.
pub(super) fn only_reader<'a>(model: &'a TypedModel, node: &TypedNode) -> Option<&'a TypedNode> {
    match node.outputs.as_slice() {
        [output] if !model.outputs.contains(&node.id.into()) => match output.successors.as_slice() {
            [reader] => Some(model.node(reader.node)),
            _ => None,
        },
        _ => None,
    }
}

/// The values of a constant.
pub(super) fn constant(model: &TypedModel, outlet: OutletId) -> TractResult<Option<Vec<f32>>> {
    rule_if_some!(konst = &model.outlet_fact(outlet)?.konst);
    Ok(Some(konst.try_as_plain_ram()?.as_slice::<f32>()?.to_vec()))
}

/// A constant and the other operand of a binary operator.
pub(super) fn const_operand(model: &TypedModel, node: &TypedNode) -> TractResult<Option<(Arc<Tensor>, OutletId)>> {
    for (i, j) in [(0, 1), (1, 0)] {
        if let Some(konst) = &model.outlet_fact(node.inputs[i])?.konst {
            return Ok(Some((konst.clone(), node.inputs[j])));
        }
    }
    Ok(None)
}

pub(super) fn is_bin<B: tract_core::ops::binary::BinMiniOp>(node: &TypedNode) -> bool {
    node.op_as::<TypedBinOp>().is_some_and(|op| op.0.is::<B>())
}

/// The values of a float constant along one axis, if it has size 1 along every other: repeated if of size 1 there too.
pub(super) fn along_axis(konst: &Tensor, rank: usize, axis: usize, len: usize) -> TractResult<Option<Vec<f32>>> {
    rule_if!(konst.datum_type() == f32::datum_type() && konst.rank() == rank);
    rule_if!(konst.shape().iter().enumerate().all(|(a, d)| *d == 1 || (a == axis && *d == len)));
    let values = konst.try_as_plain_ram()?.as_slice::<f32>()?;
    Ok(Some(if values.len() == len { values.to_vec() } else { vec![values[0]; len] }))
}

/// The node that computes a tensor, behind views of it, where nothing else reads what it computes nor any of the views.
pub(super) fn producer(model: &TypedModel, outlet: OutletId) -> TractResult<Option<&TypedNode>> {
    let mut node = model.node(outlet.node);
    rule_if!(only_reader(model, node).is_some());
    while is_reshape(model, node)? {
        node = model.node(node.inputs[0].node);
        rule_if!(only_reader(model, node).is_some());
    }
    Ok(Some(node))
}

/// The only reader of what a node computes, behind views of it that nothing else reads.
pub(super) fn consumer<'a>(model: &'a TypedModel, node: &TypedNode) -> TractResult<Option<&'a TypedNode>> {
    rule_if_some!(mut reader = only_reader(model, node));
    while is_reshape(model, reader)? {
        rule_if_some!(next = only_reader(model, reader));
        reader = next;
    }
    Ok(Some(reader))
}
