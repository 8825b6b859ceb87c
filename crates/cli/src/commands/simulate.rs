use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use clap::Args as ClapArgs;
use dyn_perceiver::calibrate::missions::{
    Arrivals, InjectedFault, MissionSummary, Scenario, Simulation, Strategy, compare,
};
use dyn_perceiver::calibrate::records::{Records, Synthetic};
use dyn_perceiver::calibrate::solver::{self, SolveOptions};
use dyn_perceiver::calibrate::split;
use dyn_perceiver::energy::{FrameDemand, JoulesSource, PowerModel};
use dyn_perceiver::exit::Frontier;
use dyn_perceiver::sensors::profile::Profile;
use serde_json::json;

use crate::args::watts::{Watts, WattsArgs};
use crate::commands::run::pair;
use crate::output::failure::{Failure, OrInput as _};
use crate::output::{simulate_plot, table};

/// Simulate missions on a battery and compare who decides: always full, first exit, SoC steps, governor, oracle
///
/// Battery, weather, scene, gauge noise and the error of the power model are drawn anew for every mission; one seed
/// always gives the same missions. Without a profile the joules are modelled: watts x latency.
///
/// JSON keys: scenario {hours, reserve, capacity_wh, fault, records, samples, joules, board, missions, seed}, strategies {name:
/// {missions, frames, accuracy, right, right_per_watt_hour, lifetime, soc_mean, soc_lowest, within_2_points, below_2_points,
/// brown_outs, switches, reasons}}, governor_over_steps and
/// governor_over_steps_in_hindsight {frames, right_per_watt_hour}, governor_over_oracle {right}.
#[derive(ClapArgs)]
pub(crate) struct Args {
    /// Calibration records, as `calibrate` writes them [default: synthetic ones]
    #[arg(long, value_name = "FILE")]
    records: Option<PathBuf>,
    /// Policy file of the same model; records it was calibrated on make it look better than it is [default: found on one
    /// half of the records, while frames are drawn from the other]
    #[arg(long, value_name = "FILE", requires = "records")]
    policy: Option<PathBuf>,
    /// Joules per stage, as `profile` writes them, in place of watts and latency
    #[arg(long, value_name = "FILE")]
    profile: Option<PathBuf>,
    /// Length of a mission in hours
    #[arg(long, default_value_t = 24.0)]
    hours: f32,
    /// State of charge to be left at the end, in percent
    #[arg(long, default_value_t = 10.0)]
    reserve: f32,
    /// Nameplate capacity of the battery in watt-hours
    #[arg(long, default_value_t = 150.0)]
    capacity_wh: f32,
    /// Milliseconds from frame to frame
    #[arg(long, default_value_t = 250.0, group = "demand")]
    period_ms: f32,
    /// Frames at random, on average so many an hour
    #[arg(long, group = "demand", value_name = "RATE")]
    per_hour: Option<f32>,
    /// Frames at random, so many an hour by day and so many by night; the mission knows the two
    #[arg(long, group = "demand", value_name = "DAY,NIGHT", value_parser = pair)]
    day_night: Option<(f32, f32)>,
    /// The governor chooses the period, between these milliseconds
    #[arg(long, group = "demand", value_name = "SHORTEST,LONGEST", value_parser = pair)]
    between_ms: Option<(f32, f32)>,
    /// Accuracy never to go below, in percent
    #[arg(long, value_name = "PERCENT")]
    floor: Option<f32>,
    /// Inject a gauge fault at a random time: nack, bus, checksum, out-of-range, stuck or jump
    #[arg(long, value_name = "FAULT", value_parser = fault)]
    fault: Option<InjectedFault>,
    /// Peak watts of a solar panel
    #[arg(long, default_value_t = 0.0, value_name = "WATTS")]
    solar: f32,
    /// Latency of the whole network on the board in milliseconds; stages share it as they share the MACs
    #[arg(long, default_value_t = 200.0)]
    latency_ms: f32,
    #[command(flatten)]
    watts: WattsArgs,
    /// Number of missions
    #[arg(long, default_value_t = 20)]
    seeds: u64,
    /// Seed of the first mission; the others follow
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Draw the first mission as SVG: charge, budget, operating point and accuracy over time
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
    /// One JSON object on stdout
    #[arg(long)]
    json: bool,
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
            Arrivals::Periodic(shortest / 1000.0)
        } else {
            self.per_hour.map_or(Arrivals::Periodic(self.period_ms / 1000.0), Arrivals::Poisson)
        };
        let rate = arrivals.per_hour();
        if !(rate.is_finite() && rate > 0.0 && rate <= 3.6e6) {
            return Err(Failure::Input(anyhow!(
                "{rate} frames per hour, expected more than none and at most 1000 a second"
            )));
        }
        let duration = Duration::try_from_secs_f32(self.hours * 3600.0).context("--hours").or_input()?;
        let mut scenario = Scenario::new(duration, self.reserve / 100.0, arrivals, self.capacity_wh * 1000.0);
        if let Some((shortest, longest)) = self.between_ms {
            let period = |ms: f32| Duration::try_from_secs_f32(ms / 1000.0).context("--between-ms").or_input();
            scenario.mission.frames = FrameDemand::Between(period(shortest)?, period(longest)?);
        }
        scenario.mission.floor = self.floor.map(|percent| percent / 100.0);
        scenario.fault = self.fault;
        scenario.solar_watts = self.solar;
        Ok(scenario)
    }

    /// Joules per stage: the profile's, or the latency of the whole network shared as the stages share its cost.
    fn power(&self, records: &Records, watts: &Watts) -> Result<PowerModel, Failure> {
        if let Some(path) = &self.profile {
            let text = std::fs::read_to_string(path).with_context(|| path.display().to_string()).or_input()?;
            let profile: Profile =
                serde_json::from_str(&text).with_context(|| path.display().to_string()).or_input()?;
            return profile.power_model().with_context(|| path.display().to_string()).or_input();
        }
        // What a frame adds to the resting consumption.
        let joules = self.latency_ms / 1000.0 * (watts.active - watts.resting());
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
        Some(path) => (Records::read(path).or_input()?, path.display().to_string()),
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
    let watts = args.watts.published()?;
    let power = args.power(&records, &watts)?;
    let board = match &args.profile {
        Some(path) => format!("profile {}", path.display()),
        None => watts.source,
    };
    let source = power.source();
    let simulation = Simulation::new(scenario, &frontier, &records, &rows, power).or_input()?;

    let seeds = args.seed..args.seed.saturating_add(args.seeds.max(1));
    let summaries = compare(&simulation, seeds);
    if let Some(path) = &args.plot {
        simulate_plot::draw(&simulation, args.seed, path)?;
    }
    print(&args, &Origin { records: origin, samples: rows.len(), joules: source, board }, &summaries)
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
    let over = |steps: Strategy| {
        let frames = ratio(Strategy::Governor, steps, |s| s.frames);
        (frames, ratio(Strategy::Governor, steps, |s| s.right_per_watt_hour))
    };
    let (steps, hindsight) = (over(Strategy::Steps), over(Strategy::StepsInHindsight));
    let right_oracle = ratio(Strategy::Governor, Strategy::Oracle, |s| s.right);
    let mut out = std::io::stdout().lock();
    if args.json {
        let strategies: serde_json::Map<String, serde_json::Value> = summaries
            .iter()
            .map(|(strategy, summary)| Ok((strategy.name().to_owned(), serde_json::to_value(summary)?)))
            .collect::<Result<_, serde_json::Error>>()?;
        let object = json!({
            "scenario": {"hours": args.hours, "reserve": args.reserve / 100.0, "capacity_wh": args.capacity_wh,
                         "fault": args.fault.map(InjectedFault::name), "records": origin.records,
                         "samples": origin.samples, "joules": origin.joules, "board": origin.board,
                         "missions": args.seeds.max(1), "seed": args.seed},
            "strategies": strategies,
            "governor_over_steps": {"frames": steps.0, "right_per_watt_hour": steps.1},
            "governor_over_steps_in_hindsight": {"frames": hindsight.0, "right_per_watt_hour": hindsight.1},
            "governor_over_oracle": {"right": right_oracle},
        });
        writeln!(out, "{object}")?;
        return Ok(());
    }
    let fault = args.fault.map_or(String::new(), |fault| format!(", gauge fault {}", fault.name()));
    writeln!(
        out,
        "{} missions of {} h, {} Wh, reserve {} %{fault}\nframes drawn from {} records ({}); joules {}\n{}\n",
        args.seeds.max(1),
        args.hours,
        args.capacity_wh,
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
        steps.0,
        steps.1,
        hindsight.0,
        hindsight.1,
        table::percent(right_oracle)
    )?;
    if let Some(governor) = of(Strategy::Governor) {
        let reasons: Vec<String> =
            governor.reasons.iter().map(|(name, share)| format!("{name} {}", table::percent(*share))).collect();
        writeln!(out, "the governor's reasons: {}", reasons.join(", "))?;
    }
    Ok(())
}
