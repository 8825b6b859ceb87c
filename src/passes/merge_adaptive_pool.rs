//! Adaptive pooling as one operator, with a depthwise convolution that only it reads.
//!
//! Adaptive average pooling to a size that does not divide the image's comes as two products with constant matrices, one over
//! the columns and one over the rows. Each row of such a matrix has a window of entries that are not zero. With the
//! convolution before them that is a sum under a filter of its own for each position, of which there are as many as
//! different windows: the convolution is never computed where windows only sum it up. Alone, the pooling reads an image as the
//! layers around it have it, and each pixel about once.

use std::collections::HashMap;

use tract_core::internal::*;
use tract_core::ops::einsum::EinSum;

use super::pattern::only_reader;
use crate::ops::convolution::Depthwise;
use crate::ops::epilogue::Tail;
use crate::ops::permute::{Permute, inverse, permuted_const};
use crate::ops::pooled_depthwise::PooledDepthwise;
use dyn_perceiver_kernels::convolution::Window;
use dyn_perceiver_kernels::pooled_depthwise::{Windows, filters_len};

/// A product with a constant matrix over one axis of a tensor, whose other axes stay.
struct AxisProduct {
    /// The axis that is summed over.
    axis: usize,
    /// Axes of the input, the summed one standing for its result, in the order of the output.
    order: TVec<usize>,
    /// (axis of the result, summed axis).
    matrix: Vec<Vec<f32>>,
}

fn axis_product(model: &TypedModel, node: &TypedNode, from: usize) -> TractResult<Option<AxisProduct>> {
    rule_if_some!(op = node.op_as::<EinSum>());
    rule_if!(op.q_params.is_none() && node.inputs.len() == 2);
    rule_if_some!(x = node.inputs.iter().position(|input| input.node == from));
    rule_if_some!(matrix = &model.outlet_fact(node.inputs[1 - x])?.konst);
    rule_if!(matrix.datum_type() == f32::datum_type());
    let (mut summed, mut result, mut kept) = (None, None, tvec!());
    for axis in op.axes.iter_all_axes() {
        let (i, w, o) = (&axis.inputs[x], &axis.inputs[1 - x], &axis.outputs[0]);
        match (i.as_slice(), w.as_slice(), o.as_slice()) {
            (&[i], [], &[o]) => kept.push((o, i)),
            (&[i], &[w], &[o]) if matrix.shape()[w] == 1 => kept.push((o, i)),
            (&[i], &[w], []) if summed.is_none() => summed = Some((i, w)),
            ([], &[w], &[o]) if result.is_none() => result = Some((o, w)),
            ([], &[w], []) if matrix.shape()[w] == 1 => {}
            _ => return Ok(None),
        }
    }
    let (Some((axis, w_summed)), Some((out, w_result))) = (summed, result) else { return Ok(None) };
    let rest = (0..matrix.rank()).filter(|a| *a != w_summed && *a != w_result);
    let order: TVec<usize> = [w_result, w_summed].into_iter().chain(rest).collect();
    let len = matrix.shape()[w_summed];
    let values = permuted_const(matrix, &order)?;
    let matrix = values.try_as_plain_ram()?.as_slice::<f32>()?.chunks_exact(len.max(1)).map(<[f32]>::to_vec).collect();
    kept.push((out, axis));
    kept.sort_unstable();
    Ok(Some(AxisProduct { axis, order: kept.into_iter().map(|(_, i)| i).collect(), matrix }))
}

/// Windows of a pooling along one axis, and the factors of each kind.
struct Pooled {
    starts: Vec<usize>,
    kinds: Vec<usize>,
    factors: Vec<Vec<f32>>,
}

