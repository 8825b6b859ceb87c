//! Latencies of any number of frames in a fixed amount of memory.

use std::time::Duration;

/// Buckets grow by this factor: a percentile is known to within 1 %.
const GROWTH: f64 = 1.01;
/// Upper bound of the first bucket.
const SHORTEST: f64 = 1e-6;
/// 1 % steps from a microsecond to a quarter of an hour.
const BUCKETS: usize = 2048;

/// A histogram with buckets of equal ratio, and the exact sum.
#[derive(Clone, Debug)]
pub(super) struct Latencies {
    buckets: Vec<u64>,
    count: u64,
    sum: Duration,
    longest: Duration,
}

impl Default for Latencies {
    fn default() -> Self {
        Self { buckets: vec![0; BUCKETS], count: 0, sum: Duration::ZERO, longest: Duration::ZERO }
    }
}

impl Latencies {
    pub(super) fn add(&mut self, latency: Duration) {
        let bucket = ((latency.as_secs_f64() / SHORTEST).ln() / GROWTH.ln()).ceil();
        // A latency of zero has no logarithm; the cast turns that and everything below the first bound into 0.
        self.buckets[(bucket as usize).min(BUCKETS - 1)] += 1;
        self.count += 1;
        self.sum += latency;
        self.longest = self.longest.max(latency);
    }

    pub(super) fn merge(&mut self, other: &Self) {
        self.buckets.iter_mut().zip(&other.buckets).for_each(|(mine, theirs)| *mine += theirs);
        self.count += other.count;
        self.sum += other.sum;
        self.longest = self.longest.max(other.longest);
    }

    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// The mean, and a value that at least 95 % of latencies do not exceed and that is at most 1 % above the smallest
    /// such value; both in milliseconds. `None` when there is none.
    pub(super) fn mean_and_p95(&self) -> Option<(f64, f64)> {
        let rank = (self.count * 95).div_ceil(100);
        let mut seen = 0;
        let bucket = self.buckets.iter().position(|count| {
            seen += count;
            seen >= rank && seen > 0
        })?;
        let bound = (SHORTEST * GROWTH.powi(bucket as i32)).min(self.longest.as_secs_f64());
        Some((1e3 * self.sum.as_secs_f64() / self.count as f64, 1e3 * bound))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(times: impl IntoIterator<Item = Duration>) -> Latencies {
        let mut latencies = Latencies::default();
        times.into_iter().for_each(|time| latencies.add(time));
        latencies
    }

    #[test]
    fn the_mean_is_exact_and_the_percentile_within_one_percent_above() {
        let (mean, p95) = of((1..=100).rev().map(Duration::from_millis)).mean_and_p95().unwrap();
        assert!((mean - 50.5).abs() < 1e-9 && (95.0..95.95).contains(&p95), "{mean} {p95}");
        assert_eq!(of([Duration::from_millis(3)]).mean_and_p95(), Some((3.0, 3.0)));
        assert_eq!(of([]).mean_and_p95(), None);
    }

    #[test]
    fn what_lies_outside_the_buckets_is_counted_too() {
        let times = [Duration::ZERO, Duration::from_nanos(1), Duration::from_secs(100_000)];
        let mut latencies = of(times);
        assert_eq!(latencies.count(), 3);
        latencies.merge(&of(times));
        assert_eq!((latencies.count(), latencies.longest), (6, times[2]));
        assert!(latencies.mean_and_p95().unwrap().1 > 700e3);
    }
}
