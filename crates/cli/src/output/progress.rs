//! Progress of long work on a terminal.

use std::io::IsTerminal as _;

use indicatif::{ProgressBar, ProgressStyle};

/// A bar over `all` images of which `done` are done; hidden where nobody watches, or `quiet`.
pub(crate) fn images(all: usize, done: usize, quiet: bool) -> ProgressBar {
    let bar = bar(all as u64, quiet, "{bar:40} {pos}/{len} images, {per_sec}, {eta} left");
    bar.with_position(done as u64)
}

/// A bar over bytes, whose number is told later.
pub(crate) fn bytes(quiet: bool) -> ProgressBar {
    bar(0, quiet, "{bar:40} {bytes}/{total_bytes}")
}

fn bar(all: u64, quiet: bool, template: &str) -> ProgressBar {
    if quiet || !std::io::stderr().is_terminal() || is_dumb() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(all);
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

/// Whether the terminal cannot move its cursor.
pub(crate) fn is_dumb() -> bool {
    std::env::var_os("TERM").is_some_and(|term| term == "dumb")
}
