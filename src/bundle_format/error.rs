use std::path::PathBuf;

use thiserror::Error;

use crate::executor::RunError;
use crate::exit::PolicyFileError;

/// The version of the format that this library writes and reads.
pub const VERSION: u32 = 13;

/// Why a bundle was refused, or could not be made. Every message names the file.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum BundleError {
    /// The model's graph cannot be made into stages.
    #[error(transparent)]
    Graph(#[from] crate::graph::GraphError),
    /// The model was refused when it was made a plan.
    #[error(transparent)]
    Model(#[from] crate::model::ModelError),
    /// The file could not be read.
    #[error("{}: cannot be read", path.display())]
    Read {
        /// The bundle.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The file could not be written.
    #[error("{}: cannot be written", path.display())]
    Write {
        /// The bundle.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The file does not begin as a bundle does.
    #[error("{}: not a bundle", path.display())]
    NoBundle {
        /// The file.
        path: PathBuf,
    },
    /// Made by a version of the program that writes another format.
    #[error("{}: header: version {found} of the bundle format, expected {}: compile the model anew", path.display(), VERSION)]
    Version {
        /// The bundle.
        path: PathBuf,
        /// The version found.
        found: u32,
    },
    /// The file is shorter or longer than it says.
    #[error("{}: {actual} bytes, expected {expected}: the bundle was cut short or added to", path.display())]
    Length {
        /// The bundle.
        path: PathBuf,
        /// Bytes it should have.
        expected: u64,
        /// Bytes it has.
        actual: u64,
    },
    /// A part does not have its checksum: bytes were damaged or changed.
    #[error("{}: {place}: checksum {actual:08x}, expected {expected:08x}: the bundle was damaged or changed", path.display())]
    Checksum {
        /// The bundle.
        path: PathBuf,
        /// Header, manifest or weights.
        place: &'static str,
        /// What the bundle says.
        expected: u32,
        /// What its bytes have.
        actual: u32,
    },
    /// The checksums are right, but the content makes no sense.
    #[error("{}: {place}: {reason}", path.display())]
    Content {
        /// The bundle.
        path: PathBuf,
        /// Which part.
        place: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The weights are laid out for other kernels than this program's on this CPU.
    #[error(
        "{}: weights are laid out for {target} ({found:08x}), this program wants {expected:08x} on {}: compile the model anew",
        path.display(), std::env::consts::ARCH
    )]
    Layout {
        /// The bundle.
        path: PathBuf,
        /// What it was made for.
        target: String,
        /// The layout it has.
        found: u32,
        /// The layout wanted.
        expected: u32,
    },
    /// Its weights are packed for kernels that this program does not have.
    #[error(
        "{}: weights are packed for {found} kernels, this program reads {expected}: compile the model anew",
        path.display()
    )]
    Kernels {
        /// The bundle.
        path: PathBuf,
        /// The kernels that it names.
        found: String,
        /// Those wanted.
        expected: String,
    },
    /// This machine stores numbers the other way round.
    #[error("{}: bundles hold little-endian numbers, and this machine is big-endian", path.display())]
    ByteOrder {
        /// The bundle.
        path: PathBuf,
    },
    /// The policy is not for this model.
    #[error("{}: policy: {error}", path.display())]
    Policy {
        /// The bundle.
        path: PathBuf,
        /// Why.
        error: PolicyFileError,
    },
    /// The policy is for other exits, or for the same in another order.
    #[error("{}: policy: for exits {actual}, the model has {expected}", path.display())]
    PolicyExits {
        /// The bundle.
        path: PathBuf,
        /// The model's exits.
        expected: String,
        /// The policy's.
        actual: String,
    },
    /// Other exits were asked for than the bundle was compiled with.
    #[error("{}: compiled with exits {expected}, asked for {actual}: compile the model with these", path.display())]
    Exits {
        /// The bundle.
        path: PathBuf,
        /// The bundle's exits.
        expected: String,
        /// Those asked for.
        actual: String,
    },
    /// Another batch was asked for than the bundle was compiled with.
    #[error("{}: compiled for a batch of {expected}, asked for {actual}", path.display())]
    Batch {
        /// The bundle.
        path: PathBuf,
        /// The bundle's batch.
        expected: usize,
        /// The batch asked for.
        actual: usize,
    },
    /// Something was asked for that a bundle has from the options it was compiled with.
    #[error("{}: a bundle keeps the {what} that it was compiled with: compile the model with another", path.display())]
    Fixed {
        /// The bundle.
        path: PathBuf,
        /// What was asked for.
        what: &'static str,
    },
    /// The graph has an operator that bundles cannot hold.
    #[error("{}: node {node:?}: operator {operator} cannot be stored in a bundle{reason}", path.display())]
    Operator {
        /// The model.
        path: PathBuf,
        /// The node.
        node: String,
        /// Its operator.
        operator: String,
        /// Why, where it is not the operator itself.
        reason: String,
    },
    /// An exit of the model fails when it is computed.
    #[error("{}: the model loads, but cannot be run", path.display())]
    Run {
        /// The model.
        path: PathBuf,
        /// Why.
        source: RunError,
    },
}
