//! Strategies other than tables, as functions over the engine: one point, one mix, the governor.

use dyn_perceiver_core::energy::governor::{BudgetGovernor, FrameDemand, Governor};

use super::engine::{Engine, MissionOutcome, Running};
use super::trace::Trace;

/// Strategies that choose no period run at the fixed one, or in the (geometric) middle of the free ones.
pub(super) fn fixed(engine: &Engine, policy: usize) -> Running {
    Running { pace: engine.longest_pace().sqrt(), ..Running::only(policy) }
}

/// One mix for the whole mission. `x` in [0, 1] buys ever more: first better points up to the one with most right
/// answers per joule, then shorter periods where they are free, then still better points.
pub(super) fn run_constant(engine: &Engine, trace: &Trace, sample_every: usize, x: f32) -> MissionOutcome {
    let top = engine.ladder.top() as f32;
    let longest = engine.longest_pace();
    let (position, pace) = if longest < 1.0 {
        let best = engine.best as f32;
        let part = |from: f32| ((x - from) * 3.0).clamp(0.0, 1.0);
        let position = best * part(0.0) + (top - best) * part(2.0 / 3.0);
        (position, longest + (1.0 - longest) * part(1.0 / 3.0))
    } else {
        (x * top, 1.0)
    };
    let low = position as usize;
    let point = |index: usize| engine.ladder.rung(index).point;
    let share_of_high = position - low as f32;
    let running = Running { low: point(low), high: point(low + 1), share_of_high, pace, ..Running::only(0) };
    engine.replay(trace, sample_every, |_, _| running)
}

pub(super) fn run_governor(engine: &Engine, trace: &Trace, seed: u64, sample_every: usize) -> MissionOutcome {
    let made =
        BudgetGovernor::new(engine.ladder.clone(), &engine.power, engine.scenario.mission, engine.scenario.settings);
    let Ok(mut governor) = made else { return MissionOutcome::default() };
    let mut watch = engine.watch(trace, seed);
    let shortest = match engine.scenario.mission.frames {
        FrameDemand::Between(shortest, _) => Some(shortest.as_secs_f32()),
        _ => None,
    };
    engine.replay(trace, sample_every, |moment, cell| {
        let input = moment.input(&mut watch, cell, engine.settings_charge());
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

/// The x in [0, 1] that spends most of those with `enough` left at the end, by bisection; `rising` when a larger x
/// saves more.
pub(super) fn tune(enough: impl Fn(f32) -> bool, rising: bool) -> f32 {
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
