use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::anyhow;
use clap::Args as ClapArgs;
use dyn_perceiver::energy::JoulesSource;
use dyn_perceiver::plan::Plan;
use dyn_perceiver::runtime::{RunError, Runtime};
use dyn_perceiver::sensors::open::{open_monitor, open_rapl};
use dyn_perceiver::sensors::profile::{Profile, ProfileSettings, SampledMeter, measure, model};
use dyn_perceiver_host::State;
use serde_json::{Value, json};

use crate::args::policy as shipped;
use crate::args::watts::WattsArgs;
use crate::output::failure::{Failure, OrInput as _};
use crate::output::table;

/// Measure or model the joules of each stage on this board
///
/// Each exit is run for a set time between idle intervals, in rounds. Without a monitor the joules are modelled: watts x
/// measured latency.
///
/// JSON keys, also of the file written: source (measured or modelled), method, idle_watts, stages [{exit, joules,
/// standard_error, seconds, cumulative_joules}], machine {before, after}, each with the clocks, temperature and throttle
/// state that `doctor` tells.
#[derive(ClapArgs)]
pub(crate) struct Args {
    /// ONNX file, or a bundle that `compile` wrote
    model: PathBuf,
    /// Exits by output name [default: the model's metadata, else every output of shape (N, classes)]
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    exits: Option<Vec<String>>,
    /// What measures: rapl, rail:LABEL, ina219:BUS:ADDRESS:OHMS, ina226:…, ina3221:…, ups-hat:BUS, or none to model
    #[arg(long, default_value = "none", value_name = "MONITOR")]
    monitor: String,
    /// Seconds of every interval, running and idle
    #[arg(long, default_value_t = 2.0)]
    seconds: f32,
    /// Rounds over all exits
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    #[command(flatten)]
    watts: WattsArgs,
    /// Write the profile as JSON to this file
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// One JSON object on stdout
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: Args) -> Result<(), Failure> {
    let interval = Duration::try_from_secs_f32(args.seconds).or_input()?;
    if interval.is_zero() || args.rounds == 0 {
        return Err(Failure::Input(anyhow!("--seconds and --rounds must be above 0")));
    }
    let plan = shipped::plan(&args.model, args.exits.clone())?;
    let before = State::here();
    let profile = profile(&args, &plan, &ProfileSettings { interval, rounds: args.rounds })?;
    let machine = (before, State::here());
    let mut object = serde_json::to_value(&profile)?;
    object["machine"] = json!({"before": machine.0, "after": machine.1});
    if let Some(path) = &args.output {
        let mut beside = path.clone().into_os_string();
        beside.push(".tmp");
        std::fs::write(&beside, format!("{}\n", serde_json::to_string_pretty(&object)?))?;
        std::fs::rename(&beside, path)?;
    }
    print(&args, &profile, &object, &machine)
}

fn profile(args: &Args, plan: &Arc<Plan>, settings: &ProfileSettings) -> Result<Profile, Failure> {
    let exits: Vec<String> = plan.stages().iter().map(|stage| stage.exit.clone()).collect();
    let mut runtime = Runtime::new(plan.clone())?;
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

fn print(args: &Args, profile: &Profile, object: &Value, machine: &(State, State)) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    if args.json {
        writeln!(out, "{object}")?;
        return Ok(());
    }
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
                stage.exit.clone(),
                format!("{:.3} ms", 1e3 * stage.seconds),
                format!("{:.3} mJ", 1e3 * stage.joules),
                stage.standard_error.map_or("-".to_owned(), |error| format!("{:.3} mJ", 1e3 * error)),
                format!("{:.3} mJ", 1e3 * stage.cumulative_joules),
            ]
        })
        .collect();
    write!(out, "{}", table::render(&["exit", "adds", "joules", "standard error", "cumulative"], &rows))?;
    writeln!(out, "\nbefore   {}\nafter    {}", machine.0.line(), machine.1.line())?;
    Ok(())
}
