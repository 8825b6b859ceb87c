//! `train`: from a folder of images to a calibrated bundle, by the training package in Python.

mod python;

use std::borrow::Cow;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, anyhow};
use clap::Args as ClapArgs;
use dyn_perceiver::bundle::{self, Target};
use dyn_perceiver::calibrate::evaluate::{PolicySummary, replay};
use dyn_perceiver::calibrate::learn::Estimate;
use dyn_perceiver::calibrate::records::Records;
use dyn_perceiver::calibrate::solver::{self, SolveOptions};
use dyn_perceiver::camera::{Frame, FrameSource as _, ImageSource};
use dyn_perceiver::exit::CalibratedPolicy;
use dyn_perceiver::model::Model;
use dyn_perceiver::plan::Plan;
use dyn_perceiver::{Classifier, collect};
use dyn_perceiver_models::{Checkpoint, Config, Metadata, Network, Weights as _};
use serde::{Deserialize, Serialize};

use crate::output::failure::{Failure, OrInput as _, wrong};
use crate::output::out::Out;
use crate::output::{json, message, progress, table, text};

/// With what confidence intervals of accuracy are given.
const CONFIDENCE: f64 = 0.95;
/// Accuracy that the adaptive point may lose on the images it is chosen by.
const LOSS: f32 = 0.005;

/// Train a Dyn-Perceiver on a folder of images, and make it a bundle
///
/// Makes a Python environment with PyTorch once, trains from EfficientNet-Lite0's ImageNet weights or others, calibrates the
/// exits on the validation images, measures on the test images, and writes a bundle. A run that was stopped goes on where it
/// was. Each step is also there by itself, see docs/train.md. JSON: see docs/json.md.
#[derive(ClapArgs)]
pub(crate) struct Args {
    /// Images: a folder per class, or folders train, val and test that have them
    data: PathBuf,
    /// Write the bundle to this file
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Train this network of the family
    #[arg(long, value_name = "NAME", default_value = "efficientnet_lite0_perceiver_t64")]
    arch: String,
    /// Begin with the weights of this file, .pth, .safetensors or .onnx [default: ImageNet's for EfficientNet-Lite0]
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,
    /// Train at most about so many minutes, after the features have been computed
    #[arg(long, value_name = "NUMBER")]
    minutes: Option<f64>,
    /// Set height and width of the image in pixels
    #[arg(long, value_name = "PIXELS", default_value_t = 168)]
    input_size: usize,
    /// Train so much of the network: heads, top or full
    #[arg(long, value_name = "PART", default_value = "top")]
    tune: String,
    /// Use this Python, which has the packages, in place of an environment made here
    #[arg(long, value_name = "FILE")]
    python: Option<PathBuf>,
    /// Hand these options on to the training package, see `python -m dyn_perceiver_training.fit --help`
    #[arg(last = true, value_name = "OPTIONS")]
    options: Vec<String>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// What training leaves beside its weights.
#[derive(Deserialize)]
struct Trained {
    config: TrainedConfig,
    classes: Vec<String>,
    preprocessing: TrainedPreprocessing,
}

#[derive(Deserialize)]
struct TrainedConfig {
    backbone: String,
    input_size: usize,
}

#[derive(Deserialize)]
struct TrainedPreprocessing {
    mean: [f32; 3],
    std: [f32; 3],
    crop: f32,
    interpolation: String,
}

/// Path and class of every image, by split.
#[derive(Deserialize)]
struct Splits {
    val: Vec<(PathBuf, u32)>,
    test: Vec<(PathBuf, u32)>,
}

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Report<'a> {
    bundle: Cow<'a, str>,
    classes: &'a [String],
    calibrated_on: usize,
    tested_on: usize,
    exits: Vec<Row>,
    points: usize,
}

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Row {
    exit: String,
    macs: f64,
    accuracy: f64,
    low: f64,
    high: f64,
}

pub(crate) fn run(args: Args) -> Result<(), Failure> {
    Config::from_name(&args.arch).or_input()?;
    if !args.data.is_dir() {
        return wrong(format!("{}: there is no such folder", args.data.display()));
    }
    let work = work_folder(&args.output);
    std::fs::create_dir_all(&work).with_context(|| work.display().to_string())?;
    python::train(&args, &work)?;
    let trained: Trained = left(&work, "report.json")?;
    let splits: Splits = left(&work, "splits.json")?;
    let onnx = work.join("model.onnx");
    import(&work, &trained, &onnx)?;
    let model = Model::load(&onnx)?;
    let plan = Arc::new(Plan::new(model.clone())?);
    let calibration = records(&plan, &splits.val, "calibrating", args.json)?;
    let solved = solver::solve(&calibration, &calibration.rows(), &SolveOptions::default())?;
    let stages = plan.stages().iter().map(|stage| stage.exit.as_str());
    let samples = calibration.len() as u32;
    let policy = CalibratedPolicy::new(collect::digest(&plan), stages, samples, None, solved.frontier)?
        .with_calibration(solved.calibration)?;
    dyn_perceiver::policy_file::save(&policy, &work.join("policy.json"))?;
    let rows = match splits.test.is_empty() {
        // Without test images nothing can be said that was not seen before.
        true => vec![],
        false => rows(&plan, &policy, &records(&plan, &splits.test, "testing", args.json)?)?,
    };
    bundle::compile(model, Some(policy.clone()), Target::host(), &args.output)?;
    let report = Report {
        bundle: json::path(&args.output),
        classes: &trained.classes,
        calibrated_on: calibration.len(),
        tested_on: splits.test.len(),
        exits: rows,
        points: policy.frontier().points().len(),
    };
    show(&args, &work, &report)
}

