//! Chance: draws, and processes that wander about a mean.

/// A draw from the standard normal distribution: a sum of twelve uniforms less six, near enough for weather and boards.
pub(super) fn gauss(rng: &mut fastrand::Rng) -> f64 {
    (0..12).map(|_| rng.f64()).sum::<f64>() - 6.0
}

/// Uniform between two bounds.
pub(super) fn between(rng: &mut fastrand::Rng, (low, high): (f64, f64)) -> f64 {
    low + rng.f64() * (high - low)
}

/// An Ornstein-Uhlenbeck process of mean 0: a deviation that comes, lasts for a while and goes.
#[derive(Clone, Debug)]
pub(super) struct Wander {
    value: f64,
    deviation: f64,
    /// Seconds over which it forgets.
    memory: f64,
}

impl Wander {
    /// Begins somewhere in its range.
    pub(super) fn new(rng: &mut fastrand::Rng, deviation: f64, memory: f64) -> Self {
        Wander { value: deviation * gauss(rng), deviation, memory }
    }

    /// The deviation `seconds` later.
    pub(super) fn next(&mut self, rng: &mut fastrand::Rng, seconds: f64) -> f64 {
        let keep = (-seconds / self.memory).exp();
        self.value = self.value * keep + self.deviation * (1.0 - keep * keep).sqrt() * gauss(rng);
        self.value
    }
}
