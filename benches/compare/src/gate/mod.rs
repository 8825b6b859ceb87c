//! `compare gate`: whether something got slower than a stored baseline.

mod noise;
mod pairs;
mod table;

use std::path::PathBuf;
use std::slice;

use anyhow::bail;
use noise::Verdict;

use crate::failure::OrInput as _;
use crate::report::text;
use crate::runs;

/// Compares results with a stored baseline and ends with exit code 1 where something got worse.
///
/// Times are compared as ratios to a peer that was measured in the same run, onnxruntime or else tract, and only beyond the
/// noise of each series; instruction counts at 2 %.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Result file to compare with
    #[arg(long, value_name = "BASE.jsonl")]
    baseline: PathBuf,
    /// Result files that `compare run` wrote
    #[arg(required = true, value_name = "RESULTS.jsonl")]
    results: Vec<PathBuf>,
    /// Print what was found as one JSON object
    #[arg(long)]
    json: bool,
}

/// Compares and prints.
///
/// # Errors
/// A file that is no result file; nothing in common; something that got worse.
pub(crate) fn run(args: Args) -> anyhow::Result<()> {
    let baseline = runs::gather(slice::from_ref(&args.baseline)).or_input()?;
    let results = runs::gather(&args.results).or_input()?;
    let findings = pairs::compare(&baseline, &results).or_input()?;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&findings)?);
    } else {
        print!("{}", text::render(&table::document(&findings)));
    }
    let verdicts = (findings.series.iter().map(|judged| judged.judgement.verdict))
        .chain(findings.instructions.iter().map(|judged| judged.judgement.verdict));
    match verdicts.filter(|verdict| *verdict == Verdict::Worse).count() {
        0 => Ok(()),
        1 => bail!("one series got worse"),
        worse => bail!("{worse} series got worse"),
    }
}
