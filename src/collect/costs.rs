//! Costs of every set of exits of a plan: in multiply-accumulates, joules or seconds.

use std::sync::Arc;
use std::time::Instant;

use dyn_perceiver_calibrate::records::{CostError, Costs, ExitSet};

use super::error::CollectError;
use crate::energy::PowerModel;
use crate::exit::{CostUnit, ExitPolicy, ExitRule, Measure, PolicyError};
use crate::plan::Plan;
use crate::runtime::Runtime;

/// Runs over which a latency is measured; the median counts.
const LATENCY_RUNS: usize = 31;
/// Exits of which the latency of every set is measured.
const MEASURED_EXITS: usize = 8;

/// Evaluates exactly the exits of a set, and leaves at the last of them.
fn through(set: ExitSet, exits: usize) -> Result<(ExitPolicy, usize), PolicyError> {
    let rule = |exit: usize| if set.contains(exit) { ExitRule::Leave(1.0) } else { ExitRule::Skip };
    let rules: Vec<ExitRule> = (0..exits).map(rule).collect();
    Ok((ExitPolicy::new(Measure::default(), &rules)?, set.last().unwrap_or(0)))
}

fn for_every_set(exits: usize, cost: impl Fn(&ExitPolicy, usize) -> f64) -> Result<Vec<(ExitSet, f64)>, PolicyError> {
    ExitSet::every(exits)
        .map(|set| {
            let (policy, last) = through(set, exits)?;
            Ok((set, cost(&policy, last)))
        })
        .collect()
}

/// Multiply-accumulates of every set of exits; of a detector, of every set of [`ModelInfo::outcome_names`](crate::model::ModelInfo::outcome_names).
///
/// # Errors
/// [`CollectError`] when there are too many exits.
pub fn mac_costs(plan: &Plan) -> Result<Costs, CollectError> {
    let sets = for_every_set(plan.outcomes(), |policy, exit| plan.macs(policy, exit) as f64)?;
    Ok(Costs::from_sets(CostUnit::Macs, plan.outcomes(), sets)?)
}

/// Joules of every set of exits on a board whose stages cost `stage_joules` per frame: an exit left out saves its
/// exclusive work, by its share of the stage's multiply-accumulates.
///
/// # Errors
/// [`CollectError`] when there are not as many stages, or a figure is out of range.
pub fn joule_costs(plan: &Plan, power: &PowerModel) -> Result<Costs, CollectError> {
    let exits = plan.stages().len();
    let every = ExitSet::first(exits);
    let macs = |set: ExitSet| through(set, exits).map(|(policy, last)| plan.macs(&policy, last) as f32);
    let mut exclusive = vec![0.0; exits];
    for (exit, (part, stage)) in exclusive.iter_mut().zip(plan.stages()).enumerate() {
        let without = every.without(exit);
        if !without.is_empty() && stage.macs > 0 {
            // Leaving out the last exit leaves its whole stage out; that never costs anyway.
            let saved = (macs(every)? - macs(without)?) / stage.macs as f32;
            *part = power.stages().get(exit).copied().unwrap_or(0.0) * saved.clamp(0.0, 1.0);
        }
    }
    let power =
        power.clone().with_exclusive(&exclusive).map_err(|_| CostError::Exits { exits: power.stages().len() })?;
    let sets = for_every_set(exits, |policy, exit| f64::from(power.policy_joules(policy, exit)))?;
    Ok(Costs::measured(CostUnit::Joules, exits, sets)?)
}

/// Seconds of every set of exits on this machine, one thread: the median over runs, the sets taking turns.
///
/// # Errors
/// [`CollectError`] when the network fails.
pub fn latency_costs(plan: &Arc<Plan>) -> Result<Costs, CollectError> {
    let exits = plan.stages().len();
    let mut runtime = Runtime::new(plan.clone())?;
    let image = vec![0.0; plan.info().input.len()];
    // Of many exits there are too many sets to measure: one that is not costs as much as the dearest part that is.
    let sets: Vec<ExitSet> = if exits <= MEASURED_EXITS {
        ExitSet::every(exits).collect()
    } else {
        (0..exits).flat_map(|exit| [ExitSet::only(exit), ExitSet::first(exit + 1)]).collect()
    };
    let mut times = vec![vec![]; sets.len()];
    for run in 0..=LATENCY_RUNS {
        for (set, times) in sets.iter().zip(&mut times) {
            let began = Instant::now();
            runtime.begin(&image)?;
            for exit in set.iter() {
                runtime.advance(exit)?;
            }
            // The first round only warms up.
            if run > 0 {
                times.push(began.elapsed().as_secs_f64());
            }
        }
    }
    let median = |mut times: Vec<f64>| {
        times.sort_by(f64::total_cmp);
        times[times.len() / 2]
    };
    let measured = sets.into_iter().zip(times.into_iter().map(median));
    Ok(Costs::measured(CostUnit::Seconds, exits, measured)?)
}
