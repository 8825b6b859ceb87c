//! SVG plots.

pub(crate) mod accuracy;
pub(crate) mod mission;
