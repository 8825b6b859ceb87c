//! Enlarging to the nearest pixel as [`Repeat`], axis by axis.
//!
//! tract joins copies along a new axis behind the one that grows and then merges both: in channels-last layout both steps move
//! the whole image.

use tract_core::internal::*;
use tract_core::ops::array::TypedConcat;

use super::pattern::only_reader;
use crate::ops::repeat::Repeat;

fn rule(
    _: &(),
    model: &TypedModel,
    node: &TypedNode,
    _: &str,
    op: &TypedConcat,
) -> TractResult<Option<TypedModelPatch>> {
    let (first, times) = (node.inputs[0], node.inputs.len());
    rule_if!(node.inputs.iter().all(|input| *input == first));
    rule_if!(model.node(first.node).op_as::<AxisOp>() == Some(&AxisOp::Add(op.axis)));
    let image = model.node(first.node).inputs[0];
    let fact = model.outlet_fact(image)?;
    rule_if!(fact.datum_type == f32::datum_type());
    rule_if_some!(shape = fact.shape.as_concrete());
    rule_if_some!(merge = only_reader(model, node));
    rule_if_some!(AxisOp::Reshape(at, from, to) = merge.op_as::<AxisOp>());
    rule_if!(at + 1 == op.axis && shape[*at] > 0);
    let dims = |dims: &[usize]| -> TVec<TDim> { dims.iter().map(|dim| dim.to_dim()).collect() };
    rule_if!(*from == dims(&[shape[*at], times]) && *to == dims(&[shape[*at] * times]));
    let mut patch = TypedModelPatch::default();
    let wire = patch.tap_model(model, image)?;
    let wire = patch.wire_node(&merge.name, Repeat { axis: *at, times }, &[wire])?;
    patch.shunt_outside(model, merge.id.into(), wire[0])?;
    Ok(Some(patch))
}

/// Puts the operators in.
pub(super) fn fuse(model: &mut TypedModel) -> TractResult<()> {
    Rewriter::default().with_rule_for::<TypedConcat>("repetition", rule).rewrite(&(), model)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::layout;
    use super::super::testing::{Builder, count, same};
    use super::*;
    use crate::ops::permute::Permute;

    fn passes(mut model: TypedModel) -> TractResult<TypedModel> {
        fuse(&mut model)?;
        layout::settle(&model)
    }

    /// As tract writes it.
    fn repeated(b: &mut Builder, x: OutletId, axis: usize, times: usize) -> OutletId {
        let size = b.shape(x)[axis];
        let y = b.wire(AxisOp::Add(axis + 1), &[x]);
        let y = b.wire(TypedConcat { axis: axis + 1 }, &vec![y; times]);
        b.wire(AxisOp::Reshape(axis, tvec!(size.to_dim(), times.to_dim()), tvec!((size * times).to_dim())), &[y])
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn an_image_enlarged_by_whole_factors(
            shape in prop::array::uniform4(1_usize..7), axes in prop::array::uniform2(0_usize..4),
            times in prop::array::uniform2(2_usize..5), channels_last: bool,
        ) {
            let mut b = Builder::default();
            let mut x = b.source(&shape);
            if channels_last {
                x = b.wire(AxisOp::Move(3, 1), &[x]);
            }
            let y = repeated(&mut b, x, axes[0], times[0]);
            let y = b.wire(AxisOp::Move(1, 3), &[y]);
            let z = repeated(&mut b, y, axes[1], times[1]);
            let model = same(&b.finish(&[z, y]), passes);
            prop_assert_eq!((count::<Repeat>(&model), count::<TypedConcat>(&model)), (2, 0));
        }
    }

    #[test]
    fn enlarging_moves_no_axes() {
        let mut b = Builder::default();
        let x = b.source(&[1, 6, 5, 8]);
        let nchw = b.wire(AxisOp::Move(3, 1), &[x]);
        let wide = repeated(&mut b, nchw, 3, 2);
        let large = repeated(&mut b, wide, 2, 2);
        let back = b.wire(AxisOp::Move(1, 3), &[large]);
        assert_eq!(count::<Permute>(&same(&b.finish(&[back]), passes)), 0);
    }

    #[test]
    fn other_tensors_and_merged_axes_in_another_order_stay() {
        let mut b = Builder::default();
        let (x, other) = (b.source(&[4, 6]), b.source(&[4, 6]));
        let add = |b: &mut Builder, x| b.wire(AxisOp::Add(2), &[x]);
        let (x, other) = (add(&mut b, x), add(&mut b, other));
        let mixed = b.wire(TypedConcat { axis: 2 }, &[x, other]);
        let merge = |at: usize, from: [usize; 2]| {
            AxisOp::Reshape(at, from.iter().map(|dim| dim.to_dim()).collect(), tvec!((from[0] * from[1]).to_dim()))
        };
        let mixed = b.wire(merge(1, [6, 2]), &[mixed]);
        let twice = b.wire(TypedConcat { axis: 2 }, &[x, x]);
        let twice = b.wire(merge(0, [4, 6]), &[twice]);
        assert_eq!(count::<Repeat>(&same(&b.finish(&[mixed, twice]), passes)), 0);
    }
}
