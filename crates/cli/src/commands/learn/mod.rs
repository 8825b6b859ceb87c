//! `learn`: classifiers for a user's own classes, on the machine at hand.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::Args as ClapArgs;
use dyn_perceiver::bundle::{self, BundleError, Target};
use dyn_perceiver::calibrate::evaluate::replay;
use dyn_perceiver::calibrate::learn::{Crossed, Estimate, Features, LearnError, Options, learn};
use dyn_perceiver::calibrate::records::Records;
use dyn_perceiver::calibrate::solver::{self, SolveOptions};
use dyn_perceiver::camera::{ImageLimits, decode_image};
use dyn_perceiver::collect;
use dyn_perceiver::exit::{CalibratedPolicy, Calibration, ExitPolicy, ExitRule, Frontier, Measure, OperatingPoint};
use dyn_perceiver::learn::{HeadsError, Learner, View};
use dyn_perceiver::model::{LoadLimits, LoadOptions, Model};
use dyn_perceiver::plan::Plan;

use crate::args::load::LoadArgs;
use crate::defaults;
use crate::output::failure::{Failure, OrInput as _, wrong};
use crate::output::json;
use crate::output::skipped::Skipped;
use crate::output::{memory, progress, text};

mod photos;
mod report;

use photos::{Addition, Photos};
pub(crate) use report::Report;
use report::{ExitReport, PolicyReport, show};

/// With what confidence intervals of accuracy are given.
const CONFIDENCE: f64 = 0.95;

/// Few photos are looked at in several ways, of which there are so many in all: what is learned from grows with them, and with its
/// third power the time it takes. Up to as many photos are at least seen mirrored, too; many know of all that themselves.
const VIEWS: usize = 1000;

/// The share of own photos that exits before the last may call none of these. They tell what is foreign much worse, and what they
/// are not sure of goes on to later ones.
const EARLIER: f64 = 0.25;

/// Parts of photos of which each is judged by a policy that was chosen without it.
const PARTS: usize = 5;

/// Learn your own classes from a few photos each, without Python
///
/// Runs the network once over every photo, fits new classifiers to what stands in front of its exits, and writes a bundle
/// with a calibrated policy. Ten photos a class are enough to begin with; the accuracy shown is that of classifiers on photos
/// they were not fitted to, with its 95 % interval. The network itself stays as it is. JSON: see docs/json.md.
#[derive(ClapArgs)]
pub(crate) struct Args {
    /// ONNX file, all of whose exits end in a linear layer [default: the built-in model]
    model: Option<PathBuf>,
    /// Learn from the photos of this folder: a folder per class
    #[arg(long, value_name = "FOLDER")]
    data: PathBuf,
    /// Copy this photo into the folder of its class first, a new one or one that is there; may be repeated
    #[arg(long, value_name = "CLASS=IMAGE")]
    add: Vec<Addition>,
    /// Write the bundle to this file
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Also write the network with its new classifiers as an ONNX file
    #[arg(long, value_name = "FILE")]
    onnx: Option<PathBuf>,
    /// Also write the operating points as a policy file, for that network
    #[arg(long, value_name = "FILE", requires = "onnx")]
    policy: Option<PathBuf>,
    /// Also learn to answer "none of these", as one more class: at most this share of the photos of own classes, in per cent, is
    /// to get that answer by mistake, with a confidence of 95 %
    #[arg(long, value_name = "PERCENT", value_parser = percent)]
    reject: Option<f64>,
    /// Keep the network's own classes and classifiers, and only learn "none of these": the photos are of these classes, one folder for
    /// each, and the network was not trained on them
    #[arg(long, requires = "reject", conflicts_with = "add")]
    keep: bool,
    /// Look at every photo in so many ways: as it is, mirrored, from another distance, at its corners
    /// [default: 8 up to 125 photos, fewer of more, 2 up to 1000, then 1; at most 2 with --reject]
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u8).range(1..=View::MOST as i64))]
    views: Option<u8>,
    /// Give up when the network is not ready to run after so many seconds; 0 waits for ever
    #[arg(long, value_name = "SECONDS", default_value_t = 120)]
    ready_within: u64,
    /// Stop at the first photo that cannot be used, in place of leaving it out and saying so at the end
    #[arg(long)]
    strict: bool,
    #[command(flatten)]
    load: LoadArgs,
    /// Print one JSON object
    #[arg(long, help_heading = None)]
    json: bool,
}