/// A file that training left.
fn left<T: serde::de::DeserializeOwned>(work: &Path, name: &str) -> Result<T, Failure> {
    let path = work.join(name);
    let bytes = std::fs::read(&path).with_context(|| path.display().to_string())?;
    Ok(serde_json::from_slice(&bytes).with_context(|| path.display().to_string())?)
}

/// Where training keeps what it goes on from: beside the bundle.
fn work_folder(output: &Path) -> PathBuf {
    let mut name = output.file_name().unwrap_or_default().to_os_string();
    name.push(".training");
    output.with_file_name(name)
}

fn import(work: &Path, trained: &Trained, onnx: &Path) -> Result<(), Failure> {
    let path = work.join("weights.safetensors");
    let mut weights = Checkpoint::open(&path)?;
    let shapes = weights.shapes().cloned().unwrap_or_default();
    let config = Config::recognise(&path, &shapes, Some(&trained.config.backbone))?;
    let config = config.with_input_size(trained.config.input_size);
    let network = Network::new(&config)?.with_half_weights(true);
    let mut metadata = Metadata::of(&config)?;
    metadata.labels.clone_from(&trained.classes);
    (metadata.mean, metadata.std) = (trained.preprocessing.mean, trained.preprocessing.std);
    metadata.crop = trained.preprocessing.crop;
    metadata.interpolation.clone_from(&trained.preprocessing.interpolation);
    Ok(network.save(onnx, &mut weights, &metadata, &mut |_, _| {})?)
}

/// What every exit says of labelled files, which training has read before.
fn records(plan: &Arc<Plan>, files: &[(PathBuf, u32)], what: &str, quiet: bool) -> Result<Records, Failure> {
    let mut records = collect::header(plan, collect::mac_costs(plan)?);
    let mut source = ImageSource::labelled(files.iter().map(|(path, label)| (path.clone(), Some(*label))));
    let mut classifier = Classifier::new(plan.clone())?;
    let mut frame = Frame::default();
    let bar = progress::images(files.len(), 0, quiet);
    for (path, label) in files {
        bar.inc(1);
        // Another decoder than training's may refuse what that one took.
        if let Err(error) = source.read(&mut frame) {
            message::warning(&format!("{what}: {error}"));
            continue;
        }
        let input = classifier.tensor(&frame)?.to_vec();
        let logits = classifier.runtime().all_logits(&input)?;
        records.push_logits_of(text::path(path).into_owned(), *label, &logits)?;
    }
    bar.finish_and_clear();
    if records.is_empty() {
        return Err(anyhow!("{what}: no image can be read").into());
    }
    Ok(records)
}

/// Accuracy of each exit alone, and adaptively.
fn rows(plan: &Plan, policy: &CalibratedPolicy, records: &Records) -> Result<Vec<Row>, Failure> {
    let row = |exit: String, macs: f64, right: usize| {
        let estimate = Estimate::new(right, records.len(), CONFIDENCE);
        Row { exit, macs, accuracy: estimate.accuracy, low: estimate.low, high: estimate.high }
    };
    let right = |exit: usize| records.rows().into_iter().filter(|&row| records.right(row, exit)).count();
    let stages = plan.stages().iter().enumerate();
    let mut rows: Vec<Row> =
        stages.map(|(exit, stage)| row(stage.exit.clone(), stage.exit_alone_macs as f64, right(exit))).collect();
    let points = policy.frontier().points();
    let best = points.last().map_or(1.0, |point| point.accuracy);
    if let Some(point) = points.iter().find(|point| point.accuracy >= best - LOSS) {
        let outcomes = replay(&point.policy, records, &records.rows())?;
        let summary = PolicySummary::of(&point.policy, records.costs(), &outcomes);
        rows.push(row("adaptive".into(), summary.cost, outcomes.iter().filter(|outcome| outcome.right).count()));
    }
    Ok(rows)
}

fn show(args: &Args, work: &Path, report: &Report<'_>) -> Result<(), Failure> {
    let mut out = Out::stdout();
    if args.json {
        return Ok(out.json(report)?);
    }
    let classes = report.classes.len();
    writeln!(
        out,
        "trained  {classes} classes; calibrated on {}, tested on {} images",
        report.calibrated_on, report.tested_on
    )?;
    writeln!(out, "bundle   {} ({} operating points)", text::shown(&args.output), report.points)?;
    writeln!(out, "kept     {} (weights, features, checkpoint; can be removed)\n", text::shown(work))?;
    let rows: Vec<Vec<String>> = report
        .exits
        .iter()
        .map(|row| {
            let interval = format!("{} to {}", table::percent(row.low), table::percent(row.high));
            vec![
                text::name(&row.exit).into_owned(),
                table::count(row.macs as u64),
                table::percent(row.accuracy),
                interval,
            ]
        })
        .collect();
    write!(out, "{}", table::render(&["exit", "MACs", "accuracy", "95 % interval"], &rows))?;
    writeln!(out, "\nnext     dyn-perceiver run --model {} --camera /dev/video0", text::shown(&args.output))?;
    Ok(())
}
