//! Roundings, and what comes element by element between them, taken into the operator before as stages of its tail.
//!
//! In a network that was quantised elsewhere nearly every tensor is rounded, so that little of what [`epilogue`](super::epilogue) takes
//! in stands right behind a product. Stages are computed while a result is in the cache, where operators of their own would read
//! and write all of it.

use tract_core::internal::*;
use tract_core::ops::math::{Add, Mul};

use super::epilogue;
use super::pattern::{along_axis, const_operand, is_bin, only_reader};
use crate::ops::convolution::{Convolution, Depthwise};
use crate::ops::epilogue::{MOST_STAGES, Tail, Then, WithTail};
use crate::ops::fake_quantise::FakeQuantise;
use crate::ops::fused::{Fused as _, concrete};
use crate::ops::linear::Linear;
use crate::ops::permute::Permute;
use crate::ops::quantised_convolution::QuantisedConvolution;
use crate::ops::quantised_linear::QuantisedLinear;
use dyn_perceiver_kernels::Activation;
use dyn_perceiver_kernels::fake_quantise::Rounding;

/// What is done last in a tail, if more can still be done there: its beginning, or a stage that does not round.
fn last(tail: &Tail, begins_with_rounding: bool) -> Then {
    match tail.then.last() {
        Some(last) if last.rounding.is_none() => *last,
        None if !begins_with_rounding => {
            Then { bias: tail.bias, residual: tail.residual, activation: tail.activation, rounding: None }
        }
        _ => Then::default(),
    }
}

/// Puts what [`last`] gave back, with more done in it; in a stage of its own where it does not fit: `alone` is what that has.
fn put(tail: &mut Tail, begins_with_rounding: bool, then: Option<Then>, alone: Then) {
    match (then, tail.then.last_mut()) {
        (Some(then), Some(last)) if last.rounding.is_none() => *last = then,
        (Some(Then { bias, residual, activation, rounding: None }), None) if !begins_with_rounding => {
            (tail.bias, tail.residual, tail.activation) = (bias, residual, activation);
        }
        (then, _) => tail.then.push(then.unwrap_or(alone)),
    }
}

/// Whether an operator hands its input on in the same order, in another shape of rows as long.
fn is_view(model: &TypedModel, node: &TypedNode, columns: usize) -> TractResult<bool> {
    let moves_nothing = match node.op_as::<AxisOp>() {
        Some(AxisOp::Add(_) | AxisOp::Rm(_) | AxisOp::Reshape(..)) => true,
        Some(AxisOp::Move(..)) | None => match node.op_as::<Permute>() {
            Some(permute) => permute.is_reshape(&[concrete(model.outlet_fact(node.inputs[0])?)?]),
            None => false,
        },
    };
    Ok(moves_nothing && concrete(&node.outputs[0].fact)?.last() == Some(&columns))
}

