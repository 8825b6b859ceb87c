//! Results out: where the loop's results go (layer 6).
//!
//! A [`Sink`] takes one [`Record`] per event. [`Terminal`] writes for people, [`JsonLines`] for programs, to any writer:
//! standard output, or a [`RotatingFile`] that cannot fill the disk.

use std::io;

use serde::Serialize;

pub(crate) use super::json_lines::JsonLines;
pub(crate) use super::rotating::RotatingFile;

/// Something that happened in the loop.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[non_exhaustive]
pub(crate) enum Record<'a> {
    /// A frame was classified.
    Frame(Classified<'a>),
    /// The camera was lost or is back.
    Camera {
        /// Whether frames come again.
        connected: bool,
        /// What happened, in words.
        message: &'a str,
    },
}

/// The result of one frame.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Classified<'a> {
    /// Number of the frame in its stream.
    pub frame: u64,
    /// Index of the class.
    pub class: usize,
    /// Name of the class.
    pub label: &'a str,
    /// Index of the true class, where it is known.
    pub truth: Option<usize>,
    /// Name of the exit at which the network was left.
    pub exit: &'a str,
    /// Confidence in [0, 1] at that exit.
    pub confidence: f32,
    /// Milliseconds of inference.
    pub latency_ms: f64,
    /// State of charge in [0, 1] after the frame.
    pub soc: f32,
    /// Index of the operating point in force, cheapest first.
    pub point: usize,
    /// Joules that the frame added to idle consumption, modelled.
    pub joules: f32,
}

/// Takes what the loop produces.
pub(crate) trait Sink {
    /// Takes one record.
    ///
    /// # Errors
    /// What the system says; the loop decides whether it goes on without this sink.
    fn record(&mut self, record: &Record<'_>) -> io::Result<()>;

    /// Makes sure that all records taken so far have left the program.
    ///
    /// # Errors
    /// What the system says.
    fn flush(&mut self) -> io::Result<()>;
}

impl<S: Sink + ?Sized> Sink for Box<S> {
    fn record(&mut self, record: &Record<'_>) -> io::Result<()> {
        (**self).record(record)
    }

    fn flush(&mut self) -> io::Result<()> {
        (**self).flush()
    }
}

/// Several sinks, each of which gets every record; all are served before the first error is returned.
impl<S: Sink> Sink for Vec<S> {
    fn record(&mut self, record: &Record<'_>) -> io::Result<()> {
        self.iter_mut().map(|sink| sink.record(record)).fold(Ok(()), io::Result::and)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.iter_mut().map(Sink::flush).fold(Ok(()), io::Result::and)
    }
}

#[cfg(test)]
pub(crate) fn sample() -> Record<'static> {
    Record::Frame(Classified {
        frame: 7,
        class: 9,
        label: "Ankle boot",
        truth: Some(9),
        exit: "exit1",
        confidence: 0.875,
        latency_ms: 3.25,
        soc: 0.5,
        point: 2,
        joules: 0.125,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fails or counts.
    struct Counting(Result<u32, ()>);

    impl Sink for Counting {
        fn record(&mut self, _: &Record<'_>) -> io::Result<()> {
            self.0.as_mut().map(|count| *count += 1).map_err(|()| io::ErrorKind::BrokenPipe.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn one_failing_sink_does_not_keep_records_from_the_others() {
        let mut sinks = vec![Counting(Ok(0)), Counting(Err(())), Counting(Ok(0))];
        assert_eq!(sinks.record(&sample()).unwrap_err().kind(), io::ErrorKind::BrokenPipe);
        assert!(matches!(sinks[..], [Counting(Ok(1)), Counting(Err(())), Counting(Ok(1))]));
        assert!(sinks.flush().is_ok());
    }
}
