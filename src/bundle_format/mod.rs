//! The file format of bundles: what is stored of a compiled model, written and read.

mod compile;
mod container;
mod error;
mod extras;
mod load;
mod manifest;
mod operator;
mod slots;
mod steps;
mod target;

use std::fs::File;
use std::io::Read as _;
use std::num::NonZeroUsize;
use std::path::Path;

pub(crate) use compile::bundle as compile;
pub use container::MAGIC;
pub use error::{BundleError, VERSION};
pub(crate) use extras::with_times;
pub(crate) use load::load;
pub use target::{Target, UnknownTarget};

use crate::exit::{CalibratedPolicy, ModelDigest};
use crate::machine::MachineTimes;

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
    /// How long stages take, by machine and number of threads, as [`keep_times`](crate::bundle::keep_times) stored it.
    pub times: Vec<MachineTimes>,
}

impl BundleInfo {
    /// How long stages take on this machine, on so many threads, if the bundle says.
    pub fn times_here(&self, threads: NonZeroUsize) -> Option<&MachineTimes> {
        self.times.iter().rev().find(|times| times.threads == threads && times.is_of_here())
    }
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
