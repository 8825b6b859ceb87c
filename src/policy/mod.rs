//! Calibration: from records of what every exit said to the frontier of policies that are best for their cost.
//!
//! ```
//! use dyn_perceiver::policy::{self, SolveOptions, Synthetic};
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let records = Synthetic::four_exits().records(2_000, 1)?;
//! let (calibration, judged) = policy::split(&records.rows(), 0.5, 7);
//! let solved = policy::solve(&records, &calibration, &SolveOptions::default())?;
//! let point = &solved.frontier.points()[solved.frontier.by_budget(20.0).expect("20 is enough for the first exit")];
//! let taken = policy::simulate(&point.policy, &records, &judged)?;
//! let found = policy::summarise(&point.policy, &records.costs, &taken);
//! assert!((found.cost - f64::from(point.cost)).abs() < 1.0);
//! # Ok(())
//! # }
//! ```

#[cfg(all(feature = "tract", feature = "camera"))]
mod collect;
mod columns;
mod combine;
mod compare;
mod costs;
mod exhaustive;
pub mod file;
mod guarantee;
mod hull;
mod isotonic;
mod lagrange;
mod random;
mod record_error;
mod record_file;
mod record_writer;
mod records;
mod simulate;
mod solve;
mod sweep;
mod synthetic;

#[cfg(all(feature = "tract", feature = "camera"))]
pub use collect::{CollectError, LabelledData, collect, digest, header, joule_costs, latency_costs, mac_costs};
pub use columns::EvidenceKind;
pub use combine::{fit_curves, fit_weights};
pub use compare::{CostAccuracy, Curves, Difference};
pub use costs::{CostError, Costs, ExitMask, exits_of};
pub use exhaustive::{EXHAUSTIVE_EXITS, Found, exhaustive};
pub use file::FileError;
pub use guarantee::{Certified, GuaranteeError, Limit, binomial_tail, certify};
pub use hull::mixed_accuracy;
pub use isotonic::isotonic;
pub use random::{Random, split};
pub use record_error::RecordsError;
pub use record_file::{logits_path, read_records};
pub use record_writer::RecordWriter;
pub use records::{ExitReading, Records};
pub use simulate::{Summary, Taken, cost_of, evaluated, simulate, summarise};
pub use solve::{Compared, SolveError, SolveOptions, Solved, solve};
pub use sweep::quantile_sweep;
pub use synthetic::{Optimum, Synthetic};

#[cfg(test)]
mod tests;
