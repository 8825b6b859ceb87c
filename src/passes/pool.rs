//! Average, sum and maximum pooling, in channels-last layout.

use tract_core::internal::*;
use tract_core::ops::cnn::{MaxPool, PoolSpec, SumPool};

use super::convolution::{channels_last, window};
use crate::ops::permute::{Permute, inverse};
use crate::ops::pool::Pool;
use dyn_perceiver_kernels::convolution::Window;
use dyn_perceiver_kernels::pooling::Pooling;

fn replace(
    model: &TypedModel,
    node: &TypedNode,
    spec: &PoolSpec,
    pooling: impl Fn(&Window) -> Option<Pooling>,
) -> TractResult<Option<TypedModelPatch>> {
    let fact = model.outlet_fact(node.inputs[0])?;
    rule_if!(fact.datum_type == f32::datum_type() && node.outputs.len() == 1);
    rule_if_some!(window = window(spec, fact)?);
    rule_if_some!(pooling = pooling(&window));
    let order = channels_last(spec.data_format);
    let mut patch = TypedModelPatch::default();
    let wire = patch.tap_model(model, node.inputs[0])?;
    let wire = patch.wire_node(format!("{}.in", node.name), Permute { order: order.clone() }, &[wire])?;
    let wire = patch.wire_node(format!("{}.pool", node.name), Pool { window, pooling }, &wire)?;
    let wire = patch.wire_node(&node.name, Permute { order: inverse(&order) }, &wire)?;
    patch.shunt_outside(model, node.id.into(), wire[0])?;
    Ok(Some(patch))
}

/// Replaces poolings by [`Pool`].
pub(super) fn fuse(model: &mut TypedModel) -> TractResult<()> {
    Rewriter::default()
        .with_rule_for::<SumPool>("sum pooling", |_: &(), model, node, _, op| {
            replace(model, node, &op.pool_spec, |window| {
                // Without padding all windows count the same; with it only if padding counts.
                let whole = (0..2)
                    .all(|axis| (0..window.output[axis]).all(|o| window.taps(axis, o).0 == (0..window.kernel[axis])));
                let scale = 1.0 / (window.kernel[0] * window.kernel[1]) as f32;
                match (op.normalize, whole || op.count_include_pad) {
                    (false, _) => Some(Pooling::Sum { scale: 1.0 }),
                    (true, true) => Some(Pooling::Sum { scale }),
                    (true, false) => None,
                }
            })
        })
        .with_rule_for::<MaxPool>("maximum pooling", |_: &(), model, node, _, op| {
            rule_if!(op.with_index_outputs.is_none());
            replace(model, node, &op.pool_spec, |_| Some(Pooling::Max))
        })
        .rewrite(&(), model)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::convolution::tests::spec;
    use super::super::testing::{Builder, count, in_place, same};
    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn one_operator_for_every_pooling_it_can_be(
            size in prop::array::uniform2(4_usize..14), kernel in prop::array::uniform2(1_usize..5),
            stride in prop::array::uniform2(1_usize..4), before in prop::array::uniform2(0_usize..2),
            channels in 1_usize..20, maximum: bool, count_include_pad: bool, normalize: bool,
        ) {
            prop_assume!((0..2).all(|a| before[a] < kernel[a]));
            let mut b = Builder::default();
            let x = b.source(&[2, channels, size[0], size[1]]);
            let pool_spec = spec(kernel, stride, before, before, channels, channels);
            let y = if maximum {
                b.wire(MaxPool { pool_spec, with_index_outputs: None }, &[x])
            } else {
                b.wire(SumPool { pool_spec, count_include_pad, normalize }, &[x])
            };
            let model = same(&b.finish(&[y]), in_place(fuse));
            let kept = !maximum && normalize && !count_include_pad && before != [0, 0];
            if !kept {
                prop_assert_eq!(count::<Pool>(&model), 1);
            }
        }
    }
}