fn percent(text: &str) -> Result<f64, String> {
    match text.trim_end_matches('%').trim().parse::<f64>() {
        Ok(percent) if percent > 0.0 && percent < 100.0 => Ok(percent / 100.0),
        _ => Err("expected per cent above 0 and below 100".into()),
    }
}

pub(crate) fn run(args: Args) -> Result<(), Failure> {
    let began = Instant::now();
    photos::add(&args.data, &args.add)?;
    // A folder that cannot be learned from is refused before the network is loaded.
    let own = if args.keep { None } else { Some(Photos::read(&args.data)?) };
    let mut learner = learner(&args)?;
    let photos = own.map_or_else(|| Photos::of_classes(&args.data, learner.labels()), Ok)?;
    let mut skipped = Skipped::new("photos", args.strict);
    let views = views(&args, photos.all().len()).len();
    let Looked { seen, kept, names, labels } = look(&args, &photos, &mut learner, &mut skipped)?;
    let crossed: Vec<Crossed> = seen
        .iter()
        .zip(kept)
        .enumerate()
        .map(|(exit, (features, kept))| {
            let share = |share: f64| if learner.tells_all(exit) { share } else { share.max(EARLIER) };
            let options = Options::default().with_reject(args.reject.map(share));
            let crossed = learn(features, &options).map_err(|error| refused(error, &photos))?;
            Ok::<_, Failure>(if args.keep { crossed.with_logits(kept) } else { crossed })
        })
        .collect::<Result<_, _>>()?;
    let classifiers: Vec<_> = crossed.iter().map(|crossed| crossed.classifier.clone()).collect();
    let outside: Vec<_> = crossed.iter().filter_map(|crossed| Some(crossed.outside.as_ref()?.0.clone())).collect();
    drop(seen);
    let onnx = if args.keep {
        learner.finish_kept(&outside, photos.classes())?
    } else if args.reject.is_some() {
        learner.finish_with_none(&classifiers, &outside, photos.classes())?
    } else {
        learner.finish(&classifiers, photos.classes())?
    };
    let exits = learner.exits().to_vec();
    let widths = learner.widths();
    // What ran the photos is not needed any more, and a small board has no room for both.
    drop(learner);
    if let Some(path) = &args.onnx {
        dyn_perceiver::file::atomic_write(path, &onnx)?;
    }
    let model = Model::from_bytes(onnx, &args.output, &patient(&args, LoadOptions::default()))?;
    let plan = Arc::new(Plan::new(model.clone())?);
    let order: Vec<usize> =
        plan.stages().iter().map(|stage| exits.iter().position(|exit| *exit == stage.exit).unwrap_or(0)).collect();
    let records = records(&plan, &order, &crossed, &names, &labels)?;
    let best_point = judged(&records)?;
    let (frontier, calibration) = solved(&records, &records.rows())?;
    let stages = plan.stages().iter().map(|stage| stage.exit.as_str());
    let policy = CalibratedPolicy::new(collect::digest(&plan), stages, records.len() as u32, None, frontier)?
        .with_calibration(calibration)?;
    let points = policy.frontier().points().len();
    if let Some(path) = &args.policy {
        dyn_perceiver::policy_file::save(&policy, path)?;
    }
    let reports = plan.stages().iter().zip(&order).map(|(stage, &exit)| {
        let right = (0..labels.len()).filter(|&i| best(&crossed[exit].unseen[i]) == labels[i]).count();
        let estimate = Estimate::new(right, labels.len(), CONFIDENCE);
        ExitReport {
            exit: stage.exit.clone(),
            macs: stage.exit_alone_macs,
            features: widths[exit],
            shrinkage: crossed[exit].shrinkage,
            withheld: crossed[exit].outside.as_ref().map(|(_, found)| found.withheld),
            accuracy: estimate.accuracy,
            low: estimate.low,
            high: estimate.high,
        }
    });
    let reports: Vec<ExitReport> = reports.collect();
    drop(plan);
    bundle::compile(model, Some(policy), Target::host(), &args.output).map_err(|error| match error {
        BundleError::Write { .. } => Failure::Failed(error.into()),
        error => Failure::Input(error.into()),
    })?;
    let counts = photos.classes().iter().cloned().zip(photos.counts(&labels)).collect();
    let report = Report {
        bundle: json::path(&args.output),
        classes: counts,
        samples: labels.len(),
        views,
        skipped: skipped.count(),
        exits: reports,
        points,
        best_point,
        seconds: began.elapsed().as_secs_f64(),
        peak_bytes: memory::peak(),
    };
    show(&args.output, args.json, &report, photos.classes().len())?;
    skipped.finish()
}

