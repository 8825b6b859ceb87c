//! Stages behind every product are what they are behind its result.

use proptest::prelude::*;

use super::*;
use crate::convolution::{Shape, Window, convolve, convolve_i8, winograd};
use crate::depthwise::{self, depthwise};
use crate::gemm::{
    Reduction, Rescale, gemm, gemm_f16, gemm_i8, pack, pack_f16, pack_i8, packed_len, padded_i8, quantise,
};
use crate::halves::Ends;
use crate::oracle::{activations, cases, for_each_half, for_each_int8, for_each_pool, most, windows};
use crate::testing::values;

/// What a stage has.
type Kind = (bool, bool, Activation, Option<Rounding>);

fn kinds() -> impl Strategy<Value = Vec<Kind>> {
    let rounding =
        (prop::sample::select(vec![1.0, 0.5]), 1e-3_f32..0.1, any::<u8>()).prop_map(|(factor, scale, zero)| Rounding {
            factor,
            scale,
            low: -i16::from(zero),
            high: 255 - i16::from(zero),
        });
    prop::collection::vec((any::<bool>(), any::<bool>(), activations(), prop::option::of(rounding)), 1..4)
}

/// The same with activations that every instruction set computes alike: kernels may run on others than the pool's f32 ones.
fn alike(kinds: &[Kind]) -> Vec<Kind> {
    let limits = Activation::Clamp { low: -0.25, high: 0.5 };
    let alike = |activation| if activation == Activation::Identity { activation } else { limits };
    kinds
        .iter()
        .map(|(bias, residual, activation, rounding)| (*bias, *residual, alike(*activation), *rounding))
        .collect()
}

/// Runs a kernel with and without stages, and compares it to stages behind its result, bit for bit.
fn check(
    pool: &mut ThreadPool,
    columns: usize,
    len: usize,
    kinds: &[Kind],
    mut kernel: impl FnMut(&mut ThreadPool, Epilogue<'_>, &mut [f32]),
) {
    let (biases, residuals) = (values(11, 3 * columns), values(12, 3 * len));
    let stage = |(i, (bias, residual, activation, rounding)): (usize, &Kind)| Stage {
        bias: bias.then_some(&biases[i * columns..][..columns]),
        residual: residual.then_some(&residuals[i * len..][..len]),
        activation: *activation,
        rounding: *rounding,
    };
    let then: Vec<Stage<'_>> = kinds.iter().enumerate().map(stage).collect();
    let own = (values(13, columns), values(14, len));
    let epilogue = Epilogue { bias: Some(&own.0), residual: Some(&own.1), activation: kinds[0].2, then: &[] };
    let [mut found, mut plain, mut expected] = std::array::from_fn(|_| vec![f32::NAN; len]);
    kernel(pool, Epilogue { then: &then, ..epilogue }, &mut found);
    kernel(pool, epilogue, &mut plain);
    fake_quantise(pool, &plain, columns, Epilogue { then: &then, ..Epilogue::default() }, &mut expected);
    let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect::<Vec<u32>>();
    assert_eq!(bits(&found), bits(&expected), "{pool:?}");
}

proptest! {
    #![proptest_config(cases(60))]

    #[test]
    fn stages_of_products(m in 1..most(40), k in 1..most(40), n in 1..most(67), zero_point: u8, kinds in kinds()) {
        let (x, w) = (values(1, m * k), values(2, k * n));
        let mut packed = vec![0.0; packed_len(k, n)];
        pack(k, n, |k, column| w[k * n + column], &mut packed);
        let halves = pack_f16(k, n, |k, column| w[k * n + column]).unwrap();
        let int8 = pack_i8(Reduction::whole(k), n, |k, column| w[k * n + column]);
        let scales: Vec<f32> = int8.scales.iter().map(|scale| scale * 0.01).collect();
        for_each_pool(|pool| {
            check(pool, n, m * n, &kinds, |pool, epilogue, out| gemm(pool, &x, k, &packed, n, epilogue, out));
        });
        for_each_half(|pool| check(pool, n, m * n, &alike(&kinds), |pool, epilogue, out| {
            gemm_f16(pool, &x, k, &halves, n, epilogue, Ends::default(), &mut vec![0.0; (m * k).div_ceil(2)], out);
        }));
        let rescale = Rescale { zero_point, column_sums: &int8.column_sums, scales: &scales, wide: false };
        for_each_int8(|pool| check(pool, n, m * n, &alike(&kinds), |pool, epilogue, out| {
            let mut bytes = vec![0; m * padded_i8(k)];
            quantise(pool, &x, k, 0.01, zero_point, &mut bytes);
            gemm_i8(pool, &bytes, k, &int8.weights, rescale, epilogue, out);
        }));
    }

    #[test]
    fn stages_of_convolutions(window in windows(), groups in 1_usize..3, ci in 1..most(3), co in 1..most(20), kinds in kinds()) {
        let shape = Shape { window, channels_in: 4 * groups * ci, channels_out: groups * co, groups };
        let len = window.output[0] * window.output[1] * shape.channels_out;
        let taps = window.kernel[0] * window.kernel[1];
        let x = values(1, window.input[0] * window.input[1] * shape.channels_in);
        let packed = shape.pack(&values(2, shape.channels_out * 4 * ci * taps));
        let int8 = shape.pack_i8(&packed);
        let scales: Vec<f32> = int8.scales.iter().map(|scale| scale * 0.01).collect();
        let rescale = Rescale { zero_point: 100, column_sums: &int8.column_sums, scales: &scales, wide: false };
        for_each_pool(|pool| {
            let mut scratch = vec![0.0; shape.scratch_len(4)];
            check(pool, shape.channels_out, len, &kinds, |pool, epilogue, out| {
                convolve(pool, &x, &shape, &packed, epilogue, &mut scratch, out);
            });
        });
        for_each_int8(|pool| check(pool, shape.channels_out, len, &alike(&kinds), |pool, epilogue, out| {
            let mut scratch = vec![0; shape.scratch_len_i8()];
            convolve_i8(pool, &x, 0.01, &shape, &int8.weights, rescale, epilogue, &mut scratch, out);
        }));
        let weights = depthwise::pack(shape.channels_in, window.kernel, &values(3, shape.channels_in * taps));
        let len = window.output[0] * window.output[1] * shape.channels_in;
        for_each_pool(|pool| check(pool, shape.channels_in, len, &kinds, |pool, epilogue, out| {
            depthwise(pool, &x, &window, shape.channels_in, &weights, epilogue, out);
        }));
    }

    #[test]
    fn stages_of_winograds_filtering(side in 4..most(14), channels in 8..most(20), kinds in kinds()) {
        let window = Window { input: [side; 2], output: [side; 2], kernel: [3; 2], stride: [1; 2], padding: [1; 2] };
        let shape = Shape { window, channels_in: channels, channels_out: channels, groups: 1 };
        let x = values(1, side * side * channels);
        let weights = winograd::transform(&shape, &shape.pack(&values(2, 9 * channels * channels)));
        for_each_pool(|pool| {
            let mut scratch = vec![0.0; winograd::scratch_len(&shape, 4)];
            check(pool, channels, x.len(), &kinds, |pool, epilogue, out| {
                winograd::convolve(pool, &x, &shape, &weights, epilogue, &mut scratch, out);
            });
        });
    }
}
