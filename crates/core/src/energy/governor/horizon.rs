//! The plan ahead: how much charge may go into frames now, so that the battery is neither full nor empty on the way and ends at
//! its reserve.
//!
//! Right answers are a concave function of what is spent on them, so that of all plans within the bounds the most even one
//! is best: the taut string between the lowest and the highest cumulative spending that the forecast allows. Only its first
//! piece is needed, since the plan is made anew at every decision; it is found in one pass over the hours ahead.

use super::hours::HourlyRate;
use crate::energy::estimator::INCOME_MEMORY;

/// The most steps of a plan.
const STEPS: u32 = 168;
/// Charge at which a battery counts as full.
const FULL: f32 = 0.99;
/// Hours over which the weather goes back to what is usual.
const SKY_MEMORY: f32 = 24.0;
/// Share of a usual day's income that is missing under a sky that is poor but not rare: one day in ten or so is worse.
const POOR: f32 = 0.6;
/// Hours ahead within which a sky is poor: poor days in a row even out with those after them.
const POOR_HOURS: f32 = 42.0;

/// What is known of the time to come. Charge is in shares of a whole charge's energy, rates in shares an hour.
#[derive(Clone, Copy, Debug)]
pub(super) struct Horizon<'a> {
    /// Hours to the end.
    pub(super) left: f32,
    /// Now.
    pub(super) charge: f32,
    /// At the end and on the way at least this.
    pub(super) floor: f32,
    /// What idling takes.
    pub(super) idle: f32,
    /// Whole hours since the beginning.
    pub(super) hour: u32,
    /// Present income, and that of the days before. None where nothing charges the battery.
    pub(super) income: Option<(f32, &'a HourlyRate)>,
    /// Income of the last hours of daylight over what is usual.
    pub(super) sky: f32,
}

/// The first piece of a plan, in charge an hour.
#[derive(Clone, Copy, Debug)]
pub(super) struct Taut {
    /// The most that may be spent up to where the plan bends first.
    most: f32,
    /// What the most even plan spends now.
    pub(super) slope: f32,
    /// Whether it runs straight to the end: nothing that is saved overflows or is called for on the way.
    pub(super) straight: bool,
}

impl Horizon<'_> {
    /// Charge an hour that may go into frames now; negative where even idling is too much.
    pub(super) fn spending(&self) -> f32 {
        self.string().slope
    }

    /// The plan from now to the end.
    pub(super) fn string(&self) -> Taut {
        let left = self.left.max(1e-6);
        let Some(income) = self.income else {
            let slope = (self.charge - self.floor) / left - self.idle;
            return Taut { most: f32::INFINITY, slope, straight: true };
        };
        self.taut(income, left, f32::INFINITY, 0.0)
    }

    /// The most that may go into frames now so that also a poor sky leaves the floor. What is not spent under it can be spent
    /// later, but a battery that was emptied for a day of sun cannot be filled without it.
    pub(super) fn bearable(&self) -> f32 {
        let left = self.left.max(1e-6);
        self.income.map_or(f32::INFINITY, |income| self.taut(income, left, POOR_HOURS, POOR).most)
    }

    /// The taut string through the next `hours`, under a sky that brings less than foreseen by up to `poor` of it.
    fn taut(&self, income: (f32, &HourlyRate), left: f32, hours: f32, poor: f32) -> Taut {
        let step = left / steps(left) as f32;
        let (mut least, mut most) = (f32::NEG_INFINITY, f32::INFINITY);
        let mut end = 0.0;
        for (time, charge) in self.ahead(income, left, step, poor) {
            if time > hours + step {
                break;
            }
            // Spending that leaves the floor and room for what comes.
            let (low, high) = ((charge - FULL) / time, (charge - self.floor) / time);
            if low > most {
                return Taut { most, slope: most, straight: false };
            }
            if high < least {
                return Taut { most: least, slope: least, straight: false };
            }
            least = least.max(low);
            most = most.min(high);
            end = high;
        }
        let slope = end.max(least).min(most);
        Taut { most, slope, straight: slope == end }
    }

    /// Hours from now and the charge then, without frames, under a sky that comes to bring less than foreseen by `poor` of it.
    fn ahead(
        &self,
        (now, days): (f32, &HourlyRate),
        left: f32,
        step: f32,
        poor: f32,
    ) -> impl Iterator<Item = (f32, f32)> {
        // By how much more comes now than the weather of the day has at this hour, and by how much that is unlike others.
        let mut more = now - self.sky * days.rate(self.hour).unwrap_or(0.0);
        let mut unlike = self.sky - 1.0;
        let mut known = 1.0;
        let (fade, turn) = (libm::expf(-step / INCOME_MEMORY), libm::expf(-step / SKY_MEMORY));
        let (mut charge, idle, first) = (self.charge, self.idle, self.hour);
        (0..steps(left)).map(move |index| {
            let hour = first.saturating_add((index as f32 * step + 0.5 * step) as u32);
            let usual = days.rate(hour).unwrap_or(0.0);
            charge += (usual * (1.0 + unlike) * (1.0 - poor * (1.0 - known)) + more - idle) * step;
            more *= fade;
            unlike *= turn;
            known *= turn * turn * turn;
            ((index + 1) as f32 * step, charge)
        })
    }
}

