//! What a start costs, from an ONNX file and from a bundle made of it, in processes of their own:
//! `cargo run --release --example start -- model.onnx [RUNS]`.
//!
//! The table has the median time from starting the process to the logits of the last exit, and, on Linux, the most
//! memory that the process held at once and what of its memory at the end is its own, not the mapped file's.

use std::error::Error;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use dyn_perceiver::model::{LoadOptions, Model};
use dyn_perceiver::plan::Plan;
use dyn_perceiver::plan::bundle::{self, Target};
use dyn_perceiver::runtime::Runtime;

/// A line of `/proc/self/status`, in KiB; 0 where there is none.
fn status(key: &str) -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':')).unwrap_or_default();
    line.split_whitespace().next().and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// One start, in this process.
fn start(path: &str) -> Result<(), Box<dyn Error>> {
    let plan = Arc::new(Plan::load(path, &LoadOptions::default())?);
    let image = vec![0.5; plan.info().input.len()];
    let last = plan.stages().len() - 1;
    let mut runtime = Runtime::new(plan)?;
    runtime.begin(&image)?;
    runtime.advance(last)?;
    println!("{} {}", status("VmHWM"), status("RssAnon"));
    Ok(())
}

/// Milliseconds, and the two figures in KiB that [`start`] prints.
fn measure(path: &str) -> Result<[f64; 3], Box<dyn Error>> {
    let begun = Instant::now();
    let output = Command::new(std::env::current_exe()?).args(["--start", path]).output()?;
    let milliseconds = 1e3 * begun.elapsed().as_secs_f64();
    let text = String::from_utf8(output.stdout)?;
    let figures: Vec<f64> = text.split_whitespace().map(str::parse).collect::<Result<_, _>>()?;
    let [peak, own] = figures[..] else {
        return Err(format!("{path}: {}", String::from_utf8_lossy(&output.stderr)).into());
    };
    Ok([milliseconds, peak, own])
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (model, runs) = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["--start", path] => return start(path),
        [model] => (model, 15),
        [model, runs] => (model, runs.parse::<usize>()?.max(1)),
        _ => return Err("expected: model.onnx [RUNS]".into()),
    };
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("model.dynp");
    bundle::compile(Model::load(model)?, None, Target::host(), &path)?;
    let bundle = path.to_str().ok_or("the temporary folder's name is not UTF-8")?;
    let mut rows = [vec![], vec![]];
    for _ in 0..runs {
        for (row, path) in rows.iter_mut().zip([model, bundle]) {
            row.push(measure(path)?);
        }
    }
    println!("{}, medians of {runs}", Path::new(model).file_name().unwrap_or_default().display());
    println!("| from | start to first result, ms | peak memory, MiB | of its own, MiB |\n| --- | --- | --- | --- |");
    for (name, row) in ["ONNX", "bundle"].iter().zip(&rows) {
        let [milliseconds, peak, own] = [0, 1, 2].map(|i| median(row.iter().map(|figures| figures[i]).collect()));
        println!("| {name} | {milliseconds:.1} | {:.1} | {:.1} |", peak / 1024.0, own / 1024.0);
    }
    Ok(())
}
