//! Products of an activation with constant weights: every `EinSum` of that kind, be it a linear layer or a pointwise
//! convolution.

use tract_core::internal::*;
use tract_core::ops::einsum::EinSum;

use crate::ops::epilogue::Tail;
use crate::ops::linear::Linear;
use crate::ops::permute::{Permute, inverse};
use dyn_perceiver_kernels::gemm;

/// Which axes of a product of `x` and constant weights do what.
struct Roles {
    /// Axes of x in the order wanted: those kept, then those summed over.
    x_order: TVec<usize>,
    /// Axes of the weights: those summed over as in `x_order`, then those of the output.
    weights_order: TVec<usize>,
    reduction: usize,
    columns: usize,
    /// Output axis of each axis of the product: new axes of size 1, kept axes, columns.
    output_axes: TVec<usize>,
}

fn roles(op: &EinSum, x: usize, facts: &[&TypedFact], output: &TypedFact) -> TractResult<Option<Roles>> {
    let w = 1 - x;
    let (Some(x_shape), Some(w_shape), Some(o_shape)) =
        (facts[x].shape.as_concrete(), facts[w].shape.as_concrete(), output.shape.as_concrete())
    else {
        return Ok(None);
    };
    let (mut kept, mut summed, mut units) = (tvec!(), tvec!(), tvec!());
    let (mut w_summed, mut w_columns) = (tvec!(), tvec!());
    let (mut kept_out, mut new_out, mut columns_out): (TVec<usize>, TVec<usize>, TVec<usize>) =
        (tvec!(), tvec!(), tvec!());
    for axis in op.axes.iter_all_axes() {
        let single = |positions: &TVec<usize>| positions.len() <= 1;
        if !single(&axis.inputs[x]) || !single(&axis.inputs[w]) || !single(&axis.outputs[0]) {
            return Ok(None);
        }
        match (axis.inputs[x].first(), axis.inputs[w].first(), axis.outputs[0].first()) {
            (Some(_), None, Some(_)) => {}
            (Some(&a), None, None) if x_shape[a] == 1 => units.push(a),
            (Some(_), Some(&b), None) if x_shape[axis.inputs[x][0]] == w_shape[b] => {}
            (None, Some(&b), Some(&o)) => {
                w_columns.push(b);
                columns_out.push(o);
            }
            (None, None, Some(&o)) if o_shape[o] == 1 => new_out.push(o),
            _ => return Ok(None),
        }
    }
    for a in 0..x_shape.len() {
        let axis = op.axes.axis((InOut::In(x), a))?;
        match (axis.inputs[w].first(), axis.outputs[0].first()) {
            (Some(&b), _) => {
                summed.push(a);
                w_summed.push(b);
            }
            (None, Some(&o)) => {
                kept.push(a);
                kept_out.push(o);
            }
            _ => {}
        }
    }
    // Columns in the order the output has them.
    let mut order: TVec<usize> = (0..columns_out.len()).collect();
    order.sort_by_key(|i| columns_out[*i]);
    let w_columns: TVec<usize> = order.iter().map(|i| w_columns[*i]).collect();
    let columns_out: TVec<usize> = order.iter().map(|i| columns_out[*i]).collect();
    let reduction: usize = summed.iter().map(|a| x_shape[*a]).product();
    let columns: usize = w_columns.iter().map(|a| w_shape[*a]).product();
    if reduction == 0 || columns == 0 || x_shape.contains(&0) {
        return Ok(None);
    }
    Ok(Some(Roles {
        x_order: units.into_iter().chain(kept).chain(summed).collect(),
        weights_order: w_summed.into_iter().chain(w_columns).collect(),
        reduction,
        columns,
        output_axes: new_out.into_iter().chain(kept_out).chain(columns_out).collect(),
    }))
}

