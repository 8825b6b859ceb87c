//! `calibrate`: thresholds from labelled images.

pub(crate) mod detection;
pub(crate) mod video;

use std::borrow::Cow;
use std::io::Write as _;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::anyhow;
use clap::Args as ClapArgs;
use dyn_perceiver::calibrate::certify::{self, CertifiableCost, Certified, GuaranteeError, Limit, LossTest};
use dyn_perceiver::calibrate::records::{RecordWriter, Records};
use dyn_perceiver::calibrate::solver::{self, EnsembleKind, SolveOptions, Solved};
use dyn_perceiver::collect;
use dyn_perceiver::exit::{CalibratedPolicy, ExitRule, Frontier, Guarantee, Measure, OperatingPoint};
use dyn_perceiver::plan::Plan;
use serde::Serialize;

use crate::args::cost::costs;
use crate::args::images::{DataArgs, failure};
use crate::args::load::LoadArgs;
use crate::args::share::Share;
use crate::output::data_notes::{DataNotes, SkippedReport};
use crate::output::failure::{Failure, OrInput as _, wrong};
use crate::output::json::{self, Pairs};
use crate::output::out::Out;
use crate::output::{message, progress, table, text};

/// Find the policies that buy most accuracy for their cost
///
/// Runs every labelled image to the last exit, records what each exit says, and writes the accuracy-cost Pareto frontier as a
/// policy file, for --policy of other commands. A run that was stopped goes on where it was. JSON: see docs/json.md.
///
/// For a detector, --data is a folder of pictures and --labels their boxes, as COCO's instances.json: found are gates, which
/// call at most --max-loss of the pictures with an object empty [default: 1%], and levels of boxes, by AP50. For a network of
/// videos, --data is a folder for each class with a folder for each clip: found are thresholds, the window and the number of
/// equal answers.
#[derive(ClapArgs)]
pub(crate) struct Args {
    /// ONNX file, or a bundle that `compile` wrote
    model: PathBuf,
    #[command(flatten)]
    data: DataArgs,
    /// Write the policy to this file: JSON, or binary if it is called .postcard
    #[arg(short, long, value_name = "FILE", default_value = "policy.json")]
    output: PathBuf,
    /// Record here what the exits say [default: beside the policy file]
    #[arg(long, value_name = "FILE", help_heading = "Data")]
    records: Option<PathBuf>,
    /// Count as a frame's cost: macs, latency (measured here), or joules by this profile of a board
    #[arg(long, value_name = "macs|latency|FILE", default_value = "macs", help_heading = "Calibration")]
    cost: String,
    /// Write only policies that lose at most so much accuracy against the whole network, such as 1% or 0.01
    #[arg(long, value_name = "SHARE", help_heading = "Calibration")]
    max_loss: Option<Share>,
    /// Guarantee that with this confidence, such as 95% or 0.95
    #[arg(long, value_name = "SHARE", default_value_t = Share::new(0.95), requires = "max_loss", help_heading = "Calibration")]
    confidence: Share,
    /// Count frames lost against the whole network, or those less the frames gained: a paired test, which certifies cheaper policies
    #[arg(long, value_enum, value_name = "lost|paired", default_value = "lost", requires = "max_loss")]
    #[arg(hide_possible_values = true, help_heading = "Calibration")]
    guarantee: GuaranteeTest,
    /// Choose from these confidence measures [default: all]
    #[arg(long, value_name = "NAMES", value_delimiter = ',', help_heading = "Calibration")]
    measures: Option<Vec<Measure>>,
    /// Disable exit ensembling: let no exit count that was seen before
    #[arg(long, help_heading = "Calibration")]
    own_evidence: bool,
    /// Run so many images at once [default: one per core]
    #[arg(long, value_name = "COUNT")]
    jobs: Option<NonZeroUsize>,
    #[command(flatten)]
    load: LoadArgs,
    /// Print one JSON object
    #[arg(long, help_heading = None)]
    json: bool,
}

/// What a guarantee counts.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum GuaranteeTest {
    Lost,
    Paired,
}

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Report<'a> {
    policy: Cow<'a, str>,
    records: Cow<'a, str>,
    model: String,
    samples: usize,
    unit: &'a str,
    compared: Vec<ComparedReport>,
    chosen: ChosenReport,
    optimism: f64,
    guarantee: Option<GuaranteeReport>,
    skipped: Vec<SkippedReport<'a>>,
    warnings: &'a [String],
    points: Vec<PointReport>,
}

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct ComparedReport {
    confidence: &'static str,
    evidence: &'static str,
    accuracy: f64,
}

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct ChosenReport {
    confidence: &'static str,
    evidence: &'static str,
}

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct GuaranteeReport {
    test: &'static str,
    max_loss: f32,
    confidence: f32,
    samples: u32,
    more_samples: Option<usize>,
    /// What could be certified at which mean cost, by the samples that policies are found on; empty where there was no choice.
    evidence: Vec<CertifiableReport>,
}

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct CertifiableReport {
    confidence: &'static str,
    evidence: &'static str,
    cost: f64,
}

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct PointReport {
    accuracy: f32,
    accuracy_error: f32,
    cost: f32,
    shares: Pairs<f32>,
    thresholds: Pairs<f32>,
}

