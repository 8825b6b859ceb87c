//! Writing a network of the family as ONNX, and saying what it is.

use std::borrow::Cow;
use std::io::Write as _;
use std::path::Path;

use dyn_perceiver_models::{Action, Detection, EXITS, Error, LEVELS, Metadata, Network, Task, Weights};
use serde::Serialize;

use super::failure::Failure;
use super::json::{self, Pairs};
use super::out::Out;
use super::{progress, table, text};

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Report<'a> {
    name: String,
    file: Cow<'a, str>,
    bytes: u64,
    /// The side of a square image.
    #[serde(skip_serializing_if = "Option::is_none")]
    input_size: Option<usize>,
    input_height: usize,
    input_width: usize,
    task: &'static str,
    classes: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    detection: Option<DetectionReport>,
    #[serde(skip_serializing_if = "Option::is_none")]
    video: Option<VideoReport>,
    latents: usize,
    depth_factor: [usize; 4],
    sa_widening: usize,
    with_x2z: bool,
    with_z2x: bool,
    with_dwc: bool,
    with_last_ca: bool,
    with_isc: bool,
    spatial_reduction: bool,
    parameters: usize,
    gmacs: Pairs<f64>,
}

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct DetectionReport {
    classes: usize,
    pyramid: usize,
    tower_channels: usize,
    tower_convolutions: usize,
    extra: &'static str,
    /// What everything to each level needs, coarsest first, boxes of earlier levels among it.
    gmacs_to_level: Pairs<f64>,
}

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct VideoReport {
    mode: &'static str,
    frames: usize,
}

impl DetectionReport {
    fn of(network: &Network, detection: &Detection) -> DetectionReport {
        DetectionReport {
            classes: detection.classes,
            pyramid: detection.pyramid,
            tower_channels: detection.tower_channels,
            tower_convolutions: detection.tower_convolutions,
            extra: detection.extra.name(),
            gmacs_to_level: macs_to_levels(network).into_iter().map(|(l, macs)| (l, macs as f64 / 1e9)).collect(),
        }
    }
}

/// Multiply-accumulates of the boxes of each level and of those coarser, coarsest first.
fn macs_to_levels(network: &Network) -> Vec<(&'static str, u64)> {
    let maps: Vec<[String; 2]> = LEVELS.iter().map(|level| [format!("cls.{level}"), format!("box.{level}")]).collect();
    let to = |i: usize| {
        let outputs: Vec<&str> = maps[i..].iter().flatten().map(String::as_str).collect();
        (LEVELS[i], network.macs_to(&outputs))
    };
    (0..LEVELS.len()).rev().map(to).collect()
}

/// Billions of multiply-accumulates that each exit needs by itself.
pub(crate) fn gmacs(network: &Network) -> Pairs<f64> {
    EXITS.into_iter().zip(network.macs_per_exit()).map(|(exit, macs)| (exit, macs as f64 / 1e9)).collect()
}

/// Writes the ONNX file, with progress on a terminal, and says what it is.
pub(crate) fn save(
    network: &Network,
    weights: &mut dyn Weights,
    metadata: &Metadata,
    path: &Path,
    as_json: bool,
) -> Result<(), Failure> {
    let bar = progress::bytes(as_json);
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
    let config = network.config();
    let mut out = Out::stdout();
    if as_json {
        out.json(&Report {
            name: config.name(),
            file: json::path(path),
            bytes,
            input_size: (config.input_size[0] == config.input_size[1]).then_some(config.input_size[0]),
            input_height: config.input_size[0],
            input_width: config.input_size[1],
            task: config.task.name(),
            classes: config.classes,
            detection: match &config.task {
                Task::Detection(detection) => Some(DetectionReport::of(network, detection)),
                _ => None,
            },
            video: match config.task {
                Task::Action(Action { mode, frames, .. }) => Some(VideoReport { mode: mode.name(), frames }),
                _ => None,
            },
            latents: config.latents,
            depth_factor: config.depth_factor,
            sa_widening: config.sa_widening,
            with_x2z: config.with_x2z,
            with_z2x: config.with_z2x,
            with_dwc: config.with_dwc,
            with_last_ca: config.with_last_ca,
            with_isc: config.with_isc,
            spatial_reduction: config.spatial_reduction,
            parameters: network.parameter_count(),
            gmacs: gmacs(network),
        })?;
        return Ok(());
    }
    writeln!(out, "{}  {}, {}", text::shown(path), table::bytes(bytes), config.name())?;
    let [height, width] = config.input_size;
    let parameters = network.parameter_count();
    writeln!(out, "{width}x{height} image, {} classes, {parameters} parameters", config.classes)?;
    match &config.task {
        Task::Detection(detection) => {
            let Detection { classes, pyramid, tower_channels, tower_convolutions, extra, .. } = detection;
            let levels = macs_to_levels(network).into_iter();
            let needs: Vec<String> =
                levels.map(|(level, macs)| format!("{level} {}MACs", table::count(macs))).collect();
            writeln!(
                out,
                "boxes of {classes} classes, pyramid {pyramid}, towers {tower_channels}x{tower_convolutions}, P6 {}",
                extra.name()
            )?;
            writeln!(out, "boxes to each level: {}", needs.join(", "))?;
        }
        Task::Action(action) => writeln!(out, "video, {}, {} frames", action.mode.name(), action.frames)?,
        _ => {}
    }
    let macs = EXITS.into_iter().zip(network.macs_per_exit());
    let needs: Vec<String> = macs.map(|(exit, macs)| format!("{exit} {}MACs", table::count(macs))).collect();
    writeln!(out, "each exit by itself: {}", needs.join(", "))?;
    Ok(())
}
