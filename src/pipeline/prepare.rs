//! From a frame to the network's input: in the caller's thread, or ahead in one of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::gate::{FrameClock, FrameGate, GateWord};
use crate::camera::slot::{Overflow, Recv, Slot};
use crate::camera::{CameraError, Frame, FrameSource, StopToken};
use crate::preparation::Preparation;

/// A frame as the network reads it.
#[derive(Debug)]
pub(super) struct Prepared {
    pub tensor: Vec<f32>,
    /// The frame itself, where frames are kept.
    pub frame: Frame,
    /// Whether `frame` is the one that `tensor` was made of.
    pub is_kept: bool,
    pub sequence: u64,
    pub captured: Instant,
    /// When it was taken, on a clock that begins at the first frame.
    pub time: Duration,
    pub label: Option<u32>,
    /// Time for preprocessing.
    pub preprocessing: Duration,
    /// Whether the network need not see it, because the last answer holds; there is no tensor then.
    pub reused: bool,
    /// Width and height of the frame in pixels, where there is a tensor.
    pub size: [u32; 2],
    /// The stream that it is from, as [`FrameSource::stream`] numbers them.
    pub stream: u64,
    /// Frames before it that the source had dropped, or that could not be prepared.
    dropped: u64,
}

impl Default for Prepared {
    fn default() -> Self {
        let (captured, preprocessing) = (Instant::now(), Duration::ZERO);
        Self {
            tensor: Vec::new(),
            frame: Frame::default(),
            is_kept: false,
            sequence: 0,
            captured,
            time: Duration::ZERO,
            label: None,
            preprocessing,
            reused: false,
            size: [0; 2],
            stream: 0,
            dropped: 0,
        }
    }
}

/// When the frame after the next one is prepared, of a live source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pace {
    /// The loop pauses between frames: once it asks for it, so that it is new.
    Paused,
    /// The loop is never done early: while the network runs on the next one.
    Busy,
}

/// Reads and preprocesses the frames of a source in a thread, while the network runs on an earlier one.
///
/// Of a live source the newest frame is taken, when the network wants one; any other source is read one frame ahead. Compressed
/// frames are decoded here: those that the network never sees are not.
#[derive(Debug)]
pub(super) struct PreparedFrames {
    ahead: Slot<Prepared>,
    prepared: Prepared,
    /// Frames that came damaged, or could not be decoded.
    damaged: Arc<AtomicU64>,
    /// Whether frames are kept beside their tensors.
    keep: Arc<AtomicBool>,
    stop: StopToken,
    /// What tells the gate something, where there is one.
    word: Option<GateWord>,
}

impl PreparedFrames {
    pub(super) fn new(
        mut source: impl FrameSource + 'static,
        mut preparation: Preparation,
        (mut clock, mut gate): (FrameClock, Option<FrameGate>),
    ) -> Result<Self, CameraError> {
        let untaken = if source.is_live() { Overflow::OnDemand } else { Overflow::Block };
        let mut frame = Frame::default();
        let damaged = Arc::new(AtomicU64::new(0));
        let count = damaged.clone();
        let keep = Arc::new(AtomicBool::new(false));
        let is_kept = keep.clone();
        let ended = StopToken::default();
        source.stop_on(&ended);
        let mut failed = 0;
        let word = gate.as_ref().map(FrameGate::word);
        let prepare = move |prepared: &mut Prepared| {
            let read = source.read(&mut frame);
            count.store(source.damaged() + failed, Ordering::Relaxed);
            if !read? {
                return Ok(false);
            }
            let began = Instant::now();
            prepared.time = clock.of(&frame);
            let (time, tensor) = (prepared.time, &mut prepared.tensor);
            let wanted = match &mut gate {
                Some(gate) => preparation.run_if(&frame, tensor, |luma| gate.wants(time, luma)),
                None => preparation.run(&frame, tensor).map(|()| true),
            };
            prepared.reused = matches!(wanted, Ok(false));
            if let Err(error) = wanted {
                gate.iter_mut().for_each(FrameGate::failed);
                failed += 1;
                count.store(source.damaged() + failed, Ordering::Relaxed);
                return Err(error.into());
            }
            prepared.preprocessing = began.elapsed();
            prepared.dropped = source.dropped() + failed;
            (prepared.size, prepared.stream) = (preparation.frame_size(), source.stream());
            (prepared.sequence, prepared.captured, prepared.label) = (frame.sequence, frame.captured, frame.label);
            prepared.is_kept = is_kept.load(Ordering::Relaxed);
            if prepared.is_kept {
                // The source fills the other frame next: keeping one copies nothing.
                std::mem::swap(&mut prepared.frame, &mut frame);
            }
            Ok(true)
        };
        let ahead = Slot::start("preprocessing", untaken, ended, prepare).map_err(|source| CameraError::Device {
            device: "preprocessing".into(),
            doing: "starting its thread",
            source,
        })?;
        Ok(Self { ahead, prepared: Prepared::default(), damaged, keep, stop: StopToken::default(), word })
    }

