//! What the user sees of the run: records for programs, a live line or decisions for people, and a summary for both.

use std::io::Write as _;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use dyn_perceiver::energy::{Choice, Reason};
#[cfg(feature = "live")]
use dyn_perceiver::pipeline::Pipeline;
use dyn_perceiver::pipeline::{HeldBy, Step, Summary};
use dyn_perceiver::plan::Plan;
use dyn_perceiver::sensors::Companion;

use crate::args::detection::frame_labels;
use crate::args::model::class_name;
use crate::events::Told;
#[cfg(feature = "live")]
use crate::live::Wish;
use crate::output::failure::{Failure, OrInput as _};
use crate::output::out::Out;
use crate::output::progress::is_dumb;
use crate::output::records::{self, EventRecord, ExpectedStep, LiveLine, Log, Record, WakeCounts};
use crate::output::{message, table, text, time};

use super::departures::Departure;
use super::source::Names;
use super::{detector, steps, summing, video};
#[cfg(feature = "live")]
use super::{mission::Chooser, show::Show};

/// Size at which a log is put aside.
const LOG_BYTES: u64 = 8 << 20;
/// Logs that are kept besides the present one.
const LOGS_KEPT: u32 = 3;

/// Where results go.
#[derive(Args)]
#[command(next_help_heading = "State and output")]
pub(super) struct OutputArgs {
    /// Append every record as a line of JSON to this file, too; at 8 MiB it is put aside, and three such are kept
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
    /// Print one JSON object per line
    #[arg(long)]
    json: bool,
}

/// What the user sees of the run.
pub(super) struct View {
    json: bool,
    live: Option<LiveLine>,
    exits: Vec<String>,
    /// How many of them are goals of boxes.
    goals: usize,
    labels: Option<Vec<String>>,
    /// Whether it is a network of videos.
    is_video: bool,
    names: Names,
    /// Frames of the run, if known.
    count: Option<u64>,
    /// Whether the camera is away.
    lost: bool,
    out: Out,
    log: Option<Log>,
    /// Whether the last record did not reach the log.
    log_failed: bool,
    /// The last decision that was told.
    told: Option<(usize, Reason)>,
    skipped: u64,
    threads: usize,
    /// Time from the start of the program to the first answer.
    first_answer: Option<Duration>,
    /// Who tells how often the board was woken.
    companion: Option<Companion>,
    /// Whoever looks on from elsewhere.
    #[cfg(feature = "live")]
    show: Option<Show>,
}

/// What is known before the first frame.
pub(super) struct Header<'a> {
    pub model: &'a str,
    pub points: usize,
    /// The battery, in words.
    pub battery: &'a str,
    /// Where joules come from, in words.
    pub joules: &'a str,
    /// What the battery's level steps through, where that is calibrated.
    pub steps: &'a [ExpectedStep],
    /// Threads that the network runs on.
    pub threads: NonZeroUsize,
}

impl View {
    pub(super) fn new(args: &OutputArgs, plan: &Plan, (names, count): (Names, Option<u64>)) -> Result<Self, Failure> {
        let out = Out::stdout();
        let live = (!args.json && out.is_terminal() && !is_dumb()).then(LiveLine::new);
        let log = args.log.as_ref().map(|path| Log::open(path, LOG_BYTES, LOGS_KEPT)).transpose().or_input()?;
        Ok(View {
            json: args.json,
            live,
            exits: plan.info().outcome_names(),
            goals: plan.goals().len(),
            labels: frame_labels(plan.info()),
            is_video: plan.info().video.is_some(),
            names,
            count,
            lost: false,
            out,
            log,
            log_failed: false,
            told: None,
            skipped: 0,
            threads: 1,
            first_answer: None,
            companion: None,
            #[cfg(feature = "live")]
            show: None,
        })
    }

    /// Shows all that follows to others, too.
    #[cfg(feature = "live")]
    pub(super) fn show_to(&mut self, show: Option<Show>) {
        self.show = show;
    }

    /// Whether somebody told the loop to pause.
    #[cfg(feature = "live")]
    pub(super) fn is_paused(&self) -> bool {
        self.show.as_ref().is_some_and(Show::is_paused)
    }

