//! Results for a person who watches.

use std::io::{self, Write};

use super::sink::{Record, Sink};

/// One line per record, or, `live`, one line that is drawn again and again.
#[derive(Debug)]
pub(crate) struct Terminal<W> {
    writer: W,
    live: bool,
    /// Whether the cursor stands behind a line that the next one replaces.
    drawn: bool,
}

impl<W: Write> Terminal<W> {
    /// Writes to `writer`. `live` is for terminals only: it moves the cursor.
    pub(crate) fn new(writer: W, live: bool) -> Self {
        Self { writer, live, drawn: false }
    }

    /// The writer.
    pub(crate) fn writer(&self) -> &W {
        &self.writer
    }
}

impl<W: Write> Sink for Terminal<W> {
    fn record(&mut self, record: &Record<'_>) -> io::Result<()> {
        if self.drawn {
            // Back to the start of the line, and erase it.
            write!(self.writer, "\r\x1b[K")?;
            self.drawn = false;
        }
        match record {
            Record::Frame(frame) => {
                let mark = frame.truth.map_or(' ', |truth| if truth == frame.class { '+' } else { 'x' });
                let percent = 100.0 * frame.soc;
                write!(
                    self.writer,
                    "frame {:>6} {mark} {:<16} {:<8} confidence {:.2} {:8.2} ms  SoC {percent:5.1} %  point {}",
                    frame.frame, frame.label, frame.exit, frame.confidence, frame.latency_ms, frame.point
                )?;
                self.drawn = self.live;
                if self.live { self.writer.flush() } else { writeln!(self.writer) }
            }
            Record::Camera { message, .. } => writeln!(self.writer, "camera: {message}"),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        if std::mem::take(&mut self.drawn) {
            writeln!(self.writer)?;
        }
        self.writer.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::sink::sample;

    const LINE: &str = "frame      7 + Ankle boot       exit1    confidence 0.88     3.25 ms  SoC  50.0 %  point 2";

    #[test]
    fn a_file_gets_plain_lines() {
        let mut sink = Terminal::new(Vec::new(), false);
        sink.record(&sample()).unwrap();
        sink.record(&Record::Camera { connected: true, message: "back" }).unwrap();
        sink.flush().unwrap();
        assert_eq!(String::from_utf8_lossy(sink.writer()), format!("{LINE}\ncamera: back\n"));
    }

    #[test]
    fn a_terminal_gets_one_line_that_changes() {
        let mut sink = Terminal::new(Vec::new(), true);
        sink.record(&sample()).unwrap();
        sink.record(&sample()).unwrap();
        sink.record(&Record::Camera { connected: false, message: "lost" }).unwrap();
        sink.flush().unwrap();
        let expected = format!("{LINE}\r\x1b[K{LINE}\r\x1b[Kcamera: lost\n");
        assert_eq!(String::from_utf8_lossy(sink.writer()), expected);
    }
}
