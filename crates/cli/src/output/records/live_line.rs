//! One line on a terminal that is drawn again and again.

use std::io::{self, Write};
use std::time::{Duration, Instant};

/// Terminals and people cannot follow more.
const REDRAW: Duration = Duration::from_millis(50);

/// The line that shows the latest frame.
#[derive(Debug)]
pub(crate) struct LiveLine {
    drawn_at: Option<Instant>,
    /// Whether the cursor stands behind a line that the next one replaces.
    drawn: bool,
}

impl LiveLine {
    /// Nothing drawn yet.
    pub(crate) fn new() -> Self {
        Self { drawn_at: None, drawn: false }
    }

    /// Whether it is time for another line.
    pub(crate) fn is_due(&self) -> bool {
        self.drawn_at.is_none_or(|at| at.elapsed() > REDRAW)
    }

    /// Draws `line` in place of the last one, cut to `columns`: a line that wraps could not be taken back.
    pub(crate) fn draw(&mut self, writer: &mut impl Write, line: &str, columns: usize) -> io::Result<()> {
        // The last column stays free: writing there wraps on some terminals.
        let fitting = console::truncate_str(line, columns.saturating_sub(1), "");
        // Back to the start, and erase what an earlier, longer line left.
        write!(writer, "\r{fitting}\x1b[K")?;
        self.drawn = true;
        self.drawn_at = Some(Instant::now());
        writer.flush()
    }

    /// Takes the line away, so that something else can be written.
    pub(crate) fn clear(&mut self, writer: &mut impl Write) -> io::Result<()> {
        if std::mem::take(&mut self.drawn) {
            write!(writer, "\r\x1b[K")?;
            writer.flush()?;
        }
        Ok(())
    }
}

/// Columns of the terminal on standard output; 80 where it does not say.
pub(crate) fn columns() -> usize {
    console::Term::stdout().size_checked().map_or(80, |(_, columns)| usize::from(columns).max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_live_line_fits_the_terminal_and_goes_away() {
        let mut written = Vec::new();
        let mut line = LiveLine::new();
        line.clear(&mut written).unwrap();
        assert!(written.is_empty(), "nothing to take away yet");
        line.draw(&mut written, "frame 1 Bär 寿司", 13).unwrap();
        line.draw(&mut written, "frame 2", 4).unwrap();
        line.clear(&mut written).unwrap();
        assert_eq!(String::from_utf8(written).unwrap(), "\rframe 1 Bär \x1b[K\rfra\x1b[K\r\x1b[K");
    }
}
