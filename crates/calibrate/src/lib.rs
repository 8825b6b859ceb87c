//! Threshold calibration: from validation predictions to the accuracy-cost Pareto frontier of exit policies.
//!
//! [`records`] hold, per sample and exit, confidence and correctness. [`solver`] finds the frontier, [`certify`] the
//! policies whose loss of accuracy is bounded with a given probability, [`evaluate`] replays a policy on records, and
//! [`missions`] replays whole missions on a simulated battery. No network is run here.

pub mod certify;
pub mod evaluate;
pub mod missions;
pub mod random;
pub mod records;
pub mod solver;

#[cfg(test)]
mod tests;
