//! The binomial distribution.

/// P(X <= k) for X binomial with n trials of probability p, exactly but for rounding.
pub(crate) fn tail(k: usize, n: usize, p: f64) -> f64 {
    if k >= n || p <= 0.0 {
        return 1.0;
    }
    if p >= 1.0 {
        return 0.0;
    }
    // ln of the term for 0, then each from the one before.
    let mut term = n as f64 * (-p).ln_1p();
    let mut terms = vec![term];
    for i in 0..k {
        term += ((n - i) as f64 / (i + 1) as f64).ln() + (p / (1.0 - p)).ln();
        terms.push(term);
    }
    let top = terms.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    (top + terms.iter().map(|t| (t - top).exp()).sum::<f64>().ln()).exp().min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn binomial_tail_is_exact() {
        let plain = |k: usize, n: usize, p: f64| -> f64 {
            let choose = |n: usize, k: usize| (0..k).map(|i| (n - i) as f64 / (i + 1) as f64).product::<f64>();
            (0..=k).map(|i| choose(n, i) * p.powi(i as i32) * (1.0 - p).powi((n - i) as i32)).sum()
        };
        for (k, n, p) in [(0, 10, 0.1), (3, 20, 0.3), (10, 30, 0.5), (29, 30, 0.01), (5, 100, 0.02)] {
            assert!((tail(k, n, p) - plain(k, n, p)).abs() < 1e-12, "{k} {n} {p}");
        }
        assert_eq!(tail(5, 5, 0.5), 1.0);
        assert!(tail(100, 1_000_000, 0.01) < 1e-300);
    }
}