impl Pooled {
    /// From a matrix whose every row has something to sum.
    fn of(matrix: &[Vec<f32>]) -> Option<Pooled> {
        let (mut starts, mut kinds, mut factors) = (vec![], vec![], vec![]);
        let mut seen = HashMap::new();
        for row in matrix {
            let start = row.iter().position(|factor| *factor != 0.0)?;
            let end = row.iter().rposition(|factor| *factor != 0.0)? + 1;
            let window = &row[start..end];
            let bits: Vec<u32> = window.iter().map(|factor| factor.to_bits()).collect();
            starts.push(start);
            kinds.push(*seen.entry(bits).or_insert_with(|| {
                factors.push(window.to_vec());
                factors.len() - 1
            }));
        }
        Some(Pooled { starts, kinds, factors })
    }

    /// Behind a convolution along one axis.
    fn windows(&self, op: &Depthwise, axis: usize) -> Windows {
        let (stride, kernel) = (op.window.stride[axis], op.window.kernel[axis]);
        Windows {
            input: op.window.input[axis],
            padding: op.window.padding[axis],
            starts: self.starts.iter().map(|start| start * stride).collect(),
            kinds: self.kinds.clone(),
            lengths: self.factors.iter().map(|factors| (factors.len() - 1) * stride + kernel).collect(),
        }
    }
}

/// Filters and biases of each kind of rows and columns.
fn filters(
    op: &Depthwise,
    weights: &[f32],
    bias: &[f32],
    pooled: &[Pooled; 2],
    windows: &[Windows; 2],
) -> [Vec<f32>; 2] {
    let (channels, [down, across]) = (op.channels, op.window.kernel);
    let size = windows[0].longest() * windows[1].longest() * channels;
    let mut filters = Vec::with_capacity(filters_len(&windows[0], &windows[1], channels));
    let mut biases = vec![];
    for (rows, columns) in pooled[0].factors.iter().flat_map(|r| pooled[1].factors.iter().map(move |c| (r, c))) {
        let mut filter = vec![0.0_f64; size];
        for ((py, row), (px, column)) in
            rows.iter().enumerate().flat_map(|r| columns.iter().enumerate().map(move |c| (r, c)))
        {
            let factor = f64::from(*row) * f64::from(*column);
            for (ky, kx) in (0..down).flat_map(|ky| (0..across).map(move |kx| (ky, kx))) {
                let (y, x) = (py * op.window.stride[0] + ky, px * op.window.stride[1] + kx);
                let to = &mut filter[(y * windows[1].longest() + x) * channels..][..channels];
                let from = &weights[(ky * across + kx) * channels..][..channels];
                to.iter_mut().zip(from).for_each(|(to, w)| *to += factor * f64::from(*w));
            }
        }
        filters.extend(filter.into_iter().map(|w| w as f32));
        let sum = |factors: &[f32]| factors.iter().map(|f| f64::from(*f)).sum::<f64>();
        biases.extend(bias.iter().map(|b| (f64::from(*b) * sum(rows) * sum(columns)) as f32));
    }
    [filters, biases]
}

/// Two products one after the other, each with a constant matrix over an axis of its own.
struct Products<'a> {
    /// The second product.
    last: &'a TypedNode,
    /// Which axis of what they read each axis of the result is, or was before it was summed over.
    axes: TVec<usize>,
    /// The axes summed over in turn, and the matrix of each.
    matrices: TVec<(usize, Vec<Vec<f32>>)>,
}

