//! Isotonic regression: the best non-decreasing fit.

/// The non-decreasing sequence closest to `values` in weighted squares, by pooling adjacent violators
/// (Ayer et al., 1955). Entries of weight 0 take the value of the pool they fall in.
pub(super) fn isotonic(values: &[f64], weights: &[f64]) -> Vec<f64> {
    // Pools as (mean, weight, length).
    let mut pools: Vec<(f64, f64, usize)> = Vec::with_capacity(values.len());
    for (&value, &weight) in values.iter().zip(weights) {
        let mut pool = (value, weight, 1);
        while let Some(&(mean, before, length)) = pools.last() {
            if before > 0.0 && pool.1 > 0.0 && mean < pool.0 {
                break;
            }
            let total = before + pool.1;
            let merged = if total > 0.0 { (mean * before + pool.0 * pool.1) / total } else { pool.0 };
            pool = (merged, total, length + pool.2);
            pools.pop();
        }
        pools.push(pool);
    }
    pools.into_iter().flat_map(|(mean, _, length)| std::iter::repeat_n(mean, length)).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn isotonic_regression_pools_violators() {
        assert_eq!(isotonic(&[1.0, 3.0, 2.0, 4.0], &[1.0; 4]), [1.0, 2.5, 2.5, 4.0]);
        assert_eq!(isotonic(&[3.0, 0.0, 0.0], &[1.0, 2.0, 0.0]), [1.0, 1.0, 1.0]);
        assert_eq!(isotonic(&[], &[]), [] as [f64; 0]);
    }

    proptest! {
        /// Leaving from the first entry on whose fit is not negative is the best single threshold.
        #[test]
        fn isotonic_sign_gives_the_largest_sum_over_a_tail(values in proptest::collection::vec(-9i32..9, 1..40)) {
            let values: Vec<f64> = values.into_iter().map(f64::from).collect();
            let fit = isotonic(&values, &vec![1.0; values.len()]);
            prop_assert!(fit.is_sorted());
            let tail = |from: usize| values[from..].iter().sum::<f64>();
            let best = (0..=values.len()).map(tail).fold(f64::NEG_INFINITY, f64::max);
            let from = fit.partition_point(|v| *v < -1e-9);
            prop_assert!((tail(from) - best).abs() < 1e-9);
        }
    }
}
