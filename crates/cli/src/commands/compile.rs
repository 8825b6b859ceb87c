//! `compile`: an ONNX model ahead of time into a bundle.

use std::borrow::Cow;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::anyhow;
use clap::Args as ClapArgs;
use dyn_perceiver::bundle::{self, BundleError, BundleInfo, Precision, Target};
use dyn_perceiver::machine::{self, MachineTimes};
use dyn_perceiver::model::LoadOptions;
use dyn_perceiver::plan::Plan;
use dyn_perceiver::runtime::ThreadChoice;
use serde::Serialize;

use crate::args::load::LoadArgs;
use crate::output::failure::{Failure, OrInput as _, wrong};
use crate::output::out::Out;
use crate::output::{json, table, text};

/// Compile a model ahead of time into one file that starts at once
///
/// The bundle holds the model's stages with operators fused and weights packed, its labels and preprocessing, and the policy
/// given. Every command takes it in place of the ONNX file, with its policy as the default. JSON: see docs/json.md.
#[derive(ClapArgs)]
pub(crate) struct Args {
    /// ONNX file
    model: PathBuf,
    /// Put this policy file into the bundle, which `calibrate` wrote for this model
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// Compile for this CPU, such as cortex-a72; today all want weights in the same layout [default: this machine's
    /// architecture]
    #[arg(long, value_name = "CPU")]
    target: Option<Target>,
    /// Store weights so: f32, or f16 where that gains. A policy for f16 is calibrated on the bundle, which may then be
    /// compiled again with it
    #[arg(long, value_name = "f32|f16", default_value_t)]
    precision: Precision,
    /// Write the bundle to this file
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Time the stages here and keep that in the bundle, so that `run` need not at its start on machines like this one
    #[arg(long)]
    keep_times: bool,
    #[command(flatten)]
    load: LoadArgs,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Report<'a> {
    bundle: Cow<'a, str>,
    bytes: usize,
    weight_bytes: usize,
    model: Cow<'a, str>,
    digest: String,
    exits: &'a [String],
    target: &'a str,
    arch: &'a str,
    precision: String,
    policy: Option<Cow<'a, str>>,
    /// Threads for which the bundle has times of stages on this machine.
    times: Vec<usize>,
}

/// Times the stages of a bundle on each number of threads that may be fastest here and keeps the times in it; those `known` are
/// taken as they are.
pub(crate) fn keep_times(bundle: &Path, known: Option<MachineTimes>) -> Result<(), Failure> {
    let plan = Arc::new(Plan::load(bundle, &LoadOptions::default())?);
    let mut times: Vec<MachineTimes> = known.into_iter().collect();
    for threads in ThreadChoice::candidates() {
        if times.iter().all(|known| known.threads != threads) {
            times.push(MachineTimes::measure(&plan, threads)?);
        }
    }
    drop(plan);
    Ok(bundle::keep_times(bundle, times).map_err(anyhow::Error::from)?)
}

/// The numbers of threads for which a bundle has times of this machine.
fn timed(bundle: &BundleInfo) -> Vec<usize> {
    let here = bundle.times.iter().filter(|times| times.is_of_here());
    here.map(|times| times.threads.get()).collect()
}

pub(crate) fn run(args: Args) -> Result<(), Failure> {
    if bundle::is_bundle(&args.model) {
        return wrong(format!("{}: a bundle already, expected an ONNX file", args.model.display()));
    }
    if args.output.canonicalize().is_ok_and(|output| args.model.canonicalize().is_ok_and(|model| model == output)) {
        return wrong(format!("{}: the bundle would take the model's place", args.output.display()));
    }
    if let Some(target) =
        args.target.as_ref().filter(|target| args.keep_times && target.arch() != std::env::consts::ARCH)
    {
        return wrong(format!(
            "--keep-times: this machine is no {target}; `profile --keep-times` does it on the board"
        ));
    }
    let mut model = args.load.model(&args.model)?;
    if let Some(said) =
        args.policy.as_deref().map(dyn_perceiver::policy_file::load_over_time).transpose().or_input()?.flatten()
    {
        model = model.with_over_time(said.window as usize, said.repeats);
    }
    let policy = args.policy.as_deref().map(dyn_perceiver::policy_file::load).transpose().or_input()?;
    let target = args.target.unwrap_or_else(Target::host);
    let compiled =
        bundle::compile_with(model, policy, target, args.precision, &args.output).map_err(|error| match error {
            BundleError::Write { .. } => Failure::Failed(error.into()),
            error => Failure::Input(error.into()),
        })?;
    if args.keep_times {
        keep_times(&args.output, None)?;
    }
    // What was written is what is reported, and known to load.
    let plan = Plan::load(&args.output, &LoadOptions::default())?;
    let (info, bundle) = (plan.info(), plan.bundle().ok_or_else(|| anyhow!("no bundle was written"))?);
    let mut out = Out::stdout();
    if args.json {
        out.json(&Report {
            bundle: json::path(&args.output),
            bytes: compiled.bytes,
            weight_bytes: compiled.weight_bytes,
            model: json::path(&args.model),
            digest: info.digest.hex().to_string(),
            exits: &info.exits,
            target: bundle.target.name(),
            arch: bundle.target.arch(),
            precision: args.precision.to_string(),
            policy: args.policy.as_deref().map(json::path),
            times: timed(bundle),
        })?;
        return Ok(());
    }
    let (bytes, weights) = (table::bytes(compiled.bytes as u64), table::bytes(compiled.weight_bytes as u64));
    writeln!(out, "{}  {bytes}, {weights} of them weights, for {}", text::shown(&args.output), bundle.target)?;
    writeln!(out, "from {}, sha256 {:.12}…", text::shown(&args.model), info.digest.hex().to_string())?;
    let points = bundle.policy.as_ref().map(|policy| policy.frontier().points().len());
    let policy = points.map_or("no policy".to_owned(), |points| format!("a policy of {points} operating points"));
    writeln!(out, "exits {}; {policy}", text::names(&info.exits))?;
    if args.keep_times {
        let threads = timed(bundle).iter().map(usize::to_string).collect::<Vec<_>>().join(", ");
        writeln!(out, "times of stages on {threads} threads of {}", text::lines(&machine::name()))?;
    }
    Ok(())
}
