//! `quantize`: a model with the layers in int8 that pay, as a bundle.

mod held_out;
mod tables;

use std::borrow::Cow;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, anyhow};
use clap::Args as ClapArgs;
use dyn_perceiver::bundle::{self, BundleError, Compiled, Target};
use dyn_perceiver::calibrate::records::{RecordWriter, Records};
use dyn_perceiver::calibrate::solver::{self, SolveOptions, Solved};
use dyn_perceiver::collect;
use dyn_perceiver::exit::{CalibratedPolicy, Frontier};
use dyn_perceiver::plan::Plan;
use dyn_perceiver::quantise::{Chosen, Layer, QuantiseOptions, Quantiser, Verdict};
use dyn_perceiver::{Classifier, Model};
use serde::Serialize;

use self::held_out::HeldOut;
use self::tables::{exits_table, layers_table};
use crate::args::images::{DataArgs, failure};
use crate::args::load::LoadArgs;
use crate::args::share::Share;
use crate::output::data_notes::{DataNotes, SkippedReport};
use crate::output::failure::{Failure, OrInput as _, wrong};
use crate::output::out::Out;
use crate::output::{json, progress, table, text};

/// Costs at which frontiers are compared.
const COSTS: u16 = 100;

/// Make the layers of a model int8 that are faster so, as a bundle
///
/// Ranges come from calibration images: min-max, percentiles or least squared error, whichever errs least. A layer stays
/// float unless int8 is faster on this machine, and those that cost accuracy stay float, too; the table says why. Policies
/// are found anew with the quantised model and put into the bundle. When a frame is not faster as a whole, nothing is
/// written and the exit code is 1. JSON: see docs/json.md.
#[derive(ClapArgs)]
pub(crate) struct Args {
    /// ONNX file
    model: PathBuf,
    #[command(flatten)]
    data: DataArgs,
    /// Take the ranges of layers from so many images, spread over all
    #[arg(long, value_name = "COUNT", default_value_t = 128, value_parser = clap::value_parser!(u32).range(1..=100_000), help_heading = "Data")]
    calibrate: u32,
    /// Hold accuracy against float on so many others of the images
    #[arg(long, value_name = "COUNT", default_value_t = 512, value_parser = clap::value_parser!(u32).range(1..=1_000_000), help_heading = "Data")]
    check: u32,
    /// Let no exit be right less often than in float by more than this; where one image is more, one may be lost if right
    /// answers are less probable by no more than this on average
    #[arg(long, value_name = "SHARE", default_value_t = Share::new(0.003))]
    tolerance: Share,
    /// Compare float and int8 on these labelled images, too, which nothing is chosen with
    #[arg(long, value_name = "PATH", help_heading = "Data")]
    test: Option<PathBuf>,
    /// Take every layer that costs no accuracy, and write the bundle, whether int8 pays on this machine or not
    #[arg(long)]
    even_if_slower: bool,
    /// Name this CPU in the bundle; layers are timed on this machine all the same [default: this machine's architecture]
    #[arg(long, value_name = "CPU")]
    target: Option<Target>,
    /// Write the bundle to this file
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    #[command(flatten)]
    load: LoadArgs,
    /// Print one JSON object
    #[arg(long, help_heading = None)]
    json: bool,
}

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Report<'a> {
    model: Cow<'a, str>,
    bundle: Option<Cow<'a, str>>,
    bytes: Option<usize>,
    weight_bytes: Option<usize>,
    digest: Option<String>,
    layers: Vec<LayerReport<'a>>,
    exits: Vec<ExitReport<'a>>,
    int8_kernels: &'a str,
    float_ms: f64,
    int8_ms: f64,
    ratio: f64,
    filters: usize,
    filters_int8: usize,
    pays: bool,
    frontier_area: Option<f64>,
    points: Option<usize>,
    test: Option<HeldOut<'a>>,
    skipped: Vec<SkippedReport<'a>>,
    warnings: &'a [String],
}

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct LayerReport<'a> {
    layer: &'a str,
    rows: usize,
    reduction: usize,
    columns: usize,
    range: Option<[f32; 2]>,
    method: Option<String>,
    error: f64,
    float_us: f64,
    int8_us: f64,
    verdict: &'static str,
}

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct ExitReport<'a> {
    exit: &'a str,
    float: Option<f64>,
    int8: Option<f64>,
    changed: f64,
}

