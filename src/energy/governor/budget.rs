//! The governor that keeps a promise: the battery lasts the mission, and what it holds is spent on accuracy.

use core::time::Duration;

use super::guard::{Guard, Verdict};
use super::ladder::Ladder;
use super::learned::Learned;
use super::mission::{FrameDemand, GovernorSettings, Mission, MissionError};
use super::{Choice, Governor, GovernorInput, Reason};
use crate::energy::PowerModel;

/// Share of the mission that the planned rate of frames weighs against the observed one.
const PLAN_WEIGHT: f32 = 0.25;
/// Charge above the reserve at which the cheapest point is left again.
const RESERVE_HYSTERESIS: f32 = 0.005;

/// Gives every frame its share of what the battery holds above the reserve.
///
/// Budget per frame B = (charge above reserve x joules per charge - resting watts x time left) / frames left, looked up on
/// the [`Ladder`] at B over the price correction, the ratio of what frames really cost to what they should. Between two
/// rungs the governor alternates so that the mean meets the budget; it changes at most once per dwell time.
///
/// Joules per charge, the price correction and the frame rate are learned: the promise is kept also with an aged or cold
/// battery and a power model that is somewhat wrong, since what is left is divided anew at every decision.
#[derive(Clone, Debug)]
pub struct BudgetGovernor {
    ladder: Ladder,
    resting_watts: f32,
    mission: Mission,
    settings: GovernorSettings,
    guard: Guard,
    learned: Learned,
    plan: Plan,
    choice: Choice,
    /// Rung of `choice`.
    rung: usize,
    /// The lower rung of the pair being mixed.
    pair: usize,
    /// Joules that the mix of the pair has overspent so far.
    debt: f32,
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
pub struct Plan {
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
            plan: Plan::default(),
            choice: Choice { point, period: None, reason: Reason::Start },
            rung: 0,
            pair: 0,
            debt: 0.0,
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
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The ladder in use.
    pub fn ladder(&self) -> &Ladder {
        &self.ladder
    }

    /// Seconds from `elapsed` to the end of the mission.
    fn seconds_left(&self, elapsed: Duration) -> f32 {
        self.mission.duration.saturating_sub(elapsed).as_secs_f32()
    }

    /// Accounts for what was spent since the last full decision.
    fn account(&mut self, elapsed: Duration, gauge: Option<f32>, charging: bool) {
        let seconds = elapsed.saturating_sub(self.pending.since).as_secs_f32();
        let Pending { frames, joules, expected, .. } = self.pending;
        self.learned.drain(seconds, self.resting_watts * seconds + joules, gauge, charging);
        self.learned.frames(seconds, frames, joules, expected);
        self.debt += expected - frames * self.ladder.joules_at(self.plan.position);
        self.pending = Pending { since: elapsed, ..Pending::default() };
    }

    /// Watts that may go into frames until the end, and the position, period and reason that follow.
    fn target(&mut self, elapsed: Duration) -> (f32, Option<Duration>, Reason) {
        let soc = self.learned.soc.unwrap_or(0.0);
        let left = self.seconds_left(elapsed).max(1.0);
        let usable = (soc - self.mission.reserve) * self.learned.joules_per_charge();
        let watts = usable / left - self.resting_watts;
        // A whole rung: mixing in a cheaper one would be below the floor half of the time.
        let floor = self.mission.floor.map_or(0.0, |accuracy| libm::ceilf(self.ladder.position_of_accuracy(accuracy)));
        let price = self.learned.price;
        let (budget, period) = match self.mission.frames {
            FrameDemand::Period(period) => (watts * period.as_secs_f32(), None),
            FrameDemand::PerHour(rate) => {
                let planned_seconds = PLAN_WEIGHT * self.mission.duration.as_secs_f32();
                (watts / self.learned.frame_rate(rate / 3600.0, planned_seconds).max(1e-9), None)
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
        self.plan = Plan { budget, position: position.max(floor), soc, price: slope };
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
        let top_pair = self.ladder.top().saturating_sub(1);
        let wanted = (target as usize).min(top_pair);
        let pair = self.pair as f32;
        let outside = target < pair - self.settings.hysteresis || target > pair + 1.0 + self.settings.hysteresis;
        let mut limited = false;
        if !self.started {
            self.pair = wanted;
        } else if outside {
            let most = usize::from(self.settings.max_rungs.max(1));
            let low = self.pair.saturating_sub(most);
            let next = wanted.max(low).min(self.pair.saturating_add(most));
            limited = next != wanted;
            self.pair = next;
            self.debt = 0.0;
        }
        // Error diffusion: the dear rung whenever the cheap one has saved enough. The debt is bounded so that a long time
        // at one end of the pair is not paid back later.
        let (low, high) = (self.ladder.rung(self.pair), self.ladder.rung(self.pair.saturating_add(1)));
        let share = target - self.pair as f32;
        let dear = if share >= 1.0 {
            true
        } else if share <= 0.0 {
            false
        } else {
            let aim = low.joules + share * (high.joules - low.joules);
            let bound = (high.joules - low.joules) * self.frames_per_dwell();
            self.debt = self.debt.max(-bound).min(bound);
            // What the next dwell would add: whichever rung leaves the smaller debt.
            let frames = self.frames_per_dwell();
            (self.debt + (high.joules - aim) * frames).abs() < (self.debt + (low.joules - aim) * frames).abs()
        };
        if share >= 1.0 || share <= 0.0 {
            self.debt = 0.0;
        }
        let rung = if dear { self.pair.saturating_add(1).min(self.ladder.top()) } else { self.pair };
        (rung, if limited { Reason::RateLimited } else { reason })
    }

    fn frames_per_dwell(&self) -> f32 {
        let dwell = self.settings.dwell.as_secs_f32().max(1e-3);
        let frames = match self.mission.frames {
            FrameDemand::Period(period) => dwell / period.as_secs_f32(),
            FrameDemand::PerHour(rate) => dwell * rate / 3600.0,
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
        self.pair = 0;
        self.debt = 0.0;
        let period = match self.mission.frames {
            FrameDemand::Between(_, longest) => Some(longest),
            _ => None,
        };
        self.take(0, period, reason)
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
                self.account(input.elapsed, None, false);
                return self.cheapest(Reason::BrownOut);
            }
            Verdict::Failed => {
                self.account(input.elapsed, None, false);
                return self.cheapest(Reason::GaugeFailed);
            }
            Verdict::Hold => {
                return self.take(self.rung, self.choice.period, Reason::StaleHold);
            }
            Verdict::Degrade { rungs } => {
                self.account(input.elapsed, None, false);
                let rung = self.rung.saturating_sub(rungs);
                self.pair = rung;
                return self.take(rung, self.choice.period, Reason::StaleDegrade);
            }
            Verdict::Believe(reading) => reading,
        };
        // A full decision at most once per dwell time: between them nothing that matters can change.
        let resting = input.elapsed.saturating_sub(self.pending.since) < self.settings.dwell;
        let held = matches!(self.choice.reason, Reason::BrownOut | Reason::GaugeFailed | Reason::StaleDegrade);
        if self.started && resting && !held {
            let reason = match self.choice.reason {
                lasting @ (Reason::CannotLast | Reason::FloorCannotLast | Reason::Reserve | Reason::Plenty) => lasting,
                _ => Reason::Hold,
            };
            self.choice.reason = reason;
            return self.choice;
        }
        self.account(input.elapsed, Some(reading.soc), reading.charging == Some(true));
        let soc = self.learned.soc.unwrap_or(reading.soc);
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
