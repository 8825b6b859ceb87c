//! Two-dimensional convolutions with constant weights, in channels-last layout.

use tract_core::internal::*;
use tract_core::ops::cnn::{Conv, KernelFormat, PoolSpec};
use tract_core::ops::nn::DataFormat;

use crate::ops::convolution::{Convolution, Depthwise};
use crate::ops::epilogue::Tail;
use crate::ops::permute::{Permute, inverse};
use dyn_perceiver_kernels::convolution::{Shape, Window};
use dyn_perceiver_kernels::depthwise;

/// The window of a two-dimensional, undilated pooling or convolution with concrete sizes.
pub(super) fn window(spec: &PoolSpec, input: &TypedFact) -> TractResult<Option<Window>> {
    let Some(shape) = input.shape.as_concrete() else { return Ok(None) };
    if spec.rank() != 2 || spec.dilations().iter().any(|d| *d != 1) || shape.contains(&0) {
        return Ok(None);
    }
    let first = spec.data_format.h_axis();
    // Rows and columns, and the channels on one side of them.
    if shape.len() != first + if spec.data_format.c_is_last() { 3 } else { 2 } {
        return Ok(None);
    }
    let hw = &shape[first..first + 2];
    let padding = spec.computed_padding(hw);
    Ok(Some(Window {
        input: [hw[0], hw[1]],
        output: [padding[0].convoluted, padding[1].convoluted],
        kernel: [spec.kernel_shape[0], spec.kernel_shape[1]],
        stride: [spec.stride(0), spec.stride(1)],
        padding: [padding[0].pad_before, padding[1].pad_before],
    }))
}

/// The order that brings channels last. On some CPUs tract has them there already, for its own kernels.
pub(super) fn channels_last(format: DataFormat) -> TVec<usize> {
    match format {
        DataFormat::NCHW => tvec!(0, 2, 3, 1),
        DataFormat::CHW => tvec!(1, 2, 0),
        DataFormat::NHWC => tvec!(0, 1, 2, 3),
        DataFormat::HWC => tvec!(0, 1, 2),
    }
}

fn rule(_: &(), model: &TypedModel, node: &TypedNode, name: &str, op: &Conv) -> TractResult<Option<TypedModelPatch>> {
    let facts = model.node_input_facts(node.id)?;
    let float = |f: &TypedFact| f.datum_type == f32::datum_type() && f.is_plain();
    rule_if!(op.q_params.is_none() && op.kernel_fmt == KernelFormat::OIHW && facts.iter().all(|f| float(f)));
    rule_if!(facts.len() == 3);
    rule_if_some!(window = window(&op.pool_spec, facts[0])?);
    rule_if_some!(kernel = facts[1].konst.as_ref());
    rule_if_some!(bias = facts[2].konst.as_ref());
    let weights = kernel.try_as_plain_ram()?;
    let weights = weights.as_slice::<f32>()?;
    let bias = bias.try_as_plain_ram()?;
    let bias = bias.as_slice::<f32>()?;
    let (channels_in, channels_out) = (op.input_channels(), op.output_channels());
    let bias: Vec<f32> = match bias {
        [b] => vec![*b; channels_out],
        b if b.len() == channels_out => b.to_vec(),
        _ => return Ok(None),
    };
    let tail = Tail { bias: true, ..Tail::default() };
    let order = channels_last(op.pool_spec.data_format);

    let mut patch = TypedModelPatch::default();
    let wire = patch.tap_model(model, node.inputs[0])?;
    let wire = patch.wire_node(format!("{name}.in"), Permute { order: order.clone() }, &[wire])?[0];
    let bias = patch.add_const(format!("{name}.bias"), tensor1(&bias))?;
    let fused: Box<dyn TypedOp>;
    let packed;
    if op.group == channels_in && channels_in == channels_out && op.group > 1 {
        packed = depthwise::pack(channels_in, window.kernel, weights);
        fused = Box::new(Depthwise { window, channels: channels_in, tail, halves: false });
    } else {
        let shape = Shape { window, channels_in, channels_out, groups: op.group };
        packed = shape.pack(weights);
        fused = Box::new(Convolution { shape, tail });
    }
    let packed = patch.add_const(format!("{name}.weights"), tensor1(&packed))?;
    let wire = patch.wire_node(format!("{name}.convolution"), fused, &[wire, packed, bias])?[0];
    let wire = patch.wire_node(name, Permute { order: inverse(&order) }, &[wire])?[0];
    patch.shunt_outside(model, node.id.into(), wire)?;
    Ok(Some(patch))
}