    /// What somebody wants done otherwise.
    #[cfg(feature = "live")]
    pub(super) fn take_wishes(&self) -> Vec<Wish> {
        self.show.as_ref().map(Show::take_wishes).unwrap_or_default()
    }

    /// Shows the numbers of the loop to others, where it is time.
    #[cfg(feature = "live")]
    pub(super) fn publish(&mut self, pipeline: &Pipeline<Chooser>, summary: &Summary) {
        if let Some(show) = &mut self.show {
            show.publish(pipeline, summary, self.skipped);
        }
    }

    /// Hands a record to the log, and to standard output if that is JSON.
    ///
    /// A full or lost disk ends neither log nor loop: it is told once, and the log goes on when there is room again.
    fn record(&mut self, record: &Record<'_>) -> Result<(), Failure> {
        if !self.json && self.log.is_none() {
            return Ok(());
        }
        let line = records::line(record)?;
        if let Some(log) = &mut self.log {
            match log.append(&line) {
                Ok(()) if std::mem::take(&mut self.log_failed) => self.note("the log goes on"),
                Ok(()) => {}
                Err(error) if !std::mem::replace(&mut self.log_failed, true) => {
                    self.note(&format!("not logged: {error}"));
                }
                Err(_) => {}
            }
        }
        if self.json {
            self.out.write_all(&line)?;
        }
        Ok(())
    }

    /// Tells the user something on stderr, not over the live line.
    pub(super) fn note(&mut self, message: &str) {
        if let Some(live) = &mut self.live {
            // A terminal that is gone shows the message no worse than the line.
            let _ = live.clear(&mut self.out);
        }
        message::note(message);
    }

    pub(super) fn header(&mut self, header: &Header<'_>) -> Result<(), Failure> {
        if !header.steps.is_empty() {
            self.record(&Record::Steps { steps: header.steps })?;
        }
        self.threads = header.threads.get();
        if !self.json {
            let count = self.count.map_or("unlimited".to_string(), |n| n.to_string());
            let exits = text::names(&self.exits);
            let what = if self.goals > 0 { "exits and levels" } else { "exits" };
            writeln!(self.out, "model    {} ({} {what}: {exits})", header.model, self.exits.len())?;
            writeln!(self.out, "frames   {count}, {} operating points", header.points)?;
            writeln!(self.out, "battery  {}", header.battery)?;
            writeln!(self.out, "joules   {}", header.joules)?;
            self.threads = header.threads.get();
            if !header.steps.is_empty() {
                write!(self.out, "\n{}\n", steps::render(header.steps))?;
            }
        }
        Ok(())
    }

    /// Tells when the camera is lost, at each failed attempt to reconnect, and when it is back.
    pub(super) fn camera(&mut self, error: Option<&str>) -> Result<(), Failure> {
        let connected = error.is_none();
        #[cfg(feature = "live")]
        if let Some(show) = &mut self.show {
            show.camera(error);
        }
        if connected && !self.lost {
            return Ok(());
        }
        self.lost = !connected;
        let message = error.unwrap_or("the camera is back");
        self.record(&Record::Camera { connected, message })?;
        if !self.json {
            self.note(message);
        }
        Ok(())
    }

    /// Tells that the gauge is not believed, and why, or that it is again.
    pub(super) fn gauge(&mut self, connected: bool, message: &str) -> Result<(), Failure> {
        #[cfg(feature = "live")]
        if let Some(show) = &mut self.show {
            show.gauge((!connected).then_some(message));
        }
        self.record(&Record::Gauge { connected, message })?;
        if !self.json {
            self.note(message);
        }
        Ok(())
    }

    /// Tells that the plan of a mission no longer holds, and why, or that it does again.
    pub(super) fn departure(&mut self, Departure { cause, holds, ratio, message }: &Departure) -> Result<(), Failure> {
        #[cfg(feature = "live")]
        if let Some(show) = &mut self.show {
            show.departure(*cause, (!holds).then_some(message));
        }
        self.record(&Record::Plan { cause: cause.name(), holds: *holds, ratio: *ratio, message })?;
        if !self.json {
            self.note(message);
        }
        Ok(())
    }