pub(crate) fn run(args: Args) -> Result<(), Failure> {
    let plan = args.load.plan(&args.model)?;
    if plan.info().boxes.is_some() {
        return detection::run(&args, &plan);
    }
    if plan.info().video.is_some() {
        return video::run(&args, &plan);
    }
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
            let (guarantee, more_samples, evidence) = (None, None, vec![]);
            Outcome { frontier: solved.frontier.clone(), solved, guarantee, evidence, more_samples }
        }
        Some(max_loss) => {
            let limit = Limit::new(share(max_loss), share(args.confidence));
            let certified =
                limit.and_then(|limit| certify::certify(&records, &rows, limit.by(loss_test(&args)), &options));
            let certified = certified.map_err(|error| match error {
                GuaranteeError::Limit { .. } | GuaranteeError::TooFewSamples { .. } => Failure::Input(error.into()),
                other => Failure::Failed(other.into()),
            })?;
            let (guarantee, more_samples) = (Some(certified.guarantee), certified.more_samples);
            let Certified { frontier, solved, evidence, .. } = certified;
            Outcome { frontier, solved, guarantee, evidence, more_samples }
        }
    };
    let names = records.exits().iter().map(String::as_str);
    let calibrated = CalibratedPolicy::new(
        collect::digest(&plan),
        names,
        records.len() as u32,
        outcome.guarantee,
        outcome.frontier.clone(),
    )?
    .with_calibration(outcome.solved.calibration.clone())?;
    dyn_perceiver::policy_file::save(&calibrated, &args.output)?;
    report(&args, &records, &from, &outcome, &notes)?;
    notes.tell();
    notes.end()
}

struct Outcome {
    frontier: Frontier,
    solved: Solved,
    guarantee: Option<Guarantee>,
    evidence: Vec<CertifiableCost>,
    more_samples: Option<usize>,
}

impl Outcome {
    /// Samples that the points' accuracies are of: those that a guarantee was tested on had no part.
    fn found_on(&self, records: &Records) -> u32 {
        (records.len() as u32).saturating_sub(self.guarantee.map_or(0, |guarantee| guarantee.samples))
    }
}

/// How a limit is certified.
const fn loss_test(args: &Args) -> LossTest {
    match args.guarantee {
        GuaranteeTest::Lost => LossTest::Lost,
        GuaranteeTest::Paired => LossTest::Paired,
    }
}

/// A share as calibration counts: as it was written, without what an f32 adds.
fn share(share: Share) -> f64 {
    (f64::from(share.get()) * 1e9).round() / 1e9
}

