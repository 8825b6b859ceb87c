//! Axis orders settled: tensors stay in memory as their producers wrote them, and axis moves become bookkeeping.
//!
//! The pass rebuilds the model. For each tensor it keeps the order its axes have in memory; moving axes changes that
//! order and nothing else. Operators that work along any order take their inputs as they lie; one that needs a given
//! order gets it, by an actual movement only where the elements really have to move.

use tract_core::internal::*;
use tract_core::ops::array::{Slice, TypedConcat};
use tract_core::ops::binary::TypedBinOp;
use tract_core::ops::cast::Cast;
use tract_core::ops::downsample::Downsample;
use tract_core::ops::element_wise::ElementWiseOp;
use tract_core::ops::konst::Const;
use tract_core::ops::logic::Iff;
use tract_core::ops::nn::{Reduce, RmsNorm, Softmax};

use crate::ops::convolution::{Convolution, Depthwise};
use crate::ops::fake_quantise::FakeQuantise;
use crate::ops::fused::concrete;
use crate::ops::linear::Linear;
use crate::ops::permute::{Permute, inverse, permuted_const};
use crate::ops::repeat::Repeat;
use dyn_perceiver_kernels::transpose::is_reshape;

/// A tensor of the old model in the new one: axis `order[s]` of the old is axis `s` of `outlet`.
#[derive(Clone, Debug)]
struct View {
    outlet: OutletId,
    order: TVec<usize>,
}

struct Settler<'a> {
    source: &'a TypedModel,
    target: TypedModel,
    views: HashMap<OutletId, View>,
    /// Movements wired so far, of tensors of the new model.
    moved: HashMap<(OutletId, TVec<usize>), OutletId>,
}

fn natural(rank: usize) -> TVec<usize> {
    (0..rank).collect()
}

fn position(order: &[usize], axis: usize) -> TractResult<usize> {
    order.iter().position(|a| *a == axis).with_context(|| format!("no axis {axis} in {order:?}"))
}

