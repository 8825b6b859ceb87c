//! `models`: the Dyn-Perceiver family.

use std::io::Write as _;
use std::path::PathBuf;

use clap::{Args as ClapArgs, Subcommand};
use dyn_perceiver_models::{Config, EXITS, Metadata, Network, Seeded, family};
use serde::Serialize;

use crate::args::network::NetworkArgs;
use crate::output::failure::{Failure, OrInput as _};
use crate::output::json::Pairs;
use crate::output::network::{gmacs, save};
use crate::output::out::Out;
use crate::output::table;

/// List the Dyn-Perceiver family, or build one of its networks
///
/// Without a subcommand: every published network at 224x224, 1000 classes and depth factor 1, with its parameters and the
/// GMACs (multiply-accumulates, in billions) that each exit needs by itself. JSON: see docs/json.md.
#[derive(ClapArgs)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Subcommand)]
enum Command {
    Build(BuildArgs),
}

/// Write a network of the family as ONNX
///
/// JSON: see docs/json.md.
#[derive(ClapArgs)]
struct BuildArgs {
    /// <backbone>_perceiver_t<latents>, for instance reg800m_perceiver_t128
    name: String,
    /// Use deterministic weights, the same on every machine: for benchmarks and tests (`import` takes trained ones)
    #[arg(long, required = true)]
    seeded: bool,
    /// Write the ONNX file here
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    #[command(flatten)]
    network: NetworkArgs,
    /// Print one JSON object
    #[arg(long, help_heading = None)]
    json: bool,
}

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Report {
    models: Vec<ModelReport>,
}

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct ModelReport {
    name: String,
    parameters: usize,
    gmacs: Pairs<f64>,
}

pub(crate) fn run(args: Args) -> Result<(), Failure> {
    match args.command {
        None => list(args.json),
        Some(Command::Build(args)) => build(args),
    }
}

fn list(as_json: bool) -> Result<(), Failure> {
    let networks = family().iter().map(Network::new).collect::<Result<Vec<_>, _>>()?;
    let mut out = Out::stdout();
    if as_json {
        let model = |network: &Network| ModelReport {
            name: network.config().name(),
            parameters: network.parameter_count(),
            gmacs: gmacs(network),
        };
        out.json(&Report { models: networks.iter().map(model).collect() })?;
        return Ok(());
    }
    let rows: Vec<Vec<String>> = networks
        .iter()
        .map(|network| {
            let head = [network.config().name(), table::count(network.parameter_count() as u64)];
            head.into_iter().chain(network.macs_per_exit().map(|m| format!("{:.4}", m as f64 / 1e9))).collect()
        })
        .collect();
    let header: Vec<&str> = ["network", "parameters"].into_iter().chain(EXITS).collect();
    writeln!(out, "GMACs each exit needs by itself, at 224x224, 1000 classes, depth factor 1,1,1,1\n")?;
    write!(out, "{}", table::render(&header, &rows))?;
    Ok(())
}

fn build(args: BuildArgs) -> Result<(), Failure> {
    let mut config = Config::from_name(&args.name).or_input()?;
    args.network.apply(&mut config)?;
    let network = Network::new(&config).or_input()?;
    save(&network, &mut Seeded, &Metadata::of(&config).or_input()?, &args.output, args.json)
}
