//! Calibration records: per sample and exit, the confidence and whether the prediction was right; with costs per exit.

mod costs;
mod error;
mod exit_set;
mod format;
mod read;
mod samples;
mod shards;
mod synthetic;
mod writer;

pub use costs::{CostError, Costs};
pub use error::RecordsError;
pub use exit_set::ExitSet;
pub use samples::{ExitReading, Records};
pub use shards::{Shard, ShardError, mark, merge};
pub use synthetic::{Optimum, Synthetic};
pub use writer::RecordWriter;
