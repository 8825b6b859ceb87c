//! `profile`: the joules of each stage on this board.

use std::io::Write as _;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args as ClapArgs;
use dyn_perceiver::bundle;
use dyn_perceiver::energy::JoulesSource;
use dyn_perceiver::file::atomic_write;
use dyn_perceiver::machine::{self, MachineTimes};
use dyn_perceiver::plan::Plan;
use dyn_perceiver::runtime::{RunError, Runtime};
use dyn_perceiver::sensors::linux::Rapl;
use dyn_perceiver::sensors::open::{AnyMonitor, open_monitor, open_rapl};
use dyn_perceiver::sensors::profile::{Profile, ProfileSettings, SampledMeter, Variant, measure, model};
use dyn_perceiver_host::{Clocks, State, System};
use serde::Serialize;

use super::compile;
use crate::args::load::LoadArgs;
use crate::args::number;
use crate::args::system;
use crate::args::threads::ThreadsArgs;
use crate::args::watts::{Watts, WattsArgs};
use crate::output::failure::{Failure, OrInput as _, wrong};
use crate::output::json::Versioned;
use crate::output::out::Out;
use crate::output::{message, table, text};

/// Measure or model the joules of each stage on this board
///
/// Each exit is run for a set time between idle intervals, in rounds. Without a monitor the joules are modelled: watts x
/// measured latency. JSON, also of the file written: see docs/json.md.
#[derive(ClapArgs)]
pub(crate) struct Args {
    /// ONNX file, or a bundle that `compile` wrote
    model: PathBuf,
    /// Measure by this: rapl, a power monitor such as rail:LABEL or ina219:BUS:ADDRESS:OHMS, or none to model
    #[arg(long, default_value = "none", value_name = "MONITOR")]
    monitor: String,
    /// Run and idle for intervals of so many seconds
    #[arg(long, default_value = "2", value_name = "SECONDS", value_parser = number::seconds)]
    seconds: Duration,
    /// Go over all exits so many times
    #[arg(long, default_value_t = 5, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    rounds: u64,
    #[command(flatten)]
    threads: ThreadsArgs,
    /// Measure the whole network on one thread, two and so on up to one per core, too, each at every clock that the processor
    /// can be held at (below /sys/devices/system/cpu/cpufreq, which needs the right to write there; it is put back)
    #[arg(long)]
    sweep: bool,
    /// Keep the times of stages in the model's file, a bundle, so that `run` need not measure them at its start on machines like
    /// this one
    #[arg(long)]
    keep_times: bool,
    /// Write the profile as JSON to this file
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    load: LoadArgs,
    #[command(flatten, next_help_heading = "Power")]
    watts: WattsArgs,
    /// Print one JSON object
    #[arg(long, help_heading = None)]
    json: bool,
}

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Report<'a> {
    #[serde(flatten)]
    #[cfg_attr(test, schemars(with = "crate::schemas::Profile"))]
    profile: &'a Profile,
    machine: Machine,
}

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct Machine {
    #[cfg_attr(test, schemars(with = "crate::schemas::State"))]
    before: State,
    #[cfg_attr(test, schemars(with = "crate::schemas::State"))]
    after: State,
}

pub(crate) fn run(args: Args) -> Result<(), Failure> {
    if args.keep_times && !bundle::is_bundle(&args.model) {
        return wrong(format!("--keep-times: {} is no bundle: compile the model first", args.model.display()));
    }
    let plan = args.load.plan(&args.model)?;
    let before = State::here();
    let settings = ProfileSettings::new(args.seconds, args.rounds as usize);
    let profile = profile(&args, &plan, &settings)?;
    if args.keep_times {
        let seconds: Vec<f32> = profile.stages.iter().map(|stage| stage.seconds as f32).collect();
        let times = profile.threads.map(|threads| MachineTimes::new(machine::name(), threads, seconds));
        compile::keep_times(&args.model, times)?;
    }
    let report = Report { profile: &profile, machine: Machine { before, after: State::here() } };
    if let Some(path) = &args.output {
        let text = format!("{}\n", serde_json::to_string_pretty(&Versioned::new(&report))?);
        atomic_write(path, text.as_bytes()).with_context(|| format!("cannot write {}", path.display()))?;
    }
    let mut out = Out::stdout();
    if args.json { Ok(out.json(&report)?) } else { print(&mut out, &report) }
}

