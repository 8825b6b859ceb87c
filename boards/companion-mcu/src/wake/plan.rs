//! The wake plan: when the board is on, and what it draws besides.

use core::fmt;
use core::time::Duration;

use serde::{Deserialize, Serialize};

use super::times::{self, after};

const DAY: u64 = 86_400;

/// When the board is on, and what it draws besides. Times are whole milliseconds in files.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WakePlan {
    /// Wakes by the clock, so often; none: only motion wakes the board.
    #[serde(with = "times::maybe")]
    pub every: Option<Duration>,
    /// No wakes by the clock between these two times of day; the second may be on the next day.
    #[serde(with = "times::pair")]
    pub quiet: Option<(Duration, Duration)>,
    /// Whether motion wakes the board.
    pub on_motion: bool,
    /// Shortest time from one wake to the next.
    #[serde(with = "times::one")]
    pub pause: Duration,
    /// Time after which a board that is still on is asked to halt.
    #[serde(with = "times::one")]
    pub longest: Duration,
    /// Time that it has to halt before its supply is cut all the same.
    #[serde(with = "times::one")]
    pub halting: Duration,
    /// State of charge in [0, 1] below which nothing wakes the board.
    pub least_soc: f32,
    /// Watts that are drawn while the board is off: by the microcontroller and its converter.
    pub off_watts: f32,
    /// Joules that a boot takes beyond what the idle board draws meanwhile.
    pub boot_joules: f32,
}

/// What is wrong with a wake plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(target_os = "none", derive(defmt::Format))]
#[non_exhaustive]
pub enum WakeError {
    /// Neither clock nor motion wakes the board.
    Never,
    /// Wakes by the clock come more often than once a second.
    Every,
    /// A board that is woken may not be on.
    Longest,
    /// The state of charge is not in [0, 1].
    LeastSoc,
    /// Watts or joules are no numbers, or negative.
    Energy,
}

impl fmt::Display for WakeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            WakeError::Never => "wake: neither every nor on_motion wakes the board",
            WakeError::Every => "wake.every: at least 1000 ms",
            WakeError::Longest => "wake.longest: a woken board must be on for some time",
            WakeError::LeastSoc => "wake.least_soc: expected a number from 0 to 1",
            WakeError::Energy => "wake.off_watts and wake.boot_joules: expected numbers of 0 or more",
        })
    }
}

impl core::error::Error for WakeError {}

impl WakePlan {
    /// A board that is woken by motion, at most once a minute, and may be on for two minutes.
    #[must_use]
    pub const fn by_motion() -> Self {
        Self {
            every: None,
            quiet: None,
            on_motion: true,
            pause: Duration::from_secs(60),
            longest: Duration::from_secs(120),
            halting: Duration::from_secs(30),
            least_soc: 0.1,
            off_watts: 0.0,
            boot_joules: 0.0,
        }
    }

    /// The same, woken by the clock, too.
    #[must_use]
    pub const fn and_every(self, every: Duration) -> Self {
        Self { every: Some(every), ..self }
    }

    /// The same without wakes by the clock between two times of day.
    #[must_use]
    pub const fn quiet_between(self, from: Duration, to: Duration) -> Self {
        Self { quiet: Some((from, to)), ..self }
    }

    /// Whether everything is in range.
    ///
    /// # Errors
    /// [`WakeError`] naming what is not.
    pub fn check(&self) -> Result<(), WakeError> {
        if self.every.is_none() && !self.on_motion {
            return Err(WakeError::Never);
        }
        if self.every.is_some_and(|every| every < Duration::from_secs(1)) {
            return Err(WakeError::Every);
        }
        if self.longest.is_zero() {
            return Err(WakeError::Longest);
        }
        if !(0.0..=1.0).contains(&self.least_soc) {
            return Err(WakeError::LeastSoc);
        }
        let is_energy = |value: f32| value.is_finite() && value >= 0.0;
        if is_energy(self.off_watts) && is_energy(self.boot_joules) { Ok(()) } else { Err(WakeError::Energy) }
    }

    /// Share of the time that the board can be on at most.
    pub(crate) fn most_on(&self) -> f32 {
        let on = after(self.longest, self.halting).as_secs_f32();
        let share = |every: Duration| on / every.as_secs_f32().max(on).max(1.0);
        let by_motion = if self.on_motion { share(self.pause) } else { 0.0 };
        (self.every.map_or(0.0, share) + by_motion).min(1.0)
    }

    /// The first time from `due` on, in steps of `every`, that is not quiet; none within a month of steps.
    pub(super) fn first_wake(&self, due: Duration, every: Duration) -> Option<Duration> {
        const DAYS: u32 = 31;
        let step = every.as_secs().max(1);
        let mut at = due;
        for _ in 0..DAYS {
            let Some((_, to)) = self.quiet.filter(|_| self.is_quiet(at)) else { return Some(at) };
            let left = (to.as_secs() % DAY + DAY - at.as_secs() % DAY) % DAY;
            at = after(at, Duration::from_secs(left.div_ceil(step).max(1).saturating_mul(step)));
        }
        None
    }

    /// Whether the clock lets the board sleep at this time.
    pub(super) fn is_quiet(&self, now: Duration) -> bool {
        let Some((from, to)) = self.quiet else { return false };
        let second = now.as_secs() % DAY;
        let (from, to) = (from.as_secs() % DAY, to.as_secs() % DAY);
        if from <= to { (from..to).contains(&second) } else { second >= from || second < to }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn the_next_wake_by_the_clock_is_after_the_night() {
        let every = Duration::from_secs(1800);
        let plan = WakePlan::by_motion().and_every(every).quiet_between(20 * HOUR, 6 * HOUR);
        let first = |due: Duration| plan.first_wake(due, every);
        assert_eq!(first(12 * HOUR), Some(12 * HOUR));
        assert_eq!(first(20 * HOUR), Some(30 * HOUR));
        // In steps of half an hour from ten past, the first after six is ten past six.
        assert_eq!(first(Duration::from_secs(20 * 3600 + 600)), Some(Duration::from_secs(30 * 3600 + 600)));
        // Quiet all but a minute a day, which steps of a day never meet.
        let never = plan.quiet_between(HOUR, HOUR.saturating_sub(Duration::from_secs(60)));
        assert_eq!(never.first_wake(2 * HOUR, 24 * HOUR), None);
    }

    #[test]
    fn what_is_out_of_range_is_told() {
        let plan = WakePlan::by_motion();
        assert_eq!(plan.check(), Ok(()));
        let cases = [
            (WakePlan { on_motion: false, ..plan }, WakeError::Never),
            (plan.and_every(Duration::from_millis(999)), WakeError::Every),
            (WakePlan { longest: Duration::ZERO, ..plan }, WakeError::Longest),
            (WakePlan { least_soc: f32::NAN, ..plan }, WakeError::LeastSoc),
            (WakePlan { off_watts: -0.1, ..plan }, WakeError::Energy),
            (WakePlan { boot_joules: f32::INFINITY, ..plan }, WakeError::Energy),
        ];
        for (plan, expected) in cases {
            assert_eq!(plan.check(), Err(expected));
        }
    }

    #[test]
    fn a_plan_is_on_for_its_share_of_the_time_at_most() {
        let plan = WakePlan { on_motion: false, ..WakePlan::by_motion().and_every(Duration::from_secs(1500)) };
        assert_eq!(plan.most_on(), 0.1);
        assert_eq!(WakePlan::by_motion().most_on(), 1.0);
    }
}
