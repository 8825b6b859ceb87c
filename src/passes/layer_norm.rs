//! Layer normalisation, which tract holds as a mean, a difference and an `RmsNorm`.

use tract_core::internal::*;
use tract_core::ops::math::{Add, Mul, Sub};
use tract_core::ops::nn::{Reduce, Reducer, RmsNorm};

use super::pattern::{along_axis, const_operand, is_bin, only_reader};
use crate::ops::layer_norm::LayerNorm;
use crate::ops::permute::{Permute, inverse};

/// Where a normalisation reads x, if the chain before this `RmsNorm` subtracts the mean along its axis.
fn centred(model: &TypedModel, node: &TypedNode, op: &RmsNorm, len: usize) -> TractResult<Option<OutletId>> {
    let sub = model.node(node.inputs[0].node);
    rule_if!(is_bin::<Sub>(sub) && only_reader(model, sub).is_some());
    let (x, mean) = (sub.inputs[0], model.node(sub.inputs[1].node));
    // The mean and the sum may have other readers, which keep them.
    rule_if!(is_bin::<Mul>(mean));
    rule_if_some!((inverse, sum) = const_operand(model, mean)?);
    rule_if!(inverse.len() == 1 && (inverse.cast_to_scalar::<f32>()? * len as f32 - 1.0).abs() < 1e-5);
    let sum = model.node(sum.node);
    rule_if_some!(reduce = sum.op_as::<Reduce>());
    rule_if!(reduce.reducer == Reducer::Sum);
    rule_if!(reduce.axes.as_slice() == [op.axis] && sum.inputs[0] == x);
    Ok(Some(x))
}

fn rule(
    _: &(),
    model: &TypedModel,
    node: &TypedNode,
    name: &str,
    op: &RmsNorm,
) -> TractResult<Option<TypedModelPatch>> {
    let fact = model.outlet_fact(node.inputs[0])?;
    rule_if!(fact.datum_type == f32::datum_type());
    rule_if_some!(shape = fact.shape.as_concrete());
    let (rank, len) = (shape.len(), shape[op.axis]);
    rule_if!(len > 0);
    rule_if_some!(x = centred(model, node, op, len)?);

    let ends = match branches(model, node, op.axis, len)? {
        Some(ends) => ends,
        None => vec![affine(model, node, op.axis, len)?],
    };
    let mut order: TVec<usize> = (0..rank).filter(|a| *a != op.axis).collect();
    order.push(op.axis);
    let op = LayerNorm { epsilon: op.eps.cast_to_scalar::<f32>()?.to_bits() };
    let mut patch = TypedModelPatch::default();
    let x = patch.tap_model(model, x)?;
    let x = patch.wire_node(format!("{name}.in"), Permute { order: order.clone() }, &[x])?[0];
    for Affine { end, scale, shift } in ends {
        let name = &end.name;
        let scale = patch.add_const(format!("{name}.scale"), tensor1(&scale))?;
        let shift = patch.add_const(format!("{name}.shift"), tensor1(&shift))?;
        let wire = patch.wire_node(format!("{name}.layer_norm"), op.clone(), &[x, scale, shift])?[0];
        let wire = patch.wire_node(name, Permute { order: inverse(&order) }, &[wire])?[0];
        patch.shunt_outside(model, end.id.into(), wire)?;
    }
    Ok(Some(patch))
}

/// A constant scale and shift and the last node of them.
struct Affine<'a> {
    end: &'a TypedNode,
    scale: Vec<f32>,
    shift: Vec<f32>,
}

/// The scale and shift behind `node`, as far as they follow.
fn affine<'a>(model: &'a TypedModel, node: &'a TypedNode, axis: usize, len: usize) -> TractResult<Affine<'a>> {
    let mut found = Affine { end: node, scale: vec![1.0; len], shift: vec![0.0; len] };
    if let Some(next) = only_reader(model, found.end)
        && let Some(scale) = constant::<Mul>(model, next, axis, len)?
    {
        (found.end, found.scale) = (next, scale);
    }
    shifted(model, found, axis, len)
}

fn shifted<'a>(model: &'a TypedModel, scaled: Affine<'a>, axis: usize, len: usize) -> TractResult<Affine<'a>> {
    if let Some(next) = only_reader(model, scaled.end)
        && let Some(shift) = constant::<Add>(model, next, axis, len)?
    {
        return Ok(Affine { end: next, shift, ..scaled });
    }
    Ok(scaled)
}

