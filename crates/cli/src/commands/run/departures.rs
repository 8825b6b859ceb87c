//! When reality leaves the plan of a mission, and why: one message for each cause, and another when the plan holds again.

use std::time::Duration;

use dyn_perceiver::energy::{BudgetGovernor, FrameDemand, Solar};

/// What a mission's plan rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// Joules that a frame adds, beside what calibration expects.
    Frames,
    /// Joules that a charge gives, by the power model: the board draws more, or the battery holds less.
    Battery,
    /// Whether the gauge is believed.
    Gauge,
    /// What the panel brings.
    Sun,
    /// How many frames come.
    Demand,
}

impl Cause {
    const ALL: [Self; 5] = [Self::Frames, Self::Battery, Self::Gauge, Self::Sun, Self::Demand];

    /// What records call it.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Frames => "frames",
            Self::Battery => "battery",
            Self::Gauge => "gauge",
            Self::Sun => "sun",
            Self::Demand => "demand",
        }
    }

    /// The deviation from 1 of found over expected that is told, and that within which the plan holds again.
    const fn bounds(self) -> (f32, f32) {
        match self {
            Self::Frames | Self::Battery => (0.15, 0.10),
            Self::Gauge => (0.5, 0.5),
            Self::Demand => (0.3, 0.2),
            // Weather is no news; half a day's sun that is missing is.
            Self::Sun => (0.4, 0.3),
        }
    }
}

/// A cause for which the plan no longer holds, or holds again.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Departure {
    pub cause: Cause,
    /// Whether the plan holds again.
    pub holds: bool,
    /// Found over expected; none of a gauge.
    pub ratio: Option<f32>,
    pub message: String,
}

/// What is known of a mission at some moment.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Facts {
    pub elapsed: Duration,
    /// Frames so far in this run.
    pub frames: u64,
    /// Joules of frames over those expected, averaged over hours.
    pub price: f32,
    /// Joules of the power model that idling takes from a charge, over those of the nameplate; none before the first reading.
    pub drain: Option<f32>,
    /// Standard deviation of the state of charge.
    pub deviation: f32,
    /// What charges the battery, in watts.
    pub income: f32,
    pub gauge_lost: bool,
}

impl Facts {
    /// What a governor knows.
    pub(super) fn of(governor: &BudgetGovernor, elapsed: Duration, frames: u64, gauge_lost: bool) -> Self {
        let (learned, battery) = (governor.learned(), governor.learned().battery());
        // A charge gives so many joules by the power model, as far as it goes into idling.
        let joules_per_charge = learned.joules_per_charge() * battery.idle_drain();
        Facts {
            elapsed,
            frames,
            price: learned.price,
            drain: battery.has_begun().then(|| battery.idle_drain()),
            deviation: battery.soc_deviation(),
            income: if battery.is_sunny() { battery.income() * joules_per_charge / 3600.0 } else { 0.0 },
            gauge_lost,
        }
    }
}

/// The plan of a mission, and how it has held so far.
#[derive(Clone, Debug)]
pub(super) struct Departures {
    demand: FrameDemand,
    solar: Option<Solar>,
    began: Duration,
    last: Duration,
    /// What the power model took idling for at the first reading.
    drain: Option<f32>,
    /// Watt-hours that the panel was expected to bring, and brought.
    sun: (f32, f32),
    departed: [bool; Cause::ALL.len()],
}

/// Watt-hours of expected sun after which it is judged, for each watt of the panel: about three hours at noon.
const SUN_HOURS: f32 = 2.0;
/// Standard deviations of a random number of events that are no news.
const DEVIATIONS: f32 = 4.0;

impl Departures {
    /// The plan of a mission that has gone on for `began` already.
    pub(super) fn new(demand: FrameDemand, solar: Option<Solar>, began: Duration) -> Self {
        let departed = [false; Cause::ALL.len()];
        Departures { demand, solar, began, last: began, drain: None, sun: (0.0, 0.0), departed }
    }

    /// What is to be told now.
    pub(super) fn look(&mut self, facts: &Facts) -> Vec<Departure> {
        let hours = facts.elapsed.saturating_sub(self.last).as_secs_f32() / 3600.0;
        if let Some(solar) = &self.solar {
            self.sun.0 += solar.usual_watts(self.last) * hours;
            self.sun.1 += facts.income * hours;
        }
        self.last = facts.elapsed;
        if let (None, Some(drain)) = (self.drain, facts.drain) {
            self.drain = Some(drain);
        }
        Cause::ALL.into_iter().filter_map(|cause| self.judge(cause, facts)).collect()
    }

    fn judge(&mut self, cause: Cause, facts: &Facts) -> Option<Departure> {
        let ratio = match cause {
            Cause::Frames => Some(facts.price),
            Cause::Battery => self.drain.zip(facts.drain).map(|(before, now)| now / before),
            // As far from 1 as it can be.
            Cause::Gauge => Some(if facts.gauge_lost { 0.0 } else { 1.0 }),
            Cause::Sun => {
                let judged = self.solar.filter(|solar| self.sun.0 >= SUN_HOURS * solar.watts);
                judged.map(|_| self.sun.1 / self.sun.0)
            }
            Cause::Demand => self.demand_ratio(facts),
        }?;
        let (leaves, returns) = cause.bounds();
        let departed = &mut self.departed[cause as usize];
        let off = (ratio - 1.0).abs();
        match (*departed, off > leaves, off < returns) {
            (false, true, _) => *departed = true,
            (true, _, true) => *departed = false,
            _ => return None,
        }
        let (holds, ratio) = (!*departed, Some(ratio).filter(|_| cause != Cause::Gauge));
        Some(Departure { cause, holds, ratio, message: self.message(cause, holds, ratio.unwrap_or(1.0), facts) })
    }