/// Images as the network takes them.
struct Images {
    tensors: Vec<Vec<f32>>,
    labels: Vec<u32>,
}

/// Some images, each a tensor.
type Tensors<'a> = &'a [Vec<f32>];

/// What was written.
struct Written {
    compiled: Compiled,
    digest: String,
    /// The area under the new frontier over that of the float model's.
    area: f64,
    points: usize,
    plan: Arc<Plan>,
    /// Of the float model and of what was written.
    frontiers: [Frontier; 2],
}

pub(crate) fn run(args: Args) -> Result<(), Failure> {
    if bundle::is_bundle(&args.model) {
        return wrong(format!("{}: a bundle already, expected an ONNX file", args.model.display()));
    }
    if args.output.canonicalize().is_ok_and(|output| args.model.canonicalize().is_ok_and(|model| model == output)) {
        return wrong(format!("{}: the bundle would take the model's place", args.output.display()));
    }
    let model: Model = args.load.model(&args.model)?;
    let mut quantiser = Quantiser::new(model)?;
    let plan = quantiser.plan().clone();
    let (images, mut notes) = images(&args, &plan)?;
    let (calibration, check) = parts(&args, &images)?;
    quantiser.calibrate(calibration)?;
    let tolerance = f64::from(args.tolerance.get());
    let mut options = QuantiseOptions::default().with_tolerance(tolerance);
    if args.even_if_slower {
        options.layer_time = f64::INFINITY;
    }
    let labels = &images.labels[images.tensors.len() - check.len()..];
    let chosen = quantiser.choose(check, Some(labels), &options)?;
    let written = match chosen.pays || (args.even_if_slower && chosen.layers() > 0) {
        true => Some(write(&args, &quantiser, &chosen, &mut notes)?),
        false => None,
    };
    let test = match (&args.test, &written) {
        (Some(path), Some(Written { plan, frontiers: [float, int8], .. })) => {
            Some(HeldOut::new(&args, path, [quantiser.plan(), plan], [float, int8], &mut notes)?)
        }
        _ => None,
    };
    report(&args, &quantiser, &chosen, written.as_ref(), test, &notes)?;
    notes.tell();
    if written.is_none() {
        let (int8, float) = (1e3 * chosen.int8_time.as_secs_f64(), 1e3 * chosen.float_time.as_secs_f64());
        let why = match chosen.layers() {
            0 => "no layer is worth it".to_owned(),
            _ => format!("a frame takes {int8:.2} ms, {:.2} times the float network's {float:.2} ms", chosen.ratio),
        };
        return Err(anyhow!("int8 does not pay here: {why}; nothing was written").into());
    }
    notes.end()
}

/// The images for ranges, and those for the check; all of them for both where there are no more.
fn parts<'a>(args: &Args, images: &'a Images) -> Result<(Tensors<'a>, Tensors<'a>), Failure> {
    let tensors = images.tensors.as_slice();
    if tensors.is_empty() {
        return wrong(format!("{}: no image could be used", args.data.data.display()));
    }
    let (first, rest) = tensors.split_at(tensors.len().min(args.calibrate as usize));
    Ok((first, if rest.is_empty() { tensors } else { rest }))
}

/// Whether the item in this place is among `wanted` ones that are spread evenly over `all`.
fn is_among(place: usize, wanted: usize, all: usize) -> bool {
    let before = |place: usize| place as u128 * wanted.min(all) as u128 / all.max(1) as u128;
    before(place + 1) > before(place)
}

