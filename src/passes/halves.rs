//! Weights of linear layers as halves.

use dyn_perceiver_kernels::gemm::{KernelFamily, Reduction, pack_f16};
use dyn_perceiver_kernels::memory::words_of_halves;
use tract_core::internal::*;
use tract_core::ops::konst::Const;

use crate::ops::half_linear::HalfLinear;
use crate::ops::linear::Linear;
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
        let mut patch = TypedModelPatch::default();
        let mut inputs = tvec!(patch.tap_model(model, node.inputs[0])?);
        inputs.push(patch.add_const(format!("{}.f16", node.name), tensor1(&words))?);
        for tail in &node.inputs[2..] {
            inputs.push(patch.tap_model(model, *tail)?);
        }
        let wire = patch.wire_node(&node.name, HalfLinear { linear: linear.clone() }, &inputs)?[0];
        patch.shunt_outside(model, id.into(), wire)?;
        patch.apply(model)?;
        stored += 1;
    }
    // The float weights of layers that were replaced.
    model.compact()?;
    Ok(stored)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Builder, count};
    use super::*;

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
}
