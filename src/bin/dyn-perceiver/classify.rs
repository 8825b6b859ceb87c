use std::io::Write as _;
use std::path::PathBuf;

use clap::Args as ClapArgs;
use dyn_perceiver::camera::{FrameSource as _, ImageSource};
use dyn_perceiver::exit::ExitPolicy;
use dyn_perceiver::pipeline::{Classifier, PipelineError};
use serde_json::json;

use crate::failure::{Failure, OrInput as _};
use crate::shipped::{ModelArgs, PolicyArgs};
use crate::table;

/// Classify PNG or JPEG files
///
/// Without --exit and --thresholds every exit is left at 0.9. JSON keys, one object per image: image, class, label,
/// probability, confidence, exit, cut, latency_ms, stages_ms [{exit, ms}].
#[derive(ClapArgs)]
pub struct Args {
    /// Image files
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<PathBuf>,
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    policy: PolicyArgs,
    /// One JSON object per image on stdout
    #[arg(long)]
    json: bool,
}

pub fn run(args: Args) -> Result<(), Failure> {
    let plan = args.model.plan()?;
    let thresholds = vec![0.9; plan.stages().len() - 1];
    let policy: ExitPolicy = match args.policy.policy(&plan)? {
        Some(policy) => policy,
        None => args.policy.with_thresholds(&plan, &thresholds)?,
    };
    let info = plan.info().clone();
    let mut classifier = Classifier::new(plan)?;
    let mut out = std::io::stdout().lock();
    for path in &args.images {
        let frame = ImageSource::files([path.clone()]).next().or_input()?;
        let Some(frame) = frame else { continue };
        let outcome = classifier.classify(&frame, &policy);
        let outcome = match outcome {
            Err(error @ PipelineError::Camera(_)) => return Err(error).or_input(),
            other => other?,
        };
        let label = info.labels.as_ref().and_then(|labels| labels.get(outcome.class));
        let ms = 1e3 * outcome.latency().as_secs_f64();
        let exit = &info.exits[outcome.exit];
        if args.json {
            let stages: Vec<_> = outcome
                .stages
                .iter()
                .map(|stage| json!({"exit": info.exits[stage.exit], "ms": 1e3 * stage.time.as_secs_f64()}))
                .collect();
            let object = json!({
                "image": path, "class": outcome.class, "label": label, "probability": outcome.probability,
                "confidence": outcome.confidence, "exit": exit, "cut": outcome.cut, "latency_ms": ms, "stages_ms": stages,
            });
            writeln!(out, "{object}")?;
        } else {
            let name = label.map_or_else(|| format!("class {}", outcome.class), String::clone);
            let probability = table::percent(f64::from(outcome.probability));
            writeln!(out, "{}: {name} ({probability}) at exit {exit}, {ms:.2} ms", path.display())?;
        }
    }
    Ok(())
}
