//! dyn-perceiver beside the runtimes people would use instead.

mod failure;
mod gate;
mod protocol;
mod report;
mod result;
mod rounds;
mod run;
mod runs;
mod shares;
mod worker;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Measures dyn-perceiver beside the runtimes people would use instead, reports, and guards against regressions.
///
/// Exit codes: 0 done, 1 something failed or got slower, 2 wrong input.
#[derive(Parser)]
#[command(name = "compare", version, about, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Measure every runtime on this machine and append the results to a file.
    Run(Box<run::Args>),
    /// Count instructions per inference on emulated ARM processors and append the results to a file.
    Count(Box<run::count::Args>),
    Report(report::Args),
    Gate(gate::Args),
    /// Be one runtime, driven over standard input.
    #[command(hide = true)]
    Worker(worker::Args),
}

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Run(args) => run::run(&args),
        Command::Count(args) => run::count::run(&args),
        Command::Report(args) => report::run(args),
        Command::Gate(args) => gate::run(args),
        Command::Worker(args) => worker::run(&args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(failure::code(&error))
        }
    }
}
