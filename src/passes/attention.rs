//! Scaled dot-product attention: a product of queries and keys, a soft-max, and a product with values.

use tract_core::internal::*;
use tract_core::ops::einsum::EinSum;
use tract_core::ops::math::Mul;
use tract_core::ops::nn::{Softmax, SoftmaxKind};

use super::pattern::{const_operand, is_bin, only_reader};
use crate::ops::attention::Attention;
use crate::ops::fake_quantise::FakeQuantise;
use crate::ops::permute::{Permute, inverse};
use dyn_perceiver_kernels::attention::Sizes;
use dyn_perceiver_kernels::fake_quantise::Rounding;

/// An axis label of a product: where it stands in its operands and its output.
#[derive(Clone, Copy)]
struct Label {
    a: Option<usize>,
    b: Option<usize>,
    out: Option<usize>,
}

fn labels(op: &EinSum) -> Option<Vec<Label>> {
    if op.q_params.is_some() || op.axes.input_count() != 2 {
        return None;
    }
    op.axes
        .iter_all_axes()
        .map(|axis| {
            let single = |p: &TVec<usize>| p.len() <= 1;
            (single(&axis.inputs[0]) && single(&axis.inputs[1]) && single(&axis.outputs[0])).then(|| Label {
                a: axis.inputs[0].first().copied(),
                b: axis.inputs[1].first().copied(),
                out: axis.outputs[0].first().copied(),
            })
        })
        .collect()
}

/// Exactly one axis wider than 1 (or any one axis, where none is), of those given.
fn one_axis(axes: &[usize], shape: &[usize]) -> Option<usize> {
    let wide: TVec<usize> = axes.iter().copied().filter(|a| shape[*a] != 1).collect();
    match wide.as_slice() {
        [axis] => Some(*axis),
        [] => axes.first().copied(),
        _ => None,
    }
}

/// A rounding and a factor behind it: as well a rounding, of values times that factor, to steps times it.
fn round(op: &FakeQuantise, factor: f32) -> Rounding {
    Rounding { factor, scale: f32::from_bits(op.scale) * factor, low: op.low, high: op.high }
}

