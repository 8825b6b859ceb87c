use std::io::Write as _;
use std::path::PathBuf;

use clap::Args as ClapArgs;
use serde_json::json;

use crate::args::policy as shipped;
use crate::output::failure::Failure;
use crate::output::table;

/// Show a model's exits, stages and what each costs
///
/// JSON keys: model, digest, file_bytes, input {name, shape, mean, std, crop}, classes, labels, stages [{exit, nodes, macs,
/// cumulative_macs, exit_alone_macs, parameters, weight_bytes, carry_bytes}], total {macs, parameters, weight_bytes}, bundle
/// {source, program, target, points} or null.
#[derive(ClapArgs)]
pub(crate) struct Args {
    /// ONNX file, or a bundle that `compile` wrote
    model: PathBuf,
    /// Exits by output name [default: the model's metadata, else every output of shape (N, classes)]
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    exits: Option<Vec<String>>,
    /// One JSON object on stdout
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: Args) -> Result<(), Failure> {
    let plan = shipped::plan(&args.model, args.exits)?;
    let info = plan.info();
    let stages = plan.stages();
    let sum = |value: fn(&dyn_perceiver::plan::Stage) -> u64| stages.iter().map(value).sum::<u64>();
    let (macs, parameters, weights) = (sum(|s| s.macs), sum(|s| s.parameters), sum(|s| s.weight_bytes));
    let input = &info.input;
    let shape = [input.batch, input.channels, input.height, input.width];
    let mut out = std::io::stdout().lock();
    if args.json {
        let preprocessing = &input.preprocessing;
        let object = json!({
            "model": info.path, "digest": info.digest.hex().to_string(), "file_bytes": info.file_bytes,
            "input": {"name": input.name, "shape": shape, "mean": preprocessing.mean, "std": preprocessing.std,
                      "crop": preprocessing.crop},
            "classes": info.classes, "labels": info.labels, "stages": stages,
            "total": {"macs": macs, "parameters": parameters, "weight_bytes": weights},
            "bundle": plan.bundle().map(|bundle| json!({
                "source": bundle.source, "program": bundle.program, "target": bundle.target.name(),
                "points": bundle.policy.as_ref().map(|policy| policy.frontier().points().len()),
            })),
        });
        writeln!(out, "{object}")?;
        return Ok(());
    }
    writeln!(
        out,
        "{}  {}, sha256 {:.12}…",
        info.path.display(),
        table::bytes(info.file_bytes),
        info.digest.hex().to_string()
    )?;
    if let Some(bundle) = plan.bundle() {
        let points = bundle.policy.as_ref().map_or(0, |policy| policy.frontier().points().len());
        let (source, program, target) = (&bundle.source, &bundle.program, &bundle.target);
        writeln!(out, "compiled from {source} for {target} by version {program}, {points} operating points")?;
    }
    writeln!(out, "input {} {shape:?}, {} classes, {} exits\n", input.name, info.classes, stages.len())?;
    let header = ["exit", "nodes", "MACs", "cumulative", "share", "exit alone", "parameters", "weights", "carry"];
    let rows: Vec<Vec<String>> = stages
        .iter()
        .map(|s| {
            vec![
                s.exit.clone(),
                s.nodes.to_string(),
                table::count(s.macs),
                table::count(s.cumulative_macs),
                table::percent(s.cumulative_macs as f64 / macs.max(1) as f64),
                table::count(s.exit_alone_macs),
                table::count(s.parameters),
                table::bytes(s.weight_bytes),
                table::bytes(s.carry_bytes),
            ]
        })
        .collect();
    write!(out, "{}", table::render(&header, &rows))?;
    let totals = (table::count(macs), table::count(parameters), table::bytes(weights));
    writeln!(out, "\ntotal: {}MACs, {}parameters, {} of weights", totals.0, totals.1, totals.2)?;
    Ok(())
}
