//! One error for those who use several layers.

use crate::exit::PolicyError;
use crate::preprocess::PreprocessError;

/// Any error of this library: each layer has an enum of its own, and all of them become this one by `?`.
///
/// The text of a layer's error is shown as it is; [`source`](std::error::Error::source) goes on with its cause.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The model was refused.
    #[cfg(feature = "tract")]
    #[error(transparent)]
    Model(#[from] crate::model::ModelError),
    /// No plan could be made of the model.
    #[cfg(feature = "tract")]
    #[error(transparent)]
    Plan(#[from] crate::plan::PlanError),
    /// The bundle was refused or could not be written.
    #[cfg(feature = "tract")]
    #[error(transparent)]
    Bundle(#[from] crate::bundle::BundleError),
    /// An image could not be classified.
    #[cfg(feature = "tract")]
    #[error(transparent)]
    Run(#[from] crate::runtime::RunError),
    /// A frame could not be had.
    #[cfg(feature = "camera")]
    #[error(transparent)]
    Camera(#[from] crate::camera::CameraError),
    /// A frame could not become the network's input.
    #[error(transparent)]
    Preprocess(#[from] PreprocessError),
    /// The camera loop stopped.
    #[cfg(all(feature = "camera", feature = "tract"))]
    #[error(transparent)]
    Pipeline(#[from] crate::pipeline::PipelineError),
    /// The exit policy makes no sense.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// Frames of a video cannot be decided together like this.
    #[error(transparent)]
    OverTime(#[from] crate::exit::OverTimeError),
    /// The policy file was refused.
    #[error(transparent)]
    PolicyFile(#[from] crate::policy_file::FileError),
    /// A sensor could not be opened.
    #[error(transparent)]
    Sensor(#[from] crate::sensors::open::OpenError),
    /// The stored state was refused or could not be written.
    #[error(transparent)]
    Store(#[from] crate::sensors::store::StoreError),
}

/// A result of this library.
pub type Result<T, E = Error> = std::result::Result<T, E>;
