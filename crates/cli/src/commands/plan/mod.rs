//! `plan`: what a mission on a battery can be, before anything is bought or built.

mod advice;
mod facts;
mod gate;
mod measures;
mod plot;
mod report;

use std::path::PathBuf;
use std::time::Duration;

use clap::Args as ClapArgs;
use dyn_perceiver::exit::{Mix, OperatingPoint};
use dyn_perceiver::plan::Plan;
use dyn_perceiver::sensors::profile::{Profile, Variant};
use dyn_perceiver_host::{Board, detect};

use crate::args::boards;
use crate::args::model::{self, ModelArgs};
use crate::args::number;
use crate::args::policy::{Points, PolicyArgs, built_in_points};
use crate::args::profile;
use crate::args::share::Share;
use crate::args::system;
use crate::args::watts::PUBLISHED;
use crate::args::work;
use crate::output::failure::{Failure, wrong};
use crate::output::out::Out;

pub(crate) use advice::Advice;
use advice::{OtherBoard, Yields};
pub(crate) use facts::Fact;
use facts::{Draw, Facts};
use gate::{CertifiedGate, Gate};
pub(crate) use measures::Row;
use measures::{Clocked, Mission, Setting, Way};
pub(crate) use report::Report;

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
    #[arg(long, value_name = "SHARE", default_value_t = Share::new(0.9))]
    efficiency: Share,
    /// Add a solar panel of these peak watts
    #[arg(long, value_name = "WATTS", default_value_t = 0.0, value_parser = number::not_negative)]
    solar_wp: f32,
    /// Take the sun to shine so many hours a day as brightly as panels are rated for
    #[arg(long, value_name = "HOURS", default_value_t = 3.0, value_parser = number::not_negative)]
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
    #[arg(long, value_name = "SECONDS", default_value = "60", value_parser = number::seconds)]
    longest: Duration,
    /// Expect nothing to move in this share of the frames
    #[arg(long, value_name = "SHARE", default_value_t = Share::new(0.9))]
    still: Share,
    /// Take the gate to be the latent one that this file tells of, which `gate --json` printed: held answers are wrong as often
    /// as was certified at most
    #[arg(long, value_name = "FILE")]
    gate_report: Option<PathBuf>,
    /// Expect so many events a day, at which a board that is switched off is woken
    #[arg(long, value_name = "COUNT", default_value_t = 50.0, value_parser = number::not_negative)]
    events_per_day: f32,
    /// Classify so many frames at each event
    #[arg(long, value_name = "COUNT", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    burst: u32,
    /// Take the camera's frames to be JPEG of this size
    #[arg(long, value_name = "WxH", default_value = "640x480", value_parser = number::size)]
    camera_size: (u32, u32),
}

/// Share of a panel's rating that reaches the battery: heat, angle, dirt and charging.
const PANEL_YIELD: f64 = 0.7;
/// Seconds of the gate as a share of those of decoding a frame.
const GATE_SHARE: f64 = 0.1;
/// Frames a second in a burst.
const BURST_FPS: f64 = 5.0;
/// Seconds around the frames of a burst.
const AROUND_BURST: f64 = 3.0;
const HOUR: f64 = 3600.0;
const DAY_HOURS: f64 = 24.0;

