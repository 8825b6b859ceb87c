//! Calibration records: per sample and exit, the confidence and whether the prediction was right; with costs per exit.

mod costs;
mod error;
mod file;
mod samples;
mod synthetic;
mod writer;

pub use costs::{CostError, Costs, ExitMask, exits_of};
pub use error::RecordsError;
pub use file::{logits_path, read_records};
pub use samples::{ExitReading, Records};
pub use synthetic::{Optimum, Synthetic};
pub use writer::RecordWriter;
