//! Easy and hard spells, told by what frames cost: easy ones leave early.
//!
//! The joules of a frame over those that its operating point is expected to cost are a noisy signal of how hard the scene is. A
//! hidden Markov model of two kinds of spells gives the probability that the present one is easy. What a frame costs in either kind
//! and by how much frames of one kind differ is learned meanwhile, each decision counting for either kind as far as it is
//! probably of it (expectation maximisation, decision by decision), and by its number of frames: in hard spells there are few.
//! Where nothing lasts, as at a point that treats all frames alike, both kinds become the same, and nothing is shifted.

/// Mean seconds of a spell: those of minutes are worth following.
const SPELL: f32 = 1200.0;
/// Seconds over which the noise is learned, and what frames cost.
const NOISE_MEMORY: f32 = 4.0 * 3600.0;
const COST_MEMORY: f32 = 8.0 * 3600.0;
/// Seconds before spells are told apart.
const FIRST_SECONDS: f32 = 1200.0;
/// Difference of the kinds that is assumed at first, in standard deviations of a frame's joules, and the frames it weighs.
const FIRST_APART: f32 = 0.4;
const FIRST_FRAMES: f32 = 100.0;
/// The least standard deviation of a frame's joules, as a share of them, that tells something.
const LEAST_SPREAD: f32 = 0.005;
/// The least difference of the kinds in standard deviations of a frame's joules: too small to be told, but one that can grow.
const STILL_APART: f32 = 0.05;
/// The least difference of the kinds, as a share of a frame's cost, that counts.
const LEAST_APART: f32 = 0.008;
/// The least square of the difference, over the variance of the mean of a spell's frames: chance alone makes some of it.
const LEAST_TOLD: f32 = 8.0;
/// Variance of a decision's mean that no number of frames takes away, over the square of the difference.
const UNEVEN: f32 = 0.05;
/// The most that one decision says, and that the logarithm of odds may be.
const MOST_SAID: f32 = 4.0;
const MOST_ODDS: f32 = 12.0;

/// What frames cost in one kind of spell.
#[derive(Clone, Copy, Debug, Default)]
struct Kind {
    /// Joules over expected ones.
    mean: f32,
    /// Frames that it is known by.
    frames: f32,
}

/// Follows how hard the scene is.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Spells {
    hard: Kind,
    easy: Kind,
    seconds: f32,
    /// Variance of one frame within a spell.
    noise: f32,
    /// Frames in the time of a spell.
    frames: f32,
    /// Logarithm of the odds that the spell is easy.
    odds: f32,
}

impl Spells {
    /// Takes in that `frames` frames cost `ratio` times what was expected, in `seconds`; the joules of a frame have a standard
    /// deviation of `spread` of their mean.
    pub(super) fn observe(&mut self, seconds: f32, frames: f32, ratio: f32, spread: f32) {
        self.forget(seconds.max(0.0));
        // A point that treats all frames alike tells nothing.
        if !(frames >= 1.0 && ratio.is_finite() && seconds > 0.0 && spread > LEAST_SPREAD) {
            return;
        }
        let in_spell = frames * SPELL / seconds;
        if self.seconds == 0.0 {
            let half = 0.5 * FIRST_APART * spread;
            self.hard = Kind { mean: ratio + half, frames: FIRST_FRAMES };
            self.easy = Kind { mean: ratio - half, frames: FIRST_FRAMES };
            self.noise = spread * spread;
            self.frames = in_spell;
        }
        self.seconds = (self.seconds + seconds).min(NOISE_MEMORY);
        let gain = (seconds / self.seconds).min(1.0);
        self.frames += gain * (in_spell - self.frames);
        let (apart, middle) = (self.apart(), 0.5 * (self.hard.mean + self.easy.mean));
        let noise = self.noise.max(1e-8) / frames + UNEVEN * apart * apart;
        let said = apart * (middle - ratio) / noise;
        self.odds = (self.odds + said.clamp(-MOST_SAID, MOST_SAID)).clamp(-MOST_ODDS, MOST_ODDS);

        let ease = probability(self.odds);
        let keep = libm::expf(-seconds / COST_MEMORY);
        let mut variance = 0.0;
        for (kind, share) in [(&mut self.hard, 1.0 - ease), (&mut self.easy, ease)] {
            let part = share * frames;
            kind.frames = kind.frames * keep + part;
            let before = ratio - kind.mean;
            kind.mean += part / kind.frames.max(1.0) * before;
            variance += part * before * (ratio - kind.mean);
        }
        self.noise += gain * (variance.max(0.0) - self.noise);
        // Two kinds that are the same would stay so.
        let least = STILL_APART * libm::sqrtf(self.noise);
        if self.apart() < least {
            let middle = 0.5 * (self.hard.mean + self.easy.mean);
            self.hard.mean = middle + 0.5 * least;
            self.easy.mean = middle - 0.5 * least;
        }
    }

    /// By how much hard frames cost more than easy ones, as a share of what was expected.
    fn apart(&self) -> f32 {
        self.hard.mean - self.easy.mean
    }

    /// Lets time pass, in which the spell may end.
    fn forget(&mut self, seconds: f32) {
        let keep = libm::expf(-2.0 * seconds / SPELL);
        let easy = 0.5 + (probability(self.odds) - 0.5) * keep;
        self.odds = libm::logf(easy / (1.0 - easy).max(1e-6));
    }

    /// Probability that the scene is easy. None where spells cannot be told apart.
    pub(super) fn ease(&self) -> Option<f32> {
        let apart = self.apart();
        let told = apart > LEAST_APART
            && self.seconds > FIRST_SECONDS
            && apart * apart * self.frames > LEAST_TOLD * self.noise;
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
            told.observe(30.0, 20.0, noise + if easy { 0.96 } else { 1.04 }, 0.2);
            alike.observe(30.0, 20.0, 1.0, 0.2);
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

    #[test]
    fn spells_are_told_apart_by_one_frame_now_and_then() {
        let (mut spells, mut luck) = (Spells::default(), 1u32);
        let (mut right, mut seen) = (0, 0);
        for step in 0..4800u32 {
            luck = luck.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let chance = (luck >> 8) as f32 / (1u32 << 24) as f32;
            let easy = step / 60 % 2 == 0;
            // Easy frames go on to the second exit in one case of ten, hard ones in every other.
            let onward = chance < if easy { 0.1 } else { 0.5 };
            spells.observe(30.0, 1.0, if onward { 1.3 } else { 0.9 }, 0.2);
            if step > 1200
                && let Some(ease) = spells.ease()
            {
                seen += 1;
                right += u32::from((ease > 0.5) == easy);
            }
        }
        assert!(seen > 3000 && f64::from(right) / f64::from(seen) > 0.8, "{right} of {seen}");
        let (hard, easy) = (spells.hard.mean, spells.easy.mean);
        assert!((hard - 1.1).abs() < 0.05 && (easy - 0.94).abs() < 0.05, "{hard} and {easy}");
    }

    #[test]
    fn spells_are_told_apart_after_a_time_at_a_point_that_tells_nothing() {
        let mut spells = Spells::default();
        for step in 0..1200u32 {
            let easy = step / 40 % 2 == 0;
            let tells = step > 200;
            let ratio = if !tells {
                1.0
            } else if easy {
                0.95
            } else {
                1.05
            };
            spells.observe(30.0, 20.0, ratio, if tells { 0.2 } else { 0.0 });
        }
        assert!(spells.apart() > 0.08 && spells.ease().is_some(), "{spells:?}");
    }
}