    /// Tells what happened in front of the camera.
    pub(super) fn event(&mut self, told: &Told, elapsed: Duration) -> Result<(), Failure> {
        let Told { event, lasted } = told;
        self.record(&Record::Event(EventRecord {
            id: event.id,
            event: event.event,
            class: event.class,
            label: &event.label,
            confidence: event.confidence,
            frame: event.frame,
            lasted_s: lasted.as_secs_f64(),
        }))?;
        if self.json {
            return Ok(());
        }
        if let Some(live) = &mut self.live {
            live.clear(&mut self.out)?;
        }
        let lasted = if lasted.is_zero() { String::new() } else { format!(" after {:.1} s", lasted.as_secs_f64()) };
        let (label, confidence) = (text::name(&event.label), event.confidence);
        writeln!(self.out, "{} {label} {}{lasted} (confidence {confidence:.2})", clock(elapsed), event.event)?;
        Ok(())
    }

    /// Tells that a frame was passed over.
    pub(super) fn skipped(&mut self, sequence: Option<u64>, message: &str) -> Result<(), Failure> {
        self.skipped += 1;
        let source = sequence.and_then(|sequence| self.names.of(sequence)).map(|name| name.into_owned().into());
        self.record(&Record::Skipped { source, message })?;
        if !self.json {
            self.note(&format!("skipped: {message}"));
        }
        Ok(())
    }

    /// Tells a decision and why it was taken. With --json that is part of every frame, on a terminal of the live line.
    pub(super) fn decision(
        &mut self,
        choice: &Choice,
        elapsed: Duration,
        soc: Option<f32>,
        budget: Option<f32>,
    ) -> Result<(), Failure> {
        let decision = (choice.point, choice.reason);
        if self.json || self.live.is_some() || choice.reason == Reason::Hold || self.told == Some(decision) {
            return Ok(());
        }
        self.told = Some(decision);
        let period = choice.period.map_or(String::new(), |period| format!(" every {} ms", period.as_millis()));
        let budget = budget.map(|joules| format!("{joules:.4} J a frame"));
        let facts: Vec<String> = soc.map(|soc| format!("SoC {}", percent(soc))).into_iter().chain(budget).collect();
        let facts = if facts.is_empty() { String::new() } else { format!(" ({})", facts.join(", ")) };
        writeln!(self.out, "{} point {}{period}: {}{facts}", clock(elapsed), choice.point, choice.reason,)?;
        Ok(())
    }

    /// Tells that the state was stored.
    pub(super) fn stored(&mut self, periods: u64) -> Result<(), Failure> {
        self.record(&Record::State { periods })
    }

    pub(super) fn frame(&mut self, step: &Step) -> Result<(), Failure> {
        self.first_answer.get_or_insert_with(time::since_start);
        #[cfg(feature = "live")]
        if let Some(show) = &mut self.show {
            show.frame(step);
        }
        let outcome = &step.outcome;
        let latency_ms = 1e3 * outcome.latency().as_secs_f64();
        let label = class_name(self.labels.as_ref(), outcome.class);
        let exit = self.exits.get(outcome.exit).cloned().unwrap_or_default();
        if self.json || self.log.is_some() {
            let source = self.names.of(step.sequence).map(|name| name.into_owned().into());
            self.record(&Record::Frame(records::Frame {
                frame: step.sequence,
                source,
                class: outcome.class,
                label: label.as_str().into(),
                truth: step.truth,
                exit: &exit,
                confidence: outcome.confidence,
                probability: outcome.probability,
                reused: step.reused(),
                gate: step.held_by.map(gate_name),
                exited_early: outcome.exited_early,
                cut: outcome.exited_early,
                latency_ms,
                age_ms: 1e3 * step.age.as_secs_f64(),
                soc: step.soc,
                point: step.choice.point,
                reason: step.choice.reason,
                period_ms: step.choice.period.map(|period| period.as_millis() as u64),
                macs: step.macs,
                joules: step.joules,
                detection: step.found.as_ref().map(|found| detector::record(found, &self.exits, self.goals)),
                video: step.video.as_ref().map(|answer| video::record(answer, self.labels.as_ref())),
            }))?;
        }
        if let Some(live) = self.live.as_mut().filter(|live| live.is_due()) {
            let mark = step.truth.map_or(' ', |truth| if truth == outcome.class { '+' } else { 'x' });
            let total = self.count.map_or(String::new(), |n| format!("/{n}"));
            let soc = step.soc.map_or(String::new(), |soc| format!("  SoC {:>6}", percent(soc)));
            let label = step.found.as_ref().map_or(label, |found| format!("{} boxes", found.boxes.len()));
            let right = outcome.probability.map_or(String::new(), |right| format!(", right {}", percent(right)));
            let line = format!(
                "frame {:>5}{total}  {mark} {:<12} exit {:<7} confidence {:.2}{right}  {latency_ms:6.2} ms{soc}  point {} ({})",
                step.sequence,
                text::name(&label),
                text::name(&exit),
                outcome.confidence,
                step.choice.point,
                step.choice.reason,
            );
            live.draw(&mut self.out, &line, records::columns())?;
        }
        Ok(())
    }

