//! `import`: a checkpoint of the family as ONNX.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow};
use clap::Args as ClapArgs;
use dyn_perceiver_models::{Checkpoint, Config, Metadata, Network, Weights as _};

use crate::args::network::NetworkArgs;
use crate::output::failure::{Failure, OrInput as _};
use crate::output::network::save;

/// Turn a trained Dyn-Perceiver checkpoint into ONNX
///
/// Takes `.pth` as PyTorch saves it (a state dict, or one under model_ema or model) and `.safetensors`. Network, latents,
/// depth factor, widening, classes and flags are read off the tensors; what is given here overrides them. Nothing in a
/// checkpoint is executed.
///
/// JSON: see docs/json.md.
#[derive(ClapArgs)]
pub(crate) struct Args {
    /// The checkpoint
    checkpoint: PathBuf,
    /// Take the network to be this one, in place of recognising it
    #[arg(long, value_name = "NAME")]
    arch: Option<String>,
    #[command(flatten)]
    network: NetworkArgs,
    /// Read the names of the classes from this file: one a line, or a JSON array [default: ImageNet's if there are 1000]
    #[arg(long, value_name = "FILE")]
    labels: Option<PathBuf>,
    /// Subtract this mean per channel from pixels in [0, 1]; one number stands for all [default: ImageNet's]
    #[arg(long, value_name = "R,G,B", value_delimiter = ',')]
    mean: Option<Vec<f32>>,
    /// Divide by this standard deviation per channel; one number stands for all [default: ImageNet's]
    #[arg(long, value_name = "R,G,B", value_delimiter = ',')]
    std: Option<Vec<f32>>,
    /// Crop the centre: this share of the image's shorter side, in (0, 1] [default: 0.875]
    #[arg(long, value_name = "SHARE")]
    crop: Option<f32>,
    /// Interpolate pixels so: bilinear or bicubic [default: bicubic]
    #[arg(long, value_name = "KIND")]
    interpolation: Option<String>,
    /// Write the ONNX file here
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: Args) -> Result<(), Failure> {
    let named = args.arch.as_deref().map(Config::from_name).transpose().or_input()?;
    let mut weights = Checkpoint::open(&args.checkpoint).or_input()?;
    let shapes = weights.shapes().cloned().unwrap_or_default();
    let backbone = named.as_ref().map(|config| config.backbone.as_str());
    let mut config = Config::recognise(&args.checkpoint, &shapes, backbone).or_input()?;
    if let Some(named) = named {
        config.latents = named.latents;
    }
    args.network.apply(&mut config)?;
    let network = Network::new(&config).or_input()?;
    network.check(&weights).or_input()?;

    let mut metadata = Metadata::imagenet(config.classes);
    if let Some(path) = &args.labels {
        metadata.labels = labels(path).or_input()?;
    }
    if let Some(values) = args.mean {
        metadata.mean = channels("--mean", &values).or_input()?;
    }
    if let Some(values) = args.std {
        metadata.std = channels("--std", &values).or_input()?;
    }
    metadata.crop = args.crop.unwrap_or(metadata.crop);
    metadata.interpolation = args.interpolation.unwrap_or(metadata.interpolation);
    save(&network, &mut weights, &metadata, &args.output, args.json)
}

fn labels(path: &Path) -> anyhow::Result<Vec<String>> {
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    if text.trim_start().starts_with('[') {
        return serde_json::from_str(&text).with_context(|| format!("{}: expected an array of names", path.display()));
    }
    Ok(text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect())
}

fn channels(option: &str, values: &[f32]) -> anyhow::Result<[f32; 3]> {
    match *values {
        [all] => Ok([all; 3]),
        [r, g, b] => Ok([r, g, b]),
        _ => Err(anyhow!("{option} takes one number or three, got {}", values.len())),
    }
}
