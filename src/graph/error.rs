use std::error::Error;
use std::path::PathBuf;

use thiserror::Error;

/// Why a model's graph could not be made into segments that run.
#[derive(Debug, Error)]
#[error("{}: {place}: the graph cannot be optimised", path.display())]
#[non_exhaustive]
pub struct GraphError {
    /// The model file.
    pub path: PathBuf,
    /// Which part: a stage by the name of its exit, or what was being done.
    pub place: String,
    /// What tract says.
    pub source: Box<dyn Error + Send + Sync>,
}
