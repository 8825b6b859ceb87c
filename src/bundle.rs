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

pub use crate::bundle_format::{BundleError, BundleInfo, MAGIC, Target, UnknownTarget, VERSION, is_bundle};
use crate::deadline;
use crate::exit::CalibratedPolicy;
use crate::file::atomic_write;
use crate::model::{Model, late};
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
    let path = path.as_ref();
    let (source, limit) = (model.info.path.clone(), model.limits.deadline);
    let made = deadline::within(limit, move || {
        check_runs(&model)?;
        crate::bundle_format::compile(model, policy, target)
    });
    let (bytes, weight_bytes) =
        made.unwrap_or_else(|overdue| Err(BundleError::Model(late(overdue, &source, limit))))?;
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
