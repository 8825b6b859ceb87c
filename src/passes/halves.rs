//! Weights of linear layers as halves, and what lies between operators.

use dyn_perceiver_kernels::convolution::Shape;
use dyn_perceiver_kernels::gemm::{KernelFamily, Reduction, pack_f16};
use dyn_perceiver_kernels::memory::words_of_halves;
use tract_core::internal::*;
use tract_core::ops::konst::Const;

use crate::ops::channel_gate::Scale;
use crate::ops::convolution::{Convolution, Depthwise};
use crate::ops::fused::{concrete, volume};
use crate::ops::half_convolution::HalfConvolution;
use crate::ops::half_linear::HalfLinear;
use crate::ops::linear::Linear;
use crate::ops::mean::Mean;
use crate::ops::view::is_reshape;
use crate::weights;

/// Entries of a row from which on a product of several rows is worth what halves lose: with fewer, making halves of the rows takes
/// most of the instructions that the product saves.
const LEAST_ENTRIES: usize = 16;

/// The layer's packed weights as halves, if they fit.
fn halves(model: &TypedModel, node: &TypedNode, linear: &Linear) -> TractResult<Option<Vec<i32>>> {
    rule_if_some!(constant = model.node(node.inputs[1].node).op_as::<Const>());
    let (reduction, columns) = (linear.reduction, linear.columns);
    let plain = KernelFamily::F32.unpack(Reduction::whole(reduction), columns, weights::floats(constant.val())?);
    Ok(pack_f16(reduction, columns, |k, n| plain[k * columns + n]).map(|packed| words_of_halves(&packed)))
}

/// Puts [`HalfLinear`] in place of [`Linear`]: of every one that gains, or of those whose input is one row. What halves cannot hold
/// stays float. Returns how many there are.
pub(crate) fn store(model: &mut TypedModel, every: bool) -> TractResult<usize> {
    let ids: Vec<usize> = model.nodes().iter().filter(|node| node.op_is::<Linear>()).map(|node| node.id).collect();
    let mut stored = 0;
    for id in ids {
        let node = model.node(id);
        let Some(linear) = node.op_as::<Linear>() else { continue };
        let rows = linear.shape.iter().product::<usize>() / linear.columns;
        if rows > 1 && (!every || linear.reduction < LEAST_ENTRIES) {
            continue;
        }
        let Some(words) = halves(model, node, linear)? else { continue };
        let half = HalfLinear { linear: linear.clone(), reads_halves: false, adds_halves: false, makes_halves: false };
        replace(model, id, &words, half)?;
        stored += 1;
    }
    // The float weights of layers that were replaced.
    model.compact()?;
    Ok(stored)
}

/// Puts [`HalfConvolution`] in place of every [`Convolution`] of one image that gains. Returns how many there are.
pub(crate) fn store_convolutions(model: &mut TypedModel) -> TractResult<usize> {
    let is_convolution = |node: &&TypedNode| node.op_is::<Convolution>();
    let ids: Vec<usize> = model.nodes().iter().filter(is_convolution).map(|node| node.id).collect();
    let mut stored = 0;
    for id in ids {
        let node = model.node(id);
        let Some(convolution) = node.op_as::<Convolution>() else { continue };
        let Shape { window, channels_in, groups, .. } = convolution.shape;
        let image = volume(&[window.input[0], window.input[1], channels_in]);
        let is_one = concrete(model.outlet_fact(node.inputs[0])?).is_ok_and(|shape| volume(shape) == image);
        if !is_one || volume(&window.kernel) * channels_in / groups < LEAST_ENTRIES {
            continue;
        }
        let Some(weights) = model.node(node.inputs[1].node).op_as::<Const>() else { continue };
        let Some(packed) = convolution.shape.pack_f16(weights::floats(weights.val())?) else { continue };
        let half = HalfConvolution { convolution: convolution.clone(), reads_halves: false, makes_halves: false };
        replace(model, id, &words_of_halves(&packed), half)?;
        stored += 1;
    }
    model.compact()?;
    Ok(stored)
}

