//! A camera that is opened again when it fails.

use std::time::{Duration, Instant};

use crate::camera::{CameraError, CameraRate, Frame, FrameSource, StopToken, after};

/// First pause before a lost device is tried again; each further one is twice as long.
const FIRST_WAIT: Duration = Duration::from_millis(100);
/// Longest pause.
const LONGEST_WAIT: Duration = Duration::from_secs(5);
/// Attempts after which a camera is given up that has never yielded a frame.
const FIRST_ATTEMPTS: u32 = 3;
/// How long another rate must have been wanted before the camera is opened again for it: longer than a governor's dwell.
const RATE_WAIT: Duration = Duration::from_secs(60);

/// Opens a source, and opens it again whenever it fails, with growing pauses.
///
/// While the device is away each [`read`](FrameSource::read) makes one attempt, after its pause, and returns
/// [`CameraError::Lost`] when it fails: the loop lives, can report and can stop. Frame numbers go on across a gap.
///
/// A damaged frame is handed on as the error it is, and nothing is reopened for it. A camera that has never yielded a frame
/// is given up after three attempts, or at once when its command does not exist: [`CameraError::NeverCame`].
///
/// With a [rate](Self::with_rate) the camera is opened again when another rate has been wanted for a minute.
pub struct Reconnecting<F> {
    name: String,
    open: F,
    source: Option<Box<dyn FrameSource>>,
    /// Attempts since the device was lost, and when the next is due.
    attempts: u32,
    due: Instant,
    /// Number of the next frame.
    next: u64,
    /// What has to be added to the present source's frame numbers.
    offset: u64,
    /// Of the sources before the present one.
    dropped: u64,
    damaged: u64,
    /// Whether a frame ever came, whole or damaged.
    came: bool,
    reconnects: u64,
    /// How often it was opened again for another rate.
    reopened: u64,
    waits: (Duration, Duration),
    rate: Option<FollowedRate>,
    stop: StopToken,
}

/// A rate that may change while the camera runs.
struct FollowedRate {
    wanted: CameraRate,
    /// What the camera was opened at.
    opened: Option<u32>,
    /// Since when another one is wanted.
    since: Option<Instant>,
    wait: Duration,
}

impl FollowedRate {
    /// Whether the camera should be opened again for its rate.
    fn is_due(&mut self) -> bool {
        if !self.wanted.is_far_from(self.opened) {
            self.since = None;
            return false;
        }
        self.since.get_or_insert_with(Instant::now).elapsed() >= self.wait
    }

    fn opens(&mut self) {
        (self.opened, self.since) = (self.wanted.fps(), None);
    }
}

impl<F> std::fmt::Debug for Reconnecting<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reconnecting")
            .field("name", &self.name)
            .field("open", &self.source.is_some())
            .field("attempts", &self.attempts)
            .field("reconnects", &self.reconnects)
            .finish_non_exhaustive()
    }
}

