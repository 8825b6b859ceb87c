//! The settings file: options of `run` in TOML, each key an option's name.
//!
//! Nothing here lists options. Keys, their values and their help are those of `run`'s arguments, so that an option that is
//! added there is one here; what a value means is said by the same parser that reads the command line.

mod file;
mod merge;
mod options;
mod schema;

pub(crate) use file::Settings;
pub(crate) use merge::{arguments, check, matches};
pub(crate) use options::{Kind, Setting, settings};
pub(crate) use schema::schema;

/// Where the package and the card have it.
pub(crate) const DEFAULT_PATH: &str = "/etc/dyn-perceiver/config.toml";
