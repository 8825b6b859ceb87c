//! The discrete-event engine: a battery, a load and a gauge through the ticks of one mission.

use core::time::Duration;
use std::collections::BTreeMap;

use dyn_perceiver_core::energy::estimator::GaugeMonitor;
use dyn_perceiver_core::energy::governor::{FrameDemand, GovernorInput, Ladder, Reason};
use dyn_perceiver_core::energy::{PowerModel, Supply};

use super::cell::{Cell, CellSettings};
use super::gauge::{FaultWindow, SimulatedGauge};
use super::scenario::Scenario;
use super::trace::Trace;

/// What came of one mission.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct MissionOutcome {
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
    pub samples: Vec<MissionSample>,
}

/// One moment of a mission.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct MissionSample {
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
pub(super) struct Running {
    pub(super) low: usize,
    pub(super) high: usize,
    pub(super) share_of_high: f32,
    pub(super) pace: f32,
    pub(super) budget: f32,
    pub(super) reason: Option<Reason>,
}

impl Running {
    pub(super) fn only(policy: usize) -> Self {
        Running { low: policy, high: policy, share_of_high: 0.0, pace: 1.0, budget: f32::NAN, reason: None }
    }
}

/// A network on a board in a scenario: what every strategy has in common.
#[derive(Clone, Debug)]
pub(super) struct Engine {
    pub(super) scenario: Scenario,
    pub(super) power: PowerModel,
    pub(super) ladder: Ladder,
    /// Points of the frontier.
    pub(super) points: usize,
    /// Of the frontier's policies, then of the whole network, then of the first exit alone.
    pub(super) accuracy: Vec<f32>,
    /// The rung with most right answers per joule on the very frames that are drawn from, which only hindsight knows.
    pub(super) best: usize,
}

impl Engine {
    /// Frames at the longest period over those at the shortest, which the trace has.
    pub(super) fn longest_pace(&self) -> f32 {
        match self.scenario.mission.frames {
            FrameDemand::Between(shortest, longest) => shortest.as_secs_f32() / longest.as_secs_f32(),
            _ => 1.0,
        }
    }

    pub(super) fn settings_charge(&self) -> f32 {
        self.scenario.settings.joules_per_charge()
    }

    pub(super) fn watch(&self, trace: &Trace, seed: u64) -> GaugeMonitor<SimulatedGauge> {
        let duration = self.scenario.mission.duration;
        let window = self.scenario.fault.map(|fault| FaultWindow {
            fault,
            from: duration.mul_f32(trace.fault_at),
            until: Duration::MAX,
        });
        let gauge = SimulatedGauge::new(!seed, self.scenario.gauge_noise, self.scenario.gauge_resolution, window);
        GaugeMonitor::new(gauge, self.scenario.watch)
    }

    pub(super) fn replay(
        &self,
        trace: &Trace,
        sample_every: usize,
        mut decide: impl FnMut(Moment, &Cell) -> Running,
    ) -> MissionOutcome {
        let settings = CellSettings { health: trace.health, ..self.scenario.cell.clone() };
        let mut cell = Cell::new(settings);
        let mut outcome = MissionOutcome::default();
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
                outcome.samples.push(MissionSample {
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
pub(super) struct Moment {
    elapsed: Duration,
    frames: u32,
    joules: f32,
    sun: f32,
    idle_watts: f32,
    /// Length of a tick.
    seconds: f32,
}

impl Moment {
    pub(super) fn input(self, watch: &mut GaugeMonitor<SimulatedGauge>, cell: &Cell, per_charge: f32) -> GovernorInput {
        let supply = if self.sun > self.idle_watts { Supply::Charging } else { Supply::Battery };
        watch.gauge_mut().set(self.elapsed, cell.soc(), cell.volts(), supply);
        let expected_drop = if self.sun > 0.0 { 0.0 } else { self.drop(per_charge) };
        let gauge = watch.observe(self.elapsed, expected_drop);
        GovernorInput::new(self.elapsed, gauge).with_frames(self.frames, self.joules)
    }

    fn drop(self, per_charge: f32) -> f32 {
        // One tick of idling and frames.
        (self.joules + self.idle_watts * self.seconds) / per_charge
    }
}