fn rule<O: WithTail>(model: &TypedModel, node: &TypedNode, op: &O) -> TractResult<Option<TypedModelPatch>> {
    let columns = op.columns();
    rule_if!(concrete(&node.outputs[0].fact)?.last() == Some(&columns));
    // What comes element by element behind a view can as well be done in front of it.
    let (mut before, mut views) = (node, vec![]);
    rule_if_some!(mut next = only_reader(model, before));
    while is_view(model, next, columns)? {
        views.push(next);
        before = next;
        rule_if_some!(reader = only_reader(model, before));
        next = reader;
    }
    let (fact, begins_with_rounding) = (&before.outputs[0].fact, node.op_is::<FakeQuantise>());
    let rank = fact.rank();
    rule_if!(next.outputs[0].fact.shape == fact.shape && next.outputs[0].fact.datum_type == f32::datum_type());
    let mut op = op.clone();
    // A factor in front of a rounding is part of it.
    let mut factor = 1.0;
    if is_bin::<Mul>(next) {
        rule_if_some!((constant, _) = const_operand(model, next)?);
        rule_if!(constant.len() == 1);
        factor = constant.cast_to_scalar::<f32>()?;
        before = next;
        rule_if_some!(reader = only_reader(model, before));
        let op = reader.op_as::<FakeQuantise>();
        rule_if!(op.is_some_and(FakeQuantise::only_rounds_first) && reader.outputs[0].fact.shape == fact.shape);
        next = reader;
    }
    let tail = op.tail_mut();
    let now = last(tail, begins_with_rounding);
    let mut patch = TypedModelPatch::default();
    let mut inputs = patch.taps(model, &node.inputs)?;

    if let Some(rounding) = next.op_as::<FakeQuantise>() {
        rule_if!(rounding.columns == columns);
        let mut rest: TVec<OutletId> = next.inputs[1..].into();
        if next.inputs[0].node != before.id {
            // It is the residual of another: a sum, whichever comes first.
            rule_if!(!rounding.tail.bias && rounding.tail.residual && rest[0].node == before.id);
            rest[0] = next.inputs[0];
        }
        let Tail { bias, residual, activation, then } = rounding.tail.clone();
        let own = Rounding { factor, ..rounding.rounding() };
        rule_if!(own.is_sound());
        let own = Then { bias, residual, activation, rounding: Some(own) };
        let joined = rounding.only_rounds_first() && tail.then.last().is_some_and(|last| last.rounding.is_none());
        put(tail, begins_with_rounding, joined.then_some(Then { rounding: own.rounding, ..now }), own);
        tail.then.extend(then);
        for input in rest {
            inputs.push(patch.tap_model(model, input)?);
        }
    } else if is_bin::<Add>(next) {
        let constant = const_operand(model, next)?.map(|(constant, _)| constant);
        let values = match &constant {
            Some(constant) => along_axis(constant, rank, rank - 1, columns)?,
            None => None,
        };
        let is_sum = now.activation == Activation::Identity;
        if let Some(values) = values {
            let joined = (is_sum && !now.bias && !now.residual).then_some(Then { bias: true, ..now });
            put(tail, begins_with_rounding, joined, Then { bias: true, ..Then::default() });
            inputs.push(patch.add_const(format!("{}.bias", next.name), tensor1(&values))?);
        } else {
            rule_if_some!(other = next.inputs.iter().find(|input| input.node != before.id));
            let other_fact = model.outlet_fact(*other)?;
            rule_if!(other_fact.shape == fact.shape && other_fact.datum_type == f32::datum_type());
            let joined = (is_sum && !now.residual).then_some(Then { residual: true, ..now });
            put(tail, begins_with_rounding, joined, Then { residual: true, ..Then::default() });
            inputs.push(patch.tap_model(model, *other)?);
        }
    } else {
        let joined = epilogue::then(model, next, now.activation)?.map(|activation| Then { activation, ..now });
        rule_if_some!(activation = epilogue::then(model, next, Activation::Identity)?);
        put(tail, begins_with_rounding, joined, Then { activation, ..Then::default() });
    }
    // A rounding counts as a stage of its own.
    rule_if!(tail.then.len() + usize::from(begins_with_rounding) <= MOST_STAGES);
    let mut wire = patch.wire_node(&next.name, op, &inputs)?;
    for view in views {
        wire = patch.wire_node(format!("{}.behind", view.name), view.op.clone(), &wire)?;
    }
    patch.shunt_outside(model, next.id.into(), wire[0])?;
    Ok(Some(patch))
}

