//! The solver of exit thresholds: Lagrangian dynamic programming over the records with isotonic regression, refined by
//! coordinate ascent; its result is the accuracy-cost Pareto frontier.

mod columns;
mod combine;
mod compare;
mod exhaustive;
mod hull;
mod isotonic;
mod lagrange;
mod points;
mod prices;
mod sets;
mod solve;
mod sweep;

pub use columns::EnsembleKind;
pub use exhaustive::{FoundPolicy, exhaustive};
pub use hull::mixed_accuracy;
pub(crate) use points::increasing;
pub use solve::{Compared, SolveError, SolveOptions, Solved, solve};
pub use sweep::quantile_sweep;
