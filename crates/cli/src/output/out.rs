//! Standard output.

use std::io::{self, ErrorKind, IsTerminal as _, Write};

use serde::Serialize;

use super::json;

/// Standard output, whose errors can be told from those of files.
///
/// Lines are passed on as soon as they are whole.
#[derive(Debug)]
pub(crate) struct Out(io::Stdout);

/// Standard output could not be written.
#[derive(Debug, thiserror::Error)]
#[error("standard output: {0}")]
struct OutError(io::Error);

impl Out {
    /// The program's standard output.
    pub(crate) fn stdout() -> Self {
        Self(io::stdout())
    }

    /// Whether a terminal shows it.
    pub(crate) fn is_terminal(&self) -> bool {
        self.0.is_terminal()
    }

    /// Writes one report as a line of JSON, with the version of its keys.
    ///
    /// # Errors
    /// As any write to standard output.
    pub(crate) fn json(&mut self, report: &impl Serialize) -> io::Result<()> {
        let line = json::line(&json::Versioned::new(report))?;
        self.write_all(&line)
    }
}

impl Write for Out {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes).map_err(named)
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes).map_err(named)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush().map_err(named)
    }
}

fn named(error: io::Error) -> io::Error {
    io::Error::new(error.kind(), OutError(error))
}

/// Whether `error` says that nobody reads standard output any more, which is no failure: `head` has seen enough.
pub(crate) fn is_closed(error: &anyhow::Error) -> bool {
    error.chain().filter_map(|cause| cause.downcast_ref::<io::Error>()).any(|error| {
        error.kind() == ErrorKind::BrokenPipe && error.get_ref().is_some_and(|inner| inner.is::<OutError>())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_closed_standard_output_counts_as_closed() {
        let pipe = || io::Error::from(ErrorKind::BrokenPipe);
        assert!(is_closed(&named(pipe()).into()));
        assert!(is_closed(&anyhow::Error::from(named(pipe())).context("summary")));
        assert!(!is_closed(&pipe().into()), "another pipe");
        assert!(!is_closed(&named(ErrorKind::StorageFull.into()).into()));
    }
}
