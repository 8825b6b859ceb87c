//! Times of a float and a quantised plan, in turns: what else the machine does meets both.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::plan::Plan;
use crate::runtime::{RunError, Runtime};

/// Rounds over both plans.
const ROUNDS: usize = 7;
/// Frames of a plan in a round.
const FRAMES: usize = 3;

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

/// For each name, the median time of its operator in either plan; zero where a plan has none of that name.
pub(super) fn operators<'a>(
    plans: [&Arc<Plan>; 2],
    image: &[f32],
    names: impl Iterator<Item = &'a str>,
) -> Result<Vec<[Duration; 2]>, RunError> {
    let mut runtimes = [Runtime::new(plans[0].clone())?, Runtime::new(plans[1].clone())?];
    let mut times: [HashMap<String, Vec<Duration>>; 2] = Default::default();
    for _ in 0..ROUNDS {
        for (runtime, times) in runtimes.iter_mut().zip(&mut times) {
            for operator in runtime.operator_times(image, FRAMES)? {
                times.entry(operator.node).or_default().push(operator.time);
            }
        }
    }
    Ok(names.map(|name| [0, 1].map(|plan| median(times[plan].get(name).cloned().unwrap_or_default()))).collect())
}

/// The median time of a whole frame of either plan, and the median over the rounds of the second to the first.
pub(super) fn frames(plans: [&Arc<Plan>; 2], image: &[f32]) -> Result<([Duration; 2], f64), RunError> {
    let mut runtimes = [Runtime::new(plans[0].clone())?, Runtime::new(plans[1].clone())?];
    let mut times: [Vec<Duration>; 2] = Default::default();
    let mut ratios = vec![];
    // The first round warms up.
    for round in 0..=3 * ROUNDS {
        let mut both = [Duration::ZERO; 2];
        for (runtime, both) in runtimes.iter_mut().zip(&mut both) {
            let exits = runtime.plan().info().exits.len();
            let begun = Instant::now();
            runtime.begin(image)?;
            for exit in 0..exits {
                runtime.advance(exit)?;
            }
            *both = begun.elapsed();
        }
        if round > 0 {
            ratios.push(both[1].as_secs_f64() / both[0].as_secs_f64().max(f64::MIN_POSITIVE));
            times.iter_mut().zip(both).for_each(|(times, time)| times.push(time));
        }
    }
    ratios.sort_by(f64::total_cmp);
    Ok((times.map(median), ratios[ratios.len() / 2]))
}
