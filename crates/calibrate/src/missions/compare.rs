//! Every strategy through many missions.

use std::ops::Range;

use super::engine::MissionOutcome;
use super::simulation::Simulation;
use super::strategy::Strategy;
use super::summary::{MissionSummary, ends_below};
use super::table::{Table, run_table, table_kinds, table_policies, tune_table};
use super::trace::Trace;
use crate::parallel::on_all_cores;

/// A mission's seed, what happens in it, and what became of it under each strategy.
type Played = (u64, Trace, Vec<(Strategy, MissionOutcome)>);

/// Every strategy through the missions of `seeds`, on all cores.
///
/// [`Strategy::Steps`] is one table for all of them, tuned on these missions to end below the reserve in no more of them
/// than the governor does. Of the kinds of table there are for the mission it is the one with most right answers.
pub fn compare(simulation: &Simulation, seeds: Range<u64>) -> Vec<(Strategy, MissionSummary)> {
    let seeds: Vec<u64> = seeds.collect();
    let policies = table_policies(simulation.engine());
    let others = Strategy::ALL.into_iter().filter(|strategy| *strategy != Strategy::Steps);
    let runs: Vec<Played> = on_all_cores(&seeds, |seed| {
        let trace = simulation.trace(*seed);
        let run = |strategy| (strategy, simulation.run(strategy, &trace, *seed, 0));
        let outcomes = others.clone().map(run).collect();
        (*seed, trace.with_policies(&policies), outcomes)
    });
    let of = |wanted: Strategy| -> Vec<MissionOutcome> {
        let outcomes = runs.iter().flat_map(|(.., outcomes)| outcomes);
        outcomes.filter(|(strategy, _)| *strategy == wanted).map(|(_, outcome)| outcome.clone()).collect()
    };
    let mission = simulation.scenario().mission;
    let below = |outcomes: &[MissionOutcome]| outcomes.iter().filter(|o| ends_below(o, mission.reserve)).count();
    let allowed = below(&of(Strategy::Governor));
    let play = |table: Table| -> Vec<MissionOutcome> {
        on_all_cores(&runs, |(seed, trace, _)| run_table(simulation.engine(), table, trace, *seed, 0))
    };
    let right = |outcomes: &Vec<MissionOutcome>| outcomes.iter().map(|o| o.right).sum::<f64>();
    let tables = table_kinds(simulation.engine())
        .iter()
        .map(|kind| play(tune_table(*kind, |table| below(&play(table)) <= allowed)));
    let steps =
        tables.reduce(|best, other| if right(&other) > right(&best) { other } else { best }).unwrap_or_default();
    let summary = |outcomes: &[MissionOutcome]| MissionSummary::of(outcomes, mission.duration, mission.reserve);
    let all = Strategy::ALL.into_iter();
    all.map(|strategy| (strategy, summary(&if strategy == Strategy::Steps { steps.clone() } else { of(strategy) })))
        .collect()
}
