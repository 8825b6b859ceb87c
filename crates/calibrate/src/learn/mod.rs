//! Learning classifiers for a user's own classes from features that a network has already computed.
//!
//! A frozen network's features in front of an exit are rows of numbers; a classifier on them is a linear discriminant with
//! one covariance for all classes, drawn to the identity: with ten images a class it is far ahead of a regression. How far it is
//! drawn is chosen by cross-validation, and what cross-validation says of each image, by a classifier that has not seen it
//! nor one that looks like it, are the records that thresholds are calibrated on: there are no images to spare for a validation
//! set of their own. The same covariance tells how far an image is from all classes, and so what is none of these.

mod alike;
mod crossed;
mod discriminant;
mod estimate;
mod features;
mod linear;
mod matrix;
mod reject;

pub use crossed::{Crossed, Options, learn};
pub use estimate::Estimate;
pub use features::{Features, LearnError};
pub use linear::{Linear, Outside};
pub use reject::{Reject, RejectError, reject};
