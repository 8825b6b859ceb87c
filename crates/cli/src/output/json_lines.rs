//! One JSON object per line.

use std::io::{self, Write};

use super::sink::{Record, Sink};

/// Writes every record as a line of JSON, whole lines at a time.
///
/// The keys are those of the records' fields, with `kind` for what it is: `frame` or `camera`.
#[derive(Debug)]
pub(crate) struct JsonLines<W> {
    writer: W,
    line: Vec<u8>,
}

impl<W: Write> JsonLines<W> {
    /// Writes to `writer`.
    pub(crate) fn new(writer: W) -> Self {
        Self { writer, line: Vec::new() }
    }

    /// The writer.
    pub(crate) fn writer(&self) -> &W {
        &self.writer
    }
}

impl<W: Write> Sink for JsonLines<W> {
    fn record(&mut self, record: &Record<'_>) -> io::Result<()> {
        self.line.clear();
        serde_json::to_writer(&mut self.line, record)?;
        self.line.push(b'\n');
        self.writer.write_all(&self.line)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::sink::sample;

    #[test]
    fn records_are_lines_with_stable_keys() {
        let mut sink = JsonLines::new(Vec::new());
        sink.record(&sample()).unwrap();
        sink.record(&Record::Camera { connected: false, message: "unplugged" }).unwrap();
        assert_eq!(
            String::from_utf8_lossy(sink.writer()),
            "{\"kind\":\"frame\",\"frame\":7,\"class\":9,\"label\":\"Ankle boot\",\"truth\":9,\"exit\":\"exit1\",\
             \"confidence\":0.875,\"latency_ms\":3.25,\"soc\":0.5,\"point\":2,\"joules\":0.125}\n\
             {\"kind\":\"camera\",\"connected\":false,\"message\":\"unplugged\"}\n"
        );
    }
}
