//! Messages on standard error.

use std::io::{self, Write as _};

/// Tells the user something on stderr, one message with a `prefix`. A stderr that cannot be written is nobody's failure.
pub(crate) fn tell(prefix: &str, message: &str) {
    let text = format!("{prefix}{}\n", super::text::lines(message));
    let _ = io::stderr().lock().write_all(text.as_bytes());
}

/// Tells something that goes on regardless.
pub(crate) fn note(message: &str) {
    tell("", message);
}

/// Tells something that the user should look into.
pub(crate) fn warning(message: &str) {
    tell("warning: ", message);
}
