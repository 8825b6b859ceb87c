//! What the rounds of a series say: median and quartiles, and ratios of rounds that ran side by side.

use serde::Serialize;

/// Ratios whose quartiles lie further apart than this part of their median disagree.
const DISAGREE: f64 = 0.15;

/// Middle and width of some values. Medians and quartiles, since the noise of timings is one-sided and has long tails.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Spread {
    /// Half of the values are smaller.
    pub median: f64,
    /// A quarter is smaller.
    pub q1: f64,
    /// A quarter is larger.
    pub q3: f64,
    /// How many values.
    pub rounds: usize,
}

impl Spread {
    /// Of at least one value.
    pub(crate) fn of(values: &[f64]) -> Option<Self> {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let at = |share| quantile(&sorted, share);
        Some(Self { median: at(0.5)?, q1: at(0.25)?, q3: at(0.75)?, rounds: values.len() })
    }

    /// The same values in another unit.
    pub(crate) fn times(self, factor: f64) -> Self {
        Self { median: self.median * factor, q1: self.q1 * factor, q3: self.q3 * factor, ..self }
    }

    /// Whether half of the values lie so close together that the median can be believed: within 15 % of it.
    pub(crate) fn agrees(self) -> bool {
        self.width() <= DISAGREE
    }

    /// Distance of the quartiles over the median.
    pub(crate) fn width(self) -> f64 {
        (self.q3 - self.q1) / self.median.abs().max(f64::MIN_POSITIVE)
    }

    /// Standard deviation of a normal distribution with these quartiles: single rounds far out do not widen it.
    pub(crate) fn sigma(self) -> f64 {
        /// Between the quartiles of the standard normal distribution.
        const QUARTILES: f64 = 1.349;
        (self.q3 - self.q1) / QUARTILES
    }
}

/// Linear between neighbours (type 7 of Hyndman and Fan, 1996).
fn quantile(sorted: &[f64], share: f64) -> Option<f64> {
    let place = share * sorted.len().checked_sub(1)? as f64;
    let (below, above) = (sorted[place.floor() as usize], sorted[place.ceil() as usize]);
    Some(below + (above - below) * place.fract())
}

/// Round i of one series over round i of the other: what slows the machine for a while slows both, and drops out.
pub(crate) fn ratios(over: &[f64], under: &[f64]) -> Vec<f64> {
    over.iter().zip(under).map(|(a, b)| a / b).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quartiles_lie_between_neighbours() {
        let spread = Spread::of(&[4.0, 1.0, 2.0, 3.0]).unwrap();
        assert_eq!((spread.q1, spread.median, spread.q3, spread.rounds), (1.75, 2.5, 3.25, 4));
        assert_eq!(Spread::of(&[7.0]).unwrap(), Spread { median: 7.0, q1: 7.0, q3: 7.0, rounds: 1 });
        assert_eq!(Spread::of(&[]), None);
    }

    /// A machine that slows down midway moves the ratio of medians, not the median of ratios.
    #[test]
    fn what_slows_both_drops_out() {
        let slowed = |base: f64| (0..9).map(|i| base * if i < 4 { 1.0 } else { 3.0 }).collect::<Vec<_>>();
        let ratio = Spread::of(&ratios(&slowed(2.0), &slowed(1.0))).unwrap();
        assert_eq!((ratio.median, ratio.q1, ratio.q3), (2.0, 2.0, 2.0));
    }

    #[test]
    fn sigma_is_that_of_a_normal_distribution() {
        let mut random = fastrand::Rng::with_seed(1);
        let normal: Vec<f64> = (0..40_000).map(|_| (0..12).map(|_| random.f64()).sum::<f64>() - 6.0).collect();
        assert!((Spread::of(&normal).unwrap().sigma() - 1.0).abs() < 0.03);
    }
}
