use proptest::prelude::*;

use super::*;
use crate::dispatch::{HalfIsa, Isa};
use crate::oracle::{activation, activations, cases, for_each_half, most};
use crate::testing::values;

/// Products in double precision with weights as they are stored, and the largest sum of magnitudes.
fn reference(x: &[f32], packed: &[u16], k: usize, n: usize) -> (Vec<f64>, f64) {
    let weights = KernelFamily::F16.unpack(Reduction::whole(k), n, packed);
    let term = |row: usize, column: usize, i: usize| {
        f64::from(x[row * k + i]) * f64::from(convert::to_f32(weights[i * n + column]))
    };
    let mut largest: f64 = 0.0;
    let mut sums = vec![];
    for (row, column) in (0..x.len() / k).flat_map(|row| (0..n).map(move |column| (row, column))) {
        sums.push((0..k).map(|i| term(row, column, i)).sum());
        largest = largest.max((0..k).map(|i| term(row, column, i).abs()).sum());
    }
    (sums, largest)
}

/// What a sum may be off by, over the sum of magnitudes: a few steps of a half where halves are multiplied.
fn tolerance(pool: &ThreadPool) -> f64 {
    if pool.half_isa().is_arithmetic() { 4e-3 } else { 2e-6 }
}

proptest! {
    #![proptest_config(cases(150))]

    #[test]
    fn gemm_f16_matches_three_loops(
        m in 1..=most(67), k in 1..=most(67), n in 1..=most(67), residual: bool, act in activations(),
    ) {
        let (x, w) = (values(1, m * k), values(2, k * n));
        let (bias, r) = (values(3, n), values(4, m * n));
        let packed = pack_f16(k, n, |k, column| w[k * n + column]).unwrap();
        let (sums, largest) = reference(&x, &packed, k, n);
        let epilogue = Epilogue { bias: Some(&bias), residual: residual.then_some(&r), activation: act, ..Epilogue::default() };
        let mut first: Option<(HalfIsa, Vec<f32>)> = None;
        for_each_half(|pool| {
            let (mut out, mut scratch) = (vec![f32::NAN; m * n], vec![0.0; (m * k).div_ceil(2)]);
            gemm_f16(pool, &x, k, &packed, n, epilogue, Ends::default(), &mut scratch, &mut out);
            for (i, (found, sum)) in out.iter().zip(&sums).enumerate() {
                let expected = sum + f64::from(bias[i % n]) + if residual { f64::from(r[i]) } else { 0.0 };
                // No activation is steeper than 1.2.
                let error = (f64::from(*found) - activation(act, expected)).abs();
                assert!(error <= 1.2 * tolerance(pool) * (1.0 + largest), "{pool:?}, {i}: off by {error}");
            }
            // The same bits on any number of threads.
            match &first {
                Some((isa, first)) if *isa == pool.half_isa() => {
                    let equal = first.iter().zip(&out).all(|(a, b)| a.to_bits() == b.to_bits());
                    assert!(equal || pool.threads() == 1, "{pool:?} gives other bits than one thread");
                }
                _ => first = Some((pool.half_isa(), out)),
            }
        });
    }

    /// Long sums of one sign, of values far beyond the largest half: infinite nowhere, and as exact as small ones.
    #[test]
    fn gemm_f16_of_large_values_is_finite(k in 200_usize..1500, exponent in -30_i32..100, sign: bool) {
        let scale = 2.0_f32.powi(exponent) * if sign { -1.0 } else { 1.0 };
        let x: Vec<f32> = values(1, k).iter().map(|x| scale * (1.5 + 0.5 * x)).collect();
        let packed = pack_f16(k, 3, |k, n| 0.25 + (k % 7) as f32 * 0.1 + n as f32).unwrap();
        let (sums, largest) = reference(&x, &packed, k, 3);
        for_each_half(|pool| {
            let (mut out, mut scratch) = ([f32::NAN; 3], vec![0.0; k.div_ceil(2)]);
            gemm_f16(pool, &x, k, &packed, 3, Epilogue::default(), Ends::default(), &mut scratch, &mut out);
            for (found, sum) in out.iter().zip(&sums) {
                let error = (f64::from(*found) - sum).abs();
                assert!(error <= tolerance(pool) * largest, "{pool:?}: {found} instead of {sum}");
            }
        });
    }
}

/// Networks of many layers add up what each loses: sums of halves one by one would lose 1.2e-3 of a sum of 64 entries or more.
#[test]
fn long_sums_lose_little() {
    let (m, k, n) = (6, 512, 16);
    let (x, w) = (values(1, m * k), values(2, k * n));
    let packed = pack_f16(k, n, |k, column| w[k * n + column]).unwrap();
    let (sums, _) = reference(&x, &packed, k, n);
    let size = (sums.iter().map(|sum| sum * sum).sum::<f64>()).sqrt();
    for_each_half(|pool| {
        let (mut out, mut scratch) = (vec![f32::NAN; m * n], vec![0.0; (m * k).div_ceil(2)]);
        gemm_f16(pool, &x, k, &packed, n, Epilogue::default(), Ends::default(), &mut scratch, &mut out);
        let error =
            out.iter().zip(&sums).map(|(found, sum)| (f64::from(*found) - sum).powi(2)).sum::<f64>().sqrt() / size;
        let limit = if pool.half_isa().is_arithmetic() { 8e-4 } else { 1e-6 };
        assert!(error <= limit, "{pool:?}: off by {error}");
    });
}

#[test]
fn weights_that_halves_cannot_hold_are_not_packed() {
    assert!(pack_f16(1, 1, |_, _| LARGEST_WEIGHT).is_some());
    for weight in [64.0, -1e6, f32::INFINITY, f32::NAN] {
        assert!(pack_f16(1, 1, |_, _| weight).is_none(), "{weight}");
    }
}

#[test]
fn what_is_no_number_is_no_number_after() {
    let packed = pack_f16(2, 1, |_, _| 1.0).unwrap();
    for value in [f32::NAN, f32::INFINITY] {
        for_each_half(|pool| {
            let (mut out, mut scratch) = ([0.0], [0.0; 1]);
            gemm_f16(pool, &[value, 1.0], 2, &packed, 1, Epilogue::default(), Ends::default(), &mut scratch, &mut out);
            assert!(!out[0].is_finite(), "{pool:?}: {}", out[0]);
        });
    }
}

#[test]
fn every_instruction_set_has_kernels_for_halves() {
    for isa in Isa::available() {
        assert!(HalfIsa::available(isa).all(|half| half.token().unwrap().isa() == half));
        assert_eq!(HalfIsa::available(isa).last(), Some(HalfIsa::best(isa)));
    }
    assert_eq!(HalfIsa::best(Isa::Plain).to_string(), "plain");
}
