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

/// Tries to open a device that fails so until it appears, and returns what came of it and the number of attempts.
fn waited(wait: Duration, appears: Duration, code: i32) -> (Option<String>, u32) {
    let (attempts, began) = (Arc::new(AtomicU32::new(0)), Instant::now());
    let count = attempts.clone();
    let open = move || {
        count.fetch_add(1, Ordering::Relaxed);
        if began.elapsed() < appears {
            let source = std::io::Error::from_raw_os_error(code);
            return Err(CameraError::Device { device: "/dev/video0".into(), doing: "opening", source });
        }
        Ok(Box::new(SyntheticSource::new(4, 4)) as Box<dyn FrameSource>)
    };
    let error = Reconnecting::waiting("/dev/video0", wait, open).err().map(|error| error.to_string());
    (error, attempts.load(Ordering::Relaxed))
}

#[test]
fn a_device_that_appears_late_is_waited_for() {
    const ENOENT: i32 = 2;
    const ENODEV: i32 = 19;
    const EACCES: i32 = 13;
    let (long, late) = (Duration::from_secs(600), Duration::from_millis(300));
    for code in [ENOENT, ENODEV] {
        let (error, attempts) = waited(long, late, code);
        assert_eq!(error, None);
        assert!(attempts > 1, "{attempts}");
    }
    // Longer than anybody waits; not waited for; there, but somebody else's.
    let (error, attempts) = waited(Duration::from_millis(100), long, ENOENT);
    assert!(error.is_some_and(|error| error.contains("is it plugged in")) && attempts > 1, "{attempts}");
    assert_eq!(waited(Duration::ZERO, long, ENOENT).1, 1);
    assert_eq!(waited(long, long, EACCES).1, 1);
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

fn scripted(script: impl Fn() -> Vec<Result<u64, CameraError>> + Send + 'static) -> (impl FrameSource, Arc<AtomicU32>) {
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
    let mut source = Reconnecting::new("/dev/video0", || Ok(Box::new(Scripted(vec![Ok(0)].into_iter())) as _)).unwrap();
    source.waits = (Duration::from_secs(3600), Duration::from_secs(3600));
    let stop = StopToken::default();
    source.stop_on(&stop);
    source.next().unwrap();
    assert!(source.next().unwrap_err().is_temporary());
    stop.stop();
    assert!(source.next().unwrap().is_none());
}
