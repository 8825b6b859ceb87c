//! The bundles that an emulated processor is given: weights as float32, as float16, or in int8.

use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use dyn_perceiver::bundle::{Precision as Stored, Target, compile_with};
use dyn_perceiver::model::Model;
use dyn_perceiver::quantise::{QuantiseOptions, Quantiser, Verdict};

use super::models;
use super::reference::TOLERANCE;

/// What the layers of a bundle compute in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Precision {
    /// float32 throughout.
    F32,
    /// float16 where the processor gains by it.
    F16,
    /// int8 in every layer that can be, but for those that take fewer instructions in float: which pay is a question of times, and
    /// those an emulator does not have.
    Int8,
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Precision::F32 => "f32",
            Precision::F16 => "f16",
            Precision::Int8 => "int8",
        })
    }
}

/// Whether the processor multiplies int8 without the dot-product extension.
fn is_without_dot(cpu: &str) -> bool {
    matches!(cpu, "cortex-a53" | "cortex-a72")
}

/// Entries of a row from which on a product takes fewer instructions in int8 than in float32, by the table in docs/performance.md.
fn least_entries(cpu: &str) -> usize {
    if is_without_dot(cpu) { 80 } else { 0 }
}

/// Channels from which on a 3x3 convolution takes fewer instructions in int8 than by Winograd's filtering in float32, by the table
/// in docs/performance.md: 48 with dot product, none without.
fn least_channels(cpu: &str) -> usize {
    if is_without_dot(cpu) { usize::MAX } else { 48 }
}

impl Precision {
    /// What tables call this program with it.
    pub(super) fn runtime(self) -> String {
        match self {
            Precision::F32 => "dyn-perceiver".to_owned(),
            _ => format!("dyn-perceiver {self}"),
        }
    }

    /// Largest difference of a logit from float32, over the largest logit. int8 is judged by accuracy on real images, which
    /// seeded weights do not have: here it only has to be the same network.
    pub(super) fn tolerance(self) -> f64 {
        match self {
            Precision::F32 => TOLERANCE,
            Precision::F16 => 1e-2,
            Precision::Int8 => 0.5,
        }
    }

    /// Compiles the whole network for a processor, calibrated on the image that is measured.
    ///
    /// # Errors
    /// When there is no such target, or the network cannot be compiled.
    pub(super) fn bundle(self, model: &models::Model, cpu: &str, folder: &Path) -> anyhow::Result<PathBuf> {
        let path = folder.join(format!("{}.{cpu}.{self}.dynp", model.name));
        let (target, loaded): (Target, Model) = (cpu.parse()?, Model::load(&model.whole)?);
        match self {
            Precision::F32 => compile_with(loaded, None, target, Stored::F32, &path).map(|_| ())?,
            Precision::F16 => compile_with(loaded, None, target, Stored::F16, &path).map(|_| ())?,
            Precision::Int8 => {
                let image = models::input(model.image, 1);
                let image: Vec<f32> = image.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
                let mut quantiser = Quantiser::new(loaded)?;
                quantiser.calibrate(std::slice::from_ref(&image))?;
                let mut options = QuantiseOptions::default().with_tolerance(f64::INFINITY);
                options.layer_time = f64::INFINITY;
                let mut chosen = quantiser.choose(&[image], None, &options)?;
                for (layer, verdict) in quantiser.layers().iter().zip(&mut chosen.verdicts) {
                    let by_winograd = layer.winograd && layer.columns < least_channels(cpu);
                    if by_winograd || layer.reduction < least_entries(cpu) {
                        *verdict = Verdict::NotFaster;
                    }
                }
                quantiser.compile(&chosen, None, target, &path).context("int8")?;
            }
        }
        Ok(path)
    }
}
