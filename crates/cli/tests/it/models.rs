//! Models that say how their images are normalised, so that loading them has nothing to warn of.

use crate::graphs::{self, Graph};

/// As [`graphs::three_exits`], with ImageNet's mean and deviation in its metadata.
pub(crate) fn three_exits(outputs: &[&str]) -> Graph {
    graphs::three_exits(outputs)
        .metadata("dyn_perceiver.mean", "0.485,0.456,0.406")
        .metadata("dyn_perceiver.std", "0.229,0.224,0.225")
}
