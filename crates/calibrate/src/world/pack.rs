//! The battery of the world: a Thevenin cell with an RC pair, Peukert's law, temperature, and a converter behind it.
//!
//! The curves are formulas of this file's own; a test holds that they are none of the governor's.

/// What the cells are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cells {
    /// Nickel cobalt aluminium oxide against graphite with silicon.
    Nca,
    /// Lithium iron phosphate.
    Phosphate,
    /// Four nickel metal hydride cells in series.
    Hydride,
}

impl Cells {
    /// Volts at rest at a state of charge.
    pub(super) fn open_volts(self, soc: f64) -> f64 {
        let s = soc.clamp(0.0, 1.0);
        match self {
            Cells::Nca => {
                3.45 + 0.62 * s + 0.10 * s.powi(4) - 0.55 * (-28.0 * s).exp() + 0.02 * ((s - 0.6) / 0.08).tanh()
            }
            Cells::Phosphate => 3.262 + 0.062 * s + 0.07 * (-40.0 * (1.0 - s)).exp() - 0.75 * (-12.0 * s).exp(),
            Cells::Hydride => 4.0 * (1.232 + 0.082 * s + 0.075 * (-22.0 * (1.0 - s)).exp() - 0.21 * (-26.0 * s).exp()),
        }
    }

    /// Volts under load at which the converter gives up.
    fn cut_off(self) -> f64 {
        match self {
            Cells::Nca => 2.9,
            Cells::Phosphate => 2.6,
            Cells::Hydride => 4.0,
        }
    }

    /// Share of what is put in that stays.
    fn charged(self) -> f64 {
        if self == Cells::Hydride { 0.9 } else { 0.985 }
    }
}

/// What a pack is like.
#[derive(Clone, Debug)]
pub(super) struct PackFacts {
    pub(super) cells: Cells,
    /// Watt-hours on the label.
    pub(super) label_wh: f64,
    /// Share of them that age has left.
    pub(super) health: f64,
    /// Exponent of Peukert's law.
    pub(super) peukert: f64,
}

/// A pack in use.
#[derive(Clone, Debug)]
pub(super) struct Pack {
    facts: PackFacts,
    /// Ampere-hours when new, at 25 °C and a discharge of twenty hours.
    ampere_hours: f64,
    soc: f64,
    /// Volts over the RC pair.
    relaxation: f64,
    volts: f64,
    /// Whether charge may leave its bounds, for plans that ask by how much.
    unbounded: bool,
}

/// Seconds of the RC pair.
const RELAXATION: f64 = 1100.0;

impl Pack {
    pub(super) fn full(facts: PackFacts) -> Self {
        let mean = (0..100).map(|i| facts.cells.open_volts((f64::from(i) + 0.5) / 100.0)).sum::<f64>() / 100.0;
        let volts = facts.cells.open_volts(1.0);
        Pack { ampere_hours: facts.label_wh / mean, facts, soc: 1.0, relaxation: 0.0, volts, unbounded: false }
    }

    pub(super) fn at(mut self, soc: f64) -> Self {
        self.soc = soc;
        self
    }

    pub(super) fn unbounded(mut self) -> Self {
        self.unbounded = true;
        self
    }

    pub(super) fn soc(&self) -> f64 {
        self.soc
    }

    /// Volts under the last load.
    pub(super) fn volts(&self) -> f64 {
        self.volts
    }

    pub(super) fn is_up(&self) -> bool {
        self.unbounded || (self.soc > 0.0 && self.volts > self.facts.cells.cut_off())
    }

    /// Carries `watts` of the board for `seconds` at `celsius` while `income` watts come in at the battery.
    pub(super) fn carry(&mut self, watts: f64, income: f64, seconds: f64, celsius: f64) {
        // A converter loses something even at rest, and more the more it carries.
        let drawn = watts + 0.07 + 0.045 * watts + 0.006 * watts * watts - income;
        let cold = (25.0 - celsius).max(0.0);
        // Ohms fall with the size of the pack and rise with age and cold.
        let age = 1.0 + 2.0 * (1.0 - self.facts.health);
        let ohms = 1.1 / self.facts.label_wh.max(5.0) * age * (0.032 * cold).exp();
        let open = self.facts.cells.open_volts(self.soc) - self.relaxation;
        let root = (open * open - 4.0 * ohms * drawn).max(0.0).sqrt();
        let amperes = (open - root) / (2.0 * ohms);
        self.volts = open - amperes * ohms;
        let keep = (-seconds / RELAXATION).exp();
        self.relaxation = self.relaxation * keep + amperes * 0.8 * ohms * (1.0 - keep);
        let usual = self.ampere_hours / 20.0;
        let counted = if amperes > 0.0 {
            amperes * (amperes / usual).max(0.05).powf(self.facts.peukert - 1.0)
        } else {
            amperes * self.facts.cells.charged()
        };
        let frost = (-celsius).max(0.0);
        let capacity = self.ampere_hours * self.facts.health * (1.0 - 0.005 * cold - 0.004 * frost);
        self.soc -= counted * seconds / 3600.0 / capacity;
        if !self.unbounded {
            self.soc = self.soc.clamp(0.0, 1.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use dyn_perceiver_core::energy::Chemistry;
    use dyn_perceiver_core::energy::estimator::OcvCurve;

    use super::*;

    #[test]
    fn curves_of_the_world_are_none_of_the_governors() {
        let pairs = [
            (Cells::Nca, OcvCurve::of(Chemistry::LithiumIon, 1)),
            (Cells::Phosphate, OcvCurve::of(Chemistry::LithiumIronPhosphate, 1)),
            (Cells::Hydride, OcvCurve::of(Chemistry::NickelMetalHydride, 4)),
        ];
        for (cells, curve) in pairs {
            let apart = |soc: f64| (cells.open_volts(soc) - f64::from(curve.volts(soc as f32))).abs();
            let socs: Vec<f64> = (0..=20).map(|i| f64::from(i) / 20.0).collect();
            let unlike = socs.iter().filter(|soc| apart(**soc) > 0.005).count();
            assert!(unlike >= 10, "{cells:?} differs at {unlike} of 21 charges");
            // And yet they are batteries of that kind.
            assert!(socs.iter().skip(1).all(|soc| apart(*soc) < 0.08 * cells.open_volts(*soc)), "{cells:?}");
            assert!(socs.windows(2).all(|w| cells.open_volts(w[1]) > cells.open_volts(w[0])), "{cells:?} rises");
        }
    }

    #[test]
    fn pack_loses_to_age_cold_and_speed_and_gains_in_the_sun() {
        let facts = |health| PackFacts { cells: Cells::Nca, label_wh: 40.0, health, peukert: 1.05 };
        let hours = |health: f64, watts: f64, celsius: f64| {
            let mut pack = Pack::full(facts(health));
            let mut seconds = 0.0;
            while pack.is_up() {
                pack.carry(watts, 0.0, 10.0, celsius);
                seconds += 10.0;
            }
            seconds / 3600.0
        };
        let usual = hours(1.0, 2.0, 25.0);
        assert!((15.0..20.0).contains(&usual), "{usual} h");
        assert!(hours(0.6, 2.0, 25.0) < 0.62 * usual);
        assert!(hours(1.0, 2.0, -10.0) < 0.85 * usual);
        assert!(hours(1.0, 8.0, 25.0) < 0.25 * usual);
        let mut pack = Pack::full(facts(1.0)).at(0.5);
        pack.carry(2.0, 6.0, 3600.0, 25.0);
        assert!(pack.soc() > 0.57 && pack.volts() > 3.7);
    }
}
