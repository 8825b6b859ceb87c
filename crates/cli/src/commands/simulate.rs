//! `simulate`: missions on a battery, and who decides best.

use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args as ClapArgs;
use dyn_perceiver::calibrate::missions::{
    Arrivals, InjectedFault, MissionSummary, Scenario, Simulation, Strategy, compare,
};
use dyn_perceiver::calibrate::records::{Records, Synthetic};
use dyn_perceiver::calibrate::solver::{self, SolveOptions};
use dyn_perceiver::calibrate::split;
use dyn_perceiver::energy::{FrameDemand, JoulesSource, PowerModel};
use dyn_perceiver::exit::Frontier;
use serde::Serialize;

use crate::args::battery::CapacityArgs;
use crate::args::number::{self, millis, millis_range, not_negative, per_hour, two_per_hour};
use crate::args::profile;
use crate::args::share::Share;
use crate::args::watts::{SuspendArgs, Watts, WattsArgs};
use crate::output::failure::{Failure, OrInput as _, wrong};
use crate::output::json::Pairs;
use crate::output::out::Out;
use crate::output::{plots, table, text};

/// Capacity of the battery in milliwatt-hours, if none is given.
const CAPACITY_MWH: f32 = 150_000.0;

/// Simulate missions on a battery and compare who decides: always full, first exit, SoC steps, governor, oracle
///
/// Battery, weather, scene, gauge noise and the error of the power model are drawn anew for every mission; one seed
/// always gives the same missions. Without a profile the joules are modelled: watts x latency.
///
/// JSON: see docs/json.md.
#[derive(ClapArgs)]
pub(crate) struct Args {
    /// Draw frames from these calibration records, as `calibrate` writes them [default: synthetic ones]
    #[arg(long, value_name = "FILE", help_heading = "Data")]
    records: Option<PathBuf>,
    /// Use this policy file of the same model; records it was calibrated on make it look better than it is [default: found
    /// on one half of the records, while frames are drawn from the other]
    #[arg(long, value_name = "FILE", requires = "records", help_heading = "Data")]
    policy: Option<PathBuf>,
    /// Take the joules of each stage from this file, as `profile` writes it, in place of watts and latency
    #[arg(long, value_name = "FILE", help_heading = "Battery and power")]
    profile: Option<PathBuf>,
    /// Set the length of a mission in hours
    #[arg(long, default_value = "24", value_name = "HOURS", value_parser = number::hours, help_heading = "Mission")]
    hours: Duration,
    /// Leave this state of charge at the end, such as 10% or 0.1
    #[arg(long, default_value_t = Share::new(0.1), value_name = "SHARE", help_heading = "Mission")]
    reserve: Share,
    #[command(flatten, next_help_heading = "Battery and power")]
    capacity: CapacityArgs,
    /// The former name of --battery-wh
    #[arg(long, value_name = "WH", value_parser = number::positive, hide = true, conflicts_with_all = ["battery_wh", "battery_mwh"])]
    capacity_wh: Option<f32>,
    /// Take a frame every so many milliseconds
    #[arg(long, default_value = "250", group = "demand", value_name = "MS", value_parser = millis, help_heading = "Mission")]
    period_ms: Duration,
    /// Take frames at random, on average so many an hour
    #[arg(long, group = "demand", value_name = "RATE", value_parser = per_hour, help_heading = "Mission")]
    per_hour: Option<f32>,
    /// Take frames at random, so many an hour by day and so many by night; the mission knows the two
    #[arg(long, group = "demand", value_name = "DAY,NIGHT", value_parser = two_per_hour, help_heading = "Mission")]
    day_night: Option<(f32, f32)>,
    /// Let the governor choose the period, between these milliseconds
    #[arg(long, group = "demand", value_name = "SHORTEST,LONGEST", value_parser = millis_range, help_heading = "Mission")]
    between_ms: Option<(Duration, Duration)>,
    /// Never go below this accuracy, such as 85% or 0.85
    #[arg(long, value_name = "SHARE", help_heading = "Mission")]
    floor: Option<Share>,
    /// Take this share of the frames to show what the one before showed, so that a gate lets its answer hold: they cost
    /// nothing. Such as 80% or 0.8
    #[arg(long, default_value_t = Share::new(0.0), value_name = "SHARE", help_heading = "Mission")]
    quiet: Share,
    /// Inject a gauge fault at a random time: nack, bus, checksum, out-of-range, stuck or jump
    #[arg(long, value_name = "FAULT", value_parser = fault, help_heading = "Mission")]
    fault: Option<InjectedFault>,
    /// Add a solar panel of so many peak watts
    #[arg(long, default_value = "0", value_name = "WATTS", value_parser = not_negative, help_heading = "Battery and power")]
    solar: f32,
    /// Take the whole network to need so many milliseconds on the board; stages share them as they share the MACs
    #[arg(long, default_value = "200", value_name = "MS", value_parser = millis, help_heading = "Battery and power")]
    latency_ms: Duration,
    #[command(flatten, next_help_heading = "Battery and power")]
    watts: WattsArgs,
    #[command(flatten, next_help_heading = "Battery and power")]
    suspend: SuspendArgs,
    /// Simulate so many missions
    #[arg(long, default_value_t = 20, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..=1_000_000), help_heading = None)]
    seeds: u64,
    /// Begin with this seed; the others follow
    #[arg(long, default_value_t = 1, value_name = "SEED", help_heading = None)]
    seed: u64,
    /// Draw the first mission as SVG: charge, budget, operating point and accuracy over time
    #[arg(long, value_name = "FILE.svg", help_heading = None)]
    plot: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long, help_heading = None)]
    json: bool,
}

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Report<'a> {
    scenario: ScenarioReport<'a>,
    #[cfg_attr(test, schemars(with = "Pairs<crate::schemas::MissionSummary>"))]
    strategies: Pairs<&'a MissionSummary>,
    /// Standard error of each strategy's accuracy, by the number of records that frames are drawn from.
    accuracy_error: Pairs<f64>,
    governor_over_steps: Ratio,
    governor_over_steps_in_hindsight: Ratio,
    governor_over_oracle: Right,
}

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct ScenarioReport<'a> {
    hours: f64,
    reserve: f32,
    battery_wh: f32,
    /// The former name of `battery_wh`.
    capacity_wh: f32,
    fault: Option<&'static str>,
    quiet: f32,
    records: &'a str,
    samples: usize,
    #[cfg_attr(test, schemars(with = "String"))]
    joules: JoulesSource,
    board: &'a str,
    missions: u64,
    seed: u64,
}

