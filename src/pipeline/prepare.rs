//! From a frame to the network's input: in the caller's thread, or ahead in one of its own.

use std::time::{Duration, Instant};

use crate::camera::{CameraError, Frame, FrameSource};
use crate::classifier::Preparation;
use crate::model::InputSpec;
use crate::slot::{Overflow, Recv, Slot};

/// A frame as the network reads it.
pub(super) struct Prepared {
    pub tensor: Vec<f32>,
    pub sequence: u64,
    pub captured: Instant,
    pub label: Option<u32>,
    /// Time for preprocessing.
    pub preprocessing: Duration,
    /// Frames that the source had dropped before it.
    dropped: u64,
}

impl Default for Prepared {
    fn default() -> Self {
        let (captured, preprocessing) = (Instant::now(), Duration::ZERO);
        Self { tensor: Vec::new(), sequence: 0, captured, label: None, preprocessing, dropped: 0 }
    }
}

/// Reads and preprocesses the frames of a source in a thread, while the network runs on an earlier one.
///
/// Of a live source the newest frame is taken, and those overwritten count as dropped; any other source waits, so that
/// no frame is lost.
pub(super) struct PreparedFrames {
    ahead: Slot<Prepared>,
    prepared: Prepared,
}

impl PreparedFrames {
    pub(super) fn new(mut source: impl FrameSource + 'static, input: &InputSpec) -> Result<Self, CameraError> {
        let mut preparation = Preparation::new(input)?;
        let untaken = if source.is_live() { Overflow::DropOldest } else { Overflow::Block };
        let mut frame = Frame::default();
        let prepare = move |prepared: &mut Prepared| {
            if !source.read(&mut frame)? {
                return Ok(false);
            }
            prepared.dropped = source.dropped();
            (prepared.sequence, prepared.captured, prepared.label) = (frame.sequence, frame.captured, frame.label);
            let began = Instant::now();
            preparation.run(&frame, &mut prepared.tensor)?;
            prepared.preprocessing = began.elapsed();
            Ok(true)
        };
        let ahead = Slot::start("preprocessing", untaken, prepare).map_err(|source| CameraError::Device {
            device: "preprocessing".into(),
            doing: "starting its thread",
            source,
        })?;
        Ok(Self { ahead, prepared: Prepared::default() })
    }

    /// The next frame, or `None` at the end of the source.
    pub(super) fn next(&mut self) -> Result<Option<&Prepared>, CameraError> {
        match self.ahead.take(&mut self.prepared, None)? {
            Recv::Item => Ok(Some(&self.prepared)),
            Recv::Closed | Recv::Timeout => Ok(None),
        }
    }

    /// Frames made before the last one that was returned, but never returned.
    pub(super) fn dropped(&self) -> u64 {
        self.prepared.dropped + self.ahead.overwritten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::camera::SyntheticSource;
    use crate::model::Preprocessing;

    fn input() -> InputSpec {
        let preprocessing = Preprocessing::default();
        InputSpec { name: "image".into(), batch: 1, channels: 3, height: 8, width: 8, preprocessing }
    }

    #[test]
    fn a_slow_network_sees_new_frames_of_a_camera_and_every_frame_is_accounted_for() {
        let source = SyntheticSource::new(16, 16).with_period(Duration::from_millis(4)).with_count(60);
        let mut frames = PreparedFrames::new(source, &input()).unwrap();
        let (mut taken, mut last) = (0, Duration::ZERO);
        while let Some(prepared) = frames.next().unwrap() {
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
    fn a_slow_network_sees_every_frame_of_a_file_as_it_would_without_a_thread() {
        let source = || SyntheticSource::new(16, 16).with_count(20);
        let (mut plain, mut preparation) = (source(), Preparation::new(&input()).unwrap());
        let mut frames = PreparedFrames::new(source(), &input()).unwrap();
        let mut tensor = Vec::new();
        while let Some(frame) = plain.next().unwrap() {
            preparation.run(&frame, &mut tensor).unwrap();
            let prepared = frames.next().unwrap().unwrap();
            assert_eq!((prepared.sequence, &prepared.tensor), (frame.sequence, &tensor));
            std::thread::sleep(Duration::from_millis(1));
        }
        assert!(frames.next().unwrap().is_none());
        assert_eq!(frames.dropped(), 0);
    }
}