    /// Makes `stop` end a [`next`](Self::next) that waits, as the end of the source does.
    pub(super) fn stop_on(&mut self, stop: StopToken) {
        self.stop = stop;
    }

    /// The next frame, or `None` at the end of the source.
    pub(super) fn next(&mut self, pace: Pace) -> Result<Option<&Prepared>, CameraError> {
        match self.ahead.take(&mut self.prepared, None, &self.stop)? {
            Recv::Item => {
                if pace == Pace::Busy {
                    self.ahead.want();
                }
                Ok(Some(&self.prepared))
            }
            Recv::Closed | Recv::Timeout => Ok(None),
        }
    }

    /// A flag: while it is set, frames are kept beside their tensors.
    pub(super) fn keep(&self) -> &Arc<AtomicBool> {
        &self.keep
    }

    /// The frame that [`next`](Self::next) returned last, if it was kept.
    pub(super) fn kept(&self) -> Option<&Frame> {
        self.prepared.is_kept.then_some(&self.prepared.frame)
    }

    /// The frame that was returned last.
    pub(super) fn last(&self) -> &Prepared {
        &self.prepared
    }

    /// What tells the gate something, where there is one.
    pub(super) fn gate(&self) -> Option<&GateWord> {
        self.word.as_ref()
    }

    /// Frames that came damaged or could not be decoded, so far.
    pub(super) fn damaged(&self) -> u64 {
        self.damaged.load(Ordering::Relaxed)
    }

