//! `evaluate`: a policy file against labelled images, and against what it promised.

pub(crate) mod detection;
mod report;
pub(crate) mod video;
#[cfg(test)]
pub(crate) use report::Report;

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args as ClapArgs;
use dyn_perceiver::ClassifierBuilder;
use dyn_perceiver::calibrate::evaluate::{CostAccuracy, calibration_error, near_chance};
use dyn_perceiver::calibrate::records::{Costs, RecordWriter, Records};
use dyn_perceiver::calibrate::solver;
use dyn_perceiver::collect::{self, LabelledData};
use dyn_perceiver::dataset::{SkipReason, Skipped};
use dyn_perceiver::exit::{CalibratedPolicy, CostUnit, ExitPolicy, Frontier, Measure, Mixer, OperatingPoint};

use dyn_perceiver::plan::Plan;
use dyn_perceiver::runtime::Outcome;

use crate::args::cost;
use crate::args::images::{DataArgs, failure};
use crate::args::load::LoadArgs;
use crate::args::model;
use crate::args::policy::{accuracy_point, for_plan};
use crate::args::share::Share;
use crate::args::threads::ThreadsArgs;
use crate::output::data_notes::DataNotes;
use crate::output::failure::{Failure, OrInput as _, chain, wrong};
use crate::output::{plots, progress};

/// Budgets tried when none is given.
const BUDGETS: usize = 5;
/// Levels of each threshold that the search in hindsight tries.
const LEVELS: usize = 32;

/// Run a policy file on labelled images and hold it against what it promised
///
/// Every image is really classified under the policy, stage by stage, once for each budget. With --calibration the
/// frontier is also compared with the authors' quantile sweep and with every policy tried, on the same records or in
/// hindsight. JSON: see docs/json.md.
///
/// For a detector, --data is a folder of pictures and --labels their boxes, as COCO's instances.json: told are average
/// precision, frame recall and cost, beside those of always computing everything. For a network of videos, --data is a folder
/// for each class with a folder for each clip: told are single frames, whole clips, and frame by frame with and without early
/// exits.
#[derive(ClapArgs)]
pub(crate) struct Args {
    /// ONNX file, or a bundle that `compile` wrote
    model: PathBuf,
    /// Run this policy file [default: the bundle's policy]
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    #[command(flatten)]
    data: DataArgs,
    /// Record here what all exits say about these images, for --plot and --calibration; used again if it is there
    /// [default: beside the plot]
    #[arg(long, value_name = "FILE", help_heading = "Data")]
    records: Option<PathBuf>,
    /// Compare with the authors' sweep on these records, which the policy was calibrated on
    #[arg(long, value_name = "FILE", help_heading = "Data")]
    calibration: Option<PathBuf>,
    /// Meet this mean cost per frame, such as 3.5M (MACs), 20ms or 5mJ; several separated by commas [default: 5 evenly over
    /// the frontier]
    #[arg(long, value_name = "COSTS", value_delimiter = ',')]
    budget: Vec<String>,
    /// Reach this accuracy instead, such as 92% or 0.92
    #[arg(long, value_name = "SHARE", conflicts_with = "budget")]
    accuracy: Option<Share>,
    /// Count joules by this profile of the board, for a policy in joules
    #[arg(long, value_name = "FILE")]
    cost: Option<PathBuf>,
    #[command(flatten)]
    threads: ThreadsArgs,
    /// Draw accuracy against cost
    #[arg(long, value_name = "FILE.svg")]
    plot: Option<PathBuf>,
    #[command(flatten)]
    load: LoadArgs,
    /// Print one JSON object
    #[arg(long, help_heading = None)]
    json: bool,
}

impl Args {
    /// Refuses what is for classification alone.
    fn only_what_all_models_have(&self) -> Result<(), Failure> {
        let given = [
            ("--records", self.records.is_some()),
            ("--calibration", self.calibration.is_some()),
            ("--accuracy", self.accuracy.is_some()),
            ("--cost", self.cost.is_some()),
            ("--plot", self.plot.is_some()),
        ];
        match given.iter().find(|(_, given)| *given) {
            Some((option, _)) => wrong(format!("{option} is for models that classify single images")),
            None => Ok(()),
        }
    }

    /// The file that the policy comes from.
    fn policy(&self) -> &Path {
        self.policy.as_ref().unwrap_or(&self.model)
    }
}

/// What one budget gave.
struct Run {
    budget: f32,
    expected: (f64, f64),
    /// Standard error of the expected accuracy.
    error: f64,
    mixer: Mixer,
    frames: usize,
    right: usize,
    cost: f64,
    left: Vec<usize>,
    milliseconds: Vec<f64>,
    /// The confidence and the probability of each answer, and whether it was right.
    stated: Vec<(f32, Option<f32>, bool)>,
}

