//! What stages cost: the profile, one stored by an earlier run, or watts x latency.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use dyn_perceiver::energy::PowerModel;
use dyn_perceiver::plan::Plan;
use dyn_perceiver::runtime::Runtime;
use dyn_perceiver::sensors::store::Stored;

use crate::args::profile;
use crate::args::watts::Watts;
use crate::output::failure::{Failure, OrInput as _, wrong};

/// Multiply-accumulates per second of modelled time: a round figure for one core of the boards this is for.
const MODELLED_MACS_PER_SECOND: f32 = 2e9;
/// Multiply-accumulates that take as long as what a node of the graph costs besides its own. Fitted to the stages of the
/// built-in model on an x86-64 machine; without it the early stages of small networks would come out too cheap.
const MACS_PER_NODE: f32 = 4300.0;

/// What is counted where no profile tells how long stages take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Times {
    /// The time that passes here.
    Measured,
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
    watts: &Watts,
    times: Times,
) -> Result<Costs, Failure> {
    let stages = plan.stages().len();
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
                Times::Measured => (stage_seconds(plan)?, "watts x latency measured here"),
            };
            let model = PowerModel::from_latency(watts.resting(), watts.active, &seconds).or_input()?;
            (model, seconds, format!("{measured}; {}", watts.source))
        }
    };
    if power.stages().len() != stages {
        return wrong(format!("{origin}: joules of {} stages, but the model has {stages}", power.stages().len()));
    }
    let origin = format!("{}, {origin}", power.source());
    Ok(Costs { power, seconds, origin })
}

/// Median seconds that each stage takes on this machine.
fn stage_seconds(plan: &Arc<Plan>) -> Result<Vec<f32>, Failure> {
    const RUNS: usize = 15;
    let mut runtime = Runtime::new(plan.clone())?;
    let image = vec![0.0; plan.info().input.len()];
    let mut times = vec![vec![]; plan.stages().len()];
    for _ in 0..RUNS {
        runtime.begin(&image)?;
        for (exit, times) in times.iter_mut().enumerate() {
            let began = Instant::now();
            runtime.advance(exit)?;
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
    let macs = plan.stages().iter().map(|stage| stage.macs as f32 + MACS_PER_NODE * stage.nodes.max(1) as f32);
    macs.map(|macs| macs / MODELLED_MACS_PER_SECOND).collect()
}
