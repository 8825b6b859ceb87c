//! A quantisation to bytes and the way back as one operator.
//!
//! The import writes a quantisation as `min(max(round(x / scale) + zero, low), high)` and the way back as `(q - zero) * scale`.
//! tract has turned the division into a product by then, and may have merged either with another product of constants: both
//! are as well a rounding to the steps of the way back, of an input that is scaled before.

use dyn_perceiver_kernels::Activation;
use dyn_perceiver_kernels::pooling::Pooling;
use tract_core::internal::*;
use tract_core::ops::array::Slice;
use tract_core::ops::binary::BinMiniOp;
use tract_core::ops::downsample::Downsample;
use tract_core::ops::element_wise::ElementWiseOp;
use tract_core::ops::math::{Add, Max, Min, Mul, RoundHalfToEven, Sub, mul};

use super::epilogue::activation_of;
use super::pattern::{along_axis, const_operand, is_bin, only_reader};
use crate::ops::epilogue::Tail;
use crate::ops::fake_quantise::FakeQuantise;
use crate::ops::fused::concrete;
use crate::ops::permute::Permute;
use crate::ops::pool::Pool;

/// How far the factors of a quantisation and of the way back may be from cancelling out: three roundings of f32.
const CANCELS: f32 = 4e-7;

/// The single constant of a binary operator, and its other operand.
fn single(model: &TypedModel, node: &TypedNode) -> TractResult<Option<(f32, OutletId)>> {
    rule_if!(node.inputs.len() == 2);
    rule_if_some!((constant, other) = const_operand(model, node)?);
    rule_if!(constant.len() == 1 && constant.datum_type() == f32::datum_type());
    Ok(Some((constant.cast_to_scalar::<f32>()?, other)))
}

/// What `node` adds to its only operand that is no constant.
fn shift(model: &TypedModel, node: &TypedNode) -> TractResult<Option<f32>> {
    rule_if_some!((value, other) = single(model, node)?);
    let subtracted = is_bin::<Sub>(node) && node.inputs[0] == other;
    Ok(if subtracted { Some(-value) } else { is_bin::<Add>(node).then_some(value) })
}

/// A quantisation and the way back.
struct Rounding {
    input: OutletId,
    /// The last node of the quantisation.
    last: usize,
    op: FakeQuantise,
    /// What the input has to be multiplied by before: 1 unless another scale was merged with one of these.
    factor: f32,
    /// The nodes of the way back, of which nothing is left.
    needless: Vec<usize>,
    /// What reads whole numbers still.
    others: Vec<InletId>,
}

/// The limit that `node` sets, if it is the operator that sets such ones.
fn limit<B: BinMiniOp>(model: &TypedModel, node: &TypedNode) -> TractResult<Option<f32>> {
    rule_if!(is_bin::<B>(node));
    Ok(single(model, node)?.map(|(limit, _)| limit))
}

/// What reads some nodes' outputs, but for what hands their values on: tract moves samplings and axes before element-wise operators, and
/// doubles these for it. None where such a value is an output of the model.
fn readers(model: &TypedModel, nodes: &[usize]) -> Option<Vec<InletId>> {
    let (mut found, mut open) = (vec![], nodes.to_vec());
    while let Some(id) = open.pop() {
        if model.outputs.contains(&id.into()) {
            return None;
        }
        for reader in &model.node(id).outputs[0].successors {
            if hands_on(model.node(reader.node)) { open.push(reader.node) } else { found.push(*reader) }
        }
    }
    Some(found)
}

/// What `node` multiplies its only operand that is no constant by.
fn factor(model: &TypedModel, node: &TypedNode) -> TractResult<Option<f32>> {
    rule_if!(is_bin::<Mul>(node));
    Ok(single(model, node)?.map(|(value, _)| value))
}

/// The step that readers of whole numbers multiply by: those that do agree on it, or begin the next quantisation, whose division has
/// cancelled it out.
fn step(model: &TypedModel, readers: &[InletId], inverse: f32) -> TractResult<Option<f32>> {
    let mut step = None;
    for reader in readers.iter().map(|reader| model.node(reader.node)) {
        if let Some(value) = factor(model, reader)? {
            rule_if!(*step.get_or_insert(value) == value);
        }
    }
    let next = || readers.iter().any(|reader| is_round(model.node(reader.node)));
    Ok(step.or_else(|| next().then(|| 1.0 / inverse)))
}

