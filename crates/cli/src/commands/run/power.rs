//! What stages cost: the profile, one stored by an earlier run, or watts x latency.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;

use dyn_perceiver::energy::PowerModel;
use dyn_perceiver::machine::MachineTimes;
use dyn_perceiver::plan::Plan;
use dyn_perceiver::sensors::profile::{Profile, Variant};
use dyn_perceiver::sensors::store::Stored;

use super::{suspend, variant};

use crate::args::watts::{Load, Watts};
use crate::args::{profile, work};
use crate::output::failure::{Failure, OrInput as _, wrong};
use crate::output::{message, text};

/// What is counted where no profile tells how long stages take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Times {
    /// The time that passes here, on so many threads.
    Measured(NonZeroUsize),
    /// A time that is the same on every machine.
    Modelled,
}

/// A board's profile, and the threads and clock to run with where it has swept over them.
#[derive(Clone, Debug)]
pub(super) struct Profiled {
    pub path: PathBuf,
    pub profile: Profile,
    pub variant: Option<Variant>,
}

impl Profiled {
    /// The threads that its joules are of.
    pub(super) fn threads(&self) -> Option<NonZeroUsize> {
        match &self.variant {
            Some(variant) => NonZeroUsize::new(variant.threads),
            None => self.profile.threads,
        }
    }
}

/// What stages cost.
#[derive(Clone, Debug)]
pub(super) struct Costs {
    /// Of the board alone: what stands beside it is added by [`Costs::with_loads`].
    pub power: PowerModel,
    /// Seconds of each stage: measured here or by the profile, else modelled.
    pub seconds: Vec<f32>,
    /// Where the joules come from, in words.
    pub origin: String,
    /// Times that had to be measured, to be kept for the next start.
    pub measured: Option<MachineTimes>,
}

impl Costs {
    /// The same where the board is suspended between frames, if it is known what it draws then.
    pub(super) fn suspended(mut self, watts: &Watts) -> Result<Self, Failure> {
        self.power = suspend::suspended(self.power, watts)?;
        Ok(self)
    }

    /// The same with what draws beside the board all the time, wherever the board's own watts come from: a profile is taken
    /// with neither a camera that makes frames nor a radio that sends.
    pub(super) fn with_loads(mut self, loads: &[Load]) -> Result<Self, Failure> {
        for load in loads {
            self.power = self.power.with_load(load.watts()).or_input()?;
        }
        if !loads.is_empty() {
            let loads = loads.iter().map(Load::in_words).collect::<Vec<_>>().join(" and ");
            self.origin += &format!("; all the time {loads}");
        }
        Ok(self)
    }
}

/// What stages cost: by the profile, by one that an earlier run stored, or by watts x latency. Only where neither the bundle nor
/// an earlier run knows how long stages take here, the network is run to time it, since that takes seconds on a small board.
pub(super) fn costs(
    plan: &Arc<Plan>,
    profiled: Option<&Profiled>,
    stored: &Stored,
    (watts, threads): (&Watts, NonZeroUsize),
    times: Times,
) -> Result<Costs, Failure> {
    let stages = plan.outcomes();
    let mut fresh = None;
    let (power, seconds, origin) = match (profiled, &stored.power) {
        (Some(Profiled { path, profile, variant }), _) => {
            let origin = format!("by the profile {}", path.display());
            match variant {
                Some(variant) => {
                    let (power, seconds) = variant::costs(profile, variant)?;
                    (power, seconds, format!("{origin}, {}", variant::in_words(profile, variant)))
                }
                None => {
                    let seconds = profile.stages.iter().map(|stage| stage.seconds as f32).collect();
                    (profile::power_model(profile, path)?, seconds, origin)
                }
            }
        }
        (None, Some(model)) => (model.clone(), modelled_seconds(plan), "by an earlier run's profile".to_owned()),
        (None, None) => {
            let (seconds, measured) = match times {
                Times::Modelled => (modelled_seconds(plan), "watts x modelled latency"),
                Times::Measured(threads) => match known(plan, stored, threads) {
                    Some((times, origin)) => (times.seconds.clone(), origin),
                    None => {
                        let measured = MachineTimes::measure(plan, threads)?;
                        let seconds = measured.seconds.clone();
                        fresh = Some(measured);
                        (seconds, "watts x latency measured here")
                    }
                },
            };
            let model = PowerModel::from_latency(watts.idle, watts.busy(threads), &seconds).or_input()?;
            (model, seconds, format!("{measured}; {}", watts.in_words(threads)))
        }
    };
    if power.stages().len() != stages {
        return wrong(format!("{origin}: joules of {} stages, but the model has {stages}", power.stages().len()));
    }
    let origin = format!("{}, {origin}", power.source());
    Ok(Costs { power, seconds, origin, measured: fresh })
}

/// Times of stages on this machine that were measured before: the bundle's, or an earlier run's.
fn known<'a>(plan: &'a Plan, stored: &'a Stored, threads: NonZeroUsize) -> Option<(&'a MachineTimes, &'static str)> {
    if let Some(bundle) = plan.bundle() {
        if let Some(times) = bundle.times_here(threads) {
            return Some((times, "watts x latency that the bundle has for this machine"));
        }
        if let Some(other) = bundle.times.last() {
            let (machine, on) = (text::lines(&other.machine), other.threads);
            message::note(&format!("the bundle's times are of {on} threads on {machine}: measured anew"));
        }
    }
    let times = stored.times.as_ref()?.here(plan.info().digest, threads, plan.outcomes())?;
    Some((times, "watts x latency that an earlier run measured"))
}

/// Seconds of each stage by its multiply-accumulates and nodes, the same on every machine and at every load.
fn modelled_seconds(plan: &Plan) -> Vec<f32> {
    work::stages(plan).map(|macs| (macs / work::MACS_PER_SECOND) as f32).collect()
}
