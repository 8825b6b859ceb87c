//! SVG plots.

pub(crate) mod accuracy;
pub(crate) mod mission;
pub(crate) mod plan;
