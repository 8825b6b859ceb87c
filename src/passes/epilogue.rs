//! Element-wise operators after a product, taken into it: constant scales and shifts, residuals, activations.

use tract_core::internal::*;
use tract_core::ops::element_wise::{ElementWiseMiniOp, ElementWiseOp};
use tract_core::ops::math::{Add, Max, Min, Mul};
use tract_core::ops::nn::{GeluExact, HardSwish, Sigmoid};

use super::pattern::{along_axis, const_operand, constant, is_bin, only_reader};
use crate::ops::convolution::{Convolution, Depthwise};
use crate::ops::epilogue::Scalable;
use crate::ops::fused::concrete;
use crate::ops::linear::Linear;
use dyn_perceiver_kernels::Activation;

fn activation<M: ElementWiseMiniOp>(node: &TypedNode) -> bool {
    node.op_as::<ElementWiseOp>().is_some_and(|op| op.0.is::<M>())
}

/// The activation that `node` applies after `before`, if one operator can apply both.
pub(super) fn then(model: &TypedModel, node: &TypedNode, before: Activation) -> TractResult<Option<Activation>> {
    if is_bin::<Max>(node) || is_bin::<Min>(node) {
        rule_if_some!((limit, _) = const_operand(model, node)?);
        rule_if!(limit.len() == 1 && limit.datum_type() == f32::datum_type());
        let limit = limit.cast_to_scalar::<f32>()?;
        let (low, high) = match before {
            Activation::Identity => (f32::NEG_INFINITY, f32::INFINITY),
            Activation::Clamp { low, high } => (low, high),
            _ => return Ok(None),
        };
        rule_if!(!limit.is_nan());
        let both =
            if is_bin::<Max>(node) { (low.max(limit), high.max(limit)) } else { (low.min(limit), high.min(limit)) };
        return Ok(Some(Activation::Clamp { low: both.0, high: both.1 }));
    }
    rule_if!(before == Activation::Identity);
    Ok(activation_of(node))
}

/// The activation that a node is, but for limits, which are binary operators.
pub(super) fn activation_of(node: &TypedNode) -> Option<Activation> {
    if activation::<HardSwish>(node) {
        Some(Activation::HardSwish)
    } else if activation::<Sigmoid>(node) {
        Some(Activation::Sigmoid)
    } else if activation::<GeluExact>(node) {
        Some(Activation::Gelu)
    } else {
        None
    }
}

fn rule<O: Scalable>(model: &TypedModel, node: &TypedNode, op: &O) -> TractResult<Option<TypedModelPatch>> {
    rule_if_some!(next = only_reader(model, node));
    let shape = concrete(&node.outputs[0].fact)?;
    rule_if!(next.outputs[0].fact.shape == node.outputs[0].fact.shape && !shape.is_empty());
    rule_if!(next.outputs[0].fact.datum_type == f32::datum_type());
    let (rank, columns) = (shape.len(), op.columns());
    let mut op = op.clone();
    let tail = op.tail_mut().clone();
    let mut patch = TypedModelPatch::default();
    let mut inputs = patch.taps(model, &node.inputs)?;

    if let Some(activation) = then(model, next, tail.activation)? {
        op.tail_mut().activation = activation;
    } else if is_bin::<Add>(next) || is_bin::<Mul>(next) {
        rule_if!(tail.activation == Activation::Identity);
        let residual = inputs.last().copied().filter(|_| tail.residual);
        let konst = const_operand(model, next)?.map(|(konst, _)| konst);
        let values = match &konst {
            Some(konst) if shape[rank - 1] == columns => along_axis(konst, rank, rank - 1, columns)?,
            _ => None,
        };
        let bias = if tail.bias { constant(model, node.inputs[2])? } else { Some(vec![0.0; columns]) };
        match (values, bias) {
            (Some(values), Some(mut bias)) if is_bin::<Add>(next) => {
                bias.iter_mut().zip(&values).for_each(|(b, v)| *b += v);
                inputs.truncate(2);
                inputs.push(patch.add_const(format!("{}.bias", next.name), tensor1(&bias))?);
                // A product over joined inputs comes as a sum of two products and the bias behind it.
                inputs.extend(residual);
                op.tail_mut().bias = true;
            }
            // A scale is of the residual, too; of two residuals the second stays an addition.
            _ if tail.residual => return Ok(None),
            (Some(values), Some(mut bias)) => {
                rule_if_some!(weights = &model.outlet_fact(node.inputs[1])?.konst);
                let mut weights = weights.as_ref().clone();
                op.scale_weights(weights.try_as_plain_ram_mut()?.as_slice_mut::<f32>()?, &|n| values[n]);
                bias.iter_mut().zip(&values).for_each(|(b, v)| *b *= v);
                inputs[1] = patch.add_const(format!("{}.weights", next.name), weights)?;
                if tail.bias {
                    inputs[2] = patch.add_const(format!("{}.bias", next.name), tensor1(&bias))?;
                }
            }
            // A residual: any other tensor of the output's shape. It cannot depend on this product, whose only reader
            // is the addition itself.
            _ => {
                rule_if!(is_bin::<Add>(next));
                rule_if_some!(other = next.inputs.iter().find(|i| i.node != node.id));
                let fact = model.outlet_fact(*other)?;
                rule_if!(fact.shape == node.outputs[0].fact.shape && fact.datum_type == f32::datum_type());
                let other = patch.tap_model(model, *other)?;
                inputs.push(other);
                op.tail_mut().residual = true;
            }
        }
    } else {
        return Ok(None);
    }
    let wire = patch.wire_node(&next.name, op, &inputs)?;
    patch.shunt_outside(model, next.id.into(), wire[0])?;
    Ok(Some(patch))
}

