use std::path::PathBuf;

use thiserror::Error;

use super::bundle::BundleError;
use crate::model::ModelError;

/// Why no plan could be made of a model.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum PlanError {
    /// tract could not optimise a part of the graph.
    #[error("{}: stage plans: {place}: {reason}", path.display())]
    Optimise {
        /// The model file.
        path: PathBuf,
        /// Which part.
        place: String,
        /// What tract says.
        reason: String,
    },
    /// The model was refused.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The bundle was refused.
    #[error(transparent)]
    Bundle(#[from] BundleError),
}
