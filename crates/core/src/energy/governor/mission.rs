//! Mission and governor settings: how long the battery must last, for how many frames, with what reserve and accuracy.

use core::fmt;
use core::time::Duration;

use serde::{Deserialize, Serialize};

use super::learned::{USUAL_SKY, daylight};
use crate::energy::clock::{millis, since};
use crate::energy::estimator::Chemistry;

/// How frames come.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[serde(rename_all = "kebab-case")]
pub enum FrameDemand {
    /// One frame every so often.
    Period(#[serde(with = "millis")] Duration),
    /// Frames at events, on average so many an hour; the real rate is learned.
    PerHour(f32),
    /// The governor chooses the period, between the two.
    Between(#[serde(with = "millis")] Duration, #[serde(with = "millis")] Duration),
    /// Frames at events that follow the day; by how much more or fewer come than planned is learned.
    DayNight {
        /// So many an hour from 6 to 18 o'clock.
        day: f32,
        /// So many an hour from 18 to 6 o'clock.
        night: f32,
        /// Time of day at which the mission begins.
        #[serde(with = "millis")]
        begins: Duration,
    },
}

/// A solar panel that charges the battery.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub struct Solar {
    /// Its peak watts.
    pub watts: f32,
    /// Time of day, by the sun, at which the mission begins.
    #[serde(with = "millis")]
    pub begins: Duration,
}

impl Solar {
    /// A panel of so many peak watts, in a mission that begins at this time of day.
    pub const fn new(watts: f32, begins: Duration) -> Self {
        Solar { watts, begins }
    }

    /// Watts that the panel brings on a usual day, so long after the mission began.
    pub fn usual_watts(&self, elapsed: Duration) -> f32 {
        let hour = self.begins.saturating_add(elapsed).as_secs() % 86_400;
        self.watts * USUAL_SKY * daylight(hour as f32 / 3600.0)
    }
}

/// How long the battery must last, for how many frames, and what must be left.
///
/// ```
/// use core::time::Duration;
/// use dyn_perceiver_core::energy::{FrameDemand, Mission};
/// let every_second = FrameDemand::Period(Duration::from_secs(1));
/// let mission = Mission::new(Duration::from_secs(8 * 3600), every_second).with_reserve(0.2).with_floor(0.9);
/// assert_eq!((mission.reserve, mission.floor), (0.2, Some(0.9)));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub struct Mission {
    /// How long.
    #[serde(with = "millis")]
    pub duration: Duration,
    /// State of charge to be left at the end, in [0, 1].
    pub reserve: f32,
    /// How frames come.
    pub frames: FrameDemand,
    /// Accuracy never to go below, in [0, 1]: then the mission gives way, and the governor says so. None: accuracy
    /// gives way.
    pub floor: Option<f32>,
    /// What charges the battery by day. What really comes is learned, also where this is not told; told, it need not be seen
    /// first.
    #[serde(default)]
    pub solar: Option<Solar>,
}

impl Mission {
    /// A mission of this duration for these frames, which leaves a tenth of the charge and has no accuracy floor.
    pub const fn new(duration: Duration, frames: FrameDemand) -> Self {
        Mission { duration, reserve: 0.1, frames, floor: None, solar: None }
    }

    /// The same mission with another state of charge to be left at the end, in [0, 1].
    #[must_use]
    pub const fn with_reserve(self, reserve: f32) -> Self {
        Mission { reserve, ..self }
    }

    /// The same mission with an accuracy, in [0, 1], that is kept even when the battery cannot last then.
    #[must_use]
    pub const fn with_floor(self, accuracy: f32) -> Self {
        Mission { floor: Some(accuracy), ..self }
    }

    /// The same mission with a solar panel that charges the battery.
    #[must_use]
    pub const fn with_solar(self, solar: Solar) -> Self {
        Mission { solar: Some(solar), ..self }
    }
}

/// The battery and the habits of a governor.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub struct GovernorSettings {
    /// Nameplate capacity of the battery in milliwatt-hours.
    pub capacity_mwh: f32,
    /// Share of it that reaches the board, in (0, 1]: losses of converter and battery, age, cold. A start for what is
    /// learned; rather too low, since what is saved early can still be spent, and not the other way round.
    pub efficiency: f32,
    /// Shortest time between two changes of the operating point.
    #[serde(with = "millis")]
    pub dwell: Duration,
    /// The most rungs of the ladder to move at once.
    pub max_rungs: u8,
    /// How far, in rungs, the target must leave the present pair of rungs before another pair is mixed.
    pub hysteresis: f32,
    /// Voltage below which inference stops; it goes on a tenth of a volt above.
    pub brown_out_volts: Option<f32>,
    /// By how much of its mean the battery's voltage falls from full to empty, in [0, 1): the first half of a charge holds
    /// more energy than the second.
    pub voltage_fall: f32,
}

