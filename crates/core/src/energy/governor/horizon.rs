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
}

impl Horizon<'_> {
    /// Charge an hour that may go into frames now; negative where even idling is too much.
    pub(super) fn spending(&self) -> f32 {
        let left = self.left.max(1e-6);
        let Some((now, days)) = self.income else {
            return (self.charge - self.floor) / left - self.idle;
        };
        let steps = (libm::ceilf(left) as u32).clamp(1, STEPS);
        let step = left / steps as f32;
        let usual = days.rate(self.hour).unwrap_or(0.0);
        // By how much more comes now than usually at this hour.
        let mut more = now - usual;
        let fade = libm::expf(-step / INCOME_MEMORY);
        let (mut least, mut most) = (f32::NEG_INFINITY, f32::INFINITY);
        let mut charge = self.charge;
        for index in 0..steps {
            let time = (index + 1) as f32 * step;
            let hour = self.hour.saturating_add((index as f32 * step + 0.5 * step) as u32);
            charge += (days.rate(hour).unwrap_or(0.0) + more - self.idle) * step;
            more *= fade;
            // Spending that leaves the floor and room for what comes.
            let (low, high) = ((charge - FULL) / time, (charge - self.floor) / time);
            if low > most {
                return most;
            }
            if high < least {
                return least;
            }
            least = least.max(low);
            most = most.min(high);
        }
        let end = (charge - self.floor) / left;
        end.max(least).min(most)
    }

    /// What comes within a day, in shares of a charge, as far as it was seen.
    pub(super) fn day_of_income(&self) -> f32 {
        let Some((_, days)) = self.income else { return 0.0 };
        let hours = (self.left as u32).min(24);
        (0..hours).map(|hour| days.rate(self.hour.saturating_add(hour)).unwrap_or(0.0).max(0.0)).sum()
    }
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
        let plan = Horizon { left: 10.0, charge: 0.9, floor: 0.1, idle: 0.05, hour: 0, income: None };
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
            };
            let spending = plan.spending().clamp(0.0, 0.2);
            charge += income - 0.05 - spending;
            assert!((0.095..1.0).contains(&charge), "hour {hour}: {charge}");
        }
        assert!((charge - 0.1).abs() < 0.01, "{charge}");
    }
}
