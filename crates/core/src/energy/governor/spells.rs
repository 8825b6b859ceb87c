//! Easy and hard spells, told by what frames cost: easy ones leave early.
//!
//! The joules of a frame over those that its operating point is expected to cost are a noisy signal of how hard the scene is.
//! Its variance from decision to decision is split in two: what lasts from one decision to the next (the product of
//! neighbouring deviations) is signal, the rest is chance among few frames. With these two, a hidden Markov model of two
//! kinds of spells, one deviation of the signal above and below the mean, gives the probability that the present one is easy.
//! Where nothing lasts, as at a point that treats all frames alike, spells are not told apart and nothing is shifted.

/// Mean seconds of a spell: those of minutes are worth following.
const SPELL: f32 = 1200.0;
/// Seconds over which the variances are learned.
const VARIANCE_MEMORY: f32 = 4.0 * 3600.0;
/// The least standard deviation of the signal, as a share of a frame's cost, that counts.
const LEAST_SIGNAL: f32 = 0.004;

/// The most that the logarithm of odds may be.
const MOST_ODDS: f32 = 12.0;

/// Follows how hard the scene is.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Spells {
    mean: f32,
    /// Deviation of the last decision, and frames that it is of.
    before: Option<f32>,
    seconds: f32,
    signal: f32,
    /// Variance of one frame.
    noise: f32,
    /// Logarithm of the odds that the spell is easy.
    odds: f32,
}

impl Spells {
    /// Takes in that `frames` frames cost `ratio` times what was expected, in `seconds`.
    pub(super) fn observe(&mut self, seconds: f32, frames: f32, ratio: f32) {
        if !(frames >= 1.0 && ratio.is_finite() && seconds > 0.0) {
            // Time passes all the same.
            self.forget(seconds.max(0.0));
            return;
        }
        self.seconds = (self.seconds + seconds).min(VARIANCE_MEMORY);
        let gain = (seconds / self.seconds).min(1.0);
        self.mean += gain * (ratio - self.mean);
        let deviation = ratio - self.mean;
        if let Some(before) = self.before {
            self.signal += gain * (deviation * before - self.signal);
            let chance = 0.5 * (deviation - before) * (deviation - before) * frames;
            self.noise += gain * (chance - self.noise);
        }
        self.before = Some(deviation);
        self.forget(seconds);
        let apart = libm::sqrtf(self.signal.max(0.0));
        let noise = self.noise.max(1e-8) / frames + 0.1 * self.signal.max(0.0);
        self.odds = (self.odds - 2.0 * apart * deviation / noise).clamp(-MOST_ODDS, MOST_ODDS);
    }

    /// Lets time pass, in which the spell may end.
    fn forget(&mut self, seconds: f32) {
        let keep = libm::expf(-2.0 * seconds / SPELL);
        let easy = 0.5 + (probability(self.odds) - 0.5) * keep;
        self.odds = libm::logf(easy / (1.0 - easy).max(1e-6));
    }

    /// Probability that the scene is easy; one half on average. None where spells cannot be told apart.
    pub(super) fn ease(&self) -> Option<f32> {
        let told = self.signal > LEAST_SIGNAL * LEAST_SIGNAL && self.seconds > 0.1 * VARIANCE_MEMORY;
        told.then(|| probability(self.odds))
    }
}

fn probability(odds: f32) -> f32 {
    1.0 / (1.0 + libm::expf(-odds.clamp(-MOST_ODDS, MOST_ODDS)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spells_are_told_apart_where_frames_cost_differently_and_not_where_they_do_not() {
        let (mut told, mut alike) = (Spells::default(), Spells::default());
        let (mut right, mut seen) = (0, 0);
        let mut luck = 1u32;
        for step in 0..2400u32 {
            luck = luck.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let noise = ((luck >> 8) as f32 / (1u32 << 24) as f32 - 0.5) * 0.1;
            let easy = step / 40 % 2 == 0;
            told.observe(30.0, 20.0, noise + if easy { 0.96 } else { 1.04 });
            alike.observe(30.0, 20.0, 1.0);
            if step > 400
                && let Some(ease) = told.ease()
            {
                seen += 1;
                right += u32::from((ease > 0.5) == easy);
            }
        }
        assert!(seen > 1800 && f64::from(right) / f64::from(seen) > 0.85, "{right} of {seen}");
        assert_eq!(alike.ease(), None);
    }
}