/// Folds element-wise operators into the products before them.
pub(super) fn fold(model: &mut TypedModel) -> TractResult<()> {
    Rewriter::default()
        .with_rule_for::<Linear>("tail of a product", |_: &(), m, n, _, op| rule(m, n, op))
        .with_rule_for::<Convolution>("tail of a convolution", |_: &(), m, n, _, op| rule(m, n, op))
        .with_rule_for::<Depthwise>("tail of a depthwise convolution", |_: &(), m, n, _, op| rule(m, n, op))
        .rewrite(&(), model)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tract_core::ops::binary::TypedBinOp;
    use tract_core::ops::math::{add, max, min, mul};
    use tract_core::ops::nn::{gelu_exact, hard_swish, sigmoid};

    use super::super::testing::{Builder, count, same};
    use super::super::{layout, linear};
    use super::*;

    fn passes(mut model: TypedModel) -> TractResult<TypedModel> {
        linear::fuse(&mut model)?;
        let mut model = layout::settle(&model)?;
        fold(&mut model)?;
        Ok(model)
    }

    fn step(b: &mut Builder, kind: u8, y: OutletId, columns: usize) -> OutletId {
        let shape = b.shape(y);
        match kind {
            0 => {
                let bias = b.constant(&[1, columns]);
                b.bin(add(), y, bias)
            }
            1 => {
                let scale = b.constant(&[1, columns]);
                b.bin(mul(), scale, y)
            }
            2 => {
                let residual = b.source(&shape);
                b.bin(add(), residual, y)
            }
            3 => {
                let zero = b.scalar(0.0, 2);
                b.bin(max(), y, zero)
            }
            4 => {
                let limit = b.scalar(0.5, 2);
                b.bin(min(), limit, y)
            }
            5 => b.wire(hard_swish(), &[y]),
            6 => b.wire(gelu_exact::gelu_exact(), &[y]),
            7 => b.wire(sigmoid(), &[y]),
            _ => {
                let position = b.constant(&shape);
                b.bin(add(), y, position)
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(96))]

        #[test]
        fn any_chain_computes_the_same(m in 1_usize..9, k in 1_usize..9, n in 1_usize..40, steps in prop::collection::vec(0_u8..9, 0..6)) {
            let mut b = Builder::default();
            let x = b.source(&[m, k]);
            let weights = b.constant(&[k, n]);
            let mut y = b.einsum("mk,kn->mn", x, weights);
            for kind in steps {
                y = step(&mut b, kind, y, n);
            }
            same(&b.finish(&[y]), passes);
        }

        #[test]
        fn the_usual_chains_become_one_operator(activation in 3_u8..8, residual: bool) {
            let mut b = Builder::default();
            let x = b.source(&[5, 4]);
            let weights = b.constant(&[4, 24]);
            let mut y = b.einsum("mk,kn->mn", x, weights);
            for kind in [1, 0].into_iter().chain(residual.then_some(2)).chain([activation]) {
                y = step(&mut b, kind, y, 24);
            }
            let model = same(&b.finish(&[y]), passes);
            prop_assert_eq!(count::<Linear>(&model), 1);
            prop_assert_eq!(count::<TypedBinOp>(&model) + count::<ElementWiseOp>(&model), 0);
        }
    }

    #[test]
    fn a_bias_behind_a_residual_is_taken_in_and_a_scale_is_not() {
        for (kind, left) in [(0, 0), (1, 1)] {
            let mut b = Builder::default();
            let x = b.source(&[5, 4]);
            let weights = b.constant(&[4, 24]);
            let mut y = b.einsum("mk,kn->mn", x, weights);
            for kind in [0, 2, kind, 3] {
                y = step(&mut b, kind, y, 24);
            }
            let model = same(&b.finish(&[y]), passes);
            assert_eq!(count::<Linear>(&model), 1);
            assert_eq!(count::<TypedBinOp>(&model), 2 * left, "the scale, and what comes behind it");
        }
    }

    #[test]
    fn an_output_or_a_second_reader_ends_the_chain() {
        let mut b = Builder::default();
        let x = b.source(&[5, 4]);
        let weights = b.constant(&[4, 24]);
        let y = b.einsum("mk,kn->mn", x, weights);
        let biased = step(&mut b, 0, y, 24);
        let rectified = step(&mut b, 3, biased, 24);
        let model = same(&b.finish(&[rectified, biased]), passes);
        assert_eq!(count::<TypedBinOp>(&model), 1);
    }
}
