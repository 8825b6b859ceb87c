use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow};
use clap::Args as ClapArgs;
use dyn_perceiver::camera::{self, CameraRequest, FrameSource, PixelFormat};
use dyn_perceiver::energy::estimator::CoulombSettings;
use dyn_perceiver::energy::{Battery, JOULES_PER_MWH, JoulesSource, PowerModel, Reason, SocSteps};
use dyn_perceiver::exit::ExitPolicy;
use dyn_perceiver::pipeline::{BatteryCapacity, Pipeline, PipelineConfig, PipelineError, Summary};
use dyn_perceiver::plan::Plan;
use dyn_perceiver::runtime::Runtime;
use dyn_perceiver::sensors::Companion;
use dyn_perceiver::sensors::open::{AnyGauge, companion_gauge, open_companion, open_counted, open_gauge};
use dyn_perceiver::sensors::profile::Profile;
use dyn_perceiver::sensors::store::Stored;

use crate::args::policy::{self as shipped, ModelArgs, Points, PolicyArgs};
use crate::args::watts::{Watts, WattsArgs};
use crate::output::failure::{Failure, OrInput as _};
use service::Service;

mod governing;
mod service;
mod state;
mod view;

use governing::{BatteryFacts, Chooser, MissionArgs, Mode};
use state::State;
use view::View;

/// Thresholds, the same at every exit, that the state of charge steps through when no policy is given.
const LADDER: [f32; 6] = [0.0, 0.5, 0.7, 0.85, 0.95, 0.99];
/// Without --battery-mwh the battery holds what the full network would use for this share of the frames.
const BATTERY_SHARE: f32 = 0.75;

