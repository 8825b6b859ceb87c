use std::io::{IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use clap::Args as ClapArgs;
use dyn_perceiver::camera::{self, CameraError, CameraRequest, FrameSource, PixelFormat};
use dyn_perceiver::energy::gauge::open::open_gauge;
use dyn_perceiver::energy::{Battery, Choice, Governor, GovernorInput, JOULES_PER_MWH, PowerModel, Reason, SocSteps};
use dyn_perceiver::exit::{ExitPolicy, Frontier, Mixer};
use dyn_perceiver::pipeline::{Pipeline, PipelineConfig, PipelineError, Step, Summary};
use dyn_perceiver::plan::Plan;
use dyn_perceiver::runtime::Runtime;
use dyn_perceiver::sink::{Classified, JsonLines, Record, RotatingFile, Sink as _};
use serde_json::{Map, Value, json};

use crate::failure::{Failure, OrInput as _};
use crate::service::Service;
use crate::shipped::{self, ModelArgs, Points, PolicyArgs};
use crate::table;

/// Thresholds, the same at every exit, that the state of charge steps through when no policy is given.
const LADDER: [f32; 6] = [0.0, 0.5, 0.7, 0.85, 0.95, 0.99];
/// Without --battery-mwh the battery holds what the full network would use for this share of the frames.
const BATTERY_SHARE: f32 = 0.75;
/// Size at which a log is put aside.
const LOG_BYTES: u64 = 8 << 20;
/// Logs that are kept besides the present one.
const LOGS_KEPT: u32 = 3;

/// Run the classification loop on a simulated battery
///
/// Without options: the shipped model on the shipped test images. Operating points follow the state of charge. Joules are
/// modelled: watts of the board times latency measured here. JSON: one object per frame {kind: "frame", frame, class,
/// label, truth, exit, confidence, cut, latency_ms (of the network), age_ms (from the capture of the frame to the answer),
/// soc, point, reason, joules}; {kind: "camera", connected, message} when the camera is lost or back; then {kind: "summary",
/// frames, accuracy, accuracy_full, exit_share {exit: share}, latency_ms {exit: {mean, p95}, all, full}, joules,
/// joules_full, switches, soc, dropped, ended}.
#[derive(ClapArgs)]
pub struct Args {
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
    /// Capacity of the simulated battery [default: what the full network would use for 75 % of the frames]
    #[arg(long, value_name = "MWH")]
    battery_mwh: Option<f32>,
    /// Fuel gauge that decides instead of the simulated battery: power-supply, max17048:/dev/i2c-1, lc709203f:BUS,
    /// bq27441:BUS or pisugar3:BUS
    #[arg(long, value_name = "NAME")]
    gauge: Option<String>,
    /// State of charge at the start, in [0, 1]
    #[arg(long, value_name = "SOC", default_value_t = 1.0)]
    soc: f32,
    /// What the board draws when idle (2.2 to 3.0 W is published for a Raspberry Pi 4)
    #[arg(long, value_name = "WATTS", default_value_t = 2.7)]
    idle_watts: f32,
    /// What it draws while the network runs (5.4 to 7.2 W is published for a Raspberry Pi 4)
    #[arg(long, value_name = "WATTS", default_value_t = 6.4)]
    active_watts: f32,
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

pub fn run(args: Args) -> Result<(), Failure> {
    check(&args)?;
    let plan = args.model.plan()?;
    let exits = plan.info().exits.clone();
    let calibrated = args.policy.points(&plan)?;
    let points = match (&calibrated, args.policy.policy(&plan)?) {
        (Some(calibrated), _) => calibrated.policies(),
        (None, Some(policy)) => vec![policy],
        (None, None) => ladder(&args.policy, &plan)?,
    };
    let source = source(&args)?;
    let frames = source.frames().map(|all| all.min(args.limit.unwrap_or(u64::MAX)));
    let seconds = stage_seconds(&plan)?;
    let power = PowerModel::from_latency(args.idle_watts, args.active_watts, &seconds).or_input()?;
    let period = args.fps.map_or(Duration::ZERO, |fps| Duration::from_secs_f64(1.0 / fps));
    let battery = battery(&args, frames, &power, &seconds, period);

    let stop = Arc::new(AtomicBool::new(false));
    let stopped = stop.clone();
    ctrlc::set_handler(move || {
        // A second Ctrl-C does not wait for the frame in hand.
        if stopped.swap(true, Ordering::Relaxed) {
            std::process::exit(130);
        }
    })?;

    let labels = plan.info().labels.clone();
    let governor = match calibrated {
        Some(Points { frontier, mixer: Some(mixer) }) => {
            Chooser::Budget { frontier: Box::new(frontier), mixer, begun: false }
        }
        _ => Chooser::Charge(SocSteps::even(points.len())),
    };
    let config = PipelineConfig { points, power, battery, period, compare_full: !args.no_compare };
    let mut view = View::new(&args, &exits, labels)?;
    view.header(&plan, &config, frames);
    let mut pipeline = Pipeline::new(source, governor, plan, config)?;
    if let Some(name) = &args.gauge {
        pipeline = pipeline.with_gauge(open_gauge(name).or_input()?, args.battery_mwh.is_some());
    }
    let mut summary = Summary::new(&exits);
    let mut ended = "end of frames";
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
        let Some(step) = step else {
            if pipeline.battery().is_empty() {
                ended = "battery empty";
            }
            break;
        };
        summary.add(&step);
        view.camera(None)?;
        view.frame(&step, frames)?;
        next += period;
        // Short naps keep Ctrl-C prompt at low frame rates.
        while !period.is_zero() && Instant::now() < next && !stop.load(Ordering::Relaxed) {
            std::thread::sleep((next - Instant::now()).min(Duration::from_millis(100)));
        }
    }
    service.stopping();
    view.summary(&summary, pipeline.battery().soc(), pipeline.dropped(), ended)
}

/// What the operating point follows.
enum Chooser {
    /// The state of charge.
    Charge(SocSteps),
    /// A mean cost per frame, as expected by calibration.
    Budget { frontier: Box<Frontier>, mixer: Mixer, begun: bool },
}

impl Governor for Chooser {
    fn choose(&mut self, input: &GovernorInput) -> Choice {
        match self {
            Chooser::Charge(steps) => steps.choose(input),
            Chooser::Budget { frontier, mixer, begun } => {
                let reason = if std::mem::replace(begun, true) { Reason::Budget } else { Reason::Start };
                Choice { point: mixer.next_point(frontier), period: None, reason }
            }
        }
    }
}

fn check(args: &Args) -> Result<(), Failure> {
    if let Some(fps) = args.fps.filter(|fps| !(*fps > 0.0 && fps.is_finite())) {
        return Err(anyhow::anyhow!("--fps {fps}: expected a number above 0")).or_input();
    }
    if let Some(mwh) = args.battery_mwh.filter(|mwh| !(*mwh > 0.0 && mwh.is_finite())) {
        return Err(anyhow::anyhow!("--battery-mwh {mwh}: expected a number above 0")).or_input();
    }
    if !(0.0..=1.0).contains(&args.soc) {
        return Err(anyhow::anyhow!("--soc {}: expected a number in [0, 1]", args.soc)).or_input();
    }
    Ok(())
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
        let request = CameraRequest { format: args.camera_format, size: args.camera_size, fps };
        return camera::open(name, request).or_input();
    }
    let path = args.frames.clone().unwrap_or_else(shipped::frames);
    camera::open(&path.to_string_lossy(), CameraRequest::default()).or_input()
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

fn battery(args: &Args, frames: Option<u64>, power: &PowerModel, seconds: &[f32], period: Duration) -> Battery {
    let frame_seconds = seconds.iter().sum::<f32>().max(period.as_secs_f32());
    let full = power.frame_joules(seconds.len()) + power.idle_watts() * frame_seconds;
    let fitting = frames.unwrap_or(1000) as f32 * BATTERY_SHARE * full / JOULES_PER_MWH;
    Battery::new(args.battery_mwh.unwrap_or(fitting)).charged_to(args.soc)
}

/// What the user sees of the run.
struct View {
    json: bool,
    live: bool,
    exits: Vec<String>,
    labels: Option<Vec<String>>,
    drawn: Instant,
    /// Whether the camera is away.
    lost: bool,
    out: std::io::Stdout,
    log: Option<JsonLines<RotatingFile>>,
}

impl View {
    fn new(args: &Args, exits: &[String], labels: Option<Vec<String>>) -> Result<Self, Failure> {
        let out = std::io::stdout();
        let live = !args.json && out.is_terminal();
        let log = match &args.log {
            Some(path) => Some(JsonLines::new(RotatingFile::open(path, LOG_BYTES, LOGS_KEPT).or_input()?)),
            None => None,
        };
        let (exits, drawn) = (exits.to_vec(), Instant::now());
        Ok(View { json: args.json, live, exits, labels, drawn, lost: false, out, log })
    }

    /// Appends to the log. A full or lost disk ends the log, not the loop.
    fn log(&mut self, record: &Record<'_>) {
        if let Some(log) = &mut self.log
            && let Err(error) = log.record(record)
        {
            eprintln!("no more is logged: {error}");
            self.log = None;
        }
    }

    fn name(&self, class: usize) -> String {
        self.labels.as_ref().and_then(|l| l.get(class)).map_or_else(|| format!("class {class}"), String::clone)
    }

    fn header(&self, plan: &Plan, config: &PipelineConfig, frames: Option<u64>) {
        if !self.json {
            let info = plan.info();
            let count = frames.map_or("unlimited".to_string(), |n| n.to_string());
            println!("model    {} ({} exits: {})", info.path.display(), self.exits.len(), self.exits.join(", "));
            println!("frames   {count}, {} operating points", config.points.len());
            let (mwh, soc) = (config.battery.capacity_mwh(), table::percent(f64::from(config.battery.soc())));
            println!("battery  {mwh:.2} mWh, {soc} charged; joules are modelled: watts x latency measured here");
        }
    }

    /// Tells when the camera is lost, at each failed attempt to reconnect, and when it is back.
    fn camera(&mut self, error: Option<&CameraError>) -> Result<(), Failure> {
        let connected = error.is_none();
        if connected && !self.lost {
            return Ok(());
        }
        self.lost = !connected;
        let message = error.map_or("the camera is back".to_string(), ToString::to_string);
        self.log(&Record::Camera { connected, message: &message });
        if self.json {
            writeln!(self.out, "{}", json!({"kind": "camera", "connected": connected, "message": message}))?;
        } else {
            eprintln!("{}{message}", if self.live { "\r\x1b[K" } else { "" });
        }
        Ok(())
    }

    fn frame(&mut self, step: &Step, frames: Option<u64>) -> Result<(), Failure> {
        let outcome = &step.outcome;
        let ms = 1e3 * outcome.latency().as_secs_f64();
        if self.log.is_some() {
            let (label, exit) = (self.name(outcome.class), self.exits[outcome.exit].clone());
            self.log(&Record::Frame(Classified {
                frame: step.sequence,
                class: outcome.class,
                label: &label,
                truth: step.truth,
                exit: &exit,
                confidence: outcome.confidence,
                latency_ms: ms,
                soc: step.soc,
                point: step.choice.point,
                joules: step.joules,
            }));
        }
        let exit = &self.exits[outcome.exit];
        if self.json {
            let object = json!({
                "kind": "frame", "frame": step.sequence, "class": outcome.class, "label": self.name(outcome.class),
                "truth": step.truth, "exit": exit, "confidence": outcome.confidence, "cut": outcome.cut,
                "latency_ms": ms, "age_ms": 1e3 * step.age.as_secs_f64(), "soc": step.soc, "point": step.choice.point, "reason": step.choice.reason,
                "joules": step.joules,
            });
            writeln!(self.out, "{object}")?;
        } else if self.live && (self.drawn.elapsed() > Duration::from_millis(50) || step.sequence == 0) {
            self.drawn = Instant::now();
            let mark = step.truth.map_or(' ', |truth| if truth == outcome.class { '+' } else { 'x' });
            let total = frames.map_or(String::new(), |n| format!("/{n}"));
            // Carriage return, line, erase what an earlier longer line left.
            write!(
                self.out,
                "\rframe {:>5}{total}  {mark} {:<12} exit {exit:<7} confidence {:.2}  {ms:6.2} ms  SoC {:>6}  point {}\x1b[K",
                step.sequence,
                self.name(outcome.class),
                outcome.confidence,
                table::percent(f64::from(step.soc)),
                step.choice.point,
            )?;
            self.out.flush()?;
        }
        Ok(())
    }

    fn summary(&mut self, summary: &Summary, soc: f32, dropped: u64, ended: &str) -> Result<(), Failure> {
        if self.live {
            write!(self.out, "\r\x1b[K")?;
        }
        if self.json {
            let object = summary_json(summary, soc, dropped, ended);
            writeln!(self.out, "{object}")?;
            return Ok(());
        }
        let (joules, full) = (summary.joules(), summary.joules_full());
        let ms = |value: Option<f64>| value.map_or("-".to_string(), |ms| format!("{ms:.2}"));
        let share = |value: Option<f64>| value.map_or("-".to_string(), table::percent);
        let mut rows: Vec<Vec<String>> = summary
            .exits()
            .into_iter()
            .map(|e| vec![e.exit, e.frames.to_string(), table::percent(e.share), ms(e.mean_ms), ms(e.p95_ms)])
            .collect();
        let frames = summary.frames().to_string();
        let (all, whole) = (summary.latency_ms(), summary.latency_full_ms());
        let row = |name: &str, times: Option<(f64, f64)>, accuracy: Option<f64>, joules: f64| {
            let (mean, p95) = (ms(times.map(|t| t.0)), ms(times.map(|t| t.1)));
            vec![name.to_string(), frames.clone(), share(accuracy), mean, p95, format!("{:.3}", joules)]
        };
        writeln!(
            self.out,
            "ended    {ended} at {} charge, {} switches of operating point",
            table::percent(soc.into()),
            summary.switches()
        )?;
        if dropped > 0 {
            writeln!(self.out, "dropped  {dropped} frames")?;
        }
        writeln!(
            self.out,
            "\n{}",
            table::render(&["exit", "frames", "share", "mean ms", "p95 ms"], &std::mem::take(&mut rows))
        )?;
        let rows = [
            row("this run", all, summary.accuracy(), joules),
            row("full network", whole, summary.accuracy_full(), full),
        ];
        write!(self.out, "{}", table::render(&["", "frames", "accuracy", "mean ms", "p95 ms", "joules"], &rows))?;
        if full > 0.0 {
            writeln!(
                self.out,
                "\nsaved {} of the joules that inference adds to idling",
                table::percent(1.0 - joules / full)
            )?;
        }
        Ok(())
    }
}

fn summary_json(summary: &Summary, soc: f32, dropped: u64, ended: &str) -> Value {
    let pair = |times: Option<(f64, f64)>| times.map(|(mean, p95)| json!({"mean": mean, "p95": p95}));
    let mut shares = Map::new();
    let mut latency = Map::new();
    for exit in summary.exits() {
        latency.insert(exit.exit.clone(), json!(pair(exit.mean_ms.zip(exit.p95_ms))));
        shares.insert(exit.exit, json!(exit.share));
    }
    latency.insert("all".into(), json!(pair(summary.latency_ms())));
    latency.insert("full".into(), json!(pair(summary.latency_full_ms())));
    json!({
        "kind": "summary", "frames": summary.frames(), "accuracy": summary.accuracy(),
        "accuracy_full": summary.accuracy_full(), "exit_share": shares, "latency_ms": latency,
        "joules": summary.joules(), "joules_full": summary.joules_full(), "switches": summary.switches(), "soc": soc,
        "dropped": dropped, "ended": ended,
    })
}
