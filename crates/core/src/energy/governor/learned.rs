//! Online estimates of a governor: charge, joules per charge, what frames really cost, how many come.

use serde::{Deserialize, Serialize};

use crate::energy::gauge::GaugeReading;

/// The learned state. It is small and can be stored, so that a restart does not begin from nothing.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Learned {
    /// State of charge: predicted from the joules spent, corrected by the gauge. None before the first reading.
    pub soc: Option<f32>,
    /// Joules that one whole charge of the battery delivers, as its nameplate says.
    nameplate: f32,
    /// Joules spent while the charge fell by `fallen`, both fading.
    spent: f32,
    /// State of charge lost while `spent` joules were spent, both fading.
    fallen: f32,
    /// Real joules per frame over expected ones.
    pub price: f32,
    /// Frames seen, and frames that the mission expected meanwhile.
    frames: f32,
    planned: f32,
}

/// By how much of its mean the voltage of a lithium-ion battery falls from full to empty: the first half of a charge
/// holds more energy than the second. A battery whose voltage falls less is found to hold more as it empties.
const VOLTAGE_FALL: f32 = 0.16;
/// Charge that must fall before what was learned about the battery weighs as much as its nameplate.
const NAMEPLATE_WEIGHT: f32 = 0.03;
/// Charge over which what was learned about the battery fades by a factor e: it follows temperature.
const BATTERY_MEMORY: f32 = 0.15;
/// Seconds over which a difference between gauge and prediction is believed: gauges are noisy and coarse.
const GAUGE_SECONDS: f32 = 1200.0;
/// Seconds over which the real cost of frames is averaged: longer than a spell of hard frames, so that a spell is paid
/// for by the easy frames around it and not by lowering its own accuracy.
const PRICE_SECONDS: f32 = 7200.0;

/// Share of a whole charge's energy that a battery at `soc` holds.
fn energy(soc: f32) -> f32 {
    soc * (1.0 + 0.5 * VOLTAGE_FALL * (soc - 1.0))
}

impl Learned {
    /// Nothing learned yet about a battery that delivers `nameplate` joules.
    pub const fn new(nameplate: f32) -> Self {
        Learned { soc: None, nameplate, spent: 0.0, fallen: 0.0, price: 1.0, frames: 0.0, planned: 0.0 }
    }

    /// Joules that one whole charge delivers, between 0.4 and 1.25 times the nameplate's: what sun seems
    /// to add to the battery is gone at night.
    pub fn joules_per_charge(&self) -> f32 {
        let joules = (self.nameplate * NAMEPLATE_WEIGHT + self.spent) / (NAMEPLATE_WEIGHT + self.fallen);
        joules.max(0.4 * self.nameplate).min(1.25 * self.nameplate)
    }

    /// Joules that the battery delivers until it is at `soc`; none before the first reading.
    pub fn joules_down_to(&self, soc: f32) -> f32 {
        let now = self.soc.unwrap_or(0.0);
        (energy(now) - energy(soc)) * self.joules_per_charge()
    }

    /// Takes in `seconds` in which `joules` left the battery; the gauge now says `gauge`, if it can be believed.
    pub(super) fn drain(&mut self, seconds: f32, joules: f32, gauge: Option<&GaugeReading>) {
        let charging = gauge.is_some_and(GaugeReading::may_rise);
        // A monitor lets nothing else through, but a gauge may be asked without one.
        let gauge = gauge.map(|reading| reading.soc).filter(|soc| soc.is_finite()).map(|soc| soc.clamp(0.0, 1.0));
        let Some(soc) = self.soc else {
            self.soc = gauge;
            return;
        };
        // The energy of the next bit of charge: the voltage is higher the fuller the battery.
        let per_charge = self.joules_per_charge() * (1.0 + VOLTAGE_FALL * (soc - 0.5));
        let predicted = if per_charge > 0.0 { soc - joules / per_charge } else { soc };
        let gain = 1.0 - libm::expf(-seconds / GAUGE_SECONDS);
        let corrected = match gauge {
            // Under charge the joules that come in are unknown: only the gauge knows.
            Some(gauge) if charging => soc + (gauge - soc) * (4.0 * gain).min(1.0),
            Some(gauge) => predicted + (gauge - predicted) * gain,
            None => predicted,
        };
        if gauge.is_some() && !charging {
            let fallen = energy(soc) - energy(corrected);
            let fade = libm::expf(-fallen.abs() / BATTERY_MEMORY);
            self.spent = (self.spent * fade + joules).max(0.0);
            self.fallen = (self.fallen * fade + fallen).max(0.0);
        }
        self.soc = Some(corrected.clamp(0.0, 1.0));
    }

    /// Takes in that `frames` frames came in `seconds` where `planned` were planned, and cost `real` joules where
    /// `expected` were expected.
    pub(super) fn frames(&mut self, seconds: f32, frames: f32, planned: f32, real: f32, expected: f32) {
        self.frames += frames;
        self.planned += planned;
        if expected > 0.0 && real.is_finite() {
            let gain = 1.0 - libm::expf(-seconds / PRICE_SECONDS);
            self.price = (self.price + gain * (real / expected - self.price)).clamp(0.25, 4.0);
        }
    }

    /// Frames that come for each that the mission planned: 1, giving way to what was seen as time passes. The plan weighs
    /// as much as `weight` frames seen.
    pub fn demand(&self, weight: f32) -> f32 {
        let demand = (weight + self.frames) / (weight + self.planned);
        if demand.is_finite() { demand.max(0.0) } else { 1.0 }
    }

    /// Whether every number is one that learning can produce: for state read from a file.
    pub fn is_sound(&self) -> bool {
        let positive = [self.nameplate, self.spent, self.fallen, self.price, self.frames, self.planned];
        positive.iter().all(|x| x.is_finite() && *x >= 0.0) && self.soc.is_none_or(|soc| (0.0..=1.0).contains(&soc))
    }

    /// Keeps what was learned for a battery with another nameplate capacity.
    pub(super) fn for_nameplate(self, nameplate: f32) -> Self {
        if self.nameplate == nameplate { self } else { Learned { soc: self.soc, ..Learned::new(nameplate) } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn learned_a_smaller_battery_through_a_coarse_gauge() {
        let mut learned = Learned::new(36_000.0);
        let mut soc = 1.0f32;
        learned.drain(0.0, 0.0, Some(&GaugeReading::new(1.0)));
        while soc > 0.4 {
            soc -= 10.0 / 27_000.0;
            learned.drain(10.0, 10.0, Some(&GaugeReading::new(libm::roundf(soc * 100.0) / 100.0)));
        }
        assert!((learned.joules_per_charge() / 27_000.0 - 1.0).abs() < 0.1, "{}", learned.joules_per_charge());
        assert!((learned.soc.unwrap() - soc).abs() < 0.01);
        assert!(learned.is_sound());
    }

    #[test]
    fn learned_what_frames_cost_and_how_many_come() {
        let mut learned = Learned::new(1.0);
        for _ in 0..3600 {
            learned.frames(10.0, 20.0, 10.0, 2.4, 2.0);
        }
        assert!((learned.price - 1.2).abs() < 0.01);
        assert!((learned.demand(36_000.0) - 1.5).abs() < 0.01);
        learned.frames(10.0, 1.0, 1.0, f32::NAN, 1.0);
        assert!(learned.is_sound());
    }
}
