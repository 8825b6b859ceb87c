//! Who competes with the governor: one period and point chosen in hindsight, a PI controller, SoC steps.

use dyn_perceiver_core::energy::gauge::FuelGauge as _;

use super::drawn::{Drawn, TICK};
use super::meter::Meter;
use super::play::{Order, Played, Sight, Stage};
use super::situation::Coming;

/// State of charge to be left.
pub(super) const RESERVE: f64 = 0.1;

impl Stage<'_> {
    pub(super) fn periods(&self) -> (f64, f64) {
        match self.situation.coming {
            Coming::Free(shortest, longest) => (shortest, longest),
            _ => (1.0, 1.0),
        }
    }

    fn is_free(&self) -> bool {
        matches!(self.situation.coming, Coming::Free(..))
    }

    /// The rung whose point gives most right answers per joule.
    fn best_rung(&self) -> usize {
        let ratio = |rung: usize| {
            let made = self.scene.mean(self.scene.rungs[rung]);
            made.right / made.joules
        };
        (0..self.scene.rungs.len()).fold(0, |best, rung| if ratio(rung) > ratio(best) { rung } else { best })
    }

    /// One point and period for the whole mission, the best there is in hindsight that leaves the reserve.
    pub(super) fn fixed(&self, drawn: &Drawn) -> Played {
        self.fixed_leaving(drawn, RESERVE)
    }

    /// The same that leaves another charge.
    pub(super) fn fixed_leaving(&self, drawn: &Drawn, reserve: f64) -> Played {
        let (shortest, longest) = self.periods();
        let top = self.scene.rungs.len() - 1;
        let best = self.best_rung();
        let mut rungs = if self.is_free() {
            vec![0, best, best + 1, best + 2, best + 4, (best + top) / 2, top]
        } else {
            (0..=top).collect()
        };
        rungs.retain(|rung| *rung <= top);
        rungs.dedup();
        let mut found: Option<Played> = None;
        for rung in rungs {
            let point = self.scene.rungs[rung];
            let run = |x: f64| {
                let period = shortest * (longest / shortest).powf(x);
                self.play(drawn, |_, _| Order { point, period })
            };
            let lasts = |played: &Played| !played.died && played.soc >= reserve;
            let (mut low, mut high) = (0.0, 1.0);
            let mut kept = run(1.0);
            if self.is_free() && lasts(&kept) {
                for _ in 0..13 {
                    let middle = (low + high) / 2.0;
                    let played = run(middle);
                    if lasts(&played) {
                        (high, kept) = (middle, played);
                    } else {
                        low = middle;
                    }
                }
            }
            // Where nothing lasts, what ends fullest counts.
            let better = |a: &Played, b: &Played| match (lasts(a), lasts(b)) {
                (true, true) => a.right > b.right,
                (false, false) => a.soc > b.soc || (a.soc == b.soc && a.right > b.right),
                (a, _) => a,
            };
            if found.as_ref().is_none_or(|found| better(&kept, found)) {
                found = Some(kept);
            }
        }
        found.unwrap_or_default()
    }

    /// The cheapest point at the longest period from beginning to end: what it does not keep, nobody keeps.
    pub(super) fn thriftiest(&self, drawn: &Drawn) -> Played {
        let point = self.scene.rungs.first().copied().unwrap_or(0);
        let period = self.periods().1;
        self.play(drawn, |_, _| Order { point, period })
    }

    /// A PI controller on the distance of the gauge from the straight line to the reserve. It knows no model.
    pub(super) fn proportional(&self, drawn: &Drawn) -> Played {
        let (shortest, longest) = self.periods();
        let top = self.scene.rungs.len() - 1;
        let point = self.scene.rungs[self.best_rung()];
        let (mut sum, mut last) = (0.0, 1.0);
        self.play(drawn, |sight: Sight, meter: &mut Meter| {
            last = meter.read().map_or(last, |reading| f64::from(reading.soc));
            let done = sight.tick as f64 / drawn.ticks.len() as f64;
            let error = last - (1.0 - (1.0 - RESERVE) * done);
            sum = (sum + error * TICK / 3600.0 * 24.0 / self.situation.hours.min(72.0)).clamp(-0.06, 0.06);
            let x = (0.5 + 12.0 * error + 8.0 * sum).clamp(0.0, 1.0);
            if self.is_free() {
                Order { point, period: longest * (shortest / longest).powf(x) }
            } else {
                Order { point: self.scene.rungs[(x * top as f64).round() as usize], period: 1.0 }
            }
        })
    }

    /// A table of three rows from charge to period and point. `saving` in [0, 1]: the larger, the more is saved.
    pub(super) fn steps(&self, drawn: &Drawn, saving: f64) -> Played {
        let (shortest, longest) = self.periods();
        let top = self.scene.rungs.len() - 1;
        let best = self.best_rung();
        let period = shortest * (longest / shortest).powf(saving);
        let mut last = 1.0;
        self.play(drawn, |_, meter: &mut Meter| {
            last = meter.read().map_or(last, |reading| f64::from(reading.soc));
            let row = if last > 2.0 / 3.0 {
                0
            } else if last > 1.0 / 3.0 {
                1
            } else {
                2
            };
            let rung = if self.is_free() {
                [best.midpoint(top), best, 0][row]
            } else {
                let bound = [1.0, 0.5].map(|share| 1.0 - (1.0 - saving) * share);
                if last > bound[0] {
                    top
                } else if last > bound[1] {
                    top / 2
                } else {
                    0
                }
            };
            Order { point: self.scene.rungs[rung], period }
        })
    }
}
