//! What the user sees of the run.

use std::io::{IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

use crate::output::sink::{Classified, JsonLines, Record, RotatingFile, Sink as _};
use dyn_perceiver::camera::CameraError;
use dyn_perceiver::energy::{Choice, Reason};
use dyn_perceiver::pipeline::{PipelineConfig, Step, Summary};
use dyn_perceiver::plan::Plan;
use serde_json::{Map, Value, json};

use super::Args;
use crate::output::failure::{Failure, OrInput as _};
use crate::output::table;

/// Size at which a log is put aside.
const LOG_BYTES: u64 = 8 << 20;
/// Logs that are kept besides the present one.
const LOGS_KEPT: u32 = 3;

/// What the user sees of the run.
pub(super) struct View {
    json: bool,
    live: bool,
    exits: Vec<String>,
    labels: Option<Vec<String>>,
    drawn: Instant,
    /// Whether the camera is away.
    lost: bool,
    out: std::io::Stdout,
    log: Option<JsonLines<RotatingFile>>,
    /// The last decision that was told.
    told: Option<(usize, Reason)>,
}

impl View {
    pub(super) fn new(args: &Args, exits: &[String], labels: Option<Vec<String>>) -> Result<Self, Failure> {
        let out = std::io::stdout();
        let live = !args.json && out.is_terminal();
        let log = match &args.log {
            Some(path) => Some(JsonLines::new(RotatingFile::open(path, LOG_BYTES, LOGS_KEPT).or_input()?)),
            None => None,
        };
        let (exits, drawn) = (exits.to_vec(), Instant::now());
        Ok(View { json: args.json, live, exits, labels, drawn, lost: false, out, log, told: None })
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

    pub(super) fn header(&self, plan: &Plan, config: &PipelineConfig, frames: Option<u64>, joules: &str) {
        if !self.json {
            let info = plan.info();
            let count = frames.map_or("unlimited".to_string(), |n| n.to_string());
            println!("model    {} ({} exits: {})", info.path.display(), self.exits.len(), self.exits.join(", "));
            println!("frames   {count}, {} operating points", config.points.len());
            let (mwh, soc) = (config.battery.capacity_mwh(), table::percent(f64::from(config.battery.soc())));
            println!("battery  {mwh:.2} mWh, {soc} charged");
            println!("joules   {joules}");
        }
    }

    /// Tells when the camera is lost, at each failed attempt to reconnect, and when it is back.
    pub(super) fn camera(&mut self, error: Option<&CameraError>) -> Result<(), Failure> {
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

    /// Tells a decision and why it was taken. With --json that is part of every frame, on a terminal of the live line.
    pub(super) fn decision(
        &mut self,
        choice: &Choice,
        elapsed: Duration,
        soc: f32,
        budget: Option<f32>,
    ) -> Result<(), Failure> {
        let decision = (choice.point, choice.reason);
        if self.json || self.live || choice.reason == Reason::Hold || self.told == Some(decision) {
            return Ok(());
        }
        self.told = Some(decision);
        let seconds = elapsed.as_secs();
        let period = choice.period.map_or(String::new(), |period| format!(" every {} ms", period.as_millis()));
        let budget = budget.map_or(String::new(), |joules| format!(", {joules:.4} J a frame"));
        writeln!(
            self.out,
            "{:02}:{:02}:{:02} point {}{period}: {} (SoC {}{budget})",
            seconds / 3600,
            seconds / 60 % 60,
            seconds % 60,
            choice.point,
            choice.reason,
            table::percent(f64::from(soc)),
        )?;
        Ok(())
    }

    /// Tells that the state was stored.
    pub(super) fn stored(&mut self, periods: u64) -> Result<(), Failure> {
        if self.json {
            writeln!(self.out, "{}", json!({"kind": "state", "periods": periods}))?;
        }
        Ok(())
    }

    pub(super) fn frame(&mut self, step: &Step, frames: Option<u64>) -> Result<(), Failure> {
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
                "truth": step.truth, "exit": exit, "confidence": outcome.confidence, "cut": outcome.exited_early,
                "latency_ms": ms, "age_ms": 1e3 * step.age.as_secs_f64(),
                "soc": step.soc, "point": step.choice.point, "reason": step.choice.reason,
                "period_ms": step.choice.period.map(|period| period.as_millis() as u64), "joules": step.joules,
            });
            writeln!(self.out, "{object}")?;
        } else if self.live && (self.drawn.elapsed() > Duration::from_millis(50) || step.sequence == 0) {
            self.drawn = Instant::now();
            let mark = step.truth.map_or(' ', |truth| if truth == outcome.class { '+' } else { 'x' });
            let total = frames.map_or(String::new(), |n| format!("/{n}"));
            // Carriage return, line, erase what an earlier longer line left.
            write!(
                self.out,
                "\rframe {:>5}{total}  {mark} {:<12} exit {exit:<7} confidence {:.2}  {ms:6.2} ms  SoC {:>6}  point {} ({})\x1b[K",
                step.sequence,
                self.name(outcome.class),
                outcome.confidence,
                table::percent(f64::from(step.soc)),
                step.choice.point,
                step.choice.reason,
            )?;
            self.out.flush()?;
        }
        Ok(())
    }

    pub(super) fn summary(&mut self, summary: &Summary, soc: f32, dropped: u64, ended: &str) -> Result<(), Failure> {
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
