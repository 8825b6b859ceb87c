//! `import`: a checkpoint of the family as ONNX.

use std::path::PathBuf;

use clap::Args as ClapArgs;
use dyn_perceiver_models::{Checkpoint, Config, Metadata, Network, Renamed, Weights as _};

use crate::args::load;
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
    /// Read the names of a detector's box classes from this file: one a line, or a JSON array
    #[arg(long, value_name = "FILE")]
    box_labels: Option<PathBuf>,
    /// Seconds between the frames that a network of videos was trained on
    #[arg(long, value_name = "SECONDS")]
    frame_period: Option<f32>,
    /// Subtract this mean per channel from pixels in [0, 1]; one number stands for all [default: the backbone's, for most ImageNet's]
    #[arg(long, value_name = "R,G,B", value_parser = load::channels)]
    mean: Option<[f32; 3]>,
    /// Divide by this standard deviation per channel; one number stands for all [default: the backbone's]
    #[arg(long, value_name = "R,G,B", value_parser = load::deviations)]
    std: Option<[f32; 3]>,
    /// Crop the centre: this share of the image's shorter side, in (0, 1] [default: 0.875]
    #[arg(long, value_name = "NUMBER", value_parser = load::crop)]
    crop: Option<f32>,
    /// Interpolate pixels so: bilinear or bicubic [default: bicubic]
    #[arg(long, value_name = "KIND")]
    interpolation: Option<String>,
    /// Write weights in half precision: a file of half the size, whose logits differ by the rounding
    #[arg(long)]
    half: bool,
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
    let network = Network::new(&config).or_input()?.with_half_weights(args.half);
    let mut weights = Renamed::new(&network, &mut weights);
    network.check(&weights).or_input()?;

    let mut metadata = Metadata::of(&config).or_input()?;
    if let Some(path) = &args.labels {
        metadata.labels = load::labels(path)?;
    }
    if let Some(path) = &args.box_labels {
        metadata.box_labels = load::labels(path)?;
    }
    metadata.frame_period = args.frame_period;
    metadata.mean = args.mean.unwrap_or(metadata.mean);
    metadata.std = args.std.unwrap_or(metadata.std);
    metadata.crop = args.crop.unwrap_or(metadata.crop);
    metadata.interpolation = args.interpolation.unwrap_or(metadata.interpolation);
    save(&network, &mut weights, &metadata, &args.output, args.json)
}
