//! Frames in: sources of frames and the way from a frame to the network's input (layer 6).
//!
//! A [`FrameSource`] yields [`Frame`]s: files ([`IdxSource`], [`ImageSource`]), a [`SyntheticSource`], or a camera: a V4L2
//! device ([`DeviceSource`]) or a command that writes frames ([`CommandSource`]). [`Reconnecting`] opens a camera again
//! when it fails, [`Latest`] captures in a thread and hands out the newest frame, and [`open`] puts them together. A
//! [`Preprocessor`] turns each into the `3 x height x width` floats a network reads. Nothing here knows about networks,
//! exits or energy.

mod command;
mod device;
mod error;
mod idx;
mod images;
mod latest;
mod open;
mod reconnect;
mod synthetic;
#[cfg(all(feature = "v4l", target_os = "linux"))]
mod v4l;

pub use crate::frame::{Frame, PixelFormat};
pub use command::CommandSource;
pub use device::{CameraRequest, CaptureDevice, DeviceSource, Filled, Layout, Offer};
pub use error::CameraError;
pub use idx::IdxSource;
pub use images::ImageSource;
pub use latest::Latest;
pub use open::open;
pub use reconnect::Reconnecting;
pub use synthetic::SyntheticSource;
#[cfg(all(feature = "v4l", target_os = "linux"))]
pub use v4l::{V4lDevice, V4lSource};

/// Something that yields frames one after the other: a camera, a folder, a file, a generator.
pub trait FrameSource: Send {
    /// Reads the next frame into `frame`, whose buffer is reused, and returns whether there was one; `false` is the
    /// end of the source, for good. A camera waits for its next frame here.
    ///
    /// # Errors
    /// [`CameraError`] when the next frame cannot be had or is not what it should be. `frame` is then unspecified. A
    /// later call may succeed: a folder goes on with the file after the damaged one.
    fn read(&mut self, frame: &mut Frame) -> Result<bool, CameraError>;

    /// The next frame in a buffer of its own, or `None` at the end of the source.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    fn next(&mut self) -> Result<Option<Frame>, CameraError> {
        let mut frame = Frame::default();
        Ok(self.read(&mut frame)?.then_some(frame))
    }

    /// How many frames this source will yield from its start, where that is known.
    fn frames(&self) -> Option<u64> {
        None
    }

    /// Frames the device made before the one that was last read, but this source never yielded.
    fn dropped(&self) -> u64 {
        0
    }

    /// Whether frames come at the pace of the world and old ones are dropped, as from a camera; a file waits instead.
    fn is_live(&self) -> bool {
        false
    }
}

impl<S: FrameSource + ?Sized> FrameSource for Box<S> {
    fn read(&mut self, frame: &mut Frame) -> Result<bool, CameraError> {
        (**self).read(frame)
    }

    fn frames(&self) -> Option<u64> {
        (**self).frames()
    }

    fn dropped(&self) -> u64 {
        (**self).dropped()
    }

    fn is_live(&self) -> bool {
        (**self).is_live()
    }
}