impl<'a> Products<'a> {
    /// Those of which `first`, which reads what comes out of node `from`, is the first or moves axes for the first.
    fn of(model: &'a TypedModel, from: OutletId, first: &'a TypedNode) -> TractResult<Option<Products<'a>>> {
        let rank = model.outlet_fact(from)?.rank();
        let mut found = Products { last: first, axes: (0..rank).collect(), matrices: tvec![] };
        let mut before = from.node;
        loop {
            let order = match found.last.op_as::<Permute>() {
                Some(permute) => permute.order.clone(),
                None => {
                    rule_if_some!(product = axis_product(model, found.last, before)?);
                    let axis = found.axes[product.axis];
                    rule_if!(found.matrices.iter().all(|(other, _)| *other != axis));
                    found.matrices.push((axis, product.matrix));
                    product.order
                }
            };
            found.axes = order.iter().map(|axis| found.axes[*axis]).collect();
            if found.matrices.len() == 2 {
                return Ok(Some(found));
            }
            before = found.last.id;
            rule_if_some!(next = only_reader(model, found.last));
            found.last = next;
        }
    }

    /// The windows of their matrices along rows and columns, if these are the axes summed over.
    fn pooled(&self, axes: [usize; 2]) -> Option<[Pooled; 2]> {
        let along = |axis: usize| self.matrices.iter().find(|(of, _)| *of == axis).and_then(|(_, m)| Pooled::of(m));
        Some([along(axes[0])?, along(axes[1])?])
    }

    /// Multiply-accumulates for each channel.
    fn macs(&self, shape: &[usize]) -> usize {
        let [(first, one), (second, other)] = &self.matrices[..] else { return 0 };
        one.len() * shape[*second] * (shape[*first] + other.len())
    }

    /// All of them, and depthwise convolution `op` before them, as one operator. Axis `k` of the image as it reads it is axis
    /// `order[k]` of `image`. There is none where that costs more than `most` multiply-accumulates for each channel.
    fn merged(
        &self,
        model: &TypedModel,
        (image, order): (OutletId, TVec<usize>),
        (op, [weights, bias]): (&Depthwise, [&[f32]; 2]),
        pooled: &[Pooled; 2],
        most: usize,
    ) -> TractResult<Option<TypedModelPatch>> {
        let windows: [Windows; 2] = std::array::from_fn(|axis| pooled[axis].windows(op, axis));
        let [rows, columns] = &windows;
        // Filters are read, too, and are many where windows differ much.
        let kinds = rows.lengths.len() * columns.lengths.len();
        rule_if!(rows.taps() * columns.taps() + kinds * rows.longest() * columns.longest() < most);
        let [filters, bias] = filters(op, weights, bias, pooled, &windows);

        let name = &self.last.name;
        let mut patch = TypedModelPatch::default();
        let mut wire = patch.tap_model(model, image)?;
        if !order.is_sorted() {
            wire = patch.wire_node(format!("{name}.image"), Permute { order: order.clone() }, &[wire])?[0];
        }
        let filters = patch.add_const(format!("{name}.filters"), tensor1(&filters))?;
        let bias = patch.add_const(format!("{name}.bias"), tensor1(&bias))?;
        let [rows, columns] = windows;
        let merged = PooledDepthwise { rows, columns, channels: op.channels };
        let wire = patch.wire_node(format!("{name}.merged"), merged, &[wire, filters, bias])?[0];
        let place = inverse(&order);
        let order = self.axes.iter().map(|axis| place[*axis]).collect();
        let wire = patch.wire_node(name, Permute { order }, &[wire])?[0];
        patch.shunt_outside(model, self.last.id.into(), wire)?;
        Ok(Some(patch))
    }
}

fn behind_convolution(
    _: &(),
    model: &TypedModel,
    node: &TypedNode,
    _: &str,
    op: &Depthwise,
) -> TractResult<Option<TypedModelPatch>> {
    rule_if!(op.tail == Tail { bias: true, ..Tail::default() });
    rule_if_some!(first = only_reader(model, node));
    rule_if_some!(products = Products::of(model, node.id.into(), first)?);
    let rank = node.outputs[0].fact.rank();
    rule_if_some!(pooled = products.pooled([rank - 3, rank - 2]));
    let constant = |input: usize| Ok::<_, TractError>(model.outlet_fact(node.inputs[input])?.konst.clone());
    let (Some(weights), Some(bias)) = (constant(1)?, constant(2)?) else { return Ok(None) };
    let [weights, bias] = [&weights, &bias].map(|tensor| tensor.try_as_plain_ram());
    let (weights, bias) = (weights?, bias?);
    let most = op.window.kernel.iter().chain(&op.window.output).product();
    let image = (node.inputs[0], (0..rank).collect());
    products.merged(model, image, (op, [weights.as_slice()?, bias.as_slice()?]), &pooled, most)
}