fn rule(
    _: &(),
    model: &TypedModel,
    node: &TypedNode,
    name: &str,
    op: &Softmax,
) -> TractResult<Option<TypedModelPatch>> {
    rule_if!(op.kind == SoftmaxKind::Softmax && op.quant_output_dt.is_none() && op.axes.len() == 1);
    // Backwards: scales and roundings, and the product of queries and keys.
    let mut before = model.node(node.inputs[0].node);
    let (mut scale, mut score_roundings) = (1.0, vec![]);
    rule_if!(only_reader(model, before).is_some());
    while !before.op_is::<EinSum>() {
        if let Some(rounding) = before.op_as::<FakeQuantise>() {
            score_roundings.push((rounding.clone(), scale));
            scale = 1.0;
            before = model.node(before.inputs[0].node);
        } else {
            rule_if!(is_bin::<Mul>(before));
            rule_if_some!((konst, other) = const_operand(model, before)?);
            rule_if!(konst.len() == 1);
            scale *= konst.cast_to_scalar::<f32>()?;
            before = model.node(other.node);
        }
        rule_if!(only_reader(model, before).is_some());
    }
    rule_if_some!(scores = before.op_as::<EinSum>());
    // Forwards: roundings, and the product with the values.
    let (mut last, mut probabilities) = (node, vec![]);
    rule_if_some!(mut after = only_reader(model, node));
    while let Some(rounding) = after.op_as::<FakeQuantise>() {
        probabilities.push(round(rounding, 1.0));
        last = after;
        rule_if_some!(next = only_reader(model, after));
        after = next;
    }
    rule_if_some!(mix = after.op_as::<EinSum>());
    let slot = after.inputs.iter().position(|i| i.node == last.id).unwrap_or(0);
    rule_if_some!(score_labels = labels(scores));
    rule_if_some!(mix_labels = labels(mix));
    let facts = model.node_input_facts(before.id)?;
    let value_outlet = after.inputs[1 - slot];
    let value_fact = model.outlet_fact(value_outlet)?;
    let out_fact = &after.outputs[0].fact;
    rule_if!(facts.iter().chain([&value_fact]).all(|f| f.datum_type == f32::datum_type() && f.is_plain()));
    rule_if_some!(p_shape = node.outputs[0].fact.shape.as_concrete());
    rule_if_some!(v_shape = value_fact.shape.as_concrete());
    rule_if_some!(out_shape = out_fact.shape.as_concrete());
    rule_if_some!(a_shape = facts[0].shape.as_concrete());
    rule_if_some!(b_shape = facts[1].shape.as_concrete());
    rule_if!(!p_shape.contains(&0) && !v_shape.contains(&0) && !a_shape.contains(&0));
    let keys_axis = op.axes[0];

    // Which operand of the first product brings the keys: the one that has the soft-max axis.
    rule_if_some!(keys_label = score_labels.iter().find(|l| l.out == Some(keys_axis)));
    let k_slot = match (keys_label.a, keys_label.b) {
        (Some(_), None) => 0,
        (None, Some(_)) => 1,
        _ => return Ok(None),
    };
    let (q_shape, k_shape) = if k_slot == 1 { (a_shape, b_shape) } else { (b_shape, a_shape) };
    let of_q = |l: &Label| if k_slot == 1 { l.a } else { l.b };
    let of_k = |l: &Label| if k_slot == 1 { l.b } else { l.a };
    let of_p = |l: &Label| if slot == 0 { l.a } else { l.b };
    let of_v = |l: &Label| if slot == 0 { l.b } else { l.a };

    // Axes of the probabilities: keys, queries (not in k), and shared ones (batch and heads).
    let (mut queries, mut shared, mut depth) = (tvec!(), tvec!(), tvec!());
    for l in &score_labels {
        match (of_q(l), of_k(l), l.out) {
            (Some(q), Some(k), Some(p)) => shared.push((q, k, p)),
            (Some(q), None, Some(p)) => queries.push((q, p)),
            (Some(q), Some(k), None) => depth.push((q, k)),
            (None, Some(_), Some(p)) if p == keys_axis => {}
            (None, Some(k), None) if k_shape[k] == 1 => {}
            (None, Some(k), Some(_)) if k_shape[k] == 1 => {}
            (Some(q), None, None) if q_shape[q] == 1 => {}
            (None, None, Some(_)) => {}
            _ => return Ok(None),
        }
    }
    rule_if_some!(query = one_axis(&queries.iter().map(|q| q.1).collect::<TVec<_>>(), p_shape));
    let q_query = queries.iter().find(|q| q.1 == query).map(|q| q.0);
    rule_if_some!(q_query = q_query);
    rule_if_some!(q_depth = one_axis(&depth.iter().map(|d| d.0).collect::<TVec<_>>(), q_shape));
    rule_if_some!(k_depth = depth.iter().find(|d| d.0 == q_depth).map(|d| d.1));
    rule_if_some!(k_keys = of_k(keys_label));

    // Axes of the values: keys (summed), depth (new), shared.
    let mut v_keys = None;
    let mut value_depth: TVec<(usize, usize)> = tvec!();
    let mut shared_v: TVec<(usize, usize, usize)> = tvec!();
    let mut out_query = None;
    for l in &mix_labels {
        match (of_p(l), of_v(l), l.out) {
            (Some(p), Some(v), None) if p == keys_axis => v_keys = Some(v),
            (Some(p), Some(v), Some(o)) => shared_v.push((p, v, o)),
            (Some(p), None, Some(o)) if p == query => out_query = Some(o),
            (Some(p), None, _) if p_shape[p] == 1 => {}
            (Some(p), Some(_), None) if p_shape[p] == 1 => {}
            (None, Some(v), Some(o)) => value_depth.push((v, o)),
            (None, Some(v), None) if v_shape[v] == 1 => {}
            (None, None, Some(_)) => {}
            _ => return Ok(None),
        }
    }
    rule_if_some!(v_keys = v_keys);
    rule_if_some!(out_query = out_query);
    rule_if_some!(v_depth = one_axis(&value_depth.iter().map(|d| d.0).collect::<TVec<_>>(), v_shape));
    rule_if_some!(out_depth = value_depth.iter().find(|d| d.0 == v_depth).map(|d| d.1));

    // Shared axes in the order they have in the probabilities: the last wide one is heads, the others batch.
    let wide: TVec<(usize, usize, usize)> = {
        let mut wide: TVec<_> = shared.iter().copied().filter(|s| p_shape[s.2] != 1).collect();
        wide.sort_by_key(|s| s.2);
        wide
    };
    let mut wide_v = tvec!();
    for s in &wide {
        rule_if_some!(v = shared_v.iter().find(|v| v.0 == s.2));
        wide_v.push((v.1, v.2));
    }
    rule_if!(wide.len() <= 2);
    // A lone shared axis may be either; as heads it asks for the order (rows, heads), as batch for (batch, rows).
    let batched = wide.len() == 2 || (wide.len() == 1 && wide[0].0 < q_query && wide[0].1 < k_keys);
    let batch = batched.then(|| (wide[0], wide_v[0]));
    let heads = if batched { wide.get(1).zip(wide_v.get(1)) } else { wide.first().zip(wide_v.first()) };

    let complete = |rank: usize, chosen: &[Option<usize>]| -> TVec<usize> {
        let chosen: TVec<usize> = chosen.iter().flatten().copied().collect();
        (0..rank).filter(|a| !chosen.contains(a)).chain(chosen.iter().copied()).collect()
    };
    let (b, h) = (batch, heads);
    let q_order = complete(q_shape.len(), &[b.map(|b| b.0.0), Some(q_query), h.map(|h| h.0.0), Some(q_depth)]);
    let k_order = complete(k_shape.len(), &[b.map(|b| b.0.1), Some(k_keys), h.map(|h| h.0.1), Some(k_depth)]);
    let v_order = complete(v_shape.len(), &[b.map(|b| b.1.0), Some(v_keys), h.map(|h| h.1.0), Some(v_depth)]);
    let out_order = complete(out_shape.len(), &[b.map(|b| b.1.1), Some(out_query), h.map(|h| h.1.1), Some(out_depth)]);
    let sizes = Sizes {
        queries: q_shape[q_query],
        keys: k_shape[k_keys],
        heads: h.map_or(1, |h| q_shape[h.0.0]),
        depth: q_shape[q_depth],
        value_depth: v_shape[v_depth],
    };
    // Every axis that was not recognised has size 1, on all sides.
    let batch = b.map_or(1, |b| q_shape[b.0.0]);
    let Sizes { queries: m, keys: n, heads: h, depth: d, value_depth: e } = sizes;
    rule_if!(q_shape.iter().product::<usize>() == batch * m * h * d);
    rule_if!(k_shape.iter().product::<usize>() == batch * n * h * d);
    rule_if!(v_shape.iter().product::<usize>() == batch * n * h * e);
    rule_if!(out_shape.iter().product::<usize>() == batch * m * h * e);

    let mut patch = TypedModelPatch::default();
    let mut wires = tvec!();
    for (tag, outlet, order) in
        [("q", before.inputs[1 - k_slot], q_order), ("k", before.inputs[k_slot], k_order), ("v", value_outlet, v_order)]
    {
        let tap = patch.tap_model(model, outlet)?;
        wires.push(patch.wire_node(format!("{name}.{tag}"), Permute { order }, &[tap])?[0]);
    }
    let shape = out_order.iter().map(|a| out_shape[*a]).collect();
    let scores: Vec<Rounding> =
        score_roundings.iter().rev().map(|(rounding, behind)| round(rounding, *behind)).collect();
    rule_if!(scores.iter().chain(&probabilities).all(Rounding::is_sound));
    let op = Attention { sizes, scale: scale.to_bits(), shape, scores, probabilities };
    let wire = patch.wire_node(format!("{name}.attention"), op, &wires)?;
    let wire = patch.wire_node(&after.name, Permute { order: inverse(&out_order) }, &wire)?;
    patch.shunt_outside(model, after.id.into(), wire[0])?;
    Ok(Some(patch))
}

