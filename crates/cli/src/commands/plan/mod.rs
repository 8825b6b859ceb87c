//! `plan`: what a mission on a battery can be, before anything is bought or built.

mod advice;
mod facts;
mod gate;
mod measures;
mod plot;
mod report;
#[cfg(feature = "http")]
mod running;
mod setting;

use std::path::PathBuf;
use std::time::Duration;

use clap::Args as ClapArgs;
use dyn_perceiver::plan::Plan;
use dyn_perceiver::sensors::profile::Profile;
use dyn_perceiver_host::{Board, detect};

use crate::args::boards;
use crate::args::model::{self, ModelArgs};
use crate::args::number;
use crate::args::policy::{Points, PolicyArgs, built_in_points};
use crate::args::profile;
use crate::args::share::Share;
use crate::args::system;
use crate::args::watts::PUBLISHED;
use crate::output::failure::{Failure, wrong};
use crate::output::out::Out;

pub(crate) use advice::Advice;
use advice::{OtherBoard, Yields};
pub(crate) use facts::Fact;
use facts::Facts;
use gate::CertifiedGate;
use measures::Mission;
pub(crate) use measures::Row;

pub(crate) use report::Report;
#[cfg(feature = "http")]
pub(crate) use running::{LoopCosts, Running};

/// Say what a mission on a battery can be: its life by each measure, the period, what to buy
///
/// Hours of life and right answers for each measure alone (early exit, a longer period, a gate for still frames, what is not
/// needed switched off, the board switched off between bursts) and for all of them; the period that the battery lasts with; what
/// would reach the wish. Every figure is listed with its source: what nobody measured says so. JSON: see docs/json.md.
#[derive(ClapArgs)]
pub(crate) struct Args {
    /// Plan for this board: its name (`doctor --list`) or the path of a board.toml [default: the one this runs on]
    #[arg(long, value_name = "NAME|FILE")]
    board: Option<String>,
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    policy: PolicyArgs,
    /// Take seconds and joules of the network from this file, as `profile` writes it on the board
    #[arg(long, value_name = "FILE", help_heading = "Battery and power")]
    profile: Option<PathBuf>,
    /// Count what the board's radio adds while it is connected (`loads.radio_watts` of its board.toml)
    #[arg(long, help_heading = "Battery and power")]
    radio: bool,
    #[command(flatten)]
    supply: SupplyArgs,
    #[command(flatten)]
    wish: WishArgs,
    /// Draw the hours of each measure to this SVG file
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Battery and sun.
#[derive(ClapArgs)]
#[command(next_help_heading = "Battery and power")]
struct SupplyArgs {
    /// Set the capacity of the battery in watt-hours
    #[arg(long, value_name = "WH", value_parser = number::positive)]
    battery_wh: f32,
    /// Leave this state of charge at the end, such as 10% or 0.1
    #[arg(long, value_name = "SHARE", default_value_t = Share::new(0.1))]
    reserve: Share,
    /// Take this share of the battery's energy to reach the board through its converter
    #[arg(long, value_name = "SHARE", default_value_t = EFFICIENCY)]
    efficiency: Share,
    /// Add a solar panel of these peak watts
    #[arg(long, value_name = "WATTS", default_value_t = 0.0, value_parser = number::not_negative)]
    solar_wp: f32,
    /// Take the sun to shine so many hours a day as brightly as panels are rated for
    #[arg(long, value_name = "HOURS", default_value_t = SUN_HOURS, value_parser = number::not_negative)]
    sun_hours: f32,
}

/// What is wished for.
#[derive(ClapArgs)]
#[command(next_help_heading = "Mission")]
struct WishArgs {
    /// Set the length of the mission in days
    #[arg(long, value_name = "DAYS", value_parser = number::days)]
    days: Duration,
    /// Wish for so many frames per second
    #[arg(long, value_name = "NUMBER", default_value_t = 1.0, value_parser = number::fps)]
    fps: f64,
    /// Accept a frame every so many seconds at the longest
    #[arg(long, value_name = "SECONDS", default_value = LONGEST, value_parser = number::seconds)]
    longest: Duration,
    /// Expect nothing to move in this share of the frames
    #[arg(long, value_name = "SHARE", default_value_t = STILL)]
    still: Share,
    /// Take the gate to be the latent one that this file tells of, which `gate --json` printed: held answers are wrong as often
    /// as was certified at most
    #[arg(long, value_name = "FILE")]
    gate_report: Option<PathBuf>,
    /// Expect so many events a day, at which a board that is switched off is woken
    #[arg(long, value_name = "COUNT", default_value_t = EVENTS_PER_DAY, value_parser = number::not_negative)]
    events_per_day: f32,
    /// Classify so many frames at each event
    #[arg(long, value_name = "COUNT", default_value_t = BURST, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    burst: u32,
    /// Take the camera's frames to be JPEG of this size
    #[arg(long, value_name = "WxH", default_value = CAMERA_SIZE, value_parser = number::size)]
    camera_size: (u32, u32),
}

/// What is taken where nobody says otherwise.
const EFFICIENCY: Share = Share::new(0.9);
const SUN_HOURS: f32 = 3.0;
const STILL: Share = Share::new(0.9);
const EVENTS_PER_DAY: f32 = 50.0;
const BURST: u32 = 10;
const LONGEST: &str = "60";
const CAMERA_SIZE: &str = "640x480";
/// Share of a panel's rating that reaches the battery: heat, angle, dirt and charging.
const PANEL_YIELD: f64 = 0.7;
/// Frames a second in a burst.
const BURST_FPS: f64 = 5.0;
/// Seconds around the frames of a burst.
const AROUND_BURST: f64 = 3.0;
const HOUR: f64 = 3600.0;
const DAY_HOURS: f64 = 24.0;

/// What a plan is asked for.
#[derive(Clone, Copy)]
struct Asked<'a> {
    supply: &'a SupplyArgs,
    wish: &'a WishArgs,
    radio: bool,
    /// Whether a loop asks, which has none of the options that only a plan has: their defaults are taken.
    by_loop: bool,
}