/// How long a network may take until it is ready: what is right for a file of anyone's is short for a slow board.
fn patient(args: &Args, options: LoadOptions) -> LoadOptions {
    let seconds = Some(args.ready_within).filter(|&seconds| seconds > 0);
    let limits = LoadLimits::default().with_deadline(seconds.map(Duration::from_secs));
    options.with_limits(limits)
}

fn learner(args: &Args) -> Result<Learner, Failure> {
    let options = patient(args, args.load.options()?);
    let learner = match &args.model {
        None if args.keep => Learner::keeping(defaults::bytes().to_vec(), defaults::NAME, &options),
        None => Learner::from_bytes(defaults::bytes().to_vec(), defaults::NAME, &options),
        Some(path) if bundle::is_bundle(path) => {
            return wrong(format!(
                "{}: a bundle, whose layers are fused; give the ONNX file it was compiled from, or none to learn from the \
                 built-in model",
                path.display()
            ));
        }
        Some(path) if args.keep => {
            let bytes = std::fs::read(path).with_context(|| path.display().to_string()).or_input()?;
            Learner::keeping(bytes, path, &options)
        }
        Some(path) => Learner::load(path, &options),
    };
    learner.map_err(|error| match error {
        HeadsError::Network(_) | HeadsError::Exit { .. } => Failure::Input(error.into()),
        other => Failure::Failed(other.into()),
    })
}

/// How so many photos are looked at.
fn views(args: &Args, photos: usize) -> Vec<View> {
    // How far is none of the classes was measured with photos as a camera sees them: corners of things are farther.
    let most = if args.reject.is_some() { 2 } else { View::MOST };
    let fitting = match photos {
        1..=VIEWS => (VIEWS / photos).clamp(2, most),
        _ => 1,
    };
    View::several(args.views.map_or(fitting, usize::from))
}

/// What was seen of the photos that can be used.
struct Looked {
    /// Features of every exit.
    seen: Vec<Features>,
    /// Logits of every exit, one row a photo; empty where they are not kept.
    kept: Vec<Vec<Vec<f32>>>,
    names: Vec<String>,
    labels: Vec<usize>,
}

fn look(args: &Args, photos: &Photos, learner: &mut Learner, skipped: &mut Skipped) -> Result<Looked, Failure> {
    let classes = photos.classes().len();
    let views = views(args, photos.all().len());
    let of_exit = |width| Features::new(width, classes).with_views(views.len());
    let mut seen: Vec<Features> = learner.widths().into_iter().map(of_exit).collect();
    let mut kept = vec![vec![]; seen.len()];
    let (mut names, mut labels) = (vec![], vec![]);
    let bar = progress::images(photos.all().len(), 0, args.json);
    for (path, class) in photos.all() {
        let frame = decode_image(path, ImageLimits::default());
        let rows = frame.or_input().and_then(|frame| {
            let mut rows = learner.look(&frame, View::default())?;
            for &view in &views[1..] {
                let others = learner.look(&frame, view)?;
                rows.iter_mut().zip(&others).for_each(|(row, other)| row.features.extend_from_slice(&other.features));
            }
            Ok(rows)
        });
        bar.inc(1);
        let rows = match rows {
            Ok(rows) => rows,
            Err(failure) => {
                skipped.skip(failure)?;
                continue;
            }
        };
        if rows.iter().flat_map(|row| row.features.iter().chain(&row.logits)).any(|value| !value.is_finite()) {
            skipped.add(format!("{}: the network gives no finite numbers for it", path.display()));
            continue;
        }
        for ((features, kept), row) in seen.iter_mut().zip(&mut kept).zip(rows) {
            features.push(&row.features, *class)?;
            kept.push(row.logits);
        }
        names.push(text::path(path.strip_prefix(&args.data).unwrap_or(path)).into_owned());
        labels.push(*class);
    }
    bar.finish_and_clear();
    Ok(Looked { seen, kept, names, labels })
}