/// The network of the plan.
struct Network<'a> {
    plan: &'a Plan,
    points: &'a Points,
    profile: Option<&'a Profile>,
    gate: Option<CertifiedGate>,
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
    let measured = args.profile.as_deref().map(profile::read).transpose()?;
    let network = Network { plan: &plan, points: &points, profile: measured.as_ref(), gate };
    let mut facts = Facts::default();
    let (mission, yields) = mission(&args, &mut facts);
    let setting = setting(&args, &board, &network, mission, &mut facts)?;
    let mut others = Vec::new();
    for other in known.iter().filter(|other| other.id != board.id && other.power.idle_watts.is_some()) {
        // A profile is of the board it was measured on.
        let network = Network { profile: None, ..network };
        let other_setting = self::setting(&args, other, &network, mission, &mut Facts::default())?;
        others.push(OtherBoard::new(&other.id, &other.name, &other_setting));
    }
    let rows = setting.rows();
    let report = Report {
        board: &board.id,
        name: &board.name,
        model: &model::name(&plan),
        battery_wh: args.supply.battery_wh,
        solar_wp: args.supply.solar_wp,
        days: mission.seconds / (DAY_HOURS * HOUR),
        advice: advice::advise(&setting, yields, others),
        clocks_measured: setting.clocked.is_some(),
        rows: &rows,
        left_out: &setting.left_out(),
        gate_loss: gate.map(|gate| gate.max_loss),
        facts: &facts.into_list(),
    };
    if let Some(path) = &args.plot {
        plot::draw(path, report.name, &rows, mission.seconds / HOUR)?;
    }
    let mut out = Out::stdout();
    if args.json { Ok(out.json(&report)?) } else { report.print(&mut out) }
}

/// What the mission has, in joules and watts at the board.
fn mission(args: &Args, facts: &mut Facts) -> (Mission, Yields) {
    let SupplyArgs { battery_wh, reserve, efficiency, solar_wp, sun_hours } = &args.supply;
    let WishArgs { days, fps, longest, still, events_per_day, burst, .. } = &args.wish;
    let wh = facts.given("battery", "Wh", f64::from(*battery_wh), "--battery-wh: the nameplate, of a new cell");
    let efficiency = facts.given("converter", "", f64::from(efficiency.get()), "--efficiency");
    let reserve = facts.given("reserve", "", f64::from(reserve.get()), "--reserve");
    let mut watts_per_wp = f64::from(*sun_hours) / DAY_HOURS * PANEL_YIELD * efficiency;
    if *solar_wp > 0.0 {
        facts.given("full sun a day", "h", f64::from(*sun_hours), "--sun-hours: by place and season");
        facts.assumed("yield of a panel", "", PANEL_YIELD, "taken for heat, angle, dirt and charging");
    }
    watts_per_wp = watts_per_wp.max(f64::MIN_POSITIVE);
    let still = facts.given("still frames", "", f64::from(still.get()), "--still");
    let events = facts.given("events a day", "", f64::from(*events_per_day), "--events-per-day");
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
        radio: args.radio,
    };
    (mission, Yields { joules_per_wh: joules_per_wh.max(f64::MIN_POSITIVE), watts_per_wp })
}

