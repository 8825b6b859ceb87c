//! How a subcommand ends when it does not succeed.

use std::process::ExitCode;

use super::{message, out};

/// Wrong input (exit code 2), anything else (exit code 1), or work done in part, which has been reported already (exit
/// code 1).
#[derive(Debug)]
pub(crate) enum Failure {
    Input(anyhow::Error),
    Failed(anyhow::Error),
    Partial,
}

impl Failure {
    /// Prints the error with its causes, unless nobody reads what is printed any more, and gives the exit code.
    pub(crate) fn report(self) -> ExitCode {
        let (error, code) = match self {
            Failure::Input(error) => (error, 2),
            Failure::Failed(error) => (error, 1),
            Failure::Partial => return ExitCode::FAILURE,
        };
        if out::is_closed(&error) {
            return ExitCode::SUCCESS;
        }
        message::tell("error: ", &chain(&error));
        ExitCode::from(code)
    }
}

/// An error and its causes in one line.
pub(crate) fn chain(error: &anyhow::Error) -> String {
    format!("{error:#}")
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Failure::Failed(error.into())
    }
}

/// Marks an error as the user's to mend.
pub(crate) trait OrInput<T> {
    fn or_input(self) -> Result<T, Failure>;
}

impl<T, E: Into<anyhow::Error>> OrInput<T> for Result<T, E> {
    fn or_input(self) -> Result<T, Failure> {
        self.map_err(|error| Failure::Input(error.into()))
    }
}

/// Wrong input, in words.
pub(crate) fn wrong<T>(message: impl std::fmt::Display) -> Result<T, Failure> {
    Err(Failure::Input(anyhow::anyhow!("{message}")))
}
