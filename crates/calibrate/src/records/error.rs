//! What can be wrong with calibration records in files.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

use dyn_perceiver_core::exit::{LogitsError, ModelDigest};

use super::costs::CostError;

/// Why records could not be read or written.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RecordsError {
    /// The file could not be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The file could not be written.
    #[error("cannot write {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A line before the samples is not as expected.
    #[error("{}, line {line}: {reason}", path.display())]
    Header {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong.
        reason: String,
    },
    /// The costs in the header do not make sense.
    #[error("{}", path.display())]
    Costs {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: CostError,
    },
    /// A sample is not as expected.
    #[error("{}, row {row}: {reason}", path.display())]
    Row {
        /// The file.
        path: PathBuf,
        /// The sample, from 1.
        row: usize,
        /// What is wrong.
        reason: String,
    },
    /// A sample does not fit the records that it was to be appended to.
    #[error("sample {sample:?}: {reason}")]
    Sample {
        /// The sample.
        sample: String,
        /// What is wrong.
        reason: String,
    },
    /// Another program is writing the same records.
    #[error("{}: another program is recording to this file", path.display())]
    Busy {
        /// The unfinished file.
        path: PathBuf,
    },
    /// The logits beside do not fit the samples.
    #[error("{}: {actual} bytes, expected {expected} ({samples} samples x {exits} exits x {classes} classes x 4)", path.display())]
    LogitsLength {
        /// The file of logits.
        path: PathBuf,
        /// Its length.
        actual: u64,
        /// The length expected.
        expected: u64,
        /// Samples recorded.
        samples: usize,
        /// Exits.
        exits: usize,
        /// Classes.
        classes: usize,
    },
    /// The records are of another model.
    #[error("{}: records of model {recorded}, but the model is {expected}", path.display())]
    Model {
        /// The file.
        path: PathBuf,
        /// The model recorded.
        recorded: ModelDigest,
        /// The model they were to be used with.
        expected: ModelDigest,
    },
    /// Unfinished records are of other samples than those now given.
    #[error("{}, row {row}: sample {found:?}, but the data has {expected:?}; remove the file to start afresh", path.display())]
    OtherData {
        /// The unfinished file.
        path: PathBuf,
        /// The row, from 1.
        row: usize,
        /// The sample recorded.
        found: String,
        /// The sample in the data.
        expected: String,
    },
    /// Logits given to be recorded are no numbers, or too many or too few.
    #[error("sample {sample:?}, exit {}", exit + 1)]
    Given {
        /// The sample.
        sample: String,
        /// The exit, from 0.
        exit: usize,
        /// What is wrong.
        source: LogitsError,
    },
}