impl<F> Reconnecting<F>
where
    F: FnMut() -> Result<Box<dyn FrameSource>, CameraError> + Send,
{
    /// Opens the source, called `name` in messages, for the first time, which must succeed: a wrong name or format should
    /// be told at once.
    ///
    /// # Errors
    /// What `open` returns.
    pub fn new(name: impl Into<String>, mut open: F) -> Result<Self, CameraError> {
        let source = Some(open()?);
        Ok(Self {
            name: name.into(),
            open,
            source,
            attempts: 0,
            due: Instant::now(),
            next: 0,
            offset: 0,
            dropped: 0,
            damaged: 0,
            came: false,
            reconnects: 0,
            reopened: 0,
            waits: (FIRST_WAIT, LONGEST_WAIT),
            rate: None,
            stop: StopToken::default(),
        })
    }

    /// Opens the camera again when `rate` has been another one for a minute than when it was opened. It is for the function
    /// that opens it to ask for that rate.
    #[must_use]
    pub fn with_rate(mut self, rate: CameraRate) -> Self {
        let opened = rate.fps();
        self.rate = Some(FollowedRate { wanted: rate, opened, since: None, wait: RATE_WAIT });
        self
    }

    /// How often the device has come back.
    #[must_use]
    pub fn reconnects(&self) -> u64 {
        self.reconnects
    }

    /// Closes the device, which must be done before it is opened again.
    fn close(&mut self) {
        if let Some(source) = self.source.take() {
            self.dropped += source.dropped();
            self.damaged += source.damaged();
        }
    }

    fn lose(&mut self, error: CameraError) -> CameraError {
        self.close();
        let doublings = self.attempts.min(16);
        let wait = self.waits.0.saturating_mul(1 << doublings).min(self.waits.1);
        self.attempts += 1;
        self.due = after(wait);
        if !self.came && (self.attempts >= FIRST_ATTEMPTS || error.is_hopeless()) {
            let attempts = std::mem::take(&mut self.attempts);
            return CameraError::NeverCame { device: self.name.clone(), attempts, source: Box::new(error) };
        }
        CameraError::Lost { attempt: self.attempts, wait, source: Box::new(error) }
    }

    /// The open source; `None` when it was told to stop before the next attempt was due.
    fn source(&mut self) -> Result<Option<&mut dyn FrameSource>, CameraError> {
        if self.source.is_some() && self.rate.as_mut().is_some_and(FollowedRate::is_due) {
            log::info!("{}: opened again for another rate", self.name);
            self.close();
            (self.due, self.offset) = (Instant::now(), self.next);
            self.reopened += 1;
        }
        if self.source.is_none() {
            if let Some(rate) = &mut self.rate {
                rate.opens();
            }
            if !self.stop.sleep_until(self.due) {
                return Ok(None);
            }
            match (self.open)() {
                Ok(mut source) => {
                    source.stop_on(&self.stop);
                    self.source = Some(source);
                }
                Err(error) => return Err(self.lose(error)),
            }
        }
        Ok(self.source.as_mut().map(|source| source as &mut dyn FrameSource))
    }

    /// Numbers go on where the source before this one ended.
    fn came(&mut self, sequence: u64) -> u64 {
        self.came = true;
        if self.attempts > 0 {
            log::info!("camera back after {} attempts", self.attempts);
            self.attempts = 0;
            self.reconnects += 1;
            self.offset = self.next;
        }
        let sequence = sequence + self.offset;
        self.next = sequence + 1;
        sequence
    }
}

