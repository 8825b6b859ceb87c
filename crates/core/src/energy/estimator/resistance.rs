//! Internal resistance of a battery in use: by how much its voltage sags when it is loaded more.

use serde::{Deserialize, Serialize};

/// Standard deviation of a voltage's change from one decision to the next for other reasons than the load, in volts: noise of
/// the gauge, and the charge that is taken meanwhile.
const NOISE: f32 = 0.006;
/// By how much the resistance wanders in an hour, as a share of what it is: cold and an empty battery raise it.
const WANDER: f32 = 0.02;
/// Ohms that no battery of a board exceeds, and of which nothing is known at first.
const MOST: f32 = 2.0;
/// Readings beyond these are none of a board's battery.
const MOST_VOLTS: f32 = 100.0;
const MOST_AMPERES: f32 = 100.0;

/// Ohms by the changes of load and voltage, as a Kalman filter of one state follows them.
///
/// ```
/// use dyn_perceiver_core::energy::estimator::Resistance;
/// let mut inside = Resistance::default();
/// for step in 0..200u16 {
///     let amperes = if step % 2 == 0 { 0.5 } else { 2.0 };
///     inside.observe(30.0, 3.9 - 0.1 * amperes, amperes);
/// }
/// assert!((inside.ohms().unwrap() - 0.1).abs() < 0.01);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Resistance {
    ohms: f32,
    /// Variance of the ohms as a share of what it was at first; 0 before anything was seen.
    variance: f32,
    last: Option<(f32, f32)>,
}

impl Resistance {
    /// Nothing seen yet.
    pub(crate) const UNKNOWN: Resistance = Resistance { ohms: 0.0, variance: 0.0, last: None };

    /// Takes in the terminal voltage and the amperes drawn on average in the `seconds` before it.
    pub fn observe(&mut self, seconds: f32, volts: f32, amperes: f32) {
        if !((0.0..=MOST_VOLTS).contains(&volts) && (-MOST_AMPERES..=MOST_AMPERES).contains(&amperes) && seconds >= 0.0)
        {
            return;
        }
        let Some((volts_before, amperes_before)) = self.last.replace((volts, amperes)) else { return };
        let before = if self.variance > 0.0 { self.variance } else { MOST * MOST };
        let wander = WANDER * self.ohms;
        let prior = (before + wander * wander * seconds / 3600.0).min(MOST * MOST);
        let change = amperes - amperes_before;
        let variance = change * change * prior + NOISE * NOISE;
        let gain = change * prior / variance;
        let sag = volts_before - volts;
        self.ohms = (self.ohms + gain * (sag - change * self.ohms)).clamp(0.0, MOST);
        self.variance = (prior * (1.0 - gain * change)).max(1e-10);
    }

    /// Ohms, where the load has varied enough to tell: to a third of what they are.
    pub fn ohms(&self) -> Option<f32> {
        let known = self.variance > 0.0 && 3.0 * libm::sqrtf(self.variance) < self.ohms;
        known.then_some(self.ohms)
    }

    /// Whether every number is one that observing can produce: for state read from a file.
    pub fn is_sound(&self) -> bool {
        let last = self.last.is_none_or(|(volts, amperes)| volts.is_finite() && amperes.is_finite());
        (0.0..=MOST).contains(&self.ohms) && (0.0..=MOST * MOST).contains(&self.variance) && last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resistance_is_unknown_under_an_even_load_and_follows_a_battery_that_cools() {
        let mut inside = Resistance::default();
        let mut luck = 1u32;
        let mut noise = || {
            luck = luck.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            ((luck >> 8) as f32 / (1u32 << 24) as f32 - 0.5) * 0.012
        };
        for _ in 0..500 {
            inside.observe(30.0, 3.8 + noise(), 1.0);
        }
        assert_eq!(inside.ohms(), None);
        let mut run = |ohms: f32, inside: &mut Resistance| {
            for step in 0..2880u32 {
                let amperes = if step / 40 % 2 == 0 { 0.7 } else { 1.2 };
                inside.observe(30.0, 3.8 - ohms * amperes + noise(), amperes);
            }
            inside.ohms().unwrap()
        };
        assert!((run(0.05, &mut inside) - 0.05).abs() < 0.01);
        assert!((run(0.12, &mut inside) - 0.12).abs() < 0.02);
        assert!(inside.is_sound());
        inside.observe(30.0, f32::NAN, 1.0);
        assert!(inside.is_sound());
    }
}