/// Takes in what follows the operators of a network that was quantised elsewhere.
pub(super) fn fold(model: &mut TypedModel) -> TractResult<()> {
    Rewriter::default()
        .with_rule_for::<QuantisedLinear>("stages of an int8 product", |_: &(), m, n, _, op| rule(m, n, op))
        .with_rule_for::<QuantisedConvolution>("stages of an int8 convolution", |_: &(), m, n, _, op| rule(m, n, op))
        .with_rule_for::<Linear>("stages of a product", |_: &(), m, n, _, op| rule(m, n, op))
        .with_rule_for::<Convolution>("stages of a convolution", |_: &(), m, n, _, op| rule(m, n, op))
        .with_rule_for::<Depthwise>("stages of a depthwise convolution", |_: &(), m, n, _, op| rule(m, n, op))
        .with_rule_for::<FakeQuantise>("stages of a rounding", |_: &(), m, n, _, op| rule(m, n, op))
        .rewrite(&(), model)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tract_core::ops::binary::TypedBinOp;
    use tract_core::ops::cnn::{Conv, KernelFormat};
    use tract_core::ops::element_wise::ElementWiseOp;
    use tract_core::ops::math::{add, max, mul};
    use tract_core::ops::nn::{gelu_exact, hard_swish, sigmoid};

    use super::super::convolution::tests::spec;
    use super::super::quantised::tests::{UNSIGNED, one_off_in, quantised, weights};
    use super::super::testing::{Builder, count};
    use super::*;

    /// Operators that a network of products should have none of.
    fn element_wise(model: &TypedModel) -> usize {
        count::<TypedBinOp>(model) + count::<ElementWiseOp>(model) + count::<FakeQuantise>(model)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(96))]

        #[test]
        fn any_chain_behind_a_product_computes_the_same(
            m in 1_usize..20, k in 1_usize..20, n in 2_usize..40, exact: bool, steps in prop::collection::vec(0_u8..9, 0..7),
        ) {
            let mut b = Builder::default();
            let x = b.source(&[m, k]);
            let x = quantised(&mut b, x, UNSIGNED);
            let w = if exact { weights(&mut b, &[k, n], 1) } else { b.constant(&[k, n]) };
            let mut y = b.einsum("mk,kn->mn", x, w);
            for step in steps {
                y = match step {
                    0 => { let bias = b.constant(&[1, n]); b.bin(add(), y, bias) }
                    1 => { let residual = b.source(&[m, n]); b.bin(add(), residual, y) }
                    2 => { let low = b.scalar(0.0, 2); b.bin(max(), y, low) }
                    3 => { let half = b.scalar(0.5, 2); b.bin(mul(), half, y) }
                    4 => b.wire(sigmoid(), &[y]),
                    5 => b.wire(gelu_exact::gelu_exact(), &[y]),
                    6 => b.wire(hard_swish(), &[y]),
                    7 => { let whole = b.constant(&[m, n]); b.bin(add(), y, whole) }
                    _ => quantised(&mut b, y, UNSIGNED),
                };
            }
            let y = quantised(&mut b, y, UNSIGNED);
            // Values near the middle of two steps may be rounded to either, some of them more than once.
            one_off_in(25, &b.finish(&[y]), 0.04);
        }
    }

    #[test]
    fn a_block_of_convolutions_is_its_convolutions() {
        let mut b = Builder::default();
        let image = b.source(&[1, 8, 9, 9]);
        let x = quantised(&mut b, image, UNSIGNED);
        let conv = |b: &mut Builder, x: OutletId, kernel: usize, group: usize, [ci, co]: [usize; 2]| {
            let kernel_weights = weights(b, &[co, ci / group, kernel, kernel], 0);
            let bias = b.constant(&[co]);
            let pool_spec = spec([kernel; 2], [1; 2], [kernel / 2; 2], [kernel / 2; 2], ci, co);
            let y = b.wire(
                Conv { pool_spec, kernel_fmt: KernelFormat::OIHW, group, q_params: None },
                &[x, kernel_weights, bias],
            );
            quantised(b, y, UNSIGNED)
        };
        let wide = conv(&mut b, x, 1, 1, [8, 24]);
        let wide = b.wire(hard_swish(), &[wide]);
        let wide = quantised(&mut b, wide, UNSIGNED);
        let deep = conv(&mut b, wide, 3, 24, [24, 24]);
        let deep = b.wire(hard_swish(), &[deep]);
        let deep = quantised(&mut b, deep, UNSIGNED);
        let y = conv(&mut b, deep, 1, 1, [24, 8]);
        let y = b.bin(add(), y, x);
        let y = quantised(&mut b, y, UNSIGNED);
        let model = one_off_in(25, &b.finish(&[y]), 0.03);
        assert_eq!((count::<QuantisedLinear>(&model), count::<Depthwise>(&model)), (2, 1));
        // The image's own rounding has nothing before it.
        assert_eq!(element_wise(&model), 1);
    }

    #[test]
    fn what_two_read_or_is_an_output_ends_the_chain() {
        for output in [false, true] {
            let mut b = Builder::default();
            let x = b.source(&[5, 8]);
            let w = b.constant(&[8, 24]);
            let y = b.einsum("mk,kn->mn", x, w);
            let rounded = quantised(&mut b, y, UNSIGNED);
            let other = if output { y } else { b.wire(sigmoid(), &[y]) };
            let model = one_off_in(50, &b.finish(&[rounded, other]), 0.01);
            assert_eq!((count::<Linear>(&model), count::<FakeQuantise>(&model)), (1, 1));
        }
    }
}
