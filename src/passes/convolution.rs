//! Two-dimensional convolutions with constant weights, in channels-last layout.

use serde::{Deserialize, Serialize};
use tract_core::internal::*;
use tract_core::ops::cnn::{Conv, KernelFormat, PoolSpec};
use tract_core::ops::nn::DataFormat;

use super::epilogue::{Tail, WithTail};
use super::fused::{Fused, fused_op, volume};
use super::permute::{Permute, inverse};
use crate::plan::kernels::convolution::{Shape, Window, convolve};
use crate::plan::kernels::team::Team;
use crate::plan::kernels::{depthwise, matmul};

/// A dense or grouped convolution, `activation(x * weights + bias + residual)`. Inputs: x as ([batch,] height, width,
/// channels); the weights, packed; then what `tail` says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Convolution {
    pub shape: Shape,
    pub tail: Tail,
}

/// A convolution with one filter per channel; inputs as for [`Convolution`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Depthwise {
    pub window: Window,
    pub channels: usize,
    pub tail: Tail,
}

/// ([batch,] height, width, channels) of an output, from the shape of the input.
pub(super) fn image_shape(input: &[usize], window: &Window, channels: usize) -> TVec<usize> {
    let mut shape: TVec<usize> = input.into();
    let rank = shape.len();
    shape[rank - 3] = window.output[0];
    shape[rank - 2] = window.output[1];
    shape[rank - 1] = channels;
    shape
}

/// That `input` is a batch of images that `window` slides over.
pub(super) fn check_image(input: &[usize], window: &Window, channels: usize) -> TractResult<()> {
    let Window { input: [height, width], output, kernel, stride, .. } = *window;
    ensure!(input.len() >= 3 && input[input.len() - 3..] == [height, width, channels], "image of shape {input:?}");
    ensure!([height, width, channels].iter().chain(&output).chain(&kernel).chain(&stride).all(|size| *size > 0));
    Ok(())
}

/// Calls `f` with each image of a batch, its output, and where its residual is.
fn each_image(
    inputs: &[(&[f32], &[usize])],
    image: usize,
    result: usize,
    tail: &Tail,
    out: &mut [f32],
    mut f: impl FnMut(&[f32], matmul::Epilogue<'_>, &mut [f32]),
) {
    let epilogue = tail.epilogue(inputs);
    for (i, (x, out)) in inputs[0].0.chunks_exact(image).zip(out.chunks_exact_mut(result)).enumerate() {
        let residual = epilogue.residual.map(|r| &r[i * result..(i + 1) * result]);
        f(x, matmul::Epilogue { residual, ..epilogue }, out);
    }
}

fn pixels(pair: [usize; 2]) -> usize {
    pair[0] * pair[1]
}

impl Fused for Convolution {
    fn name(&self) -> &'static str {
        "Convolution"
    }

    fn output_shape(&self, inputs: &[&[usize]]) -> TractResult<TVec<usize>> {
        self.tail.check(inputs)?;
        Ok(image_shape(inputs[0], &self.shape.window, self.shape.channels_out))
    }

    fn check(&self, inputs: &[&[usize]]) -> TractResult<()> {
        self.tail.check(inputs)?;
        let Shape { window, channels_in, channels_out, groups } = self.shape;
        check_image(inputs[0], &window, channels_in)?;
        ensure!(groups > 0 && channels_in.is_multiple_of(groups) && channels_out.is_multiple_of(groups));
        ensure!(volume(inputs[1]) == self.shape.packed_len());
        self.tail.check_sizes(inputs, channels_out, volume(&image_shape(inputs[0], &window, channels_out)))
    }

    fn compute(&self, inputs: &[(&[f32], &[usize])], team: &mut Team, out: &mut [f32]) -> TractResult<()> {
        let Shape { window, channels_in, channels_out, .. } = self.shape;
        let (image, result) = (pixels(window.input) * channels_in, pixels(window.output) * channels_out);
        each_image(inputs, image, result, &self.tail, out, |x, epilogue, out| {
            convolve(team, x, &self.shape, inputs[1].0, epilogue, out);
        });
        Ok(())
    }

    fn macs(&self, inputs: &[&[usize]]) -> TractResult<usize> {
        let outputs: usize = self.output_shape(inputs)?.iter().product();
        Ok(outputs * pixels(self.shape.window.kernel) * (self.shape.channels_in / self.shape.groups))
    }

    fn details(&self) -> Vec<String> {
        vec![format!("{:?} {:?}", self.shape, self.tail)]
    }
}
fused_op!(Convolution);

impl Fused for Depthwise {
    fn name(&self) -> &'static str {
        "Depthwise"
    }

    fn output_shape(&self, inputs: &[&[usize]]) -> TractResult<TVec<usize>> {
        self.tail.check(inputs)?;
        Ok(image_shape(inputs[0], &self.window, self.channels))
    }

    fn check(&self, inputs: &[&[usize]]) -> TractResult<()> {
        self.tail.check(inputs)?;
        check_image(inputs[0], &self.window, self.channels)?;
        ensure!(volume(inputs[1]) == pixels(self.window.kernel) * self.channels);
        let result = image_shape(inputs[0], &self.window, self.channels);
        self.tail.check_sizes(inputs, self.channels, volume(&result))
    }

    fn compute(&self, inputs: &[(&[f32], &[usize])], team: &mut Team, out: &mut [f32]) -> TractResult<()> {
        let (image, result) = (pixels(self.window.input) * self.channels, pixels(self.window.output) * self.channels);
        each_image(inputs, image, result, &self.tail, out, |x, epilogue, out| {
            depthwise::depthwise(team, x, &self.window, self.channels, inputs[1].0, epilogue, out);
        });
        Ok(())
    }

    fn macs(&self, inputs: &[&[usize]]) -> TractResult<usize> {
        Ok(self.output_shape(inputs)?.iter().product::<usize>() * pixels(self.window.kernel))
    }

    fn details(&self) -> Vec<String> {
        vec![format!("{:?} {} {:?}", self.window, self.channels, self.tail)]
    }
}
fused_op!(Depthwise);

impl WithTail for Convolution {
    fn tail_mut(&mut self) -> &mut Tail {
        &mut self.tail
    }

    fn columns(&self) -> usize {
        self.shape.channels_out
    }

    fn scale_weights(&self, packed: &mut [f32], scale: &dyn Fn(usize) -> f32) {
        self.shape.scale_columns(packed, scale);
    }
}

impl WithTail for Depthwise {
    fn tail_mut(&mut self) -> &mut Tail {
        &mut self.tail
    }

    fn columns(&self) -> usize {
        self.channels
    }

    fn scale_weights(&self, packed: &mut [f32], scale: &dyn Fn(usize) -> f32) {
        packed.iter_mut().enumerate().for_each(|(i, w)| *w *= scale(i % self.channels));
    }
}

/// The window of a two-dimensional, undilated pooling or convolution with concrete sizes.
pub(super) fn window(spec: &PoolSpec, input: &TypedFact) -> TractResult<Option<Window>> {
    let Some(shape) = input.shape.as_concrete() else { return Ok(None) };
    if spec.rank() != 2 || spec.dilations().iter().any(|d| *d != 1) || shape.contains(&0) {
        return Ok(None);
    }
    let first = spec.data_format.h_axis();
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
        fused = Box::new(Depthwise { window, channels: channels_in, tail });
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