/// What begins with `round`, a rounding to whole numbers.
fn rounding(model: &TypedModel, round: &TypedNode) -> TractResult<Option<Rounding>> {
    let before = model.node(round.inputs[0].node);
    let divided = if is_bin::<Mul>(before) { single(model, before)? } else { None };
    let (inverse, input) = divided.unwrap_or((1.0, round.inputs[0]));
    rule_if_some!(mut node = only_reader(model, round));
    let mut zero = 0.0;
    if let Some(value) = shift(model, node)? {
        zero = value;
        rule_if_some!(next = only_reader(model, node));
        node = next;
    }
    rule_if_some!(lowest = limit::<Max>(model, node)?);
    rule_if_some!(last = only_reader(model, node));
    rule_if_some!(highest = limit::<Min>(model, last)?);
    let mut needless = vec![];
    if zero != 0.0 {
        rule_if_some!(shifts = readers(model, &[last.id]));
        for reader in &shifts {
            rule_if!(shift(model, model.node(reader.node))? == Some(-zero));
        }
        needless = shifts.iter().map(|reader| reader.node).collect();
    }
    let whole = if needless.is_empty() { readers(model, &[last.id]) } else { readers(model, &needless) };
    let scale = match &whole {
        Some(readers) => step(model, readers, inverse)?,
        None => None,
    };
    let (mut scaled, mut others) = (vec![], vec![]);
    for reader in whole.into_iter().flatten().filter(|_| scale.is_some()) {
        let is_scaled = factor(model, model.node(reader.node))?.is_some();
        if is_scaled { scaled.push(reader.node) } else { others.push(reader) }
    }
    needless.extend(scaled);
    let scale = scale.unwrap_or(1.0);
    let (low, high) = (lowest - zero, highest - zero);
    // Bytes: wider types stay as they are.
    let whole = [zero, low, high].iter().all(|value| value.fract() == 0.0 && value.abs() <= 255.0);
    rule_if!(whole && inverse > 0.0);
    let product = inverse * scale;
    let columns = concrete(&round.outputs[0].fact)?.last().copied().unwrap_or(1);
    let (scale, low, high) = (scale.to_bits(), low as i16, high as i16);
    let op = FakeQuantise { scale, low, high, columns, tail: Tail::default() };
    rule_if!(op.is_sound() && product.is_normal());
    let factor = if (product - 1.0).abs() <= CANCELS { 1.0 } else { product };
    Ok(Some(Rounding { input, last: last.id, op, factor, needless, others }))
}

pub(super) fn is_round(node: &TypedNode) -> bool {
    node.op_as::<ElementWiseOp>().is_some_and(|op| op.0.is::<RoundHalfToEven>())
}

/// Puts [`FakeQuantise`] in place of quantisations to bytes and back. Returns whether there were any.
pub(super) fn recognise(model: &mut TypedModel) -> TractResult<bool> {
    let rounds: Vec<usize> = model.nodes().iter().filter(|node| is_round(node)).map(|node| node.id).collect();
    if rounds.is_empty() {
        return Ok(false);
    }
    for id in rounds {
        let round = model.node(id);
        if round.outputs[0].fact.datum_type != f32::datum_type() {
            continue;
        }
        let Some(Rounding { input, last, op, factor, needless, others }) = rounding(model, round)? else { continue };
        let (name, shape) = (model.node(last).name.clone(), model.node(last).outputs[0].fact.shape.clone());
        if model.outlet_fact(input)?.shape != shape {
            continue;
        }
        for InletId { node, slot } in others {
            let (whole, name) =
                (model.node(node).inputs[slot], model.unique_name(format!("{name}.whole")).into_owned());
            let inverse =
                tensor0(1.0 / f32::from_bits(op.scale)).broadcast_into_rank(model.outlet_fact(whole)?.rank())?;
            let inverse = model.add_const(format!("{name}.factor"), inverse)?;
            let whole = model.wire_node(name, mul(), &[whole, inverse])?[0];
            model.add_edge(whole, InletId::new(node, slot))?;
        }
        for id in needless {
            let Some((_, from)) = single(model, model.node(id))? else { continue };
            let mut patch = TypedModelPatch::default();
            let wire = patch.tap_model(model, from)?;
            patch.shunt_outside(model, id.into(), wire)?;
            patch.apply(model)?;
        }
        let mut patch = TypedModelPatch::default();
        let mut x = patch.tap_model(model, input)?;
        if factor != 1.0 {
            let factor = tensor0(factor).broadcast_into_rank(shape.rank())?;
            let factor = patch.add_const(format!("{name}.factor"), factor)?;
            x = patch.wire_node(format!("{name}.scaled"), mul(), &[x, factor])?[0];
        }
        let wire = patch.wire_node(format!("{name}.rounded"), op, &[x])?[0];
        patch.shunt_outside(model, last.into(), wire)?;
        patch.apply(model)?;
    }
    model.compact()?;
    Ok(true)
}