impl Asked<'_> {
    /// Notes the value of an option that only `plan` has.
    fn note(self, facts: &mut Facts, (name, unit): (&'static str, &'static str), value: f64, option: &str) -> f64 {
        match self.by_loop {
            true => facts.assumed(name, unit, value, &format!("what `plan` takes without {option}")),
            false => facts.given(name, unit, value, option),
        }
    }
}

/// What the network was measured to cost on the board.
#[derive(Clone, Debug)]
struct Measured {
    idle_watts: f64,
    /// Seconds of each stage, and joules that all of them add to idling.
    seconds: Vec<f64>,
    joules: f64,
    method: String,
}

impl Measured {
    fn of(profile: &Profile) -> Self {
        Self {
            idle_watts: profile.idle_watts,
            seconds: profile.stages.iter().map(|stage| stage.seconds).collect(),
            joules: profile.stages.iter().map(|stage| stage.joules).sum(),
            method: profile.method.clone(),
        }
    }
}

/// The network of the plan.
#[derive(Clone, Copy)]
struct Network<'a> {
    plan: &'a Plan,
    points: &'a Points,
    measured: Option<&'a Measured>,
    /// With the threads and clocks that were swept over.
    profile: Option<&'a Profile>,
    gate: Option<CertifiedGate>,
}

/// A plan, reckoned.
struct Reckoned {
    advice: Advice,
    rows: Vec<Row>,
    left_out: Vec<String>,
    facts: Vec<Fact>,
    clocks_measured: bool,
    gate_loss: Option<f64>,
    /// Length of the mission.
    seconds: f64,
}

pub(crate) fn run(args: Args) -> Result<(), Failure> {
    if args.supply.reserve.get() >= 1.0 || args.supply.efficiency.get() <= 0.0 {
        return wrong("--reserve of 100% or --efficiency of 0% leaves nothing of the battery: name less, or more");
    }
    let gate = args.wish.gate_report.as_deref().map(gate::report).transpose()?;
    let known = boards::all()?;
    let board = match &args.board {
        Some(name) => boards::find(name)?,
        None => match detect(&system::here(), &known) {
            Some(board) => board.clone(),
            None => boards::find(PUBLISHED)?,
        },
    };
    let plan = args.model.plan()?;
    let points = match args.policy.points(&plan)? {
        Some(points) => Some(points),
        None if args.policy.is_open() => built_in_points(&plan)?,
        None => None,
    };
    let Some(points) = points else {
        return wrong("a plan needs expected accuracies: name a calibrated policy with --policy");
    };
    let profile = args.profile.as_deref().map(profile::read).transpose()?;
    let measured = profile.as_ref().map(Measured::of);
    let network =
        Network { plan: &plan, points: &points, measured: measured.as_ref(), profile: profile.as_ref(), gate };
    let asked = Asked { supply: &args.supply, wish: &args.wish, radio: args.radio, by_loop: false };
    let reckoned = reckon(asked, &board, &network, &known)?;
    let model = model::name(&plan);
    let report = reckoned.report(asked, &board, &model);
    if let Some(path) = &args.plot {
        plot::draw(path, report.name, report.rows, reckoned.seconds / HOUR)?;
    }
    let mut out = Out::stdout();
    if args.json { Ok(out.json(&report)?) } else { report.print(&mut out) }
}