/// Products that no depthwise convolution stands before: before them stands one of 1x1 that changes nothing.
fn alone(_: &(), model: &TypedModel, node: &TypedNode, _: &str, op: &EinSum) -> TractResult<Option<TypedModelPatch>> {
    rule_if!(op.q_params.is_none() && node.inputs.len() == 2);
    let facts = model.node_input_facts(node.id)?;
    rule_if_some!(input = facts.iter().position(|fact| fact.konst.is_none()));
    rule_if!(facts[1 - input].konst.is_some() && facts[input].datum_type == f32::datum_type());
    rule_if_some!(shape = facts[input].shape.as_concrete());
    let image = node.inputs[input];
    rule_if_some!(products = Products::of(model, image, node)?);
    let mut axes = [products.matrices[0].0, products.matrices[1].0];
    axes.sort_unstable();
    rule_if_some!(pooled = products.pooled(axes));
    // What is left is channels, or images of a batch before them.
    let mut left: TVec<usize> = (0..shape.len()).filter(|axis| !axes.contains(axis)).collect();
    rule_if_some!(channels = left.pop());
    let order: TVec<usize> = left.into_iter().chain(axes).chain([channels]).collect();
    let side = [shape[axes[0]], shape[axes[1]]];
    let window = Window { input: side, output: side, kernel: [1; 2], stride: [1; 2], padding: [0; 2] };
    let op = Depthwise { window, channels: shape[channels], tail: Tail::default(), halves: false };
    let [ones, zeros] = [1.0, 0.0].map(|value| vec![value; op.channels]);
    products.merged(model, (image, order), (&op, [&ones, &zeros]), &pooled, products.macs(shape))
}