/// Puts an operator in place of another that has other weights.
fn replace(model: &mut TypedModel, id: usize, words: &[i32], op: impl Into<Box<dyn TypedOp>>) -> TractResult<()> {
    let node = model.node(id);
    let mut patch = TypedModelPatch::default();
    let mut inputs = tvec!(patch.tap_model(model, node.inputs[0])?);
    inputs.push(patch.add_const(format!("{}.f16", node.name), tensor1(words))?);
    for tail in &node.inputs[2..] {
        inputs.push(patch.tap_model(model, *tail)?);
    }
    let wire = patch.wire_node(&node.name, op, &inputs)?[0];
    patch.shunt_outside(model, id.into(), wire)?;
    patch.apply(model)
}

/// Keeps tensors between operators as halves, for a CPU that multiplies them: those whose producer can make them and whose readers all read
/// halves. Returns how many there are.
pub(crate) fn keep(model: &mut TypedModel) -> TractResult<usize> {
    let edges = Edges::of(model)?;
    let mut kept: Vec<bool> = model.nodes().iter().map(can_make).collect();
    // What an operator makes depends on what it reads, and on who reads it.
    loop {
        let will_do = |id: usize| kept[id] && edges.are_halves(model, id, &kept);
        let now: Vec<bool> = (0..kept.len()).map(will_do).collect();
        if now == kept {
            break;
        }
        kept = now;
    }
    for (node, makes) in model.nodes.iter_mut().zip(&kept) {
        let reads: TVec<bool> = node.inputs.iter().map(|input| kept[edges.roots[input.node]]).collect();
        if let Some(op) = node.op_as_mut::<HalfLinear>() {
            op.adds_halves = op.residual().is_some_and(|residual| reads[residual]);
            (op.reads_halves, op.makes_halves) = (reads[0], *makes);
        } else if let Some(op) = node.op_as_mut::<HalfConvolution>() {
            (op.reads_halves, op.makes_halves) = (reads[0], *makes);
        } else if let Some(op) = node.op_as_mut::<Mean>() {
            op.reads_halves = reads[0];
        } else if let Some(op) = node.op_as_mut::<Depthwise>() {
            op.halves = *makes;
        } else if let Some(op) = node.op_as_mut::<Scale>() {
            op.halves = *makes;
        }
    }
    Ok(kept.iter().filter(|kept| **kept).count())
}

/// Whether an operator can make halves, of halves where it is none of products.
fn can_make(node: &TypedNode) -> bool {
    if let Some(convolution) = node.op_as::<HalfConvolution>() {
        return convolution.can_make_halves();
    }
    match (node.op_as::<HalfLinear>(), node.op_as::<Depthwise>()) {
        (Some(linear), _) => linear.can_make_halves() && has_rows(linear),
        (_, Some(depthwise)) => depthwise.can_be_halves(),
        _ => node.op_is::<Scale>(),
    }
}

/// Whether an operator reads halves, whatever it makes.
fn is_reader(node: &TypedNode) -> bool {
    node.op_is::<Mean>() || node.op_is::<HalfConvolution>()
}

/// Whether it multiplies more than one row: one is multiplied where it lies.
fn has_rows(linear: &HalfLinear) -> bool {
    volume(&linear.linear.shape) > linear.linear.columns
}

/// Which node makes what is read, views between them left out.
struct Edges {
    /// For each node, the one whose result its first output lies in.
    roots: Vec<usize>,
    /// For each node, those that read its result, and by which input.
    readers: Vec<Vec<(usize, usize)>>,
    /// For each node, whether its result is one of the model.
    leaves: Vec<bool>,
}

impl Edges {
    fn of(model: &TypedModel) -> TractResult<Edges> {
        let nodes = model.nodes().len();
        let (mut roots, mut readers, mut leaves) =
            ((0..nodes).collect::<Vec<_>>(), vec![vec![]; nodes], vec![false; nodes]);
        for id in model.eval_order()? {
            let node = model.node(id);
            if is_reshape(model, node)? {
                roots[id] = roots[node.inputs[0].node];
                continue;
            }
            for (i, input) in node.inputs.iter().enumerate() {
                readers[roots[input.node]].push((id, i));
            }
        }
        for output in model.output_outlets()? {
            leaves[roots[output.node]] = true;
        }
        Ok(Edges { roots, readers, leaves })
    }

