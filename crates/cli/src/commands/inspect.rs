//! `inspect`: what a model is made of.

use std::borrow::Cow;
use std::fmt;
use std::io::Write as _;
use std::path::PathBuf;

use clap::Args as ClapArgs;
use dyn_perceiver::machine::MachineTimes;
use dyn_perceiver::model::{Layout, PreprocessingSource};
use dyn_perceiver::plan::{LayerCounts, Plan, Stage};
use dyn_perceiver::preprocess::Interpolation;
use dyn_perceiver_kernels::gemm::KernelFamily;
use dyn_perceiver_kernels::isa;
use serde::Serialize;

use crate::args::load::LoadArgs;
use crate::args::model;
use crate::output::failure::{Failure, OrInput as _};
use crate::output::out::Out;
use crate::output::{json, message, table, text};

/// Show a model's exits, stages, what each costs, and how images become its input
///
/// JSON: see docs/json.md.
#[derive(ClapArgs)]
pub(crate) struct Args {
    /// ONNX file, or a bundle that `compile` wrote
    model: PathBuf,
    #[command(flatten)]
    load: LoadArgs,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Report<'a> {
    model: Cow<'a, str>,
    digest: String,
    file_bytes: u64,
    input: Input<'a>,
    classes: usize,
    labels: Option<&'a [String]>,
    #[cfg_attr(test, schemars(with = "Vec<crate::schemas::Stage>"))]
    stages: &'a [Stage],
    total: Total,
    bundle: Option<Bundle<'a>>,
    machine: Machine,
    warnings: &'a [String],
    notes: &'a [String],
}

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct Input<'a> {
    name: &'a str,
    /// N, C, H, W.
    shape: [usize; 4],
    mean: [f32; 3],
    std: [f32; 3],
    crop: f32,
    #[cfg_attr(test, schemars(with = "String"))]
    interpolation: Interpolation,
    /// Order of the axes in the file; the network itself runs on NHWC.
    #[cfg_attr(test, schemars(with = "String"))]
    layout: Layout,
    /// Where mean and deviation, of pixels in [0, 1], come from.
    #[cfg_attr(test, schemars(with = "String"))]
    source: PreprocessingSource,
}

/// What the network would run on here.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct Machine {
    isa: &'static str,
    kernels: String,
    /// Layers with weights, by what they are multiplied as.
    layers: Layers,
}

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct Layers {
    f32: usize,
    f16: usize,
    int8: usize,
}

impl fmt::Display for Layers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Layers { f32, f16, int8 } = *self;
        write!(f, "{} layers with weights", f32 + f16 + int8)?;
        [(f16, "f16"), (int8, "int8")]
            .iter()
            .filter(|(count, _)| *count > 0)
            .try_for_each(|(n, what)| write!(f, ", {n} in {what}"))
    }
}

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct Total {
    macs: u64,
    parameters: u64,
    weight_bytes: u64,
}

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct Bundle<'a> {
    source: &'a str,
    program: &'a str,
    target: &'a str,
    points: Option<usize>,
    /// Whether the policy says how probably its answers are right.
    probability: bool,
    /// Times of stages that the bundle has.
    times: Vec<Times<'a>>,
}

/// How long a frame takes on a machine.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct Times<'a> {
    machine: &'a str,
    /// Whether this machine is like it, so that `run` takes the times at its start.
    here: bool,
    threads: usize,
    /// Milliseconds that each stage adds.
    stages_ms: Vec<f64>,
}

impl<'a> From<&'a MachineTimes> for Times<'a> {
    fn from(times: &'a MachineTimes) -> Self {
        let stages_ms = times.seconds.iter().map(|&seconds| 1e3 * f64::from(seconds)).collect();
        Times { machine: &times.machine, here: times.is_of_here(), threads: times.threads.get(), stages_ms }
    }
}

impl Total {
    fn of(stages: &[Stage]) -> Self {
        let sum = |value: fn(&Stage) -> u64| stages.iter().map(value).sum::<u64>();
        Self { macs: sum(|s| s.macs), parameters: sum(|s| s.parameters), weight_bytes: sum(|s| s.weight_bytes) }
    }
}

pub(crate) fn run(args: Args) -> Result<(), Failure> {
    let plan = args.load.plan(&args.model)?;
    // What is shown is also known to run.
    plan.check().or_input()?.iter().for_each(|told| message::warning(told));
    let report = report(&plan);
    let mut out = Out::stdout();
    if args.json { Ok(out.json(&report)?) } else { print(&mut out, &report, &plan) }
}

