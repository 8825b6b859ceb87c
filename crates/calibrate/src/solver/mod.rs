//! The solver of exit thresholds: Lagrangian dynamic programming over the records, refined by coordinate ascent.

mod columns;
mod combine;
mod exhaustive;
mod hull;
mod isotonic;
mod lagrange;
mod solve;
mod sweep;

pub use columns::EvidenceKind;
pub use combine::{fit_curves, fit_weights};
pub use exhaustive::{EXHAUSTIVE_EXITS, Found, exhaustive};
pub use hull::mixed_accuracy;
pub use isotonic::isotonic;
pub(crate) use solve::increasing;
pub use solve::{Compared, SolveError, SolveOptions, Solved, solve};
pub use sweep::quantile_sweep;