/// What joules are measured with, or modelled by.
enum Meter {
    Modelled(Watts),
    Rapl(Rapl),
    Monitor(String, SampledMeter<AnyMonitor>),
}

impl Meter {
    fn open(args: &Args) -> Result<Self, Failure> {
        Ok(match args.monitor.as_str() {
            "none" => Self::Modelled(args.watts.here()?),
            "rapl" => Self::Rapl(open_rapl().or_input()?),
            name => {
                let meter = SampledMeter::new(open_monitor(name).or_input()?, Duration::from_millis(5));
                Self::Monitor(name.to_owned(), meter)
            }
        })
    }

    /// Profiles `frame(k)`, which takes one frame up to the k-th of `exits` on so many threads.
    fn profile(
        &mut self,
        exits: &[String],
        settings: &ProfileSettings,
        threads: NonZeroUsize,
        frame: impl FnMut(usize),
    ) -> Result<Profile, Failure> {
        Ok(match self {
            Self::Modelled(watts) => {
                let mut profile = model(watts.idle.into(), watts.busy(threads).into(), exits, settings, frame);
                profile.method = format!("{}; {}", profile.method, watts.in_words(threads));
                profile
            }
            Self::Rapl(meter) => {
                measure(meter, "energy counter of the processor package (RAPL)", exits, settings, frame)?
            }
            Self::Monitor(name, meter) => measure(meter, name, exits, settings, frame)?,
        })
    }
}

fn profile(args: &Args, plan: &Arc<Plan>, settings: &ProfileSettings) -> Result<Profile, Failure> {
    // Of a detector, the goals of boxes come after the exits.
    let exits = plan.info().outcome_names();
    let mut meter = Meter::open(args)?;
    let threads = args.threads.choose(plan, None)?.threads;
    let mut profile = network(plan, threads, |threads, frame| meter.profile(&exits, settings, threads, frame))?;
    profile.threads = Some(threads);
    if args.sweep {
        profile.variants = sweep(plan, &mut meter, settings, &system::here())?;
    }
    Ok(profile)
}

/// The whole network on one thread, two and so on up to one per core, at each clock that the processor can be held at.
fn sweep(
    plan: &Arc<Plan>,
    meter: &mut Meter,
    settings: &ProfileSettings,
    system: &System,
) -> Result<Vec<Variant>, Failure> {
    let clocks = Clocks::of(system);
    if clocks.is_none() {
        message::note("the clock cannot be set here: /sys/devices/system/cpu/cpufreq is missing or may not be written");
    }
    let limits: Vec<Option<f64>> = match &clocks {
        Some(clocks) => clocks.megahertz().iter().copied().map(Some).collect(),
        None => vec![None],
    };
    let cores = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN).get();
    let last = plan.outcomes() - 1;
    let whole: Vec<String> = plan.info().outcome_names().pop().into_iter().collect();
    let mut variants = Vec::new();
    for limit in limits {
        if let (Some(clocks), Some(megahertz)) = (&clocks, limit) {
            clocks.limit(megahertz).with_context(|| format!("setting the clock to {megahertz} MHz"))?;
        }
        for threads in (1..=cores).filter_map(NonZeroUsize::new) {
            let profile =
                network(plan, threads, |threads, frame| meter.profile(&whole, settings, threads, |_| frame(last)))?;
            variants.extend(Variant::of(&profile, threads.get(), limit));
        }
    }
    Ok(variants)
}

/// Has `profile` take frames through the network on so many threads.
fn network(
    plan: &Arc<Plan>,
    threads: NonZeroUsize,
    profile: impl FnOnce(NonZeroUsize, &mut dyn FnMut(usize)) -> Result<Profile, Failure>,
) -> Result<Profile, Failure> {
    let mut runtime = Runtime::new(plan.clone())?.with_threads(threads)?;
    let image = vec![0.0; plan.info().input.len()];
    let mut failure: Option<RunError> = None;
    let exits = plan.stages().len();
    let mut frame = |outcome: usize| {
        let begun = runtime.begin(&image);
        let mut to = |k: usize| match k.checked_sub(exits) {
            None => runtime.advance(k).map(|_| ()),
            Some(goal) => runtime.advance_to_boxes(goal).map(|_| ()),
        };
        let done = begun.and_then(|()| (0..=outcome).try_for_each(&mut to));
        if let Err(error) = done {
            failure.get_or_insert(error);
        }
    };
    // Caches and clocks settle first.
    frame(plan.outcomes() - 1);
    let profile = profile(threads, &mut frame)?;
    match failure {
        Some(error) => Err(error.into()),
        None => Ok(profile),
    }
}

