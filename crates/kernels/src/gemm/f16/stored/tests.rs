use proptest::prelude::*;

use super::super::{convert, gemm_f16, pack_f16, scratch_len_f16};
use crate::Activation;
use crate::gemm::Epilogue;
use crate::halves::{Ends, has_halves, has_room};
use crate::oracle::{activation, activations, cases, for_each_half, kept, most, read};
use crate::testing::values;

proptest! {
    #![proptest_config(cases(150))]

    #[test]
    fn results_kept_as_halves_match_three_loops(
        m in 2..=most(67), k in 1..=most(200), n in 1..=most(67), act in activations(), input: bool, output: bool,
        add: bool, residual: bool, exponent in -4_i32..16,
    ) {
        prop_assume!(has_halves(act) && has_room(m * k) && has_room(m * n));
        let scale = 2.0_f32.powi(exponent);
        let x: Vec<f32> = values(1, m * k).iter().map(|x| convert::to_f32(convert::from_f32(x * scale))).collect();
        let (w, bias) = (values(2, k * n), values(3, n));
        let weights: Vec<f32> = w.iter().map(|w| convert::to_f32(convert::from_f32(*w))).collect();
        let packed = pack_f16(k, n, |k, column| w[k * n + column]).unwrap();
        let r: Vec<f32> = values(4, m * n).iter().map(|x| convert::to_f32(convert::from_f32(x * scale))).collect();
        let (halves, r_halves, mut first) = (kept(&x), kept(&r), None);
        for_each_half(|pool| {
            let arithmetic = pool.half_isa().is_arithmetic();
            let ends = Ends { input, residual, output };
            let (mut out, mut scratch) = (vec![f32::NAN; m * n], vec![f32::NAN; scratch_len_f16(m * k, m * n, ends)]);
            let from = if input && arithmetic { &halves } else { &x };
            let added = if residual && arithmetic { &r_halves } else { &r };
            let (bias, added) = (Some(&bias[..]), add.then_some(&added[..]));
            let epilogue = Epilogue { bias, residual: added, activation: act, ..Epilogue::default() };
            gemm_f16(pool, from, k, &packed, n, epilogue, ends, &mut scratch, &mut out);
            let (out, is_halves) = read(&out);
            assert!(arithmetic || !is_halves);
            for (i, found) in out.iter().enumerate() {
                let terms = (0..k).map(|j| f64::from(x[i / n * k + j]) * f64::from(weights[j * n + i % n]));
                let size: f64 = terms.clone().map(f64::abs).sum();
                let added = if add { f64::from(r[i]) } else { 0.0 };
                let expected = terms.sum::<f64>() + f64::from(bias.unwrap()[i % n]) + added;
                let error = (f64::from(*found) - activation(act, expected)).abs();
                let limit = if arithmetic { 6e-3 } else { 2e-5 };
                assert!(error <= limit * (1.0 + size + f64::from(scale)), "{pool:?}, {i}: off by {error}, kept {is_halves}");
            }
            // The same bits on any number of threads.
            if arithmetic {
                let first = first.get_or_insert_with(|| out.clone());
                assert!(first.iter().zip(&out).all(|(a, b)| a.to_bits() == b.to_bits()), "{pool:?}");
            }
        });
    }
}

/// Results beyond the largest half, and such as halves have no bits for, are floats; all others halves.
#[test]
fn results_are_floats_where_halves_will_not_do() {
    for (size, weight, act, expected) in [
        (1.0, 1.0, Activation::Identity, true),
        (1.0, 1.0, Activation::HardSwish, true),
        (60_000.0, 2.0, Activation::Identity, false),
        (60_000.0, -2.0, Activation::Identity, false),
        (60_000.0, 2.0, Activation::HardSwish, false),
        (60_000.0, 2.0, Activation::Clamp { low: 0.0, high: 6.0 }, false),
        (60_000.0, -2.0, Activation::Clamp { low: 0.0, high: f32::INFINITY }, false),
        (10_000.0, 2.0, Activation::Clamp { low: 0.0, high: 6.0 }, true),
        (1e30, 1.0, Activation::Identity, false),
        (1e-6, 1.0, Activation::Identity, false),
        (1e-6, -1.0, Activation::HardSwish, false),
        (f32::NAN, 1.0, Activation::Identity, false),
    ] {
        let x = [size; 8];
        let packed = pack_f16(2, 4, |_, _| weight).unwrap();
        for_each_half(|pool| {
            let (mut out, mut scratch) = ([0.0; 16], [0.0; 4]);
            let epilogue = Epilogue { activation: act, ..Epilogue::default() };
            let ends = Ends { output: true, ..Ends::default() };
            gemm_f16(pool, &x, 2, &packed, 4, epilogue, ends, &mut scratch, &mut out);
            let (found, is_halves) = read(&out);
            assert_eq!(is_halves, expected && pool.half_isa().is_arithmetic(), "{size} {weight} {act:?}");
            let sum = activation(act, f64::from(size) * f64::from(weight) * 2.0) as f32;
            let right = |found: &f32| (found - sum).abs() <= 2e-3 * sum.abs() || found.is_nan() && sum.is_nan();
            assert!(found.iter().all(right), "{found:?} instead of {sum}");
        });
    }
}