    /// Whether the result of a node that can make halves is kept so, where those of others are that `kept` tells.
    fn are_halves(&self, model: &TypedModel, id: usize, kept: &[bool]) -> bool {
        let node = model.node(id);
        let reads = |&(reader, input): &(usize, usize)| {
            let reader = model.node(reader);
            match reader.op_as::<HalfLinear>() {
                Some(linear) => has_rows(linear) && (input == 0 || linear.residual() == Some(input)),
                None => input == 0 && (is_reader(reader) || kept[reader.id]),
            }
        };
        let has_halves =
            node.op_is::<HalfLinear>() || node.op_is::<HalfConvolution>() || kept[self.roots[node.inputs[0].node]];
        has_halves && !self.leaves[id] && !self.readers[id].is_empty() && self.readers[id].iter().all(reads)
    }
}

#[cfg(test)]
mod tests {
    use dyn_perceiver_kernels::Activation;
    use dyn_perceiver_kernels::convolution::Window;
    use dyn_perceiver_kernels::gemm::packed_len;

    use super::super::testing::{Builder, count};
    use super::*;
    use crate::ops::epilogue::Tail;
    use crate::ops::permute::Permute;

    fn model() -> TypedModel {
        let mut b = Builder::default();
        let [row, rows] = [[1, 70], [5, 70]].map(|shape| b.source(&shape));
        let weights = b.constant(&[70, 20]);
        let products = [row, rows].map(|x| b.einsum("mk,kn->mn", x, weights));
        let mut model = b.finish(&products);
        super::super::linear::fuse(&mut model).unwrap();
        model
    }

    #[test]
    fn layers_of_one_row_or_all_have_halves() {
        for (every, expected) in [(false, 1), (true, 2)] {
            let mut halved = model();
            assert_eq!(store(&mut halved, every).unwrap(), expected);
            assert_eq!((count::<HalfLinear>(&halved), count::<Linear>(&halved)), (expected, 2 - expected));
            let inputs: TVec<TValue> = [(1, 70), (5, 70)]
                .map(|(m, k)| Tensor::from_shape(&[m, k], &dyn_perceiver_kernels::testing::values(3, m * k)).unwrap())
                .map(Tensor::into_tvalue)
                .into_iter()
                .collect();
            let run = |model: &TypedModel| model.clone().into_runnable().unwrap().run(inputs.clone()).unwrap();
            for (found, expected) in run(&halved).iter().zip(run(&model())) {
                found.close_enough(&expected, Approximation::VeryApproximate).unwrap();
            }
        }
    }

    fn linear(
        b: &mut Builder,
        x: OutletId,
        columns: usize,
        activation: Activation,
        residual: Option<OutletId>,
    ) -> OutletId {
        let mut shape = b.shape(x);
        let reduction = std::mem::replace(shape.last_mut().unwrap(), columns);
        let weights = b.constant(&[packed_len(reduction, columns)]);
        let tail = Tail { residual: residual.is_some(), activation, ..Tail::default() };
        let inputs: Vec<OutletId> = [x, weights].into_iter().chain(residual).collect();
        b.wire(Linear { reduction, columns, shape, tail }, &inputs)
    }

    fn depthwise(b: &mut Builder, x: OutletId, channels: usize) -> OutletId {
        let window = Window { input: [4, 7], output: [4, 7], kernel: [3, 3], stride: [1, 1], padding: [1, 1] };
        let weights = b.constant(&[9 * channels]);
        b.wire(Depthwise { window, channels, tail: Tail::default(), halves: false }, &[x, weights])
    }

    /// Which products read, add and make halves after both passes, how many tensors are kept as halves; what is computed stays the same.
    fn products(model: &TypedModel) -> (Vec<[bool; 3]>, usize, TypedModel) {
        let mut halved = model.clone();
        store(&mut halved, true).unwrap();
        let kept = keep(&mut halved).unwrap();
        let input = || {
            let shape: TVec<usize> = model.input_fact(0).unwrap().shape.as_concrete().unwrap().into();
            let values = dyn_perceiver_kernels::testing::values(3, volume(&shape));
            tvec!(Tensor::from_shape(&shape, &values).unwrap().into_tvalue())
        };
        let run = |model: &TypedModel| model.clone().into_runnable().unwrap().run(input()).unwrap();
        for (found, expected) in run(&halved).iter().zip(run(model)) {
            found.close_enough(&expected, Approximation::SuperApproximate).unwrap();
        }
        let order = halved.eval_order().unwrap();
        let ends = order.iter().filter_map(|id| halved.node(*id).op_as::<HalfLinear>());
        (ends.map(|op| [op.reads_halves, op.adds_halves, op.makes_halves]).collect(), kept, halved)
    }

