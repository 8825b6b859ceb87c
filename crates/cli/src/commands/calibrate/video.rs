//! `calibrate` for a network of videos: thresholds, window and number of equal answers, from labelled clips.

use std::borrow::Cow;
use std::io::Write as _;
use std::sync::Arc;

use dyn_perceiver::calibrate::video::{Clip, ClipPoint, clip_frontier, frontier, policies};
use dyn_perceiver::collect;
use dyn_perceiver::exit::{CalibratedPolicy, CostUnit, ExitRule, Frontier, OperatingPoint};
use dyn_perceiver::plan::Plan;
use dyn_perceiver::policy_file::{self, OverTimePolicy};
use dyn_perceiver::video::OverTimeConfig;
use serde::Serialize;

use super::Args;
use crate::args::clips::{self, Running};
use crate::output::data_notes::{DataNotes, SkippedReport};
use crate::output::failure::{Failure, OrInput as _, wrong};
use crate::output::json::{self, Pairs};
use crate::output::out::Out;
use crate::output::{table, text};

/// Points of the frontier that are run again under their own policy.
const RUN: usize = 16;

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Report<'a> {
    policy: Cow<'a, str>,
    model: String,
    clips: usize,
    unit: &'a str,
    /// Frames over which logits are summed.
    window: usize,
    /// Equal answers in a row after which the answer changes.
    repeats: u32,
    /// Share of the frames that are right alone, as the first of a video.
    accuracy_frame: f64,
    /// Share of the clips that are right by all frames together.
    accuracy_clip: f64,
    points: Vec<PointReport>,
    skipped: Vec<SkippedReport<'a>>,
    warnings: &'a [String],
}

/// What a policy comes to when the clips are run under it.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct PointReport {
    accuracy: f64,
    /// Its standard error, by the number of clips.
    accuracy_error: f64,
    /// Mean of a frame.
    cost: f64,
    /// Mean number of frames until the right answer, of the clips that got it.
    delay_frames: Option<f64>,
    /// Share of the frames by the exit that they leave at.
    shares: Pairs<f64>,
    thresholds: Pairs<f32>,
}

/// Standard error of a share of so many clips.
fn error(share: f64, clips: usize) -> f64 {
    (share * (1.0 - share) / clips.max(1) as f64).max(0.0).sqrt()
}

pub(crate) fn point_report(exits: &[String], point: &ClipPoint, clips: usize) -> PointReport {
    let threshold = |(exit, rule): (&String, &ExitRule)| match rule {
        ExitRule::Leave(threshold) => Some((exit.clone(), *threshold)),
        ExitRule::Skip | ExitRule::Ask | ExitRule::Unless { .. } => None,
    };
    PointReport {
        accuracy: point.accuracy,
        accuracy_error: error(point.accuracy, clips),
        cost: point.cost,
        delay_frames: point.delay,
        shares: exits.iter().cloned().zip(point.shares.iter().copied()).collect(),
        thresholds: exits.iter().zip(point.settings.policy().rules()).filter_map(threshold).collect(),
    }
}