fn rule(_: &(), model: &TypedModel, node: &TypedNode, name: &str, op: &EinSum) -> TractResult<Option<TypedModelPatch>> {
    let facts = model.node_input_facts(node.id)?;
    let float = |f: &TypedFact| f.datum_type == f32::datum_type() && f.is_plain();
    rule_if!(op.q_params.is_none() && node.inputs.len() == 2 && facts.iter().all(|f| float(f)));
    rule_if_some!(w = (0..2).find(|i| facts[*i].konst.is_some() && facts[1 - *i].konst.is_none()));
    let x = 1 - w;
    let output = &node.outputs[0].fact;
    rule_if_some!(roles = roles(op, x, &facts, output)?);
    rule_if_some!(weights = facts[w].konst.as_ref());
    let weights = crate::ops::permute::permuted_const(weights, &roles.weights_order)?;
    let weights = weights.try_as_plain_ram()?.as_slice::<f32>()?;
    let mut packed = vec![0.0; gemm::packed_len(roles.reduction, roles.columns)];
    let entry = |k: usize, n: usize| weights[k * roles.columns + n];
    gemm::pack(roles.reduction, roles.columns, entry, &mut packed);
    let packed = Tensor::from_shape(&[roles.columns.div_ceil(gemm::NR), roles.reduction, gemm::NR], &packed)?;

    let mut patch = TypedModelPatch::default();
    let mut wire = patch.tap_model(model, node.inputs[x])?;
    if !roles.x_order.is_sorted() {
        wire = patch.wire_node(format!("{name}.in"), Permute { order: roles.x_order.clone() }, &[wire])?[0];
    }
    let packed = patch.add_const(format!("{name}.weights"), packed)?;
    let o_shape = crate::ops::fused::concrete(output)?;
    let linear = Linear {
        reduction: roles.reduction,
        columns: roles.columns,
        shape: roles.output_axes.iter().map(|a| o_shape[*a]).collect(),
        tail: Tail::default(),
    };
    if roles.output_axes.is_sorted() {
        wire = patch.wire_node(name, linear, &[wire, packed])?[0];
    } else {
        wire = patch.wire_node(format!("{name}.linear"), linear, &[wire, packed])?[0];
        wire = patch.wire_node(name, Permute { order: inverse(&roles.output_axes) }, &[wire])?[0];
    }
    patch.shunt_outside(model, node.id.into(), wire)?;
    Ok(Some(patch))
}

/// Replaces products with constant weights by [`Linear`].
pub(super) fn fuse(model: &mut TypedModel) -> TractResult<()> {
    Rewriter::default().with_rule_for::<EinSum>("linear", rule).rewrite(&(), model)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::testing::{Builder, count, in_place, same};
    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn one_operator_for_every_product_with_constant_weights(
            form in prop::sample::select(vec![
                ("mk", "kn", "mn"), ("mk", "nk", "mn"), ("mk", "kn", "nm"), ("km", "kn", "mn"),
                ("akm", "kn", "mn"), ("mk", "kn", "anm"), ("NIHW", "OI", "NOHW"), ("IHW", "OI", "NOHW"),
                ("mbk", "bkn", "mn"), ("mk", "khd", "hmd"), ("ckba", "nk", "n"), ("I", "OI", "OHW"),
            ]),
            sizes in prop::collection::vec(1_usize..12, 26), weights_first: bool,
        ) {
            let (x, w, o) = form;
            // Axes of only one tensor beside the batch must have size 1 (a, c, H and W where x lacks them).
            let size = |l: char| match l {
                'a' | 'c' => 1,
                'b' if !w.contains('b') => 1,
                'H' | 'W' if !x.contains(l) => 1,
                'N' if !x.contains(l) => 1,
                l => sizes[l.to_ascii_lowercase() as usize - 'a' as usize],
            };
            let mut b = Builder::default();
            let source = b.source(&x.chars().map(size).collect::<Vec<_>>());
            let weights = b.constant(&w.chars().map(size).collect::<Vec<_>>());
            let y = if weights_first {
                b.einsum(&format!("{w},{x}->{o}"), weights, source)
            } else {
                b.einsum(&format!("{x},{w}->{o}"), source, weights)
            };
            let model = same(&b.finish(&[y]), in_place(fuse));
            prop_assert_eq!(count::<Linear>(&model), 1);
        }
    }

    #[test]
    fn products_of_two_activations_and_batched_weights_stay() {
        let mut b = Builder::default();
        let [x, y] = [[5, 4], [4, 3]].map(|s| b.source(&s));
        let product = b.einsum("mk,kn->mn", x, y);
        let batch = b.source(&[2, 5, 4]);
        let weights = b.constant(&[2, 4, 3]);
        let batched = b.einsum("bmk,bkn->bmn", batch, weights);
        let model = same(&b.finish(&[product, batched]), in_place(fuse));
        assert_eq!(count::<Linear>(&model), 0);
    }
}
