//! Capture from a device that fills buffers: choosing a format and size, always the newest frame, an account of the rest.
//!
//! The device itself is a trait, [`CaptureDevice`]; V4L2 is one implementation and the tests' device is another.

use std::fmt;
use std::io;
use std::time::{Duration, Instant};

use super::interval::{FrameInterval, IntervalRange};
use super::layout::{Layout, unpad};
use crate::camera::{CameraError, CameraRate, CameraRequest, Frame, FrameSource, PixelFormat, SLICE, StopToken, after};

/// One format of a device in one size or a range of sizes.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Offer {
    /// The device's name of the format, four characters.
    pub fourcc: String,
    /// The format, where it is one that can be read here.
    pub format: Option<PixelFormat>,
    /// Smallest width and height.
    pub min: (u32, u32),
    /// Largest width and height; the smallest again for a single size.
    pub max: (u32, u32),
    /// Steps from one size to the next; not 0.
    pub step: (u32, u32),
}

impl Offer {
    /// A format in one size.
    #[must_use]
    pub fn new(fourcc: impl Into<String>, format: Option<PixelFormat>, size: (u32, u32)) -> Self {
        Self { fourcc: fourcc.into(), format, min: size, max: size, step: (1, 1) }
    }

    /// The same in every size from the one given first up to `max`, in steps of `step`.
    #[must_use]
    pub fn up_to(mut self, max: (u32, u32), step: (u32, u32)) -> Self {
        self.max = max;
        self.step = (step.0.max(1), step.1.max(1));
        self
    }

    /// The offered size nearest to the given one.
    fn nearest(&self, (width, height): (u32, u32)) -> (u32, u32) {
        let side = |asked: u32, min: u32, max: u32, step: u32| {
            let asked = asked.clamp(min, max.max(min));
            min + (asked - min) / step.max(1) * step.max(1)
        };
        (side(width, self.min.0, self.max.0, self.step.0), side(height, self.min.1, self.max.1, self.step.1))
    }
}

impl fmt::Display for Offer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}x{}", self.fourcc, self.min.0, self.min.1)?;
        if self.max != self.min {
            write!(f, " to {}x{}", self.max.0, self.max.1)?;
        }
        Ok(())
    }
}

/// What a device says of a filled buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Filled {
    /// The device's number of the frame; it leaves out numbers for frames that it had no buffer for.
    pub sequence: u32,
    /// Whether the device marked the contents as damaged.
    pub damaged: bool,
}

impl Filled {
    /// A whole frame with this number.
    #[must_use]
    pub fn new(sequence: u32) -> Self {
        Self { sequence, damaged: false }
    }

    /// The same, marked as damaged or not.
    #[must_use]
    pub fn with_damaged(mut self, damaged: bool) -> Self {
        self.damaged = damaged;
        self
    }
}

/// A device that fills buffers with frames, as V4L2 describes it.
pub trait CaptureDevice: Send {
    /// Its name, for messages.
    fn name(&self) -> &str;

    /// The formats and sizes it offers.
    ///
    /// # Errors
    /// What the system says.
    fn offers(&mut self) -> io::Result<Vec<Offer>>;

    /// The times from frame to frame that it offers in a format and size; none where it does not tell.
    ///
    /// # Errors
    /// What the system says.
    fn intervals(&mut self, format: PixelFormat, size: (u32, u32)) -> io::Result<Vec<IntervalRange>> {
        let _ = (format, size);
        Ok(Vec::new())
    }

    /// Sets it up, with a time from frame to frame where one is wished for, which it may refuse; what it returns is what it
    /// will do.
    ///
    /// # Errors
    /// What the system says.
    fn start(&mut self, format: PixelFormat, size: (u32, u32), interval: Option<FrameInterval>) -> io::Result<Layout>;

    /// Waits until a filled buffer can be taken, at most `timeout`, and returns whether one can.
    ///
    /// # Errors
    /// What the system says.
    fn wait(&mut self, timeout: Duration) -> io::Result<bool>;

    /// Replaces `bytes` by the oldest filled buffer, no byte where it is empty, and gives the buffer back to the device.
    ///
    /// # Errors
    /// What the system says, for instance that the device is gone.
    fn take(&mut self, bytes: &mut Vec<u8>) -> io::Result<Filled>;
}

/// A frame source over a [`CaptureDevice`].
#[derive(Debug)]
pub struct DeviceSource<D> {
    device: D,
    layout: Layout,
    timeout: Duration,
    buffer: Vec<u8>,
    /// The device's number of the last frame taken, and the same counted on where it wraps around.
    last: Option<(u32, u64)>,
    /// Frames never yielded, and of them those that came damaged.
    dropped: u64,
    damaged: u64,
    stop: StopToken,
}

impl<D: CaptureDevice> DeviceSource<D> {
    /// Without a frame for this long a device counts as hung.
    pub const TIMEOUT: Duration = Duration::from_secs(2);
    /// Damaged frames in a row after which the device is given up.
    const DAMAGED: u32 = 30;

    /// Sets the device up as asked.
    ///
    /// # Errors
    /// [`CameraError::NotOffered`] with all it offers, or [`CameraError::Device`].
    pub fn new(device: D, request: CameraRequest) -> Result<Self, CameraError> {
        Self::with_rate(device, request, &CameraRate::new(request.fps))
    }

