//! dyn-perceiver beside the runtimes people would use instead.

mod failure;
mod gate;
mod report;
mod result;
mod rounds;
mod runs;

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
    Report(report::Args),
    Gate(gate::Args),
}

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Report(args) => report::run(args),
        Command::Gate(args) => gate::run(args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(failure::code(&error))
        }
    }
}
