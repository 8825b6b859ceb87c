//! The `dyn-perceiver` program: one file per subcommand; each parses, calls the library and prints.

mod boards;
mod calibrate;
mod classify;
mod compile;
mod doctor;
mod evaluate;
mod failure;
mod import;
mod inspect;
mod models;
mod plot;
mod profile;
mod run;
mod service;
mod shipped;
mod simulate;
mod simulate_plot;
mod table;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Multi-exit vision networks on battery-powered boards.
///
/// Exit codes: 0 done, 1 something failed, 2 wrong input. Logs go to stderr; DYN_PERCEIVER_LOG=debug shows more.
#[derive(Parser)]
#[command(version, about, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Run(Box<run::Args>),
    Classify(classify::Args),
    Inspect(inspect::Args),
    Compile(compile::Args),
    Profile(profile::Args),
    Simulate(simulate::Args),
    Calibrate(calibrate::Args),
    Evaluate(evaluate::Args),
    Doctor(doctor::Args),
    Models(models::Args),
    Import(import::Args),
}

fn main() -> ExitCode {
    let filter = tracing_subscriber::EnvFilter::try_from_env("DYN_PERCEIVER_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("error"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    dyn_perceiver::plan::return_freed_memory();
    let done = match Cli::parse().command {
        Command::Run(args) => run::run(*args),
        Command::Classify(args) => classify::run(args),
        Command::Inspect(args) => inspect::run(args),
        Command::Compile(args) => compile::run(args),
        Command::Profile(args) => profile::run(args),
        Command::Simulate(args) => simulate::run(args),
        Command::Calibrate(args) => calibrate::run(args),
        Command::Evaluate(args) => evaluate::run(args),
        Command::Doctor(args) => doctor::run(args),
        Command::Models(args) => models::run(args),
        Command::Import(args) => import::run(args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}
