//! `classify` with a network of videos: folders of frames, one answer each.

use std::borrow::Cow;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use dyn_perceiver::calibrate::video::ClipWatch;
use dyn_perceiver::camera::{ImageLimits, decode_image};
use dyn_perceiver::exit::ExitPolicy;
use dyn_perceiver::plan::Plan;
use dyn_perceiver::policy_file;
use dyn_perceiver::video::{OverTimeConfig, VideoClassifier};
use serde::Serialize;

use crate::args::clips;
use crate::args::model::class_name;
use crate::output::failure::{Failure, OrInput as _, wrong};
use crate::output::json::{self, Pairs};
use crate::output::out::Out;
use crate::output::skipped::Skipped;
use crate::output::{table, text};

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Report<'a> {
    clip: Cow<'a, str>,
    /// The answer at the end; none where none was given.
    class: Option<usize>,
    label: Option<String>,
    frames: usize,
    /// Frames until this answer came to stay.
    delay_frames: Option<usize>,
    /// Share of the frames by the exit that they left at.
    shares: Pairs<f64>,
    /// Multiply-accumulates of a frame, on average.
    macs_mean: f64,
    latency_ms: f64,
}

/// What is run, and how it is told.
pub(super) struct Clips<'a> {
    pub folders: &'a [PathBuf],
    pub policy: &'a ExitPolicy,
    /// The file that the policy is from, if it is from one.
    pub file: Option<&'a Path>,
    pub strict: bool,
    pub json: bool,
}

pub(super) fn run(plan: &Arc<Plan>, args: &Clips<'_>) -> Result<(), Failure> {
    if let Some(path) = args.folders.iter().find(|path| !path.is_dir()) {
        return wrong(format!("{}: a network of videos takes folders of frames", path.display()));
    }
    let mut config = OverTimeConfig::default();
    if let Some(said) = args.file.map(policy_file::load_over_time).transpose().or_input()?.flatten() {
        config = config.with_window(said.window as usize).with_repeats(said.repeats);
    }
    let settings = config.settings(plan.info(), args.policy).or_input()?;
    let mut video = VideoClassifier::new(plan.clone(), settings)?;
    let mut out = Out::stdout();
    let mut skipped = Skipped::new("clips", args.strict || args.folders.len() == 1);
    for folder in args.folders {
        match classify(folder, plan, &mut video, args.policy) {
            Ok(report) if args.json => out.json(&report)?,
            Ok(report) => {
                let label = report.label.as_deref().map_or("no answer".into(), text::name);
                let (frames, cost) = (report.frames, table::count(report.macs_mean.round() as u64));
                let after = report.delay_frames.map_or(String::new(), |delay| format!(" after {delay}"));
                writeln!(out, "{}: {label}{after} of {frames} frames, {cost}MAC each", text::shown(folder))?;
            }
            Err(failure) => skipped.skip(failure)?,
        }
    }
    skipped.finish()
}

fn classify<'a>(
    folder: &'a Path,
    plan: &Plan,
    video: &mut VideoClassifier,
    policy: &ExitPolicy,
) -> Result<Report<'a>, Failure> {
    video.reset();
    let info = plan.info();
    let (mut watch, mut left) = (ClipWatch::default(), vec![0usize; info.exits.len()]);
    let (mut macs, mut seconds, mut frames) = (0, 0.0, 0);
    for path in clips::frames(folder)? {
        let frame = decode_image(&path, ImageLimits::default()).or_input()?;
        let (outcome, answer) = video.classify(&frame)?;
        watch.add(answer.class, Some(outcome.exit));
        left[outcome.exit] += 1;
        macs += plan.macs(policy, outcome.exit);
        seconds += outcome.latency().as_secs_f64();
        frames += 1;
    }
    let outcome = watch.finish();
    let share = |(exit, &left): (&String, &usize)| (exit.clone(), left as f64 / frames.max(1) as f64);
    Ok(Report {
        clip: json::path(folder),
        class: outcome.answer,
        label: outcome.answer.map(|class| class_name(info.labels.as_ref(), class)),
        frames,
        delay_frames: outcome.delay,
        shares: info.exits.iter().zip(&left).map(share).collect(),
        macs_mean: macs as f64 / frames.max(1) as f64,
        latency_ms: 1e3 * seconds,
    })
}