/// Run the classification loop on a simulated battery
///
/// Without options: the shipped model on the shipped test images, operating points that follow the state of charge. In a
/// mission a governor gives every frame its share of what the battery holds above a reserve; each decision has a reason:
/// start, hold, step, budget, plenty, cannot-last, floor-cannot-last, rate-limited, stale-hold, stale-degrade, gauge-failed,
/// reserve, brown-out or mission-over. Joules are modelled: watts of the board times latency measured here; or from a profile.
///
/// JSON: one object per frame {kind: "frame", frame, class, label, truth, exit, confidence, cut, latency_ms (of the network), age_ms
/// (from the capture of the frame to the answer), soc, point, reason, period_ms, joules}; {kind: "camera", connected, message} when the camera is lost or back; {kind: "state",
/// periods} when the state has been stored; then {kind: "summary", frames, accuracy, accuracy_full, exit_share {exit:
/// share}, latency_ms {exit: {mean, p95}, all, full}, joules, joules_full, switches, soc, dropped, ended}.
#[derive(ClapArgs)]
pub(crate) struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// IDX file of images, image file or folder of images; labels of an IDX file are found beside it [default: the
    /// shipped test images]
    #[arg(long, value_name = "PATH", conflicts_with_all = ["synthetic", "camera"])]
    frames: Option<PathBuf>,
    /// So many synthetic frames instead
    #[arg(long, value_name = "COUNT", conflicts_with = "camera")]
    synthetic: Option<u64>,
    /// A camera instead: /dev/video0, or `command:` and a command that writes frames to its output. Opened again when it
    /// fails; always the newest frame, the others count as dropped
    #[arg(long, value_name = "NAME")]
    camera: Option<String>,
    /// Pixel format of the camera: yuyv, nv12, rgb, mjpeg or grey [default: the cheapest it offers]
    #[arg(long, value_name = "FORMAT", requires = "camera")]
    camera_format: Option<PixelFormat>,
    /// Width and height of the camera's frames, as 640x480 [default: what it offers nearest to that]
    #[arg(long, value_name = "WxH", requires = "camera", value_parser = size)]
    camera_size: Option<(u32, u32)>,
    /// Stop after so many frames
    #[arg(long, value_name = "COUNT")]
    limit: Option<u64>,
    /// Frames per second; without it, each frame follows at once
    #[arg(long, value_name = "NUMBER")]
    fps: Option<f64>,
    #[command(flatten)]
    policy: PolicyArgs,
    #[command(flatten)]
    mission: MissionArgs,
    /// Capacity of the battery [default, where it is simulated: what the full network would use for 75 % of the frames]
    #[arg(long, value_name = "MWH")]
    battery_mwh: Option<f32>,
    /// Fuel gauge that decides instead of the simulated battery: power-supply, max17048:/dev/i2c-1, lc709203f:BUS,
    /// bq27441:BUS, pisugar3:BUS or companion:DEVICE; or a power monitor whose charge is counted, with --battery-mwh:
    /// rail:LABEL, ina219:BUS:ADDRESS:OHMS, ina226:…, ina3221:… or ups-hat:BUS
    #[arg(long, value_name = "NAME")]
    gauge: Option<String>,
    /// Lithium-ion cells in series, where charge is counted
    #[arg(long, value_name = "COUNT", default_value_t = 1)]
    cells: u8,
    /// State of charge of the simulated battery at the start, in [0, 1] [default: as stored, else full]
    #[arg(long, value_name = "SOC")]
    soc: Option<f32>,
    #[command(flatten)]
    watts: WattsArgs,
    /// Joules per stage, as `profile` writes them, in place of watts and latency
    #[arg(long, value_name = "FILE")]
    profile: Option<PathBuf>,
    /// Keep in this file what must survive a restart: the charge, how far the mission is, what the governor learned, a
    /// measured power model. Replaced whole, so that a kill at any moment loses at most one period
    #[arg(long, value_name = "FILE")]
    state: Option<PathBuf>,
    /// Seconds from one save of the state to the next
    #[arg(long, value_name = "SECONDS", default_value_t = 30.0, requires = "state")]
    save_every: f32,
    /// Do not run the full network beside each frame to compare
    #[arg(long)]
    no_compare: bool,
    /// Append every result as a line of JSON to this file, too; at 8 MiB it is put aside, and three such are kept
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
    /// One JSON object per line on stdout
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: Args) -> Result<(), Failure> {
    check(&args)?;
    let every = Duration::try_from_secs_f32(args.save_every).context("--save-every").or_input()?;
    let mut state = State::open(args.state.clone(), every)?;
    let duration = args.mission.duration()?;
    let plan = args.model.plan()?;
    let exits = plan.info().exits.clone();
    let calibrated = match args.policy.points(&plan)? {
        None if args.mission.is_mission() => Some(shipped::points(&plan)?),
        points => points,
    };
    let points = match (&calibrated, args.policy.policy(&plan)?) {
        (Some(calibrated), _) => calibrated.policies(),
        (None, Some(policy)) => vec![policy],
        (None, None) => ladder(&args.policy, &plan)?,
    };
    let source = source(&args)?;
    let frames = source.frames().map(|all| all.min(args.limit.unwrap_or(u64::MAX)));
    let watts = args.watts.here()?;
    let seconds = stage_seconds(&plan)?;
    let (power, joules) = power(&args, &watts, &seconds, state.stored())?;
    let period = args.fps.map_or(Duration::ZERO, |fps| Duration::from_secs_f64(1.0 / fps));
    let battery = battery(&args, frames, &power, &seconds, period, state.stored());
    let sensor = sensor(&args, state.stored())?;

    let facts = BatteryFacts { capacity_mwh: battery.capacity_mwh(), simulated: args.gauge.is_none() };
    let governor = match (calibrated, duration, &sensor) {
        (Some(Points { frontier, .. }), Some(duration), _) => {
            let learned = state.stored().learned;
            Chooser::mission(&args.mission, (duration, period), &frontier, &power, &facts, learned)?
        }
        (_, _, Some((_, Some(companion)))) if args.mission.mode == Mode::Companion => {
            Chooser::Companion(companion.clone())
        }
        (Some(Points { frontier, mixer: Some(mixer) }), ..) => {
            Chooser::Mean { frontier: Box::new(frontier), mixer, begun: false }
        }
        _ => Chooser::Charge(SocSteps::even(points.len())),
    };
    let resumed = duration.and_then(|duration| state.stored().mission?.resume(duration)).unwrap_or_default();

    let stop = Arc::new(AtomicBool::new(false));
    let stopped = stop.clone();
    ctrlc::set_handler(move || {
        // A second Ctrl-C does not wait for the frame in hand.
        if stopped.swap(true, Ordering::Relaxed) {
            std::process::exit(130);
        }
    })?;

    let labels = plan.info().labels.clone();
    if power.source() == JoulesSource::Measured {
        state.measured(&power);
    }
    let mut config = PipelineConfig::new(points, power, battery).with_period(period);
    config.compare_full = !args.no_compare;
    let mut view = View::new(&args, &exits, labels)?;
    view.header(&plan, &config, frames, &joules);
    let mut pipeline =
        Pipeline::new(source, governor, plan, config)?.resumed_at(resumed).with_stop(stop.clone().into());
    if let Some((gauge, _)) = sensor {
        pipeline = pipeline.with_gauge(
            gauge,
            if args.battery_mwh.is_some() { BatteryCapacity::Known } else { BatteryCapacity::Unknown },
        );
    }
    let mut summary = Summary::new(&exits);
    let mut ended = "end of frames";
    let mut soc = pipeline.battery().soc();
    let mut next = Instant::now();
    let service = Service::from_env();
    service.ready();
    loop {
        service.alive();
        if stop.load(Ordering::Relaxed) {
            ended = "interrupted";
            break;
        }
        if args.limit.is_some_and(|limit| summary.frames() >= limit) {
            ended = "limit reached";
            break;
        }
        let step = match pipeline.step() {
            // The camera is gone for now: the loop lives on.
            Err(PipelineError::Camera(error)) if error.is_temporary() => {
                view.camera(Some(&error))?;
                continue;
            }
            step => step?,
        };
        if let Some(choice) = pipeline.choice() {
            view.decision(choice, pipeline.elapsed(), soc, pipeline.governor().budget())?;
        }
        let Some(step) = step else {
            ended = match pipeline.choice() {
                Some(choice) if choice.stops() => "the voltage is too low",
                _ if pipeline.battery().is_empty() => "battery empty",
                _ => ended,
            };
            break;
        };
        soc = step.soc;
        summary.add(&step);
        view.camera(None)?;
        view.frame(&step, frames)?;
        if state.is_due() {
            save(&mut state, &mut view, &pipeline, soc, duration)?;
        }
        if step.choice.reason == Reason::MissionOver {
            ended = "mission over";
            break;
        }
        let period = pipeline.period();
        next += period;
        // Short naps keep Ctrl-C prompt at low frame rates.
        while !period.is_zero() && Instant::now() < next && !stop.load(Ordering::Relaxed) {
            std::thread::sleep(next.saturating_duration_since(Instant::now()).min(Duration::from_millis(100)));
        }
    }
    service.stopping();
    save(&mut state, &mut view, &pipeline, soc, duration)?;
    view.summary(&summary, soc, pipeline.dropped(), ended)
}

