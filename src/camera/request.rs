//! What is asked of a camera.

use std::fmt;
use std::time::Duration;

use super::PixelFormat;

/// What is asked of a camera. What is left open, the device and the order of [`PixelFormat::ALL`] decide.
///
/// ```
/// use dyn_perceiver::camera::{CameraRequest, PixelFormat};
///
/// let request = CameraRequest::default().with_format(PixelFormat::Mjpeg).with_size(1280, 720).with_fps(30);
/// assert_eq!(request.to_string(), "mjpeg at 1280x720");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CameraRequest {
    /// The pixel format.
    pub format: Option<PixelFormat>,
    /// Width and height in pixels; left open, what is offered nearest to 640x480.
    pub size: Option<(u32, u32)>,
    /// Frames per second; a wish, not a condition.
    pub fps: Option<u32>,
    /// How long to wait for a V4L2 device that is not there when it is opened for the first time, as those on USB are not in a
    /// board's first seconds; by default not at all.
    pub wait: Duration,
}

impl CameraRequest {
    /// Asks for a pixel format.
    #[must_use]
    pub fn with_format(mut self, format: PixelFormat) -> Self {
        self.format = Some(format);
        self
    }

    /// Asks for a width and height in pixels.
    #[must_use]
    pub fn with_size(mut self, width: u32, height: u32) -> Self {
        self.size = Some((width, height));
        self
    }

    /// Wishes for a number of frames per second.
    #[must_use]
    pub fn with_fps(mut self, fps: u32) -> Self {
        self.fps = Some(fps);
        self
    }

    /// Waits so long for a device that is not there yet.
    #[must_use]
    pub fn with_wait(mut self, wait: Duration) -> Self {
        self.wait = wait;
        self
    }
}

impl fmt::Display for CameraRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.format {
            Some(format) => write!(f, "{format}")?,
            None => {
                let names: Vec<_> = PixelFormat::ALL.iter().map(PixelFormat::to_string).collect();
                write!(f, "any of {}", names.join(", "))?;
            }
        }
        self.size.map_or(Ok(()), |(width, height)| write!(f, " at {width}x{height}"))
    }
}