    /// Sets the device up as asked, at the lowest rate it offers that brings as many frames as `rate` wants; `rate` learns
    /// what the device can do.
    ///
    /// # Errors
    /// As [`new`](Self::new). A device that refuses the rate goes on at its own.
    pub(in crate::camera) fn with_rate(
        mut device: D,
        request: CameraRequest,
        rate: &CameraRate,
    ) -> Result<Self, CameraError> {
        let offers = device.offers().map_err(|source| failed(&device, "asking for its formats", source))?;
        let not_offered = |device: &D, asked: String| CameraError::NotOffered {
            device: device.name().into(),
            asked,
            offers: if offers.is_empty() {
                "no format at all".into()
            } else {
                offers.iter().map(Offer::to_string).collect::<Vec<_>>().join(", ")
            },
        };
        let (format, size) = choose(&offers, request).ok_or_else(|| not_offered(&device, request.to_string()))?;
        let interval = rate.offered(device.intervals(format, size).unwrap_or_default());
        let layout = device
            .start(format, size, interval)
            .map_err(|source| failed(&device, "setting its format and starting it", source))?;
        if (layout.format, layout.width, layout.height) != (format, size.0, size.1) {
            let (width, height) = size;
            let got = format!("{} {}x{}", layout.format, layout.width, layout.height);
            return Err(not_offered(&device, format!("{format} {width}x{height} (it set itself to {got})")));
        }
        if let Some(asked) = interval {
            rate.answered(device.name(), asked, layout.interval);
        }
        Ok(Self {
            device,
            layout,
            timeout: Self::TIMEOUT,
            buffer: Vec::new(),
            last: None,
            dropped: 0,
            damaged: 0,
            stop: StopToken::default(),
        })
    }

    /// The layout agreed on.
    #[must_use]
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// Takes one buffer; `None` where its contents cannot be used.
    fn take(&mut self) -> Result<Option<u64>, CameraError> {
        let filled = self.device.take(&mut self.buffer).map_err(|source| failed(&self.device, "reading", source))?;
        let number = match self.last {
            // Frames between the last and this one were made but never handed out.
            Some((last, number)) => number + u64::from(filled.sequence.wrapping_sub(last).max(1)),
            None => 0,
        };
        self.dropped += self.last.map_or(0, |(_, last)| number - last - 1);
        self.last = Some((filled.sequence, number));
        let usable = !filled.damaged && unpad(&mut self.buffer, self.layout);
        self.dropped += u64::from(!usable);
        self.damaged += u64::from(!usable);
        Ok(usable.then_some(number))
    }
}

impl<D: CaptureDevice> DeviceSource<D> {
    /// Waits in slices until a buffer is ready, up to the timeout. Returns `None` when it was told to stop.
    fn wait(&mut self) -> Result<Option<bool>, CameraError> {
        let until = after(self.timeout);
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let ready = self.device.wait(left.min(SLICE)).map_err(|source| failed(&self.device, "waiting", source))?;
            if self.stop.is_stopped() {
                return Ok(None);
            }
            if ready || left.is_zero() {
                return Ok(Some(ready));
            }
        }
    }
}

impl<D: CaptureDevice> FrameSource for DeviceSource<D> {
    fn read(&mut self, frame: &mut Frame) -> Result<bool, CameraError> {
        match self.wait()? {
            None => return Ok(false),
            Some(true) => {}
            Some(false) => return Err(CameraError::Hung { device: self.device.name().into(), waited: self.timeout }),
        }
        let mut newest = None;
        let mut damaged = 0;
        loop {
            match self.take()? {
                Some(number) => {
                    self.dropped += u64::from(newest.is_some());
                    newest = Some(number);
                    std::mem::swap(&mut frame.pixels, &mut self.buffer);
                }
                None => damaged += 1,
            }
            if damaged > Self::DAMAGED {
                let source = io::Error::new(io::ErrorKind::InvalidData, "only damaged frames");
                return Err(failed(&self.device, "reading", source));
            }
            // Once there is a frame, only those are taken that are ready already: the newest counts.
            let ready = match newest {
                Some(_) => {
                    self.device.wait(Duration::ZERO).map_err(|source| failed(&self.device, "waiting", source))?
                }
                None => match self.wait()? {
                    None => return Ok(false),
                    Some(ready) => ready,
                },
            };
            if !ready && newest.is_some() {
                break;
            } else if !ready {
                return Err(CameraError::Hung { device: self.device.name().into(), waited: self.timeout });
            }
        }
        frame.format = self.layout.format;
        (frame.width, frame.height) = (self.layout.width, self.layout.height);
        frame.sequence = newest.unwrap_or(0);
        frame.captured = Instant::now();
        frame.label = None;
        Ok(true)
    }

    fn dropped(&self) -> u64 {
        self.dropped
    }

    fn damaged(&self) -> u64 {
        self.damaged
    }

    fn stop_on(&mut self, stop: &StopToken) {
        self.stop = stop.clone();
    }

    fn is_live(&self) -> bool {
        true
    }
}

fn failed<D: CaptureDevice>(device: &D, doing: &'static str, source: io::Error) -> CameraError {
    CameraError::Device { device: device.name().into(), doing, source }
}

/// The offered format and size to ask for: the first format of [`PixelFormat::ALL`] that is offered in the size asked
/// for, or in whatever size is nearest to 640x480.
fn choose(offers: &[Offer], request: CameraRequest) -> Option<(PixelFormat, (u32, u32))> {
    let formats = PixelFormat::ALL.iter().copied().filter(|&format| request.format.is_none_or(|asked| asked == format));
    let wanted = request.size.unwrap_or((640, 480));
    let far = |size: (u32, u32)| u64::from(size.0.abs_diff(wanted.0)) + u64::from(size.1.abs_diff(wanted.1));
    formats
        .filter_map(|format| {
            let sizes = offers.iter().filter(|offer| offer.format == Some(format)).map(|offer| offer.nearest(wanted));
            let size = sizes.min_by_key(|&size| far(size))?;
            (request.size.is_none() || size == wanted).then_some((format, size))
        })
        .next()
}

#[cfg(test)]
#[path = "device_tests.rs"]
mod tests;
