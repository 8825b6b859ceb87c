//! What comes by hour of day: learned from the days before.

use serde::{Deserialize, Serialize};

/// Hours of a day.
const DAY: usize = 24;
/// Weight of the last day against those before: weather lasts for days, and habits for longer.
const LAST_DAY: f32 = 0.5;
/// Share of the highest rate that is next to nothing.
const NOTHING: f32 = 0.2;
/// Hours before and after those in which something was guessed to come that are not taken for night.
const TWILIGHT: f32 = 2.0;
/// Weight of the first day against a guess.
const FIRST_DAY: f32 = 0.5;

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
    /// A bit for every hour whose rate was guessed and not yet seen.
    #[serde(default)]
    guessed: u32,
    /// A bit for every hour in which nothing was guessed to come.
    #[serde(default)]
    nothing: u32,
}

impl HourlyRate {
    pub(super) const NONE: HourlyRate =
        HourlyRate { rates: [0.0; DAY], seen: 0, hour: 0, sum: 0.0, passed: 0.0, guessed: 0, nothing: 0 };

    /// Guesses the hours that were not seen yet; `guess` is told their middle, in hours after the beginning of the mission.
    pub(super) fn guess(&mut self, guess: impl Fn(f32) -> f32) {
        for (hour, rate) in self.rates.iter_mut().enumerate() {
            if self.seen >> hour & 1 == 0 {
                let guess = guess(hour as f32 + 0.5);
                *rate = if guess.is_finite() { guess } else { 0.0 };
                self.seen |= 1 << hour;
                self.guessed |= 1 << hour;
            }
            // Days are longer and shorter, and clocks differ: what is near the day may be day.
            let dark = |apart: f32| guess(hour as f32 + 0.5 + apart) == 0.0;
            if dark(-TWILIGHT) && dark(0.0) && dark(TWILIGHT) {
                self.nothing |= 1 << hour;
            }
        }
    }

    /// Whether nothing comes at an hour of day, by all that was guessed and seen.
    pub(super) fn is_nothing(&self, hour: u32) -> bool {
        let of_day = hour % DAY as u32;
        self.nothing >> of_day & 1 == 1 && self.rate(hour).is_some_and(|rate| rate < NOTHING * self.highest())
    }

    /// The highest rate.
    pub(super) fn highest(&self) -> f32 {
        self.rates.iter().fold(0.0, |most: f32, rate| most.max(*rate))
    }

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
            let (seen, guessed) = (self.seen >> of_day & 1 == 1, self.guessed >> of_day & 1 == 1);
            let gain = if guessed {
                FIRST_DAY
            } else if seen {
                LAST_DAY
            } else {
                1.0
            };
            *rate += gain * (new - *rate);
            self.seen |= 1 << of_day;
            self.guessed &= !(1 << of_day);
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
        self.rates.iter().chain(&sums).all(|x| x.is_finite())
            && self.seen < 1 << DAY
            && self.guessed < 1 << DAY
            && self.nothing < 1 << DAY
            && self.passed >= 0.0
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
    fn hours_are_guessed_until_they_are_seen() {
        let mut rate = HourlyRate::NONE;
        rate.add(3, 1.0, 1.0);
        rate.add(4, 0.0, 0.0);
        rate.guess(|hour| if hour < 12.0 { 2.0 } else { 0.0 });
        assert_eq!((rate.rate(3), rate.rate(4), rate.highest()), (Some(1.0), Some(2.0), 2.0));
        assert!(rate.is_nothing(15) && !rate.is_nothing(4) && !rate.is_nothing(13), "twilight may be day");
        rate.add(4, 4.0, 1.0);
        rate.add(13, 1.0, 1.0);
        rate.add(14, 0.0, 0.0);
        // The first day is as good as the guess.
        assert_eq!((rate.rate(4), rate.rate(13)), (Some(3.0), Some(0.5)));
        assert!(rate.is_nothing(16));
        assert!(rate.is_sound());
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
