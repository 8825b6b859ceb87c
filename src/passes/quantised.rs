//! Networks that were quantised elsewhere: products of values that bytes stand for with weights that are whole numbers of steps, in int8.

use dyn_perceiver_kernels::gemm::{KernelFamily, PackedI8, Reduction, pack_exact_i8};
use dyn_perceiver_kernels::memory::words_of;
use tract_core::internal::*;
use tract_core::ops::konst::Const;

use super::fake_quantise::{hands_on, values_of};
use crate::ops::convolution::Convolution;
use crate::ops::fake_quantise::FakeQuantise;
use crate::ops::linear::Linear;
use crate::ops::quantised_convolution::QuantisedConvolution;
use crate::ops::quantised_linear::{LONGEST, QuantisedLinear};
use crate::weights;

/// Whether all that becomes of a node's output is bytes of int8 products.
fn becomes_bytes(model: &TypedModel, node: &TypedNode) -> bool {
    let mut open = vec![node];
    while let Some(node) = open.pop() {
        let readers = &node.outputs[0].successors;
        if readers.is_empty() || model.outputs.contains(&node.id.into()) {
            return false;
        }
        for InletId { node: reader, slot } in readers {
            let reader = model.node(*reader);
            let int8 = reader.op_is::<QuantisedLinear>() || reader.op_is::<QuantisedConvolution>();
            if hands_on(reader) {
                open.push(reader);
            } else if !int8 || *slot != 0 {
                return false;
            }
        }
    }
    true
}

/// A product as int8, of an input whose bytes have this scheme.
fn int8(
    model: &TypedModel,
    node: &TypedNode,
    name: &str,
    pack: impl Fn(&[f32]) -> Option<PackedI8>,
    op: impl Fn(u32, u8, bool) -> Box<dyn TypedOp>,
) -> TractResult<Option<TypedModelPatch>> {
    rule_if_some!(rounding = values_of(model, node.inputs[0]));
    rule_if_some!(constant = model.node(node.inputs[1].node).op_as::<Const>());
    rule_if_some!(packed = pack(weights::floats(constant.val())?));
    let PackedI8 { weights, column_sums, scales, wide, .. } = packed;
    let scales: Vec<f32> = scales.iter().map(|weights| f32::from_bits(rounding.scale) * weights).collect();
    let mut patch = TypedModelPatch::default();
    let x = patch.tap_model(model, node.inputs[0])?;
    let weights = patch.add_const(format!("{name}.int8"), tensor1(&words_of(&weights)))?;
    let sums = patch.add_const(format!("{name}.sums"), tensor1(&column_sums))?;
    let scales = patch.add_const(format!("{name}.scales"), tensor1(&scales))?;
    let mut inputs = tvec!(x, weights, sums, scales);
    for tail in &node.inputs[2..] {
        inputs.push(patch.tap_model(model, *tail)?);
    }
    let wire = patch.wire_node(name, op(rounding.scale, rounding.zero_point(), wide), &inputs)?[0];
    patch.shunt_outside(model, node.id.into(), wire)?;
    Ok(Some(patch))
}

fn linear_rule(
    _: &(),
    model: &TypedModel,
    node: &TypedNode,
    name: &str,
    linear: &Linear,
) -> TractResult<Option<TypedModelPatch>> {
    let (whole, columns) = (Reduction::whole(linear.reduction), linear.columns);
    rule_if!(linear.reduction <= LONGEST);
    let pack = |weights: &[f32]| {
        let plain = KernelFamily::F32.unpack(whole, columns, weights);
        pack_exact_i8(whole, columns, |k, n| plain[k * columns + n])
    };
    let op = |scale, zero_point, wide| {
        Box::new(QuantisedLinear { linear: linear.clone(), scale, zero_point, wide }) as Box<dyn TypedOp>
    };
    int8(model, node, name, pack, op)
}

fn convolution_rule(
    _: &(),
    model: &TypedModel,
    node: &TypedNode,
    name: &str,
    convolution: &Convolution,
) -> TractResult<Option<TypedModelPatch>> {
    rule_if!(convolution.shape.fits_i8());
    let op = |scale, zero_point, wide| {
        let convolution = convolution.clone();
        Box::new(QuantisedConvolution { convolution, scale, zero_point, wide }) as Box<dyn TypedOp>
    };
    int8(model, node, name, |weights| convolution.shape.pack_exact_i8(weights), op)
}

