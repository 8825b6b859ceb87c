//! Sums and means over the axes before the last, as global pooling and the mean over tokens are.

use tract_core::internal::*;
use tract_core::ops::math::Mul;
use tract_core::ops::nn::{Reduce, Reducer};

use super::pattern::{const_operand, is_bin, only_reader};
use crate::ops::fused::volume;
use crate::ops::mean::Mean;

fn rule(_: &(), model: &TypedModel, node: &TypedNode, name: &str, op: &Reduce) -> TractResult<Option<TypedModelPatch>> {
    let fact = model.outlet_fact(node.inputs[0])?;
    rule_if!(op.reducer == Reducer::Sum && fact.datum_type == f32::datum_type());
    rule_if_some!(shape = fact.shape.as_concrete());
    let mut axes = op.axes.clone();
    axes.sort_unstable();
    rule_if_some!((&from, &last) = axes.first().zip(axes.last()));
    let to = last + 1;
    // Along rows there is nothing to gain here, and axes apart are not one sum of rows.
    rule_if!(to - from == axes.len() && volume(&shape[to..]) > 1 && volume(shape) > 0);
    // What makes a mean of the sum.
    let (mut end, mut scale) = (node, 1.0);
    if let Some(next) = only_reader(model, node)
        && is_bin::<Mul>(next)
        && let Some((konst, _)) = const_operand(model, next)?
        && konst.len() == 1
        && next.outputs[0].fact.shape == node.outputs[0].fact.shape
    {
        (end, scale) = (next, konst.cast_to_scalar::<f32>()?);
    }
    let mut patch = TypedModelPatch::new(format!("mean {name}"));
    let x = patch.tap_model(model, node.inputs[0])?;
    let wire = patch.wire_node(&end.name, Mean { from, to, scale: scale.to_bits(), reads_halves: false }, &[x])?;
    patch.shunt_outside(model, end.id.into(), wire[0])?;
    Ok(Some(patch))
}

/// Replaces sums over leading and middle axes, and the scales behind them, by [`Mean`].
pub(super) fn fuse(model: &mut TypedModel) -> TractResult<()> {
    Rewriter::default().with_rule_for::<Reduce>("mean", rule).rewrite(&(), model)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tract_core::ops::math::mul;

    use super::super::testing::{Builder, count, in_place, same};
    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn one_operator_for_a_sum_over_neighbouring_axes(
            shape in prop::array::uniform4(1_usize..9), from in 0_usize..3, axes in 1_usize..3, wide in 1_usize..70,
            mean: bool, read_twice: bool,
        ) {
            let to = (from + axes).min(3);
            let shape = [shape[0], shape[1], shape[2], if to == 3 { wide + 1 } else { shape[3] + 1 }];
            let mut b = Builder::default();
            let x = b.source(&shape);
            let sum = b.wire(Reduce { axes: (from..to).collect(), reducer: Reducer::Sum }, &[x]);
            let scale = b.scalar(0.25, 4);
            let y = if mean { b.bin(mul(), sum, scale) } else { sum };
            let outputs = if read_twice { vec![y, sum] } else { vec![y] };
            let model = same(&b.finish(&outputs), in_place(fuse));
            prop_assert_eq!((count::<Mean>(&model), count::<Reduce>(&model)), (1, 0));
        }
    }

    #[test]
    fn sums_along_rows_and_over_axes_apart_stay() {
        for axes in [tvec!(2), tvec!(0, 2), tvec!(1, 2)] {
            let mut b = Builder::default();
            let x = b.source(&[2, 3, 4]);
            let y = b.wire(Reduce { axes, reducer: Reducer::Sum }, &[x]);
            let model = same(&b.finish(&[y]), in_place(fuse));
            assert_eq!(count::<Mean>(&model), 0);
        }
    }
}
