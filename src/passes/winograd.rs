//! 3x3 convolutions with stride 1 by Winograd's minimal filtering, where that is less work.

use tract_core::internal::*;
use tract_core::ops::konst::Const;

use crate::ops::convolution::Convolution;
use crate::ops::winograd::Winograd;
use crate::weights;
use dyn_perceiver_kernels::convolution::winograd::transform;

fn rule(
    _: &(),
    model: &TypedModel,
    node: &TypedNode,
    name: &str,
    op: &Convolution,
) -> TractResult<Option<TypedModelPatch>> {
    rule_if_some!(winograd = Winograd::of(op));
    rule_if_some!(constant = model.node(node.inputs[1].node).op_as::<Const>());
    let transformed = transform(&op.shape, weights::floats(constant.val())?);
    let mut patch = TypedModelPatch::default();
    let mut inputs = patch.taps(model, &node.inputs)?;
    inputs[1] = patch.add_const(format!("{name}.winograd"), tensor1(&transformed))?;
    let wire = patch.wire_node(name, winograd, &inputs)?;
    patch.shunt_outside(model, node.id.into(), wire[0])?;
    Ok(Some(patch))
}

/// Replaces [`Convolution`]s by [`Winograd`]. Their weights are final by then.
pub(super) fn fuse(model: &mut TypedModel) -> TractResult<()> {
    Rewriter::default().with_rule_for::<Convolution>("winograd", rule).rewrite(&(), model)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{count, in_place, same};
    use super::*;
    use crate::ops::epilogue::Tail;
    use dyn_perceiver_kernels::convolution::{Shape, Window};
    use dyn_perceiver_kernels::testing::values;

    fn model(size: usize, stride: usize, groups: usize) -> TypedModel {
        let output = [size.div_ceil(stride); 2];
        let window = Window { input: [size; 2], output, kernel: [3, 3], stride: [stride; 2], padding: [1, 1] };
        let shape = Shape { window, channels_in: 32, channels_out: 48, groups };
        let packed = shape.pack(&values(2, 48 * 32 / groups * 9));
        let tail = Tail { bias: true, ..Tail::default() };
        let mut model = TypedModel::default();
        let x = model.add_source("x", f32::fact([1, size, size, 32])).unwrap();
        let weights = model.add_const("weights", tensor1(&packed)).unwrap();
        let bias = model.add_const("bias", tensor1(&values(3, 48))).unwrap();
        let wire = model.wire_node("convolution", Convolution { shape, tail }, &[x, weights, bias]).unwrap();
        model.select_output_outlets(&wire).unwrap();
        model
    }

    #[test]
    fn convolutions_are_replaced_where_that_is_less_work() {
        for (size, stride, groups, replaced) in [(14, 1, 1, 1), (13, 1, 2, 1), (14, 2, 1, 0), (5, 1, 1, 0)] {
            let passed = same(&model(size, stride, groups), in_place(fuse));
            assert_eq!((count::<Winograd>(&passed), count::<Convolution>(&passed)), (replaced, 1 - replaced));
        }
    }
}
