//! Capture in a thread of its own, with room for one frame: the newest.

use std::time::Duration;

use crate::camera::slot::{Overflow, Recv, Slot};
use crate::camera::{CameraError, CameraRate, Frame, FrameSource, StopToken};

/// Reads another source in a thread and hands out its newest frame.
///
/// While a frame is being classified the next is captured. A frame that is not read before the next one is complete is
/// overwritten and counted, so a slow network sees fewer frames but never old ones. Frames are handed on as they came: a
/// compressed one that nobody takes is never decoded. Three frame buffers go round; nothing is allocated per frame.
#[derive(Debug)]
pub struct Latest {
    ahead: Slot<Captured>,
    captured: Captured,
    name: String,
    timeout: Option<Duration>,
    frames: Option<u64>,
    rate: Option<CameraRate>,
    stop: StopToken,
}

/// A frame, and how many its source had dropped before it, damaged ones among them.
#[derive(Debug, Default)]
struct Captured {
    frame: Frame,
    dropped: u64,
    damaged: u64,
    stream: u64,
}

impl Latest {
    /// Starts to read `source`, called `name` in messages.
    ///
    /// # Errors
    /// [`CameraError::Device`] when the system gives no thread.
    pub fn new(name: impl Into<String>, mut source: impl FrameSource + 'static) -> Result<Self, CameraError> {
        let name = name.into();
        let (frames, rate) = (source.frames(), source.rate());
        let ended = StopToken::default();
        source.stop_on(&ended);
        let capture = move |captured: &mut Captured| {
            let more = source.read(&mut captured.frame)?;
            captured.dropped = source.dropped();
            captured.damaged = source.damaged();
            captured.stream = source.stream();
            Ok(more)
        };
        let ahead = Slot::start("capture", Overflow::DropOldest, ended, capture)
            .map_err(|source| CameraError::Device { device: name.clone(), doing: "starting its thread", source })?;
        Ok(Self { ahead, captured: Captured::default(), name, timeout: None, frames, rate, stop: StopToken::default() })
    }

    /// Gives a source up that yields neither frame nor error for this long.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }
}

impl FrameSource for Latest {
    fn read(&mut self, frame: &mut Frame) -> Result<bool, CameraError> {
        match self.ahead.take(&mut self.captured, self.timeout, &self.stop)? {
            Recv::Item => {
                std::mem::swap(frame, &mut self.captured.frame);
                Ok(true)
            }
            Recv::Closed => Ok(false),
            Recv::Timeout => {
                let waited = self.timeout.unwrap_or_default();
                Err(CameraError::Hung { device: self.name.clone(), waited })
            }
        }
    }

    fn frames(&self) -> Option<u64> {
        self.frames
    }

    fn dropped(&self) -> u64 {
        self.captured.dropped + self.ahead.overwritten()
    }

    fn damaged(&self) -> u64 {
        self.captured.damaged
    }

    fn stop_on(&mut self, stop: &StopToken) {
        self.stop = stop.clone();
    }

    fn is_live(&self) -> bool {
        true
    }

    fn stream(&self) -> u64 {
        self.captured.stream
    }

    fn rate(&self) -> Option<CameraRate> {
        self.rate.clone()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::camera::SyntheticSource;

    #[test]
    fn a_slow_reader_sees_new_frames_and_every_frame_is_accounted_for() {
        let period = Duration::from_millis(4);
        let source = SyntheticSource::new(16, 16).with_period(period).with_count(60);
        let mut latest = Latest::new("synthetic", source).unwrap();
        assert_eq!(latest.frames(), Some(60));
        let (mut frame, mut read) = (Frame::default(), 0);
        let mut ages = Vec::new();
        while latest.read(&mut frame).unwrap() {
            ages.push(frame.captured.elapsed());
            read += 1;
            std::thread::sleep(Duration::from_millis(15));
        }
        assert_eq!(read + latest.dropped(), 60);
        assert!(latest.dropped() > 20, "{} dropped", latest.dropped());
        // Frames do not queue up: 60 of them read 11 ms too slowly would be 660 ms late in the end.
        assert!(*ages.last().unwrap() < Duration::from_millis(300), "{ages:?}");
    }

    /// Fails at every second read.
    struct Flaky(u64);

    impl FrameSource for Flaky {
        fn read(&mut self, frame: &mut Frame) -> Result<bool, CameraError> {
            self.0 += 1;
            frame.sequence = self.0;
            match self.0 {
                7.. => Ok(false),
                n if n % 2 == 0 => Err(CameraError::Hung { device: format!("read {n}"), waited: Duration::ZERO }),
                _ => Ok(true),
            }
        }
    }

    #[test]
    fn errors_pass_through_and_the_source_goes_on() {
        let mut latest = Latest::new("flaky", Flaky(0)).unwrap();
        let mut frame = Frame::default();
        for n in [1, 3, 5] {
            assert!(latest.read(&mut frame).unwrap());
            assert_eq!(frame.sequence, n);
            assert!(latest.read(&mut frame).unwrap_err().to_string().contains(&format!("read {}", n + 1)));
        }
        assert!(!latest.read(&mut frame).unwrap());
        assert!(!latest.read(&mut frame).unwrap());
    }

    #[test]
    fn a_silent_source_is_given_up_and_dropping_does_not_wait_for_the_reader() {
        let source = SyntheticSource::new(4, 4).with_period(Duration::from_millis(300));
        let mut latest = Latest::new("slow", source).unwrap().with_timeout(Duration::from_millis(50));
        latest.next().unwrap();
        assert!(latest.next().unwrap_err().to_string().contains("slow: no frame for 50ms"));
        let start = Instant::now();
        drop(latest);
        assert!(start.elapsed() < Duration::from_secs(2));
    }

    struct Panics;

    impl FrameSource for Panics {
        fn read(&mut self, _: &mut Frame) -> Result<bool, CameraError> {
            panic!("a binding did not expect this")
        }
    }

    #[test]
    fn a_panic_in_the_source_ends_the_stream() {
        assert!(Latest::new("panics", Panics).unwrap().next().unwrap().is_none());
    }
}