    /// Frames made before the last one that was returned, but never returned.
    pub(super) fn dropped(&self) -> u64 {
        self.prepared.dropped + self.ahead.overwritten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::camera::{PixelFormat, SyntheticSource};
    use crate::model::{InputSpec, Preprocessing};

    fn to_input() -> Preparation {
        Preparation::new(&input()).unwrap()
    }

    fn input() -> InputSpec {
        let preprocessing = Preprocessing::default();
        InputSpec { name: "image".into(), batch: 1, channels: 3, height: 8, width: 8, preprocessing }
    }

    fn ungated() -> (FrameClock, Option<FrameGate>) {
        (FrameClock::new(None), None)
    }

    #[test]
    fn a_slow_network_sees_new_frames_of_a_camera_and_every_frame_is_accounted_for() {
        let source = SyntheticSource::new(16, 16).with_period(Duration::from_millis(4)).with_count(60);
        let mut frames = PreparedFrames::new(source, to_input(), ungated()).unwrap();
        let (mut taken, mut last) = (0, Duration::ZERO);
        while let Some(prepared) = frames.next(Pace::Paused).unwrap() {
            last = prepared.captured.elapsed();
            let sequence = prepared.sequence;
            taken += 1;
            assert_eq!(taken + frames.dropped(), sequence + 1);
            std::thread::sleep(Duration::from_millis(15));
        }
        assert_eq!(taken + frames.dropped(), 60);
        assert!(frames.dropped() > 20, "{} dropped", frames.dropped());
        // Frames do not queue up: 60 of them taken 11 ms too slowly would be 660 ms late in the end.
        assert!(last < Duration::from_millis(300), "{last:?}");
    }

    #[test]
    fn frames_are_kept_beside_their_tensors_while_somebody_asks() {
        let source = || SyntheticSource::new(16, 16).with_count(9);
        let mut plain = source();
        let mut frames = PreparedFrames::new(source(), to_input(), ungated()).unwrap();
        let mut kept = 0;
        while frames.next(Pace::Paused).unwrap().is_some() {
            let expected = plain.next().unwrap().unwrap();
            if let Some(frame) = frames.kept() {
                assert_eq!((frame.sequence, &frame.pixels), (expected.sequence, &expected.pixels));
                kept += 1;
            }
            frames.keep().store(expected.sequence < 5, Ordering::Relaxed);
        }
        // One frame is prepared ahead of the flag, at each end.
        assert!((4..=7).contains(&kept), "{kept}");
    }

    #[test]
    fn a_slow_network_sees_every_frame_of_a_file_as_it_would_without_a_thread() {
        let source = || SyntheticSource::new(16, 16).with_count(20);
        let (mut plain, mut preparation) = (source(), to_input());
        let mut frames = PreparedFrames::new(source(), to_input(), ungated()).unwrap();
        let mut tensor = Vec::new();
        while let Some(frame) = plain.next().unwrap() {
            preparation.run(&frame, &mut tensor).unwrap();
            let prepared = frames.next(Pace::Paused).unwrap().unwrap();
            assert_eq!((prepared.sequence, &prepared.tensor), (frame.sequence, &tensor));
            std::thread::sleep(Duration::from_millis(1));
        }
        assert!(frames.next(Pace::Paused).unwrap().is_none());
        assert_eq!(frames.dropped(), 0);
    }

    /// MJPEG frames, of which some are cut short.
    struct Mjpeg {
        next: u64,
        is_live: bool,
    }

    impl FrameSource for Mjpeg {
        fn read(&mut self, frame: &mut Frame) -> Result<bool, CameraError> {
            let whole = include_bytes!("../../tests/fixtures/pictures/baseline-420.jpg");
            frame.pixels = whole.to_vec();
            if self.next % 3 == 1 {
                frame.pixels.truncate(whole.len() * 2 / 3);
                frame.pixels.extend([0xff, 0xd9]);
            }
            (frame.format, frame.width, frame.height) = (PixelFormat::Mjpeg, 1, 1);
            frame.sequence = self.next;
            self.next += 1;
            Ok(self.next <= 9)
        }

        fn is_live(&self) -> bool {
            self.is_live
        }
    }

    #[test]
    fn frames_that_cannot_be_decoded_are_counted_and_the_next_ones_come() {
        for is_live in [false, true] {
            let mut frames = PreparedFrames::new(Mjpeg { next: 0, is_live }, to_input(), ungated()).unwrap();
            let (mut taken, mut errors) = (0, 0);
            loop {
                match frames.next(Pace::Paused) {
                    Ok(Some(prepared)) => {
                        assert_ne!(prepared.sequence % 3, 1);
                        taken += 1;
                    }
                    Ok(None) => break,
                    Err(error) => {
                        assert!(error.is_temporary() && error.is_of_one_frame(), "{error}");
                        errors += 1;
                    }
                }
            }
            assert_eq!(frames.damaged(), 3);
            assert_eq!(taken + frames.dropped(), 9);
            assert_eq!(errors, 3);
        }
    }

    #[test]
    fn frames_of_a_camera_that_the_network_does_not_see_are_not_decoded() {
        let mut frames = PreparedFrames::new(Mjpeg { next: 2, is_live: true }, to_input(), ungated()).unwrap();
        assert_eq!(frames.next(Pace::Paused).unwrap().map(|prepared| prepared.sequence), Some(2));
        assert_eq!(frames.next(Pace::Busy).unwrap().map(|prepared| prepared.sequence), Some(3));
        // Frame 4 is damaged: it is prepared meanwhile, and frame 7 is not.
        while frames.damaged() == 0 {
            std::thread::yield_now();
        }
        assert!(frames.next(Pace::Paused).unwrap_err().is_of_one_frame());
        assert_eq!(frames.damaged(), 1);
    }

    /// A camera that never yields a frame, and ends only when it is told to.
    struct Silent(StopToken);

    impl FrameSource for Silent {
        fn read(&mut self, _: &mut Frame) -> Result<bool, CameraError> {
            self.0.sleep_until(Instant::now() + Duration::from_secs(3600));
            Ok(false)
        }

        fn stop_on(&mut self, stop: &StopToken) {
            self.0 = stop.clone();
        }
    }

    #[test]
    fn a_wait_for_a_silent_camera_ends_when_it_is_told_to_stop() {
        let mut frames = PreparedFrames::new(Silent(StopToken::default()), to_input(), ungated()).unwrap();
        let stop = StopToken::default();
        frames.stop_on(stop.clone());
        let handler = std::thread::spawn(move || stop.stop());
        assert!(frames.next(Pace::Paused).unwrap().is_none());
        handler.join().unwrap();
    }
}