fn report(plan: &Plan) -> Report<'_> {
    let info = plan.info();
    let input = &info.input;
    Report {
        model: json::path(&info.path),
        digest: info.digest.hex().to_string(),
        file_bytes: info.file_bytes,
        input: Input {
            name: &input.name,
            shape: [input.batch, input.channels, input.height, input.width],
            mean: input.preprocessing.mean,
            std: input.preprocessing.std,
            crop: input.preprocessing.crop,
            interpolation: input.preprocessing.interpolation,
            layout: info.layout,
            source: info.preprocessing_source,
        },
        classes: info.classes,
        labels: info.labels.as_deref(),
        stages: plan.stages(),
        total: Total::of(plan.stages()),
        bundle: plan.bundle().map(|bundle| Bundle {
            source: &bundle.source,
            program: &bundle.program,
            target: bundle.target.name(),
            points: bundle.policy.as_ref().map(|policy| policy.frontier().points().len()),
            probability: bundle.policy.as_ref().is_some_and(|policy| policy.calibration().is_some()),
            times: bundle.times.iter().map(Times::from).collect(),
        }),
        machine: Machine {
            isa: isa().name(),
            kernels: KernelFamily::F32.to_string(),
            layers: {
                let LayerCounts { f32, f16, int8, .. } = plan.layers();
                Layers { f32, f16, int8 }
            },
        },
        warnings: &info.warnings,
        notes: &info.notes,
    }
}

fn print(out: &mut Out, report: &Report<'_>, plan: &Plan) -> Result<(), Failure> {
    let bytes = table::bytes(report.file_bytes);
    writeln!(out, "{}  {bytes}, sha256 {:.12}…", model::name(plan), report.digest)?;
    if let (Some(bundle), Some(info)) = (&report.bundle, plan.bundle()) {
        let (source, program, points) =
            (text::name(bundle.source), text::name(bundle.program), bundle.points.unwrap_or(0));
        writeln!(out, "compiled from {source} for {} by version {program}, {points} operating points", info.target)?;
    }
    for times in report.bundle.iter().flat_map(|bundle| &bundle.times) {
        let whole = times.stages_ms.iter().sum::<f64>();
        let used = if times.here { "this machine" } else { "not used on this machine" };
        let (threads, machine) = (times.threads, text::lines(times.machine));
        writeln!(out, "timed at {whole:.2} ms a whole frame on {threads} threads of {machine} ({used})")?;
    }
    let (input, shape) = (text::name(report.input.name), report.input.shape);
    writeln!(out, "input {input} {shape:?}, {} classes, {} exits", report.classes, report.stages.len())?;
    let Input { mean, std, crop, .. } = report.input;
    let source = match report.input.source {
        PreprocessingSource::Metadata => "by the file's metadata",
        PreprocessingSource::Options => "as given",
        PreprocessingSource::Pixels => "8-bit pixels as they are",
        _ => "assumed: the file does not say",
    };
    writeln!(out, "pixels in [0, 1], mean {mean:?}, standard deviation {std:?} ({source}); centre crop {crop}")?;
    for note in report.notes {
        writeln!(out, "note: {}", text::lines(note))?;
    }
    let Machine { kernels, isa, layers } = &report.machine;
    writeln!(out, "runs on {kernels} kernels by {isa}; {layers}\n")?;
    let header = ["exit", "nodes", "MACs", "cumulative", "share", "exit alone", "parameters", "weights", "carry"];
    let rows: Vec<Vec<String>> = report
        .stages
        .iter()
        .map(|s| {
            vec![
                text::name(&s.exit).into_owned(),
                s.nodes.to_string(),
                table::count(s.macs),
                table::count(s.cumulative_macs),
                table::percent(s.cumulative_macs as f64 / report.total.macs.max(1) as f64),
                table::count(s.exit_alone_macs),
                table::count(s.parameters),
                table::bytes(s.weight_bytes),
                table::bytes(s.carry_bytes),
            ]
        })
        .collect();
    write!(out, "{}", table::render(&header, &rows))?;
    let Total { macs, parameters, weight_bytes } = report.total;
    let totals = (table::count(macs), table::count(parameters), table::bytes(weight_bytes));
    writeln!(out, "\ntotal: {}MACs, {}parameters, {} of weights", totals.0, totals.1, totals.2)?;
    Ok(())
}
