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

mod compile;
mod container;
mod error;
mod load;
mod manifest;
mod operator;
mod target;

use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;

pub use container::{MAGIC, VERSION};
pub use error::BundleError;
pub(crate) use load::load;
pub use target::{Target, UnknownTarget};

use crate::exit::{CalibratedPolicy, ModelDigest};
use crate::file::atomic_write;
use crate::model::Model;
use crate::plan::{Plan, PlanError};

/// What a bundle says beside what it says of the model.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct BundleInfo {
    /// Name of the ONNX file that was compiled.
    pub source: String,
    /// Version of this library that compiled it.
    pub program: String,
    /// The CPU it was made for.
    pub target: Target,
    /// The kernel family that its weights are packed for, such as `f32-nr16`.
    pub kernels: String,
    /// The policy to use where no other is asked for.
    pub policy: Option<CalibratedPolicy>,
}

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
    check_runs(&model)?;
    let (bytes, weight_bytes) = compile::bundle(model, policy, target)?;
    atomic_write(path, &bytes).map_err(|source| BundleError::Write { path: path.into(), source })?;
    Ok(Compiled { bytes: bytes.len(), weight_bytes })
}

/// That every exit of the model can be computed: what can be stored may still hold an operator that fails when it runs.
fn check_runs(model: &Model) -> Result<(), BundleError> {
    let path = model.info.path.clone();
    let plan = Plan::new(model.clone()).map_err(|error| match error {
        PlanError::Graph(error) => BundleError::Graph(error),
        error => BundleError::Content { path: path.clone(), place: "model".into(), reason: error.to_string() },
    })?;
    Arc::new(plan).check().map_err(|source| BundleError::Run { path, source })?;
    Ok(())
}

/// Whether a file begins as bundles do; not when it cannot be read.
pub fn is_bundle(path: impl AsRef<Path>) -> bool {
    let mut begin = [0; container::MAGIC.len()];
    File::open(path).and_then(|mut file| file.read_exact(&mut begin)).is_ok() && begin == *container::MAGIC
}

/// That a policy is for this model and its exits.
fn check_policy(
    policy: &CalibratedPolicy,
    digest: ModelDigest,
    exits: &[String],
    path: &Path,
) -> Result<(), BundleError> {
    policy.for_model(digest).map_err(|error| BundleError::Policy { path: path.into(), error })?;
    if !policy.exits().eq(exits.iter().map(String::as_str)) {
        let actual = policy.exits().collect::<Vec<_>>().join(", ");
        return Err(BundleError::PolicyExits { path: path.into(), expected: exits.join(", "), actual });
    }
    Ok(())
}
