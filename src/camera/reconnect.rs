//! A camera that is opened again when it fails.

use std::time::{Duration, Instant};

use super::{CameraError, Frame, FrameSource};

/// First pause before a lost device is tried again; each further one is twice as long.
const FIRST_WAIT: Duration = Duration::from_millis(100);
/// Longest pause.
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// Opens a source, and opens it again whenever it fails, with growing pauses.
///
/// While the device is away each [`read`](FrameSource::read) makes one attempt, after its pause, and returns
/// [`CameraError::Lost`] when it fails: the loop lives, can report and can stop. Frame numbers go on across a gap.
pub struct Reconnecting<F> {
    open: F,
    source: Option<Box<dyn FrameSource>>,
    /// Attempts since the device was lost, and when the next is due.
    attempts: u32,
    due: Instant,
    /// Number of the next frame.
    next: u64,
    /// What has to be added to the present source's frame numbers.
    offset: u64,
    dropped: u64,
    reconnects: u64,
    waits: (Duration, Duration),
}

impl<F> Reconnecting<F>
where
    F: FnMut() -> Result<Box<dyn FrameSource>, CameraError> + Send,
{
    /// Opens the source for the first time, which must succeed: a wrong name or format should be told at once.
    ///
    /// # Errors
    /// What `open` returns.
    pub fn new(mut open: F) -> Result<Self, CameraError> {
        let source = Some(open()?);
        Ok(Self {
            open,
            source,
            attempts: 0,
            due: Instant::now(),
            next: 0,
            offset: 0,
            dropped: 0,
            reconnects: 0,
            waits: (FIRST_WAIT, LONGEST_WAIT),
        })
    }

    /// How often the device has come back.
    #[must_use]
    pub fn reconnects(&self) -> u64 {
        self.reconnects
    }

    fn lose(&mut self, error: CameraError) -> CameraError {
        // Dropped first, so that the device is closed before it is opened again.
        self.dropped += self.source.take().map_or(0, |source| source.dropped());
        let doublings = self.attempts.min(16);
        let wait = self.waits.0.saturating_mul(1 << doublings).min(self.waits.1);
        self.attempts += 1;
        self.due = Instant::now() + wait;
        tracing::warn!("camera lost, attempt {} in {wait:?}: {error}", self.attempts);
        CameraError::Lost { attempt: self.attempts, wait, source: Box::new(error) }
    }
}

impl<F> FrameSource for Reconnecting<F>
where
    F: FnMut() -> Result<Box<dyn FrameSource>, CameraError> + Send,
{
    fn read(&mut self, frame: &mut Frame) -> Result<bool, CameraError> {
        let source = match &mut self.source {
            Some(source) => source,
            None => {
                std::thread::sleep(self.due.saturating_duration_since(Instant::now()));
                match (self.open)() {
                    Ok(source) => self.source.insert(source),
                    Err(error) => return Err(self.lose(error)),
                }
            }
        };
        match source.read(frame) {
            Ok(true) => {
                if self.attempts > 0 {
                    tracing::info!("camera back after {} attempts", self.attempts);
                    self.attempts = 0;
                    self.reconnects += 1;
                    self.offset = self.next;
                }
                frame.sequence += self.offset;
                self.next = frame.sequence + 1;
                Ok(true)
            }
            Ok(false) => Ok(false),
            Err(error) => Err(self.lose(error)),
        }
    }

    fn dropped(&self) -> u64 {
        self.dropped + self.source.as_ref().map_or(0, FrameSource::dropped)
    }

    fn is_live(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;
    use crate::camera::SyntheticSource;

    /// Yields two frames, then fails as an unplugged device does.
    struct TwoFrames(SyntheticSource);

    impl FrameSource for TwoFrames {
        fn read(&mut self, frame: &mut Frame) -> Result<bool, CameraError> {
            match self.0.read(frame)? {
                true => Ok(true),
                false => Err(gone("reading")),
            }
        }

        fn dropped(&self) -> u64 {
            3
        }
    }

    fn gone(doing: &'static str) -> CameraError {
        let source = std::io::Error::from_raw_os_error(19);
        CameraError::Device { device: "/dev/video0".into(), doing, source }
    }

    #[test]
    fn a_lost_device_is_tried_with_growing_pauses_until_it_is_back() {
        let opened = Arc::new(AtomicU32::new(0));
        let count = opened.clone();
        let mut source = Reconnecting::new(move || match count.fetch_add(1, Ordering::Relaxed) {
            1..4 => Err(gone("opening")),
            _ => Ok(Box::new(TwoFrames(SyntheticSource::new(4, 4).with_count(2))) as Box<dyn FrameSource>),
        })
        .unwrap();
        source.waits = (Duration::from_millis(1), Duration::from_millis(4));
        let mut frame = Frame::default();
        for number in 0..2 {
            assert!(source.read(&mut frame).unwrap());
            assert_eq!(frame.sequence, number);
        }
        for (expected, milliseconds) in [(1, 1), (2, 2), (3, 4), (4, 4)] {
            match source.read(&mut frame).unwrap_err() {
                CameraError::Lost { attempt, wait, .. } => {
                    assert_eq!((attempt, wait), (expected, Duration::from_millis(milliseconds)));
                }
                other => panic!("{other}"),
            }
        }
        assert!(source.read(&mut frame).unwrap());
        assert_eq!((frame.sequence, source.reconnects(), source.dropped()), (2, 1, 6));
        assert_eq!(opened.load(Ordering::Relaxed), 5);
        assert!(source.read(&mut frame).unwrap());
        let error = source.read(&mut frame).unwrap_err();
        assert!(error.is_temporary() && error.to_string().contains("attempt 1"), "{error}");
    }

    #[test]
    fn a_device_that_cannot_be_opened_at_first_is_an_error() {
        let error = Reconnecting::new(|| Err(gone("opening"))).err().map(|error| error.to_string());
        assert!(error.is_some_and(|error| error.starts_with("/dev/video0: opening")));
    }
}