pub(crate) fn run(args: Args) -> Result<(), Failure> {
    let plan = args.load.plan(&args.model)?;
    if plan.info().boxes.is_some() || plan.info().video.is_some() {
        args.only_what_all_models_have()?;
        let is_detector = plan.info().boxes.is_some();
        return if is_detector { detection::run(&args, &plan) } else { video::run(&args, &plan) };
    }
    let loaded;
    let calibrated = match (&args.policy, plan.bundle().and_then(|bundle| bundle.policy.as_ref())) {
        (Some(path), _) => {
            loaded = dyn_perceiver::policy_file::load(path).or_input()?;
            &loaded
        }
        (None, Some(policy)) => policy,
        (None, None) => {
            return wrong(format!("{}: brings no policy: name one with --policy", model::name(&plan)));
        }
    };
    let frontier = for_plan(calibrated, &plan, args.policy())?;
    let budgets = budgets(&args, frontier)?;
    let costs = match (frontier.unit(), &args.cost) {
        (CostUnit::Macs, _) => collect::mac_costs(&plan)?,
        (CostUnit::Seconds, _) => collect::latency_costs(&plan)?,
        (CostUnit::Joules, Some(profile)) => cost::joules(profile, &plan)?,
        (CostUnit::Joules, None) => {
            return wrong("the policy is in joules: name the board's profile with --cost");
        }
    };
    if args.cost.is_some() && frontier.unit() != CostUnit::Joules {
        return wrong(format!("--cost is in joules, the policy in {}", frontier.unit()));
    }
    let data = args.data.open(plan.info(), args.load.images())?;
    let mut notes = DataNotes::of(&data);
    let mut runs: Vec<Run> =
        budgets.into_iter().map(|budget| Run::new(budget, frontier, calibrated.found_on())).collect();
    let threads = args.threads.choose(&plan, None)?.threads;
    let labels = adaptive(&args, &plan, data, (calibrated, &costs, threads), &mut runs, &mut notes)?;
    let images = labels.len();
    if images == 0 {
        notes.tell();
        return wrong(format!("{}: no image could be used", args.data.data.display()));
    }
    let right = runs.iter().map(|run| run.right).max().unwrap_or(0);
    notes.near_chance(near_chance(right, &labels, plan.info().classes));
    let curves = match args.plot.is_some() || args.calibration.is_some() {
        true => Some(curves(&args, &plan, frontier, &costs)?),
        false => None,
    };
    if let (Some(path), Some(curves)) = (&args.plot, &curves) {
        let realised: Vec<_> = runs.iter().map(|run| CostAccuracy::new(run.mean_cost(), run.accuracy())).collect();
        let title = format!("{} on {images} images", model::name(&plan));
        plots::accuracy::draw(path, &title, frontier.unit(), &plan.info().exits, curves, &realised)?;
    }
    report::print(&args, (&plan, threads), frontier.unit(), &runs, curves.as_ref(), &notes)?;
    notes.tell();
    notes.end()
}

fn budgets(args: &Args, frontier: &Frontier) -> Result<Vec<f32>, Failure> {
    let points = frontier.points();
    if let Some(accuracy) = args.accuracy {
        return Ok(vec![points[accuracy_point(frontier, accuracy)?].cost]);
    }
    if args.budget.is_empty() {
        let (first, last) = (points[0].cost, points[points.len() - 1].cost);
        return Ok((0..BUDGETS).map(|i| first + (last - first) * i as f32 / (BUDGETS - 1) as f32).collect());
    }
    args.budget.iter().map(|text| cost::budget(text, frontier)).collect()
}

impl Run {
    fn new(budget: f32, frontier: &Frontier, samples: u32) -> Self {
        let mix = frontier.mix(budget);
        let (low, high) = (&frontier.points()[mix.low], &frontier.points()[mix.high]);
        let mixed =
            |value: fn(&OperatingPoint) -> f32| f64::from(value(low) + mix.share_of_high * (value(high) - value(low)));
        let expected = (mixed(|p| p.cost), mixed(|p| p.accuracy));
        // The points are of the same samples, so that their errors go together.
        let errors = [low, high].map(|point| f64::from(point.accuracy_error(samples)));
        let error = errors[0] + f64::from(mix.share_of_high) * (errors[1] - errors[0]);
        let left = vec![0; frontier.exits()];
        let mixer = Mixer::new(budget);
        Run {
            budget,
            expected,
            error,
            mixer,
            frames: 0,
            right: 0,
            cost: 0.0,
            left,
            milliseconds: vec![],
            stated: vec![],
        }
    }

    /// Takes one answer in.
    fn add(&mut self, outcome: &Outcome, label: u32, policy: &ExitPolicy, (unit, costs): (CostUnit, &Costs)) {
        let cost = match unit {
            CostUnit::Seconds => outcome.latency().as_secs_f64(),
            _ => costs.of_policy(policy, outcome.exit),
        };
        self.mixer.spent(cost as f32);
        self.cost += cost;
        self.frames += 1;
        self.right += usize::from(label == outcome.class as u32);
        self.left[outcome.exit] += 1;
        self.milliseconds.push(1e3 * outcome.latency().as_secs_f64());
        self.stated.push((outcome.confidence, outcome.probability, label == outcome.class as u32));
    }