/// Reads records, or makes them; and says where they are, and what is to be said of the data.
fn records(args: &Args, plan: &Arc<Plan>) -> Result<(Records, PathBuf, DataNotes), Failure> {
    let source = &args.data.data;
    if Records::are_at(source) {
        return Ok((read(args, source, plan)?, source.clone(), DataNotes::default()));
    }
    let path = args.records.clone().unwrap_or_else(|| args.output.with_extension("records.csv"));
    let data = args.data.open(plan.info(), args.load.images())?;
    let mut notes = DataNotes::of(&data);
    let header = collect::header(plan, costs(&args.cost, plan)?);
    let names = data.names().to_vec();
    let mut writer = RecordWriter::resume(&path, &header, &names).or_input()?;
    let done = writer.done();
    let bar = progress::images(names.len(), done, args.json);
    if done > 0 && !args.json {
        message::note(&format!("going on after {done} of {} images recorded before", names.len()));
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
    let collected = collected.map_err(failure)?;
    if !collected.whole {
        let done = writer.done();
        return Err(anyhow!("stopped after {done} of {} images; the same command goes on there", names.len()).into());
    }
    writer.finish()?;
    notes.skip(collected.skipped);
    Ok((Records::read(&path)?, path, notes))
}

/// Records that were made before, if they are of this model.
fn read(args: &Args, path: &Path, plan: &Arc<Plan>) -> Result<Records, Failure> {
    let mut records = Records::read(path).or_input()?;
    records.for_model(collect::digest(plan), path).or_input()?;
    if records.exits() != plan.info().exits {
        let (found, expected) = (text::names(records.exits()), text::names(&plan.info().exits));
        return wrong(format!("{}: records of exits {found}, but the model's are {expected}", path.display()));
    }
    if args.cost != "macs" {
        records = records.with_costs(costs(&args.cost, plan)?).or_input()?;
    }
    Ok(records)
}

fn report(args: &Args, records: &Records, from: &Path, outcome: &Outcome, notes: &DataNotes) -> Result<(), Failure> {
    let mut out = Out::stdout();
    if args.json {
        return Ok(out.json(&as_json(args, records, from, outcome, notes))?);
    }
    let Outcome { frontier, solved, guarantee, evidence: compared_evidence, more_samples } = outcome;
    let chosen = solved.compared[solved.chosen];
    writeln!(out, "records  {} ({} samples)", text::shown(from), records.len())?;
    let (measure, evidence) = (chosen.measure, chosen.ensemble.name());
    let (policy, points) = (text::shown(&args.output), frontier.points().len());
    writeln!(out, "policy   {policy} ({points} points, confidence {measure}, evidence {evidence})")?;
    if let Some(Guarantee { max_loss, confidence, samples, .. }) = guarantee {
        let (loss, confidence) = (table::percent((*max_loss).into()), table::percent((*confidence).into()));
        writeln!(
            out,
            "loss     at most {loss} against the whole network, with {confidence} confidence ({samples} samples tested)"
        )?;
        if !compared_evidence.is_empty() {
            let kinds = compared_evidence.len();
            writeln!(out, "         confidence and evidence are the ones of {kinds} that certify at the least cost")?;
        }
        if let Some(more) = more_samples {
            writeln!(out, "         cheaper policies would need about {more} samples")?;
        }
    }
    write!(out, "\n{}", points_table(records, outcome))?;
    Ok(())
}

/// A table that fits a screen: every point that is a new step in cost.
fn points_table(records: &Records, outcome: &Outcome) -> String {
    let frontier = &outcome.frontier;
    let samples = outcome.found_on(records);
    let names: Vec<_> = records.exits().iter().map(|exit| text::name(exit)).collect();
    let header: Vec<&str> = ["cost", "accuracy", "s.e."].into_iter().chain(names.iter().map(AsRef::as_ref)).collect();
    let points = frontier.points();
    let step = points.len().div_ceil(12);
    let shown = points.iter().enumerate().filter(|(i, _)| i % step == 0 || i + 1 == points.len());
    let error = |p: &OperatingPoint| table::percent(p.accuracy_error(samples).into());
    let rows: Vec<Vec<String>> = shown
        .map(|(_, p)| {
            let shares = p.shares.iter().map(|&share| table::percent(share.into()));
            let head = [table::cost(p.cost.into(), frontier.unit()), table::percent(p.accuracy.into()), error(p)];
            head.into_iter().chain(shares).collect()
        })
        .collect();
    table::render(&header, &rows)
}

fn as_json<'a>(
    args: &'a Args,
    records: &'a Records,
    from: &'a Path,
    outcome: &'a Outcome,
    notes: &'a DataNotes,
) -> Report<'a> {
    let Outcome { frontier, solved, guarantee, evidence: compared_evidence, more_samples } = outcome;
    let chosen = solved.compared[solved.chosen];
    let compared = solved.compared.iter().map(|c| ComparedReport {
        confidence: c.measure.name(),
        evidence: c.ensemble.name(),
        accuracy: c.accuracy,
    });
    Report {
        policy: json::path(&args.output),
        records: json::path(from),
        model: records.model().to_string(),
        samples: records.len(),
        unit: frontier.unit().name(),
        compared: compared.collect(),
        chosen: ChosenReport { confidence: chosen.measure.name(), evidence: chosen.ensemble.name() },
        optimism: solved.optimism,
        guarantee: guarantee.map(|g| GuaranteeReport {
            test: loss_test(args).name(),
            max_loss: g.max_loss,
            confidence: g.confidence,
            samples: g.samples,
            more_samples: *more_samples,
            evidence: compared_evidence.iter().map(certifiable_report).collect(),
        }),
        skipped: notes.skipped(),
        warnings: notes.warnings(),
        points: frontier
            .points()
            .iter()
            .map(|point| point_report(records.exits(), point, outcome.found_on(records)))
            .collect(),
    }
}

fn certifiable_report(found: &CertifiableCost) -> CertifiableReport {
    CertifiableReport { confidence: found.measure.name(), evidence: found.ensemble.name(), cost: found.cost }
}

fn point_report(exits: &[String], point: &OperatingPoint, samples: u32) -> PointReport {
    let threshold = |(exit, rule): (&String, &ExitRule)| match rule {
        ExitRule::Leave(threshold) => Some((exit.clone(), *threshold)),
        ExitRule::Skip | ExitRule::Ask | ExitRule::Unless { .. } => None,
    };
    PointReport {
        accuracy: point.accuracy,
        accuracy_error: point.accuracy_error(samples),
        cost: point.cost,
        shares: exits.iter().cloned().zip(point.shares.iter().copied()).collect(),
        thresholds: exits.iter().zip(point.policy.rules()).filter_map(threshold).collect(),
    }
}
