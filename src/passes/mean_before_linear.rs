//! Means of a linear layer's rows, taken before the layer: `mean(x * W + b + r) = mean(x) * W + b + mean(r)`, a product of one
//! row in place of one of many. A network ends so whose last layer is followed by global average pooling.

use tract_core::internal::*;

use super::pattern::{constant, producer};
use crate::ops::fused::{concrete, volume};
use crate::ops::linear::Linear;
use crate::ops::mean::Mean;
use dyn_perceiver_kernels::Activation;

/// The axes of a shape that are `rows` rows of `width` entries, summed as [`Mean`] sums them.
fn axes(shape: &[usize], rows: usize, width: usize) -> Option<(usize, usize)> {
    let ends = (1..shape.len()).filter(|to| volume(&shape[*to..]) == width);
    ends.flat_map(|to| (0..to).map(move |from| (from, to))).find(|(from, to)| volume(&shape[*from..*to]) == rows)
}

fn rule(_: &(), model: &TypedModel, node: &TypedNode, name: &str, op: &Mean) -> TractResult<Option<TypedModelPatch>> {
    rule_if_some!(before = producer(model, node.inputs[0])?);
    rule_if_some!(linear = before.op_as::<Linear>());
    let tail = &linear.tail;
    rule_if!(tail.activation == Activation::Identity && tail.then.is_empty());
    let shape = concrete(model.outlet_fact(node.inputs[0])?)?;
    let (rows, columns) = (volume(&shape[op.from..op.to]), volume(&shape[op.to..]));
    rule_if!(rows > 1 && columns == linear.columns);

    let mut patch = TypedModelPatch::default();
    let sum = |patch: &mut TypedModelPatch, input: usize, width: usize| -> TractResult<Option<OutletId>> {
        let outlet = before.inputs[input];
        rule_if_some!((from, to) = axes(concrete(model.outlet_fact(outlet)?)?, rows, width));
        let tap = patch.tap_model(model, outlet)?;
        Ok(Some(patch.wire_node(format!("{name}.{input}"), Mean { from, to, ..op.clone() }, &[tap])?[0]))
    };
    rule_if_some!(x = sum(&mut patch, 0, linear.reduction)?);
    let mut inputs = tvec!(x, patch.tap_model(model, before.inputs[1])?);
    if tail.bias {
        // Of each row once.
        let factor = f32::from_bits(op.scale) * rows as f32;
        rule_if_some!(bias = constant(model, before.inputs[2])?);
        let bias: Vec<f32> = bias.iter().map(|bias| bias * factor).collect();
        inputs.push(patch.add_const(format!("{name}.bias"), tensor1(&bias))?);
    }
    if tail.residual {
        rule_if_some!(residual = sum(&mut patch, before.inputs.len() - 1, columns)?);
        inputs.push(residual);
    }
    let linear = Linear { shape: concrete(&node.outputs[0].fact)?.into(), ..linear.clone() };
    let wire = patch.wire_node(name, linear, &inputs)?;
    patch.shunt_outside(model, node.id.into(), wire[0])?;
    Ok(Some(patch))
}

/// Moves means before the linear layers that they are of.
pub(super) fn hoist(model: &mut TypedModel) -> TractResult<()> {
    Rewriter::default().with_rule_for::<Mean>("mean before a linear layer", rule).rewrite(&(), model)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tract_core::ops::math::{add, max, mul};
    use tract_core::ops::nn::{Reduce, Reducer};

    use super::super::testing::{Builder, count, same};
    use super::super::{epilogue, layout, linear, mean};
    use super::*;

    fn passes(mut model: TypedModel) -> TractResult<TypedModel> {
        linear::fuse(&mut model)?;
        let mut model = layout::settle(&model)?;
        mean::fuse(&mut model)?;
        epilogue::fold(&mut model)?;
        hoist(&mut model)?;
        Ok(model)
    }

    /// The rows of each linear layer of a model.
    fn rows(model: &TypedModel) -> Vec<usize> {
        let linears = model.nodes().iter().filter_map(|node| node.op_as::<Linear>());
        linears.map(|linear| volume(&linear.shape) / linear.columns).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn the_product_has_one_row_for_each_image(
            batch in 1_usize..3, rows in prop::array::uniform2(1_usize..6), k in 1_usize..20, n in 2_usize..40,
            has_bias: bool, has_residual: bool, is_scaled: bool, is_flat: bool,
        ) {
            let [h, w] = rows;
            prop_assume!(h * w > 1);
            let mut b = Builder::default();
            let (shape, form) = if is_flat { (vec![batch, h * w], "bmk,kn->bmn") } else { (vec![batch, h, w], "bhwk,kn->bhwn") };
            let x = b.source(&[shape.clone(), vec![k]].concat());
            let weights = b.constant(&[k, n]);
            let mut y = b.einsum(form, x, weights);
            if has_bias {
                let bias = b.constant(&[vec![1; shape.len()], vec![n]].concat());
                y = b.bin(add(), y, bias);
            }
            if has_residual {
                let residual = b.source(&[shape.clone(), vec![n]].concat());
                y = b.bin(add(), y, residual);
            }
            let mut y = b.wire(Reduce { axes: (1..shape.len()).collect(), reducer: Reducer::Sum }, &[y]);
            if is_scaled {
                let scale = b.scalar(1.0 / (h * w) as f32, shape.len() + 1);
                y = b.bin(mul(), y, scale);
            }
            let model = same(&b.finish(&[y]), passes);
            prop_assert_eq!(super::tests::rows(&model), [batch]);
            prop_assert_eq!(count::<Mean>(&model), 1 + usize::from(has_residual));
        }
    }

    #[test]
    fn what_is_not_linear_or_read_elsewhere_stays() {
        for (is_rectified, is_read) in [(true, false), (false, true)] {
            let mut b = Builder::default();
            let x = b.source(&[5, 4]);
            let weights = b.constant(&[4, 24]);
            let mut y = b.einsum("mk,kn->mn", x, weights);
            if is_rectified {
                let zero = b.scalar(0.0, 2);
                y = b.bin(max(), y, zero);
            }
            let sum = b.wire(Reduce { axes: tvec!(0), reducer: Reducer::Sum }, &[y]);
            let outputs = if is_read { vec![sum, y] } else { vec![sum] };
            assert_eq!(rows(&same(&b.finish(&outputs), passes)), [5]);
        }
    }
}
