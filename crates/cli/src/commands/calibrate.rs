use std::io::{IsTerminal as _, Write as _};
use std::num::NonZeroUsize;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::Args as ClapArgs;
use dyn_perceiver::calibrate::certify::{self, GuaranteeError, Limit};
use dyn_perceiver::calibrate::records::{Costs, RecordWriter, Records};
use dyn_perceiver::calibrate::solver::{self, EnsembleKind, SolveOptions, Solved};
use dyn_perceiver::collect::{self, LabelledData};
use dyn_perceiver::energy::{JoulesSource, PowerModel};
use dyn_perceiver::exit::{CalibratedPolicy, Frontier, Guarantee, Measure};
use dyn_perceiver::plan::Plan;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Deserialize;
use serde_json::json;

use crate::args::policy as shipped;
use crate::output::data_notes::DataNotes;
use crate::output::failure::{Failure, OrInput as _};
use crate::output::table;

/// Find the policies that buy most accuracy for their cost
///
/// Runs every labelled image to the last exit, records what each exit says, and writes the best policies as a policy file,
/// for --policy of other commands. A run that was stopped goes on where it was. JSON keys: policy, records, model, samples,
/// unit, compared [{confidence, evidence, accuracy}], chosen {confidence, evidence}, optimism, guarantee {max_loss, confidence,
/// samples, more_samples}, skipped [{path, reason, fault}], warnings, points [{accuracy, cost, shares {exit: share}, thresholds {exit: threshold}}].
#[derive(ClapArgs)]
pub(crate) struct Args {
    /// ONNX file, or a bundle that `compile` wrote
    model: PathBuf,
    /// Labelled images: a folder with a folder per class, or an IDX file of images with its labels beside; or records
    #[arg(long, value_name = "PATH")]
    data: PathBuf,
    /// Policy file to write: JSON, or binary when called .postcard
    #[arg(short, long, value_name = "FILE", default_value = "policy.json")]
    output: PathBuf,
    /// Of the images, only these, counted from 0, such as 55000..60000
    #[arg(long, value_name = "FROM..TO", value_parser = parse_range)]
    range: Option<Range<u64>>,
    /// Where to record what the exits say [default: beside the policy file]
    #[arg(long, value_name = "FILE")]
    records: Option<PathBuf>,
    /// What a frame costs: macs, latency (measured here), or a board's profile in joules
    #[arg(long, value_name = "macs|latency|FILE", default_value = "macs")]
    cost: String,
    /// Write only policies that lose at most so much accuracy against the whole network, such as 0.01
    #[arg(long, value_name = "SHARE")]
    max_loss: Option<f64>,
    /// With what confidence that is guaranteed
    #[arg(long, value_name = "SHARE", default_value_t = 0.95, requires = "max_loss")]
    confidence: f64,
    /// Confidence measures to choose from [default: all]
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    measures: Option<Vec<Measure>>,
    /// Do not let exits seen before count
    #[arg(long)]
    own_evidence: bool,
    /// Threads [default: all cores]
    #[arg(long, value_name = "COUNT")]
    jobs: Option<NonZeroUsize>,
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

/// `FROM..TO`.
pub(crate) fn parse_range(text: &str) -> Result<Range<u64>, String> {
    let range = text.split_once("..").and_then(|(from, to)| Some(from.parse().ok()?..to.parse().ok()?));
    range.filter(|range| range.start < range.end).ok_or_else(|| "expected such as 55000..60000".to_string())
}

pub(crate) fn run(args: Args) -> Result<(), Failure> {
    let plan = shipped::plan(&args.model, args.exits.clone())?;
    let (records, from, mut notes) = records(&args, &plan)?;
    notes.near_chance(records.near_chance());
    let measures = args.measures.clone().unwrap_or(Measure::ALL.into());
    let mut options = SolveOptions::default().with_measures(measures);
    if args.own_evidence {
        options.ensembles = vec![EnsembleKind::Own];
    }
    let rows = records.rows();
    let outcome = match args.max_loss {
        None => {
            let solved = solver::solve(&records, &rows, &options).or_input()?;
            Outcome { frontier: solved.frontier.clone(), solved, guarantee: None, more_samples: None }
        }
        Some(max_loss) => {
            let limit = Limit::new(max_loss, args.confidence);
            let certified = limit.and_then(|limit| certify::certify(&records, &rows, limit, &options));
            let certified = certified.map_err(|error| match error {
                GuaranteeError::Limit { .. } | GuaranteeError::TooFewSamples { .. } => Failure::Input(error.into()),
                other => Failure::Failed(other.into()),
            })?;
            let (guarantee, more_samples) = (Some(certified.guarantee), certified.more_samples);
            Outcome { frontier: certified.frontier, solved: certified.solved, guarantee, more_samples }
        }
    };
    let names = records.exits().iter().map(String::as_str);
    let calibrated = CalibratedPolicy::new(
        collect::digest(&plan),
        names,
        records.len() as u32,
        outcome.guarantee,
        outcome.frontier.clone(),
    )?;
    dyn_perceiver::policy_file::save(&calibrated, &args.output)?;
    report(&args, &records, &from, &outcome, &notes)?;
    notes.tell();
    notes.end()
}

struct Outcome {
    frontier: Frontier,
    solved: Solved,
    guarantee: Option<Guarantee>,
    more_samples: Option<usize>,
}

/// Reads records, or makes them; and says where they are, and what is to be said of the data.
fn records(args: &Args, plan: &Arc<Plan>) -> Result<(Records, PathBuf, DataNotes), Failure> {
    let digest = collect::digest(plan);
    if Records::are_at(&args.data) {
        let mut records = Records::read(&args.data).or_input()?;
        records.for_model(digest, &args.data).or_input()?;
        if records.exits() != plan.info().exits {
            let (found, expected) = (records.exits().join(", "), plan.info().exits.join(", "));
            let path = args.data.display();
            return Err(anyhow::anyhow!("{path}: records of exits {found}, but the model's are {expected}")).or_input();
        }
        if args.cost != "macs" {
            records = records.with_costs(costs(&args.cost, plan)?).or_input()?;
        }
        return Ok((records, args.data.clone(), DataNotes::default()));
    }
    let path = args.records.clone().unwrap_or_else(|| args.output.with_extension("records.csv"));
    let mut data = LabelledData::open(&args.data, plan.info(), args.range.clone()).map_err(collect_failure)?;
    if args.strict {
        data = data.strict();
    }
    let mut notes = DataNotes::of(&data);
    if data.is_empty() {
        return Err(anyhow::anyhow!("{}: no images", args.data.display())).or_input();
    }
    let header = collect::header(plan, costs(&args.cost, plan)?);
    let names = data.names().to_vec();
    let mut writer = RecordWriter::resume(&path, &header, &names).or_input()?;
    let done = writer.done();
    let bar = progress_bar(names.len(), done, args.json);
    if done > 0 && !args.json {
        eprintln!("going on after {done} of {} images recorded before", names.len());
    }
    let stop = Arc::new(AtomicBool::new(false));
    let asked = stop.clone();
    ctrlc::set_handler(move || asked.store(true, Ordering::Relaxed))?;
    let jobs = args.jobs.or_else(|| std::thread::available_parallelism().ok()).map_or(1, NonZeroUsize::get);
    let collected = collect::collect(plan, data, &mut writer, jobs, |done| {
        bar.set_position(done as u64);
        !stop.load(Ordering::Relaxed)
    });
    bar.finish_and_clear();
    let collected = collected.map_err(collect_failure)?;
    if !collected.whole {
        let done = writer.done();
        return Err(
            anyhow::anyhow!("stopped after {done} of {} images; the same command goes on there", names.len()).into()
        );
    }
    writer.finish()?;
    notes.skip(collected.skipped);
    Ok((Records::read(&path)?, path, notes))
}

pub(crate) fn collect_failure(error: collect::CollectError) -> Failure {
    use collect::CollectError::{Camera, Dataset, Label, NoLabel, NothingRecorded, Range};
    match error {
        Camera(_) | Dataset(_) | NoLabel { .. } | NothingRecorded { .. } | Label { .. } | Range { .. } => {
            Failure::Input(error.into())
        }
        other => Failure::Failed(other.into()),
    }
}

pub(crate) fn progress_bar(all: usize, done: usize, quiet: bool) -> ProgressBar {
    if quiet || !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} images, {per_sec}, {eta} left");
    let bar = ProgressBar::new(all as u64).with_position(done as u64);
    match style {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

/// The costs that `--cost` asks for.
pub(crate) fn costs(cost: &str, plan: &Arc<Plan>) -> Result<Costs, Failure> {
    /// Of a board's profile, only what is needed here.
    #[derive(Deserialize)]
    struct Profile {
        source: JoulesSource,
        stages: Vec<Stage>,
    }
    #[derive(Deserialize)]
    struct Stage {
        exit: String,
        joules: f32,
    }
    match cost {
        "macs" => collect::mac_costs(plan).or_input(),
        "latency" => Ok(collect::latency_costs(plan)?),
        file => {
            let text =
                std::fs::read_to_string(file).map_err(|e| anyhow::anyhow!("cannot read {file}: {e}")).or_input()?;
            let profile: Profile = serde_json::from_str(&text)
                .map_err(|e| anyhow::anyhow!("{file}: not a board's profile: {e}"))
                .or_input()?;
            let exits: Vec<&str> = profile.stages.iter().map(|stage| stage.exit.as_str()).collect();
            if exits != plan.info().exits {
                let (found, expected) = (exits.join(", "), plan.info().exits.join(", "));
                return Err(anyhow::anyhow!("{file}: stages to {found}, but the model's exits are {expected}"))
                    .or_input();
            }
            let joules: Vec<f32> = profile.stages.iter().map(|stage| stage.joules).collect();
            let power = PowerModel::new(0.0, &joules, profile.source);
            let power = power.map_err(|e| anyhow::anyhow!("{file}: {e}")).or_input()?;
            collect::joule_costs(plan, &power).or_input()
        }
    }
}

fn report(args: &Args, records: &Records, from: &Path, outcome: &Outcome, notes: &DataNotes) -> Result<(), Failure> {
    let Outcome { frontier, solved, guarantee, more_samples } = outcome;
    let chosen = solved.compared[solved.chosen];
    let mut out = std::io::stdout().lock();
    if args.json {
        let name = |kind: EnsembleKind| kind.name();
        let compared: Vec<_> = solved
            .compared
            .iter()
            .map(|c| json!({"confidence": c.measure.name(), "evidence": name(c.ensemble), "accuracy": c.accuracy}))
            .collect();
        let points: Vec<_> = frontier
            .points()
            .iter()
            .map(|p| {
                let thresholds: serde_json::Map<_, _> = records
                    .exits()
                    .iter()
                    .zip(p.policy.rules())
                    .filter_map(|(exit, rule)| match rule {
                        dyn_perceiver::exit::ExitRule::Leave(t) => Some((exit.clone(), json!(t))),
                        dyn_perceiver::exit::ExitRule::Skip => None,
                    })
                    .collect();
                let shares: serde_json::Map<_, _> =
                    records.exits().iter().zip(&p.shares).map(|(exit, share)| (exit.clone(), json!(share))).collect();
                json!({"accuracy": p.accuracy, "cost": p.cost, "shares": shares, "thresholds": thresholds})
            })
            .collect();
        let guarantee = guarantee.map(|g| {
            json!({"max_loss": g.max_loss, "confidence": g.confidence, "samples": g.samples, "more_samples": more_samples})
        });
        let (skipped, warnings) = notes.json();
        let object = json!({
            "policy": args.output, "records": from, "model": records.model(), "samples": records.len(),
            "unit": frontier.unit().name(), "compared": compared,
            "chosen": {"confidence": chosen.measure.name(), "evidence": name(chosen.ensemble)},
            "optimism": solved.optimism, "guarantee": guarantee,
            "skipped": skipped, "warnings": warnings, "points": points,
        });
        writeln!(out, "{object}")?;
        return Ok(());
    }
    writeln!(out, "records  {} ({} samples)", from.display(), records.len())?;
    let (measure, ensemble) = (chosen.measure, chosen.ensemble.name());
    writeln!(
        out,
        "policy   {} ({} points, confidence {measure}, evidence {ensemble})",
        args.output.display(),
        frontier.points().len()
    )?;
    if let Some(Guarantee { max_loss, confidence, samples, .. }) = guarantee {
        let (loss, confidence) = (table::percent((*max_loss).into()), table::percent((*confidence).into()));
        writeln!(
            out,
            "loss     at most {loss} against the whole network, with {confidence} confidence ({samples} samples tested)"
        )?;
        if let Some(more) = more_samples {
            writeln!(out, "         cheaper policies would need about {more} samples")?;
        }
    }
    let names: Vec<&str> = records.exits().iter().map(String::as_str).collect();
    let header: Vec<&str> = ["cost", "accuracy"].into_iter().chain(names).collect();
    let points = frontier.points();
    // A table that fits a screen: every point that is a new step in cost.
    let step = points.len().div_ceil(12);
    let shown = points.iter().enumerate().filter(|(i, _)| i % step == 0 || i + 1 == points.len());
    let rows: Vec<Vec<String>> = shown
        .map(|(_, p)| {
            let shares = p.shares.iter().map(|&share| table::percent(share.into()));
            [cost_text(p.cost.into(), frontier.unit()), table::percent(p.accuracy.into())]
                .into_iter()
                .chain(shares)
                .collect()
        })
        .collect();
    write!(out, "\n{}", table::render(&header, &rows))?;
    Ok(())
}

/// A cost with its unit, for people.
pub(crate) fn cost_text(cost: f64, unit: dyn_perceiver::exit::CostUnit) -> String {
    use dyn_perceiver::exit::CostUnit::{Joules, Macs, Seconds};
    match unit {
        Macs => format!("{}MAC", table::count(cost.round() as u64)),
        Seconds => format!("{:.3} ms", 1e3 * cost),
        Joules => format!("{:.3} mJ", 1e3 * cost),
    }
}
