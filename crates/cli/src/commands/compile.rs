use std::io::Write as _;
use std::path::PathBuf;

use anyhow::anyhow;
use clap::Args as ClapArgs;
use dyn_perceiver::bundle::{self, BundleError, Target};
use dyn_perceiver::model::{LoadOptions, Model};
use serde_json::json;

use crate::output::failure::{Failure, OrInput as _};
use crate::output::table;

/// Compile a model into one file that starts at once
///
/// The bundle holds the model's stages rewritten and with packed weights, its labels and preprocessing, and the policy
/// given. Every command takes it in place of the ONNX file, with its policy as the default.
///
/// JSON keys: bundle, bytes, weight_bytes, model, digest, exits, target, arch, policy.
#[derive(ClapArgs)]
pub(crate) struct Args {
    /// ONNX file
    model: PathBuf,
    /// Policy file that `calibrate` wrote for this model, to go with it
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// The CPU to compile for, such as cortex-a72; today all want weights in the same layout [default: this machine's
    /// architecture]
    #[arg(long, value_name = "CPU")]
    target: Option<Target>,
    /// Bundle to write
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Exits by output name [default: the model's metadata, else every output of shape (N, classes)]
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    exits: Option<Vec<String>>,
    /// One JSON object on stdout
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: Args) -> Result<(), Failure> {
    if bundle::is_bundle(&args.model) {
        return Err(anyhow!("{}: a bundle already, expected an ONNX file", args.model.display())).or_input();
    }
    if args.output.canonicalize().is_ok_and(|output| args.model.canonicalize().is_ok_and(|model| model == output)) {
        return Err(anyhow!("{}: the bundle would take the model's place", args.output.display())).or_input();
    }
    let model = Model::load_with(&args.model, &LoadOptions::default().with_exits(args.exits)).or_input()?;
    let policy = args.policy.as_deref().map(dyn_perceiver::policy_file::load).transpose().or_input()?;
    let target = args.target.unwrap_or_else(Target::host);
    let compiled = bundle::compile(model, policy, target, &args.output).map_err(|error| match error {
        BundleError::Write { .. } => Failure::Failed(error.into()),
        error => Failure::Input(error.into()),
    })?;
    // What was written is what is reported, and known to load.
    let plan = dyn_perceiver::plan::Plan::load(&args.output, &LoadOptions::default())?;
    let (info, bundle) = (plan.info(), plan.bundle().ok_or_else(|| anyhow!("no bundle was written"))?);
    let mut out = std::io::stdout().lock();
    if args.json {
        let object = json!({
            "bundle": args.output, "bytes": compiled.bytes, "weight_bytes": compiled.weight_bytes, "model": args.model,
            "digest": info.digest.to_string(), "exits": info.exits, "target": bundle.target.name(),
            "arch": bundle.target.arch(), "policy": args.policy,
        });
        writeln!(out, "{object}")?;
        return Ok(());
    }
    let (bytes, weights) = (table::bytes(compiled.bytes as u64), table::bytes(compiled.weight_bytes as u64));
    writeln!(out, "{}  {bytes}, {weights} of them weights, for {}", args.output.display(), bundle.target)?;
    writeln!(out, "from {}, sha256 {:.12}…", args.model.display(), info.digest.to_string())?;
    let points = bundle.policy.as_ref().map(|policy| policy.frontier().points().len());
    let policy = points.map_or("no policy".to_owned(), |points| format!("a policy of {points} operating points"));
    writeln!(out, "exits {}; {policy}", info.exits.join(", "))?;
    Ok(())
}
