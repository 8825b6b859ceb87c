//! What a start costs, from an ONNX file and from a bundle made of it, in processes of their own:
//! `cargo run --release -p compare --example start -- model.onnx [RUNS]`.
//!
//! The table has the median time from starting the process to the logits of the last exit; on Linux, the most memory that
//! the process had held by then, and what of its memory was its own and not the mapped file's; and the time of a frame
//! once the process has run for a second and a half, each process counting with its median of fifteen.

use std::error::Error;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use dyn_perceiver::bundle::{self, Target};
use dyn_perceiver::model::{LoadOptions, Model};
use dyn_perceiver::plan::Plan;
use dyn_perceiver::runtime::Runtime;

/// Frames are timed when the process is as old as this: clocks have risen then, however long the start took.
const SETTLED: Duration = Duration::from_millis(1500);

/// A line of `/proc/self/status`, in KiB; 0 where there is none.
fn status(key: &str) -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':')).unwrap_or_default();
    line.split_whitespace().next().and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// One start, in this process, and some frames.
fn start(path: &str) -> Result<(), Box<dyn Error>> {
    let started = Instant::now();
    dyn_perceiver::plan::return_freed_memory();
    let plan = Arc::new(Plan::load(path, &LoadOptions::default())?);
    let image = vec![0.5; plan.info().input.len()];
    let last = plan.stages().len() - 1;
    let mut runtime = Runtime::new(plan)?;
    let mut frame = || -> Result<f64, Box<dyn Error>> {
        let begun = Instant::now();
        runtime.begin(&image)?;
        runtime.advance(last)?;
        Ok(1e3 * begun.elapsed().as_secs_f64())
    };
    frame()?;
    println!("{} {}", status("VmHWM"), status("RssAnon"));
    while started.elapsed() < SETTLED {
        frame()?;
    }
    let frames = (0..15).map(|_| frame()).collect::<Result<_, _>>()?;
    println!("{}", median(frames));
    Ok(())
}

/// Milliseconds to the first result, the two figures in KiB that [`start`] prints with it, and milliseconds of a frame.
fn measure(path: &str) -> Result<[f64; 4], Box<dyn Error>> {
    let begun = Instant::now();
    let mut child = Command::new(std::env::current_exe()?).args(["--start", path]).stdout(Stdio::piped()).spawn()?;
    let mut output = BufReader::new(child.stdout.take().ok_or("no output")?);
    let mut text = String::new();
    output.read_line(&mut text)?;
    let first = 1e3 * begun.elapsed().as_secs_f64();
    output.read_line(&mut text)?;
    child.wait()?;
    let figures: Vec<f64> = text.split_whitespace().map(str::parse).collect::<Result<_, _>>()?;
    let [peak, own, frame] = figures[..] else { return Err(format!("{path}: no result").into()) };
    Ok([first, peak / 1024.0, own / 1024.0, frame])
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
    println!("| model | from | start to first result, ms | peak memory, MiB | of its own, MiB | frame, ms |");
    println!("| --- | --- | --- | --- | --- | --- |");
    let name = Path::new(model).file_stem().unwrap_or_default().display();
    for (from, row) in ["ONNX", "bundle"].iter().zip(&rows) {
        let [first, peak, own, frame] = [0, 1, 2, 3].map(|i| median(row.iter().map(|figures| figures[i]).collect()));
        println!("| {name} | {from} | {first:.1} | {peak:.1} | {own:.1} | {frame:.2} |");
    }
    Ok(())
}
