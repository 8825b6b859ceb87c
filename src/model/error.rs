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
    /// A file of another kind, often taken for a model.
    #[error("{}: not an ONNX model but {kind}: {cure}", path.display())]
    OtherKind {
        /// The file.
        path: PathBuf,
        /// What it is.
        kind: &'static str,
        /// What to do.
        cure: &'static str,
    },
    /// The file has more bytes than [`super::LoadLimits::file_bytes`].
    #[error("{}: it has more than {limit} bytes, the limit on loading", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The limit.
        limit: u64,
    },
    /// Loading took longer than [`super::LoadLimits::deadline`].
    #[error("{}: loading was given up after {} s, the limit on loading", path.display(), limit.as_secs_f32())]
    Deadline {
        /// The file.
        path: PathBuf,
        /// The limit.
        limit: std::time::Duration,
    },
    /// Loading is refused while so many earlier loads, given up for taking too long, have not ended.
    #[error("{}: not loaded: {late} earlier loads were given up and still work", path.display())]
    Busy {
        /// The file.
        path: PathBuf,
        /// How many they are.
        late: usize,
    },
    /// The file is read again and is not the one that was loaded.
    #[error("{}: the file has changed since the model was loaded from it", path.display())]
    Changed {
        /// The file.
        path: PathBuf,
    },
    /// A node that cannot be run: its operator is not supported, it contradicts its inputs, or it asks for too much.
    #[error("{}: node {node:?} ({operator}): {reason}", path.display())]
    Node {
        /// The model file.
        path: PathBuf,
        /// The node's name, or that of its first output.
        node: String,
        /// Its operator.
        operator: String,
        /// What is wrong with it.
        reason: String,
    },
    /// An ONNX model that tract cannot run.
    #[error("{}: the model cannot be prepared", path.display())]
    Unsupported {
        /// The model file.
        path: PathBuf,
        /// Where it failed.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// tract panicked on the model.
    #[error("{}: the model cannot be prepared: its nodes contradict each other ({reason})", path.display())]
    Panic {
        /// The model file.
        path: PathBuf,
        /// What the panic said.
        reason: String,
    },
    /// The file is for another batch than the one asked for, and its graph does not allow to change it.
    #[error(
        "{}: the file is fixed to a batch of {fixed}, and its graph does not allow one of {wanted}: export it with an \
         open batch", path.display()
    )]
    Batch {
        /// The model file.
        path: PathBuf,
        /// The batch of the file.
        fixed: usize,
        /// The batch asked for.
        wanted: usize,
        /// Why it cannot be changed.
        source: Box<ModelError>,
    },
    /// The model's input is not one batch of images.
    #[error("{}: input {input:?}: expected one input of images, (N, 1 or 3, height, width) or (N, height, width, 1 or 3), got {actual}", path.display())]
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
    /// The exits have different numbers of classes.
    #[error(
        "{}: the outputs have different numbers of classes: {outputs}: name those of one set of labels with --exits \
         (LoadOptions::exits)", path.display()
    )]
    Classes {
        /// The model file.
        path: PathBuf,
        /// The outputs, with their shapes.
        outputs: String,
    },
    /// An exit that is no classifier of one label.
    #[error("{}: exit {name:?} {reason}", path.display())]
    Exit {
        /// The model file.
        path: PathBuf,
        /// The exit.
        name: String,
        /// What it is instead.
        reason: String,
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
