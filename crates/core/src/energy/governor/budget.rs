//! Budget governor: the battery lasts the mission, and what it holds above the reserve is spent on accuracy.

use core::time::Duration;

use super::dither::{Dither, Pace, Step};
use super::guard::{Guard, Verdict};
use super::ladder::Ladder;
use super::learned::Learned;
use super::mission::{FrameDemand, GovernorSettings, Mission, MissionError};
use super::{Choice, Governor, GovernorInput, Reason};
use crate::energy::PowerModel;
use crate::energy::clock::since;
use crate::energy::gauge::GaugeReading;

/// Share of the mission's planned events that weighs against those seen.
const PLAN_WEIGHT: f32 = 0.25;
/// Charge above the reserve that is aimed at: the end is reached from above, and the gauge is no finer.
const MARGIN: f32 = 0.005;
/// Charge kept back at the beginning and released as the mission goes on: what a cold night may take.
const CONTINGENCY: f32 = 0.02;
/// Charge above the reserve at which the cheapest point is left again.
const RESERVE_HYSTERESIS: f32 = 0.005;

/// Gives every frame its share of what the battery holds above the reserve.
///
/// Budget per frame B = (charge above reserve x joules per charge - resting watts x time left) / frames left, looked up on
/// the [`Ladder`] at B over the price correction, the ratio of what frames really cost to what they should. Between two
/// rungs the governor alternates so that the mean meets the budget; it changes at most once per dwell time.
///
/// Joules per charge, the price correction and the frame rate are learned: the promise is kept also with an aged or cold
/// battery and a power model that is somewhat wrong, since what is left is divided anew at every decision. On external
/// power there is nothing to divide: the most accurate rung runs.
///
/// ```
/// # use dyn_perceiver_core::exit::{CostUnit, ExitPolicy, Frontier, Measure, OperatingPoint};
/// use core::time::Duration;
/// use dyn_perceiver_core::energy::{
///     BudgetGovernor, FrameDemand, GaugeReading, GaugeState, Governor, GovernorInput, GovernorSettings, JoulesSource,
///     Ladder, Mission, PowerModel, Reason,
/// };
/// # let policy = |threshold| ExitPolicy::with_thresholds(Measure::MaxSoftmax, 2, &[threshold]);
/// # let frontier = Frontier::new(CostUnit::Macs, &[
/// #     OperatingPoint::new(policy(0.0)?, 0.5, 1.0, &[1.0, 0.0])?,
/// #     OperatingPoint::new(policy(1.0)?, 0.9, 10.0, &[0.0, 1.0])?,
/// # ])?;
/// let power = PowerModel::new(0.5, &[1.0, 9.0], JoulesSource::Measured)?;
/// let ladder = Ladder::new(&frontier, &power)?;
/// let mission = Mission::new(Duration::from_secs(3600), FrameDemand::Period(Duration::from_secs(1)));
/// let mut governor = BudgetGovernor::new(ladder, &power, mission, GovernorSettings::new(1000.0))?;
/// let gauge = GaugeState::Good(GaugeReading::new(0.05));
/// let choice = governor.choose(&GovernorInput::new(Duration::ZERO, gauge));
/// assert_eq!((choice.point, choice.reason), (0, Reason::Reserve));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct BudgetGovernor {
    ladder: Ladder,
    resting_watts: f32,
    mission: Mission,
    settings: GovernorSettings,
    guard: Guard,
    learned: Learned,
    plan: BudgetPlan,
    choice: Choice,
    /// Rung of `choice`.
    rung: usize,
    dither: Dither,
    started: bool,
    below_reserve: bool,
    pending: Pending,
}

/// What has come in since the last full decision.
#[derive(Clone, Copy, Debug, Default)]
struct Pending {
    since: Duration,
    frames: f32,
    joules: f32,
    expected: f32,
}

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
}