/// How the governor compares; null where the other has nothing.
#[derive(Clone, Copy, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct Ratio {
    frames: f64,
    right_per_watt_hour: f64,
}

#[derive(Clone, Copy, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct Right {
    right: f64,
}

fn fault(name: &str) -> Result<InjectedFault, String> {
    let known = || InjectedFault::ALL.map(InjectedFault::name).join(", ");
    InjectedFault::ALL
        .into_iter()
        .find(|fault| fault.name() == name)
        .ok_or_else(|| format!("expected one of {}", known()))
}

impl Args {
    fn scenario(&self) -> Result<Scenario, Failure> {
        let arrivals = if let Some((day, night)) = self.day_night {
            Arrivals::DayNight(day, night)
        } else if let Some((shortest, _)) = self.between_ms {
            Arrivals::Periodic(shortest.as_secs_f32())
        } else {
            self.per_hour.map_or(Arrivals::Periodic(self.period_ms.as_secs_f32()), Arrivals::Poisson)
        };
        let rate = arrivals.per_hour();
        if !(rate.is_finite() && rate > 0.0 && rate <= 3.6e6) {
            return wrong(format!("{rate} frames per hour, expected more than none and at most 1000 a second"));
        }
        let mut scenario = Scenario::new(self.hours, self.reserve.get(), arrivals, self.milliwatt_hours());
        if let Some((shortest, longest)) = self.between_ms {
            scenario.mission.frames = FrameDemand::Between(shortest, longest);
        }
        scenario.mission.floor = self.floor.map(Share::get);
        scenario.fault = self.fault;
        scenario.quiet = self.quiet.get();
        scenario.solar_watts = self.solar;
        Ok(scenario)
    }

