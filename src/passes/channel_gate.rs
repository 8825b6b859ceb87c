//! Channels of an image scaled by a gate of one value each, as squeeze-and-excitation does.

use tract_core::internal::*;
use tract_core::ops::binary::TypedBinOp;
use tract_core::ops::math::Mul;

use super::pattern::is_bin;
use crate::ops::channel_gate::Scale;

/// How many leading axes `gate` shares with `shape`, if it is a gate for that shape.
fn batch_axes(shape: &[usize], gate: &[usize]) -> Option<usize> {
    let last = shape.len().checked_sub(1)?;
    if gate.len() != shape.len() || gate[last] != shape[last] || shape.contains(&0) {
        return None;
    }
    let batch = (0..last).take_while(|a| gate[*a] == shape[*a]).count();
    // The axes shared must hold the whole batch: behind them, the gate has one value per channel.
    gate[batch..last].iter().all(|d| *d == 1).then_some(batch)
}

fn rule(
    _: &(),
    model: &TypedModel,
    node: &TypedNode,
    name: &str,
    _: &TypedBinOp,
) -> TractResult<Option<TypedModelPatch>> {
    rule_if!(is_bin::<Mul>(node) && node.outputs[0].fact.datum_type == f32::datum_type());
    let facts = model.node_input_facts(node.id)?;
    rule_if!(facts.iter().all(|f| f.datum_type == f32::datum_type() && f.konst.is_none()));
    rule_if_some!(output = node.outputs[0].fact.shape.as_concrete());
    for (x, gate) in [(0, 1), (1, 0)] {
        let (Some(shape), Some(gate_shape)) = (facts[x].shape.as_concrete(), facts[gate].shape.as_concrete()) else {
            continue;
        };
        if shape == output
            && shape != gate_shape
            && let Some(batch) = batch_axes(shape, gate_shape)
        {
            let inputs = [node.inputs[x], node.inputs[gate]];
            return TypedModelPatch::replace_single_op(model, node, &inputs, Scale { batch, halves: false })
                .map(|patch| Some(patch.with_context(format!("scale {name}"))));
        }
    }
    Ok(None)
}

/// Replaces products of an image and a gate by [`Scale`].
pub(super) fn fuse(model: &mut TypedModel) -> TractResult<()> {
    Rewriter::default().with_rule_for::<TypedBinOp>("gate", rule).rewrite(&(), model)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tract_core::ops::math::mul;

    use super::super::testing::{Builder, count, in_place, same};
    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn one_operator_for_a_gate_per_image(batch in 1_usize..3, h in 1_usize..6, w in 2_usize..6, c in 1_usize..30, first: bool) {
            let mut b = Builder::default();
            let x = b.source(&[batch, h, w, c]);
            let gate = b.source(&[batch, 1, 1, c]);
            let y = if first { b.bin(mul(), gate, x) } else { b.bin(mul(), x, gate) };
            let model = same(&b.finish(&[y]), in_place(fuse));
            prop_assert_eq!(count::<Scale>(&model), 1);
        }
    }

    #[test]
    fn a_gate_per_position_stays() {
        let mut b = Builder::default();
        let x = b.source(&[2, 4, 5, 6]);
        let gate = b.source(&[2, 1, 5, 6]);
        let y = b.bin(mul(), x, gate);
        let model = same(&b.finish(&[y]), in_place(fuse));
        assert_eq!(count::<Scale>(&model), 0);
    }
}
