//! A depthwise convolution that only a sum or average pooling reads, as one convolution.
//!
//! Both are linear, so their composition is a depthwise convolution again: its kernel is the first's, spread over the
//! pooled positions, and its stride the product of strides. With a 7x7 kernel pooled 16 by 16 that takes a 26th of the
//! multiplications, since overlapping windows are never computed apart.

use tract_core::internal::*;

use super::pattern::only_reader;
use crate::ops::convolution::Depthwise;
use crate::ops::pool::Pool;
use dyn_perceiver_kernels::Activation;
use dyn_perceiver_kernels::convolution::Window;
use dyn_perceiver_kernels::pooling::Pooling;

/// The window of a convolution followed by a pooling without padding.
fn compose(first: &Window, second: &Window) -> Window {
    let axes = [0, 1];
    Window {
        input: first.input,
        output: second.output,
        kernel: axes.map(|a| (second.kernel[a] - 1) * first.stride[a] + first.kernel[a]),
        stride: axes.map(|a| second.stride[a] * first.stride[a]),
        padding: first.padding,
    }
}

/// Every pooled position exists.
fn is_whole(window: &Window) -> bool {
    (0..2).all(|axis| {
        window.padding[axis] == 0
            && (window.output[axis] - 1) * window.stride[axis] + window.kernel[axis] <= window.input[axis]
    })
}

/// Packed weights (height, width, channel) of the composition.
fn spread(weights: &[f32], channels: usize, first: &Window, second: &Window, scale: f32) -> Vec<f32> {
    let kernel = compose(first, second).kernel;
    let mut composed = vec![0.0; kernel[0] * kernel[1] * channels];
    for py in 0..second.kernel[0] {
        for px in 0..second.kernel[1] {
            for ky in 0..first.kernel[0] {
                for kx in 0..first.kernel[1] {
                    let (y, x) = (py * first.stride[0] + ky, px * first.stride[1] + kx);
                    let to = &mut composed[(y * kernel[1] + x) * channels..][..channels];
                    let from = &weights[(ky * first.kernel[1] + kx) * channels..][..channels];
                    to.iter_mut().zip(from).for_each(|(t, w)| *t += w);
                }
            }
        }
    }
    composed.iter_mut().for_each(|w| *w *= scale);
    composed
}

/// The weights with the addition of the image itself taken in, where that is the residual.
fn with_identity(weights: &mut [f32], op: &Depthwise) -> bool {
    let Window { input, output, kernel, stride, padding } = op.window;
    if input != output || stride != [1, 1] || padding[0] >= kernel[0] || padding[1] >= kernel[1] {
        return false;
    }
    let centre = (padding[0] * kernel[1] + padding[1]) * op.channels;
    weights[centre..centre + op.channels].iter_mut().for_each(|w| *w += 1.0);
    true
}

fn rule(_: &(), model: &TypedModel, node: &TypedNode, _: &str, op: &Depthwise) -> TractResult<Option<TypedModelPatch>> {
    rule_if!(op.tail.activation == Activation::Identity);
    rule_if_some!(next = only_reader(model, node));
    rule_if_some!(pool = next.op_as::<Pool>());
    let Pooling::Sum { scale } = pool.pooling else { return Ok(None) };
    rule_if!(is_whole(&pool.window));
    let window = compose(&op.window, &pool.window);
    let taps = |w: &Window| w.kernel[0] * w.kernel[1] * w.output[0] * w.output[1];
    rule_if!(taps(&window) < taps(&op.window));

    rule_if_some!(weights = &model.outlet_fact(node.inputs[1])?.konst);
    let mut weights = weights.try_as_plain_ram()?.as_slice::<f32>()?.to_vec();
    let mut op = op.clone();
    if op.tail.residual {
        rule_if!(node.inputs.last() == Some(&node.inputs[0]) && with_identity(&mut weights, &op));
        op.tail.residual = false;
    }
    let weights = spread(&weights, op.channels, &op.window, &pool.window, scale);
    let name = &next.name;
    let mut patch = TypedModelPatch::default();
    let mut inputs = tvec!(patch.tap_model(model, node.inputs[0])?);
    inputs.push(patch.add_const(format!("{name}.weights"), tensor1(&weights))?);
    if op.tail.bias {
        rule_if_some!(bias = &model.outlet_fact(node.inputs[2])?.konst);
        let pooled = scale * (pool.window.kernel[0] * pool.window.kernel[1]) as f32;
        let bias: Vec<f32> = bias.try_as_plain_ram()?.as_slice::<f32>()?.iter().map(|b| b * pooled).collect();
        inputs.push(patch.add_const(format!("{name}.bias"), tensor1(&bias))?);
    }
    op.window = window;
    let wire = patch.wire_node(name, op, &inputs)?;
    patch.shunt_outside(model, next.id.into(), wire[0])?;
    Ok(Some(patch))
}

/// Merges depthwise convolutions with the poolings behind them.
pub(super) fn fuse(model: &mut TypedModel) -> TractResult<()> {
    Rewriter::default().with_rule_for::<Depthwise>("pooled depthwise convolution", rule).rewrite(&(), model)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tract_core::ops::cnn::SumPool;
    use tract_core::ops::math::add;

    use super::super::convolution::tests::{conv, spec};
    use super::super::testing::{Builder, count, same};
    use super::super::{convolution, epilogue, layout, pool};
    use super::*;

    fn passes(mut model: TypedModel) -> TractResult<TypedModel> {
        convolution::fuse(&mut model)?;
        pool::fuse(&mut model)?;
        let mut model = layout::settle(&model)?;
        epilogue::fold(&mut model)?;
        fuse(&mut model)?;
        Ok(model)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn one_convolution_with_and_without_its_residual(
            pooled in prop::array::uniform2(1_usize..4), pool in prop::array::uniform2(2_usize..5),
            half in prop::array::uniform2(0_usize..4), channels in 2_usize..20, residual: bool, normalize: bool,
        ) {
            let mut b = Builder::default();
            let x = b.source(&[2, channels, pooled[0] * pool[0], pooled[1] * pool[1]]);
            let kernel = half.map(|h| 2 * h + 1);
            let mut y = conv(&mut b, x, spec(kernel, [1, 1], half, half, channels, channels), channels);
            if residual {
                y = b.bin(add(), x, y);
            }
            let pool_spec = spec(pool, pool, [0, 0], [0, 0], channels, channels);
            let y = b.wire(SumPool { pool_spec, count_include_pad: false, normalize }, &[y]);
            let model = same(&b.finish(&[y]), passes);
            prop_assert_eq!(count::<Pool>(&model), usize::from(kernel == [1, 1]));
        }
    }

    #[test]
    fn a_convolution_with_another_reader_stays() {
        let mut b = Builder::default();
        let x = b.source(&[1, 4, 8, 8]);
        let y = conv(&mut b, x, spec([3, 3], [1, 1], [1, 1], [1, 1], 4, 4), 4);
        let pool_spec = spec([4, 4], [4, 4], [0, 0], [0, 0], 4, 4);
        let pooled = b.wire(SumPool { pool_spec, count_include_pad: false, normalize: true }, &[y]);
        let model = same(&b.finish(&[pooled, y]), passes);
        assert_eq!((count::<Pool>(&model), count::<Depthwise>(&model)), (1, 1));
    }
}
