//! Writing a network of the family as ONNX, and saying what it is.

use std::borrow::Cow;
use std::io::Write as _;
use std::path::Path;

use dyn_perceiver_models::{EXITS, Error, Metadata, Network, Weights};
use serde::Serialize;

use super::failure::Failure;
use super::json::{self, Pairs};
use super::out::Out;
use super::{progress, table, text};

#[derive(Serialize)]
struct Report<'a> {
    name: String,
    file: Cow<'a, str>,
    bytes: u64,
    input_size: usize,
    classes: usize,
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
            input_size: config.input_size,
            classes: config.classes,
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
    let side = config.input_size;
    let parameters = network.parameter_count();
    writeln!(out, "{side}x{side} image, {} classes, {parameters} parameters", config.classes)?;
    let macs = EXITS.into_iter().zip(network.macs_per_exit());
    let needs: Vec<String> = macs.map(|(exit, macs)| format!("{exit} {}MACs", table::count(macs))).collect();
    writeln!(out, "each exit by itself: {}", needs.join(", "))?;
    Ok(())
}
