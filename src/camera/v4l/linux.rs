//! Video4Linux2: `/dev/videoN`, by memory-mapped streaming.

use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use moq_v4l::buffer::{Flags, Type};
use moq_v4l::fraction::Fraction;
use moq_v4l::frameinterval::FrameIntervalEnum;
use moq_v4l::framesize::FrameSizeEnum;
use moq_v4l::io::mmap::Stream;
use moq_v4l::io::traits::CaptureStream as _;
use moq_v4l::video::Capture as _;
use moq_v4l::video::capture::Parameters;
use moq_v4l::{Device, Format, FourCC};

use super::device::{CaptureDevice, DeviceSource, Filled, Offer};
use super::interval::{FrameInterval, IntervalRange};
use super::layout::{Layout, used_bytes};
use crate::camera::{CameraError, CameraRequest, PixelFormat};

/// Buffers shared with the driver: one being filled, one ready, one being read, one to spare.
const BUFFERS: u32 = 4;
/// `POLLIN` of poll(2).
const POLLIN: i16 = 1;
/// Four characters of V4L2 and the format they stand for.
const FORMATS: [(&[u8; 4], PixelFormat); 12] = [
    (b"GREY", PixelFormat::Grey),
    (b"RGB3", PixelFormat::Rgb),
    (b"BGR3", PixelFormat::Bgr),
    (b"YUYV", PixelFormat::Yuyv),
    (b"UYVY", PixelFormat::Uyvy),
    (b"YVYU", PixelFormat::Yvyu),
    (b"NV12", PixelFormat::Nv12),
    (b"NV21", PixelFormat::Nv21),
    (b"YU12", PixelFormat::I420),
    (b"YV12", PixelFormat::Yv12),
    (b"MJPG", PixelFormat::Mjpeg),
    (b"JPEG", PixelFormat::Mjpeg),
];

/// A frame source over a V4L2 device.
pub type V4lSource = DeviceSource<V4lDevice>;

/// An open V4L2 capture device.
pub struct V4lDevice {
    path: String,
    device: Device,
    stream: Option<(Stream<'static>, PixelFormat)>,
    /// Time from frame to frame before another was asked for: some drivers keep what they were told for whoever comes next.
    found: Option<Parameters>,
}

impl fmt::Debug for V4lDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("V4lDevice").field("path", &self.path).field("streaming", &self.stream.is_some()).finish()
    }
}

impl V4lDevice {
    /// Opens a device file.
    ///
    /// # Errors
    /// [`CameraError::Device`] when it is missing, may not be used, or is no capture device.
    pub fn open(path: &str) -> Result<Self, CameraError> {
        let failed = |doing, source| CameraError::Device { device: path.into(), doing, source };
        let device = Device::with_path(path).map_err(|source| failed("opening", source))?;
        device.query_caps().map_err(|source| failed("asking what it is", source))?;
        Ok(Self { path: path.into(), device, stream: None, found: None })
    }

    /// Name of the camera and of its driver.
    ///
    /// # Errors
    /// What the system says.
    pub fn card(&self) -> io::Result<(String, String)> {
        let capabilities = self.device.query_caps()?;
        Ok((capabilities.card, capabilities.driver))
    }

    /// The driver's name of a format that it offers.
    fn fourcc(&self, format: PixelFormat) -> io::Result<FourCC> {
        let offered: Vec<FourCC> = self.device.enum_formats()?.into_iter().map(|offer| offer.fourcc).collect();
        let mut codes = FORMATS.into_iter().filter(|(_, code)| *code == format).map(|(code, _)| FourCC::new(code));
        codes.find(|code| offered.contains(code)).ok_or_else(|| io::ErrorKind::Unsupported.into())
    }

    /// Asks for a time from frame to frame and returns the one that was set; `None` where the driver refuses, as many do that
    /// have one rate only.
    fn set_interval(&mut self, interval: FrameInterval) -> Option<FrameInterval> {
        let found = self.device.params().ok()?;
        let (numerator, denominator) = interval.fraction();
        let set = self.device.set_params(&Parameters::new(Fraction::new(numerator, denominator))).ok()?;
        self.found.get_or_insert(found);
        FrameInterval::new(set.interval.numerator, set.interval.denominator)
    }
}

impl V4lSource {
    /// Opens a device file and sets it up as asked.
    ///
    /// # Errors
    /// [`CameraError::Device`], or [`CameraError::NotOffered`] with the formats and sizes that the device offers.
    pub fn open(path: &str, request: CameraRequest) -> Result<Self, CameraError> {
        Self::new(V4lDevice::open(path)?, request)
    }
}

