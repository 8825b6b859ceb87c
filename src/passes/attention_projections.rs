//! Projections around an attention with one head, merged: linear layers with nothing between them are one.
//!
//! Scores are `(x Wq) (y Wk + b)^T = x (y (Wk Wq^T) + b Wq^T)^T`, so that queries need no product of their own, and what an
//! attention gives to a linear layer is `P (y Wv + b) Wo = (P y) (Wv Wo) + b Wo`, since rows of P sum to one: values need none. Both
//! change how wide the attention is; where that costs more than the products did, as with queries and values much narrower than what
//! they are made of, they stay.

use tract_core::internal::*;

use super::pattern::{constant, consumer, producer};
use crate::ops::attention::Attention;
use crate::ops::epilogue::Tail;
use crate::ops::fake_quantise::FakeQuantise;
use crate::ops::fused::volume;
use crate::ops::linear::Linear;
use dyn_perceiver_kernels::Activation;
use dyn_perceiver_kernels::gemm::{self, KernelFamily, Reduction};

/// A matrix, row-major.
struct Matrix {
    columns: usize,
    entries: Vec<f32>,
}

impl Matrix {
    /// The constant weights of a linear layer, a row for each entry of its reduction.
    fn weights(model: &TypedModel, node: &TypedNode, linear: &Linear) -> TractResult<Option<Matrix>> {
        rule_if_some!(packed = constant(model, node.inputs[1])?);
        let entries = KernelFamily::F32.unpack(Reduction::whole(linear.reduction), linear.columns, &packed);
        Ok(Some(Matrix { columns: linear.columns, entries }))
    }

    /// Constant rows of so many columns.
    fn constant(model: &TypedModel, outlet: OutletId, columns: usize) -> TractResult<Option<Matrix>> {
        rule_if_some!(entries = constant(model, outlet)?);
        Ok(Some(Matrix { columns, entries }))
    }

    fn transposed(&self) -> Matrix {
        let rows = self.entries.len() / self.columns;
        let column = |n: usize| self.entries.iter().skip(n).step_by(self.columns).copied();
        Matrix { columns: rows, entries: (0..self.columns).flat_map(column).collect() }
    }

    /// The product with `other`, each entry summed in double precision; none where one is not finite.
    fn times(&self, other: &Matrix) -> Option<Matrix> {
        let columns = other.columns;
        let mut entries = Vec::with_capacity(self.entries.len() / self.columns * columns);
        let mut sums = vec![0.0_f64; columns];
        for row in self.entries.chunks_exact(self.columns) {
            sums.fill(0.0);
            for (entry, others) in row.iter().zip(other.entries.chunks_exact(columns)) {
                sums.iter_mut().zip(others).for_each(|(sum, other)| *sum += f64::from(*entry) * f64::from(*other));
            }
            entries.extend(sums.iter().map(|sum| *sum as f32));
        }
        entries.iter().all(|entry| entry.is_finite()).then_some(Matrix { columns, entries })
    }

    /// As weights of a [`Linear`].
    fn packed(&self) -> TractResult<Tensor> {
        let reduction = self.entries.len() / self.columns;
        let mut packed = vec![0.0; gemm::packed_len(reduction, self.columns)];
        gemm::pack(reduction, self.columns, |k, n| self.entries[k * self.columns + n], &mut packed);
        Tensor::from_shape(&[self.columns.div_ceil(gemm::NR), reduction, gemm::NR], &packed)
    }
}

/// Multiply-accumulates of a product.
fn macs(rows: usize, reduction: usize, columns: usize) -> usize {
    rows * reduction * columns
}

/// A node as a linear layer in f32: of rounded values it is int8's, and merged weights are no bytes.
fn projection<'a>(model: &TypedModel, node: &'a TypedNode) -> Option<&'a Linear> {
    let linear = node.op_as::<Linear>()?;
    (!model.node(node.inputs[0].node).op_is::<FakeQuantise>()).then_some(linear)
}

