//! A camera that is opened again when it fails.

use std::time::{Duration, Instant};

use crate::camera::{CameraError, CameraRate, Frame, FrameSource, StopToken, after};

/// First pause before a lost device is tried again; each further one is twice as long.
const FIRST_WAIT: Duration = Duration::from_millis(100);
/// Longest pause.
const LONGEST_WAIT: Duration = Duration::from_secs(5);
/// Pause between attempts to open a device that is not there yet for the first time: one costs microseconds, and a board that is
/// switched on for a burst waits for its camera.
const START_WAIT: Duration = Duration::from_millis(20);
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
    pub fn new(name: impl Into<String>, open: F) -> Result<Self, CameraError> {
        Self::waiting(name, Duration::ZERO, open)
    }

    /// The same, but a device that is not there is tried again every 20 ms for so long: one that is plugged in is found late
    /// in a board's first seconds.
    ///
    /// # Errors
    /// What `open` returns: at once where the device is there, else the last after `wait`.
    pub fn waiting(name: impl Into<String>, wait: Duration, mut open: F) -> Result<Self, CameraError> {
        let until = after(wait);
        let source = loop {
            match open() {
                Err(error) if error.is_not_there() && Instant::now() < until => std::thread::sleep(START_WAIT),
                opened => break Some(opened?),
            }
        };
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
#[path = "reconnect_tests.rs"]
mod tests;