    /// Frames over those planned; none while it may be chance.
    fn demand_ratio(&self, facts: &Facts) -> Option<f32> {
        let elapsed = facts.elapsed.saturating_sub(self.began).as_secs_f32();
        let (planned, spread) = match self.demand {
            // Frames at a pace do not scatter, but the first and the last one count.
            FrameDemand::Period(period) => (elapsed / period.as_secs_f32().max(1e-3), 10.0),
            FrameDemand::PerHour(_) | FrameDemand::DayNight { .. } => {
                let planned = self.demand.planned(self.began, facts.elapsed);
                (planned, DEVIATIONS * planned.sqrt().max(1.0))
            }
            _ => return None,
        };
        let found = facts.frames as f32;
        let departed = self.departed[Cause::Demand as usize];
        ((found - planned).abs() > spread || departed).then(|| found / planned.max(1.0))
    }

    fn message(&self, cause: Cause, holds: bool, ratio: f32, facts: &Facts) -> String {
        let by = format!("{:.0} % {}", 100.0 * (ratio - 1.0).abs(), if ratio > 1.0 { "more" } else { "less" });
        let now = if holds { "the plan holds again" } else { "not as planned" };
        match cause {
            Cause::Frames => format!("{now}: frames take {by} energy than calibration expects of them"),
            Cause::Battery => {
                let reason =
                    if ratio > 1.0 { "the board draws more or the battery holds less" } else { "the board draws less" };
                let reason = if holds { String::new() } else { format!(": {reason} than the power model says") };
                format!("{now}: idling takes {by} charge than at the start{reason}")
            }
            Cause::Gauge if holds => format!("{now}: the gauge is believed again"),
            Cause::Gauge => format!(
                "{now}: without a gauge the charge is counted, and known within {:.0} points",
                100.0 * facts.deviation
            ),
            Cause::Sun => format!("{now}: the panel has brought {by} than on usual days"),
            Cause::Demand => format!("{now}: {} frames came, {by} than planned until now", facts.frames),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(minutes: u64, frames: u64) -> Facts {
        let elapsed = Duration::from_secs(60 * minutes);
        Facts { elapsed, frames, price: 1.0, drain: Some(1.25), ..Facts::default() }
    }

    fn causes(told: &[Departure]) -> Vec<(&'static str, bool)> {
        told.iter().map(|departure| (departure.cause.name(), departure.holds)).collect()
    }

    #[test]
    fn each_cause_is_told_once_and_once_more_when_the_plan_holds_again() {
        let mut plan = Departures::new(FrameDemand::PerHour(60.0), None, Duration::ZERO);
        assert_eq!(plan.look(&facts(60, 60)), []);
        let dear = Facts { price: 1.3, ..facts(61, 61) };
        let told = plan.look(&dear);
        assert_eq!(causes(&told), [("frames", false)]);
        assert_eq!(told[0].message, "not as planned: frames take 30 % more energy than calibration expects of them");
        assert_eq!(plan.look(&dear), []);
        // Between the bounds nothing is said, so that nothing flickers.
        assert_eq!(plan.look(&Facts { price: 1.12, ..facts(62, 62) }), []);
        assert_eq!(causes(&plan.look(&Facts { price: 1.05, ..facts(63, 63) })), [("frames", true)]);

        let cold = Facts { drain: Some(1.5), gauge_lost: true, deviation: 0.05, ..facts(64, 64) };
        let told = plan.look(&cold);
        assert_eq!(causes(&told), [("battery", false), ("gauge", false)]);
        assert!(told[0].message.contains("20 % more charge"), "{told:?}");
        assert!(told[1].message.contains("within 5 points") && told[1].ratio.is_none(), "{told:?}");
        assert_eq!(causes(&plan.look(&facts(65, 65))), [("battery", true), ("gauge", true)]);
    }

    #[test]
    fn demand_is_judged_once_it_is_no_chance() {
        let mut plan = Departures::new(FrameDemand::PerHour(60.0), None, Duration::from_secs(3600));
        assert_eq!(plan.look(&facts(60 + 10, 14)), [], "ten were planned");
        let told = plan.look(&facts(60 + 100, 200));
        assert_eq!(causes(&told), [("demand", false)]);
        assert!(told[0].ratio.is_some_and(|ratio| (ratio - 2.0).abs() < 1e-3), "{told:?}");
        assert_eq!(causes(&plan.look(&facts(60 + 200, 210))), [("demand", true)]);
        // At a fixed period frames that do not come are noticed, too; where the governor chooses there is no plan of it.
        let mut plan = Departures::new(FrameDemand::Period(Duration::from_secs(1)), None, Duration::ZERO);
        assert_eq!(causes(&plan.look(&facts(1, 20))), [("demand", false)]);
        let second = Duration::from_secs(1);
        let mut plan = Departures::new(FrameDemand::Between(second, 5 * second), None, Duration::ZERO);
        assert_eq!(plan.look(&facts(60, 3)), []);
    }

    #[test]
    fn sun_that_does_not_come_is_told_after_some_hours_of_it() {
        let noon = Solar::new(10.0, Duration::from_secs(10 * 3600));
        let mut plan = Departures::new(FrameDemand::PerHour(60.0), Some(noon), Duration::ZERO);
        let mut told = vec![];
        for minute in 0..360 {
            told.extend(plan.look(&Facts { income: 2.0, ..facts(minute, minute) }));
        }
        assert_eq!(causes(&told), [("sun", false)]);
        assert!(told[0].ratio.is_some_and(|ratio| (0.2..0.6).contains(&ratio)), "{told:?}");
    }
}
