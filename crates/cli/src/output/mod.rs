//! Everything that the program prints: standard output, messages, tables, plots, records of frames, and how it ends.
//!
//! No other module writes to stdout or stderr. A reader that went away ends the program quietly, a full disk is reported
//! once, and a stderr that cannot be written never ends anything.

pub(crate) mod data_notes;
pub(crate) mod draw;
pub(crate) mod failure;
pub(crate) mod found;
pub(crate) mod json;
pub(crate) mod logger;
pub(crate) mod memory;
pub(crate) mod message;
pub(crate) mod network;
pub(crate) mod out;
pub(crate) mod plots;
pub(crate) mod progress;
pub(crate) mod records;
pub(crate) mod skipped;
pub(crate) mod table;
pub(crate) mod text;
pub(crate) mod time;