impl CaptureDevice for V4lDevice {
    fn name(&self) -> &str {
        &self.path
    }

    fn offers(&mut self) -> io::Result<Vec<Offer>> {
        let mut offers = Vec::new();
        for description in self.device.enum_formats()? {
            let fourcc = description.fourcc;
            let format = FORMATS.into_iter().find(|(code, _)| **code == fourcc.repr).map(|(_, format)| format);
            // A driver that cannot list its sizes still has one: the one in force.
            let Ok(sizes) = self.device.enum_framesizes(fourcc) else {
                let now = self.device.format()?;
                let size = (now.width, now.height);
                offers.push(Offer::new(fourcc.to_string(), format, size));
                continue;
            };
            offers.extend(sizes.into_iter().map(|size| match size.size {
                FrameSizeEnum::Discrete(size) => Offer::new(fourcc.to_string(), format, (size.width, size.height)),
                FrameSizeEnum::Stepwise(range) => {
                    let smallest = Offer::new(fourcc.to_string(), format, (range.min_width, range.min_height));
                    smallest.up_to((range.max_width, range.max_height), (range.step_width, range.step_height))
                }
            }));
        }
        Ok(offers)
    }

    fn intervals(&mut self, format: PixelFormat, (width, height): (u32, u32)) -> io::Result<Vec<IntervalRange>> {
        let fourcc = self.fourcc(format)?;
        let offered = self.device.enum_frameintervals(fourcc, width, height)?;
        Ok(offered.into_iter().filter_map(|offered| range(&offered.interval)).collect())
    }

    fn start(
        &mut self,
        format: PixelFormat,
        (width, height): (u32, u32),
        interval: Option<FrameInterval>,
    ) -> io::Result<Layout> {
        let fourcc = self.fourcc(format)?;
        let set = self.device.set_format(&Format::new(width, height, fourcc))?;
        // After the format, which sets a rate of its own, and before buffers, with which drivers refuse.
        let interval = interval.and_then(|interval| self.set_interval(interval));
        let mut stream = Stream::with_buffers(&self.device, Type::VideoCapture, BUFFERS)?;
        stream.set_timeout(DeviceSource::<Self>::TIMEOUT);
        let format = FORMATS.into_iter().find(|(code, _)| **code == set.fourcc.repr).map(|(_, format)| format);
        let format = format.ok_or_else(|| io::Error::other(format!("it set itself to {}", set.fourcc)))?;
        self.stream = Some((stream, format));
        Ok(Layout::new(format, set.width, set.height).with_stride(set.stride).with_interval(interval))
    }

    fn wait(&mut self, timeout: Duration) -> io::Result<bool> {
        let milliseconds = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX);
        match self.device.handle().poll(POLLIN, milliseconds) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(false),
            result => Ok(result? > 0),
        }
    }

    fn take(&mut self, bytes: &mut Vec<u8>) -> io::Result<Filled> {
        let (stream, format) = self.stream.as_mut().ok_or(io::ErrorKind::NotConnected)?;
        let (buffer, metadata) = stream.next()?;
        bytes.clear();
        bytes.extend_from_slice(&buffer[..used_bytes(*format, metadata.bytesused, buffer.len())]);
        Ok(Filled::new(metadata.sequence).with_damaged(metadata.flags.contains(Flags::ERROR)))
    }
}

impl Drop for V4lDevice {
    fn drop(&mut self) {
        // The stream's own drop panics where stopping fails otherwise than by an unplugged device; by then nothing is
        // left to be saved, and the loop goes on to reconnect.
        let stream = self.stream.take();
        let _ = catch_unwind(AssertUnwindSafe(|| drop(stream)));
        if let Some(found) = self.found {
            // A device that was unplugged cannot be told, and need not.
            let _ = self.device.set_params(&found);
        }
    }
}

/// What a driver offers; `None` where it makes no sense.
fn range(offered: &FrameIntervalEnum) -> Option<IntervalRange> {
    let interval = |fraction: Fraction| FrameInterval::new(fraction.numerator, fraction.denominator);
    match offered {
        FrameIntervalEnum::Discrete(one) => interval(*one).map(IntervalRange::one),
        FrameIntervalEnum::Stepwise(steps) => Some(IntervalRange::between(interval(steps.min)?, interval(steps.max)?)),
    }
}