/// Stores what must survive a restart. A full or lost disk is told and ends nothing.
fn save(
    state: &mut State,
    view: &mut View,
    pipeline: &Pipeline<Chooser>,
    soc: f32,
    mission: Option<Duration>,
) -> Result<(), Failure> {
    let saved = state.save(|stored| {
        state::record(stored, soc, mission.map(|duration| (duration, pipeline.elapsed())));
        stored.learned = pipeline.governor().learned();
    });
    match saved {
        Ok(Some(periods)) => view.stored(periods),
        Ok(None) => Ok(()),
        Err(error) => {
            eprintln!("the state is not stored: {error}");
            Ok(())
        }
    }
}

fn check(args: &Args) -> Result<(), Failure> {
    if let Some(fps) = args.fps.filter(|fps| !(*fps > 0.0 && fps.is_finite())) {
        return Err(anyhow!("--fps {fps}: expected a number above 0")).or_input();
    }
    if let Some(mwh) = args.battery_mwh.filter(|mwh| !(*mwh > 0.0 && mwh.is_finite())) {
        return Err(anyhow!("--battery-mwh {mwh}: expected a number above 0")).or_input();
    }
    if let Some(soc) = args.soc.filter(|soc| !(0.0..=1.0).contains(soc)) {
        return Err(anyhow!("--soc {soc}: expected a number in [0, 1]")).or_input();
    }
    if args.mission.is_mission() && args.gauge.is_some() && args.battery_mwh.is_none() {
        return Err(anyhow!("a mission on a gauge needs --battery-mwh: a state of charge is no energy")).or_input();
    }
    if args.mission.mode == Mode::Companion && !args.gauge.as_ref().is_some_and(|name| name.starts_with("companion:")) {
        return Err(anyhow!("mode companion needs --gauge companion:DEVICE")).or_input();
    }
    Ok(())
}

