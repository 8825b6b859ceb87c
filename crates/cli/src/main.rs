//! The `dyn-perceiver` program: one file per subcommand; each parses, calls the library and prints.

#![deny(clippy::dbg_macro, clippy::print_stderr, clippy::print_stdout)]
// The rule is for what the program prints; tests derive schemas, whose expansion has it.
#![cfg_attr(test, allow(clippy::disallowed_macros))]

mod args;
mod commands;
mod defaults;
mod events;
#[cfg(feature = "http")]
mod http;
mod live;
#[cfg(feature = "mqtt")]
mod mqtt;
mod output;
#[cfg(test)]
mod schemas;
mod settings;
mod version;

use std::io::Write as _;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use commands::{
    calibrate, classify, compile, config, detect, doctor, evaluate, gate, generate, import, inspect, learn, meter,
    models, plan, profile, quantize, records, run, simulate, train,
};
use output::failure::OrInput as _;
use output::out::Out;

/// Multi-exit vision networks on battery-powered boards.
///
/// Exit codes: 0 done, 1 something failed, 2 wrong input. Logs go to stderr; DYN_PERCEIVER_LOG=debug shows more.
#[derive(Parser)]
#[command(name = "dyn-perceiver", version, long_version = version::long(), about, max_term_width = 100)]
struct Cli {
    /// With --version: say what was built, with which features, and for which CPUs; with --json as one object
    // It always does; whoever asks for more is not refused.
    #[arg(long, hide = true)]
    #[allow(dead_code, reason = "--version tells all there is")]
    verbose: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Run(Box<run::Args>),
    Classify(classify::Args),
    Detect(detect::Args),
    Inspect(inspect::Args),
    Compile(compile::Args),
    Quantize(quantize::Args),
    Meter(meter::Args),
    Plan(Box<plan::Args>),
    Profile(profile::Args),
    Simulate(Box<simulate::Args>),
    Calibrate(calibrate::Args),
    Evaluate(evaluate::Args),
    Records(records::Args),
    Gate(gate::Args),
    Doctor(doctor::Args),
    Config(config::Args),
    Learn(learn::Args),
    Train(train::Args),
    Models(models::Args),
    Import(import::Args),
    Generate(generate::Args),
}

fn main() -> ExitCode {
    output::time::begin();
    output::logger::start();
    dyn_perceiver::plan::return_freed_memory();
    let arguments = match settings::arguments(std::env::args_os().collect()).or_input() {
        Ok(arguments) => arguments,
        Err(failure) => return failure.report(),
    };
    if let Some(report) = version::asked_as_json(&arguments) {
        let mut out = Out::stdout();
        let written = out.json(&report).and_then(|()| out.flush());
        return written.map_or_else(|error| output::failure::Failure::from(error).report(), |()| ExitCode::SUCCESS);
    }
    let done = match Cli::parse_from(arguments).command {
        Command::Run(args) => run::run(*args),
        Command::Classify(args) => classify::run(args),
        Command::Detect(args) => detect::run(args),
        Command::Inspect(args) => inspect::run(args),
        Command::Compile(args) => compile::run(args),
        Command::Quantize(args) => quantize::run(args),
        Command::Meter(args) => meter::run(args),
        Command::Plan(args) => plan::run(*args),
        Command::Profile(args) => profile::run(args),
        Command::Simulate(args) => simulate::run(*args),
        Command::Calibrate(args) => calibrate::run(args),
        Command::Evaluate(args) => evaluate::run(args),
        Command::Records(args) => records::run(args),
        Command::Gate(args) => gate::run(args),
        Command::Doctor(args) => doctor::run(args),
        Command::Config(args) => config::run(args),
        Command::Learn(args) => learn::run(args),
        Command::Train(args) => train::run(args),
        Command::Models(args) => models::run(args),
        Command::Import(args) => import::run(args),
        Command::Generate(args) => generate::run(args),
    };
    // What is still buffered belongs to the work: a full disk is not found out after success was told.
    let done = done.and_then(|()| Ok(Out::stdout().flush()?));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}