/// Replaces convolutions by [`Convolution`] and [`Depthwise`].
pub(super) fn fuse(model: &mut TypedModel) -> TractResult<()> {
    Rewriter::default().with_rule_for::<Conv>("convolution", rule).rewrite(&(), model)
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;
    use tract_core::ops::cnn::PaddingSpec;

    use super::super::testing::{Builder, count, in_place, same};
    use super::*;

    pub(crate) fn spec(
        kernel: [usize; 2],
        stride: [usize; 2],
        before: [usize; 2],
        after: [usize; 2],
        ci: usize,
        co: usize,
    ) -> PoolSpec {
        PoolSpec {
            data_format: DataFormat::NCHW,
            kernel_shape: kernel.as_slice().into(),
            padding: PaddingSpec::Explicit(before.as_slice().into(), after.as_slice().into()),
            dilations: None,
            strides: Some(stride.as_slice().into()),
            input_channels: ci,
            output_channels: co,
        }
    }

    pub(crate) fn conv(b: &mut Builder, x: OutletId, spec: PoolSpec, group: usize) -> OutletId {
        let shape = [spec.output_channels, spec.input_channels / group, spec.kernel_shape[0], spec.kernel_shape[1]];
        let kernel = b.constant(&shape);
        let bias = b.constant(&[spec.output_channels]);
        b.wire(Conv { pool_spec: spec, kernel_fmt: KernelFormat::OIHW, group, q_params: None }, &[x, kernel, bias])
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn one_operator_for_every_geometry(
            size in prop::array::uniform2(1_usize..14), kernel in prop::array::uniform2(1_usize..6),
            stride in prop::array::uniform2(1_usize..4), before in prop::array::uniform2(0_usize..4),
            after in prop::array::uniform2(0_usize..4), batch in 1_usize..3,
            (group, ci, co) in (1_usize..4, 1_usize..6, 1_usize..20), depthwise: bool, last: bool,
        ) {
            prop_assume!((0..2).all(|a| size[a] + before[a] + after[a] >= kernel[a]));
            let (group, ci, co) = if depthwise { (ci * 5, ci * 5, ci * 5) } else { (group, group * ci, group * co) };
            let mut b = Builder::default();
            let (format, shape) = if last {
                (DataFormat::NHWC, [batch, size[0], size[1], ci])
            } else {
                (DataFormat::NCHW, [batch, ci, size[0], size[1]])
            };
            let x = b.source(&shape);
            let spec = PoolSpec { data_format: format, ..spec(kernel, stride, before, after, ci, co) };
            let y = conv(&mut b, x, spec, group);
            let model = same(&b.finish(&[y]), in_place(fuse));
            prop_assert_eq!(count::<Convolution>(&model) + count::<Depthwise>(&model), 1);
            prop_assert_eq!(count::<Depthwise>(&model) == 1, group == ci && ci == co && group > 1);
        }
    }

    #[test]
    fn a_dilated_convolution_stays() {
        let mut b = Builder::default();
        let x = b.source(&[1, 3, 9, 9]);
        let spec = PoolSpec { dilations: Some(tvec!(2, 2)), ..spec([3, 3], [1, 1], [0, 0], [0, 0], 3, 4) };
        let y = conv(&mut b, x, spec, 1);
        let model = same(&b.finish(&[y]), in_place(fuse));
        assert_eq!(count::<Conv>(&model), 1);
    }
}
