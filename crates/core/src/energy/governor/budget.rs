//! The governor that keeps a promise: the battery lasts the mission, and what it holds is spent on accuracy.

use core::time::Duration;

use super::guard::{Guard, Verdict};
use super::ladder::Ladder;
use super::learned::Learned;
use super::mission::{FrameDemand, GovernorSettings, Mission, MissionError};
use super::{Choice, Governor, GovernorInput, Reason};
use crate::energy::PowerModel;
use crate::energy::clock::since;

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
        since(elapsed, self.mission.duration).as_secs_f32()
    }

    /// Accounts for what was spent since the last full decision.
    fn account(&mut self, elapsed: Duration, gauge: Option<f32>, charging: bool) {
        let seconds = since(self.pending.since, elapsed).as_secs_f32();
        let Pending { frames, joules, expected, .. } = self.pending;
        self.learned.drain(seconds, self.resting_watts * seconds + joules, gauge, charging);
        let planned = self.mission.frames.planned(self.pending.since, elapsed);
        self.learned.frames(seconds, frames, planned, joules, expected);
        self.debt += expected - frames * self.ladder.joules_at(self.plan.position);
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
        let resting = since(self.pending.since, input.elapsed) < self.settings.dwell;
        let held = matches!(self.choice.reason, Reason::BrownOut | Reason::GaugeFailed | Reason::StaleDegrade);
        if self.started && resting && !held {
            let reason = match self.choice.reason {
                lasting @ (Reason::CannotLast | Reason::FloorCannotLast | Reason::Reserve | Reason::Plenty) => lasting,
                _ => Reason::Hold,
            };
            self.choice.reason = reason;
            return self.choice;
        }
        // A watch lets nothing else through, but a gauge may be asked without one.
        let gauge = Some(reading.soc).filter(|soc| soc.is_finite()).map(|soc| soc.clamp(0.0, 1.0));
        self.account(input.elapsed, gauge, reading.charging == Some(true));
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
mod tests {
    use proptest::prelude::*;

    use super::super::ladder::tests::{frontier, power};
    use super::*;
    use crate::energy::gauge::{Fault, GaugeReading, GaugeState};

    const HOUR: Duration = Duration::from_secs(3600);

    fn mission(frames: FrameDemand) -> Mission {
        Mission { duration: 10 * HOUR, reserve: 0.1, frames, floor: None }
    }

    /// Rungs of 1, 5.5 and 10 J, 0.5 W idle.
    fn governor(mission: Mission, capacity_mwh: f32) -> BudgetGovernor {
        let ladder = Ladder::new(&frontier(&[(0.0, 0.5), (0.5, 0.8), (1.0, 0.9)]), &power()).unwrap();
        let settings = GovernorSettings { efficiency: 1.0, ..GovernorSettings::new(capacity_mwh) };
        BudgetGovernor::new(ladder, &power(), mission, settings).unwrap()
    }

    fn good(seconds: u64, soc: f32) -> GovernorInput {
        GovernorInput::new(Duration::from_secs(seconds), GaugeState::Good(GaugeReading::new(soc)))
    }

    /// Plays a mission on a perfect battery that really holds `real_mwh`; returns the charge at the end.
    fn play(governor: &mut BudgetGovernor, real_mwh: f32, period: f32, cost: f32) -> (f32, u32) {
        let (mut soc, mut switches, mut frames, mut joules) = (1.0, 0, 0, 0.0);
        let mut point = None;
        for tick in 0..3600u64 {
            let choice = governor.choose(&good(tick * 10, soc).with_frames(frames, joules));
            switches += u32::from(point.is_some_and(|point| point != choice.point));
            point = Some(choice.point);
            frames = (10.0 / choice.period.map_or(period, |p| p.as_secs_f32())) as u32;
            joules = frames as f32 * [1.0, 5.5, 10.0][choice.point] * cost;
            soc -= (joules + 5.0) / (real_mwh * 3.6);
        }
        (soc, switches)
    }

    #[test]
    fn lasts_the_mission_and_leaves_the_reserve_whatever_battery_and_frames_really_are() {
        let second = FrameDemand::Period(Duration::from_secs(1));
        // Half a watt of idling and 3 W of frames for ten hours are 35 Wh.
        for (real, cost) in [(39_000.0, 1.0), (33_000.0, 1.0), (46_000.0, 1.0), (39_000.0, 1.2), (39_000.0, 0.8)] {
            let (soc, switches) = play(&mut governor(mission(second), 39_000.0), real, 1.0, cost);
            assert!((soc - 0.1).abs() < 0.01, "{real} mWh, cost x {cost}: {soc}");
            assert!(switches <= 1200, "at most one change a dwell: {switches}");
        }
    }

    #[test]
    fn says_when_there_is_plenty_and_when_it_cannot_last() {
        let second = FrameDemand::Period(Duration::from_secs(1));
        let mut rich = governor(mission(second), 1_000_000.0);
        assert_eq!(rich.choose(&good(0, 1.0)), Choice { point: 2, period: None, reason: Reason::Plenty });
        let mut poor = governor(mission(second), 10_000.0);
        assert_eq!(poor.choose(&good(0, 1.0)), Choice { point: 0, period: None, reason: Reason::CannotLast });
        assert_eq!(rich.choose(&good(36_000, 0.9)).reason, Reason::MissionOver);
    }

    #[test]
    fn keeps_the_floor_and_tells_that_it_cannot_last() {
        let second = FrameDemand::Period(Duration::from_secs(1));
        let mut governor = governor(Mission { floor: Some(0.7), ..mission(second) }, 10_000.0);
        assert_eq!(governor.choose(&good(0, 1.0)), Choice { point: 1, period: None, reason: Reason::FloorCannotLast });
    }

    #[test]
    fn chooses_period_and_point_together() {
        let free = FrameDemand::Between(Duration::from_secs(1), Duration::from_secs(60));
        // Rung 0 gives most right answers per joule: first the period shortens, then the points get better.
        let choose = |mwh| governor(mission(free), mwh).choose(&good(0, 1.0));
        let poor = choose(7_000.0);
        assert_eq!(poor.point, 0);
        assert!(poor.period.unwrap() > Duration::from_secs(5) && poor.period.unwrap() < Duration::from_secs(60));
        assert_eq!(choose(30_000.0).period, Some(Duration::from_secs(1)));
        assert_eq!(
            choose(1_000_000.0),
            Choice { point: 2, period: Some(Duration::from_secs(1)), reason: Reason::Plenty }
        );
        // What is chosen fits the energy: what 7 Wh hold above the reserve, less 5 Wh of idling, over ten hours at 1 J.
        let watts = (0.9 - MARGIN - CONTINGENCY) * 7.0 / 10.0 - 0.5;
        assert!((poor.period.unwrap().as_secs_f32() - 1.0 / watts).abs() < 0.5, "{poor:?}");
    }

    #[test]
    fn a_stale_gauge_holds_then_degrades_then_fails_and_recovers() {
        let second = FrameDemand::Period(Duration::from_secs(1));
        let mut governor = governor(mission(second), 1_000_000.0);
        let last = GaugeReading::new(0.9);
        assert_eq!(governor.choose(&good(0, 0.9)).point, 2);
        let mut at = |seconds: u64, gauge: GaugeState| {
            let choice = governor.choose(&GovernorInput::new(Duration::from_secs(seconds), gauge));
            (choice.point, choice.reason)
        };
        let stale = |age| GaugeState::Stale { last, age: Duration::from_secs(age), fault: Fault::Nack };
        assert_eq!(at(100, stale(100)), (2, Reason::StaleHold));
        assert_eq!(at(301, stale(301)), (1, Reason::StaleDegrade));
        assert_eq!(at(310, stale(310)), (1, Reason::StaleDegrade));
        assert_eq!(at(361, stale(361)), (0, Reason::StaleDegrade));
        assert_eq!(at(1000, GaugeState::Failed { fault: Fault::Nack }), (0, Reason::GaugeFailed));
        // Back to the top not at once, but as fast as allowed.
        assert_eq!(at(1040, GaugeState::Good(last)), (2, Reason::Plenty));
    }

    #[test]
    fn below_the_reserve_the_first_exit_and_below_the_brown_out_voltage_nothing() {
        let second = FrameDemand::Period(Duration::from_secs(1));
        let mut governor = governor(mission(second), 1_000_000.0);
        governor.guard = Guard::new(&GovernorSettings { brown_out_volts: Some(3.2), ..GovernorSettings::new(1.0) });
        assert_eq!(governor.choose(&good(0, 0.09)), Choice { point: 0, period: None, reason: Reason::Reserve });
        let mut volts = |seconds, volts| {
            let gauge = GaugeState::Good(GaugeReading::new(0.9).with_volts(volts));
            governor.choose(&GovernorInput::new(Duration::from_secs(seconds), gauge))
        };
        assert!(!volts(10, 3.1).stops(), "one low reading may be a glitch");
        assert!(volts(20, 3.1).stops());
        assert!(volts(30, 3.25).stops(), "recovered, but not by enough");
        assert!(!volts(90, 3.35).stops());
    }

    #[test]
    fn refuses_impossible_missions() {
        let ladder = Ladder::new(&frontier(&[(0.0, 0.5)]), &power()).unwrap();
        let second = FrameDemand::Period(Duration::from_secs(1));
        let new = |mission, settings| BudgetGovernor::new(ladder.clone(), &power(), mission, settings).err();
        let (good, settings) = (mission(second), GovernorSettings::new(1000.0));
        assert_eq!(new(Mission { reserve: 1.0, ..good }, settings), Some(MissionError::Reserve(1.0)));
        assert_eq!(new(Mission { duration: Duration::ZERO, ..good }, settings), Some(MissionError::Duration));
        assert_eq!(new(mission(FrameDemand::PerHour(0.0)), settings), Some(MissionError::Rate(0.0)));
        let swapped = FrameDemand::Between(2 * HOUR, HOUR);
        assert_eq!(new(mission(swapped), settings), Some(MissionError::Period));
        assert_eq!(new(good, GovernorSettings::new(-1.0)), Some(MissionError::Capacity(-1.0)));
    }

    fn any_gauge() -> impl Strategy<Value = GaugeState> {
        let reading = (any::<f32>(), any::<f32>(), any::<bool>())
            .prop_map(|(soc, volts, charging)| GaugeReading::new(soc).with_volts(volts).with_charging(charging));
        (reading, 0u8..3, any::<u32>()).prop_map(|(reading, kind, age)| match kind {
            0 => GaugeState::Good(reading),
            1 => GaugeState::Stale { last: reading, age: Duration::from_secs(age.into()), fault: Fault::Bus },
            _ => GaugeState::Failed { fault: Fault::Bus },
        })
    }

    proptest! {
        #[test]
        fn any_input_gives_a_point_of_the_frontier(
            inputs in proptest::collection::vec((any_gauge(), any::<u16>(), any::<u32>(), any::<f32>()), 1..60),
        ) {
            for frames in [FrameDemand::Period(Duration::from_millis(100)), FrameDemand::PerHour(3.0),
                           FrameDemand::Between(Duration::from_millis(50), HOUR)] {
                let mut governor = governor(mission(frames), 30_000.0);
                let mut elapsed = Duration::ZERO;
                for (gauge, seconds, count, joules) in &inputs {
                    elapsed += Duration::from_secs((*seconds).into());
                    let choice = governor.choose(&GovernorInput::new(elapsed, *gauge).with_frames(*count, *joules));
                    prop_assert!(choice.point < 3);
                    if let Some(period) = choice.period {
                        prop_assert!(period >= Duration::from_millis(50) && period <= HOUR);
                    }
                }
                prop_assert!(governor.learned().is_sound());
            }
        }
    }
}
