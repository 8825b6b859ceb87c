//! `profile`: the joules of each stage on this board.

use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args as ClapArgs;
use dyn_perceiver::energy::JoulesSource;
use dyn_perceiver::file::atomic_write;
use dyn_perceiver::plan::Plan;
use dyn_perceiver::runtime::{RunError, Runtime};
use dyn_perceiver::sensors::open::{open_monitor, open_rapl};
use dyn_perceiver::sensors::profile::{Profile, ProfileSettings, SampledMeter, measure, model};
use dyn_perceiver_host::State;
use serde::Serialize;

use crate::args::load::LoadArgs;
use crate::args::number;
use crate::args::threads::Threads;
use crate::args::watts::WattsArgs;
use crate::output::failure::{Failure, OrInput as _};
use crate::output::json::Versioned;
use crate::output::out::Out;
use crate::output::{table, text};

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
    /// Run the network on so many threads, or auto for one per core
    #[arg(long, value_name = "N|auto", default_value = "1")]
    threads: Threads,
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
    let plan = args.load.plan(&args.model)?;
    let before = State::here();
    let settings = ProfileSettings { interval: args.seconds, rounds: args.rounds as usize };
    let profile = profile(&args, &plan, &settings)?;
    let report = Report { profile: &profile, machine: Machine { before, after: State::here() } };
    if let Some(path) = &args.output {
        let text = format!("{}\n", serde_json::to_string_pretty(&Versioned::new(&report))?);
        atomic_write(path, text.as_bytes()).with_context(|| format!("cannot write {}", path.display()))?;
    }
    let mut out = Out::stdout();
    if args.json { Ok(out.json(&report)?) } else { print(&mut out, &report) }
}

fn profile(args: &Args, plan: &Arc<Plan>, settings: &ProfileSettings) -> Result<Profile, Failure> {
    let exits: Vec<String> = plan.stages().iter().map(|stage| stage.exit.clone()).collect();
    let mut runtime = Runtime::new(plan.clone())?.with_threads(args.threads.count())?;
    let image = vec![0.0; plan.info().input.len()];
    let mut failure: Option<RunError> = None;
    let mut frame = |exit: usize| {
        let done = runtime.begin(&image).and_then(|()| (0..=exit).try_for_each(|k| runtime.advance(k).map(|_| ())));
        if let Err(error) = done {
            failure.get_or_insert(error);
        }
    };
    // Caches and clocks settle first.
    frame(exits.len() - 1);
    let profile = match args.monitor.as_str() {
        "none" => {
            let watts = args.watts.here()?;
            let mut profile = model(watts.idle.into(), watts.active.into(), &exits, settings, &mut frame);
            profile.method = format!("{}; {}", profile.method, watts.source);
            profile
        }
        "rapl" => {
            let mut meter = open_rapl().or_input()?;
            measure(&mut meter, "energy counter of the processor package (RAPL)", &exits, settings, &mut frame)?
        }
        name => {
            let mut meter = SampledMeter::new(open_monitor(name).or_input()?, Duration::from_millis(5));
            measure(&mut meter, name, &exits, settings, &mut frame)?
        }
    };
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
    writeln!(out, "; idle {:.2} W\n", profile.idle_watts)?;
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
    writeln!(out, "\nbefore   {}\nafter    {}", report.machine.before.line(), report.machine.after.line())?;
    Ok(())
}
