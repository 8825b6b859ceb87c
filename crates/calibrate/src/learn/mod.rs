//! Learning classifiers for a user's own classes from features that a network has already computed.
//!
//! A frozen network's features in front of an exit are rows of numbers; a classifier on them is a multinomial logistic
//! regression. It is fitted by L-BFGS, the strength of its penalty is chosen by cross-validation, and what
//! cross-validation says of each image, by a classifier that has not seen it, are the records that thresholds are
//! calibrated on: with ten images a class there are none to spare for a validation set of their own.

mod crossed;
mod estimate;
mod features;
mod lbfgs;
mod logistic;
mod reject;

pub use crossed::{Crossed, Options, learn};
pub use estimate::Estimate;
pub use features::{Features, LearnError};
pub use logistic::Linear;
pub use reject::{Reject, RejectError, reject};
