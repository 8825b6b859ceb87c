//! `compare report`: result files to Markdown tables, SVG plots and one HTML page.

mod accuracy;
pub(crate) mod contest;
pub(crate) mod document;
mod environment;
mod html;
mod instructions;
mod load;
mod losses;
pub(crate) mod markdown;
mod page;
mod plot;
mod scaling;
mod styles;
mod summary;
pub(crate) mod text;
mod times;
pub(crate) mod units;
mod verdict;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use dyn_perceiver_core::file::atomic_write;

use crate::failure::OrInput as _;
use crate::runs;

/// Turns results into Markdown tables, SVG plots and one HTML page that loads nothing.
///
/// Results of several machines and runs may be given together: each keeps its own section.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Result files that `compare run` wrote
    #[arg(required = true, value_name = "RESULTS.jsonl")]
    results: Vec<PathBuf>,
    /// Folder for report.md, report.html and plots/
    #[arg(short, long, value_name = "DIR", default_value = "target/compare")]
    output: PathBuf,
    /// Print what the report says as one JSON object
    #[arg(long)]
    json: bool,
}

/// Reads the results and writes the report.
///
/// # Errors
/// A file that is no result file, or a folder that cannot be written.
pub(crate) fn run(args: Args) -> anyhow::Result<()> {
    let runs = runs::gather(&args.results).or_input()?;
    let document = page::page(&runs)?;
    let plots = args.output.join("plots");
    fs::create_dir_all(&plots).with_context(|| format!("cannot make {}", plots.display())).or_input()?;
    let mut written = vec![];
    for (file, figure) in document.numbered_figures() {
        written.push(write(&plots.join(file), &figure.svg)?);
    }
    written.push(write(&args.output.join("report.md"), &markdown::render(&document, "plots"))?);
    written.push(write(&args.output.join("report.html"), &html::render(&document))?);
    if args.json {
        println!("{}", serde_json::to_string_pretty(&summary::summary(&runs, &written))?);
    } else {
        let machines = runs::machines(&runs).len();
        let plural = |count: usize| if count == 1 { "" } else { "s" };
        println!("{} run{} of {machines} machine{}", runs.len(), plural(runs.len()), plural(machines));
        for path in written.iter().rev().take(2).rev() {
            println!("wrote {}", path.display());
        }
        println!("wrote {} plots to {}", written.len() - 2, plots.display());
    }
    Ok(())
}

/// Writes a file at once: a report that is open in a browser is never half a report.
fn write(path: &Path, text: &str) -> anyhow::Result<PathBuf> {
    atomic_write(path, text.as_bytes()).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path.to_owned())
}