/// Replaces attentions by [`Attention`].
pub(super) fn fuse(model: &mut TypedModel) -> TractResult<()> {
    Rewriter::default().with_rule_for::<Softmax>("attention", rule).rewrite(&(), model)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tract_core::ops::math::mul;

    use super::super::testing::{Builder, count, in_place, same};
    use super::*;

    fn softmax(axis: usize) -> Softmax {
        Softmax { axes: tvec!(axis), quant_output_dt: None, kind: SoftmaxKind::Softmax }
    }

    /// Shape of an operand written as letters, given each letter's size.
    fn shape(letters: &str, size: impl Fn(char) -> usize) -> Vec<usize> {
        letters.chars().map(size).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn one_operator_for_every_way_to_write_it(
            form in prop::sample::select(vec![
                ("md", "nd", "mn", "ne", "me"),
                ("mhd", "nhd", "hmn", "nhe", "mhe"),
                ("bmhd", "bnhd", "bhmn", "bnhe", "bmhe"),
                ("bhmd", "bhnd", "bhmn", "bhne", "bhme"),
                ("bhmd", "bhdn", "bhmn", "bhne", "bmhe"),
                ("bmd", "bnd", "bmn", "bne", "bme"),
                ("adm", "nd", "mn", "ne", "aem"),
            ]),
            m in 1_usize..40, n in 1_usize..40, h in 1_usize..4, d in 1_usize..20, e in 1_usize..20, b in 1_usize..3,
            scale in prop::option::of(0.1_f32..2.0),
        ) {
            let (q, k, p, v, o) = form;
            let size = |c| match c { 'm' => m, 'n' => n, 'h' => h, 'd' => d, 'e' => e, 'b' => b, _ => 1 };
            let mut builder = Builder::default();
            let [qs, ks, vs] = [q, k, v].map(|l| builder.source(&shape(l, size)));
            let mut scores = builder.einsum(&format!("{q},{k}->{p}"), qs, ks);
            if let Some(scale) = scale {
                let scale = builder.scalar(scale, p.len());
                scores = builder.bin(mul(), scores, scale);
            }
            let axis = p.find('n').unwrap();
            let probabilities = builder.wire(softmax(axis), &[scores]);
            let y = builder.einsum(&format!("{p},{v}->{o}"), probabilities, vs);
            let model = same(&builder.finish(&[y]), in_place(fuse));
            prop_assert_eq!(count::<Attention>(&model), 1);
        }
    }

    #[test]
    fn probabilities_that_are_an_output_stay() {
        let mut b = Builder::default();
        let [q, k, v] = [[5, 4], [6, 4], [6, 3]].map(|s| b.source(&s));
        let scores = b.einsum("md,nd->mn", q, k);
        let probabilities = b.wire(softmax(1), &[scores]);
        let y = b.einsum("mn,ne->me", probabilities, v);
        let model = same(&b.finish(&[y, probabilities]), in_place(fuse));
        assert_eq!(count::<Attention>(&model), 0);
    }

    #[test]
    fn a_softmax_over_queries_is_no_attention() {
        let mut b = Builder::default();
        let [q, k, v] = [[5, 4], [6, 4], [6, 3]].map(|s| b.source(&s));
        let scores = b.einsum("md,nd->mn", q, k);
        let probabilities = b.wire(softmax(0), &[scores]);
        let y = b.einsum("mn,ne->me", probabilities, v);
        let model = same(&b.finish(&[y]), in_place(fuse));
        assert_eq!(count::<Attention>(&model), 0);
    }
}
