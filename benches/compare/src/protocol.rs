//! How the comparison talks to a runtime in a process of its own: one JSON object per line, each way. `python/worker.py`
//! speaks the same.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::result::{Device, Task};

/// What a worker is asked for.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "kebab-case")]
pub(crate) enum Request {
    /// Load a model and take its input; answered by [`Loaded`].
    Load(Load),
    /// Compute once; answered by [`Outputs`].
    Outputs,
    /// Compute `calls` times; answered by [`Timed`].
    Time {
        /// Calls of the runtime.
        calls: usize,
    },
    /// Answered by [`Memory`].
    Memory,
    /// Yield to other threads, which an emulator's counter takes for a mark; answered by [`Marked`].
    Mark,
}

/// A model and how to run it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Load {
    /// The model's file.
    pub model: PathBuf,
    /// Little-endian float32, of `shape`.
    pub input: PathBuf,
    /// Images, channels, rows, columns.
    pub shape: [usize; 4],
    /// Threads to use.
    pub threads: usize,
    /// Where to run.
    pub device: Device,
    /// The one output to fetch; none for all.
    pub fetch: Option<String>,
    /// What a runtime that knows exits is to compute.
    #[serde(flatten)]
    pub task: Task,
}

/// A worker's first line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum Hello {
    /// It can run.
    Ready {
        /// Version of the runtime.
        version: String,
        /// Bytes held before anything was loaded.
        base_rss_bytes: u64,
    },
    /// It cannot, and why.
    Absent {
        /// For a person.
        absent: String,
    },
}

/// An answer: what was asked for, or what went wrong.
#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum Answer<T> {
    /// It could not be done.
    Error {
        /// For a person.
        error: String,
    },
    /// It was.
    Done(T),
}

/// A model is ready.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Loaded {
    /// Seconds from file to ready.
    pub load_s: f64,
}

/// All outputs of one call.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Outputs {
    /// Name to values, row by row.
    pub outputs: BTreeMap<String, Vec<f32>>,
}

/// Wall time.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Timed {
    /// Seconds for all calls together.
    pub seconds: f64,
}

/// Memory of the worker's process.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Memory {
    /// The most it ever held, bytes.
    pub peak_rss_bytes: u64,
}

/// The process has yielded.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Marked {
    /// Always so.
    pub marked: bool,
}
