//! What a detector is worth on labelled pictures: average precision and recall as COCO has them.

mod average_precision;
mod matching;

pub use average_precision::{AveragePrecision, ClassPrecision, Detected, Truth, average_precision};

/// Boxes must overlap by this much to be the same object: 0.5, 0.55, ..., 0.95.
pub(crate) const OVERLAPS: usize = 10;

/// The overlap `index`, from 0.
pub(crate) fn overlap(index: usize) -> f64 {
    0.5 + 0.05 * index as f64
}
