//! What a detector is worth on labelled pictures: average precision and recall as COCO has them, and the gate by its exits.

mod average_precision;
mod frontier;
mod matching;
mod policies;
mod presence;

pub use average_precision::{AveragePrecision, ClassPrecision, Detected, Truth, average_precision};
pub use frontier::{certified_gates, level_frontier};
pub use policies::{LevelPoint, LevelPolicy, Picture, Said, Unless, has_found, replay_levels};
pub use presence::{Gate, GateSample, gate};

/// Boxes must overlap by this much to be the same object: 0.5, 0.55, ..., 0.95.
pub(crate) const OVERLAPS: usize = 10;

/// The overlap `index`, from 0, with the rounding of the original's list.
pub(crate) fn overlap(index: usize) -> f64 {
    let (least, most) = (0.5, 0.95);
    if index + 1 == OVERLAPS { most } else { least + index as f64 * ((most - least) / (OVERLAPS - 1) as f64) }
}