/// A rounding that changes nothing: of values that are rounded so already, or that become the same bytes without it.
fn needless(
    _: &(),
    model: &TypedModel,
    node: &TypedNode,
    _name: &str,
    op: &FakeQuantise,
) -> TractResult<Option<TypedModelPatch>> {
    // What a rounding took in is done nowhere else.
    rule_if!(op.only_rounds());
    let bytes = op.takes_all_bytes() && becomes_bytes(model, node);
    rule_if!(bytes || values_of(model, node.inputs[0]).is_some_and(|values| values.has_values_of(op)));
    let mut patch = TypedModelPatch::default();
    let x = patch.tap_model(model, node.inputs[0])?;
    patch.shunt_outside(model, node.id.into(), x)?;
    Ok(Some(patch))
}

/// Puts int8 products in place of those whose inputs and weights are whole numbers of steps.
pub(super) fn fuse(model: &mut TypedModel) -> TractResult<()> {
    if !model.nodes().iter().any(|node| node.op_is::<FakeQuantise>()) {
        return Ok(());
    }
    Rewriter::default()
        .with_rule_for::<Linear>("int8 product", linear_rule)
        .with_rule_for::<Convolution>("int8 convolution", convolution_rule)
        .rewrite(&(), model)?;
    Rewriter::default().with_rule_for::<FakeQuantise>("needless rounding", needless).rewrite(&(), model)
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;
    use tract_core::ops::binary::TypedBinOp;
    use tract_core::ops::cnn::{Conv, KernelFormat};
    use tract_core::ops::math::{add, max, min, mul, round_half_to_even, sub};
    use tract_core::ops::nn::{Softmax, SoftmaxKind, gelu_exact, sigmoid};

    use super::super::convolution::tests::spec;
    use super::super::fake_quantise::is_round;
    use super::super::testing::{Builder, count, same, values};
    use super::*;
    use crate::model::declutter;
    use crate::ops::attention::Attention;

    /// What the import writes: steps of `scale`, the number of bits' type, and which step of it stands for 0.
    #[derive(Clone, Copy, Debug)]
    pub(in super::super) struct Bytes {
        pub scale: f32,
        pub zero: f32,
        pub low: f32,
        pub high: f32,
    }

    fn bytes() -> impl Strategy<Value = Bytes> {
        (0.004_f32..0.05, 0_u8..=255, any::<bool>()).prop_map(|(scale, zero, signed)| {
            let low = if signed { -128.0 } else { 0.0 };
            Bytes { scale, zero: f32::from(zero) + low, low, high: low + 255.0 }
        })
    }

    pub(in super::super) fn quantised(b: &mut Builder, x: OutletId, bytes: Bytes) -> OutletId {
        let rank = b.shape(x).len();
        let mut y = x;
        let steps = [
            (mul(), 1.0 / bytes.scale),
            (add(), bytes.zero),
            (max(), bytes.low),
            (min(), bytes.high),
            (sub(), bytes.zero),
            (mul(), bytes.scale),
        ];
        for (i, (op, value)) in steps.into_iter().enumerate() {
            if value != 0.0 || i == 2 || i == 3 {
                let constant = b.scalar(value, rank);
                y = b.bin(op, y, constant);
            }
            if i == 0 {
                y = b.wire(round_half_to_even(), &[y]);
            }
        }
        y
    }

    /// Weights that are whole numbers of steps of their own for each place along `axis`.
    pub(in super::super) fn weights(b: &mut Builder, shape: &[usize], axis: usize) -> OutletId {
        let stride: usize = shape[axis + 1..].iter().product();
        let plain = values(b.0.nodes().len() as u64, shape.iter().product());
        let whole: Vec<f32> = plain
            .iter()
            .enumerate()
            .map(|(i, w)| (w * 127.0).round() * (0.001 * (1 + i / stride % shape[axis]) as f32))
            .collect();
        b.0.add_const(b.name("weights"), Tensor::from_shape(shape, &whole).unwrap()).unwrap()
    }

    fn rounds(model: &TypedModel) -> usize {
        model.nodes().iter().filter(|node| is_round(node)).count()
    }

    /// Rewrites a model and asserts that no output is further off than `step`, and one in fifty at all.
    fn near(model: &TypedModel, step: f32) -> TypedModel {
        one_off_in(50, model, step)
    }

    /// The same with one in so many that may be off.
    pub(in super::super) fn one_off_in(many: usize, model: &TypedModel, step: f32) -> TypedModel {
        let run = |model: &TypedModel| -> Vec<f32> {
            let input = |i: usize| {
                let shape = model.input_fact(i).unwrap().shape.as_concrete().unwrap().to_vec();
                Tensor::from_shape(&shape, &values(i as u64, shape.iter().product())).unwrap().into_tvalue()
            };
            let inputs = (0..model.inputs.len()).map(input).collect();
            let output = model.clone().into_runnable().unwrap().run(inputs).unwrap();
            output[0].try_as_plain_ram().unwrap().as_slice::<f32>().unwrap().to_vec()
        };
        let passed = passes(model.clone()).unwrap();
        let (expected, found) = (run(model), run(&passed));
        let off = expected.iter().zip(&found).filter(|(e, f)| (*e - *f).abs() > 1e-3 * step).count();
        assert!(off <= 1 + expected.len() / many, "{off} of {}", expected.len());
        assert!(expected.iter().zip(&found).all(|(e, f)| (e - f).abs() <= 1.001 * step));
        passed
    }

    /// What the model's import and the other passes do.
    fn passes(mut model: TypedModel) -> TractResult<TypedModel> {
        declutter(&mut model)?;
        super::super::rewrite(model)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn products_of_bytes_are_int8(
            m in 1_usize..20, k in 1_usize..67, n in 1_usize..67, bytes in bytes(), bias: bool, activation: bool,
        ) {
            let mut b = Builder::default();
            let x = b.source(&[m, k]);
            let x = quantised(&mut b, x, bytes);
            let w = weights(&mut b, &[k, n], 1);
            let mut y = b.einsum("mk,kn->mn", x, w);
            if bias {
                let bias = b.constant(&[1, n]);
                y = b.bin(add(), y, bias);
            }
            if activation {
                y = b.wire(sigmoid(), &[y]);
            }
            let model = same(&b.finish(&[y]), passes);
            prop_assert_eq!((count::<QuantisedLinear>(&model), count::<Linear>(&model)), (1, 0));
            prop_assert_eq!(count::<FakeQuantise>(&model) + rounds(&model), 0);
        }

        #[test]
        fn convolutions_of_bytes_are_int8(
            size in 3_usize..12, kernel in 1_usize..4, stride in 1_usize..3, padding in 0_usize..2, groups in 1_usize..4,
            ci in 1_usize..5, co in 1_usize..20, bytes in bytes(), second: bool,
        ) {
            let (ci, co) = (4 * groups * ci, groups * co);
            let mut b = Builder::default();
            let x = b.source(&[1, ci, size, size]);
            let x = quantised(&mut b, x, bytes);
            let kernel_weights = weights(&mut b, &[co, ci / groups, kernel, kernel], 0);
            let bias = b.constant(&[co]);
            let pool_spec = spec([kernel; 2], [stride; 2], [padding; 2], [padding; 2], ci, co);
            let conv = Conv { pool_spec, kernel_fmt: KernelFormat::OIHW, group: groups, q_params: None };
            let y = b.wire(conv, &[x, kernel_weights, bias]);
            let outputs = if second { vec![y, x] } else { vec![y] };
            let model = same(&b.finish(&outputs), passes);
            prop_assert_eq!(count::<QuantisedConvolution>(&model) + count::<QuantisedLinear>(&model), 1);
            prop_assert_eq!(count::<FakeQuantise>(&model), usize::from(second), "it is an output, too");
        }
    }

    pub(in super::super) const UNSIGNED: Bytes = Bytes { scale: 0.01, zero: 128.0, low: 0.0, high: 255.0 };

    /// A product whose input was rounded by `round`; also how many operators are left of the rounding.
    fn product(exact: bool, round: impl Fn(&mut Builder, OutletId) -> OutletId) -> TypedModel {
        let mut b = Builder::default();
        let x = b.source(&[5, 8]);
        let x = round(&mut b, x);
        let w = if exact { weights(&mut b, &[8, 24], 1) } else { b.constant(&[8, 24]) };
        let y = b.einsum("mk,kn->mn", x, w);
        same(&b.finish(&[y]), passes)
    }

    #[test]
    fn what_does_not_fit_stays_float() {
        let model = product(false, |b, x| quantised(b, x, UNSIGNED));
        assert_eq!((count::<Linear>(&model), count::<FakeQuantise>(&model)), (1, 1), "weights on no grid");
        let model =
            product(true, |b, x| quantised(b, x, Bytes { zero: 0.0, low: -32768.0, high: 32767.0, ..UNSIGNED }));
        assert_eq!((count::<Linear>(&model), count::<FakeQuantise>(&model)), (1, 0), "16 bits");
        let model = product(true, |_, x| x);
        assert_eq!((count::<Linear>(&model), count::<QuantisedLinear>(&model)), (1, 0), "an input that is not rounded");
        // Fewer steps than a byte has: the bytes of what is not rounded would be others.
        let model = product(true, |b, x| quantised(b, x, Bytes { high: 200.0, ..UNSIGNED }));
        assert_eq!((count::<QuantisedLinear>(&model), count::<FakeQuantise>(&model)), (1, 1));
    }

    #[test]
    fn scales_that_were_merged_with_others_are_told_apart() {
        for after in [2.0, 3.0] {
            let model = product(true, |b, x| {
                let [half, after] = [0.5, after].map(|value| b.scalar(value, 2));
                let x = b.bin(mul(), x, half);
                let x = quantised(b, x, UNSIGNED);
                b.bin(mul(), x, after)
            });
            assert_eq!((count::<QuantisedLinear>(&model), count::<FakeQuantise>(&model)), (1, 0));
            assert_eq!(rounds(&model), 0);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn sums_and_activations_before_a_rounding_are_done_in_it(
            m in 1_usize..20, k in 1_usize..20, n in 2_usize..30, steps in prop::collection::vec(0_u8..7, 0..5),
        ) {
            let mut b = Builder::default();
            let x = b.source(&[m, k]);
            let w = b.constant(&[k, n]);
            let product = b.einsum("mk,kn->mn", x, w);
            let mut y = quantised(&mut b, product, UNSIGNED);
            for step in steps {
                y = match step {
                    0 => { let bias = b.constant(&[1, n]); b.bin(add(), y, bias) }
                    1 => { let residual = b.source(&[m, n]); b.bin(add(), residual, y) }
                    2 => { let low = b.scalar(0.0, 2); b.bin(max(), y, low) }
                    3 => { let high = b.scalar(0.5, 2); b.bin(min(), high, y) }
                    4 => b.wire(sigmoid(), &[y]),
                    5 => b.wire(gelu_exact::gelu_exact(), &[y]),
                    _ => { let whole = b.constant(&[m, n]); b.bin(add(), y, whole) }
                };
            }
            let y = quantised(&mut b, y, Bytes { scale: 0.5, ..UNSIGNED });
            // Values near the middle of two steps may be rounded to either: half a step and a bit.
            let model = near(&b.finish(&[y]), 0.5);
            prop_assert_eq!(rounds(&model), 0);
        }
    }

    #[test]
    fn a_residual_block_is_products_and_roundings() {
        let mut b = Builder::default();
        let source = b.source(&[5, 8]);
        let x = quantised(&mut b, source, UNSIGNED);
        let w = weights(&mut b, &[8, 24], 1);
        let product = b.einsum("mk,kn->mn", x, w);
        let product = quantised(&mut b, product, UNSIGNED);
        let other = b.source(&[5, 24]);
        let sum = b.bin(add(), product, other);
        let zero = b.scalar(0.0, 2);
        let rectified = b.bin(max(), sum, zero);
        let y = quantised(&mut b, rectified, Bytes { zero: 0.0, scale: 0.5, ..UNSIGNED });
        let model = near(&b.finish(&[y]), 0.5);
        assert_eq!((count::<QuantisedLinear>(&model), count::<FakeQuantise>(&model)), (1, 0));
        assert_eq!(count::<TypedBinOp>(&model), 0);
    }

    #[test]
    fn an_attention_with_roundings_is_one_operator() {
        let probability = Bytes { scale: 1.0 / 255.0, zero: 0.0, ..UNSIGNED };
        for after_scale in [false, true] {
            let mut b = Builder::default();
            let [q, k, v] = [[2, 7, 4], [2, 9, 4], [2, 9, 5]].map(|shape| b.source(&shape));
            let scores = b.einsum("hmd,hnd->hmn", q, k);
            let scores = quantised(&mut b, scores, Bytes { scale: 0.02, ..UNSIGNED });
            let half = b.scalar(0.5, 3);
            let mut scores = b.bin(mul(), scores, half);
            if after_scale {
                scores = quantised(&mut b, scores, Bytes { scale: 0.015, ..UNSIGNED });
            }
            let softmax = Softmax { axes: tvec!(2), quant_output_dt: None, kind: SoftmaxKind::Softmax };
            let probabilities = b.wire(softmax, &[scores]);
            let probabilities = quantised(&mut b, probabilities, probability);
            let y = b.einsum("hmn,hne->hme", probabilities, v);
            let model = near(&b.finish(&[y]), 0.05);
            assert_eq!((count::<Attention>(&model), count::<FakeQuantise>(&model)), (1, 0));
        }
    }

    #[test]
    fn a_second_rounding_of_the_same_values_is_left_out() {
        let model = product(true, |b, x| {
            let x = quantised(b, x, UNSIGNED);
            let x = b.wire(AxisOp::Reshape(0, tvec!(5.to_dim()), tvec!(1.to_dim(), 5.to_dim())), &[x]);
            let x = b.wire(AxisOp::Rm(0), &[x]);
            quantised(b, x, UNSIGNED)
        });
        assert_eq!((count::<QuantisedLinear>(&model), count::<FakeQuantise>(&model)), (1, 0));
    }
}