/// Merges depthwise convolutions with the adaptive poolings behind them; then the poolings that are left.
pub(super) fn fuse(model: &mut TypedModel) -> TractResult<()> {
    Rewriter::default()
        .with_rule_for::<Depthwise>("depthwise convolution under an adaptive pooling", behind_convolution)
        .rewrite(&(), model)?;
    Rewriter::default().with_rule_for::<EinSum>("adaptive pooling", alone).rewrite(&(), model)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::convolution::tests::{conv, spec};
    use super::super::testing::{Builder, count, same};
    use super::super::{convolution, layout};
    use super::*;

    fn passes(mut model: TypedModel) -> TractResult<TypedModel> {
        convolution::fuse(&mut model)?;
        fuse(&mut model)?;
        layout::settle(&model)
    }

    /// Averages as adaptive pooling takes them: a row for each of `to` windows over `from` entries.
    fn averages(from: usize, to: usize) -> Tensor {
        let window = |i: usize| i * from / to..((i + 1) * from).div_ceil(to);
        let entries = |i: usize| (0..from).map(move |j| (window(i).contains(&j), 1.0 / window(i).len() as f32));
        let matrix: Vec<f32> =
            (0..to).flat_map(|i| entries(i).map(|(is, share)| if is { share } else { 0.0 })).collect();
        Tensor::from_shape(&[to, from], &matrix).unwrap()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn one_operator_for_a_convolution_and_the_products_that_pool_it(
            size in prop::array::uniform2(12_usize..24), to in prop::array::uniform2(2_usize..8),
            stride in prop::array::uniform2(1_usize..3), half in prop::array::uniform2(2_usize..4),
            channels in 2_usize..20, batch in 1_usize..3, rows_first: bool, swapped: bool,
        ) {
            let mut b = Builder::default();
            let x = b.source(&[batch, channels, size[0], size[1]]);
            let kernel = half.map(|h| 2 * h + 1);
            let y = conv(&mut b, x, spec(kernel, stride, half, half, channels, channels), channels);
            let pooled: [OutletId; 2] = std::array::from_fn(|axis| {
                let from = b.shape(y)[2 + axis];
                b.0.add_const(b.name("averages"), averages(from, to[axis])).unwrap()
            });
            let (down, across) = if swapped { ("ih,nchw->nciw", "jw,nchw->nchj") } else { ("nchw,ih->nciw", "nchw,jw->nchj") };
            let mut product = |y: OutletId, form: &str, matrix: OutletId| {
                if swapped { b.einsum(form, matrix, y) } else { b.einsum(form, y, matrix) }
            };
            let y = if rows_first {
                let y = product(y, down, pooled[0]);
                product(y, across, pooled[1])
            } else {
                let y = product(y, across, pooled[1]);
                product(y, down, pooled[0])
            };
            let model = same(&b.finish(&[y]), passes);
            // Where it would be more work, the convolution stays.
            let convolutions = count::<Depthwise>(&model);
            prop_assert!(convolutions + count::<PooledDepthwise>(&model) >= 1);
            if stride == [1, 1] && to.iter().all(|to| *to < 4) {
                prop_assert_eq!(convolutions, 0);
            }
        }
    }

    /// How many convolutions are left, and how many poolings are one operator.
    fn pooled(other_reader: bool, matrix: impl Fn(usize) -> Tensor) -> [usize; 2] {
        let mut b = Builder::default();
        let x = b.source(&[1, 8, 20, 22]);
        let y = conv(&mut b, x, spec([7, 7], [1, 1], [3, 3], [3, 3], 8, 8), 8);
        let [rows, columns] = [20, 22].map(|from| b.0.add_const(b.name("matrix"), matrix(from)).unwrap());
        let z = b.einsum("nchw,jw->nchj", y, columns);
        let z = b.einsum("nchj,ih->ncij", z, rows);
        let outputs = if other_reader { vec![z, y] } else { vec![z] };
        let model = same(&b.finish(&outputs), passes);
        [count::<Depthwise>(&model), count::<PooledDepthwise>(&model)]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn one_operator_for_the_products_that_pool_an_image(
            size in prop::array::uniform2(4_usize..24), to in prop::array::uniform2(1_usize..8),
            channels in 1_usize..20, batch in 1_usize..3, rows_first: bool, channels_last: bool,
        ) {
            let mut b = Builder::default();
            let [n, h, w] = [batch, size[0], size[1]];
            let x = b.source(&if channels_last { [n, h, w, channels] } else { [n, channels, h, w] });
            let pooled: [OutletId; 2] = std::array::from_fn(|axis| {
                b.0.add_const(b.name("averages"), averages(size[axis], to[axis])).unwrap()
            });
            let (down, across) =
                if channels_last { ("nhwc,ih->niwc", "nhwc,jw->nhjc") } else { ("nchw,ih->nciw", "nchw,jw->nchj") };
            let mut forms = [(down, pooled[0]), (across, pooled[1])];
            if !rows_first {
                forms.reverse();
            }
            // The image is read by others, too.
            let y = forms.iter().fold(x, |y, (form, matrix)| b.einsum(form, y, *matrix));
            let model = same(&b.finish(&[y, x]), passes);
            // Of few positions each is seen by many windows: products are as good there.
            if (0..2).all(|axis| to[axis] > 2 && size[axis] >= 2 * to[axis]) {
                prop_assert_eq!(count::<PooledDepthwise>(&model), 1);
            }
        }
    }

    #[test]
    fn only_what_nobody_else_reads_and_what_has_windows_is_merged() {
        assert_eq!(pooled(false, |from| averages(from, 7)), [0, 1]);
        assert_eq!(pooled(true, |from| averages(from, 7)), [1, 1]);
        // A row of nothing but zeros has no window; windows as wide as the image are more work.
        assert_eq!(pooled(false, |from| Tensor::zero::<f32>(&[7, from]).unwrap()), [1, 0]);
        assert_eq!(pooled(false, |from| super::super::testing::tensor(3, &[7, from])), [1, 0]);
    }
}
