//! The runtimes that are linked into this program, each run in a process of its own (`compare worker RUNTIME`).

mod onnxruntime;
mod stages;
mod tract;

use std::collections::BTreeMap;
use std::io::{BufRead as _, Write as _};
use std::time::Instant;

use anyhow::Context as _;
use serde::Serialize;

use crate::protocol::{Answer, Hello, Load, Loaded, Marked, Memory, Outputs, Request, Timed};

/// A loaded model that can be run again and again on the same input.
trait Engine {
    /// Computes once.
    fn run(&mut self) -> anyhow::Result<()>;
    /// Computes once and gives the outputs by name.
    fn outputs(&mut self) -> anyhow::Result<BTreeMap<String, Vec<f32>>>;
}

/// Runtimes that `compare worker` knows.
const RUNTIMES: [&str; 4] = ["dyn-perceiver", "dyn-perceiver-unstaged", "tract", "onnxruntime"];

/// Arguments of `compare worker`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The runtime to be.
    #[arg(value_parser = RUNTIMES)]
    runtime: String,
    /// ONNX Runtime's shared library.
    #[arg(long)]
    onnxruntime: Option<std::path::PathBuf>,
    /// Compute this many times in each call: a runtime that is known to be slower, to test the comparison by.
    #[arg(long, default_value_t = 1, hide = true)]
    repeat: usize,
    /// Say that each computation took a millisecond, to test the comparison by on a machine that is busy.
    #[arg(long, hide = true)]
    counted: bool,
    /// Give outputs that are wrong by this much, to test the comparison by.
    #[arg(long, default_value_t = 0.0, hide = true)]
    wrong_by: f32,
}

/// Answers requests until standard input ends.
///
/// # Errors
/// When standard input or output fail.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    // As the program itself does; plain tract gains by it too.
    if args.runtime != "onnxruntime" {
        dyn_perceiver::plan::return_freed_memory();
    }
    let hello = match version(args) {
        Ok(version) => Hello::Ready { version, base_rss_bytes: peak_rss_bytes()? },
        Err(error) => Hello::Absent { absent: format!("{error:#}") },
    };
    say(&hello)?;
    let mut engine: Option<Box<dyn Engine>> = None;
    for line in std::io::stdin().lock().lines() {
        let request: Request = serde_json::from_str(&line?).context("no request")?;
        let loaded = || "nothing is loaded";
        match request {
            Request::Load(request) => answer(load(args, &request).map(|(new, load_s)| {
                engine = Some(new);
                Loaded { load_s }
            }))?,
            Request::Outputs => answer(engine.as_mut().with_context(loaded).and_then(|engine| {
                let mut outputs = engine.outputs()?;
                outputs.values_mut().flatten().for_each(|value| *value += args.wrong_by);
                Ok(Outputs { outputs })
            }))?,
            Request::Time { calls } => answer(engine.as_mut().with_context(loaded).and_then(|engine| {
                let began = Instant::now();
                let computed = (0..calls * args.repeat).try_fold(0_u32, |count, _| engine.run().map(|()| count + 1))?;
                let seconds = if args.counted { 1e-3 * f64::from(computed) } else { began.elapsed().as_secs_f64() };
                Ok(Timed { seconds })
            }))?,
            Request::Mark => {
                std::thread::yield_now();
                answer(Ok(Marked { marked: true }))?;
            }
            Request::Memory => answer(peak_rss_bytes().map(|peak_rss_bytes| Memory { peak_rss_bytes }))?,
        }
    }
    Ok(())
}

fn version(args: &Args) -> anyhow::Result<String> {
    match args.runtime.as_str() {
        "tract" => Ok(tract::VERSION.to_owned()),
        "onnxruntime" => onnxruntime::version(args.onnxruntime.as_deref()),
        _ => Ok(env!("CARGO_PKG_VERSION").to_owned()),
    }
}

/// The engine and the seconds from file to ready; the input is read before the clock runs.
fn load(args: &Args, request: &Load) -> anyhow::Result<(Box<dyn Engine>, f64)> {
    let input = input(request)?;
    let began = Instant::now();
    let engine: Box<dyn Engine> = match args.runtime.as_str() {
        "tract" => Box::new(tract::Whole::load(request, input)?),
        "onnxruntime" => Box::new(onnxruntime::OnnxRuntime::load(args.onnxruntime.as_deref(), request, input)?),
        "dyn-perceiver-unstaged" => stages::load(request, input, false)?,
        _ => stages::load(request, input, true)?,
    };
    Ok((engine, began.elapsed().as_secs_f64()))
}

/// The input of a request, row by row.
fn input(request: &Load) -> anyhow::Result<Vec<f32>> {
    let bytes = std::fs::read(&request.input).with_context(|| format!("cannot read {}", request.input.display()))?;
    let input: Vec<f32> = bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
    let (expected, actual) = (request.shape.iter().product::<usize>(), input.len());
    anyhow::ensure!(actual == expected, "{}: {actual} numbers where {expected} are wanted", request.input.display());
    Ok(input)
}

/// The most memory this process ever held.
fn peak_rss_bytes() -> anyhow::Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status").context("cannot read /proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib: u64 = line
        .and_then(|line| line.trim().trim_end_matches("kB").trim().parse().ok())
        .context("/proc/self/status has no VmHWM")?;
    Ok(kib * 1024)
}

fn answer<T: Serialize>(result: anyhow::Result<T>) -> anyhow::Result<()> {
    say(&match result {
        Ok(done) => Answer::Done(done),
        Err(error) => Answer::Error { error: format!("{error:#}") },
    })
}

fn say(value: &impl Serialize) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    serde_json::to_writer(&mut out, value)?;
    out.write_all(b"\n")?;
    Ok(out.flush()?)
}

/// Logits of plain tract for the model and input of `request`.
///
/// # Errors
/// When tract refuses the model.
pub(crate) fn reference(request: &Load) -> anyhow::Result<BTreeMap<String, Vec<f32>>> {
    tract::Whole::load(request, input(request)?)?.outputs()
}