impl GovernorSettings {
    /// Habits that suit a battery of hours, for a battery of this capacity.
    pub const fn new(capacity_mwh: f32) -> Self {
        GovernorSettings {
            capacity_mwh,
            efficiency: 0.75,
            dwell: Duration::from_secs(30),
            max_rungs: 2,
            hysteresis: 0.25,
            brown_out_volts: None,
            voltage_fall: Chemistry::LithiumIon.voltage_fall(),
        }
    }

    /// The same settings with another share of the capacity that reaches the board, in (0, 1].
    #[must_use]
    pub const fn with_efficiency(self, efficiency: f32) -> Self {
        GovernorSettings { efficiency, ..self }
    }

    /// The same settings with another shortest time between two changes of the operating point.
    #[must_use]
    pub const fn with_dwell(self, dwell: Duration) -> Self {
        GovernorSettings { dwell, ..self }
    }

    /// The same settings with at most so many rungs to move at once, and this far, in rungs, for the target to leave the
    /// pair being mixed.
    #[must_use]
    pub const fn with_rungs(self, max_rungs: u8, hysteresis: f32) -> Self {
        GovernorSettings { max_rungs, hysteresis, ..self }
    }

    /// The same settings for a battery of another chemistry.
    #[must_use]
    pub const fn with_chemistry(self, chemistry: Chemistry) -> Self {
        GovernorSettings { voltage_fall: chemistry.voltage_fall(), ..self }
    }

    /// The same settings for a battery whose voltage falls by this share of its mean from full to empty, in [0, 1).
    #[must_use]
    pub const fn with_voltage_fall(self, voltage_fall: f32) -> Self {
        GovernorSettings { voltage_fall, ..self }
    }

    /// The same settings with a voltage below which inference stops.
    #[must_use]
    pub const fn with_brown_out_volts(self, volts: f32) -> Self {
        GovernorSettings { brown_out_volts: Some(volts), ..self }
    }

    /// Joules that a whole charge brings to the board, before anything is learned.
    pub fn joules_per_charge(&self) -> f32 {
        self.capacity_mwh * crate::energy::JOULES_PER_MWH * self.efficiency
    }
}

/// Why a mission or the settings were refused.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum MissionError {
    /// The mission takes no time.
    Duration,
    /// The reserve is outside [0, 1).
    Reserve(f32),
    /// The period is zero, or the shortest is longer than the longest.
    Period,
    /// The rate of events is not a positive number.
    Rate(f32),
    /// The accuracy floor is outside [0, 1].
    Floor(f32),
    /// The panel's watts are not a positive number.
    Solar(f32),
    /// The capacity is not a positive number of milliwatt-hours.
    Capacity(f32),
    /// The efficiency is outside (0, 1].
    Efficiency(f32),
    /// The hysteresis is negative or not a number.
    Hysteresis(f32),
    /// The fall of the voltage is outside [0, 1).
    VoltageFall(f32),
}

impl fmt::Display for MissionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            MissionError::Duration => f.write_str("the mission's duration must be greater than zero"),
            MissionError::Reserve(given) => write!(f, "a reserve of {given}, expected a state of charge in [0, 1)"),
            MissionError::Period => {
                f.write_str("the frame period must be above zero, the shortest at most the longest")
            }
            MissionError::Rate(given) => write!(f, "{given} frames per hour, expected a positive number"),
            MissionError::Floor(given) => write!(f, "an accuracy floor of {given}, expected one in [0, 1]"),
            MissionError::Solar(given) => write!(f, "a solar panel of {given} W, expected a positive number"),
            MissionError::Capacity(given) => write!(f, "a capacity of {given} mWh, expected a positive number"),
            MissionError::Efficiency(given) => write!(f, "an efficiency of {given}, expected one in (0, 1]"),
            MissionError::Hysteresis(given) => write!(f, "a hysteresis of {given} rungs, expected a number >= 0"),
            MissionError::VoltageFall(given) => {
                write!(f, "a voltage that falls by {given} of its mean, expected a share in [0, 1)")
            }
        }
    }
}

impl core::error::Error for MissionError {}