/// Steps of a plan of so many hours.
fn steps(left: f32) -> u32 {
    (libm::ceilf(left) as u32).clamp(1, STEPS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn days(rate: impl Fn(u32) -> f32) -> HourlyRate {
        let mut days = HourlyRate::NONE;
        for hour in 0..=24 {
            days.add(hour, rate(hour), 1.0);
        }
        days
    }

    #[test]
    fn horizon_without_income_is_a_straight_line() {
        let plan = Horizon { left: 10.0, charge: 0.9, floor: 0.1, idle: 0.05, hour: 0, income: None, sky: 1.0 };
        assert!((plan.spending() - 0.03).abs() < 1e-6);
    }

    #[test]
    fn horizon_spends_what_would_overflow_and_saves_for_the_night() {
        // Twelve hours of sun, twelve of night.
        let sun = days(|hour| if hour % 24 < 12 { 0.10 } else { 0.0 });
        let plan = |charge, hour| Horizon {
            left: 48.0,
            charge,
            floor: 0.1,
            idle: 0.05,
            hour,
            income: Some((sun.rate(hour).unwrap(), &sun)),
            sky: 1.0,
        };
        // Nearly full in the morning: the day's surplus of 60 points goes into frames at once.
        assert!(plan(0.95, 0).spending() > 0.04);
        // In the evening a night of 60 points lies ahead.
        let evening = plan(0.8, 12).spending();
        assert!((0.0..0.01).contains(&evening), "{evening}");
        assert!(plan(0.5, 12).spending() < 0.0);
    }

    #[test]
    fn horizon_keeps_its_bounds_over_days() {
        let sun = days(|hour| if hour % 24 < 12 { 0.12 } else { 0.0 });
        let mut charge = 0.9;
        for hour in 0..72u32 {
            let income = sun.rate(hour).unwrap();
            let plan = Horizon {
                left: (72 - hour) as f32,
                charge,
                floor: 0.1,
                idle: 0.05,
                hour,
                income: Some((income, &sun)),
                sky: 1.0,
            };
            let spending = plan.spending().clamp(0.0, 0.2);
            charge += income - 0.05 - spending;
            assert!((0.095..1.0).contains(&charge), "hour {hour}: {charge}");
        }
        assert!((charge - 0.1).abs() < 0.01, "{charge}");
    }

    #[test]
    fn horizon_spares_for_a_poor_day_and_follows_the_sky() {
        // A day of sun brings 60 points, a night takes 42, a poor day would leave too little for the next night.
        let sun = days(|hour| if hour % 24 < 12 { 0.05 } else { 0.0 });
        let plan = |charge, hour, sky| Horizon {
            left: 96.0,
            charge,
            floor: 0.1,
            idle: 0.025,
            hour,
            income: Some((sky * sun.rate(hour).unwrap(), &sun)),
            sky,
        };
        let evening = plan(0.9, 12, 1.0);
        assert!(evening.bearable() < evening.spending(), "{} and {}", evening.bearable(), evening.spending());
        // Nobody knows of other weather where nothing charges the battery.
        assert_eq!(Horizon { income: None, ..evening }.bearable(), f32::INFINITY);
        // What overflows can go into frames under any sky.
        assert!(plan(0.99, 3, 1.0).bearable() > 0.01);
        // Bad weather lasts.
        assert!(plan(0.6, 3, 0.4).spending() < plan(0.6, 3, 1.0).spending());
    }
}
