//! Budget governor: the battery lasts the mission, and what it holds above the reserve is spent on accuracy.

use core::time::Duration;

use super::dither::{Dither, Pace, Step};
use super::guard::{Guard, Verdict};
use super::ladder::Ladder;
use super::learned::Learned;
use super::mission::{FrameDemand, GovernorSettings, Mission, MissionError, Solar};
use super::spells::Spells;
use super::{Choice, Governor, GovernorInput, Reason};
use crate::energy::PowerModel;
use crate::energy::clock::since;
use crate::energy::gauge::{GaugeReading, Supply};

mod plan;

pub use plan::BudgetPlan;

/// Charge above the reserve at which the cheapest point is left again.
const RESERVE_HYSTERESIS: f32 = 0.005;
/// A battery gives more the slower it is emptied (Peukert's law): the exponent above 1 of usual cells, and the hours of the
/// discharge that nameplates are for.
const PEUKERT: f32 = 0.05;
const RATED_HOURS: f32 = 20.0;

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
    /// The same on average until the end: less, where the board is switched off at times.
    mean_resting: f32,
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
    spells: Spells,
    /// Share of the time that scenes are easy.
    easy_share: f32,
    /// Planned watts, smoothed.
    watts: Option<f32>,
    /// Whether the mission has changed since the last full decision.
    changed: bool,
}

/// What has come in since the last full decision.
#[derive(Clone, Copy, Debug, Default)]
struct Pending {
    since: Duration,
    frames: f32,
    joules: f32,
    expected: f32,
    /// Joules at rest beyond those of the power model.
    beyond: f32,
}

