use proptest::prelude::*;

use super::*;
use crate::oracle::{activation, activations, assert_close_to, cases, for_each_isa, most};
use crate::testing::values;

proptest! {
    #![proptest_config(cases(200))]

    #[test]
    fn gemm_matches_three_loops(
        m in 1..most(140), k in 1..most(67), n in 1..most(67), bias: bool, residual: bool, act in activations(),
    ) {
        let (x, w) = (values(1, m * k), values(2, k * n));
        let (b, r) = (values(3, n), values(4, m * n));
        let expected: Vec<f32> = (0..m * n)
            .map(|i| {
                let (row, column) = (i / n, i % n);
                let product: f64 = (0..k).map(|k_| f64::from(x[row * k + k_]) * f64::from(w[k_ * n + column])).sum();
                let bias = if bias { f64::from(b[column]) } else { 0.0 };
                let residual = if residual { f64::from(r[i]) } else { 0.0 };
                activation(act, product + bias + residual) as f32
            })
            .collect();
        let mut packed = vec![0.0; packed_len(k, n)];
        pack(k, n, |k, n_| w[k * n + n_], &mut packed);
        let epilogue = Epilogue { bias: bias.then_some(&b), residual: residual.then_some(&r), activation: act, ..Epilogue::default() };
        for_each_isa(m * n, |pool, out| gemm(pool, &x, k, &packed, n, epilogue, out), |out| {
            assert_close_to(out, &expected, 1.0 + k as f32 / 8.0);
        });
    }

    /// Sizes at which threads share the work as they do in networks, in parts worth handing over.
    #[test]
    fn gemm_has_the_same_bits_on_every_number_of_threads(
        m in 1..most(300), k in 30..30 + most(50), n in 1..most(300), residual: bool,
    ) {
        let (x, w, r) = (values(1, m * k), values(2, packed_len(k, n)), values(3, m * n));
        let bias = values(4, n);
        let epilogue = Epilogue { bias: Some(&bias), residual: residual.then_some(&r), ..Epilogue::default() };
        for_each_isa(m * n, |pool, out| gemm(pool, &x, k, &w, n, epilogue, out), |_| {});
    }

    #[test]
    fn even_ranges_cover_all(len in 0_usize..100, most in 1_usize..20) {
        let ranges: Vec<_> = even(len, most).collect();
        prop_assert_eq!(ranges.iter().flat_map(Clone::clone).collect::<Vec<_>>(), (0..len).collect::<Vec<_>>());
        let (least, longest) = (ranges.iter().map(|r| r.len()).min(), ranges.iter().map(|r| r.len()).max());
        prop_assert!(longest <= Some(most) && least >= longest.map(|l| l.saturating_sub(1)));
    }

    #[test]
    fn scaled_columns_scale_the_product(k in 1_usize..20, n in 1_usize..40) {
        let (w, s) = (values(1, k * n), values(2, n));
        let [mut scaled, mut expected] = [(); 2].map(|()| vec![0.0; packed_len(k, n)]);
        pack(k, n, |k, n_| w[k * n + n_], &mut scaled);
        scale_columns(&mut scaled, k, n, |n| s[n]);
        pack(k, n, |k, n_| w[k * n + n_] * s[n_], &mut expected);
        prop_assert_eq!(scaled, expected);
    }
}
