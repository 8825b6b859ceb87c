//! What the battery lets frames have: watts until the end with what is kept back, and the period and point that follow.

use core::time::Duration;

use super::{BudgetGovernor, hour};
use crate::energy::governor::Reason;
use crate::energy::governor::horizon::Horizon;
use crate::energy::governor::mission::FrameDemand;

/// Share of the mission's planned events that weighs against those seen.
const PLAN_WEIGHT: f32 = 0.25;
/// Deviations of the charge at the end, as it is foreseen, that are kept back: with a gauge, which will tell before it is too
/// late, and without one.
const CAUTION: f32 = 0.5;
const BLIND_CAUTION: f32 = 1.0;
/// Deviations that frames can give way to, at which a plan is as cautious as that.
const SLACK: f32 = 1.5;
/// Share by which the drains come to differ from what they are now, and hours for which they do: nights are cold.
const DRIFT: f32 = 0.08;
const DRIFT_HOURS: f32 = 12.0;
/// For how long a charger is expected that a mission cannot be without.
const UNSEEN: Duration = Duration::from_secs(86_400);
/// Hours before the end within which a deviation is no longer made up for: frames would all bunch up or fail to come.
const LAST_HOURS: f32 = 0.2;
/// The same as a share of the mission: a mission of minutes has no such end.
const LAST_SHARE: f32 = 0.02;
/// Seconds over which the planned watts are smoothed.
const SMOOTHING: f32 = 900.0;
/// Share of the right answers per joule given up to tell easy frames from hard ones: this over the frames a second, between
/// bounds. The fewer frames there are, the more each of them must tell; what is given up in easy spells, where most frames
/// are, is less.
const TELLING_LOSS: f32 = 0.018;
const LEAST_LOSS: f32 = 0.012;
const MOST_LOSS: f32 = 0.03;
/// Share of the planned watts that hard spells are left at least, so that their end is seen.
const HARD_SHARE: f32 = 0.1;
/// Probabilities of an easy spell below which nothing is shifted to it, and above which all is: what goes into hard frames by
/// mistake is lost, what is held back in easy ones is spent in the next.
const DOUBT: f32 = 0.4;
const BELIEF: f32 = 0.8;
/// Seconds over which the share of easy spells is learned.
const VARIATION: f32 = 4.0 * 3600.0;

/// What the last full decision aimed at; for reports.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub struct BudgetPlan {
    /// Joules that a frame may add on average.
    pub budget: f32,
    /// The place on the ladder that the budget buys.
    pub position: f32,
    /// Estimated state of charge.
    pub soc: f32,
    /// Accuracy given up for the last joule: the slope of the ladder there.
    pub price: f32,
    /// Watts that frames may add on average until the end.
    pub watts: f32,
    /// Standard deviation of the state of charge at the end, as far as it can be foreseen.
    pub deviation: f32,
    /// State of charge above the reserve that is kept back for it.
    pub margin: f32,
}

impl BudgetGovernor {
    /// Watts that may go into frames, by the power model, on average until the end.
    fn planned_watts(&mut self, elapsed: Duration, blind: bool, seconds: f32) -> f32 {
        let battery = &self.learned.battery;
        let left = self.seconds_left(elapsed) / 3600.0;
        let per_hour = 3600.0 / self.learned.nameplate();
        let last = LAST_HOURS.min(LAST_SHARE * self.mission.duration.as_secs_f32() / 3600.0);
        let unseen = if battery.is_sunny() || elapsed >= UNSEEN { 0.0 } else { self.unseen_watts() };
        // What such a charger takes off the drain is not to count twice.
        let drain = if unseen > 0.0 { self.learned.highest_drain() } else { battery.idle_drain() };
        let horizon = |margin: f32| Horizon {
            left: left.max(last),
            charge: battery.energy(battery.soc()),
            floor: battery.energy(self.mission.reserve + margin),
            idle: (drain * self.mean_resting - unseen) * per_hour,
            hour: hour(elapsed),
            income: battery.is_sunny().then(|| (battery.income(), &self.learned.income)),
            sky: self.learned.sky,
        };
        // What is kept back follows from how far the charge at the end can be foreseen.
        // Where the battery is charged, the next day tells.
        let ahead = if battery.is_sunny() { left.min(24.0) } else { left };
        let idle = self.mean_resting * per_hour * ahead;
        let frames = self.watts.unwrap_or(0.0).max(0.0) * per_hour * ahead;
        // Board and cold come and go: the longer the time, the more evens out.
        let drift = DRIFT * idle / libm::sqrtf(1.0 + ahead / DRIFT_HOURS);
        let deviation = libm::hypotf(battery.deviation_after(idle, frames), drift);
        // A plan that has much to give up can still do so when it comes to know more.
        let slack = (horizon(0.0).spending() * ahead).max(0.0);
        let caution = if blind { BLIND_CAUTION } else { CAUTION * (SLACK * deviation / slack.max(1e-6)).min(1.0) };
        // Readings that are lower than what is estimated may be right: no error of the gauge is counted on where it would help.
        let doubted = (-battery.gauge_error()).max(0.0);
        let margin = (caution * (deviation + doubted)).min(0.2);
        let plan = horizon(margin);
        let string = plan.string();
        let watts_of = |charge: f32| charge / (per_hour * battery.frame_drain());
        let (even, bearable) = (watts_of(string.slope), watts_of(plan.bearable()));
        // What is saved must still be worth something in the second half of the time.
        let kept = if string.straight { 2.0 * even - self.useful_watts() } else { bearable };
        let watts = even.min(bearable.max(kept));
        self.plan.deviation = deviation;
        self.plan.margin = margin;
        // Estimates tremble; frames need not.
        let gain = 1.0 - libm::expf(-seconds / SMOOTHING.min(0.25 * left * 3600.0).max(1e-3));
        let smooth = self.watts.map_or(watts, |before| before + gain * (watts - before));
        let smooth = if smooth.is_finite() { smooth } else { 0.0 };
        self.watts = Some(smooth);
        smooth
    }

