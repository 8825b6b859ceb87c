use std::io::Write as _;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args as ClapArgs;
use dyn_perceiver::Classifier;
use dyn_perceiver::calibrate::evaluate::{CostAccuracy, Difference, ParetoCurves, near_chance};
use dyn_perceiver::calibrate::records::{Costs, RecordWriter, Records};
use dyn_perceiver::calibrate::solver;
use dyn_perceiver::collect::{self, LabelledData};
use dyn_perceiver::dataset::{SkipReason, Skipped};
use dyn_perceiver::exit::{CalibratedPolicy, CostUnit, Frontier, Measure, Mixer};
use dyn_perceiver::plan::Plan;
use serde_json::{Map, Value, json};

use crate::args::policy as shipped;
use crate::commands::calibrate::{cost_text, costs, parse_range};
use crate::output::data_notes::DataNotes;
use crate::output::failure::{Failure, OrInput as _};
use crate::output::{plot, table};

/// Budgets tried when none is given.
const BUDGETS: usize = 5;
/// Levels of each threshold that the search in hindsight tries.
const LEVELS: usize = 32;
/// Costs at which the frontier is compared with it.
const COMPARED: usize = 50;

/// Run a policy file on labelled images and hold it against what it promised
///
/// Every image is really classified under the policy, stage by stage, once for each budget. With --calibration the
/// frontier is also compared with the authors' quantile sweep and with every policy tried, on the same records or in hindsight. JSON keys: policy,
/// data, images, unit, runs [{budget, expected {accuracy, cost}, accuracy, cost, deviation, shares {exit: share},
/// latency_ms {mean, p95}}], exits [{exit, cost, accuracy}], sweep {mean, least, at}, searched {mean, least, at},
/// oracle {mean, least, at}, skipped [{path, reason, fault}], warnings.
#[derive(ClapArgs)]
pub(crate) struct Args {
    /// ONNX file, or a bundle that `compile` wrote
    model: PathBuf,
    /// Policy file [default: the bundle's policy]
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// Labelled images: a folder with a folder per class, or an IDX file of images with its labels beside
    #[arg(long, value_name = "PATH")]
    data: PathBuf,
    /// Of the images, only these, counted from 0
    #[arg(long, value_name = "FROM..TO", value_parser = parse_range)]
    range: Option<Range<u64>>,
    /// Mean cost per frame to meet, such as 3.5M (MACs), 20ms or 5mJ; several separated by commas [default: 5 evenly over
    /// the frontier]
    #[arg(long, value_name = "COSTS", value_delimiter = ',')]
    budget: Vec<String>,
    /// Accuracy to reach instead, such as 0.92
    #[arg(long, value_name = "SHARE", conflicts_with = "budget")]
    accuracy: Option<f32>,
    /// The board's profile, for a policy in joules
    #[arg(long, value_name = "FILE")]
    cost: Option<String>,
    /// Draw accuracy against cost
    #[arg(long, value_name = "FILE.svg")]
    plot: Option<PathBuf>,
    /// Records that the policy was calibrated on, to compare with the authors' sweep on the same
    #[arg(long, value_name = "FILE")]
    calibration: Option<PathBuf>,
    /// Where to record what all exits say about these images, for --plot and --calibration; used again if it is there
    /// [default: beside the plot]
    #[arg(long, value_name = "FILE")]
    records: Option<PathBuf>,
    /// Stop at the first image that cannot be used, instead of leaving it out and saying so at the end
    #[arg(long)]
    strict: bool,
    /// Exits by output name [default: the model's metadata, else every output of shape (N, classes)]
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    exits: Option<Vec<String>>,
    /// One JSON object on stdout
    #[arg(long)]
    json: bool,
}

impl Args {
    /// The file that the policy comes from.
    fn policy(&self) -> &Path {
        self.policy.as_ref().unwrap_or(&self.model)
    }

    fn data(&self, plan: &Plan) -> Result<LabelledData, Failure> {
        let data = LabelledData::open(&self.data, plan.info(), self.range.clone());
        let data = data.map_err(crate::commands::calibrate::collect_failure)?;
        Ok(if self.strict { data.strict() } else { data })
    }
}

/// What one budget gave.
struct Run {
    budget: f32,
    expected: (f64, f64),
    mixer: Mixer,
    frames: usize,
    right: usize,
    cost: f64,
    left: Vec<usize>,
    milliseconds: Vec<f64>,
}

