//! A betting test of a bounded mean: Waudby-Smith and Ramdas, Estimating means of bounded random variables by betting, 2024.
//!
//! For the net loss of a pair, X in {-1, 0, 1} (1 where the whole network alone is right, -1 where the policy alone is), the
//! hypothesis is E X >= m. Whoever bets a share of a fortune against it, 1 + b (m - X) a sample, can expect to win nothing
//! while it holds, so that by Markov's inequality a fortune of 1 / alpha comes about with probability alpha at most. The mean of
//! the fortunes under many bets is such a fortune, too, and unlike bets that follow what was seen it does not depend on the
//! order of the samples.

/// Bets, as shares of the largest that cannot ruin.
const BETS: u32 = 40;

/// Natural logarithm of the fortune that betting against a mean net loss of `limit` or more makes of 1, after `samples` pairs of
/// which `lost` are 1, `gained` are -1 and the others 0.
pub(crate) fn log_fortune(lost: usize, gained: usize, samples: usize, limit: f64) -> f64 {
    let same = samples.saturating_sub(lost + gained) as f64;
    let most = 1.0 / (1.0 - limit);
    let logs = (1..=BETS).map(|step| {
        // Closer together towards the small bets: those are right where many pairs differ.
        let bet = most * 0.999 * (f64::from(step) / f64::from(BETS)).powi(2);
        let part = |count: f64, gain: f64| if count > 0.0 { count * (bet * gain).ln_1p() } else { 0.0 };
        part(lost as f64, limit - 1.0) + part(gained as f64, limit + 1.0) + part(same, limit)
    });
    let logs: Vec<f64> = logs.collect();
    let top = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    top + (logs.iter().map(|log| (log - top).exp()).sum::<f64>() / f64::from(BETS)).ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fortune_can_be_expected_to_be_one_where_the_mean_is_the_limit() {
        // The exact expectation over all outcomes of few samples, with losses and gains that make a net loss of the limit.
        let (limit, gain) = (0.05f64, 0.1f64);
        let loss = gain + limit;
        let mut mean = 0.0;
        let choose = |n: u32, k: u32| (0..k).map(|i| f64::from(n - i) / f64::from(i + 1)).product::<f64>();
        let n = 12u32;
        for lost in 0..=n {
            for gained in 0..=n - lost {
                let same = n - lost - gained;
                let ways = choose(n, lost) * choose(n - lost, gained);
                let chance = loss.powi(lost as i32) * gain.powi(gained as i32) * (1.0 - loss - gain).powi(same as i32);
                mean += ways * chance * log_fortune(lost as usize, gained as usize, n as usize, limit).exp();
            }
        }
        assert!((mean - 1.0).abs() < 1e-9, "{mean}");
    }

    #[test]
    fn fortune_grows_with_gains_and_shrinks_with_losses() {
        let fortune = |lost, gained| log_fortune(lost, gained, 5000, 0.01);
        assert!(fortune(10, 60) > fortune(60, 60) && fortune(60, 60) > fortune(100, 60));
        // Sixty frames lost and sixty gained of 5,000 are no loss of 1 %, and a hundred lost more than gained are one.
        assert!(fortune(60, 60) > 20f64.ln() && fortune(160, 60) < 0.0);
    }
}