    /// Tells at the end how often the board was woken, where this companion knows.
    pub(super) fn wakes_of(&mut self, companion: Option<Companion>) {
        self.companion = companion;
    }

    /// Tells what the run came to.
    pub(super) fn summary(
        &mut self,
        summary: &Summary,
        soc: Option<f32>,
        (dropped, damaged): (u64, u64),
        ended: &str,
    ) -> Result<(), Failure> {
        if let Some(live) = &mut self.live {
            live.clear(&mut self.out)?;
        }
        let counts = (dropped, damaged, self.skipped);
        let mut told = summing::record(summary, (soc, self.threads), counts, ended);
        told.first_answer_ms = self.first_answer.map(|time| 1e3 * time.as_secs_f64());
        if self.goals > 0 {
            (told.gated, told.boxes) = (Some(summary.gated()), Some(summary.boxes()));
        }
        if self.is_video {
            (told.changes, told.resets) = (Some(summary.changes()), Some(summary.resets()));
        }
        let wakes = self.companion.as_mut().and_then(|companion| companion.newest().ok()?.wakes).map(WakeCounts::from);
        told.wakes = wakes;
        self.record(&Record::Summary(told))?;
        if self.json {
            return Ok(());
        }
        let charge = soc.map_or(String::new(), |soc| format!(" at {} charge", percent(soc)));
        let switches = summary.switches();
        writeln!(self.out, "ended    {ended}{charge}, {switches} switches of operating point")?;
        let reused = summary.reused();
        if reused > 0 {
            let share = table::percent(reused as f64 / summary.frames().max(1) as f64);
            let at_exit = match summary.reused_by_code() {
                0 => String::new(),
                count => format!(", {count} of them not beyond the first exit"),
            };
            writeln!(self.out, "reused   {reused} frames ({share}) did not go through the network{at_exit}")?;
        }
        if self.goals > 0 {
            let (gated, boxes) = (summary.gated(), summary.boxes());
            writeln!(self.out, "found    {boxes} boxes; {gated} frames ended where nothing is there")?;
        }
        if self.is_video {
            let (changes, resets) = (summary.changes(), summary.resets());
            writeln!(self.out, "answers  {changes} changes; {resets} times what came before was forgotten")?;
        }
        if let Some(wakes) = &wakes {
            writeln!(self.out, "{}", summing::wakes(wakes))?;
        }
        for (what, count) in [("dropped", dropped), ("damaged", damaged), ("skipped", self.skipped)] {
            if count > 0 {
                writeln!(self.out, "{what}  {count} frames")?;
            }
        }
        write!(self.out, "\n{}", summing::tables(summary))?;
        Ok(())
    }
}

/// What records call a gate.
fn gate_name(held_by: HeldBy) -> &'static str {
    match held_by {
        HeldBy::Frame => "frame",
        // The library may learn of more of them.
        _ => "code",
    }
}

/// Hours, minutes and seconds.
fn clock(elapsed: Duration) -> String {
    let seconds = elapsed.as_secs();
    format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

fn percent(share: f32) -> String {
    table::percent(share.into())
}
