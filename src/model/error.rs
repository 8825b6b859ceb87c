use std::path::PathBuf;

use thiserror::Error;

/// Why a model was refused. Every message names the file.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ModelError {
    /// The file cannot be read.
    #[error("{}: cannot be read", path.display())]
    Read {
        /// The model file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The file has no bytes.
    #[error("{}: the file is empty, expected an ONNX model", path.display())]
    Empty {
        /// The model file.
        path: PathBuf,
    },
    /// The bytes are not an ONNX model, or not a whole one.
    #[error("{}: not an ONNX model, or a truncated one: {reason}", path.display())]
    NotOnnx {
        /// The model file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// An ONNX model that tract cannot run.
    #[error("{}: the model cannot be prepared: {reason}", path.display())]
    Unsupported {
        /// The model file.
        path: PathBuf,
        /// Where it failed.
        reason: String,
    },
    /// The model's input is not one batch of images.
    #[error("{}: input {input}: expected one input of shape (N, 1 or 3, height, width), got {actual}", path.display())]
    Input {
        /// The model file.
        path: PathBuf,
        /// Name of the input.
        input: String,
        /// Its shape or type.
        actual: String,
    },
    /// No output has the shape of a classifier's.
    #[error("{}: no exit found: no output has shape (N, classes); outputs are {outputs}", path.display())]
    NoExit {
        /// The model file.
        path: PathBuf,
        /// The outputs, with their shapes.
        outputs: String,
    },
    /// There is no output of that name.
    #[error("{}: no exit called {name:?}; outputs are {outputs}", path.display())]
    UnknownExit {
        /// The model file.
        path: PathBuf,
        /// The name asked for.
        name: String,
        /// The outputs, with their shapes.
        outputs: String,
    },
    /// An exit has another shape than (N, classes), or other classes than the first exit.
    #[error("{}: exit {name:?} has shape {actual}, expected {expected}", path.display())]
    ExitShape {
        /// The model file.
        path: PathBuf,
        /// The exit.
        name: String,
        /// Its shape and type.
        actual: String,
        /// What was expected.
        expected: String,
    },
    /// More exits than the no_std core can hold.
    #[error("{}: {exits} exits, at most {max} are supported", path.display())]
    TooManyExits {
        /// The model file.
        path: PathBuf,
        /// How many there are.
        exits: usize,
        /// How many there may be.
        max: usize,
    },
    /// A metadata entry that is there but makes no sense.
    #[error("{}: metadata {key}: {reason}", path.display())]
    Metadata {
        /// The model file.
        path: PathBuf,
        /// Its key.
        key: &'static str,
        /// What is wrong with it.
        reason: String,
    },
}
