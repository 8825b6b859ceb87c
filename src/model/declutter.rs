//! tract's declutter with a sound merging of equal nodes.
//!
//! Of two equal nodes, tract keeps whichever comes first among the readers of a tensor. Where they come in another order
//! among the readers of a second tensor, it takes each of them away for the other, and what reads them reads nothing.

use std::collections::HashSet;

use tract_core::internal::*;
use tract_core::optim::{Optimizer, OptimizerSession, TypedPass};

/// Puts a node in place of a later one that computes the same.
#[derive(Clone, Debug)]
struct MergeEqualNodes;

impl TypedPass for MergeEqualNodes {
    fn reset(&mut self) -> TractResult<()> {
        Ok(())
    }

    fn next(&mut self, _: &mut OptimizerSession, model: &TypedModel) -> TractResult<Option<TypedModelPatch>> {
        let order = model.eval_order()?;
        let is_output = |node: usize| model.outputs.iter().any(|output| output.node == node);
        let mut patch = TypedModelPatch::default();
        let mut merged = HashSet::new();
        for outlet in order.iter().flat_map(|node| outlets(model, *node)) {
            let readers = model.outlet_successors(outlet);
            for (i, a) in readers.iter().map(|reader| reader.node).enumerate() {
                for b in readers[i + 1..].iter().map(|reader| reader.node) {
                    // Neither may be one that is merged already: a pair of it is found in the next round, if it is left.
                    if a == b || merged.contains(&a) || merged.contains(&b) || (is_output(a) && is_output(b)) {
                        continue;
                    }
                    if model.node(a).same_as(model.node(b)) {
                        for (kept, gone) in outlets(model, a).zip(outlets(model, b)) {
                            let tap = patch.tap_model(model, kept)?;
                            patch.shunt_outside(model, gone, tap)?;
                        }
                        patch.obliterate(b)?;
                        merged.insert(b);
                    }
                }
            }
        }
        Ok((!merged.is_empty()).then_some(patch))
    }
}

fn outlets(model: &TypedModel, node: usize) -> impl Iterator<Item = OutletId> {
    (0..model.node(node).outputs.len()).map(move |slot| OutletId::new(node, slot))
}

/// Brings a graph into tract's decluttered form.
pub(crate) fn declutter(model: &mut TypedModel) -> TractResult<()> {
    let mut optimizer = Optimizer::declutter();
    let tracts = optimizer.passes.iter().position(|pass| format!("{pass:?}") == "PushSplitDown");
    let tracts = tracts.context("no pass of tract's merges equal nodes")?;
    optimizer.passes[tracts] = Box::new(MergeEqualNodes);
    optimizer.optimize(model)
}

#[cfg(test)]
mod tests {
    use tract_core::ops::math::{add, mul};

    use super::*;

    fn image(seed: f32) -> Tensor {
        tensor1(&[seed, 1.0 - seed, 2.0 * seed])
    }

    fn run(model: &TypedModel) -> Vec<Tensor> {
        let inputs = tvec!(image(0.3).into_tvalue(), image(0.7).into_tvalue());
        model.clone().into_runnable().unwrap().run(inputs).unwrap().into_iter().map(|t| t.into_tensor()).collect()
    }

    /// Two sums of two inputs, whose readers are in a different order at each, and a reader of each sum.
    fn sums(outputs: bool) -> TypedModel {
        let mut model = TypedModel::default();
        let [a, b] = ["a", "b"].map(|name| model.add_source(name, f32::fact([3])).unwrap());
        let sums = ["first", "second"].map(|name| model.wire_node(name, add(), &[a, b]).unwrap()[0]);
        let squares = [0, 1].map(|i| model.wire_node(format!("square{i}"), mul(), &[sums[i], sums[1 - i]]).unwrap()[0]);
        model.nodes[b.node].outputs[0].successors.reverse();
        let last = model.wire_node("last", add(), &squares).unwrap()[0];
        model.select_output_outlets(&if outputs { vec![sums[0], sums[1], last] } else { vec![last] }).unwrap();
        model
    }

    #[test]
    fn of_two_equal_nodes_one_stays_whatever_the_order_of_readers() {
        let mut model = sums(false);
        let before = run(&model);
        declutter(&mut model).unwrap();
        assert_eq!(run(&model), before);
        assert_eq!(
            model.nodes.iter().filter(|node| node.name.ends_with("first") || node.name.ends_with("second")).count(),
            1
        );
    }

    #[test]
    fn two_outputs_that_are_equal_stay_two() {
        let mut model = sums(true);
        let before = run(&model);
        declutter(&mut model).unwrap();
        assert_eq!(run(&model), before);
        assert_eq!(model.outputs.len(), 3);
    }
}
