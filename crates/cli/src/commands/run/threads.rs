//! How many threads and which clock: what was said, what a profile has swept over, or what was measured before.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use dyn_perceiver::plan::Plan;
use dyn_perceiver::runtime::ThreadChoice;
use dyn_perceiver::sensors::store::KeptThreads;

use super::Args;
use super::power::Profiled;
use super::state::State;
use super::variant::{self, Need};
use crate::args::profile;
use crate::output::failure::{Failure, wrong};

/// The profile, and which of the threads and clocks that it has swept over cost least here.
pub(super) fn profiled(args: &Args, period: Duration) -> Result<Option<Profiled>, Failure> {
    let Some(path) = &args.profile else { return Ok(None) };
    let profile = profile::read(path)?;
    let period = args.mission.shortest().unwrap_or(period);
    let ends = args.source.burst.is_some() || args.source.wake_after.is_some();
    let need = Need { threads: args.threads.given(), clock: args.set_clock, period, ends };
    let chosen = args.threads.is_auto() || args.set_clock;
    let variant = variant::choose(&profile, need).filter(|_| chosen).cloned();
    if args.set_clock && variant.as_ref().is_none_or(|variant| variant.megahertz.is_none()) {
        return wrong(format!(
            "--set-clock: {} has no joules at other clocks that are fast enough: measure them with `profile --sweep --monitor`",
            path.display()
        ));
    }
    Ok(Some(Profiled { path: path.clone(), profile, variant }))
}

/// How many threads: what was said; else what the profile ran on, since its joules are of that number; else what an
/// earlier run measured and stored; else what is fastest by the times that the bundle has for this machine; else what is
/// measured now.
pub(super) fn choose(
    args: &Args,
    plan: &Arc<Plan>,
    profiled: Option<&Profiled>,
    state: &mut State,
) -> Result<NonZeroUsize, Failure> {
    let profiled = profiled.filter(|_| args.threads.is_auto()).and_then(Profiled::threads);
    let model = plan.info().digest;
    let kept = || state.stored().threads.as_ref().and_then(|kept| kept.for_model(model));
    let bundled = || Some(ThreadChoice::known(&plan.bundle()?.times)?.threads);
    let kept = profiled.or_else(kept).or_else(bundled);
    let threads = args.threads.choose(plan, kept)?.threads;
    if args.threads.is_auto() && profiled.is_none() {
        state.measured_threads(KeptThreads::here(threads, model));
    }
    Ok(threads)
}
