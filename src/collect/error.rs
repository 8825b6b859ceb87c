//! Why records could not be made.

use std::ops::Range;
use std::path::PathBuf;

use dyn_perceiver_calibrate::records::{CostError, RecordsError};
use thiserror::Error;

use crate::Error as LibraryError;
use crate::camera::CameraError;
use crate::dataset::{DatasetError, Skipped};
use crate::exit::PolicyError;
use crate::runtime::RunError;

/// Why records could not be made.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CollectError {
    /// The data could not be read.
    #[error(transparent)]
    Camera(#[from] CameraError),
    /// There are no labels: accuracy cannot be known.
    #[error("{}: sample {sample:?} has no label: give a folder of one folder per class, or an IDX file with its labels beside", path.display())]
    NoLabel {
        /// The data.
        path: PathBuf,
        /// The sample.
        sample: String,
    },
    /// The labels of a folder's images cannot be known.
    #[error(transparent)]
    Dataset(#[from] DatasetError),
    /// Not one sample could be recorded.
    #[error("{}: none of {samples} samples could be used; the first: {first}", path.display())]
    NothingRecorded {
        /// The data.
        path: PathBuf,
        /// Samples there are.
        samples: usize,
        /// What was wrong with the first of them.
        first: Skipped,
    },
    /// A label that the model has no class for.
    #[error("{}: sample {sample:?} has label {label}, but the model has {classes} classes", path.display())]
    Label {
        /// The data.
        path: PathBuf,
        /// The sample.
        sample: String,
        /// Its label.
        label: u32,
        /// Classes of the model.
        classes: usize,
    },
    /// Fewer samples than asked for.
    #[error("{}: {available} samples, but {} to {} were asked for", path.display(), range.start, range.end)]
    Range {
        /// The data.
        path: PathBuf,
        /// Samples there are.
        available: u64,
        /// Samples asked for.
        range: Range<u64>,
    },
    /// The network failed.
    #[error(transparent)]
    Pipeline(#[from] LibraryError),
    /// The network failed.
    #[error(transparent)]
    Run(#[from] RunError),
    /// The records could not be written.
    #[error(transparent)]
    Records(#[from] RecordsError),
    /// Costs that make no sense.
    #[error(transparent)]
    Costs(#[from] CostError),
    /// A network with too many exits.
    #[error(transparent)]
    Policy(#[from] PolicyError),
}
