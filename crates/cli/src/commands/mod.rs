//! One file per subcommand: parse, call the library, hand the result to the output layer.

pub(crate) mod calibrate;
pub(crate) mod classify;
pub(crate) mod classify_clips;
pub(crate) mod compile;
pub(crate) mod config;
pub(crate) mod detect;
pub(crate) mod doctor;
pub(crate) mod evaluate;
pub(crate) mod gate;
pub(crate) mod generate;
pub(crate) mod import;
pub(crate) mod inspect;
pub(crate) mod learn;
pub(crate) mod meter;
pub(crate) mod models;
pub(crate) mod plan;
pub(crate) mod profile;
pub(crate) mod quantize;
pub(crate) mod records;
pub(crate) mod run;
pub(crate) mod simulate;
pub(crate) mod train;