impl BudgetGovernor {
    /// A governor for a network on a board (`ladder`, `power`), a mission and a battery.
    ///
    /// # Errors
    /// [`MissionError`] naming what is out of range.
    pub fn new(
        ladder: Ladder,
        power: &PowerModel,
        mission: Mission,
        settings: GovernorSettings,
    ) -> Result<Self, MissionError> {
        mission.check()?;
        settings.check()?;
        let point = ladder.rung(0).point;
        Ok(BudgetGovernor {
            resting_watts: power.resting_watts(),
            guard: Guard::new(&settings),
            learned: Learned::new(settings.joules_per_charge()),
            plan: BudgetPlan::default(),
            choice: Choice::new(point, Reason::Start),
            rung: 0,
            dither: Dither::default(),
            started: false,
            below_reserve: false,
            pending: Pending::default(),
            ladder,
            mission,
            settings,
        })
    }

    /// Goes on with what an earlier run learned; unsound state is ignored.
    #[must_use]
    pub fn with_learned(mut self, learned: Learned) -> Self {
        if learned.is_sound() {
            self.learned = learned.for_nameplate(self.settings.joules_per_charge());
        }
        self
    }

    /// What has been learned so far.
    pub fn learned(&self) -> &Learned {
        &self.learned
    }

    /// What the last full decision aimed at.
    pub fn plan(&self) -> &BudgetPlan {
        &self.plan
    }

    /// The ladder in use.
    pub fn ladder(&self) -> &Ladder {
        &self.ladder
    }

    /// Seconds from `elapsed` to the end of the mission.
    fn seconds_left(&self, elapsed: Duration) -> f32 {
        since(elapsed, self.mission.duration).as_secs_f32()
    }

    /// Accounts for what was spent since the last full decision, and what the gauge says now, if it can be believed.
    fn account(&mut self, elapsed: Duration, gauge: Option<&GaugeReading>) {
        let seconds = since(self.pending.since, elapsed).as_secs_f32();
        let Pending { frames, joules, expected, .. } = self.pending;
        self.learned.drain(seconds, self.resting_watts * seconds + joules, gauge);
        let planned = self.mission.frames.planned(self.pending.since, elapsed);
        self.learned.frames(seconds, frames, planned, joules, expected);
        self.dither.overspent(expected - frames * self.ladder.joules_at(self.plan.position));
        self.pending = Pending { since: elapsed, ..Pending::default() };
    }

    /// Watts that may go into frames until the end, and the position, period and reason that follow.
    fn target(&mut self, elapsed: Duration) -> (f32, Option<Duration>, Reason) {
        let soc = self.learned.soc.unwrap_or(0.0);
        let left = self.seconds_left(elapsed).max(1.0);
        let margin = MARGIN + CONTINGENCY * left / self.mission.duration.as_secs_f32();
        let usable = self.learned.joules_down_to(self.mission.reserve + margin);
        let watts = usable / left - self.resting_watts;
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
                let best = self.ladder.joules_at(self.ladder.most_per_joule(floor)) * price;
                let (short, long) = (shortest.as_secs_f32(), longest.as_secs_f32());
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
        self.plan = BudgetPlan { budget, position: position.max(floor), soc, price: slope };
        let reason = if floor > 0.0 && budget < floor_cost {
            Reason::FloorCannotLast
        } else if budget < cheapest {
            Reason::CannotLast
        } else if position >= top && budget > self.ladder.joules_at(top) * price {
            Reason::Plenty
        } else {
            Reason::Budget
        };
        (position.max(floor), period, reason)
    }

    /// Moves towards `target` as fast as allowed and picks one rung of the pair.
    fn move_to(&mut self, target: f32, reason: Reason) -> (usize, Reason) {
        let most = usize::from(self.settings.max_rungs.max(1));
        let pace = Pace {
            max_rungs: self.started.then_some(most),
            hysteresis: self.settings.hysteresis,
            frames: self.frames_per_dwell(),
        };
        let Step { rung, limited } = self.dither.move_to(target, &self.ladder, pace);
        (rung, if limited { Reason::RateLimited } else { reason })
    }