/// Whole hours since the mission began.
fn hour(elapsed: Duration) -> u32 {
    (elapsed.as_secs() / 3600).min(u64::from(u32::MAX)) as u32
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
        let mut learned = Learned::of_battery(settings.joules_per_charge(), settings.voltage_fall);
        let full_hours = settings.joules_per_charge() / power.resting_watts().max(f32::MIN_POSITIVE) / 3600.0;
        let hours = full_hours.min(mission.duration.as_secs_f32() / 3600.0).max(1e-3);
        let slow = libm::powf(hours / RATED_HOURS, -PEUKERT).clamp(0.8, 1.3);
        learned.battery = learned.battery.with_drain(slow);
        if let Some(Solar { watts, begins }) = mission.solar {
            learned.expect_sun(watts * 3600.0 / settings.joules_per_charge(), begins.as_secs_f32() / 3600.0);
        }
        let mut governor = BudgetGovernor {
            resting_watts: power.resting_watts(),
            mean_resting: power.resting_watts(),
            guard: Guard::new(&settings),
            learned,
            plan: BudgetPlan::default(),
            choice: Choice::new(point, Reason::Start),
            rung: 0,
            dither: Dither::default(),
            started: false,
            below_reserve: false,
            pending: Pending::default(),
            spells: Spells::default(),
            easy_share: 0.5,
            watts: None,
            changed: false,
            ladder,
            mission,
            settings,
        };
        if governor.unseen_watts() > 0.0 {
            governor.learned.need_charger();
        }
        Ok(governor)
    }

    /// Goes on with what an earlier run learned; state that is unsound, of another version or of another battery is ignored.
    #[must_use]
    pub fn with_learned(mut self, learned: Learned) -> Self {
        self.learned = learned.resumed(self.learned);
        self
    }

    /// Goes on `elapsed` after the beginning of a mission that an earlier run began. In the last part of that, `away`, nobody
    /// counted: the board took `joules` then, which were what it draws switched off and what booting it takes, or what it idles with.
    /// What came before was counted by the earlier run, whose [`Learned`] must have been given already.
    #[must_use]
    pub fn resumed_at(mut self, elapsed: Duration, away: Duration, joules: f32) -> Self {
        let joules = if joules.is_finite() { joules.max(0.0) } else { 0.0 };
        let left = elapsed.saturating_sub(away);
        self.learned.drain(hour(left), away.min(elapsed).as_secs_f32(), (joules, 0.0), None);
        self.pending.since = elapsed;
        self
    }

    /// Takes another accuracy in [0, 1] never to go below, from the next decision on; with none, accuracy gives way.
    ///
    /// # Errors
    /// [`MissionError::Floor`]; the floor then stays as it was.
    pub fn set_floor(&mut self, floor: Option<f32>) -> Result<(), MissionError> {
        let mission = Mission { floor, ..self.mission };
        mission.check()?;
        self.changed |= mission != self.mission;
        self.mission = mission;
        Ok(())
    }

    /// Takes in that since the last decision the board drew `joules` more at rest than the power model says, or less: it booted, or
    /// was switched off.
    pub fn drew(&mut self, joules: f32) {
        self.pending.beyond += if joules.is_finite() { joules } else { 0.0 };
    }

    /// Plans with so many watts at rest, on average until the end, in place of the power model's: for a board that is switched off
    /// at times. What was really drawn is for [`drew`](Self::drew) to say.
    pub fn plan_resting_at(&mut self, watts: f32) {
        if watts.is_finite() {
            self.mean_resting = watts.max(0.0);
        }
    }

    /// Joules that the board drew at rest in so many seconds.
    fn rested(&self, seconds: f32) -> f32 {
        (self.resting_watts * seconds + self.pending.beyond).max(0.0)
    }

    /// The mission as it stands.
    pub const fn mission(&self) -> &Mission {
        &self.mission
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
        let hour = hour(self.pending.since);
        self.learned.drain(hour, seconds, (self.rested(seconds), joules), gauge);
        let planned = self.mission.frames.planned(self.pending.since, elapsed);
        self.learned.frames(hour, seconds, (frames, planned), (joules, expected));
        if expected > 0.0 {
            let rung = self.ladder.rung(self.rung);
            self.spells.observe(seconds, frames, joules / expected, rung.spread / rung.joules.max(f32::MIN_POSITIVE));
        }
        self.dither.overspent(expected - frames * self.ladder.joules_at(self.plan.position));
        self.pending = Pending { since: elapsed, ..Pending::default() };
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

        let (reading, failed) = match self.guard.judge(input) {
            Verdict::Stop => {
                self.account(input.elapsed, None);
                return self.cheapest(Reason::BrownOut);
            }
            Verdict::Blind { failed: _ } if !self.learned.battery.has_begun() => {
                self.account(input.elapsed, None);
                return self.cheapest(Reason::GaugeFailed);
            }
            Verdict::Blind { failed } => (None, failed),
            Verdict::External(reading)
                if reading.supply != Some(Supply::External)
                    && self.learned.battery.has_begun()
                    && self.learned.sags(&reading) =>
            {
                (None, false)
            }
            Verdict::External(reading) => {
                let seconds = since(self.pending.since, input.elapsed).as_secs_f32();
                let drawn = (self.rested(seconds), self.pending.joules);
                self.account(input.elapsed, None);
                if reading.supply == Some(Supply::External) {
                    self.learned.refill(&reading);
                } else {
                    self.learned.held_full(&reading, seconds, drawn);
                }
                self.below_reserve = false;
                self.watts = None;
                return self.best(Reason::ExternalPower);
            }
            Verdict::Believe(reading) => (Some(reading), false),
        };
        // A full decision at most once per dwell time: between them nothing that matters can change.
        let seconds = since(self.pending.since, input.elapsed);
        let held = matches!(self.choice.reason, Reason::BrownOut | Reason::ExternalPower);
        let changed = core::mem::take(&mut self.changed);
        if self.started && seconds < self.settings.dwell && !held && !changed {
            let reason = match self.choice.reason {
                lasting @ (Reason::CannotLast | Reason::FloorCannotLast | Reason::Reserve | Reason::Plenty) => lasting,
                _ => Reason::Hold,
            };
            self.choice.reason = if reading.is_some() { reason } else { blind_reason(failed) };
            return self.choice;
        }
        if let (Some(reading), Reason::ExternalPower) = (&reading, self.choice.reason) {
            self.learned.refill(reading);
        }
        self.account(input.elapsed, reading.as_ref());
        let soc = self.learned.battery.soc();
        let choice = if input.elapsed >= self.mission.duration {
            self.cheapest(Reason::MissionOver)
        } else if soc < self.mission.reserve || (self.below_reserve && soc < self.mission.reserve + RESERVE_HYSTERESIS)
        {
            self.below_reserve = true;
            self.watts = None;
            self.cheapest(Reason::Reserve)
        } else {
            self.below_reserve = false;
            let (target, period, reason) = self.target(input.elapsed, reading.is_none(), seconds.as_secs_f32());
            let (rung, reason) = self.move_to(target, reason);
            self.take(rung, period, if reading.is_some() { reason } else { blind_reason(failed) })
        };
        self.started = true;
        choice
    }
}

/// Why a plan goes on without a reading.
const fn blind_reason(failed: bool) -> Reason {
    if failed { Reason::GaugeFailed } else { Reason::StaleHold }
}

#[cfg(test)]
mod tests;
