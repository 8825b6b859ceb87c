//! dyn-perceiver beside the runtimes people would use instead: measures, reports, and guards against regressions.

mod protocol;
mod ratio;
mod result;
mod run;
mod shares;
mod worker;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// dyn-perceiver beside the runtimes people would use instead.
///
/// Exit codes: 0 done, 1 something failed, 2 wrong input.
#[derive(Parser)]
#[command(version, about, max_term_width = 100)]
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
    /// Be one runtime, driven over standard input.
    #[command(hide = true)]
    Worker(worker::Args),
}

/// Something only the user can mend: exit code 2.
#[derive(Debug)]
struct WrongInput(String);

impl std::fmt::Display for WrongInput {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for WrongInput {}

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Run(args) => run::run(&args),
        Command::Count(args) => run::count::run(&args),
        Command::Worker(args) => worker::run(&args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(if error.is::<WrongInput>() { 2 } else { 1 })
        }
    }
}