/// Reckons a plan for a board, and what the same mission would be on the boards of `others`.
fn reckon(asked: Asked<'_>, board: &Board, network: &Network<'_>, others: &[Board]) -> Result<Reckoned, Failure> {
    let mut facts = Facts::default();
    let (mission, yields) = mission(asked, &mut facts);
    let setting = setting::on(asked, board, network, mission, &mut facts)?;
    let mut elsewhere = Vec::new();
    for other in others.iter().filter(|other| other.id != board.id && other.power.idle_watts.is_some()) {
        // What was measured is of the board it was measured on.
        let network = Network { measured: None, profile: None, ..*network };
        let other_setting = setting::on(asked, other, &network, mission, &mut Facts::default())?;
        elsewhere.push(OtherBoard::new(&other.id, &other.name, &other_setting));
    }
    Ok(Reckoned {
        advice: advice::advise(&setting, yields, elsewhere),
        rows: setting.rows(),
        left_out: setting.left_out(),
        facts: facts.into_list(),
        clocks_measured: setting.clocked.is_some(),
        gate_loss: network.gate.map(|gate| gate.max_loss),
        seconds: mission.seconds,
    })
}

impl Reckoned {
    fn report<'a>(&'a self, asked: Asked<'_>, board: &'a Board, model: &'a str) -> Report<'a> {
        Report {
            board: &board.id,
            name: &board.name,
            model,
            battery_wh: asked.supply.battery_wh,
            solar_wp: asked.supply.solar_wp,
            days: self.seconds / (DAY_HOURS * HOUR),
            advice: &self.advice,
            clocks_measured: self.clocks_measured,
            rows: &self.rows,
            left_out: &self.left_out,
            gate_loss: self.gate_loss,
            facts: &self.facts,
        }
    }
}

/// What the mission has, in joules and watts at the board.
fn mission(asked: Asked<'_>, facts: &mut Facts) -> (Mission, Yields) {
    let SupplyArgs { battery_wh, reserve, efficiency, solar_wp, sun_hours } = asked.supply;
    let WishArgs { days, fps, longest, still, events_per_day, burst, .. } = asked.wish;
    let wh = facts.given("battery", "Wh", f64::from(*battery_wh), "--battery-wh: the nameplate, of a new cell");
    let efficiency = asked.note(facts, ("converter", ""), f64::from(efficiency.get()), "--efficiency");
    let reserve = facts.given("reserve", "", f64::from(reserve.get()), "--reserve");
    let mut watts_per_wp = f64::from(*sun_hours) / DAY_HOURS * PANEL_YIELD * efficiency;
    if *solar_wp > 0.0 {
        asked.note(facts, ("full sun a day", "h"), f64::from(*sun_hours), "--sun-hours: by place and season");
        facts.assumed("yield of a panel", "", PANEL_YIELD, "taken for heat, angle, dirt and charging");
    }
    watts_per_wp = watts_per_wp.max(f64::MIN_POSITIVE);
    let still = asked.note(facts, ("still frames", ""), f64::from(still.get()), "--still");
    let events = asked.note(facts, ("events a day", ""), f64::from(*events_per_day), "--events-per-day");
    let burst_fps = facts.assumed("frames in a burst", "1/s", BURST_FPS, "taken for a camera that has just started");
    let around_burst =
        facts.assumed("around a burst", "s", AROUND_BURST, "taken for the camera to start and the board to halt");
    let joules_per_wh = HOUR * efficiency * (1.0 - reserve);
    let period = 1.0 / fps;
    let mission = Mission {
        joules: wh * joules_per_wh,
        income: f64::from(*solar_wp) * watts_per_wp,
        seconds: days.as_secs_f64(),
        period,
        longest: longest.as_secs_f64().max(period),
        still,
        events,
        burst: f64::from(*burst),
        burst_fps,
        around_burst,
        radio: asked.radio,
    };
    (mission, Yields { joules_per_wh: joules_per_wh.max(f64::MIN_POSITIVE), watts_per_wp })
}