    fn milliwatt_hours(&self) -> f32 {
        self.capacity.milliwatt_hours().or(self.capacity_wh.map(|wh| wh * 1000.0)).unwrap_or(CAPACITY_MWH)
    }

    /// Joules per stage: the profile's, or the latency of the whole network shared as the stages share its cost.
    fn power(&self, records: &Records, watts: &Watts) -> Result<PowerModel, Failure> {
        if let Some(path) = &self.profile {
            return profile::power_model(&profile::read(path)?, path);
        }
        // What a frame adds to the resting consumption.
        let joules = self.latency_ms.as_secs_f32() * (watts.active - watts.resting());
        let shares = records.costs().stage_shares();
        let stages: Vec<f32> = shares.iter().map(|(stage, _)| joules * *stage as f32).collect();
        let exclusive: Vec<f32> = shares.iter().map(|(_, part)| joules * *part as f32).collect();
        let model = PowerModel::new(watts.idle, &stages, JoulesSource::Modelled)
            .and_then(|model| model.with_exclusive(&exclusive))
            .and_then(|model| match watts.suspended {
                Some(watts) => model.with_suspend(watts),
                None => Ok(model),
            });
        model.or_input()
    }
}

/// Records, the operating points, the records that frames are drawn from, and a word for where they come from.
fn source(args: &Args) -> Result<(Records, Frontier, Vec<u32>, String), Failure> {
    let (records, origin) = match &args.records {
        Some(path) => (Records::read(path).or_input()?, text::shown(path)),
        None => (Synthetic::four_exits().records(8000, 1)?, "synthetic".to_owned()),
    };
    if let Some(path) = &args.policy {
        let calibrated = dyn_perceiver::policy_file::load(path).or_input()?;
        let frontier = calibrated.for_model(records.model()).with_context(|| path.display().to_string()).or_input()?;
        let (frontier, rows) = (frontier.clone(), records.rows());
        return Ok((records, frontier, rows, origin));
    }
    let (calibration, drawn) = split(&records.rows(), 0.5, 1);
    let frontier = solver::solve(&records, &calibration, &SolveOptions::default()).or_input()?.frontier;
    Ok((records, frontier, drawn, origin))
}

pub(crate) fn run(args: Args) -> Result<(), Failure> {
    let scenario = args.scenario()?;
    let (records, frontier, rows, origin) = source(&args)?;
    let watts = args.watts.published()?.suspended_by(args.suspend)?;
    let power = args.power(&records, &watts)?;
    let board = match &args.profile {
        Some(path) => format!("profile {}", text::shown(path)),
        None => watts.source,
    };
    let source = power.source();
    let simulation = Simulation::new(scenario, &frontier, &records, &rows, power).or_input()?;

    let seeds = args.seed..args.seed.saturating_add(args.seeds);
    let summaries = compare(&simulation, seeds);
    if let Some(path) = &args.plot {
        plots::mission::draw(&simulation, args.seed, path)?;
    }
    print(&args, &Origin { records: origin, samples: rows.len(), joules: source, board }, &summaries)
}

/// Standard error of an accuracy: frames are drawn again and again from the same records.
fn accuracy_error(summary: &MissionSummary, origin: &Origin) -> f64 {
    (summary.accuracy * (1.0 - summary.accuracy) / origin.samples.max(1) as f64).max(0.0).sqrt()
}

/// What the figures rest on.
struct Origin {
    records: String,
    samples: usize,
    joules: JoulesSource,
    board: String,
}