/// The plan's setting on a board.
fn setting(
    args: &Args,
    board: &Board,
    network: &Network<'_>,
    mission: Mission,
    facts: &mut Facts,
) -> Result<Setting, Failure> {
    let mut draw = Draw::of(board, &boards::find(PUBLISHED)?, args.radio, facts)?;
    let speed = board.cpu.as_ref().and_then(|cpu| cpu.macs_per_second.as_ref());
    let speed = match speed {
        Some(figure) => facts.note("speed of a core", "MAC/s", figure),
        None => {
            facts.assumed("speed of a core", "MAC/s", work::MACS_PER_SECOND, "a round figure for boards of this kind")
        }
    };
    let (width, height) = args.wish.camera_size;
    let decode = work::decode_macs(width, height) / speed;
    let decode = facts.computed("decoding a frame", "s", decode, work::DECODE_SOURCE);
    let stages: Vec<f64> = match network.profile {
        Some(profile) => {
            let (seconds, joules) =
                profile.stages.iter().fold((0.0, 0.0), |sum, stage| (sum.0 + stage.seconds, sum.1 + stage.joules));
            if profile.stages.len() != network.plan.stages().len() || seconds <= 0.0 {
                return wrong("the profile is of another network");
            }
            draw.core = joules / seconds;
            draw.idle = profile.idle_watts;
            draw.tuned = draw.tuned.map(|tuned| tuned.min(draw.idle));
            facts.computed("a busy network adds", "W", draw.core, &profile.method);
            profile.stages.iter().map(|stage| stage.seconds).collect()
        }
        None => work::stages(network.plan).map(|macs| macs / speed).collect(),
    };
    facts.computed(
        "the whole network",
        "s",
        stages.iter().sum(),
        match network.profile {
            Some(_) => "by the profile",
            None => "multiply-accumulates and nodes over the speed of a core",
        },
    );
    let accuracy = f64::from(network.points.best);
    let error = network.points.samples.map_or(0.0, |n| (accuracy * (1.0 - accuracy) / f64::from(n.max(1))).sqrt());
    facts.computed(
        "expected accuracy",
        "",
        accuracy,
        "the policy's most accurate point, which the whole network is taken to reach",
    );
    if let Some(samples) = network.points.samples {
        let source = format!("of the expected accuracy, by the {samples} images calibrated on");
        facts.computed("standard error", "", error, &source);
    }
    let whole = Way { seconds: stages.iter().sum(), accuracy };
    let (gate, gate_loss) = match network.gate {
        Some(found) => {
            let source =
                format!("of held answers at most, with {:.0} % confidence (--gate-report)", 100.0 * found.confidence);
            let loss = facts.given("lost by the gate", "", found.max_loss, &source);
            (Gate::Latent(stages[0] / whole.seconds.max(f64::MIN_POSITIVE)), loss)
        }
        None => {
            let why = "of decoding a frame: taken for an eighth of the size, luminance only";
            (Gate::Pixels(facts.assumed("gate, as a share", "", GATE_SHARE, why) * decode), 0.0)
        }
    };
    Ok(Setting {
        draw,
        mission,
        decode,
        gate,
        gate_loss,
        early: early(network.points, accuracy - error, &stages)?,
        whole,
        clocked: network.profile.and_then(|profile| clocked(profile, facts)),
    })
}

/// The way with early exits: what --budget or --accuracy asks for, else the cheapest point that is as accurate as `good`.
fn early(points: &Points, good: f64, stages: &[f64]) -> Result<Way, Failure> {
    let of = |point: &OperatingPoint| Way { seconds: point_seconds(point, stages), accuracy: point.accuracy.into() };
    let all = points.frontier.points();
    if let Some(mixer) = &points.mixer {
        let Mix { low, high, share_of_high, .. } = points.frontier.mix(mixer.budget());
        if let (Some(low), Some(high)) = (all.get(low).map(of), all.get(high).map(of)) {
            let mixed = |low: f64, high: f64| low + f64::from(share_of_high) * (high - low);
            return Ok(Way { seconds: mixed(low.seconds, high.seconds), accuracy: mixed(low.accuracy, high.accuracy) });
        }
    }
    match all.iter().find(|point| f64::from(point.accuracy) >= good).or(all.last()) {
        Some(point) => Ok(of(point)),
        None => wrong("the policy has no operating points"),
    }
}

/// The variants that cost least, beside idling and with it.
fn clocked(profile: &Profile, facts: &mut Facts) -> Option<Clocked> {
    let mut least = |idle: f64, threads: &'static str, clock: &'static str| {
        let known = profile.variants.iter().filter_map(|variant| Some((variant, variant.joules?)));
        let cost = |(variant, joules): &(&Variant, f64)| joules + idle * variant.seconds;
        let (variant, joules) = known.min_by(|a, b| cost(a).total_cmp(&cost(b)))?;
        facts.computed(threads, "", variant.threads as f64, &profile.method);
        if let Some(megahertz) = variant.megahertz {
            facts.computed(clock, "MHz", megahertz, &profile.method);
        }
        Some((variant.seconds, joules))
    };
    let always_on = least(0.0, "threads that cost least", "clock that costs least")?;
    let bursts = least(profile.idle_watts, "threads in bursts", "clock in bursts")?;
    Some(Clocked { always_on, bursts })
}

/// Seconds that a frame takes on average at an operating point.
fn point_seconds(point: &OperatingPoint, stages: &[f64]) -> f64 {
    let until = |exit: usize| stages.iter().take(exit + 1).sum::<f64>();
    point.shares.iter().enumerate().map(|(exit, share)| f64::from(*share) * until(exit)).sum()
}
