//! Strategies replay a trace.

use core::time::Duration;
use std::collections::BTreeMap;

use super::cell::{Cell, CellSettings};
use super::frames::Frames;
use super::gauge::{FaultWindow, SimulatedGauge};
use super::scenario::Scenario;
use super::table::Table;
use super::trace::Trace;
use crate::records::Records;
use dyn_perceiver_core::energy::PowerModel;
use dyn_perceiver_core::energy::estimator::GaugeMonitor;
use dyn_perceiver_core::energy::governor::{
    BudgetGovernor, FrameDemand, Governor, GovernorInput, Ladder, LadderError, MissionError, Reason,
};
use dyn_perceiver_core::exit::{ExitPolicy, Frontier, PolicyError};

/// Who decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Strategy {
    /// The whole network for every frame.
    Full,
    /// The first exit for every frame.
    First,
    /// A table of three SoC steps (most accurate, middle, cheapest point; where the period is free they may change that,
    /// too), tuned once for all missions, to last as often as the governor: what can be shipped.
    Steps,
    /// The same with a table for every mission, tuned on that mission itself to end at the reserve: better than any table
    /// that could be written beforehand.
    StepsInHindsight,
    /// The budget governor.
    Governor,
    /// One mix of two neighbouring points for the whole mission, chosen in hindsight to end at the reserve: what knowing
    /// the future would give.
    Oracle,
}

impl Strategy {
    /// Every strategy, in the order of tables.
    pub const ALL: [Strategy; 6] = [
        Strategy::Full,
        Strategy::First,
        Strategy::Steps,
        Strategy::StepsInHindsight,
        Strategy::Governor,
        Strategy::Oracle,
    ];

    /// The name in tables.
    pub const fn name(self) -> &'static str {
        match self {
            Strategy::Full => "always full",
            Strategy::First => "always first exit",
            Strategy::Steps => "SoC steps",
            Strategy::StepsInHindsight => "SoC steps in hindsight",
            Strategy::Governor => "governor",
            Strategy::Oracle => "oracle",
        }
    }
}

/// What came of one mission.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcome {
    /// Frames answered.
    pub frames: f64,
    /// Of those rightly.
    pub right: f64,
    /// Watt-hours the board took.
    pub watt_hours: f64,
    /// Seconds until the board went down, or the mission's end.
    pub seconds: f32,
    /// True state of charge at the end.
    pub soc: f32,
    /// Changes of the operating point.
    pub switches: u32,
    /// Whether the board went down for lack of voltage.
    pub brown_out: bool,
    /// How many ticks each reason held.
    pub reasons: BTreeMap<&'static str, u32>,
    /// What happened over time, for plots; empty unless asked for.
    pub samples: Vec<Sample>,
}

/// One moment of a mission.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    /// Hours since the beginning.
    pub hours: f32,
    /// True state of charge.
    pub soc: f32,
    /// Joules a frame may cost, by the governor's budget; NaN for others.
    pub budget: f32,
    /// Accuracy expected of the operating point.
    pub point_accuracy: f32,
    /// Share of right answers since the last sample.
    pub accuracy: f32,
}

/// What runs in a tick: a share of each of two policies, and frames against the trace's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Running {
    pub low: usize,
    pub high: usize,
    pub share_of_high: f32,
    pub pace: f32,
    pub budget: f32,
    pub reason: Option<Reason>,
}

impl Running {
    pub fn only(policy: usize) -> Self {
        Running { low: policy, high: policy, share_of_high: 0.0, pace: 1.0, budget: f32::NAN, reason: None }
    }
}

/// A network on a board in a scenario.
#[derive(Clone, Debug)]
pub struct Simulation {
    scenario: Scenario,
    frames: Frames,
    power: PowerModel,
    ladder: Ladder,
    points: usize,
    /// Of the frontier's policies, then of the whole network, then of the first exit alone.
    accuracy: Vec<f32>,
}

