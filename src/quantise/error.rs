use std::path::PathBuf;

use thiserror::Error;

use crate::graph::GraphError;
use crate::plan::PlanError;
use crate::runtime::RunError;

/// Why a model cannot be quantised.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum QuantiseError {
    /// The model cannot be made a plan.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// The quantised model cannot be made a plan.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// A frame cannot be run.
    #[error(transparent)]
    Run(#[from] RunError),
    /// There were no images to calibrate with.
    #[error("{}: no images to calibrate with", path.display())]
    NoImages {
        /// The model.
        path: PathBuf,
    },
    /// The model has no layer that int8 kernels could compute.
    #[error("{}: no layer with constant weights that int8 kernels compute", path.display())]
    NoLayers {
        /// The model.
        path: PathBuf,
    },
}
