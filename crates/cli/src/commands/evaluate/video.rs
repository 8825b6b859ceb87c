//! `evaluate` for a network of videos: single frames, whole clips, frame by frame, and frame by frame with early exits.

use std::borrow::Cow;
use std::io::Write as _;
use std::sync::Arc;

use dyn_perceiver::calibrate::video::ClipPoint;
use dyn_perceiver::exit::CostUnit;
use dyn_perceiver::plan::Plan;
use dyn_perceiver::policy_file;
use dyn_perceiver::video::OverTimeConfig;
use serde::Serialize;

use super::{Args, BUDGETS};
use crate::args::clips::{self, Running};
use crate::args::cost;
use crate::args::policy::for_plan;
use crate::commands::calibrate::video::{PointReport, point_report, points_table};
use crate::output::data_notes::{DataNotes, SkippedReport};
use crate::output::failure::{Failure, OrInput as _, wrong};
use crate::output::json;
use crate::output::out::Out;
use crate::output::table;

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Report<'a> {
    /// The policy; none where every frame runs to the last exit.
    policy: Option<Cow<'a, str>>,
    data: Cow<'a, str>,
    clips: usize,
    unit: &'a str,
    window: usize,
    repeats: u32,
    /// Share of the frames that are right alone, as the first of a video.
    accuracy_frame: f64,
    /// Share of the clips that are right by all frames together.
    accuracy_clip: f64,
    /// Frame by frame, each to the last exit.
    online: PointReport,
    /// Frame by frame under the policy.
    runs: Vec<PointReport>,
    skipped: Vec<SkippedReport<'a>>,
    warnings: &'a [String],
}

pub(super) fn run(args: &Args, plan: &Arc<Plan>) -> Result<(), Failure> {
    let loaded = args.policy.as_deref().map(policy_file::load).transpose().or_input()?;
    let calibrated = loaded.as_ref().or_else(|| plan.bundle().and_then(|bundle| bundle.policy.as_ref()));
    let frontier = calibrated.map(|calibrated| for_plan(calibrated, plan, args.policy())).transpose()?;
    let over_time = args.policy.as_deref().map(policy_file::load_over_time).transpose().or_input()?.flatten();
    let config = over_time.map_or_else(OverTimeConfig::default, |said| {
        OverTimeConfig::default().with_window(said.window as usize).with_repeats(said.repeats)
    });
    let chosen: Vec<usize> = match frontier {
        None if !args.budget.is_empty() => return wrong("--budget needs a policy: name one with --policy"),
        None => vec![],
        Some(frontier) if args.budget.is_empty() => {
            let last = frontier.points().len() - 1;
            let mut all: Vec<usize> = (0..BUDGETS).map(|i| last * i / (BUDGETS - 1)).collect();
            all.dedup();
            all
        }
        Some(frontier) => {
            let of = |text: &String| Ok(frontier.by_budget(cost::budget(text, frontier)?).unwrap_or(0));
            args.budget.iter().map(of).collect::<Result<_, Failure>>()?
        }
    };
    let listed = clips::open(&args.data, &args.load, plan)?;
    let mut notes = DataNotes::default();
    let running = Running { plan, strict: args.data.strict, jobs: None, quiet: args.json };
    let recorded = clips::record(running, &listed, &mut notes)?;
    if recorded.is_empty() {
        notes.tell();
        return wrong(format!("{}: no clip could be used", args.data.data.display()));
    }
    let full = clips::full(plan)?;
    let online = config.settings(plan.info(), full.policy()).or_input()?;
    let online = clips::judge(running, &listed, &mut DataNotes::default(), &online)?;
    let mut runs: Vec<ClipPoint> = vec![];
    for point in chosen.iter().filter_map(|&point| frontier?.points().get(point)) {
        let settings = config.settings(plan.info(), &point.policy).or_input()?;
        runs.push(clips::judge(running, &listed, &mut DataNotes::default(), &settings)?);
    }
    let exits = &plan.info().exits;
    let (alone, whole) = (clips::frame_accuracy(&recorded), clips::clip_accuracy(&recorded));
    let mut out = Out::stdout();
    if args.json {
        out.json(&Report {
            policy: frontier.map(|_| json::path(args.policy())),
            data: json::path(&args.data.data),
            clips: recorded.len(),
            unit: CostUnit::Macs.name(),
            window: config.window_for(plan.info()),
            repeats: config.repeats_for(plan.info()),
            accuracy_frame: alone,
            accuracy_clip: whole,
            online: point_report(exits, &online, recorded.len()),
            runs: runs.iter().map(|run| point_report(exits, run, recorded.len())).collect(),
            skipped: notes.skipped(),
            warnings: notes.warnings(),
        })?;
    } else {
        writeln!(
            out,
            "{} clips, window {}, {} equal answers\n",
            recorded.len(),
            config.window_for(plan.info()),
            config.repeats_for(plan.info())
        )?;
        writeln!(out, "single frames            {}", table::percent(alone))?;
        writeln!(out, "clips, all frames        {}", table::percent(whole))?;
        writeln!(out, "frame by frame, all exits computed; then under the policy\n")?;
        let all: Vec<ClipPoint> = std::iter::once(online).chain(runs).collect();
        write!(out, "{}", points_table(exits, &all, recorded.len()))?;
    }
    notes.tell();
    notes.end()
}
