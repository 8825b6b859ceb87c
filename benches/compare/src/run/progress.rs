//! What a person at a terminal sees while a comparison runs.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// A line that says what is being measured; nothing where standard error is no terminal.
pub(super) struct Progress(ProgressBar);

impl Progress {
    pub(super) fn new() -> Self {
        let bar = ProgressBar::new_spinner();
        if let Ok(style) = ProgressStyle::with_template("{spinner} {elapsed_precise} {wide_msg}") {
            bar.set_style(style);
        }
        // It redraws often enough to live and seldom enough not to disturb what is measured.
        bar.enable_steady_tick(Duration::from_millis(500));
        Progress(bar)
    }

    /// What is going on.
    pub(super) fn say(&self, text: &str) {
        self.0.set_message(text.to_owned());
    }

    /// Which group of a model is being measured.
    pub(super) fn group(&self, model: &str, group: &str, number: usize, of: usize) {
        self.say(&format!("{model}: {group} ({} of {of})", number + 1));
    }

    /// A line that stays.
    pub(super) fn print(&self, text: &str) {
        self.0.suspend(|| eprintln!("{text}"));
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
