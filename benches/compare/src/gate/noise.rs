//! Whether a change is beyond noise.
//!
//! A series is judged by the ratios of its rounds to those of a peer that ran beside it. Let b be the logarithms of these ratios
//! in the baseline and c those now; median(c) - median(b) is the change. The noise of each side is the standard deviation σ of
//! the normal distribution that has its quartiles, and that of the change √(σ_b² + σ_c²). A change counts where it exceeds three
//! times that, and [`FLOOR`] in any case.
//!
//! The deviation is not divided by √n, as that of the median of n independent rounds would be: rounds of one run are not
//! independent, since clocks, neighbours and the placement of memory drift over many rounds, and more rounds do not average that
//! out. Quartiles and not the variance, since a few rounds far out, which every shared machine has, are no noise of the median
//! (McGill, Tukey and Larsen, Variations of Box Plots, 1978, judge medians by quartiles for that reason).

use serde::Serialize;

use crate::rounds::Spread;

/// Changes up to this are never flagged: the placement of code and memory alone moves a time by some per cent from one build to
/// the next, and rounds of one run do not show it.
pub(super) const FLOOR: f64 = 0.05;
/// Noise in standard deviations that a change has to exceed.
pub(super) const DEVIATIONS: f64 = 3.0;
/// With fewer rounds quartiles say too little: noise alone would now and then look quiet and shifted.
pub(super) const ROUNDS: usize = 7;
/// Instruction counts repeat but for the placement of memory and the order of threads.
pub(super) const INSTRUCTIONS: f64 = 0.02;

/// What became of a series.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Verdict {
    /// Slower beyond noise: the gate closes.
    Worse,
    /// Faster beyond noise.
    Better,
    /// Neither.
    Same,
    /// Fewer than [`ROUNDS`] rounds on one side.
    TooFewRounds,
}

impl Verdict {
    /// In words.
    pub(super) fn name(self) -> &'static str {
        match self {
            Verdict::Worse => "worse",
            Verdict::Better => "better",
            Verdict::Same => "same",
            Verdict::TooFewRounds => "too few rounds",
        }
    }
}

/// A change and what it was held against.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct Judgement {
    /// Now over then: 1.1 is 10 % slower.
    pub change: f64,
    /// What `change`, or its inverse, has to exceed.
    pub limit: f64,
    /// The outcome.
    pub verdict: Verdict,
}

/// Judges ratios of rounds; none without rounds.
pub(super) fn judge(then: &[f64], now: &[f64]) -> Option<Judgement> {
    let spread = |ratios: &[f64]| Spread::of(&ratios.iter().map(|ratio| ratio.ln()).collect::<Vec<_>>());
    let (b, c) = (spread(then)?, spread(now)?);
    let limit = (DEVIATIONS * b.sigma().hypot(c.sigma())).max(FLOOR.ln_1p());
    let judged = against((c.median - b.median).exp(), limit.exp());
    let few = b.rounds.min(c.rounds) < ROUNDS;
    Some(Judgement { verdict: if few { Verdict::TooFewRounds } else { judged.verdict }, ..judged })
}

/// Judges counts that have no noise to speak of.
pub(super) fn judge_counts(then: u64, now: u64) -> Judgement {
    against(now as f64 / then as f64, 1.0 + INSTRUCTIONS)
}

fn against(change: f64, limit: f64) -> Judgement {
    let verdict = match change {
        worse if worse > limit => Verdict::Worse,
        better if better < 1.0 / limit => Verdict::Better,
        _ => Verdict::Same,
    };
    Judgement { change, limit, verdict }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// About normal, of deviation 1.
    fn normal(random: &mut fastrand::Rng) -> f64 {
        (0..12).map(|_| random.f64()).sum::<f64>() - 6.0
    }

    /// Mostly quiet; every seventh round or so disturbed by up to several times the usual.
    fn bursts(random: &mut fastrand::Rng) -> f64 {
        let disturbed = if random.f64() < 0.15 { -6.0 * (1.0 - random.f64()).ln() } else { 0.0 };
        0.3 * normal(random) + disturbed * if random.bool() { 1.0 } else { -1.0 }
    }

    fn series(
        random: &mut fastrand::Rng,
        noise: fn(&mut fastrand::Rng) -> f64,
        level: f64,
        deviation: f64,
    ) -> Vec<f64> {
        (0..15).map(|_| level * (deviation * noise(random)).exp()).collect()
    }

    #[test]
    fn noise_alone_is_never_flagged() {
        for noise in [normal, bursts] {
            for deviation in [0.002, 0.01, 0.03, 0.1] {
                for seed in 0..2000 {
                    let random = &mut fastrand::Rng::with_seed(seed);
                    let then = series(random, noise, 0.8, deviation);
                    let now = series(random, noise, 0.8, deviation);
                    let judged = judge(&then, &now).unwrap();
                    assert_eq!(judged.verdict, Verdict::Same, "seed {seed}, deviation {deviation}: {judged:?}");
                }
            }
        }
    }

    /// Where now and then a round is far out, the quartiles of a series are now and then wide.
    #[test]
    fn ten_per_cent_in_a_quiet_series_is_flagged() {
        type Noise = fn(&mut fastrand::Rng) -> f64;
        let kinds: [(Noise, usize); 2] = [(normal, 2000), (bursts, 1980)];
        for (noise, least) in kinds {
            let flagged = (0..2000).filter(|&seed| {
                let random = &mut fastrand::Rng::with_seed(seed);
                let (then, now) = (series(random, noise, 0.8, 0.008), series(random, noise, 0.88, 0.008));
                let verdicts = [judge(&then, &now), judge(&now, &then)].map(|judged| judged.unwrap().verdict);
                verdicts == [Verdict::Worse, Verdict::Better]
            });
            let flagged = flagged.count();
            assert!(flagged >= least, "{flagged} of 2000");
        }
    }

    #[test]
    fn the_same_ten_per_cent_in_a_noisy_series_is_not() {
        let random = &mut fastrand::Rng::with_seed(3);
        let (then, now) = (series(random, normal, 0.8, 0.1), series(random, normal, 0.88, 0.1));
        let judged = judge(&then, &now).unwrap();
        assert_eq!(judged.verdict, Verdict::Same);
        assert!(judged.limit > 1.2, "{judged:?}");
    }

    #[test]
    fn few_rounds_are_not_judged() {
        assert_eq!(judge(&[1.0; 6], &[2.0; 20]).unwrap().verdict, Verdict::TooFewRounds);
        assert_eq!(judge(&[1.0; 7], &[2.0; 7]).unwrap().verdict, Verdict::Worse);
        assert_eq!(judge(&[], &[2.0; 7]), None);
    }

    #[test]
    fn counts_may_grow_by_two_per_cent() {
        assert_eq!(judge_counts(1_000_000, 1_025_000).verdict, Verdict::Worse);
        assert_eq!(judge_counts(1_000_000, 1_015_000).verdict, Verdict::Same);
        assert_eq!(judge_counts(1_000_000, 975_000).verdict, Verdict::Better);
    }
}