impl<F> FrameSource for Reconnecting<F>
where
    F: FnMut() -> Result<Box<dyn FrameSource>, CameraError> + Send,
{
    fn read(&mut self, frame: &mut Frame) -> Result<bool, CameraError> {
        let Some(source) = self.source()? else { return Ok(false) };
        match source.read(frame) {
            Ok(true) => {
                frame.sequence = self.came(frame.sequence);
                Ok(true)
            }
            Ok(false) => Ok(false),
            Err(CameraError::Damaged { device, sequence, reason }) => {
                Err(CameraError::Damaged { device, sequence: self.came(sequence), reason })
            }
            Err(error) => Err(self.lose(error)),
        }
    }

    fn dropped(&self) -> u64 {
        self.dropped + self.source.as_ref().map_or(0, |source| source.dropped())
    }

    fn damaged(&self) -> u64 {
        self.damaged + self.source.as_ref().map_or(0, |source| source.damaged())
    }

    fn stop_on(&mut self, stop: &StopToken) {
        self.stop = stop.clone();
        if let Some(source) = &mut self.source {
            source.stop_on(stop);
        }
    }

    fn is_live(&self) -> bool {
        true
    }

    fn stream(&self) -> u64 {
        self.reconnects + self.reopened
    }

    fn rate(&self) -> Option<CameraRate> {
        self.rate.as_ref().map(|rate| rate.wanted.clone())
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
        let mut source = Reconnecting::new("/dev/video0", move || match count.fetch_add(1, Ordering::Relaxed) {
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
        let error = Reconnecting::new("/dev/video0", || Err(gone("opening"))).err().map(|error| error.to_string());
        assert!(error.is_some_and(|error| error == "/dev/video0: opening failed"));
    }

    /// Yields what it is told, one after the other, then fails for good.
    struct Scripted(std::vec::IntoIter<Result<u64, CameraError>>);

    impl FrameSource for Scripted {
        fn read(&mut self, frame: &mut Frame) -> Result<bool, CameraError> {
            frame.sequence = self.0.next().unwrap_or_else(|| Err(gone("reading")))?;
            Ok(true)
        }
    }

    fn damaged(sequence: u64) -> CameraError {
        CameraError::Damaged { device: "/dev/video0".into(), sequence, reason: "cut short".into() }
    }

    fn scripted(
        script: impl Fn() -> Vec<Result<u64, CameraError>> + Send + 'static,
    ) -> (impl FrameSource, Arc<AtomicU32>) {
        let opened = Arc::new(AtomicU32::new(0));
        let count = opened.clone();
        let mut source = Reconnecting::new("/dev/video0", move || {
            count.fetch_add(1, Ordering::Relaxed);
            Ok(Box::new(Scripted(script().into_iter())) as Box<dyn FrameSource>)
        })
        .unwrap();
        source.waits = (Duration::from_millis(1), Duration::from_millis(1));
        (source, opened)
    }

    #[test]
    fn a_damaged_frame_is_told_and_the_camera_stays_open() {
        let (mut source, opened) = scripted(|| vec![Ok(0), Err(damaged(1)), Ok(2)]);
        let mut frame = Frame::default();
        assert!(source.read(&mut frame).unwrap());
        assert!(matches!(source.read(&mut frame), Err(CameraError::Damaged { sequence: 1, .. })));
        assert!(source.read(&mut frame).unwrap());
        assert_eq!((frame.sequence, opened.load(Ordering::Relaxed)), (2, 1));
    }

    #[test]
    fn a_camera_is_opened_again_for_another_rate_and_its_numbers_go_on() {
        let rate = CameraRate::new(Some(30));
        let (opened, asked) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
        let (count, last, wanted) = (opened.clone(), asked.clone(), rate.clone());
        let mut source = Reconnecting::new("camera", move || {
            count.fetch_add(1, Ordering::Relaxed);
            last.store(wanted.fps().unwrap_or(0), Ordering::Relaxed);
            Ok(Box::new(SyntheticSource::new(4, 4)) as Box<dyn FrameSource>)
        })
        .unwrap()
        .with_rate(rate);
        source.rate.as_mut().unwrap().wait = Duration::ZERO;
        let mut frame = Frame::default();
        let mut read = |source: &mut dyn FrameSource| {
            assert!(source.read(&mut frame).unwrap());
            frame.sequence
        };
        assert_eq!([read(&mut source), read(&mut source)], [0, 1]);
        // A little slower is not worth it; a tenth is.
        source.rate().unwrap().follow(Duration::from_millis(50));
        assert_eq!((read(&mut source), opened.load(Ordering::Relaxed)), (2, 1));
        source.rate().unwrap().follow(Duration::from_millis(400));
        assert_eq!((read(&mut source), opened.load(Ordering::Relaxed)), (3, 2));
        assert_eq!((read(&mut source), asked.load(Ordering::Relaxed)), (4, 3));
        assert_eq!((opened.load(Ordering::Relaxed), source.reconnects()), (2, 0));
    }

    #[test]
    fn a_camera_that_never_came_is_given_up() {
        let (mut source, opened) = scripted(Vec::new);
        let errors: Vec<_> = (0..3).map(|_| source.next().unwrap_err()).collect();
        assert!(errors[..2].iter().all(CameraError::is_temporary), "{errors:?}");
        assert!(errors[2].never_came(), "{errors:?}");
        assert_eq!(errors[2].to_string(), "/dev/video0: no frame ever came, in 3 attempts");
        assert_eq!(opened.load(Ordering::Relaxed), 3);
    }

    #[test]
    fn a_camera_that_came_once_is_tried_for_ever() {
        let (mut source, _) = scripted(|| vec![Ok(0)]);
        for _ in 0..10 {
            assert!(source.next().unwrap().is_some());
            assert!(source.next().unwrap_err().is_temporary());
        }
    }

    #[test]
    fn a_pause_before_the_next_attempt_ends_when_it_is_told_to_stop() {
        let mut source =
            Reconnecting::new("/dev/video0", || Ok(Box::new(Scripted(vec![Ok(0)].into_iter())) as _)).unwrap();
        source.waits = (Duration::from_secs(3600), Duration::from_secs(3600));
        let stop = StopToken::default();
        source.stop_on(&stop);
        source.next().unwrap();
        assert!(source.next().unwrap_err().is_temporary());
        stop.stop();
        assert!(source.next().unwrap().is_none());
    }
}