pub(crate) fn run(args: Args) -> Result<(), Failure> {
    let plan = shipped::plan(&args.model, args.exits.clone())?;
    let loaded;
    let calibrated = match (&args.policy, plan.bundle().and_then(|bundle| bundle.policy.as_ref())) {
        (Some(path), _) => {
            loaded = dyn_perceiver::policy_file::load(path).or_input()?;
            &loaded
        }
        (None, Some(policy)) => policy,
        (None, None) => {
            let model = args.model.display();
            return Err(anyhow::anyhow!("{model}: brings no policy: name one with --policy")).or_input();
        }
    };
    let frontier = for_plan(calibrated, &plan, args.policy())?;
    let budgets = budgets(&args, frontier)?;
    let costs = match (frontier.unit(), &args.cost) {
        (CostUnit::Macs, _) => collect::mac_costs(&plan)?,
        (CostUnit::Seconds, _) => collect::latency_costs(&plan)?,
        (CostUnit::Joules, Some(profile)) => costs(profile, &plan)?,
        (CostUnit::Joules, None) => {
            return Err(anyhow::anyhow!("the policy is in joules: name the board's profile with --cost")).or_input();
        }
    };
    if costs.unit() != frontier.unit() {
        return Err(anyhow::anyhow!("--cost is in {}, the policy in {}", costs.unit(), frontier.unit())).or_input();
    }
    let data = args.data(&plan)?;
    let mut notes = DataNotes::of(&data);
    let mut runs: Vec<Run> = budgets.into_iter().map(|budget| Run::new(budget, frontier)).collect();
    let labels = adaptive(&args, &plan, data, frontier, &costs, &mut runs, &mut notes)?;
    let images = labels.len();
    if images == 0 {
        notes.tell();
        return Err(anyhow::anyhow!("{}: no image could be used", args.data.display())).or_input();
    }
    let right = runs.iter().map(|run| run.right).max().unwrap_or(0);
    notes.near_chance(near_chance(right, &labels, plan.info().classes));
    let curves = match args.plot.is_some() || args.calibration.is_some() {
        true => Some(curves(&args, &plan, frontier, &costs)?),
        false => None,
    };
    if let (Some(path), Some(curves)) = (&args.plot, &curves) {
        let realised: Vec<_> = runs.iter().map(|run| CostAccuracy::new(run.mean_cost(), run.accuracy())).collect();
        let title = format!("{} on {images} held-out images", args.model.display());
        plot::draw(path, &title, frontier.unit(), &plan.info().exits, curves, &realised)?;
    }
    report(&args, &plan, frontier.unit(), &runs, curves.as_ref(), &notes)?;
    notes.tell();
    notes.end()
}

/// The frontier of a policy file, if it is for this model and these exits.
pub(crate) fn for_plan<'a>(
    calibrated: &'a CalibratedPolicy,
    plan: &Plan,
    path: &Path,
) -> Result<&'a Frontier, Failure> {
    let frontier = calibrated.for_model(collect::digest(plan));
    let frontier = frontier.map_err(|error| anyhow::anyhow!("{}: {error}", path.display())).or_input()?;
    if !calibrated.exits().eq(plan.info().exits.iter().map(String::as_str)) {
        let (found, expected) = (calibrated.exits().collect::<Vec<_>>().join(", "), plan.info().exits.join(", "));
        let path = path.display();
        return Err(anyhow::anyhow!("{path}: calibrated for exits {found}, but the model's are {expected}")).or_input();
    }
    Ok(frontier)
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
    args.budget.iter().map(|text| budget(text, frontier)).collect()
}

/// The cheapest point expected to be so accurate.
pub(crate) fn accuracy_point(frontier: &Frontier, accuracy: f32) -> Result<usize, Failure> {
    let best = frontier.points().last().map_or(0.0, |point| point.accuracy);
    let none = || anyhow::anyhow!("no policy is expected to reach an accuracy of {accuracy}; the best one {best}");
    frontier.by_accuracy(accuracy).ok_or_else(none).or_input()
}