/// As many images as are asked for, ready for the network: spread over all, since folders are in the order of classes, and first those
/// for ranges, themselves spread.
fn images(args: &Args, plan: &Arc<Plan>) -> Result<(Images, DataNotes), Failure> {
    let data = args.data.open(plan.info(), args.load.images())?;
    let mut notes = DataNotes::of(&data);
    let all = data.len();
    let (calibrate, wanted) = (args.calibrate as usize, args.calibrate as usize + args.check as usize);
    let bar = progress::images(all, 0, args.json);
    let mut classifier = Classifier::new(plan.clone())?;
    let [mut first, mut rest] = [0; 2].map(|_| Images { tensors: vec![], labels: vec![] });
    let mut taken = 0;
    let visited = data.visit(0, 1, |samples| {
        for sample in samples.iter().filter(|sample| is_among(sample.index, wanted, all)) {
            let part = if is_among(taken, calibrate, wanted.min(all)) { &mut first } else { &mut rest };
            part.tensors.push(classifier.tensor(&sample.frame)?.to_vec());
            part.labels.push(sample.label);
            taken += 1;
        }
        bar.set_position(samples.last().map_or(0, |sample| sample.index as u64 + 1));
        Ok(taken < wanted)
    });
    bar.finish_and_clear();
    notes.skip(visited.map_err(failure)?);
    first.tensors.append(&mut rest.tensors);
    first.labels.append(&mut rest.labels);
    Ok((first, notes))
}

fn write(args: &Args, quantiser: &Quantiser, chosen: &Chosen, notes: &mut DataNotes) -> Result<Written, Failure> {
    let plan = quantiser.plan_of(chosen)?;
    let data = &args.data.data;
    let solve = |records: &Records| solver::solve(records, &records.rows(), &SolveOptions::default()).or_input();
    let float = solve(&records(args, data, quantiser.plan(), None)?)?.frontier;
    let records = records(args, data, &plan, Some(notes))?;
    let Solved { frontier, calibration, .. } = solve(&records)?;
    let expected = |frontier: &Frontier, i: usize| f64::from(frontier.points()[i].accuracy);
    let area = area_of([&frontier, &float], [&|i| expected(&frontier, i), &|i| expected(&float, i)]);
    let points = frontier.points().len();
    let names = records.exits().iter().map(String::as_str);
    let policy = CalibratedPolicy::new(collect::digest(&plan), names, records.len() as u32, None, frontier.clone())?
        .with_calibration(calibration)?;
    let target = args.target.clone().unwrap_or_else(Target::host);
    let compiled = quantiser.compile(chosen, Some(policy), target, &args.output).map_err(|error| match error {
        BundleError::Write { .. } => Failure::Failed(error.into()),
        error => Failure::Input(error.into()),
    })?;
    let digest = collect::digest(&plan).hex().to_string();
    Ok(Written { compiled, digest, area, points, plan, frontiers: [float, frontier] })
}

/// What every exit of a plan says of all the images in `path`.
fn records(args: &Args, path: &Path, plan: &Arc<Plan>, notes: Option<&mut DataNotes>) -> Result<Records, Failure> {
    let folder = tempfile::tempdir().context("a folder for records")?;
    let file = folder.path().join("records.csv");
    let images = DataArgs { data: path.into(), ..args.data.clone() };
    let range = if path == args.data.data { args.load.images() } else { None };
    let data = images.open(plan.info(), range)?;
    let header = collect::header(plan, collect::mac_costs(plan)?);
    let mut writer = RecordWriter::resume(&file, &header, data.names()).or_input()?;
    let bar = progress::images(data.len(), 0, args.json);
    let jobs = std::thread::available_parallelism().map_or(1, |cores| cores.get());
    let collected = collect::collect(plan, data, &mut writer, jobs, |done| {
        bar.set_position(done as u64);
        true
    });
    bar.finish_and_clear();
    let collected = collected.map_err(failure)?;
    if let Some(notes) = notes {
        notes.skip(collected.skipped);
    }
    writer.finish()?;
    Ok(Records::read(&file)?)
}

/// How often each point of a frontier is right.
type Accuracies<'a> = &'a dyn Fn(usize) -> f64;

/// Mean accuracy of one frontier over that of another, over costs that both span.
fn area_of([frontier, other]: [&Frontier; 2], [right, right_other]: [Accuracies<'_>; 2]) -> f64 {
    let ends = |frontier: &Frontier| {
        let costs = || frontier.points().iter().map(|point| f64::from(point.cost));
        (costs().fold(f64::INFINITY, f64::min), costs().fold(0.0, f64::max))
    };
    let ((from, until), (other_from, other_until)) = (ends(frontier), ends(other));
    let (from, until) = (from.max(other_from), until.min(other_until).max(from.max(other_from)));
    let mean = |frontier: &Frontier, right: Accuracies<'_>| -> f64 {
        let at = |step: u16| from + (until - from) * f64::from(step) / f64::from(COSTS);
        (0..=COSTS).map(|step| accuracy(frontier, right, at(step) as f32)).sum()
    };
    mean(frontier, right) / mean(other, right_other).max(f64::MIN_POSITIVE)
}