impl Settler<'_> {
    fn view(&self, outlet: OutletId) -> TractResult<&View> {
        let made = self.views.get(&outlet);
        made.with_context(|| format!("{} is read before it is made", self.source.node(outlet.node)))
    }

    fn wire(&mut self, name: &str, op: impl Into<Box<dyn TypedOp>>, inputs: &[OutletId]) -> TractResult<OutletId> {
        let name = self.target.unique_name(name).into_owned();
        Ok(self.target.wire_node(name, op, inputs)?[0])
    }

    /// The tensor with its axes in `order`.
    fn get(&mut self, outlet: OutletId, order: &[usize]) -> TractResult<OutletId> {
        let view = self.view(outlet)?.clone();
        if view.order.as_slice() == order {
            return Ok(view.outlet);
        }
        let movement: TVec<usize> = order.iter().map(|a| position(&view.order, *a)).collect::<TractResult<_>>()?;
        let key = (view.outlet, movement.clone());
        if let Some(moved) = self.moved.get(&key) {
            return Ok(*moved);
        }
        let fact = self.target.outlet_fact(view.outlet)?.clone();
        let name = format!("{}.moved", self.source.node(outlet.node).name);
        let moved = if let Some(konst) = &fact.konst {
            let name = self.target.unique_name(name).into_owned();
            self.target.add_const(name, permuted_const(konst, &movement)?)?
        } else {
            let shape = concrete(&fact)?;
            // Where only axes of size 1 move and the shape stays, so does the tensor.
            if is_reshape(shape, &movement) && movement.iter().zip(shape).all(|(a, d)| shape[*a] == *d) {
                view.outlet
            } else if fact.datum_type == f32::datum_type() {
                self.wire(&name, Permute { order: movement }, &[view.outlet])?
            } else {
                self.move_by_tract(&name, &movement, view.outlet)?
            }
        };
        self.moved.insert(key, moved);
        Ok(moved)
    }

    /// Moves the axes of a tensor that is not of floats, such as a condition or indices: [`Permute`] takes floats alone.
    fn move_by_tract(&mut self, name: &str, movement: &[usize], mut outlet: OutletId) -> TractResult<OutletId> {
        let mut order = natural(movement.len());
        for (to, axis) in movement.iter().enumerate() {
            let from = position(&order, *axis)?;
            if from != to {
                outlet = self.wire(name, AxisOp::Move(from, to), &[outlet])?;
                let axis = order.remove(from);
                order.insert(to, axis);
            }
        }
        Ok(outlet)
    }

    /// Wires an operator that treats all axes alike, or whose axes `op` has adapted, with all inputs in `order`.
    fn along(&mut self, node: &TypedNode, op: Box<dyn TypedOp>, order: TVec<usize>) -> TractResult<()> {
        let inputs = node.inputs.iter().map(|i| self.get(*i, &order)).collect::<TractResult<TVec<_>>>()?;
        let outlet = self.wire(&node.name, op, &inputs)?;
        self.views.insert(node.id.into(), View { outlet, order });
        Ok(())
    }

    /// Wires an operator with all its inputs and outputs in their natural order.
    fn plain(&mut self, node: &TypedNode) -> TractResult<()> {
        let mut inputs = tvec!();
        for input in &node.inputs {
            let rank = self.source.outlet_fact(*input)?.rank();
            inputs.push(self.get(*input, &natural(rank))?);
        }
        let name = self.target.unique_name(&node.name).into_owned();
        let outlets = self.target.wire_node(name, node.op.clone(), &inputs)?;
        for (slot, outlet) in outlets.into_iter().enumerate() {
            let order = natural(self.target.outlet_fact(outlet)?.rank());
            self.views.insert(OutletId::new(node.id, slot), View { outlet, order });
        }
        Ok(())
    }

    /// The order for the inputs of an operator that takes several, element by element: that of an input as large as the output, best of one that a
    /// product makes, which can then take the operator in.
    fn leading_order(&self, node: &TypedNode) -> TractResult<Option<TVec<usize>>> {
        let output = &node.outputs[0].fact;
        let mut leading = None;
        for input in &node.inputs {
            let fact = self.source.outlet_fact(*input)?;
            if fact.rank() != output.rank() {
                return Ok(None);
            }
            if fact.konst.is_some() || fact.shape != output.shape {
                continue;
            }
            let view = self.view(*input)?;
            let maker = self.target.node(view.outlet.node);
            let product = maker.op_is::<Linear>() || maker.op_is::<Convolution>() || maker.op_is::<Depthwise>();
            if leading.is_none() || product {
                leading = Some(view.order.clone());
            }
        }
        Ok(leading)
    }

    /// The order of the largest input, the first of equals: the others cost less to move.
    fn largest_order(&self, node: &TypedNode) -> TractResult<TVec<usize>> {
        let mut largest = (0, &node.inputs[0]);
        for input in &node.inputs {
            let elements = self.source.outlet_fact(*input)?.shape.volume().to_usize().unwrap_or(0);
            if elements > largest.0 {
                largest = (elements, input);
            }
        }
        Ok(self.view(*largest.1)?.order.clone())
    }

    fn axis_op(&mut self, node: &TypedNode, op: &AxisOp) -> TractResult<()> {
        let View { outlet, order } = self.view(node.inputs[0])?.clone();
        let rank = order.len();
        match op {
            AxisOp::Move(from, to) => {
                let mut moved = natural(rank);
                let axis = moved.remove(*from);
                moved.insert(*to, axis);
                let inverse = inverse(&moved);
                let order = order.iter().map(|a| inverse[*a]).collect();
                self.views.insert(node.id.into(), View { outlet, order });
            }
            AxisOp::Rm(axis) => {
                let outlet = self.wire(&node.name, AxisOp::Rm(position(&order, *axis)?), &[outlet])?;
                let order = order.iter().filter(|a| *a != axis).map(|a| a - usize::from(a > axis)).collect();
                self.views.insert(node.id.into(), View { outlet, order });
            }
            AxisOp::Add(axis) => {
                let outlet = self.wire(&node.name, AxisOp::Add(0), &[outlet])?;
                let order = std::iter::once(*axis).chain(order.iter().map(|a| a + usize::from(a >= axis))).collect();
                self.views.insert(node.id.into(), View { outlet, order });
            }
            AxisOp::Reshape(at, from, to) => {
                let start = if from.is_empty() { 0 } else { position(&order, *at)? };
                let together = order.iter().skip(start).take(from.len()).enumerate().all(|(i, a)| *a == at + i);
                if from.is_empty() || start + from.len() > rank || !together {
                    return self.plain(node);
                }
                let op = AxisOp::Reshape(start, from.clone(), to.clone());
                let outlet = self.wire(&node.name, op, &[outlet])?;
                let shifted = |a: usize| if a >= at + from.len() { a + to.len() - from.len() } else { a };
                let before = order[..start].iter().map(|a| shifted(*a));
                let after = order[start + from.len()..].iter().map(|a| shifted(*a));
                let order = before.chain(*at..at + to.len()).chain(after).collect();
                self.views.insert(node.id.into(), View { outlet, order });
            }
        }
        Ok(())
    }

    fn node(&mut self, node: &TypedNode) -> TractResult<()> {
        if node.outputs.len() != 1 || node.inputs.is_empty() {
            if let Some(op) = node.op_as::<Const>() {
                let name = self.target.unique_name(&node.name).into_owned();
                let outlet = self.target.wire_node(name, op.clone(), &[])?[0];
                let order = natural(self.target.outlet_fact(outlet)?.rank());
                self.views.insert(node.id.into(), View { outlet, order });
                return Ok(());
            }
            return self.plain(node);
        }
        let order = self.view(node.inputs[0])?.order.clone();
        if let Some(Permute { order: movement }) = node.op_as() {
            let outlet = self.view(node.inputs[0])?.outlet;
            let inverse = inverse(movement);
            let order = order.iter().map(|a| inverse[*a]).collect();
            self.views.insert(node.id.into(), View { outlet, order });
            Ok(())
        } else if let Some(op) = node.op_as::<AxisOp>() {
            self.axis_op(node, op)
        } else if (node.op_is::<ElementWiseOp>() || node.op_is::<Cast>() || node.op_is::<FakeQuantise>())
            && node.inputs.len() == 1
        {
            self.along(node, node.op.clone(), order)
        } else if node.op_is::<TypedBinOp>() || node.op_is::<Iff>() {
            match self.leading_order(node)? {
                Some(order) => self.along(node, node.op.clone(), order),
                None => self.plain(node),
            }
        } else if let Some(op) = node.op_as::<Reduce>() {
            let mut axes = op.axes.iter().map(|a| position(&order, *a)).collect::<TractResult<TVec<_>>>()?;
            axes.sort_unstable();
            self.along(node, Box::new(Reduce { axes, reducer: op.reducer }), order)
        } else if let Some(op) = node.op_as::<Softmax>() {
            let mut axes = op.axes.iter().map(|a| position(&order, *a)).collect::<TractResult<TVec<_>>>()?;
            axes.sort_unstable();
            self.along(node, Box::new(Softmax { axes, ..op.clone() }), order)
        } else if let Some(op) = node.op_as::<RmsNorm>() {
            let axis = position(&order, op.axis)?;
            self.along(node, Box::new(RmsNorm { axis, eps: op.eps.clone() }), order)
        } else if let Some(op) = node.op_as::<TypedConcat>() {
            let order = self.largest_order(node)?;
            let axis = position(&order, op.axis)?;
            self.along(node, Box::new(TypedConcat { axis }), order)
        } else if let Some(op) = node.op_as::<Repeat>() {
            let axis = position(&order, op.axis)?;
            self.along(node, Box::new(Repeat { axis, times: op.times }), order)
        } else if let Some(op) = node.op_as::<Downsample>() {
            let axis = position(&order, op.axis)?;
            self.along(node, Box::new(Downsample { axis, ..op.clone() }), order)
        } else if let Some(op) = node.op_as::<Slice>() {
            let axis = position(&order, op.axis)?;
            self.along(node, Box::new(Slice { axis, ..op.clone() }), order)
        } else {
            self.plain(node)
        }
    }
}