/// A budget in the frontier's unit: `3.5M`, `20ms`, `5mJ`, or a plain number of MACs, seconds or joules.
pub(crate) fn budget(text: &str, frontier: &Frontier) -> Result<f32, Failure> {
    let unit = frontier.unit();
    let units: &[(&str, f32)] = match unit {
        CostUnit::Macs => {
            &[("GMAC", 1e9), ("MMAC", 1e6), ("kMAC", 1e3), ("MAC", 1.0), ("G", 1e9), ("M", 1e6), ("k", 1e3)]
        }
        CostUnit::Seconds => &[("ms", 1e-3), ("us", 1e-6), ("s", 1.0)],
        CostUnit::Joules => &[("mJ", 1e-3), ("J", 1.0)],
    };
    let text = text.trim();
    let (number, factor) = units
        .iter()
        .find_map(|(suffix, factor)| Some((text.strip_suffix(suffix)?.trim(), *factor)))
        .unwrap_or((text, 1.0));
    let value = number.parse::<f32>().ok().map(|n| n * factor).filter(|b| b.is_finite() && *b > 0.0);
    let Some(value) = value else {
        return Err(anyhow::anyhow!("budget {text:?}: the policy is in {unit}, expected such as 3.5M, 20ms or 5mJ"))
            .or_input();
    };
    let cheapest = frontier.points()[0].cost;
    if value < cheapest {
        let (asked, least) = (cost_text(value.into(), unit), cost_text(cheapest.into(), unit));
        return Err(anyhow::anyhow!("a budget of {asked} per frame is below the cheapest policy's, {least}"))
            .or_input();
    }
    Ok(value)
}