    fn frames_per_dwell(&self) -> f32 {
        let dwell = self.settings.dwell.as_secs_f32().max(1e-3);
        let frames = match self.mission.frames {
            FrameDemand::Period(period) => dwell / period.as_secs_f32(),
            demand @ (FrameDemand::PerHour(_) | FrameDemand::DayNight { .. }) => {
                demand.planned(self.pending.since, self.pending.since.saturating_add(self.settings.dwell))
            }
            FrameDemand::Between(_, longest) => dwell / self.choice.period.unwrap_or(longest).as_secs_f32().max(1e-3),
        };
        frames.max(1.0)
    }

    /// Takes rung `rung` for `reason`.
    fn take(&mut self, rung: usize, period: Option<Duration>, reason: Reason) -> Choice {
        let reason = if rung == self.rung && self.started && reason == Reason::Budget { Reason::Hold } else { reason };
        self.rung = rung;
        let reason = if self.started || reason != Reason::Budget { reason } else { Reason::Start };
        self.choice = Choice { point: self.ladder.rung(rung).point, period, reason };
        self.choice
    }

    /// The cheapest rung and the longest period.
    fn cheapest(&mut self, reason: Reason) -> Choice {
        self.dither.jump_to(0);
        let period = match self.mission.frames {
            FrameDemand::Between(_, longest) => Some(longest),
            _ => None,
        };
        self.take(0, period, reason)
    }

    /// The most accurate rung and the shortest period.
    fn best(&mut self, reason: Reason) -> Choice {
        let top = self.ladder.top();
        self.dither.jump_to(top.saturating_sub(1));
        let period = match self.mission.frames {
            FrameDemand::Between(shortest, _) => Some(shortest),
            _ => None,
        };
        self.take(top, period, reason)
    }
}

impl Governor for BudgetGovernor {
    fn choose(&mut self, input: &GovernorInput) -> Choice {
        let expected = self.ladder.rung(self.rung).joules;
        self.pending.frames += input.frames as f32;
        self.pending.joules += if input.joules.is_finite() { input.joules.max(0.0) } else { 0.0 };
        self.pending.expected += expected * input.frames as f32;

        let reading = match self.guard.judge(input) {
            Verdict::Stop => {
                self.account(input.elapsed, None);
                return self.cheapest(Reason::BrownOut);
            }
            Verdict::Failed => {
                self.account(input.elapsed, None);
                return self.cheapest(Reason::GaugeFailed);
            }
            Verdict::Hold => {
                return self.take(self.rung, self.choice.period, Reason::StaleHold);
            }
            Verdict::Degrade { rungs } => {
                self.account(input.elapsed, None);
                let rung = self.rung.saturating_sub(rungs);
                self.dither.fall_to(rung);
                return self.take(rung, self.choice.period, Reason::StaleDegrade);
            }
            Verdict::External(reading) => {
                self.account(input.elapsed, Some(&reading));
                self.below_reserve = false;
                return self.best(Reason::ExternalPower);
            }
            Verdict::Believe(reading) => reading,
        };
        // A full decision at most once per dwell time: between them nothing that matters can change.
        let resting = since(self.pending.since, input.elapsed) < self.settings.dwell;
        let held = matches!(
            self.choice.reason,
            Reason::BrownOut | Reason::ExternalPower | Reason::GaugeFailed | Reason::StaleDegrade
        );
        if self.started && resting && !held {
            let reason = match self.choice.reason {
                lasting @ (Reason::CannotLast | Reason::FloorCannotLast | Reason::Reserve | Reason::Plenty) => lasting,
                _ => Reason::Hold,
            };
            self.choice.reason = reason;
            return self.choice;
        }
        self.account(input.elapsed, Some(&reading));
        let soc = self.learned.soc.unwrap_or(0.0);
        let choice = if input.elapsed >= self.mission.duration {
            self.cheapest(Reason::MissionOver)
        } else if soc < self.mission.reserve || (self.below_reserve && soc < self.mission.reserve + RESERVE_HYSTERESIS)
        {
            self.below_reserve = true;
            self.cheapest(Reason::Reserve)
        } else {
            self.below_reserve = false;
            let (target, period, reason) = self.target(input.elapsed);
            let (rung, reason) = self.move_to(target, reason);
            self.take(rung, period, reason)
        };
        self.started = true;
        choice
    }
}

#[cfg(test)]
mod tests;
