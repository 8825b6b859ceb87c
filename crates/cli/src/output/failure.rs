//! How a subcommand ends when it does not succeed.

use std::io::ErrorKind;
use std::process::ExitCode;

/// Wrong input (exit code 2) or anything else (exit code 1).
#[derive(Debug)]
pub(crate) enum Failure {
    Input(anyhow::Error),
    Failed(anyhow::Error),
}

impl Failure {
    /// Prints the error, unless nobody reads what is printed any more, and gives the exit code.
    pub(crate) fn report(self) -> ExitCode {
        let (error, code) = match self {
            Failure::Input(error) => (error, 2),
            Failure::Failed(error) => (error, 1),
        };
        let io = error.chain().find_map(|cause| cause.downcast_ref::<std::io::Error>());
        if io.is_some_and(|io| io.kind() == ErrorKind::BrokenPipe) {
            return ExitCode::SUCCESS;
        }
        eprintln!("error: {error:#}");
        ExitCode::from(code)
    }
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
