use thiserror::Error;

use crate::bundle_format::BundleError;
use crate::graph::GraphError;
use crate::model::ModelError;

/// Why no plan could be made of a model.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum PlanError {
    /// tract could not optimise a part of the graph.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// The model was refused.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The bundle was refused.
    #[error(transparent)]
    Bundle(#[from] BundleError),
}