    /// Watts of a charger that nobody told of and nothing has shown yet. Who asks for a mission that not even a new battery would
    /// idle through has one, or asks for what cannot be: half way between what the mission takes at least and a charger that
    /// carries the idle board is expected for a day.
    pub(super) fn unseen_watts(&self) -> f32 {
        let seconds = self.mission.duration.as_secs_f32();
        let carried = (1.0 - self.mission.reserve) * self.learned.nameplate() / self.settings.efficiency / seconds;
        if carried < self.mean_resting { self.mean_resting - 0.5 * carried } else { 0.0 }
    }

    /// Watts of frames beyond which each joule buys much less than before.
    fn useful_watts(&self) -> f32 {
        match self.mission.frames {
            FrameDemand::Between(shortest, _) => {
                let cheap = self.ladder.joules_at(self.ladder.most_per_joule(0.0));
                cheap * self.learned.price / shortest.as_secs_f32()
            }
            _ => f32::INFINITY,
        }
    }

    /// More in easy spells and less in hard ones, the same on average: what a joule buys is right answers, and easy frames
    /// are answered rightly for fewer joules.
    fn shifted(&mut self, watts: f32, (low, high): (f32, f32), seconds: f32) -> f32 {
        let Some(ease) = self.spells.ease() else { return watts };
        let ease = ((ease - DOUBT) / (BELIEF - DOUBT)).clamp(0.0, 1.0);
        let gain = (seconds / VARIATION).min(1.0);
        self.easy_share += gain * (ease - self.easy_share);
        let share = self.easy_share.clamp(0.2, 0.8);
        let least = low.max(HARD_SHARE * watts);
        if watts <= least || watts >= high {
            return watts;
        }
        let easy = high.min((watts - (1.0 - share) * least) / share);
        let hard = (watts - share * easy) / (1.0 - share);
        hard + (easy - hard) * ease
    }

    /// Watts that may go into frames until the end, and the position, period and reason that follow.
    pub(super) fn target(&mut self, elapsed: Duration, blind: bool, seconds: f32) -> (f32, Option<Duration>, Reason) {
        let left = self.seconds_left(elapsed).max(1.0);
        let watts = self.planned_watts(elapsed, blind, seconds);
        // A whole rung: mixing in a cheaper one would be below the floor half of the time.
        let floor = self.mission.floor.map_or(0.0, |accuracy| libm::ceilf(self.ladder.position_of_accuracy(accuracy)));
        let price = self.learned.price;
        let (budget, period) = match self.mission.frames {
            FrameDemand::Period(period) => (watts * period.as_secs_f32(), None),
            FrameDemand::PerHour(_) | FrameDemand::DayNight { .. } => {
                let demand = self.mission.frames;
                let weight = PLAN_WEIGHT * demand.planned(Duration::ZERO, self.mission.duration);
                let to_come = demand.planned(elapsed, self.mission.duration) * self.learned.demand(weight);
                (watts * left / to_come.max(1e-6), None)
            }
            FrameDemand::Between(shortest, longest) => {
                let (short, long) = (shortest.as_secs_f32(), longest.as_secs_f32());
                let cheap = self.ladder.joules_at(self.ladder.most_per_joule(floor)) * price;
                let rate = (watts / cheap.max(f32::MIN_POSITIVE)).max(1.0 / long).min(1.0 / short);
                let loss = (TELLING_LOSS / rate).clamp(LEAST_LOSS, MOST_LOSS);
                let best = self.ladder.joules_at(self.ladder.most_telling(floor, loss)) * price;
                let watts = self.shifted(watts, (best / long, best / short), seconds);
                // The period at which the best buy is affordable; beyond its ends the operating point gives way.
                let seconds = if watts > 0.0 { (best / watts).max(short).min(long) } else { long };
                (watts * seconds, Some(Duration::try_from_secs_f32(seconds).unwrap_or(longest)))
            }
        };
        let budget = if budget.is_finite() { budget } else { 0.0 };
        let position = self.ladder.position(budget / price);
        let top = self.ladder.top() as f32;
        let cheapest = self.ladder.joules_at(0.0) * price;
        let floor_cost = self.ladder.joules_at(floor) * price;
        let slope = {
            let low = position as usize;
            let (a, b) = (self.ladder.rung(low), self.ladder.rung(low.saturating_add(1)));
            if b.joules > a.joules { (b.accuracy - a.accuracy) / (b.joules - a.joules) } else { 0.0 }
        };
        let position = position.max(floor);
        self.plan = BudgetPlan { budget, position, soc: self.learned.battery.soc(), price: slope, watts, ..self.plan };
        let reason = if floor > 0.0 && budget < floor_cost {
            Reason::FloorCannotLast
        } else if budget < cheapest {
            Reason::CannotLast
        } else if position >= top && budget > self.ladder.joules_at(top) * price {
            Reason::Plenty
        } else {
            Reason::Budget
        };
        (position, period, reason)
    }
}
