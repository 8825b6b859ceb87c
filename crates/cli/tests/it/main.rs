//! The program as a user meets it. One binary, so that tract is linked once.
#![allow(clippy::disallowed_macros, reason = "the rule is for what the program prints")]

mod bundle_command;
mod calibrate_tasks;
mod calibration;
mod camera;
mod class_folders;
mod cli;
mod detection;
mod doctor;
mod energy_state;
mod events;
mod gate;
mod golden;
#[path = "../../../../tests/it/graphs.rs"]
#[allow(dead_code, reason = "the library's tests use the rest")]
mod graphs;
mod learn_command;
#[cfg(feature = "http")]
mod live;
mod models;
mod models_command;
mod mqtt;
mod operating_points;
mod output;
mod plan;
mod program;
mod run_detector;
mod run_video;
mod save_power;
mod scale;
mod schemas;
mod settings;
mod switches;
