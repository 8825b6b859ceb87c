use std::path::PathBuf;

use thiserror::Error;

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
}