impl FrameDemand {
    /// Events that the mission expects from `from` to `to` after its beginning; none where frames come by a period.
    pub fn planned(&self, from: Duration, to: Duration) -> f32 {
        let seconds = since(from, to).as_secs_f32();
        match *self {
            FrameDemand::Period(_) | FrameDemand::Between(..) => 0.0,
            FrameDemand::PerHour(rate) => rate / 3600.0 * seconds,
            FrameDemand::DayNight { day, night, begins } => {
                let until = |elapsed: Duration| light(begins.as_secs().saturating_add(elapsed.as_secs()));
                let light = until(to).saturating_sub(until(from)) as f32;
                (day * light + night * (seconds - light).max(0.0)) / 3600.0
            }
        }
    }
}

/// Seconds between 6 and 18 o'clock in the first `seconds` after a midnight.
const fn light(seconds: u64) -> u64 {
    const DAY: u64 = 86_400;
    let today = (seconds % DAY).saturating_sub(DAY / 4);
    (seconds / DAY).saturating_mul(DAY / 2).saturating_add(if today < DAY / 2 { today } else { DAY / 2 })
}

impl Mission {
    pub(super) fn check(&self) -> Result<(), MissionError> {
        if self.duration.is_zero() {
            return Err(MissionError::Duration);
        }
        if !(0.0..1.0).contains(&self.reserve) {
            return Err(MissionError::Reserve(self.reserve));
        }
        match self.frames {
            FrameDemand::Period(period) if period.is_zero() => return Err(MissionError::Period),
            FrameDemand::Between(short, long) if short.is_zero() || short > long => return Err(MissionError::Period),
            FrameDemand::PerHour(rate) if !(rate.is_finite() && rate > 0.0) => return Err(MissionError::Rate(rate)),
            FrameDemand::DayNight { day, night, .. } => {
                // A night without events is a mission, too; a day and a night without any is not.
                let sound = |rate: f32| rate.is_finite() && rate >= 0.0;
                if let Some(rate) = [day, night, day + night].into_iter().find(|rate| !sound(*rate)) {
                    return Err(MissionError::Rate(rate));
                }
                if day + night == 0.0 {
                    return Err(MissionError::Rate(0.0));
                }
            }
            _ => {}
        }
        if let Some(Solar { watts, .. }) = self.solar.filter(|solar| !(solar.watts.is_finite() && solar.watts > 0.0)) {
            return Err(MissionError::Solar(watts));
        }
        match self.floor {
            Some(floor) if !(0.0..=1.0).contains(&floor) => Err(MissionError::Floor(floor)),
            _ => Ok(()),
        }
    }
}

impl GovernorSettings {
    pub(super) fn check(&self) -> Result<(), MissionError> {
        if !(self.capacity_mwh.is_finite() && self.capacity_mwh > 0.0) {
            return Err(MissionError::Capacity(self.capacity_mwh));
        }
        if !(self.efficiency > 0.0 && self.efficiency <= 1.0) {
            return Err(MissionError::Efficiency(self.efficiency));
        }
        if !(self.hysteresis.is_finite() && self.hysteresis >= 0.0) {
            return Err(MissionError::Hysteresis(self.hysteresis));
        }
        if !(0.0..1.0).contains(&self.voltage_fall) {
            return Err(MissionError::VoltageFall(self.voltage_fall));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn demand_by_day_and_by_night_add_up() {
        let rhythm = FrameDemand::DayNight { day: 100.0, night: 10.0, begins: 6 * HOUR };
        let planned = |from: u32, to: u32| rhythm.planned(from * HOUR, to * HOUR);
        assert_eq!(planned(0, 12), 1200.0);
        assert_eq!(planned(12, 24), 120.0);
        assert_eq!(planned(0, 48), 2640.0);
        assert_eq!(planned(11, 13), 110.0);
        assert_eq!(planned(13, 11), 0.0);
        assert!((FrameDemand::PerHour(30.0).planned(HOUR, 3 * HOUR) - 60.0).abs() < 1e-3);
        assert_eq!(FrameDemand::Period(HOUR).planned(HOUR, 3 * HOUR), 0.0);
        let last = FrameDemand::DayNight { day: 1.0, night: 1.0, begins: HOUR }.planned(Duration::ZERO, Duration::MAX);
        assert!(last.is_finite());
    }

    #[test]
    fn mission_refuses_a_rhythm_without_events() {
        let mission = |day, night| Mission {
            duration: HOUR,
            reserve: 0.1,
            frames: FrameDemand::DayNight { day, night, begins: HOUR },
            floor: None,
            solar: None,
        };
        assert_eq!(mission(10.0, 0.0).check(), Ok(()));
        assert_eq!(mission(0.0, 0.0).check(), Err(MissionError::Rate(0.0)));
        assert_eq!(mission(10.0, -1.0).check(), Err(MissionError::Rate(-1.0)));
        assert!(mission(f32::NAN, 1.0).check().is_err());
    }
}
