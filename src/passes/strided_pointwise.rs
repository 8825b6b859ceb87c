//! Pointwise convolutions with a stride, which tract holds as two samplings of every nth position and a product: as one
//! convolution they read where they need to and copy nothing.

use tract_core::internal::*;
use tract_core::ops::downsample::Downsample;

use super::pattern::only_reader;
use crate::ops::convolution::Convolution;
use crate::ops::fused::concrete;
use crate::ops::linear::Linear;
use dyn_perceiver_kernels::convolution::{Shape, Window};

fn rule(_: &(), model: &TypedModel, node: &TypedNode, name: &str, op: &Linear) -> TractResult<Option<TypedModelPatch>> {
    let rank = model.outlet_fact(node.inputs[0])?.rank();
    rule_if!(rank == 3 || rank == 4);
    // From the product backwards: samplings of height and width, in any order.
    let mut stride = [1, 1];
    let mut outlet = node.inputs[0];
    while let Some(sampling) = model.node(outlet.node).op_as::<Downsample>() {
        let sampler = model.node(outlet.node);
        rule_if!(sampling.modulo == 0 && sampling.stride > 0 && only_reader(model, sampler).is_some());
        let axis = match sampling.axis {
            a if a == rank - 3 => 0,
            a if a == rank - 2 => 1,
            _ => return Ok(None),
        };
        stride[axis] *= sampling.stride as usize;
        outlet = sampler.inputs[0];
    }
    rule_if!(stride != [1, 1]);
    rule_if_some!(input = model.outlet_fact(outlet)?.shape.as_concrete());
    let sampled = concrete(model.outlet_fact(node.inputs[0])?)?;
    rule_if!(input[rank - 1] == op.reduction);
    let window = Window {
        input: [input[rank - 3], input[rank - 2]],
        output: [sampled[rank - 3], sampled[rank - 2]],
        kernel: [1, 1],
        stride,
        padding: [0, 0],
    };
    let mut made: TVec<usize> = sampled.into();
    made[rank - 1] = op.columns;
    // The product may be one of a single image without an axis for images, if that is how its result is read.
    let is_single = rank == 4 && made[0] == 1 && made[1..] == op.shape[..];
    rule_if!(made == op.shape || is_single);
    let shape = Shape { window, channels_in: op.reduction, channels_out: op.columns, groups: 1 };
    let mut patch = TypedModelPatch::default();
    let mut inputs = patch.taps(model, &node.inputs)?;
    inputs[0] = patch.tap_model(model, outlet)?;
    if is_single {
        inputs[0] = patch.wire_node(format!("{name}.image"), AxisOp::Rm(0), &inputs[..1])?[0];
    }
    let wire = patch.wire_node(name, Convolution { shape, tail: op.tail.clone() }, &inputs)?;
    patch.shunt_outside(model, node.id.into(), wire[0])?;
    Ok(Some(patch))
}

/// Replaces sampled products by strided [`Convolution`]s.
pub(super) fn fuse(model: &mut TypedModel) -> TractResult<()> {
    Rewriter::default().with_rule_for::<Linear>("strided product", rule).rewrite(&(), model)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::testing::{Builder, count, same};
    use super::super::{layout, linear};
    use super::*;

    fn passes(mut model: TypedModel) -> TractResult<TypedModel> {
        linear::fuse(&mut model)?;
        let mut model = layout::settle(&model)?;
        fuse(&mut model)?;
        Ok(model)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn one_convolution(
            (h, w) in (1_usize..12, 1_usize..12), stride in prop::array::uniform2(1_usize..4), ci in 1_usize..9, co in 1_usize..20,
            batch in 1_usize..3, is_squeezed: bool,
        ) {
            // A sampling by 1 is an axis left as it is, which is what tract makes of it.
            prop_assume!(stride != [1, 1]);
            let mut b = Builder::default();
            let x = b.source(&[batch, h, w, ci]);
            let rows = b.wire(Downsample { axis: 1, stride: stride[0] as isize, modulo: 0 }, &[x]);
            let sampled = b.wire(Downsample { axis: 2, stride: stride[1] as isize, modulo: 0 }, &[rows]);
            let weights = b.constant(&[co, ci]);
            let mut y = b.einsum("nhwi,oi->nhwo", sampled, weights);
            if is_squeezed && batch == 1 {
                y = b.wire(AxisOp::Rm(0), &[y]);
            }
            let model = same(&b.finish(&[y]), passes);
            prop_assert_eq!((count::<Convolution>(&model), count::<Downsample>(&model)), (1, 0));
        }
    }

    #[test]
    fn a_sampling_that_does_not_start_at_0_stays() {
        let mut b = Builder::default();
        let x = b.source(&[7, 6, 3]);
        let sampled = b.wire(Downsample { axis: 0, stride: 2, modulo: 1 }, &[x]);
        let weights = b.constant(&[3, 5]);
        let y = b.einsum("hwk,kn->hwn", sampled, weights);
        let model = same(&b.finish(&[y]), passes);
        assert_eq!(count::<Downsample>(&model), 1);
    }
}
