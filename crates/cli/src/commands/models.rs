use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};

use clap::{Args as ClapArgs, Subcommand};
use dyn_perceiver_models::{Config, EXITS, Error, Metadata, Network, Seeded, Weights, family};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};

use crate::output::failure::{Failure, OrInput as _};
use crate::output::table;

/// List the Dyn-Perceiver family, or build one of its networks
///
/// Without a subcommand: every published network at 224x224, 1000 classes and depth factor 1, with its parameters and the
/// GMACs (multiply-accumulates, in billions) that each exit needs by itself.
///
/// JSON keys: models [{name, parameters, gmacs {early3, att, cnn, merge}}].
#[derive(ClapArgs)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    /// One JSON object on stdout
    #[arg(long)]
    json: bool,
}

#[derive(Subcommand)]
enum Command {
    Build(BuildArgs),
}

/// Write a network of the family as ONNX
///
/// JSON keys: name, file, bytes, input_size, classes, latents, depth_factor, sa_widening, with_x2z, with_z2x, with_dwc,
/// with_last_ca, with_isc, spatial_reduction, parameters, gmacs {early3, att, cnn, merge}.
#[derive(ClapArgs)]
struct BuildArgs {
    /// <backbone>_perceiver_t<latents>, for instance reg800m_perceiver_t128
    name: String,
    /// Deterministic weights, the same on every machine: for benchmarks and tests (`import` takes trained ones)
    #[arg(long, required = true)]
    seeded: bool,
    #[command(flatten)]
    network: NetworkArgs,
    /// ONNX file to write
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// One JSON object on stdout
    #[arg(long)]
    json: bool,
}

/// What a name leaves open about a network.
#[derive(ClapArgs)]
pub(crate) struct NetworkArgs {
    /// Self-attention layers over 3, 3, 9, 3, per stage
    #[arg(long, value_name = "A,B,C,D", value_delimiter = ',', num_args = 1..=4)]
    depth_factor: Option<Vec<usize>>,
    /// Hidden channels of a self-attention layer's MLP over its channels
    #[arg(long, value_name = "N")]
    sa_widening: Option<usize>,
    /// Latent tokens, in place of the name's
    #[arg(long, value_name = "N")]
    latents: Option<usize>,
    /// Height and width of the image in pixels [default: 224]
    #[arg(long, value_name = "PIXELS")]
    input_size: Option<usize>,
    /// Number of classes
    #[arg(long, value_name = "N")]
    classes: Option<usize>,
    /// Stages 2 to 4 do not read image features into the latent code
    #[arg(long)]
    no_x2z: bool,
    /// The latent code is not written into image features before stages 2 to 4
    #[arg(long)]
    no_z2x: bool,
    /// No depthwise convolution before reading image features
    #[arg(long)]
    no_dwc: bool,
    /// The latent code is not written into the last image features
    #[arg(long)]
    no_last_ca: bool,
    /// No exit sees the logits of the one before
    #[arg(long)]
    no_isc: bool,
    /// Image features are read as they are, not pooled to 7x7
    #[arg(long)]
    no_spatial_reduction: bool,
}

impl NetworkArgs {
    /// Overrides what was said on the command line.
    pub(crate) fn apply(&self, config: &mut Config) -> Result<(), Failure> {
        if let Some(factors) = &self.depth_factor {
            let four = <[usize; 4]>::try_from(factors.as_slice());
            config.depth_factor = four
                .map_err(|_| anyhow::anyhow!("--depth-factor takes four numbers, got {}", factors.len()))
                .or_input()?;
        }
        config.sa_widening = self.sa_widening.unwrap_or(config.sa_widening);
        config.latents = self.latents.unwrap_or(config.latents);
        config.input_size = self.input_size.unwrap_or(config.input_size);
        config.classes = self.classes.unwrap_or(config.classes);
        config.with_x2z &= !self.no_x2z;
        config.with_z2x &= !self.no_z2x;
        config.with_dwc &= !self.no_dwc;
        config.with_last_ca &= !self.no_last_ca;
        config.with_isc &= !self.no_isc;
        config.spatial_reduction &= !self.no_spatial_reduction;
        Ok(())
    }
}

pub(crate) fn run(args: Args) -> Result<(), Failure> {
    match args.command {
        None => list(args.json),
        Some(Command::Build(args)) => build(args),
    }
}

fn list(as_json: bool) -> Result<(), Failure> {
    let networks = family().iter().map(Network::new).collect::<Result<Vec<_>, _>>()?;
    let mut out = std::io::stdout().lock();
    if as_json {
        let models: Vec<Value> = networks
            .iter()
            .map(|n| json!({"name": n.config().name(), "parameters": n.parameter_count(), "gmacs": gmacs(n)}))
            .collect();
        writeln!(out, "{}", json!({"models": models}))?;
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

fn gmacs(network: &Network) -> Value {
    EXITS
        .into_iter()
        .zip(network.macs_per_exit())
        .map(|(exit, macs)| (exit.to_owned(), json!(macs as f64 / 1e9)))
        .collect()
}

fn build(args: BuildArgs) -> Result<(), Failure> {
    let mut config = Config::from_name(&args.name).or_input()?;
    args.network.apply(&mut config)?;
    let network = Network::new(&config).or_input()?;
    save(&network, &mut Seeded, &Metadata::imagenet(config.classes), &args.output, args.json)
}

/// Writes the ONNX file, with progress on a terminal, and says what it is.
pub(crate) fn save(
    network: &Network,
    weights: &mut dyn Weights,
    metadata: &Metadata,
    path: &Path,
    as_json: bool,
) -> Result<(), Failure> {
    let bar = if std::io::stderr().is_terminal() { ProgressBar::new(0) } else { ProgressBar::hidden() };
    bar.set_style(ProgressStyle::with_template("{bar:40} {bytes}/{total_bytes}")?);
    let saved = network.save(path, weights, metadata, &mut |done, all| {
        bar.set_length(all);
        bar.set_position(done);
    });
    bar.finish_and_clear();
    saved.map_err(|error| match error {
        Error::Io { .. } => Failure::Failed(error.into()),
        error => Failure::Input(error.into()),
    })?;
    let bytes = std::fs::metadata(path)?.len();
    let (config, macs) = (network.config(), network.macs_per_exit());
    let mut out = std::io::stdout().lock();
    if as_json {
        let object = json!({
            "name": config.name(), "file": path, "bytes": bytes, "input_size": config.input_size,
            "classes": config.classes, "latents": config.latents, "depth_factor": config.depth_factor,
            "sa_widening": config.sa_widening, "with_x2z": config.with_x2z, "with_z2x": config.with_z2x,
            "with_dwc": config.with_dwc, "with_last_ca": config.with_last_ca, "with_isc": config.with_isc,
            "spatial_reduction": config.spatial_reduction, "parameters": network.parameter_count(),
            "gmacs": gmacs(network),
        });
        writeln!(out, "{object}")?;
        return Ok(());
    }
    writeln!(out, "{}  {}, {}", path.display(), table::bytes(bytes), config.name())?;
    let side = config.input_size;
    let parameters = network.parameter_count();
    writeln!(out, "{side}x{side} image, {} classes, {parameters} parameters", config.classes)?;
    let needs: Vec<String> = EXITS.into_iter().zip(macs).map(|(e, m)| format!("{e} {}MACs", table::count(m))).collect();
    writeln!(out, "each exit by itself: {}", needs.join(", "))?;
    Ok(())
}
