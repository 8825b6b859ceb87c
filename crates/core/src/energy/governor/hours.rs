//! What comes by hour of day: learned from the days before.

use serde::{Deserialize, Serialize};

/// Hours of a day.
const DAY: usize = 24;
/// Weight of the last day against those before: weather lasts for days, and habits for longer.
const LAST_DAY: f32 = 0.5;

/// A rate by hour of day, counted from the beginning of the mission.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub(super) struct HourlyRate {
    rates: [f32; DAY],
    /// A bit for every hour that was seen.
    seen: u32,
    /// The hour under way, what came in it and how much of it, in hours.
    hour: u32,
    sum: f32,
    passed: f32,
}

impl HourlyRate {
    pub(super) const NONE: HourlyRate = HourlyRate { rates: [0.0; DAY], seen: 0, hour: 0, sum: 0.0, passed: 0.0 };

    /// Takes in that `amount` came during `hours` until now, `hour` whole hours after the beginning.
    pub(super) fn add(&mut self, hour: u32, amount: f32, hours: f32) {
        if hour != self.hour {
            self.close();
            self.hour = hour;
        }
        if amount.is_finite() && hours > 0.0 {
            self.sum += amount;
            self.passed += hours;
        }
    }

    /// Ends the hour under way: most of it must have been seen to count.
    fn close(&mut self) {
        let of_day = self.hour % DAY as u32;
        if self.passed > 0.5
            && let Some(rate) = self.rates.get_mut(of_day as usize)
        {
            let new = self.sum / self.passed;
            let known = self.seen >> of_day & 1 == 1;
            *rate = if known { *rate + LAST_DAY * (new - *rate) } else { new };
            self.seen |= 1 << of_day;
        }
        self.sum = 0.0;
        self.passed = 0.0;
    }

    /// The rate of an hour of day; none where it was never seen.
    pub(super) fn rate(&self, hour: u32) -> Option<f32> {
        let of_day = hour % DAY as u32;
        if self.seen >> of_day & 1 == 1 { self.rates.get(of_day as usize).copied() } else { None }
    }

    pub(super) fn is_sound(&self) -> bool {
        let sums = [self.sum, self.passed];
        self.rates.iter().chain(&sums).all(|x| x.is_finite()) && self.seen < 1 << DAY && self.passed >= 0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hours_are_learned_and_follow_the_last_days() {
        let mut rate = HourlyRate::NONE;
        for hour in 0..49 {
            let amount = if hour % 24 < 6 { if hour < 24 { 1.0 } else { 2.0 } } else { 0.0 };
            for _ in 0..4 {
                rate.add(hour, amount / 4.0, 0.25);
            }
        }
        assert_eq!(rate.rate(3), Some(1.5));
        assert_eq!(rate.rate(24 * 7 + 12), Some(0.0));
        assert!(rate.is_sound());
        assert_eq!(HourlyRate::NONE.rate(5), None);
    }

    #[test]
    fn hours_that_were_hardly_seen_do_not_count() {
        let mut rate = HourlyRate::NONE;
        rate.add(5, 1.0, 0.2);
        rate.add(6, f32::NAN, 1.0);
        rate.add(7, 0.0, 0.0);
        assert!((0..24).all(|hour| rate.rate(hour).is_none()));
    }
}