    /// Standard error of the accuracy found.
    fn accuracy_error(&self) -> f64 {
        (self.accuracy() * (1.0 - self.accuracy()) / self.frames.max(1) as f64).sqrt()
    }

    /// How far confidence, and probability where every answer has one, are from how often answers are right.
    fn calibration_errors(&self) -> (f64, Option<f64>) {
        let confidence = calibration_error(self.stated.iter().map(|&(confidence, _, right)| (confidence, right)));
        let stated = self.stated.iter().map(|&(_, probability, right)| Some((probability?, right)));
        (confidence, stated.collect::<Option<Vec<_>>>().map(calibration_error))
    }

    fn accuracy(&self) -> f64 {
        self.right as f64 / self.frames.max(1) as f64
    }

    fn mean_cost(&self) -> f64 {
        self.cost / self.frames.max(1) as f64
    }

    /// How far the mean cost is from the budget, as a share of it.
    fn deviation(&self) -> f64 {
        self.mean_cost() / f64::from(self.budget) - 1.0
    }

    /// Mean and 95th percentile.
    fn latency(&self) -> (f64, f64) {
        let mut sorted = self.milliseconds.clone();
        sorted.sort_by(f64::total_cmp);
        let p95 = sorted.get((sorted.len() * 95).div_ceil(100).saturating_sub(1)).copied().unwrap_or(0.0);
        (sorted.iter().sum::<f64>() / sorted.len().max(1) as f64, p95)
    }
}

/// Classifies every image once for each budget, and returns the labels of those that could be.
fn adaptive(
    args: &Args,
    plan: &Arc<Plan>,
    data: LabelledData,
    (calibrated, costs, threads): (&CalibratedPolicy, &Costs, NonZeroUsize),
    runs: &mut [Run],
    notes: &mut DataNotes,
) -> Result<Vec<u32>, Failure> {
    let frontier = calibrated.frontier();
    let mut classifier = ClassifierBuilder::from(plan.clone()).threads(threads).build()?;
    classifier.runtime().set_calibration(calibrated.calibration().cloned());
    let bar = progress::images(data.len(), 0, args.json);
    let names = data.names().to_vec();
    let (mut labels, mut unanswered) = (vec![], vec![]);
    let visited = data.visit(0, 64, |samples| {
        for sample in samples {
            let mut failure = None;
            for run in runs.iter_mut() {
                let policy = &frontier.points()[run.mixer.next_point(frontier)].policy;
                match classifier.classify_with(&sample.frame, policy) {
                    Ok(outcome) => run.add(&outcome, sample.label, policy, (frontier.unit(), costs)),
                    Err(error) if args.data.strict => return Err(error.into()),
                    Err(error) => {
                        failure.get_or_insert(error);
                    }
                }
            }
            match failure {
                Some(error) => {
                    let reason = SkipReason::Unanswered(chain(&error.into()));
                    unanswered.push(Skipped::new(args.data.data.join(&names[sample.index]), reason));
                }
                None => labels.push(sample.label),
            }
        }
        bar.set_position(samples.last().map_or(0, |sample| sample.index as u64 + 1));
        Ok(true)
    });
    bar.finish_and_clear();
    notes.skip(unanswered);
    notes.skip(visited.map_err(failure)?);
    Ok(labels)
}

/// Judges the frontier, the authors' sweep and the oracle on what all exits say about the images.
fn curves(args: &Args, plan: &Arc<Plan>, frontier: &Frontier, costs: &Costs) -> Result<solver::ParetoCurves, Failure> {
    let beside = args.plot.as_ref().map(|plot| plot.with_extension("records.csv"));
    let path = args.records.clone().or(beside).unwrap_or_else(|| args.policy().with_extension("evaluation.csv"));
    let data = args.data.open(plan.info(), args.load.images())?;
    let names = data.names().to_vec();
    let there = match path.exists() {
        true => Some(Records::read(&path).or_input()?),
        false => None,
    };
    let fits = |records: &Records| records.ids() == names && records.model() == collect::digest(plan);
    let mut judged = match there.filter(fits) {
        Some(records) => records,
        None => {
            let mut writer = RecordWriter::resume(&path, &collect::header(plan, costs.clone()), &names).or_input()?;
            let threads = std::thread::available_parallelism().map_or(1, |n| n.get());
            collect::collect(plan, data, &mut writer, threads, |_| true).map_err(failure)?;
            writer.finish()?;
            Records::read(&path)?
        }
    };
    judged = judged.with_costs(costs.clone())?;
    let (mut sweep, mut searched) = (vec![], vec![]);
    if let Some(path) = &args.calibration {
        let mut records = Records::read(path).or_input()?;
        records.for_model(collect::digest(plan), path).or_input()?;
        records = records.with_costs(costs.clone())?;
        sweep = solver::quantile_sweep(&records, &records.rows())?;
        let found = solver::exhaustive(&records, &records.rows(), Measure::MaxSoftmax, LEVELS)?;
        searched = found.into_iter().map(|found| found.policy).collect();
    }
    Ok(solver::ParetoCurves::judge(frontier, &sweep, &searched, &judged, &judged.rows(), LEVELS)?)
}