/// Why a simulation cannot be set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SimulationError {
    /// Frontier and power model are for different networks.
    #[error(transparent)]
    Ladder(#[from] LadderError),
    /// The records are for another network.
    #[error("the records have {actual} exits, the policy {expected}")]
    Records {
        /// Exits of the frontier.
        expected: usize,
        /// Exits of the records.
        actual: usize,
    },
    /// There are no records to draw frames from.
    #[error("no records to draw frames from")]
    NoRecords,
    /// Logits that a policy needs cannot be read.
    #[error("reading records: {0}")]
    Logits(#[from] std::io::Error),
    /// The mission or the settings are out of range.
    #[error(transparent)]
    Mission(#[from] MissionError),
    /// No policy for so many exits.
    #[error(transparent)]
    Policy(#[from] PolicyError),
}

impl Simulation {
    /// Sets up a simulation whose frames are drawn from `rows` of the records, which are sorted. For figures that hold,
    /// the frontier must have been found on other rows.
    ///
    /// # Errors
    /// [`SimulationError`] when frontier, records and power model are not of one network or the mission is impossible.
    pub fn new(
        scenario: Scenario,
        frontier: &Frontier,
        records: &Records,
        rows: &[u32],
        power: PowerModel,
    ) -> Result<Self, SimulationError> {
        let ladder = Ladder::new(frontier, &power)?;
        let exits = frontier.exits();
        if records.exits.len() != exits {
            return Err(SimulationError::Records { expected: exits, actual: records.exits.len() });
        }
        // Refused here rather than in the middle of a run.
        BudgetGovernor::new(ladder.clone(), &power, scenario.mission, scenario.settings)?;
        let mut policies: Vec<ExitPolicy> = frontier.points().iter().map(|point| point.policy.clone()).collect();
        policies.extend([ExitPolicy::only(exits.saturating_sub(1), exits)?, ExitPolicy::only(0, exits)?]);
        let frames = Frames::new(records, rows, &policies, &power)?;
        let accuracy = (0..policies.len()).map(|policy| frames.accuracy(policy)).collect();
        Ok(Simulation { scenario, frames, power, ladder, points: frontier.points().len(), accuracy })
    }

    /// The scenario.
    pub fn scenario(&self) -> &Scenario {
        &self.scenario
    }

    /// The ladder of operating points.
    pub fn ladder(&self) -> &Ladder {
        &self.ladder
    }

    /// Draws the mission of a seed.
    pub fn trace(&self, seed: u64) -> Trace {
        Trace::draw(&self.scenario, &self.frames, seed)
    }

    /// Runs one strategy through a mission; with `sample_every` ticks between samples, 0 for none.
    pub fn run(&self, strategy: Strategy, trace: &Trace, seed: u64, sample_every: usize) -> Outcome {
        match strategy {
            Strategy::Full => self.replay(trace, sample_every, |_, _| self.fixed(self.points)),
            Strategy::First => self.replay(trace, sample_every, |_, _| self.fixed(self.points + 1)),
            Strategy::Governor => self.run_governor(trace, seed, sample_every),
            Strategy::Steps | Strategy::StepsInHindsight => {
                let ends = |table: Table| self.run_table(table, trace, seed, 0);
                let lasts = |table: Table| ends(table).soc >= self.scenario.mission.reserve;
                let tables = self.table_kinds().iter().map(|kind| self.tune_table(*kind, lasts));
                let right = |table: &Table| ends(*table).right;
                let best = tables.reduce(|best, other| if right(&other) > right(&best) { other } else { best });
                best.map_or_else(Outcome::default, |table| self.run_table(table, trace, seed, sample_every))
            }
            Strategy::Oracle => {
                let reserve = self.scenario.mission.reserve;
                let at = self.tune(|x| self.run_constant(trace, 0, x).soc >= reserve, false);
                self.run_constant(trace, sample_every, at)
            }
        }
    }

    /// The x in [0, 1] that spends most of those with `enough` left at the end, by bisection; `rising` when a larger x
    /// saves more.
    pub(crate) fn tune(&self, enough: impl Fn(f32) -> bool, rising: bool) -> f32 {
        let (mut saving, mut spending) = if rising { (1.0, 0.0) } else { (0.0, 1.0) };
        if enough(spending) {
            return spending;
        }
        for _ in 0..14 {
            let middle = (saving + spending) / 2.0;
            if enough(middle) { saving = middle } else { spending = middle }
        }
        saving
    }

    /// Strategies that choose no period run at the fixed one, or in the (geometric) middle of the free ones.
    fn fixed(&self, policy: usize) -> Running {
        Running { pace: self.longest_pace().sqrt(), ..Running::only(policy) }
    }

    /// Frames at the longest period over those at the shortest, which the trace has.
    pub(crate) fn longest_pace(&self) -> f32 {
        match self.scenario.mission.frames {
            FrameDemand::Between(shortest, longest) => shortest.as_secs_f32() / longest.as_secs_f32(),
            _ => 1.0,
        }
    }

    /// One mix for the whole mission. `x` in [0, 1] buys ever more: first better points up to the one with most right
    /// answers per joule, then shorter periods where they are free, then still better points.
    fn run_constant(&self, trace: &Trace, sample_every: usize, x: f32) -> Outcome {
        let top = self.ladder.top() as f32;
        let longest = self.longest_pace();
        let (position, pace) = if longest < 1.0 {
            let best = self.ladder.most_per_joule(0.0);
            let part = |from: f32| ((x - from) * 3.0).clamp(0.0, 1.0);
            let position = best * part(0.0) + (top - best) * part(2.0 / 3.0);
            (position, longest + (1.0 - longest) * part(1.0 / 3.0))
        } else {
            (x * top, 1.0)
        };
        let low = position as usize;
        let point = |index: usize| self.ladder.rung(index).point;
        let share_of_high = position - low as f32;
        let running = Running { low: point(low), high: point(low + 1), share_of_high, pace, ..Running::only(0) };
        self.replay(trace, sample_every, |_, _| running)
    }

    fn run_governor(&self, trace: &Trace, seed: u64, sample_every: usize) -> Outcome {
        let made = BudgetGovernor::new(self.ladder.clone(), &self.power, self.scenario.mission, self.scenario.settings);
        let Ok(mut governor) = made else { return Outcome::default() };
        let mut watch = self.watch(trace, seed);
        let shortest = match self.scenario.mission.frames {
            FrameDemand::Between(shortest, _) => Some(shortest.as_secs_f32()),
            _ => None,
        };
        self.replay(trace, sample_every, |moment, cell| {
            let input = moment.input(&mut watch, cell, self.settings_charge());
            let choice = governor.choose(&input);
            // The trace has frames at the shortest period; a longer one takes its share of them.
            let pace = match (shortest, choice.period) {
                (Some(shortest), Some(period)) => (shortest / period.as_secs_f32()).min(1.0),
                _ => 1.0,
            };
            let pace = if choice.stops() { 0.0 } else { pace };
            let budget = governor.plan().budget;
            Running { pace, budget, reason: Some(choice.reason), ..Running::only(choice.point) }
        })
    }

    pub(crate) fn settings_charge(&self) -> f32 {
        self.scenario.settings.joules_per_charge()
    }

    pub(crate) fn watch(&self, trace: &Trace, seed: u64) -> GaugeMonitor<SimulatedGauge> {
        let duration = self.scenario.mission.duration;
        let window = self.scenario.fault.map(|fault| FaultWindow {
            fault,
            from: duration.mul_f32(trace.fault_at),
            until: Duration::MAX,
        });
        let gauge = SimulatedGauge::new(!seed, self.scenario.gauge_noise, self.scenario.gauge_resolution, window);
        GaugeMonitor::new(gauge, self.scenario.watch)
    }

    pub(crate) fn replay(
        &self,
        trace: &Trace,
        sample_every: usize,
        mut decide: impl FnMut(Moment, &Cell) -> Running,
    ) -> Outcome {
        let settings = CellSettings { health: trace.health, ..self.scenario.cell.clone() };
        let mut cell = Cell::new(settings);
        let mut outcome = Outcome::default();
        let mut before: Option<(usize, usize)> = None;
        let mut moment = Moment { idle_watts: self.power.resting_watts(), seconds: trace.tick, ..Moment::default() };
        let (mut due, mut recent) = (0.0f64, (0.0f64, 0.0f64));
        for tick in 0..trace.ticks() {
            moment.elapsed = Duration::from_secs_f64(tick as f64 * f64::from(trace.tick));
            moment.sun = trace.sun.get(tick).copied().unwrap_or(0.0);
            let running = decide(moment, &cell);
            if let Some(reason) = running.reason {
                *outcome.reasons.entry(reason.name()).or_default() += 1;
            }
            if before.is_some_and(|pair| pair != (running.low, running.high)) {
                outcome.switches += 1;
            }
            before = Some((running.low, running.high));

            let (low, high) = (trace.made(tick, running.low), trace.made(tick, running.high));
            let mix = |a: f32, b: f32| (a + running.share_of_high * (b - a)) * running.pace;
            let (joules, right) = (mix(low.0, high.0), mix(low.1, high.1));
            let frames = f64::from(trace.frames(tick)) * f64::from(running.pace);
            let watts = self.power.resting_watts() * trace.idle_error + joules * trace.joules_error / trace.tick;
            let celsius = trace.celsius.get(tick).copied().unwrap_or(25.0);
            cell.power(watts, moment.sun, trace.tick, celsius);
            if !cell.is_up() {
                outcome.brown_out = true;
                break;
            }
            outcome.frames += frames;
            outcome.right += f64::from(right);
            outcome.seconds = (tick + 1) as f32 * trace.tick;
            recent = (recent.0 + frames, recent.1 + f64::from(right));
            // The governor is told whole frames and, without a power monitor, what they should have cost.
            due += frames;
            moment.frames = due as u32;
            due -= f64::from(moment.frames);
            moment.joules = joules;
            if sample_every > 0 && tick % sample_every == 0 {
                let of = |policy: usize| self.accuracy.get(policy).copied().unwrap_or(0.0);
                outcome.samples.push(Sample {
                    hours: moment.elapsed.as_secs_f32() / 3600.0,
                    soc: cell.soc(),
                    budget: running.budget,
                    point_accuracy: of(running.low) + running.share_of_high * (of(running.high) - of(running.low)),
                    accuracy: (recent.1 / recent.0.max(1.0)) as f32,
                });
                recent = (0.0, 0.0);
            }
        }
        outcome.soc = cell.soc();
        outcome.watt_hours = cell.delivered() / 3600.0;
        outcome
    }
}

/// What a deciding strategy may look at.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Moment {
    elapsed: Duration,
    frames: u32,
    joules: f32,
    sun: f32,
    idle_watts: f32,
    /// Length of a tick.
    seconds: f32,
}

impl Moment {
    pub fn input(self, watch: &mut GaugeMonitor<SimulatedGauge>, cell: &Cell, per_charge: f32) -> GovernorInput {
        let charging = self.sun > self.idle_watts;
        watch.gauge_mut().set(self.elapsed, cell.soc(), cell.volts(), charging);
        let expected_drop = if self.sun > 0.0 { 0.0 } else { self.drop(per_charge) };
        let gauge = watch.observe(self.elapsed, expected_drop);
        GovernorInput::new(self.elapsed, gauge).with_frames(self.frames, self.joules)
    }

    fn drop(self, per_charge: f32) -> f32 {
        // One tick of idling and frames.
        (self.joules + self.idle_watts * self.seconds) / per_charge
    }
}