/// What `node` multiplies by or adds, if that is a constant with one value for each place along the axis.
fn constant<B: tract_core::ops::binary::BinMiniOp>(
    model: &TypedModel,
    node: &TypedNode,
    axis: usize,
    len: usize,
) -> TractResult<Option<Vec<f32>>> {
    rule_if!(is_bin::<B>(node));
    rule_if_some!((konst, _) = const_operand(model, node)?);
    along_axis(&konst, node.outputs[0].fact.rank(), axis, len)
}

/// The scales and shifts of all readers of `node`, where several normalisations of one tensor differ in nothing else and
/// tract has computed what they share once. To do that again in each of them takes less time than scales and shifts by
/// themselves.
fn branches<'a>(
    model: &'a TypedModel,
    node: &'a TypedNode,
    axis: usize,
    len: usize,
) -> TractResult<Option<Vec<Affine<'a>>>> {
    let readers = &node.outputs[0].successors;
    rule_if!(readers.len() > 1 && !model.outputs.contains(&node.id.into()));
    let mut found = vec![];
    for reader in readers {
        let end = model.node(reader.node);
        rule_if_some!(scale = constant::<Mul>(model, end, axis, len)?);
        found.push(shifted(model, Affine { end, scale, shift: vec![0.0; len] }, axis, len)?);
    }
    Ok(Some(found))
}

/// Replaces layer normalisations by [`LayerNorm`].
pub(super) fn fuse(model: &mut TypedModel) -> TractResult<()> {
    Rewriter::default().with_rule_for::<RmsNorm>("layer normalisation", rule).rewrite(&(), model)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tract_core::ops::binary::TypedBinOp;
    use tract_core::ops::math::{add, mul, sub};

    use super::super::testing::{Builder, count, in_place, same};
    use super::*;

    /// x normalised along `axis` as tract holds it; the first reader of the difference, and the result.
    fn chain(b: &mut Builder, x: OutletId, axis: usize) -> (OutletId, OutletId) {
        let shape = b.shape(x);
        let sum = b.wire(Reduce { axes: tvec!(axis), reducer: Reducer::Sum }, &[x]);
        let inverse = b.scalar(1.0 / shape[axis] as f32, shape.len());
        let mean = b.bin(mul(), sum, inverse);
        let difference = b.bin(sub(), x, mean);
        let norm = b.wire(RmsNorm { axis, eps: Arc::new(tensor0(1e-5_f32)) }, &[difference]);
        (difference, norm)
    }

    fn affine(b: &mut Builder, x: OutletId, axis: usize) -> OutletId {
        let shape: TVec<usize> = b.shape(x).iter().enumerate().map(|(a, d)| if a == axis { *d } else { 1 }).collect();
        let scale = b.constant(&shape);
        let scaled = b.bin(mul(), x, scale);
        let shift = b.constant(&shape);
        b.bin(add(), shift, scaled)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn one_operator_for_any_axis(shape in prop::collection::vec(1_usize..20, 1..4), axis in 0_usize..3, with_affine: bool) {
            let axis = axis % shape.len();
            let mut b = Builder::default();
            let x = b.source(&shape);
            let (_, norm) = chain(&mut b, x, axis);
            let y = if with_affine { affine(&mut b, norm, axis) } else { norm };
            let model = same(&b.finish(&[y]), in_place(fuse));
            prop_assert_eq!(count::<LayerNorm>(&model), 1);
            prop_assert_eq!(count::<RmsNorm>(&model) + count::<TypedBinOp>(&model), 0);
        }
    }

    #[test]
    fn normalisations_that_share_their_statistics_are_told_apart() {
        let mut b = Builder::default();
        let x = b.source(&[3, 8]);
        let (_, norm) = chain(&mut b, x, 1);
        let [y, z] = [(); 2].map(|()| affine(&mut b, norm, 1));
        let model = same(&b.finish(&[y, z]), in_place(fuse));
        assert_eq!((count::<LayerNorm>(&model), count::<TypedBinOp>(&model)), (2, 0));
    }

    #[test]
    fn a_difference_that_is_an_output_is_left_alone() {
        let mut b = Builder::default();
        let x = b.source(&[3, 8]);
        let (difference, norm) = chain(&mut b, x, 1);
        let model = same(&b.finish(&[norm, difference]), in_place(fuse));
        assert_eq!(count::<LayerNorm>(&model), 0);
    }

    #[test]
    fn a_scale_that_is_no_constant_along_the_axis_stays() {
        let mut b = Builder::default();
        let x = b.source(&[3, 8]);
        let (_, norm) = chain(&mut b, x, 1);
        let matrix = b.constant(&[3, 8]);
        let y = b.bin(mul(), norm, matrix);
        let model = same(&b.finish(&[y]), in_place(fuse));
        assert_eq!((count::<LayerNorm>(&model), count::<TypedBinOp>(&model)), (1, 1));
    }
}
