//! `classify`: image files, one answer each.

use std::borrow::Cow;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Args as ClapArgs;
use dyn_perceiver::camera::{Frame, ImageLimits, decode_image};
use dyn_perceiver::dataset::ImageFolder;
use dyn_perceiver::exit::ExitPolicy;
use dyn_perceiver::model::ModelInfo;
use dyn_perceiver::runtime::{Outcome, StageLimits};
use dyn_perceiver::{Classifier, ClassifierBuilder};
use serde::Serialize;

use super::classify_clips::{self, Clips};
use crate::args::model::{ModelArgs, class_name};
use crate::args::number::time_with_unit;
use crate::args::policy::{Points, PolicyArgs, built_in_points};
use crate::args::threads::ThreadsArgs;
use crate::output::failure::{Failure, OrInput as _, wrong};
use crate::output::out::Out;
use crate::output::skipped::Skipped;
use crate::output::{json, table, text};

/// Classify image files
///
/// Without --policy, --exit and --thresholds every exit is left at a confidence of 0.9. A file that cannot be read is named
/// and skipped; the exit code is then 1. With a network of videos each folder is a clip: its frames by name, one answer. JSON:
/// see docs/json.md.
#[derive(ClapArgs)]
pub(crate) struct Args {
    /// Image files, or folders of them; - for one image on standard input
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<PathBuf>,
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten, next_help_heading = "Model")]
    threads: ThreadsArgs,
    #[command(flatten)]
    policy: PolicyArgs,
    /// Answer within this time, such as 20ms: no stage is started that might not be finished by then
    #[arg(long, value_name = "TIME", value_parser = time_with_unit, help_heading = "Exit policy")]
    deadline: Option<Duration>,
    /// Stop at the first file that cannot be read, in place of skipping it
    #[arg(long)]
    strict: bool,
    /// Print one JSON object per image
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Report<'a> {
    image: Cow<'a, str>,
    class: usize,
    label: Option<&'a str>,
    /// Probability that the class is right: as calibrated, or else the soft-max of the class.
    probability: f32,
    /// Whether `probability` is the calibrated one.
    calibrated: bool,
    confidence: f32,
    /// Soft-max of the class, which is no calibrated probability.
    softmax: f32,
    exit: &'a str,
    exited_early: bool,
    /// The former name of `exited_early`.
    cut: bool,
    latency_ms: f64,
    threads: usize,
    stages_ms: Vec<StageReport<'a>>,
}

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct StageReport<'a> {
    exit: &'a str,
    ms: f64,
}

pub(crate) fn run(args: Args) -> Result<(), Failure> {
    let plan = args.model.plan()?;
    // By a deadline, as far as time allows.
    let threshold = if args.deadline.is_some() { 1.0 } else { 0.9 };
    let mut points = match args.policy.points(&plan)? {
        // What "none of these" costs is known of its own policy.
        None if args.model.says_none() && args.policy.is_open() && args.deadline.is_none() => built_in_points(&plan)?,
        points => points,
    };
    let fixed: ExitPolicy = match args.policy.policy(&plan)? {
        Some(policy) => policy,
        None => args.policy.with_thresholds(&plan, &vec![threshold; plan.stages().len() - 1])?,
    };
    if plan.info().video.is_some() {
        if args.deadline.is_some() {
            return wrong("--deadline is for single images");
        }
        let policy = points.as_mut().map_or(&fixed, Points::next_policy);
        let (folders, file, strict, json) = (&args.images[..], args.policy.file(), args.strict, args.json);
        return classify_clips::run(&plan, &Clips { folders, policy, file, strict, json });
    }
    let info = plan.info().clone();
    let threads = args.threads.choose(&plan, None)?.threads;
    let mut classifier = ClassifierBuilder::from(plan).threads(threads).build()?;
    classifier.runtime().set_calibration(points.as_ref().and_then(|points| points.calibration.clone()));
    let mut out = Out::stdout();
    let images = images(&args.images)?;
    let mut skipped = Skipped::new("files", args.strict || images.len() == 1);
    for path in &images {
        let policy = points.as_mut().map_or(&fixed, Points::next_policy);
        match classify(path, &mut classifier, policy, args.deadline) {
            Ok(outcome) => print(&mut out, args.json, path, &info, (&outcome, threads.get()))?,
            Err(failure) => skipped.skip(failure)?,
        }
    }
    skipped.finish()
}

