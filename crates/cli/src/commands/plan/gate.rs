//! The gate that a plan reckons with: of pixels, or the latent one that was measured at the place.

use std::path::Path;

use anyhow::Context as _;
use serde::Deserialize;

use crate::output::failure::{Failure, OrInput as _, wrong};

/// What stands before the network.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Gate {
    /// The luminance of frames, looked at for so many seconds of one core.
    Pixels(f64),
    /// What the network makes of a frame up to its first exit: such a share of its work.
    Latent(f64),
}

/// What `gate --json` found of a latent gate.
#[derive(Clone, Copy, Debug, Deserialize)]
pub(super) struct CertifiedGate {
    /// The threshold; null where there is none.
    threshold: Option<f64>,
    pub max_loss: f64,
    pub confidence: f64,
}

/// Reads what `gate --json` printed.
pub(super) fn report(path: &Path) -> Result<CertifiedGate, Failure> {
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string()).or_input()?;
    let gate: CertifiedGate = match serde_json::from_str(&text) {
        Ok(gate) => gate,
        Err(error) => return wrong(format!("{}: not what `gate --json` prints: {error}", path.display())),
    };
    if gate.threshold.is_none() || !(0.0..=1.0).contains(&gate.max_loss) {
        return wrong(format!("{}: no threshold was found, so the gate stays off", path.display()));
    }
    Ok(gate)
}
