//! A network on a board in a scenario, ready to be played.

use dyn_perceiver_core::energy::PowerModel;
use dyn_perceiver_core::energy::governor::{BudgetGovernor, Ladder};
use dyn_perceiver_core::exit::{ExitPolicy, Frontier};

use super::decide::{fixed, run_constant, run_governor, tune};
use super::engine::{Engine, MissionOutcome};
use super::error::SimulationError;
use super::frames::Frames;
use super::scenario::Scenario;
use super::strategy::Strategy;
use super::table::{Table, run_table, table_kinds, tune_table};
use super::trace::Trace;
use crate::records::Records;

/// A network on a board in a scenario.
///
/// # Examples
/// One day on a battery of 100 Wh, the governor beside the whole network for every frame:
/// ```
/// use std::time::Duration;
/// use dyn_perceiver_calibrate::missions::{Arrivals, Scenario, Simulation, Strategy};
/// use dyn_perceiver_calibrate::records::Synthetic;
/// use dyn_perceiver_calibrate::solver::{EnsembleKind, SolveOptions, solve};
/// use dyn_perceiver_calibrate::split;
/// use dyn_perceiver_core::energy::{JoulesSource, PowerModel};
///
/// let records = Synthetic::four_exits().records(400, 1)?;
/// let (calibration, drawn) = split(&records.rows(), 0.5, 1);
/// let options = SolveOptions::default().with_ensembles([EnsembleKind::Own]);
/// let frontier = solve(&records, &calibration, &options)?.frontier;
/// // 2.7 W at rest, and the joules that each stage adds per frame.
/// let power = PowerModel::new(2.7, &[0.2, 0.15, 0.15, 0.3], JoulesSource::Modelled)?;
/// let scenario = Scenario::new(Duration::from_secs(86_400), 0.1, Arrivals::Periodic(0.5), 100_000.0);
/// let simulation = Simulation::new(scenario, &frontier, &records, &drawn, power)?;
/// let trace = simulation.trace(7);
/// let governed = simulation.run(Strategy::Governor, &trace, 7, 0);
/// let full = simulation.run(Strategy::Full, &trace, 7, 0);
/// assert!(governed.seconds >= full.seconds);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Simulation {
    engine: Engine,
    frames: Frames,
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
        if records.exits().len() != exits {
            return Err(SimulationError::Records { expected: exits, actual: records.exits().len() });
        }
        // Refused here rather than in the middle of a run.
        BudgetGovernor::new(ladder.clone(), &power, scenario.mission, scenario.settings)?;
        let mut policies: Vec<ExitPolicy> = frontier.points().iter().map(|point| point.policy.clone()).collect();
        policies.extend([ExitPolicy::only(exits.saturating_sub(1), exits)?, ExitPolicy::only(0, exits)?]);
        let frames = Frames::new(records, rows, &policies, &power)?;
        let accuracy = (0..policies.len()).map(|policy| frames.accuracy(policy)).collect();
        let ratio = |rung: &usize| {
            let point = ladder.rung(*rung).point;
            frames.accuracy(point) / frames.joules(point).max(f32::MIN_POSITIVE)
        };
        let best = (0..=ladder.top()).max_by(|a, b| ratio(a).total_cmp(&ratio(b))).unwrap_or(0);
        let engine = Engine { scenario, power, ladder, points: frontier.points().len(), accuracy, best };
        Ok(Simulation { engine, frames })
    }

    /// The scenario.
    pub fn scenario(&self) -> &Scenario {
        &self.engine.scenario
    }

    /// The ladder of operating points.
    pub fn ladder(&self) -> &Ladder {
        &self.engine.ladder
    }

    /// Draws the mission of a seed.
    pub fn trace(&self, seed: u64) -> Trace {
        Trace::draw(self.scenario(), &self.frames, seed)
    }

    /// Runs one strategy through a mission; with `sample_every` ticks between samples, 0 for none.
    pub fn run(&self, strategy: Strategy, trace: &Trace, seed: u64, sample_every: usize) -> MissionOutcome {
        let engine = &self.engine;
        let reserve = engine.scenario.mission.reserve;
        match strategy {
            Strategy::Full => engine.replay(trace, sample_every, |_, _| fixed(engine, engine.points)),
            Strategy::First => engine.replay(trace, sample_every, |_, _| fixed(engine, engine.points + 1)),
            Strategy::Governor => run_governor(engine, trace, seed, sample_every),
            Strategy::Steps | Strategy::StepsInHindsight => {
                let ends = |table: Table| run_table(engine, table, trace, seed, 0);
                let lasts = |table: Table| ends(table).soc >= reserve;
                let tables = table_kinds(engine).iter().map(|kind| tune_table(*kind, lasts));
                let right = |table: &Table| ends(*table).right;
                let best = tables.reduce(|best, other| if right(&other) > right(&best) { other } else { best });
                best.map_or_else(MissionOutcome::default, |table| run_table(engine, table, trace, seed, sample_every))
            }
            Strategy::Oracle => {
                let at = tune(|x| run_constant(engine, trace, 0, x).soc >= reserve, false);
                run_constant(engine, trace, sample_every, at)
            }
        }
    }

    pub(super) fn engine(&self) -> &Engine {
        &self.engine
    }
}
