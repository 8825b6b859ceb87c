//! Concatenations and slices of floats as [`Join`] and [`Part`]: those of tract's make a tensor of their own each time.

use tract_core::internal::*;
use tract_core::ops::array::{Slice, TypedConcat};

use crate::ops::join::{Join, Part};

/// Whether all of a node's tensors are floats of known shape, none of them empty.
fn is_of_floats(model: &TypedModel, node: &TypedNode) -> TractResult<bool> {
    let known = |fact: &TypedFact| {
        let shape = fact.shape.as_concrete();
        fact.datum_type == f32::datum_type() && shape.is_some_and(|shape| !shape.contains(&0))
    };
    let inputs = model.node_input_facts(node.id)?;
    Ok(inputs.into_iter().all(known) && node.outputs.iter().all(|output| known(&output.fact)))
}

/// Puts the operators in.
pub(super) fn fuse(model: &mut TypedModel) -> TractResult<()> {
    Rewriter::default()
        .with_rule_for::<TypedConcat>("joining", |_: &(), model, node, _, op| {
            rule_if!(is_of_floats(model, node)?);
            Ok(Some(TypedModelPatch::replace_single_op(model, node, &node.inputs, Join { axis: op.axis })?))
        })
        .with_rule_for::<Slice>("cutting", |_: &(), model, node, _, op| {
            rule_if!(is_of_floats(model, node)?);
            let bounds = op.start.to_usize().ok().zip(op.end.to_usize().ok());
            rule_if_some!((start, end) = bounds);
            let part = Part { axis: op.axis, start, end };
            Ok(Some(TypedModelPatch::replace_single_op(model, node, &node.inputs, part)?))
        })
        .rewrite(&(), model)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::testing::{Builder, count, in_place, same};
    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn what_is_cut_and_joined_along_any_axis_is_the_same(
            shape in prop::array::uniform3(2_usize..6), axis in 0_usize..3, other in 0_usize..3, bounds in any::<(u8, u8)>(),
        ) {
            let mut b = Builder::default();
            let x = b.source(&shape);
            let start = usize::from(bounds.0) % (shape[axis] - 1);
            let end = start + 1 + usize::from(bounds.1) % (shape[axis] - start - 1).max(1);
            let part = b.wire(Slice::new(axis, start, end), &[x]);
            let joined = b.wire(TypedConcat { axis }, &[part, x, part]);
            let twice = b.wire(TypedConcat { axis: other }, &[joined, joined]);
            let model = same(&b.finish(&[part, twice]), in_place(fuse));
            prop_assert_eq!(count::<TypedConcat>(&model) + count::<Slice>(&model), 0);
        }
    }
}
