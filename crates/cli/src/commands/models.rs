//! `models`: the Dyn-Perceiver family.

use std::borrow::Cow;
use std::io::Write as _;
use std::path::PathBuf;

use clap::{Args as ClapArgs, Subcommand};
use dyn_perceiver::bundle::{self, Target};
use dyn_perceiver::model::LoadOptions;
use dyn_perceiver_models::{Config, EXITS, Metadata, Network, Seeded, family};
use serde::Serialize;

use crate::args::network::NetworkArgs;
use crate::defaults;
use crate::output::failure::{Failure, OrInput as _};
use crate::output::json::{self, Pairs};
use crate::output::network::{gmacs, save};
use crate::output::out::Out;
use crate::output::{table, text};

/// List the Dyn-Perceiver family, build one of its networks, or write the built-in model as a bundle
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
    Build(Box<BuildArgs>),
    BuiltIn(BuiltInArgs),
}

/// Write the built-in model with its policy as a bundle, for commands that want a file
///
/// JSON: see docs/json.md.
#[derive(ClapArgs)]
struct BuiltInArgs {
    /// Let it also answer "none of these", for photos that show none of its clothes
    #[arg(long)]
    none_of_these: bool,
    /// Write the bundle to this file
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Print one JSON object
    #[arg(long, help_heading = None)]
    json: bool,
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
        Some(Command::Build(args)) => build(*args),
        Some(Command::BuiltIn(args)) => built_in(&args),
    }
}

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct BuiltIn<'a> {
    bundle: Cow<'a, str>,
    bytes: u64,
    classes: Vec<String>,
    points: usize,
}

fn built_in(args: &BuiltInArgs) -> Result<(), Failure> {
    let model = defaults::model(args.none_of_these, &LoadOptions::default())?;
    let policy = defaults::policy(args.none_of_these)?;
    let (classes, points) = (model.info().labels.clone().unwrap_or_default(), policy.frontier().points().len());
    let compiled = bundle::compile(model, Some(policy), Target::host(), &args.output).map_err(anyhow::Error::from)?;
    let mut out = Out::stdout();
    if args.json {
        let bytes = compiled.bytes as u64;
        return Ok(out.json(&BuiltIn { bundle: json::path(&args.output), bytes, classes, points })?);
    }
    let size = table::bytes(compiled.bytes as u64);
    writeln!(out, "bundle   {} ({size}, {points} operating points)", text::shown(&args.output))?;
    writeln!(out, "classes  {}", text::names(&classes))?;
    Ok(())
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
