use std::io::Write as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args as ClapArgs;
use dyn_perceiver::camera::{Frame, FrameSource as _, ImageSource};
use dyn_perceiver::exit::ExitPolicy;
use dyn_perceiver::runtime::{Outcome, StageLimits};
use dyn_perceiver::{Classifier, Error};
use serde_json::json;

use crate::args::policy::{ModelArgs, Points, PolicyArgs};
use crate::output::failure::{Failure, OrInput as _};
use crate::output::table;

/// Classify PNG or JPEG files
///
/// Without --policy, --exit and --thresholds every exit is left at 0.9. JSON keys, one object per image: image, class, label,
/// probability, confidence, exit, cut, latency_ms, stages_ms [{exit, ms}].
#[derive(ClapArgs)]
pub(crate) struct Args {
    /// Image files
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<PathBuf>,
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    policy: PolicyArgs,
    /// Answer within this time, such as 20ms: no stage is started that might not be finished by then
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    deadline: Option<Duration>,
    /// One JSON object per image on stdout
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: Args) -> Result<(), Failure> {
    let plan = args.model.plan()?;
    // By a deadline, as far as time allows.
    let threshold = if args.deadline.is_some() { 1.0 } else { 0.9 };
    let mut points = args.policy.points(&plan)?;
    let fixed: ExitPolicy = match args.policy.policy(&plan)? {
        Some(policy) => policy,
        None => args.policy.with_thresholds(&plan, &vec![threshold; plan.stages().len() - 1])?,
    };
    let info = plan.info().clone();
    let mut classifier = Classifier::new(plan)?;
    let mut out = std::io::stdout().lock();
    for path in &args.images {
        let frame = ImageSource::files([path.clone()]).next().or_input()?;
        let Some(frame) = frame else { continue };
        let policy = points.as_mut().map_or(&fixed, Points::next_policy);
        let outcome = match args.deadline {
            None => classifier.classify_with(&frame, policy),
            Some(time) => within(&mut classifier, &frame, policy, time)?,
        };
        let outcome = match outcome {
            Err(error @ Error::Preprocess(_)) => return Err(error).or_input(),
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
                "confidence": outcome.confidence, "exit": exit, "cut": outcome.exited_early, "latency_ms": ms, "stages_ms": stages,
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

/// Runs whose times tell how long a stage takes at most.
const TIMED_RUNS: usize = 40;

/// The best answer within `time`, which begins when the image is ready for the network.
fn within(
    classifier: &mut Classifier,
    frame: &Frame,
    policy: &ExitPolicy,
    time: Duration,
) -> Result<Result<Outcome, Error>, Failure> {
    let input = match classifier.tensor(frame) {
        Ok(input) => input.to_vec(),
        Err(error) => return Ok(Err(error)),
    };
    let runtime = classifier.runtime();
    let limits = StageLimits::measure(runtime, policy, &input, TIMED_RUNS)?;
    let outcome = runtime.run_until(&input, policy, &limits, Instant::now() + time)?;
    let first = (0..policy.rules().len()).find(|&exit| policy.evaluates(exit)).unwrap_or(0);
    let too_short = || {
        let needed = 1e3 * limits.of(first).as_secs_f64();
        anyhow::anyhow!("no exit can be reached within {time:?}: the first one needs {needed:.3} ms")
    };
    Ok(Ok(outcome.ok_or_else(too_short).or_input()?))
}

fn parse_time(text: &str) -> Result<Duration, String> {
    let units = [("ms", 1e-3), ("us", 1e-6), ("s", 1.0)];
    let parts = units.into_iter().find_map(|(unit, factor)| Some((text.strip_suffix(unit)?, factor)));
    let seconds = parts.and_then(|(number, factor)| Some(number.trim().parse::<f64>().ok()? * factor));
    seconds
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .filter(|time| !time.is_zero())
        .ok_or_else(|| "expected a time such as 20ms".to_string())
}