    #[test]
    fn what_lies_between_operators_that_read_halves_is_kept() {
        let mut b = Builder::default();
        let x = b.source(&[1, 4, 7, 16]);
        let expanded = linear(&mut b, x, 24, Activation::HardSwish, None);
        let filtered = depthwise(&mut b, expanded, 24);
        let mean = b.wire(Mean { from: 1, to: 3, scale: (1.0_f32 / 28.0).to_bits(), reads_halves: false }, &[filtered]);
        let scaled = b.wire(Scale { batch: 1, halves: false }, &[filtered, mean]);
        let narrow = linear(&mut b, scaled, 16, Activation::Identity, None);
        let added = linear(&mut b, narrow, 16, Activation::Identity, Some(narrow));
        let (products, kept, model) = products(&b.finish(&[added]));
        assert_eq!(products, [[false, false, true], [true, false, true], [true, true, false]]);
        assert_eq!(kept, 4);
        let has = |is: &dyn Fn(&TypedNode) -> bool| model.nodes().iter().any(is);
        assert!(has(&|node| node.op_as::<Depthwise>().is_some_and(|op| op.halves)));
        assert!(has(&|node| node.op_as::<Scale>().is_some_and(|op| op.halves)));
        assert!(has(&|node| node.op_as::<Mean>().is_some_and(|op| op.reads_halves)));
    }

    #[test]
    fn convolutions_of_one_image_have_halves() {
        let window = Window { input: [4, 7], output: [4, 7], kernel: [3, 3], stride: [1, 1], padding: [1, 1] };
        for (batch, groups, expected) in [(1, 1, 1), (1, 4, 0), (2, 1, 0)] {
            let shape = Shape { window, channels_in: 4, channels_out: 16, groups };
            let mut b = Builder::default();
            let x = b.source(&[batch, 4, 7, 4]);
            let weights = b.constant(&[shape.packed_len()]);
            let y = b.wire(Convolution { shape, tail: Tail::default() }, &[x, weights]);
            let filtered = depthwise(&mut b, y, 16);
            let last = linear(&mut b, filtered, 16, Activation::Identity, None);
            let mut model = b.finish(&[last]);
            assert_eq!(store_convolutions(&mut model).unwrap(), expected);
            assert_eq!(count::<HalfConvolution>(&model), expected);
            store(&mut model, true).unwrap();
            // The tensors on both sides of the depthwise convolution.
            assert_eq!(keep(&mut model).unwrap(), 2 * expected);
        }
    }

    #[test]
    fn what_something_reads_as_floats_is_not_kept() {
        // A result of the model, a costly activation, a row alone, and a reader of floats behind the convolution.
        let none = |build: fn(&mut Builder) -> Vec<OutletId>| {
            let mut b = Builder::default();
            let outputs = build(&mut b);
            let (products, kept, _) = products(&b.finish(&outputs));
            assert!(kept == 0 && products.iter().all(|ends| *ends == [false; 3]), "{products:?}");
        };
        none(|b| {
            let x = b.source(&[5, 16]);
            let first = linear(b, x, 16, Activation::Identity, None);
            vec![first, linear(b, first, 16, Activation::Identity, None)]
        });
        none(|b| {
            let x = b.source(&[5, 16]);
            let first = linear(b, x, 16, Activation::Gelu, None);
            vec![linear(b, first, 16, Activation::Identity, None)]
        });
        none(|b| {
            let x = b.source(&[1, 16]);
            let first = linear(b, x, 16, Activation::Identity, None);
            vec![linear(b, first, 16, Activation::Identity, None)]
        });
        none(|b| {
            let x = b.source(&[1, 4, 7, 16]);
            let first = linear(b, x, 16, Activation::Identity, None);
            let filtered = depthwise(b, first, 16);
            let moved = b.wire(Permute { order: tvec!(0, 2, 1, 3) }, &[filtered]);
            vec![linear(b, moved, 16, Activation::Identity, None)]
        });
    }
}
