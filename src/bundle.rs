//! Bundles: a model compiled ahead of time into one file that starts at once.
//!
//! A bundle holds what [`Plan::new`] makes of an ONNX file, before the last step that depends on the CPU at hand: the
//! segments' rewritten graphs with their weights packed as the kernels read them, the costs of stages, preprocessing,
//! labels, and if wanted a calibrated policy. The file is mapped into memory and weights are used where they lie, so
//! there is one copy of them, which processes that run the same bundle share. It is accepted whole or refused: every
//! part has its checksum, and the graphs are checked like a model's.
//!
//! ```no_run
//! use dyn_perceiver::model::{LoadOptions, Model};
//! use dyn_perceiver::{bundle, plan::Plan};
//!
//! bundle::compile(Model::load("model.onnx")?, None, "cortex-a72".parse()?, "model.dynp")?;
//! let plan = Plan::load("model.dynp", &LoadOptions::default())?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::path::Path;
use std::sync::Arc;

use sha2::{Digest as _, Sha256};

pub use crate::bundle_format::{BundleError, BundleInfo, MAGIC, Target, UnknownTarget, VERSION, is_bundle};
use crate::deadline;
use crate::exit::{CalibratedPolicy, ModelDigest};
use crate::file::atomic_write;
use crate::graph::parts::Parts;
use crate::machine::MachineTimes;
use crate::model::{Model, late};
use crate::passes::halves;
use crate::plan::{Plan, PlanError};

/// What [`compile`] wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Compiled {
    /// Bytes of the file.
    pub bytes: usize,
    /// Bytes of its weights, as they are packed.
    pub weight_bytes: usize,
}

/// How a bundle's weights are stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Precision {
    /// As float32.
    #[default]
    F32,
    /// As float16, where that gains: every linear layer for a CPU that multiplies halves, else those of one row, which
    /// wait for memory. For a CPU that multiplies halves convolutions are stored so, too, and what lies between layers is
    /// kept as halves where all of them can read it. Sums of long reductions stay float32. The model has a digest of its own, so that a policy has to be calibrated on the bundle.
    F16,
}

impl std::fmt::Display for Precision {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Precision::F32 => "f32",
            Precision::F16 => "f16",
        })
    }
}

/// A name that is no precision's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected f32 or f16")]
pub struct UnknownPrecision;

impl std::str::FromStr for Precision {
    type Err = UnknownPrecision;

    fn from_str(name: &str) -> Result<Precision, UnknownPrecision> {
        [Precision::F32, Precision::F16].into_iter().find(|known| known.to_string() == name).ok_or(UnknownPrecision)
    }
}

/// Compiles a model into a bundle at `path`. The file is there whole or not at all.
///
/// # Errors
/// [`BundleError`] when the model cannot be made a plan, fails when it runs, has an operator that bundles cannot hold, the policy is not for
/// this model, or the file cannot be written.
pub fn compile(
    model: Model,
    policy: Option<CalibratedPolicy>,
    target: Target,
    path: impl AsRef<Path>,
) -> Result<Compiled, BundleError> {
    compile_with(model, policy, target, Precision::F32, path)
}

/// As [`compile`], with weights of a precision.
///
/// # Errors
/// As [`compile`].
pub fn compile_with(
    model: Model,
    policy: Option<CalibratedPolicy>,
    target: Target,
    precision: Precision,
    path: impl AsRef<Path>,
) -> Result<Compiled, BundleError> {
    let path = path.as_ref();
    let (source, limit) = (model.info.path.clone(), model.limits.deadline);
    let made = deadline::within(limit, move || {
        check_runs(&model)?;
        let source = model.info.path.clone();
        let mut parts = Parts::of(model, true)?;
        if precision == Precision::F16 {
            halve(&mut parts, target.multiplies_halves()).map_err(|error| BundleError::Content {
                path: source,
                place: "graph".into(),
                reason: format!("{error:#}"),
            })?;
        }
        crate::bundle_format::compile(parts, policy, target)
    });
    store(made.unwrap_or_else(|overdue| Err(BundleError::Model(late(overdue, &source, limit))))?, path)
}

/// Stores in the bundle at `path` how long its stages take on a machine, so that a start there needs no measurement; in place of
/// what was stored for the same machine and number of threads. The file is replaced whole or stays as it was; processes that
/// have mapped it keep the old one.
///
/// # Errors
/// [`BundleError`] when the file cannot be read, is no sound bundle, the times are not of its stages, or it cannot be written.
pub fn keep_times(path: impl AsRef<Path>, times: impl Into<Vec<MachineTimes>>) -> Result<(), BundleError> {
    let (path, times) = (path.as_ref(), times.into());
    let bytes = std::fs::read(path).map_err(|source| BundleError::Read { path: path.into(), source })?;
    let bytes = crate::bundle_format::with_times(&bytes, times, path)?;
    atomic_write(path, &bytes).map_err(|source| BundleError::Write { path: path.into(), source })
}

/// Stores weights as halves, under a digest of its own.
fn halve(parts: &mut Parts, every: bool) -> tract_core::prelude::TractResult<()> {
    for segment in &mut parts.segments {
        halves::store(&mut segment.graph, every)?;
        if every {
            halves::store_convolutions(&mut segment.graph)?;
            halves::keep(&mut segment.graph)?;
        }
    }
    let digest = Sha256::new().chain_update(parts.info.digest.0).chain_update(b"f16").chain_update([u8::from(every)]);
    parts.info.digest = ModelDigest(digest.finalize().into());
    Ok(())
}

/// Writes a model that is in segments already.
pub(crate) fn write(
    parts: Parts,
    policy: Option<CalibratedPolicy>,
    target: Target,
    path: &Path,
) -> Result<Compiled, BundleError> {
    store(crate::bundle_format::compile(parts, policy, target)?, path)
}

fn store((bytes, weight_bytes): (Vec<u8>, usize), path: &Path) -> Result<Compiled, BundleError> {
    atomic_write(path, &bytes).map_err(|source| BundleError::Write { path: path.into(), source })?;
    Ok(Compiled { bytes: bytes.len(), weight_bytes })
}

/// That every exit of the model can be computed: what can be stored may still hold an operator that fails when it runs.
fn check_runs(model: &Model) -> Result<(), BundleError> {
    let path = model.info.path.clone();
    let plan = Plan::new(model.clone()).map_err(|error| match error {
        PlanError::Graph(error) => BundleError::Graph(error),
        PlanError::Model(error) => BundleError::Model(error),
        error => BundleError::Content { path: path.clone(), place: "model".into(), reason: error.to_string() },
    })?;
    Arc::new(plan).check().map_err(|source| BundleError::Run { path, source })?;
    Ok(())
}