/// The accuracy that a budget buys, two points mixed.
fn accuracy(frontier: &Frontier, right: Accuracies<'_>, budget: f32) -> f64 {
    let mix = frontier.mix(budget);
    let [low, high] = [mix.low, mix.high].map(right);
    low + f64::from(mix.share_of_high) * (high - low)
}

fn report(
    args: &Args,
    quantiser: &Quantiser,
    chosen: &Chosen,
    written: Option<&Written>,
    test: Option<HeldOut<'_>>,
    notes: &DataNotes,
) -> Result<(), Failure> {
    let mut out = Out::stdout();
    let exits = &quantiser.plan().info().exits;
    let kernels = Classifier::new(quantiser.plan().clone())?.runtime().int8_isa();
    if args.json {
        let layers = quantiser.layers().iter().zip(&chosen.verdicts);
        return Ok(out.json(&Report {
            model: json::path(&args.model),
            bundle: written.map(|_| json::path(&args.output)),
            bytes: written.map(|written| written.compiled.bytes),
            weight_bytes: written.map(|written| written.compiled.weight_bytes),
            digest: written.map(|written| written.digest.clone()),
            layers: layers.map(|(layer, verdict)| layer_report(layer, *verdict)).collect(),
            exits: exits
                .iter()
                .zip(&chosen.exits)
                .map(|(exit, check)| ExitReport { exit, float: check.float, int8: check.int8, changed: check.changed })
                .collect(),
            int8_kernels: kernels,
            float_ms: 1e3 * chosen.float_time.as_secs_f64(),
            int8_ms: 1e3 * chosen.int8_time.as_secs_f64(),
            ratio: chosen.ratio,
            filters: quantiser.filters().len(),
            filters_int8: chosen.filters.len(),
            pays: chosen.pays,
            frontier_area: written.map(|written| written.area),
            points: written.map(|written| written.points),
            test,
            skipped: notes.skipped(),
            warnings: notes.warnings(),
        })?);
    }
    write!(out, "{}\n{}\n", layers_table(quantiser.layers(), &chosen.verdicts), exits_table(exits, chosen))?;
    let (float, int8) = (1e3 * chosen.float_time.as_secs_f64(), 1e3 * chosen.int8_time.as_secs_f64());
    writeln!(out, "a frame  {float:.2} ms in float, {int8:.2} ms with {} layers in int8", chosen.layers())?;
    writeln!(out, "         {:.2} times as long, in turns on one thread; int8 kernels: {kernels}", chosen.ratio)?;
    let (rounded, filters) = (chosen.filters.len(), quantiser.filters().len());
    if rounded > 0 {
        writeln!(
            out,
            "         weights of {rounded} of {filters} depthwise convolutions as int8, too, multiplied in float"
        )?;
    }
    if let Some(written) = written {
        let bytes = table::bytes(written.compiled.bytes as u64);
        writeln!(out, "bundle   {}  {bytes}, sha256 {:.12}…", text::shown(&args.output), written.digest)?;
        writeln!(
            out,
            "policy   {} points, found anew; {:.4} times the accuracy of float's policies at the same cost",
            written.points, written.area
        )?;
    }
    if let Some(test) = test {
        write!(out, "\n{}", test.text())?;
    }
    Ok(())
}

fn layer_report(layer: &Layer, verdict: Verdict) -> LayerReport<'_> {
    LayerReport {
        layer: &layer.name,
        rows: layer.rows,
        reduction: layer.reduction,
        columns: layer.columns,
        range: layer.range.map(|range| [range.low, range.high]),
        method: layer.range.map(|range| range.method.to_string()),
        error: layer.error,
        float_us: 1e6 * layer.float_time.as_secs_f64(),
        int8_us: 1e6 * layer.int8_time.as_secs_f64(),
        verdict: verdict.name(),
    }
}