/// The files named, and those in the folders named.
pub(crate) fn images(named: &[PathBuf]) -> Result<Vec<PathBuf>, Failure> {
    let mut images = Vec::new();
    for path in named {
        if path.is_dir() {
            let folder = ImageFolder::read(path).or_input()?;
            if folder.images().is_empty() {
                return wrong(format!("{}: no image in this folder", path.display()));
            }
            images.extend(folder.images().iter().map(|image| image.path.clone()));
        } else if path.as_os_str() == "-" {
            images.push(PathBuf::from("/dev/stdin"));
        } else {
            images.push(path.clone());
        }
    }
    Ok(images)
}

fn classify(
    path: &Path,
    classifier: &mut Classifier,
    policy: &ExitPolicy,
    deadline: Option<Duration>,
) -> Result<Outcome, Failure> {
    let frame = decode_image(path, ImageLimits::default()).or_input()?;
    match deadline {
        None => Ok(classifier.classify_with(&frame, policy)?),
        Some(time) => within(classifier, &frame, policy, time),
    }
}

fn print(
    out: &mut Out,
    as_json: bool,
    path: &Path,
    info: &ModelInfo,
    (outcome, threads): (&Outcome, usize),
) -> Result<(), Failure> {
    let exit_name = |exit: usize| info.exits.get(exit).map_or("", String::as_str);
    let latency_ms = 1e3 * outcome.latency().as_secs_f64();
    let exit = exit_name(outcome.exit);
    if as_json {
        let stage = |stage: &dyn_perceiver::runtime::StageTime| (stage.exit, 1e3 * stage.time.as_secs_f64());
        let stages = outcome.stages.iter().map(stage);
        out.json(&Report {
            image: json::path(path),
            class: outcome.class,
            label: info.labels.as_ref().and_then(|labels| labels.get(outcome.class)).map(String::as_str),
            probability: outcome.probability.unwrap_or(outcome.softmax),
            calibrated: outcome.probability.is_some(),
            confidence: outcome.confidence,
            softmax: outcome.softmax,
            exit,
            exited_early: outcome.exited_early,
            cut: outcome.exited_early,
            latency_ms,
            threads,
            stages_ms: stages.map(|(exit, ms)| StageReport { exit: exit_name(exit), ms }).collect(),
        })?;
    } else {
        let class = class_name(info.labels.as_ref(), outcome.class);
        let (label, exit) = (text::name(&class), text::name(exit));
        let probability = table::percent(f64::from(outcome.probability.unwrap_or(outcome.softmax)));
        writeln!(out, "{}: {label} ({probability}) at exit {exit}, {latency_ms:.2} ms", text::shown(path))?;
    }
    Ok(())
}

/// Runs whose times tell how long a stage takes at most.
const TIMED_RUNS: usize = 40;

/// The best answer within `time`, which begins when the image is ready for the network.
fn within(classifier: &mut Classifier, frame: &Frame, policy: &ExitPolicy, time: Duration) -> Result<Outcome, Failure> {
    let input = classifier.tensor(frame)?.to_vec();
    let runtime = classifier.runtime();
    let limits = StageLimits::measure(runtime, policy, &input, TIMED_RUNS)?;
    if let Some(outcome) = runtime.run_until(&input, policy, &limits, Instant::now() + time)? {
        return Ok(outcome);
    }
    let first = (0..policy.rules().len()).find(|&exit| policy.evaluates(exit)).unwrap_or(0);
    let needed = 1e3 * limits.of(first).as_secs_f64();
    wrong(format!("no exit can be reached within {time:?}: the first one needs {needed:.3} ms"))
}
