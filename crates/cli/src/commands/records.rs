//! `records`: calibration records by themselves, in parts made on several machines and put together.

use std::borrow::Cow;
use std::io::Write as _;
use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::{Args as ClapArgs, Subcommand};
use dyn_perceiver::calibrate::records::{RecordWriter, Shard, ShardError, mark, merge};
use dyn_perceiver::collect;
use serde::Serialize;

use crate::args::cost::costs;
use crate::args::images::{DataArgs, failure};
use crate::args::load::LoadArgs;
use crate::output::data_notes::DataNotes;
use crate::output::failure::{Failure, wrong};
use crate::output::out::Out;
use crate::output::{json, progress, text};

/// Record what the exits say of labelled images, in parts if need be
///
/// `calibrate --data RECORDS` then finds policies in them. Parts can be made at the same time on several machines, with
/// engines such as Ray, Kubernetes or Slurm: see examples/scale. JSON: see docs/json.md.
#[derive(ClapArgs)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Collect(CollectArgs),
    Merge(MergeArgs),
}

/// Run every image to the last exit, and record what each exit says
///
/// A run that was stopped goes on where it was. JSON: see docs/json.md.
#[derive(ClapArgs)]
struct CollectArgs {
    /// ONNX file, or a bundle that `compile` wrote
    model: PathBuf,
    #[command(flatten)]
    data: DataArgs,
    /// Record only part I of N of the images, as I/N, for `records merge`
    #[arg(long, value_name = "I/N", help_heading = "Data")]
    shard: Option<Shard>,
    /// Write the records to this file
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Count as a frame's cost: macs, latency (measured here), or joules by this profile of a board
    #[arg(long, value_name = "macs|latency|FILE", default_value = "macs")]
    cost: String,
    /// Run so many images at once [default: one per core]
    #[arg(long, value_name = "COUNT")]
    jobs: Option<NonZeroUsize>,
    #[command(flatten)]
    load: LoadArgs,
    /// Print one JSON object
    #[arg(long, help_heading = None)]
    json: bool,
}

/// Put the parts of `records collect --shard` together, in any order
///
/// Gives the same bytes as one run over all images. Parts of another model, other data or another split are refused; the
/// same part twice does no harm. JSON: see docs/json.md.
#[derive(ClapArgs)]
struct MergeArgs {
    /// The parts
    #[arg(required = true)]
    parts: Vec<PathBuf>,
    /// Write the records to this file
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Report<'a> {
    records: Cow<'a, str>,
    samples: usize,
    shard: Option<String>,
}

pub(crate) fn run(args: Args) -> Result<(), Failure> {
    match args.command {
        Command::Collect(args) => collect_records(&args),
        Command::Merge(args) => {
            let samples = merge(&args.parts, &args.output).map_err(refused)?;
            report(&Report { records: json::path(&args.output), samples, shard: None }, &args.output, args.json)
        }
    }
}

/// What is wrong with a part is the user's to mend; a disk that is full is not.
fn refused(error: ShardError) -> Failure {
    match error {
        ShardError::Io { ref source, .. } if source.kind() != std::io::ErrorKind::NotFound => {
            Failure::Failed(error.into())
        }
        error => Failure::Input(error.into()),
    }
}

fn collect_records(args: &CollectArgs) -> Result<(), Failure> {
    let plan = args.load.plan(&args.model)?;
    let mut range = args.load.images();
    if let Some(shard) = args.shard {
        if range.is_some() {
            return wrong("--shard divides all images: it cannot be given together with a range of them".to_owned());
        }
        let all = args.data.open(plan.info(), None)?.len() as u64;
        let of_shard = shard.range(all);
        if of_shard.is_empty() {
            return wrong(format!("--shard {shard}: {all} images cannot be divided so often"));
        }
        range = Some(of_shard);
    }
    let data = args.data.open(plan.info(), range)?;
    let mut notes = DataNotes::of(&data);
    let header = collect::header(&plan, costs(&args.cost, &plan)?);
    let names = data.names().to_vec();
    let mut writer = RecordWriter::resume(&args.output, &header, &names)?;
    let bar = progress::images(names.len(), writer.done(), args.json);
    let jobs = args.jobs.or_else(|| std::thread::available_parallelism().ok()).map_or(1, NonZeroUsize::get);
    let collected = collect::collect(&plan, data, &mut writer, jobs, |done| {
        bar.set_position(done as u64);
        true
    });
    bar.finish_and_clear();
    notes.skip(collected.map_err(failure)?.skipped);
    let samples = writer.done();
    writer.finish()?;
    if let Some(shard) = args.shard {
        mark(&args.output, shard).map_err(refused)?;
    }
    let shard = args.shard.map(|shard| shard.to_string());
    report(&Report { records: json::path(&args.output), samples, shard }, &args.output, args.json)?;
    notes.tell();
    notes.end()
}

fn report(report: &Report<'_>, path: &std::path::Path, as_json: bool) -> Result<(), Failure> {
    let mut out = Out::stdout();
    if as_json {
        return Ok(out.json(report)?);
    }
    let part = report.shard.as_ref().map_or(String::new(), |shard| format!(", part {shard}"));
    Ok(writeln!(out, "records  {} ({} samples{part})", text::shown(path), report.samples)?)
}