impl Run {
    fn new(budget: f32, frontier: &Frontier) -> Self {
        let mix = frontier.mix(budget);
        let (low, high) = (&frontier.points()[mix.low], &frontier.points()[mix.high]);
        let mixed = |value: fn(&dyn_perceiver::exit::OperatingPoint) -> f32| {
            f64::from(value(low) + mix.share_of_high * (value(high) - value(low)))
        };
        let expected = (mixed(|p| p.cost), mixed(|p| p.accuracy));
        let left = vec![0; frontier.exits()];
        let mixer = Mixer::new(budget);
        Run { budget, expected, mixer, frames: 0, right: 0, cost: 0.0, left, milliseconds: vec![] }
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
    frontier: &Frontier,
    costs: &Costs,
    runs: &mut [Run],
    notes: &mut DataNotes,
) -> Result<Vec<u32>, Failure> {
    let mut classifier = Classifier::new(plan.clone())?;
    let bar = crate::commands::calibrate::progress_bar(data.len(), 0, false);
    let names = data.names().to_vec();
    let (mut labels, mut unanswered) = (vec![], vec![]);
    let visited = data.visit(0, 64, |samples| {
        for sample in samples {
            let mut failure = None;
            for run in runs.iter_mut() {
                let policy = &frontier.points()[run.mixer.next_point(frontier)].policy;
                let outcome = match classifier.classify_with(&sample.frame, policy) {
                    Ok(outcome) => outcome,
                    Err(error) if args.strict => return Err(error.into()),
                    Err(error) => {
                        failure.get_or_insert(error);
                        continue;
                    }
                };
                let cost = match frontier.unit() {
                    CostUnit::Seconds => outcome.latency().as_secs_f64(),
                    _ => costs.of_policy(policy, outcome.exit),
                };
                run.mixer.spent(cost as f32);
                run.cost += cost;
                run.frames += 1;
                run.right += usize::from(sample.label == outcome.class as u32);
                run.left[outcome.exit] += 1;
                run.milliseconds.push(1e3 * outcome.latency().as_secs_f64());
            }
            match failure {
                Some(error) => {
                    let reason = SkipReason::Unanswered(error.to_string());
                    unanswered.push(Skipped::new(args.data.join(&names[sample.index]), reason));
                }
                None => labels.push(sample.label),
            }
        }
        bar.set_position(samples.last().map_or(0, |sample| sample.index as u64 + 1));
        Ok(true)
    });
    bar.finish_and_clear();
    notes.skip(unanswered);
    notes.skip(visited.map_err(crate::commands::calibrate::collect_failure)?);
    Ok(labels)
}

/// Judges the frontier, the authors' sweep and the oracle on what all exits say about the images.
fn curves(args: &Args, plan: &Arc<Plan>, frontier: &Frontier, costs: &Costs) -> Result<ParetoCurves, Failure> {
    let beside = args.plot.as_ref().map(|plot| plot.with_extension("records.csv"));
    let path = args.records.clone().or(beside).unwrap_or_else(|| args.policy().with_extension("evaluation.csv"));
    let data = args.data(plan)?;
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
            collect::collect(plan, data, &mut writer, threads, |_| true)
                .map_err(crate::commands::calibrate::collect_failure)?;
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
    Ok(ParetoCurves::judge(frontier, &sweep, &searched, &judged, &judged.rows(), LEVELS)?)
}

fn report(
    args: &Args,
    plan: &Plan,
    unit: CostUnit,
    runs: &[Run],
    curves: Option<&ParetoCurves>,
    notes: &DataNotes,
) -> Result<(), Failure> {
    let exits = &plan.info().exits;
    let images = runs.first().map_or(0, |run| run.frames);
    let share = |left: usize| left as f64 / images.max(1) as f64;
    let sweep = curves.and_then(ParetoCurves::against_sweep);
    let searched = curves.and_then(ParetoCurves::against_searched);
    let oracle = curves.and_then(|curves| curves.against_oracle(COMPARED));
    let mut out = std::io::stdout().lock();
    if args.json {
        let runs: Vec<Value> = runs
            .iter()
            .map(|run| {
                let shares: Map<_, _> =
                    exits.iter().zip(&run.left).map(|(e, &n)| (e.clone(), json!(share(n)))).collect();
                let (mean, p95) = run.latency();
                json!({
                    "budget": run.budget, "expected": {"accuracy": run.expected.1, "cost": run.expected.0},
                    "accuracy": run.accuracy(), "cost": run.mean_cost(), "deviation": run.deviation(), "shares": shares,
                    "latency_ms": {"mean": mean, "p95": p95},
                })
            })
            .collect();
        let alone = curves.map(|curves| {
            let each = exits.iter().zip(&curves.exits);
            each.map(|(exit, p)| json!({"exit": exit, "cost": p.cost, "accuracy": p.accuracy})).collect::<Vec<_>>()
        });
        let difference = |d: Option<Difference>| d.map(|d| json!({"mean": d.mean, "least": d.least, "at": d.at}));
        let (skipped, warnings) = notes.json();
        let object = json!({
            "policy": args.policy(), "data": args.data, "images": images, "unit": unit.name(), "runs": runs,
            "exits": alone, "sweep": difference(sweep), "searched": difference(searched), "oracle": difference(oracle),
            "skipped": skipped, "warnings": warnings,
        });
        writeln!(out, "{object}")?;
        return Ok(());
    }
    let percent = |share: f64| format!("{:.2} %", 100.0 * share);
    let mut header = vec!["budget", "mean cost", "off by", "expected", "accuracy"];
    header.extend(exits.iter().map(String::as_str));
    header.extend(["mean ms", "p95 ms"]);
    let rows: Vec<Vec<String>> = runs
        .iter()
        .map(|run| {
            let (mean, p95) = run.latency();
            let mut row = vec![cost_text(run.budget.into(), unit), cost_text(run.mean_cost(), unit)];
            row.extend([run.deviation(), run.expected.1, run.accuracy()].map(percent));
            row.extend(run.left.iter().map(|&left| table::percent(share(left))));
            row.extend([mean, p95].map(|ms| format!("{ms:.2}")));
            row
        })
        .collect();
    writeln!(out, "{images} images, {} budgets; shares of frames by exit\n", runs.len())?;
    write!(out, "{}", table::render(&header, &rows))?;
    if let Some(curves) = curves {
        let each = exits.iter().zip(&curves.exits);
        let rows: Vec<Vec<String>> =
            each.map(|(exit, p)| vec![exit.clone(), cost_text(p.cost, unit), percent(p.accuracy)]).collect();
        write!(out, "\n{}", table::render(&["one exit alone", "cost", "accuracy"], &rows))?;
        let points = |share: f64| format!("{:+.2}", 100.0 * share);
        let row =
            |name: &str, d: Difference| vec![name.to_string(), points(d.mean), points(d.least), cost_text(d.at, unit)];
        let rows: Vec<Vec<String>> = [
            ("the authors' sweep", sweep),
            ("every policy tried on the same", searched),
            ("the best in hindsight", oracle),
        ]
        .into_iter()
        .filter_map(|(name, d)| Some(row(name, d?)))
        .collect();
        let header = ["percentage points, frontier less", "mean", "least", "at"];
        write!(out, "\n{}", table::render(&header, &rows))?;
    }
    Ok(())
}