/// Queries as they come to their linear layer, keys multiplied by the weights of both.
fn queries(
    _: &(),
    model: &TypedModel,
    node: &TypedNode,
    name: &str,
    op: &Attention,
) -> TractResult<Option<TypedModelPatch>> {
    let mut sizes = op.sizes;
    rule_if!(sizes.heads == 1);
    rule_if_some!(q_node = producer(model, node.inputs[0])?);
    rule_if_some!(q = projection(model, q_node));
    rule_if_some!(k_node = producer(model, node.inputs[1])?);
    rule_if_some!(k = projection(model, k_node));
    rule_if!(q.tail == Tail::default() && q.columns == sizes.depth && k.columns == sizes.depth);
    rule_if!(k.tail.activation == Activation::Identity && k.tail.then.is_empty());
    let (queries, keys) = (volume(&q.shape) / q.columns, volume(&k.shape) / k.columns);
    let cost = |depth: usize| macs(keys, k.reduction, depth) + macs(queries, sizes.keys, depth);
    rule_if!(cost(q.reduction) < cost(sizes.depth) + macs(queries, q.reduction, sizes.depth));

    rule_if_some!(weights = Matrix::weights(model, q_node, q)?);
    let to_queries = weights.transposed();
    rule_if_some!(weights = Matrix::weights(model, k_node, k)?);
    rule_if_some!(weights = weights.times(&to_queries));
    let mut patch = TypedModelPatch::default();
    let mut inputs = tvec!(patch.tap_model(model, k_node.inputs[0])?);
    inputs.push(patch.add_const(format!("{name}.keys.weights"), weights.packed()?)?);
    // The bias and, where there is one, what is added to keys for their places.
    for (i, outlet) in k_node.inputs.iter().enumerate().skip(2) {
        rule_if_some!(added = Matrix::constant(model, *outlet, sizes.depth)?);
        rule_if_some!(added = added.times(&to_queries));
        let shape = if added.entries.len() == added.columns { vec![added.columns] } else { vec![keys, added.columns] };
        inputs.push(patch.add_const(format!("{name}.keys.{i}"), Tensor::from_shape(&shape, &added.entries)?)?);
    }
    let k = Linear { columns: q.reduction, shape: tvec!(keys, q.reduction), ..k.clone() };
    let k = patch.wire_node(format!("{name}.keys"), k, &inputs)?[0];
    let x = patch.tap_model(model, q_node.inputs[0])?;
    let v = patch.tap_model(model, node.inputs[2])?;
    sizes.depth = q.reduction;
    let wire = patch.wire_node(name, Attention { sizes, ..op.clone() }, &[x, k, v])?;
    patch.shunt_outside(model, node.id.into(), wire[0])?;
    Ok(Some(patch))
}

/// Values as they come to their linear layer, what is made of them multiplied by its weights, too.
fn values(
    _: &(),
    model: &TypedModel,
    node: &TypedNode,
    name: &str,
    op: &Attention,
) -> TractResult<Option<TypedModelPatch>> {
    let mut sizes = op.sizes;
    // A rounding changes what a row sums to.
    rule_if!(sizes.heads == 1 && op.probabilities.is_empty());
    rule_if_some!(v_node = producer(model, node.inputs[2])?);
    rule_if_some!(v = projection(model, v_node));
    rule_if_some!(o_node = consumer(model, node)?);
    rule_if_some!(o = projection(model, o_node));
    let has_bias = v.tail.bias;
    rule_if!(v.tail == Tail { bias: has_bias, ..Tail::default() } && v.columns == sizes.value_depth);
    rule_if!(o.reduction == sizes.value_depth && producer(model, o_node.inputs[0])?.is_some_and(|n| n.id == node.id));
    let (values, results) = (volume(&v.shape) / v.columns, volume(&o.shape) / o.columns);
    let cost = |depth: usize| macs(results, sizes.keys, depth) + macs(results, depth, o.columns);
    rule_if!(cost(v.reduction) < cost(sizes.value_depth) + macs(values, v.reduction, v.columns));

    rule_if_some!(to_values = Matrix::weights(model, v_node, v)?);
    rule_if_some!(to_results = Matrix::weights(model, o_node, o)?);
    rule_if_some!(weights = to_values.times(&to_results));
    let mut patch = TypedModelPatch::default();
    let mut inputs = patch.taps(model, &node.inputs)?;
    inputs[2] = patch.tap_model(model, v_node.inputs[0])?;
    sizes.value_depth = v.reduction;
    let shape = tvec!(results, v.reduction);
    let mixed = patch.wire_node(name, Attention { sizes, shape, ..op.clone() }, &inputs)?[0];

    let mut inputs = tvec!(mixed, patch.add_const(format!("{name}.weights"), weights.packed()?)?);
    let mut rest = o_node.inputs[2..].iter().copied();
    let bias = if o.tail.bias { rest.next() } else { None };
    let mut tail = o.tail.clone();
    if has_bias {
        rule_if_some!(of_values = Matrix::constant(model, v_node.inputs[2], v.columns)?);
        rule_if_some!(mut sum = of_values.times(&to_results));
        if let Some(bias) = bias {
            rule_if_some!(bias = constant(model, bias)?);
            sum.entries.iter_mut().zip(bias).for_each(|(sum, bias)| *sum += bias);
        }
        inputs.push(patch.add_const(format!("{name}.bias"), tensor1(&sum.entries))?);
        tail.bias = true;
    } else if let Some(bias) = bias {
        inputs.push(patch.tap_model(model, bias)?);
    }
    for outlet in rest {
        inputs.push(patch.tap_model(model, outlet)?);
    }
    let o = Linear { reduction: v.reduction, tail, ..o.clone() };
    let wire = patch.wire_node(&o_node.name, o, &inputs)?;
    patch.shunt_outside(model, o_node.id.into(), wire[0])?;
    Ok(Some(patch))
}

