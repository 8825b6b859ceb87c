//! Frames made up: for demonstrations, tests and soaks without a camera.

use std::time::{Duration, Instant};

use crate::camera::{CameraError, Frame, FrameSource, PixelFormat, StopToken};
use crate::frame::FrameShapeError;
use crate::preprocess::PreprocessError;

/// A bright disc that moves over a gradient. The same frame number always shows the same picture.
#[derive(Debug)]
pub struct SyntheticSource {
    width: u32,
    height: u32,
    format: PixelFormat,
    period: Option<Duration>,
    count: Option<u64>,
    next: u64,
    start: Option<Instant>,
    dropped: u64,
    stop: StopToken,
}

impl SyntheticSource {
    /// An endless source of `width x height` grey frames, as fast as they are read.
    #[must_use]
    pub fn new(width: u32, height: u32) -> Self {
        Self {
            width,
            height,
            format: PixelFormat::Grey,
            period: None,
            count: None,
            next: 0,
            start: None,
            dropped: 0,
            stop: StopToken::default(),
        }
    }

    /// Yields `format` instead of grey. There is no JPEG encoder here: MJPEG is refused when a frame is read.
    #[must_use]
    pub fn with_format(mut self, format: PixelFormat) -> Self {
        self.format = format;
        self
    }

    /// Paces the frames like a camera: frame n exists from n periods after the first on, and one that is not read
    /// before the next exists is dropped and counted.
    #[must_use]
    pub fn with_period(mut self, period: Duration) -> Self {
        self.period = Some(period).filter(|period| !period.is_zero());
        self
    }

    /// Ends after frame number `count - 1`, dropped ones included.
    #[must_use]
    pub fn with_count(mut self, count: u64) -> Self {
        self.count = Some(count);
        self
    }

    /// Waits for the next frame of a paced source and passes over those that are gone. Returns false when told to stop.
    fn pace(&mut self) -> bool {
        let Some(period) = self.period else { return true };
        let start = *self.start.get_or_insert_with(Instant::now);
        let newest = (start.elapsed().as_nanos() / period.as_nanos()) as u64;
        let newest = self.count.map_or(newest, |count| newest.min(count.saturating_sub(1)));
        if newest > self.next {
            self.dropped += newest - self.next;
            self.next = newest;
            true
        } else {
            let due = period.as_nanos().saturating_mul(self.next.into());
            let due = Duration::from_nanos(u64::try_from(due).unwrap_or(u64::MAX));
            start.checked_add(due).is_none_or(|due| self.stop.sleep_until(due))
        }
    }

    /// Luminance at a place of frame `n`.
    fn luminance(&self, n: u64, x: u32, y: u32) -> u8 {
        let (width, height) = (i64::from(self.width), i64::from(self.height));
        let (x, y) = (i64::from(x), i64::from(y));
        let (centre_x, centre_y) = ((n as i64 * 3).rem_euclid(width), (n as i64 * 2).rem_euclid(height));
        let radius = width.min(height) / 4;
        if (x - centre_x).pow(2) + (y - centre_y).pow(2) <= radius.pow(2) {
            230
        } else {
            (20 + 100 * (x + y) / (width + height)) as u8
        }
    }
}

impl FrameSource for SyntheticSource {
    fn read(&mut self, frame: &mut Frame) -> Result<bool, CameraError> {
        if self.count.is_some_and(|count| self.next >= count) {
            return Ok(false);
        }
        let expected = match self.format {
            PixelFormat::Mjpeg => Some("a format without compression"),
            format => format.wrong_size(self.width, self.height),
        };
        if let Some(expected) = expected {
            let (format, width, height) = (self.format, self.width, self.height);
            let error = FrameShapeError { format, width, height, bytes: 0, expected: expected.into() };
            return Err(PreprocessError::from(error).into());
        }
        if !self.pace() {
            return Ok(false);
        }
        let n = self.next;
        self.next += 1;
        frame.format = self.format;
        (frame.width, frame.height) = (self.width, self.height);
        frame.sequence = n;
        frame.captured = Instant::now();
        frame.label = None;
        frame.pixels.clear();
        for y in 0..self.height {
            for x in 0..self.width {
                let value = self.luminance(n, x, y);
                match self.format {
                    PixelFormat::Rgb => frame.pixels.extend([value, value / 2, 255 - value]),
                    PixelFormat::Bgr => frame.pixels.extend([255 - value, value / 2, value]),
                    PixelFormat::Yuyv | PixelFormat::Yvyu => frame.pixels.extend([value, 128]),
                    PixelFormat::Uyvy => frame.pixels.extend([128, value]),
                    _ => frame.pixels.push(value),
                }
            }
        }
        // Chroma without colour, in planes behind the luminance where the format has such.
        if let Some(bytes) = self.format.frame_bytes(self.width, self.height) {
            frame.pixels.resize(bytes, 128);
        }
        frame.check().map_err(PreprocessError::from)?;
        Ok(true)
    }

    fn frames(&self) -> Option<u64> {
        self.count
    }

    fn dropped(&self) -> u64 {
        self.dropped
    }

    fn stop_on(&mut self, stop: &StopToken) {
        self.stop = stop.clone();
    }

    fn is_live(&self) -> bool {
        self.period.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_repeat_by_number_and_move() {
        for format in PixelFormat::ALL.iter().copied().filter(|&format| format != PixelFormat::Mjpeg) {
            let frames = || {
                let mut source = SyntheticSource::new(32, 24).with_format(format).with_count(3);
                std::iter::from_fn(move || source.next().unwrap()).collect::<Vec<_>>()
            };
            let (first, second) = (frames(), frames());
            assert_eq!(first.len(), 3);
            for (a, b) in first.iter().zip(&second) {
                a.check().unwrap();
                assert_eq!((a.sequence, &a.pixels), (b.sequence, &b.pixels));
            }
            assert_ne!(first[0].pixels, first[1].pixels);
        }
    }

    #[test]
    fn a_size_the_format_cannot_have_is_refused() {
        assert!(SyntheticSource::new(3, 2).with_format(PixelFormat::Yuyv).next().is_err());
        assert!(SyntheticSource::new(0, 2).next().is_err());
        assert!(SyntheticSource::new(4, 4).with_format(PixelFormat::Mjpeg).next().is_err());
    }

    #[test]
    fn a_slow_reader_drops_frames_and_every_frame_is_accounted_for() {
        let mut source = SyntheticSource::new(8, 8).with_period(Duration::from_millis(2)).with_count(40);
        let mut read = 0;
        let mut last = None;
        while let Some(frame) = source.next().unwrap() {
            assert!(last < Some(frame.sequence));
            last = Some(frame.sequence);
            read += 1;
            std::thread::sleep(Duration::from_millis(5));
        }
        assert_eq!(last, Some(39));
        assert_eq!(read + source.dropped(), 40);
        assert!(source.dropped() > 0);
    }
}
