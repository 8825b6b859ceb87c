//! Whose fault a failure is: the exit code says it.

use std::fmt;

/// The user's to mend: exit code 2. Everything else ends with 1.
#[derive(Debug)]
pub(crate) struct Input(anyhow::Error);

impl fmt::Display for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#}", self.0)
    }
}

impl std::error::Error for Input {}

/// Marks an error as the user's to mend.
pub(crate) trait OrInput<T> {
    /// Whatever went wrong, the input was.
    ///
    /// # Errors
    /// [`Input`], with the text of the error.
    fn or_input(self) -> anyhow::Result<T>;
}

impl<T, E: Into<anyhow::Error>> OrInput<T> for Result<T, E> {
    fn or_input(self) -> anyhow::Result<T> {
        self.map_err(|error| Input(error.into()).into())
    }
}

/// An error that is the user's to mend.
pub(crate) fn input(text: impl Into<String>) -> anyhow::Error {
    Input(anyhow::Error::msg(text.into())).into()
}

/// The exit code of an error.
pub(crate) fn code(error: &anyhow::Error) -> u8 {
    if error.is::<Input>() { 2 } else { 1 }
}