/// The gauge asked for, and the companion behind it where it is one.
fn sensor(args: &Args, stored: &Stored) -> Result<Option<(AnyGauge, Option<Companion>)>, Failure> {
    let Some(name) = &args.gauge else { return Ok(None) };
    if let Some(device) = name.strip_prefix("companion:") {
        let companion = open_companion(device).or_input()?;
        return Ok(Some((companion_gauge(companion.clone()), Some(companion))));
    }
    let kind = name.split(':').next().unwrap_or_default();
    if ["rail", "ina219", "ina226", "ina3221", "ups-hat"].contains(&kind) {
        let Some(mwh) = args.battery_mwh else {
            return Err(anyhow!("--gauge {name}: counting charge needs --battery-mwh")).or_input();
        };
        let settings = CoulombSettings::lithium_ion(mwh, args.cells);
        return Ok(Some((open_counted(name, settings, stored.coulomb).or_input()?, None)));
    }
    Ok(Some((open_gauge(name).or_input()?, None)))
}

/// What stages cost, and where that comes from, in words: the profile, one stored by an earlier run, or watts x latency.
fn power(args: &Args, watts: &Watts, seconds: &[f32], stored: &Stored) -> Result<(PowerModel, String), Failure> {
    let (model, origin) = match (&args.profile, &stored.power) {
        (Some(path), _) => {
            let name = path.display().to_string();
            let text = std::fs::read_to_string(path).with_context(|| name.clone()).or_input()?;
            let profile: Profile = serde_json::from_str(&text).with_context(|| name.clone()).or_input()?;
            (profile.power_model().with_context(|| name.clone()).or_input()?, format!("by the profile {name}"))
        }
        (None, Some(model)) => (model.clone(), "by an earlier run's profile".to_owned()),
        (None, None) => {
            let resting = watts.resting();
            let model = PowerModel::from_latency(resting, watts.active, seconds).or_input()?;
            (model, format!("watts x latency measured here; {}", watts.source))
        }
    };
    if model.stages().len() != seconds.len() {
        let (found, expected) = (model.stages().len(), seconds.len());
        return Err(anyhow!("{origin}: joules of {found} stages, but the model has {expected}")).or_input();
    }
    let text = format!("{}, {origin}", model.source());
    Ok((model, text))
}

fn ladder(policy: &PolicyArgs, plan: &Plan) -> Result<Vec<ExitPolicy>, Failure> {
    let early = plan.stages().len() - 1;
    LADDER.iter().map(|&threshold| Ok(policy.with_thresholds(plan, &vec![threshold; early])?)).collect()
}

fn source(args: &Args) -> Result<Box<dyn FrameSource>, Failure> {
    if let Some(count) = args.synthetic {
        return Ok(Box::new(camera::SyntheticSource::new(64, 64).with_count(count)));
    }
    if let Some(name) = &args.camera {
        let fps = args.fps.map(|fps| fps.round().max(1.0) as u32);
        let mut request = CameraRequest::default();
        (request.format, request.size, request.fps) = (args.camera_format, args.camera_size, fps);
        return camera::open(name, request).or_input();
    }
    let Some(path) = &args.frames else { return Ok(Box::new(shipped::frames()?)) };
    camera::open_path(path).or_input()
}

/// Two numbers with a comma between.
pub(crate) fn pair(text: &str) -> Result<(f32, f32), String> {
    let numbers = text.split_once(',').and_then(|(a, b)| Some((a.trim().parse().ok()?, b.trim().parse().ok()?)));
    numbers.ok_or_else(|| "expected two numbers with a comma between".to_owned())
}

fn size(text: &str) -> Result<(u32, u32), String> {
    let parts = text.split_once('x').and_then(|(width, height)| Some((width.parse().ok()?, height.parse().ok()?)));
    parts
        .filter(|&(width, height)| width > 0 && height > 0)
        .ok_or_else(|| format!("`{text}`: expected 640x480, for instance"))
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
    Ok(times
        .into_iter()
        .map(|mut times| {
            times.sort_by(f32::total_cmp);
            times[RUNS / 2]
        })
        .collect())
}

fn battery(
    args: &Args,
    frames: Option<u64>,
    power: &PowerModel,
    seconds: &[f32],
    period: Duration,
    stored: &Stored,
) -> Battery {
    let frame_seconds = seconds.iter().sum::<f32>().max(period.as_secs_f32());
    let full = power.frame_joules(seconds.len()) + power.idle_watts() * frame_seconds;
    let fitting = frames.unwrap_or(1000) as f32 * BATTERY_SHARE * full / JOULES_PER_MWH;
    Battery::new(args.battery_mwh.unwrap_or(fitting))
        .charged_to(args.soc.or(stored.coulomb.map(|state| state.soc)).unwrap_or(1.0))
}