fn print(args: &Args, origin: &Origin, summaries: &[(Strategy, MissionSummary)]) -> Result<(), Failure> {
    let of = |strategy: Strategy| summaries.iter().find(|(s, _)| *s == strategy).map(|(_, summary)| summary);
    let ratio = |a: Strategy, b: Strategy, value: fn(&MissionSummary) -> f64| match (of(a), of(b)) {
        (Some(a), Some(b)) if value(b) > 0.0 => value(a) / value(b),
        _ => f64::NAN,
    };
    let over = |steps: Strategy| Ratio {
        frames: ratio(Strategy::Governor, steps, |s| s.frames),
        right_per_watt_hour: ratio(Strategy::Governor, steps, |s| s.right_per_watt_hour),
    };
    let (steps, hindsight) = (over(Strategy::Steps), over(Strategy::StepsInHindsight));
    let right_oracle = ratio(Strategy::Governor, Strategy::Oracle, |s| s.right);
    let battery_wh = args.milliwatt_hours() / 1000.0;
    let mut out = Out::stdout();
    if args.json {
        out.json(&Report {
            scenario: ScenarioReport {
                hours: args.hours.as_secs_f64() / 3600.0,
                reserve: args.reserve.get(),
                battery_wh,
                capacity_wh: battery_wh,
                fault: args.fault.map(InjectedFault::name),
                quiet: args.quiet.get(),
                records: &origin.records,
                samples: origin.samples,
                joules: origin.joules,
                board: &origin.board,
                missions: args.seeds,
                seed: args.seed,
            },
            strategies: summaries.iter().map(|(strategy, summary)| (strategy.name(), summary)).collect(),
            accuracy_error: summaries
                .iter()
                .map(|(strategy, s)| (strategy.name(), accuracy_error(s, origin)))
                .collect(),
            governor_over_steps: steps,
            governor_over_steps_in_hindsight: hindsight,
            governor_over_oracle: Right { right: right_oracle },
        })?;
        return Ok(());
    }
    let fault = args.fault.map_or(String::new(), |fault| format!(", gauge fault {}", fault.name()));
    let quiet = if args.quiet.get() > 0.0 { format!(", {} of the frames quiet", args.quiet) } else { String::new() };
    writeln!(
        out,
        "{} missions of {} h, {battery_wh} Wh, reserve {}{fault}{quiet}\nframes drawn from {} records ({}); joules {}\n{}\n",
        args.seeds,
        args.hours.as_secs_f64() / 3600.0,
        args.reserve,
        origin.samples,
        origin.records,
        origin.joules,
        origin.board
    )?;
    let header = [
        "",
        "frames",
        "accuracy",
        "right/Wh",
        "lifetime",
        "end SoC",
        "lowest",
        "within 2 pt",
        "below",
        "brown-outs",
        "switches",
    ];
    let rows: Vec<Vec<String>> = summaries
        .iter()
        .map(|(strategy, s)| {
            vec![
                strategy.name().to_owned(),
                format!("{:.0}", s.frames),
                table::percent(s.accuracy),
                format!("{:.0}", s.right_per_watt_hour),
                table::percent(s.lifetime),
                table::percent(s.soc_mean),
                table::percent(s.soc_lowest),
                table::percent(s.within_2_points),
                table::percent(s.below_2_points),
                s.brown_outs.to_string(),
                format!("{:.1}", s.switches),
            ]
        })
        .collect();
    write!(out, "{}", table::render(&header, &rows))?;
    writeln!(
        out,
        "\ngovernor over SoC steps: frames x {:.3}, right answers per watt-hour x {:.3}; over those in hindsight: x {:.3} \
         and x {:.3}\nright answers over the oracle's: {}",
        steps.frames,
        steps.right_per_watt_hour,
        hindsight.frames,
        hindsight.right_per_watt_hour,
        table::percent(right_oracle)
    )?;
    let error = summaries.iter().map(|(_, summary)| accuracy_error(summary, origin)).fold(0.0, f64::max);
    writeln!(out, "standard error of an accuracy, by the records: {}", table::percent(error))?;
    if let Some(governor) = of(Strategy::Governor) {
        let reasons: Vec<String> =
            governor.reasons.iter().map(|(name, share)| format!("{name} {}", table::percent(*share))).collect();
        writeln!(out, "the governor's reasons: {}", reasons.join(", "))?;
    }
    Ok(())
}
