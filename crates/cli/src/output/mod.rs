//! What the program prints: tables, plots, records of frames, and how it ends.

pub(crate) mod data_notes;
pub(crate) mod failure;
mod json_lines;
pub(crate) mod plot;
mod rotating;
pub(crate) mod simulate_plot;
pub(crate) mod sink;
pub(crate) mod table;
mod terminal;