/// Merges projections where that takes fewer multiplications.
pub(super) fn merge(model: &mut TypedModel) -> TractResult<()> {
    Rewriter::default()
        .with_rule_for::<Attention>("queries of an attention", queries)
        .with_rule_for::<Attention>("values of an attention", values)
        .rewrite(&(), model)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tract_core::ops::math::{add, mul};
    use tract_core::ops::nn::{Softmax, SoftmaxKind};

    use super::super::testing::{Builder, count, same};
    use super::super::{attention, epilogue, layout, linear};
    use super::*;

    fn passes(mut model: TypedModel) -> TractResult<TypedModel> {
        attention::fuse(&mut model)?;
        linear::fuse(&mut model)?;
        let mut model = layout::settle(&model)?;
        epilogue::fold(&mut model)?;
        merge(&mut model)?;
        Ok(model)
    }

    /// Queries `m x c`, keys and values `n x e`, projected to `d`, with what may be added on the way.
    fn cross_attention([m, n, c, e, d]: [usize; 5], [place, biases, residual]: [bool; 3]) -> TypedModel {
        let mut b = Builder::default();
        let (x, y) = (b.source(&[m, c]), b.source(&[n, e]));
        let [q, k, v] = [(x, c), (y, e), (y, e)].map(|(x, from)| {
            let weights = b.constant(&[from, d]);
            b.einsum("mk,kn->mn", x, weights)
        });
        let k = if place {
            let places = b.constant(&[n, d]);
            b.bin(add(), k, places)
        } else {
            k
        };
        let [k, v] = [k, v].map(|wire| match biases {
            true => {
                let bias = b.constant(&[1, d]);
                b.bin(add(), wire, bias)
            }
            false => wire,
        });
        let scores = b.einsum("md,nd->mn", q, k);
        let scale = b.scalar(0.25, 2);
        let scores = b.bin(mul(), scores, scale);
        let softmax = Softmax { axes: tvec!(1), quant_output_dt: None, kind: SoftmaxKind::Softmax };
        let probabilities = b.wire(softmax, &[scores]);
        let mixed = b.einsum("mn,ne->me", probabilities, v);
        let weights = b.constant(&[d, c]);
        let mut o = b.einsum("mk,kn->mn", mixed, weights);
        if biases {
            let bias = b.constant(&[1, c]);
            o = b.bin(add(), o, bias);
        }
        if residual {
            o = b.bin(add(), o, x);
        }
        b.finish(&[o])
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn attention_computes_the_same(
            sizes in prop::array::uniform5(1_usize..24), added in prop::array::uniform3(any::<bool>()),
        ) {
            same(&cross_attention(sizes, added), passes);
        }

        #[test]
        fn two_of_four_products_are_left_where_all_are_as_wide(
            m in 8_usize..40, n in 8_usize..40, c in 16_usize..24, added in prop::array::uniform3(any::<bool>()),
        ) {
            let model = same(&cross_attention([m, n, c, c, c], added), passes);
            prop_assert_eq!(count::<Linear>(&model), 2);
        }

        #[test]
        fn narrow_projections_stay(m in 200_usize..300, n in 30_usize..40, c in 16_usize..24, added in prop::array::uniform3(any::<bool>())) {
            let model = same(&cross_attention([m, n, c, c, 2], added), passes);
            prop_assert_eq!(count::<Linear>(&model), 4);
        }
    }
}
