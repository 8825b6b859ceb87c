//! Log lines of the library and of tract, on stderr.

use log::{LevelFilter, Log, Metadata, Record};

use super::message;

struct Stderr;

impl Log for Stderr {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        // What tract reports on its way to refusing a graph is part of the error; it is shown to who asks for more.
        let own = metadata.target().starts_with("dyn_perceiver");
        metadata.level() <= log::max_level() && (own || log::max_level() > LevelFilter::Error)
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            message::tell(&format!("{} {}: ", record.level(), record.target()), &record.args().to_string());
        }
    }

    fn flush(&self) {}
}

/// Sends log lines to stderr from the level in `DYN_PERCEIVER_LOG` up, errors alone without it.
pub(crate) fn start() {
    let level = std::env::var("DYN_PERCEIVER_LOG").ok().and_then(|level| level.parse().ok());
    // Nobody else sets a logger in this program; were it so, that one would stay.
    if log::set_logger(&Stderr).is_ok() {
        log::set_max_level(level.unwrap_or(LevelFilter::Error));
    }
}