/// Rebuilds the model so that axes move in memory only where they must.
pub(super) fn settle(source: &TypedModel) -> TractResult<TypedModel> {
    let target = TypedModel { symbols: source.symbols.clone(), ..TypedModel::default() };
    let mut settler = Settler { source, target, views: HashMap::new(), moved: HashMap::new() };
    for input in source.input_outlets()? {
        let fact = source.outlet_fact(*input)?.clone();
        let order = natural(fact.rank());
        let outlet = settler.target.add_source(&*source.node(input.node).name, fact)?;
        settler.views.insert(*input, View { outlet, order });
    }
    for id in source.eval_order()? {
        let node = source.node(id);
        if !settler.views.contains_key(&id.into()) {
            settler.node(node).with_context(|| format!("settling the axes of {node}"))?;
        }
    }
    let mut outputs = tvec!();
    for output in source.output_outlets()? {
        let outlet = settler.get(*output, &natural(source.outlet_fact(*output)?.rank()))?;
        if let Some(label) = source.outlet_label(*output) {
            settler.target.set_outlet_label(outlet, label.to_string())?;
        }
        outputs.push(outlet);
    }
    let mut target = settler.target;
    target.select_output_outlets(&outputs)?;
    target.properties.clone_from(&source.properties);
    target.compact()?;
    Ok(target)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tract_core::ops::math::{add, tanh};
    use tract_core::ops::nn::{Reducer, SoftmaxKind};

    use super::super::testing::{Builder, count, same};
    use super::*;

    /// One random step on a tensor of rank 3. No sampling among them: tract's own declutter moves it over a soft-max.
    fn step(b: &mut Builder, kind: u8, a: usize, c: usize, x: OutletId) -> OutletId {
        let shape = b.shape(x);
        match kind {
            0 => b.wire(AxisOp::Move(a, c), &[x]),
            1 => {
                let mut order = natural(3);
                order.swap(a, c);
                b.wire(Permute { order }, &[x])
            }
            2 => b.wire(tanh(), &[x]),
            3 => {
                let constant = b.constant(&shape);
                b.bin(add(), constant, x)
            }
            4 => {
                let sums = b.wire(Reduce { axes: tvec!(a), reducer: Reducer::Sum }, &[x]);
                b.bin(add(), x, sums)
            }
            5 => b.wire(Softmax { axes: tvec!(a), quant_output_dt: None, kind: SoftmaxKind::Softmax }, &[x]),
            6 => b.wire(TypedConcat { axis: a }, &[x, x]),
            7 => {
                let added = b.wire(AxisOp::Add(a), &[x]);
                let moved = b.wire(AxisOp::Move(a, c), &[added]);
                b.wire(AxisOp::Rm(c), &[moved])
            }
            8 => {
                let at = a.min(1);
                let from = tvec!(shape[at].to_dim(), shape[at + 1].to_dim());
                let to = tvec!((shape[at] * shape[at + 1]).to_dim());
                let flat = b.wire(AxisOp::Reshape(at, from.clone(), to.clone()), &[x]);
                let flat = b.wire(tanh(), &[flat]);
                b.wire(AxisOp::Reshape(at, to, from), &[flat])
            }
            _ => {
                let end = shape[a].div_ceil(2);
                b.wire(Slice::new(a, 0, end), &[x])
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn any_graph_computes_the_same(
            shape in prop::array::uniform3(1_usize..6), steps in prop::collection::vec((0_u8..10, 0_usize..3, 0_usize..3), 1..9),
        ) {
            let mut b = Builder::default();
            let mut x = b.source(&shape);
            let mut outputs = vec![x];
            for (kind, a, c) in steps {
                x = step(&mut b, kind, a, c, x);
                outputs.push(x);
            }
            // The last and a middle one are outputs: views must not leak out in a moved order.
            same(&b.finish(&[outputs[outputs.len() / 2], x]), |model| settle(&model));
        }
    }

    #[test]
    fn moves_that_cancel_leave_nothing() {
        let mut b = Builder::default();
        let x = b.source(&[2, 3, 4]);
        let moved = b.wire(Permute { order: tvec!(0, 2, 1) }, &[x]);
        let y = b.wire(tanh(), &[moved]);
        let y = b.wire(AxisOp::Move(1, 2), &[y]);
        let model = same(&b.finish(&[y]), |model| settle(&model));
        assert_eq!(count::<Permute>(&model) + count::<AxisOp>(&model), 0);
    }
}