/// The activation that `node` applies before `after`, as one.
fn before(model: &TypedModel, node: &TypedNode, after: Activation) -> TractResult<Option<Activation>> {
    let (maximum, minimum) = (is_bin::<Max>(node), is_bin::<Min>(node));
    if !maximum && !minimum {
        rule_if!(after == Activation::Identity);
        return Ok(activation_of(node));
    }
    rule_if_some!((limit, _) = single(model, node)?);
    rule_if!(!limit.is_nan());
    let (low, high) = match after {
        Activation::Identity => (f32::NEG_INFINITY, f32::INFINITY),
        Activation::Clamp { low, high } => (low, high),
        _ => return Ok(None),
    };
    // min(max(max(x, limit), low), high), or min(max(min(x, limit), low), high).
    let (low, high) = if maximum { (low.max(limit), high) } else { (low, high.min(limit.max(low))) };
    Ok(Some(Activation::Clamp { low, high }))
}

/// Takes what comes element by element before a rounding into it.
fn take_in(
    _: &(),
    model: &TypedModel,
    node: &TypedNode,
    _name: &str,
    op: &FakeQuantise,
) -> TractResult<Option<TypedModelPatch>> {
    let prior = model.node(node.inputs[0].node);
    rule_if!(only_reader(model, prior).is_some());
    let (fact, mut op) = (&node.outputs[0].fact, op.clone());
    rule_if!(prior.outputs[0].fact.shape == fact.shape && prior.outputs[0].fact.datum_type == f32::datum_type());
    let (rank, columns, tail) = (fact.rank(), op.columns, op.tail.clone());
    rule_if!(rank > 0 && concrete(fact)?[rank - 1] == columns);
    let mut patch = TypedModelPatch::default();
    let mut inputs = patch.taps(model, &node.inputs)?;
    let same = |outlet: OutletId| -> TractResult<bool> {
        let input = model.outlet_fact(outlet)?;
        Ok(input.shape == fact.shape && input.datum_type == f32::datum_type())
    };
    if is_bin::<Add>(prior) {
        let values = match const_operand(model, prior)? {
            Some((constant, other)) => along_axis(&constant, rank, rank - 1, columns)?.map(|values| (values, other)),
            None => None,
        };
        if let Some((values, other)) = values {
            rule_if!(!tail.bias && same(other)?);
            inputs[0] = patch.tap_model(model, other)?;
            inputs.insert(1, patch.add_const(format!("{}.bias", prior.name), tensor1(&values))?);
            op.tail.bias = true;
        } else {
            let [x, residual] = [prior.inputs[0], prior.inputs[1]];
            rule_if!(!tail.residual && same(x)? && same(residual)?);
            inputs[0] = patch.tap_model(model, x)?;
            inputs.push(patch.tap_model(model, residual)?);
            op.tail.residual = true;
        }
    } else {
        rule_if!(!tail.bias && !tail.residual);
        rule_if_some!(activation = before(model, prior, tail.activation)?);
        let x = match &prior.inputs[..] {
            [x] => *x,
            _ => single(model, prior)?.context("a limit is a constant")?.1,
        };
        rule_if!(same(x)?);
        inputs[0] = patch.tap_model(model, x)?;
        op.tail.activation = activation;
    }
    let wire = patch.wire_node(&node.name, op, &inputs)?;
    patch.shunt_outside(model, node.id.into(), wire[0])?;
    Ok(Some(patch))
}

/// Rows as long as the last axis, which was another before the axes of images were moved.
fn rows(
    _: &(),
    model: &TypedModel,
    node: &TypedNode,
    _name: &str,
    op: &FakeQuantise,
) -> TractResult<Option<TypedModelPatch>> {
    let columns = concrete(&node.outputs[0].fact)?.last().copied().unwrap_or(1);
    rule_if!(op.only_rounds() && op.columns != columns);
    Ok(Some(TypedModelPatch::replace_single_op(model, node, &node.inputs, FakeQuantise { columns, ..op.clone() })?))
}

/// Takes sums and activations into the roundings behind them.
pub(super) fn fold(model: &mut TypedModel) -> TractResult<()> {
    Rewriter::default().with_rule_for::<FakeQuantise>("rows of a rounding", rows).rewrite(&(), model)?;
    Rewriter::default().with_rule_for::<FakeQuantise>("before a rounding", take_in).rewrite(&(), model)
}

/// Whether a node hands values of its input on as they are: moved, some of them, or the largest of some.
pub(super) fn hands_on(node: &TypedNode) -> bool {
    let largest = node.op_as::<Pool>().is_some_and(|pool| pool.pooling == Pooling::Max);
    let some = node.op_is::<Downsample>() || node.op_is::<Slice>();
    largest || some || node.op_is::<Permute>() || node.op_is::<AxisOp>()
}

/// The rounding whose values a tensor holds, if it holds nothing else.
pub(super) fn values_of(model: &TypedModel, mut outlet: OutletId) -> Option<FakeQuantise> {
    loop {
        let node = model.node(outlet.node);
        if let Some(op) = node.op_as::<FakeQuantise>() {
            return Some(op.clone());
        }
        if !hands_on(node) {
            return None;
        }
        outlet = node.inputs[0];
    }
}
