//! What stages cost: the profile, one stored by an earlier run, or watts x latency.

use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use dyn_perceiver::energy::PowerModel;
use dyn_perceiver::plan::Plan;
use dyn_perceiver::runtime::Runtime;
use dyn_perceiver::sensors::store::Stored;

use crate::args::watts::Watts;
use crate::args::{profile, work};
use crate::output::failure::{Failure, OrInput as _, wrong};

/// What is counted where no profile tells how long stages take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Times {
    /// The time that passes here, on so many threads.
    Measured(NonZeroUsize),
    /// A time that is the same on every machine.
    Modelled,
}

/// What stages cost.
#[derive(Clone, Debug)]
pub(super) struct Costs {
    pub power: PowerModel,
    /// Seconds of each stage: measured here or by the profile, else modelled.
    pub seconds: Vec<f32>,
    /// Where the joules come from, in words.
    pub origin: String,
}

/// What stages cost: by the profile, by one that an earlier run stored, or by watts x latency. Only for the last the network
/// is run to time it, since that takes seconds on a small board.
pub(super) fn costs(
    plan: &Arc<Plan>,
    file: Option<&Path>,
    stored: &Stored,
    (watts, threads): (&Watts, NonZeroUsize),
    times: Times,
) -> Result<Costs, Failure> {
    let stages = plan.outcomes();
    let (power, seconds, origin) = match (file, &stored.power) {
        (Some(path), _) => {
            let profile = profile::read(path)?;
            let seconds = profile.stages.iter().map(|stage| stage.seconds as f32).collect();
            (profile::power_model(&profile, path)?, seconds, format!("by the profile {}", path.display()))
        }
        (None, Some(model)) => (model.clone(), modelled_seconds(plan), "by an earlier run's profile".to_owned()),
        (None, None) => {
            let (seconds, measured) = match times {
                Times::Modelled => (modelled_seconds(plan), "watts x modelled latency"),
                Times::Measured(threads) => (stage_seconds(plan, threads)?, "watts x latency measured here"),
            };
            let model = PowerModel::from_latency(watts.resting(), watts.busy(threads), &seconds).or_input()?;
            (model, seconds, format!("{measured}; {}", watts.in_words(threads)))
        }
    };
    if power.stages().len() != stages {
        return wrong(format!("{origin}: joules of {} stages, but the model has {stages}", power.stages().len()));
    }
    let origin = format!("{}, {origin}", power.source());
    Ok(Costs { power, seconds, origin })
}

/// Median seconds that each stage takes on this machine, on so many threads.
fn stage_seconds(plan: &Arc<Plan>, threads: NonZeroUsize) -> Result<Vec<f32>, Failure> {
    const RUNS: usize = 15;
    let mut runtime = Runtime::new(plan.clone())?.with_threads(threads)?;
    let image = vec![0.0; plan.info().input.len()];
    let exits = plan.stages().len();
    let mut times = vec![vec![]; plan.outcomes()];
    for _ in 0..RUNS {
        runtime.begin(&image)?;
        for (outcome, times) in times.iter_mut().enumerate() {
            let began = Instant::now();
            match outcome.checked_sub(exits) {
                None => {
                    runtime.advance(outcome)?;
                }
                Some(goal) => {
                    runtime.advance_to_boxes(goal)?;
                }
            }
            times.push(began.elapsed().as_secs_f32());
        }
    }
    let median = |mut times: Vec<f32>| {
        times.sort_by(f32::total_cmp);
        times[RUNS / 2]
    };
    Ok(times.into_iter().map(median).collect())
}

/// Seconds of each stage by its multiply-accumulates and nodes, the same on every machine and at every load.
fn modelled_seconds(plan: &Plan) -> Vec<f32> {
    work::stages(plan).map(|macs| (macs / work::MACS_PER_SECOND) as f32).collect()
}
