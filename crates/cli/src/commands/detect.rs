//! `detect`: image files, the boxes of what is in them.

use std::borrow::Cow;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use clap::Args as ClapArgs;
use dyn_perceiver::camera::{Frame, ImageLimits, decode_image};
use dyn_perceiver::detector::{Detection, Detections, Detector, DetectorSettings};
use dyn_perceiver::exit::ExitPolicy;
use dyn_perceiver::model::ModelInfo;
use dyn_perceiver::plan::Plan;
use serde::Serialize;

use super::classify::images;
use crate::args::detection::{goals_to, shown_score};
use crate::args::model::ModelArgs;
use crate::args::policy::{Points, PolicyArgs};
use crate::args::share::Share;
use crate::output::failure::{Failure, OrInput as _, wrong};
use crate::output::out::Out;
use crate::output::skipped::Skipped;
use crate::output::{draw, json, table, text};

/// Find objects in image files
///
/// The model has to be a detector, see docs/detection.md. Every frame is fitted whole into its input, and boxes are in pixels of
/// the file. A file that cannot be read is named and skipped; the exit code is then 1. JSON: see docs/json.md.
#[derive(ClapArgs)]
pub(crate) struct Args {
    /// Image files, or folders of them; - for one image on standard input
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<PathBuf>,
    #[command(flatten)]
    model: ModelArgs,
    /// Use this policy file, which `calibrate` wrote [default: the bundle's]
    #[arg(long, value_name = "FILE", conflicts_with_all = ["gate", "level"])]
    policy: Option<PathBuf>,
    /// Meet this mean cost per image with the policy, in MACs such as 3.5M [default: the policy's most accurate point]
    #[arg(long, value_name = "COST", conflicts_with_all = ["gate", "level"])]
    budget: Option<String>,
    /// Ask the exits first: one that says nothing is there with this confidence ends the frame
    #[arg(long, value_name = "SHARE")]
    gate: Option<Share>,
    /// Compute boxes from coarse levels to this one, for instance P5, and no finer ones [default: all]
    #[arg(long, value_name = "LEVEL")]
    level: Option<String>,
    /// Count boxes with a score above this [default: 25 %, or the model's if that is higher]
    #[arg(long, value_name = "SHARE")]
    score: Option<Share>,
    /// Draw the boxes of the one image into this PNG file
    #[arg(long, value_name = "FILE")]
    draw: Option<PathBuf>,
    /// Stop at the first file that cannot be read, in place of skipping it
    #[arg(long)]
    strict: bool,
    /// Print one JSON object per image
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Report<'a> {
    image: Cow<'a, str>,
    boxes: Vec<BoxReport<'a>>,
    /// The exit that said that nothing is there.
    gate: Option<&'a str>,
    exits: Vec<ExitReport<'a>>,
    /// The finest level computed.
    level: Option<&'a str>,
    macs: u64,
    latency_ms: f64,
}

#[derive(Serialize)]
struct BoxReport<'a> {
    class: usize,
    label: &'a str,
    score: f32,
    /// Left, top, right, bottom, in pixels.
    r#box: [f32; 4],
    level: &'a str,
}

#[derive(Serialize)]
struct ExitReport<'a> {
    exit: &'a str,
    class: usize,
    confidence: f32,
}

pub(crate) fn run(args: Args) -> Result<(), Failure> {
    let plan = args.model.plan()?;
    if plan.info().boxes.is_none() {
        return wrong(format!("{}: the model is no detector", plan.info().path.display()));
    }
    let mut settings = DetectorSettings::default();
    if let Some(share) = args.gate {
        settings = settings.with_gate(share.get());
    }
    if let Some(score) = shown_score(args.score, plan.info()) {
        settings = settings.with_score(score);
    }
    if let Some(level) = &args.level {
        settings = settings.with_goals(goals_to(&plan, level)?);
    }
    if settings.gate.is_some() && plan.info().presence.is_none() {
        return wrong("--gate needs a model that says which exits tell an empty image: dyn_perceiver.presence");
    }
    let chosen = PolicyArgs::of_file(args.policy.clone(), args.budget.clone()).points(&plan)?;
    let mut points = chosen.filter(|_| settings.gate.is_none() && settings.goals.is_none());
    let mut detector = Detector::new(plan.clone(), settings)?;
    let images = images(&args.images)?;
    if args.draw.is_some() && images.len() != 1 {
        return wrong(format!("--draw takes one image, got {}", images.len()));
    }
    let mut out = Out::stdout();
    let mut skipped = Skipped::new("files", args.strict || images.len() == 1);
    for path in &images {
        match detect(path, &mut detector, points.as_mut().map(Points::next_policy)) {
            Ok((frame, found)) => {
                if let Some(mixer) = points.as_mut().and_then(|points| points.mixer.as_mut()) {
                    mixer.spent(found.macs(&plan) as f32);
                }
                print(&mut out, args.json, path, &plan, &found)?;
                if let Some(file) = &args.draw {
                    draw::boxes(&frame, &found.boxes, file)?;
                }
            }
            Err(failure) => skipped.skip(failure)?,
        }
    }
    skipped.finish()
}

fn detect(path: &Path, detector: &mut Detector, policy: Option<&ExitPolicy>) -> Result<(Frame, Detections), Failure> {
    let frame = decode_image(path, ImageLimits::default()).or_input()?;
    let found = match policy {
        Some(policy) => detector.detect_with(&frame, policy)?,
        None => detector.detect(&frame)?,
    };
    Ok((frame, found))
}

fn level_name(info: &ModelInfo, level: usize) -> &str {
    info.boxes.as_ref().and_then(|boxes| boxes.levels.get(level)).map_or("", |level| level.name.as_str())
}

fn print<'a>(out: &mut Out, as_json: bool, path: &Path, plan: &'a Plan, found: &'a Detections) -> Result<(), Failure> {
    let info = plan.info();
    let exit_name = |exit: usize| info.exits.get(exit).map_or("", String::as_str);
    let latency_ms = 1e3 * found.latency.as_secs_f64();
    let level = found.goals.checked_sub(1).and_then(|goal| plan.goals().get(goal)).map(|goal| goal.name.as_str());
    if as_json {
        let of_box = |found: &'a Detection| BoxReport {
            class: found.class,
            label: &found.label,
            score: found.score,
            r#box: found.area.corners(),
            level: level_name(info, found.level),
        };
        let boxes = found.boxes.iter().map(of_box).collect();
        let exits = found.exits.iter();
        let evaluated = dyn_perceiver::runtime::ExitSet::of(found.exits.iter().map(|exit| exit.0));
        out.json(&Report {
            image: json::path(path),
            boxes,
            gate: found.gated_at.map(exit_name),
            exits: exits
                .map(|&(exit, class, confidence)| ExitReport { exit: exit_name(exit), class, confidence })
                .collect(),
            level,
            macs: plan.macs_with_boxes(evaluated, found.goals),
            latency_ms,
        })?;
        return Ok(());
    }
    let how = match (found.gated_at, level) {
        (Some(exit), _) => format!("nothing at exit {}", text::name(exit_name(exit))),
        (None, Some(level)) => format!("{} boxes to level {}", found.boxes.len(), text::name(level)),
        (None, None) => "no level computed".to_owned(),
    };
    writeln!(out, "{}: {how}, {latency_ms:.2} ms", text::shown(path))?;
    for found in &found.boxes {
        let [x1, y1, x2, y2] = found.area.corners().map(f32::round);
        let score = table::percent(f64::from(found.score));
        writeln!(out, "  {} ({score}) at {x1},{y1} to {x2},{y2}", text::name(&found.label))?;
    }
    Ok(())
}