fn print(out: &mut Out, report: &Report<'_>) -> Result<(), Failure> {
    let profile = report.profile;
    match profile.source {
        JoulesSource::Measured => write!(out, "measured by {}", profile.method)?,
        JoulesSource::Modelled => write!(out, "{}", profile.method)?,
    }
    writeln!(out, "; idle {:.2} W", profile.idle_watts)?;
    if let Some(threads) = profile.threads {
        writeln!(out, "on {threads} threads")?;
    }
    writeln!(out)?;
    let rows: Vec<Vec<String>> = profile
        .stages
        .iter()
        .map(|stage| {
            vec![
                text::name(&stage.exit).into_owned(),
                format!("{:.3} ms", 1e3 * stage.seconds),
                format!("{:.3} mJ", 1e3 * stage.joules),
                stage.standard_error.map_or("-".to_owned(), |error| format!("{:.3} mJ", 1e3 * error)),
                format!("{:.3} mJ", 1e3 * stage.cumulative_joules),
            ]
        })
        .collect();
    write!(out, "{}", table::render(&["exit", "adds", "joules", "standard error", "cumulative"], &rows))?;
    if !profile.variants.is_empty() {
        let millijoules =
            |joules: Option<f64>| joules.map_or("-".to_owned(), |joules| format!("{:.3} mJ", 1e3 * joules));
        let rows: Vec<Vec<String>> = profile
            .variants
            .iter()
            .map(|variant| {
                let clock = variant.megahertz.map_or("as it is".to_owned(), |megahertz| format!("{megahertz:.0} MHz"));
                let with_idle = variant.joules.map(|joules| joules + profile.idle_watts * variant.seconds);
                vec![
                    variant.threads.to_string(),
                    clock,
                    format!("{:.3} ms", 1e3 * variant.seconds),
                    millijoules(variant.joules),
                    millijoules(variant.standard_error),
                    millijoules(with_idle),
                ]
            })
            .collect();
        let header = ["threads", "clock", "whole network", "joules", "standard error", "with idling"];
        write!(out, "\n{}", table::render(&header, &rows))?;
    }
    writeln!(out, "\nbefore   {}\nafter    {}", report.machine.before.line(), report.machine.after.line())?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sweep_goes_over_threads_and_clocks_and_puts_the_clock_back() {
        let folder = tempfile::tempdir().unwrap();
        let policy = folder.path().join("sys/devices/system/cpu/cpufreq/policy0");
        std::fs::create_dir_all(&policy).unwrap();
        std::fs::write(policy.join("scaling_max_freq"), "1800000\n").unwrap();
        std::fs::write(policy.join("scaling_available_frequencies"), "600000 1800000\n").unwrap();
        let plan = crate::args::model::ModelArgs::default().plan().unwrap();
        let settings = ProfileSettings::new(Duration::from_millis(1), 1);
        let mut meter = Meter::Modelled(WattsArgs::default().published().unwrap());
        let cores = std::thread::available_parallelism().unwrap().get();

        let variants = sweep(&plan, &mut meter, &settings, &System::at(folder.path())).unwrap();
        let swept: Vec<_> = variants.iter().map(|variant| (variant.megahertz, variant.threads)).collect();
        let expected = [600.0, 1800.0].iter().flat_map(|&mhz| (1..=cores).map(move |threads| (Some(mhz), threads)));
        assert_eq!(swept, expected.collect::<Vec<_>>());
        assert!(variants.iter().all(|variant| variant.seconds > 0.0 && variant.joules.is_none()));
        assert_eq!(std::fs::read_to_string(policy.join("scaling_max_freq")).unwrap(), "1800000");

        // Without clocks there are threads only, and their joules can be modelled.
        let variants = sweep(&plan, &mut meter, &settings, &System::at("/nonexistent")).unwrap();
        assert_eq!(variants.len(), cores);
        assert!(variants.iter().all(|variant| variant.megahertz.is_none() && variant.joules.is_some()));
    }
}