pub(super) fn run(args: &Args, plan: &Arc<Plan>) -> Result<(), Failure> {
    if args.cost != "macs" || args.max_loss.is_some() {
        return wrong("policies of networks of videos are calibrated in multiply-accumulates, without --max-loss");
    }
    let listed = clips::open(&args.data, &args.load, plan)?;
    let mut notes = DataNotes::default();
    let running = Running { plan, strict: args.data.strict, jobs: args.jobs, quiet: args.json };
    let recorded = clips::record(running, &listed, &mut notes)?;
    if recorded.is_empty() {
        notes.tell();
        return wrong(format!("{}: no clip could be used", args.data.data.display()));
    }
    let said: Vec<Clip> = recorded.iter().map(|recorded| recorded.clip.clone()).collect();
    let window = OverTimeConfig::default().window_for(plan.info());
    let tried = policies(plan.stages().len()).or_input()?;
    let found = clip_frontier(&said, window, &tried, |policy, exit| plan.macs(policy, exit) as f64)?;
    // What was found took states as fresh that early frames hold; the network says what it comes to.
    let step = found.len().div_ceil(RUN).max(1);
    let chosen = found.iter().rev().step_by(step);
    let mut ran = vec![];
    for point in chosen {
        ran.push(clips::judge(running, &listed, &mut DataNotes::default(), &point.settings)?);
    }
    let points = frontier(ran);
    let Some(settings) = points.first().map(|point| &point.settings) else {
        return wrong("no policy was found");
    };
    let over_time = OverTimePolicy::new(settings.window() as u32, settings.repeats());
    let calibrated = CalibratedPolicy::new(
        collect::digest(plan),
        plan.info().exits.iter().map(String::as_str),
        recorded.len() as u32,
        None,
        as_frontier(&points)?,
    )?;
    if args.output.extension().is_some_and(|extension| extension != "json") {
        return wrong(format!("{}: the policy of a network of videos is a JSON file", args.output.display()));
    }
    policy_file::save_video(&calibrated, over_time, &args.output)?;
    let exits = &plan.info().exits;
    let (alone, whole) = (clips::frame_accuracy(&recorded), clips::clip_accuracy(&recorded));
    let mut out = Out::stdout();
    if args.json {
        out.json(&Report {
            policy: json::path(&args.output),
            model: collect::digest(plan).to_string(),
            clips: recorded.len(),
            unit: CostUnit::Macs.name(),
            window: settings.window(),
            repeats: settings.repeats(),
            accuracy_frame: alone,
            accuracy_clip: whole,
            points: points.iter().map(|point| point_report(exits, point, recorded.len())).collect(),
            skipped: notes.skipped(),
            warnings: notes.warnings(),
        })?;
    } else {
        writeln!(out, "clips    {}", recorded.len())?;
        let (window, repeats) = (settings.window(), settings.repeats());
        let (file, count) = (text::shown(&args.output), points.len());
        writeln!(out, "policy   {file} ({count} points, window {window}, {repeats} equal answers)")?;
        let (alone, whole) = (table::percent(alone), table::percent(whole));
        writeln!(out, "accuracy {alone} of single frames, {whole} of clips by all frames together\n")?;
        write!(out, "{}", points_table(exits, &points, recorded.len()))?;
    }
    notes.tell();
    notes.end()
}

fn as_frontier(points: &[ClipPoint]) -> Result<Frontier, Failure> {
    let mut chosen: Vec<OperatingPoint> = vec![];
    for point in points {
        let shares: Vec<f32> = point.shares.iter().map(|&share| share as f32).collect();
        let (accuracy, cost) = (point.accuracy as f32, point.cost as f32);
        // What is no better in the file's numbers is no other point.
        if chosen.last().is_none_or(|last| last.cost < cost && last.accuracy < accuracy) {
            chosen.push(OperatingPoint::new(point.settings.policy().clone(), accuracy, cost, &shares)?);
        }
    }
    Ok(Frontier::new(CostUnit::Macs, &chosen)?)
}

pub(crate) fn points_table(exits: &[String], points: &[ClipPoint], clips: usize) -> String {
    let names: Vec<_> = exits.iter().map(|exit| text::name(exit)).collect();
    let mut header = vec!["cost of a frame", "accuracy", "s.e.", "frames to answer"];
    header.extend(names.iter().map(AsRef::as_ref));
    let row = |point: &ClipPoint| {
        let shares = [point.accuracy, error(point.accuracy, clips)].map(table::percent);
        let mut row: Vec<String> = std::iter::once(table::cost(point.cost, CostUnit::Macs)).chain(shares).collect();
        row.push(point.delay.map_or("-".to_owned(), |delay| format!("{delay:.1}")));
        row.extend(point.shares.iter().map(|share| table::percent(*share)));
        row
    };
    table::render(&header, &points.iter().map(row).collect::<Vec<_>>())
}
