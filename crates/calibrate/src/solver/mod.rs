//! The solver of exit thresholds: Lagrangian dynamic programming over the records with isotonic regression, refined by
//! coordinate ascent; its result is the accuracy-cost Pareto frontier.

mod columns;
mod combine;
mod compare;
mod curves;
mod error;
mod exhaustive;
mod hull;
mod isotonic;
mod lagrange;
mod options;
mod points;
mod prices;
mod probability;
mod sets;
mod solve;
mod sweep;

pub use compare::Compared;
pub use curves::{Difference, ParetoCurves};
pub use dyn_perceiver_core::exit::EnsembleKind;
pub use error::SolveError;
pub use exhaustive::{FoundPolicy, exhaustive};
pub use hull::mixed_accuracy;
pub use options::SolveOptions;
pub(crate) use points::increasing;
pub use solve::{Solved, solve};
pub use sweep::quantile_sweep;