/// What cannot be learned, with the name of the class.
fn refused(error: LearnError, photos: &Photos) -> Failure {
    let folder = photos.folder().display();
    match error {
        LearnError::TooFew { class, images } => {
            let name = photos.classes().get(class).map_or("?", String::as_str);
            let text = format!(
                "{folder}: class {name} has {images} photos that can be used, at least 2 are needed and 10 advised"
            );
            Failure::Input(anyhow::anyhow!(text))
        }
        error => Failure::Input(anyhow::Error::new(error).context(folder.to_string())),
    }
}

/// What classifiers say of photos they have not seen, as calibration records.
fn records(
    plan: &Plan,
    order: &[usize],
    crossed: &[Crossed],
    names: &[String],
    labels: &[usize],
) -> Result<Records, Failure> {
    let mut records = collect::header(plan, collect::mac_costs(plan)?);
    for (i, (name, &label)) in names.iter().zip(labels).enumerate() {
        let logits: Vec<Vec<f32>> = order.iter().map(|&exit| crossed[exit].unseen[i].clone()).collect();
        records.push_logits_of(name.clone(), label as u32, &logits)?;
    }
    Ok(records)
}

/// Operating points, the last of them the whole network, and how probably their answers are right. With few photos many a
/// cheaper policy looks better than that by chance: of all that are tried, the luckiest would be taken.
fn solved(records: &Records, rows: &[u32]) -> Result<(Frontier, Calibration), Failure> {
    let exits = records.exits().len();
    let last = exits.saturating_sub(1);
    let solved = solver::solve(records, rows, &SolveOptions::default())?;
    // Of the same measure as the other points, since probabilities are known of that one.
    let measure = solved.frontier.points().first().map_or(Measure::MaxSoftmax, |point| point.policy.measure());
    let rules: Vec<ExitRule> =
        (0..exits).map(|exit| if exit == last { ExitRule::Leave(0.0) } else { ExitRule::Skip }).collect();
    let whole = ExitPolicy::new(measure, &rules)?;
    let cost = records.costs().of_policy(&whole, last) as f32;
    let right = rows.iter().filter(|&&row| records.right(row, last)).count();
    let accuracy = right as f32 / rows.len().max(1) as f32;
    let mut shares = vec![0.0; exits];
    shares.iter_mut().skip(last).for_each(|share| *share = 1.0);
    let below = solved.frontier.points().iter().filter(|point| point.accuracy < accuracy && point.cost < cost);
    let mut points: Vec<OperatingPoint> = below.cloned().collect();
    points.push(OperatingPoint::new(whole, accuracy, cost, &shares)?);
    Ok((Frontier::new(records.costs().unit(), &points)?, solved.calibration))
}

/// What the best operating point reaches on photos that had no part in choosing it: a fifth of them at a time.
fn judged(records: &Records) -> Result<PolicyReport, Failure> {
    let mut right = 0;
    for part in 0..PARTS as u32 {
        let (held, used): (Vec<u32>, Vec<u32>) = records.rows().into_iter().partition(|row| row % PARTS as u32 == part);
        let (found, _) = solved(records, &used)?;
        let Some(point) = found.points().last() else { continue };
        let answers = replay(&point.policy, records, &held)?;
        right += answers.iter().filter(|answer| answer.right).count();
    }
    let Estimate { accuracy, low, high, .. } = Estimate::new(right, records.len(), CONFIDENCE);
    Ok(PolicyReport { accuracy, low, high })
}

fn best(logits: &[f32]) -> usize {
    (0..logits.len()).max_by(|&a, &b| logits[a].total_cmp(&logits[b]).then(b.cmp(&a))).unwrap_or(0)
}
