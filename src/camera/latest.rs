//! Capture in a thread of its own, with room for one frame: the newest.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use super::{CameraError, Frame, FrameSource};

/// Reads another source in a thread and hands out its newest frame.
///
/// While a frame is being classified the next is captured. A frame that is not read before the next one is complete is
/// overwritten and counted, so a slow network sees fewer frames but never old ones. Three frame buffers go round; nothing
/// is allocated per frame.
pub struct Latest {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    name: String,
    timeout: Option<Duration>,
    frames: Option<u64>,
}

#[derive(Default)]
struct Shared {
    slot: Mutex<Slot>,
    changed: Condvar,
}

#[derive(Default)]
struct Slot {
    frame: Frame,
    fresh: bool,
    error: Option<CameraError>,
    ended: bool,
    stop: bool,
    overwritten: u64,
    dropped: u64,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Slot> {
        // Nothing panics while it holds the lock; were it so, the slot would still be whole.
        self.slot.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Latest {
    /// Starts to read `source`, called `name` in messages.
    ///
    /// # Errors
    /// [`CameraError::Device`] when the system gives no thread.
    pub fn new(name: impl Into<String>, source: impl FrameSource + 'static) -> Result<Self, CameraError> {
        let name = name.into();
        let shared = Arc::new(Shared::default());
        let frames = source.frames();
        let in_thread = shared.clone();
        let thread = std::thread::Builder::new()
            .name("capture".into())
            .spawn(move || {
                let _end = End(&in_thread);
                capture(source, &in_thread);
            })
            .map_err(|source| CameraError::Device { device: name.clone(), doing: "starting its thread", source })?;
        Ok(Self { shared, thread: Some(thread), name, timeout: None, frames })
    }

    /// Gives a source up that yields neither frame nor error for this long.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }
}

/// Ends the stream when the thread does, also by a panic in a driver's binding.
struct End<'a>(&'a Shared);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.lock().ended = true;
        self.0.changed.notify_all();
    }
}

fn capture(mut source: impl FrameSource, shared: &Shared) {
    let mut frame = Frame::default();
    loop {
        let result = source.read(&mut frame);
        let mut slot = shared.lock();
        slot.dropped = source.dropped();
        match result {
            Ok(true) => {
                slot.overwritten += u64::from(slot.fresh);
                slot.fresh = true;
                std::mem::swap(&mut slot.frame, &mut frame);
                shared.changed.notify_all();
            }
            Ok(false) => return,
            Err(error) => {
                slot.error = Some(error);
                shared.changed.notify_all();
                // The reader decides whether to go on: wait until it has seen the error.
                while slot.error.is_some() && !slot.stop {
                    slot = shared.changed.wait(slot).unwrap_or_else(PoisonError::into_inner);
                }
            }
        }
        if slot.stop {
            return;
        }
    }
}

impl FrameSource for Latest {
    fn read(&mut self, frame: &mut Frame) -> Result<bool, CameraError> {
        let mut slot = self.shared.lock();
        loop {
            if slot.fresh {
                slot.fresh = false;
                std::mem::swap(frame, &mut slot.frame);
                return Ok(true);
            }
            if let Some(error) = slot.error.take() {
                self.shared.changed.notify_all();
                return Err(error);
            }
            if slot.ended {
                return Ok(false);
            }
            let Some(timeout) = self.timeout else {
                slot = self.shared.changed.wait(slot).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let waited = self.shared.changed.wait_timeout(slot, timeout).unwrap_or_else(PoisonError::into_inner);
            slot = waited.0;
            if waited.1.timed_out() && !slot.fresh && slot.error.is_none() && !slot.ended {
                return Err(CameraError::Hung { device: self.name.clone(), waited: timeout });
            }
        }
    }

    fn frames(&self) -> Option<u64> {
        self.frames
    }

    fn dropped(&self) -> u64 {
        let slot = self.shared.lock();
        slot.overwritten + slot.dropped
    }
}

impl Drop for Latest {
    fn drop(&mut self) {
        self.shared.lock().stop = true;
        self.shared.changed.notify_all();
        if let Some(thread) = self.thread.take() {
            // So that the device is closed when this returns. A panic there has been reported already.
            let _ = thread.join();
        }
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
