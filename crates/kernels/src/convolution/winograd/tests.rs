use proptest::prelude::*;

use super::*;
use crate::convolution::Window;
use crate::oracle::{activation, activations, cases, convolution, for_each_isa, most};
use crate::testing::values;

/// Groups of a convolution are fewer than these; one under Miri, which takes minutes for each.
const MOST_GROUPS: usize = if cfg!(miri) { 2 } else { 4 };

/// Any 3x3 window with stride 1 that has an output.
fn windows() -> impl Strategy<Value = Window> {
    let pair = |to: usize| prop::array::uniform2(0..to);
    let side = if cfg!(miri) { 5 } else { 17 };
    (pair(side), pair(3), pair(3)).prop_filter_map("no output", |(size, before, after)| {
        let input = size.map(|size| size + 1);
        let output: Vec<usize> = (0..2).filter_map(|a| (input[a] + before[a] + after[a]).checked_sub(2)).collect();
        let output: [usize; 2] = output.try_into().ok().filter(|output: &[usize; 2]| !output.contains(&0))?;
        Some(Window { input, output, kernel: [3, 3], stride: [1, 1], padding: before })
    })
}

/// The largest sum of magnitudes of a result.
fn magnitude(x: &[f32], shape: &Shape, w: &[f32]) -> f32 {
    let [x, w] = [x, w].map(|values| values.iter().map(|value| value.abs()).collect::<Vec<f32>>());
    let sums = convolution(&x, shape, &w, &vec![0.0; shape.channels_out]);
    sums.iter().fold(0.0, |most: f64, sum| most.max(*sum)) as f32
}

proptest! {
    #![proptest_config(cases(150))]

    #[test]
    fn winograd_matches_reference(
        window in windows(), groups in 1_usize..MOST_GROUPS, ci in 8..=most(67), co in 8..=most(67), act in activations(),
        bias: bool, residual: bool, scale in -12_i32..12,
    ) {
        let shape = Shape { window, channels_in: groups * ci, channels_out: groups * co, groups };
        let scale = 2.0_f32.powi(scale);
        let x: Vec<f32> =
            values(1, window.input[0] * window.input[1] * shape.channels_in).iter().map(|x| scale * x).collect();
        let w = values(2, shape.channels_out * ci * 9);
        let b = if bias { values(3, shape.channels_out) } else { vec![0.0; shape.channels_out] };
        let sums = convolution(&x, &shape, &w, &b);
        let r = values(4, sums.len());
        let epilogue = Epilogue { bias: bias.then_some(&b), residual: residual.then_some(&r), activation: act, ..Epilogue::default() };
        let packed = transform(&shape, &shape.pack(&w));
        // Bias, residual and activation round too. No activation is steeper than Hardswish just below 3, where its slope is 1.5.
        let most = 1.5 * (ERROR * magnitude(&x, &shape, &w) + 1e-6 * sums.iter().fold(2.0, |m, s| s.abs().max(m)) as f32);
        for_each_isa(sums.len(), |pool, out| {
            // Whatever earlier operators have left there.
            let mut scratch = vec![f32::NAN; scratch_len(&shape, pool.threads())];
            convolve(pool, &x, &shape, &packed, epilogue, &mut scratch, out);
        }, |out| for (i, (found, sum)) in out.iter().zip(&sums).enumerate() {
            let expected = activation(act, sum + if residual { f64::from(r[i]) } else { 0.0 }) as f32;
            let error = (found - expected).abs();
            assert!(error <= most, "element {i}: {found} instead of {expected}, {error} of {most}");
        });
    }

    #[test]
    fn scaled_columns_are_scaled_weights(groups in 1_usize..MOST_GROUPS, ci in 8..=most(20), co in 8..=most(20)) {
        let window = Window { input: [4, 4], output: [4, 4], kernel: [3, 3], stride: [1, 1], padding: [1, 1] };
        let shape = Shape { window, channels_in: groups * ci, channels_out: groups * co, groups };
        let mut direct = shape.pack(&values(2, shape.channels_out * ci * 9));
        let mut packed = transform(&shape, &direct);
        // Powers of two scale without rounding.
        let scale = |n: usize| 2.0_f32.powi(n as i32 % 7 - 3);
        scale_columns(&shape, &mut packed, &scale);
        shape.scale_columns(&mut direct, &scale);
        prop_assert_eq!(packed, transform(&shape, &direct));
    }

    #[test]
    fn restored_weights_are_those_that_were_transformed(
        groups in 1_usize..MOST_GROUPS, ci in 8..=most(20), co in 8..=most(20),
    ) {
        let window = Window { input: [4, 4], output: [4, 4], kernel: [3, 3], stride: [1, 1], padding: [1, 1] };
        let shape = Shape { window, channels_in: groups * ci, channels_out: groups * co, groups };
        let direct = shape.pack(&values(2, shape.channels_out * ci * 9));
        for (found, expected) in restore(&shape, &transform(&shape, &direct)).iter().zip(&direct) {
            prop_assert!((found - expected).abs() <= 2e-6, "{found} instead of {expected}");
        }
    }
}

#[test]
fn it_pays_for_images_of_many_channels_with_stride_1() {
    let shape = |size: usize, channels: usize, groups: usize, stride: usize| {
        let output = [size.div_ceil(stride); 2];
        let window = Window { input: [size; 2], output, kernel: [3, 3], stride: [stride; 2], padding: [1, 1] };
        Shape { window, channels_in: channels, channels_out: channels, groups }
    };
    assert!(pays(&shape(56, 24, 1, 1)) && pays(&shape(28, 48, 1, 1)) && pays(&shape(14, 96, 1, 1)));
    assert!(pays(&shape(28, 144, 9, 1)) && pays(&shape(14, 320, 20, 1)));
    // Strides, transforms that cost more than they save, too few tiles for so many weights.
    assert!(!pays(&shape(56, 24, 1, 2)) && !pays(&shape(56, 64, 32, 1)) && !pays(&shape(7, 192, 1, 1)));
    assert!(!fits(&shape(14, 4, 1, 1)));
}
