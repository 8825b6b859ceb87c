//! Frames in: files, cameras and commands as sources of [`Frame`]s.
//!
//! A [`FrameSource`] yields frames: files ([`IdxSource`], [`ImageSource`]), a [`SyntheticSource`], or a camera: a V4L2
//! device ([`DeviceSource`]), a command that writes frames ([`CommandSource`]) or a [`VideoFile`]. [`Reconnecting`] opens a camera again
//! when it fails, [`Latest`] captures in a thread and hands out the newest frame, and [`open`] puts them together. Nothing
//! here knows about networks, exits or energy; frames stay as they came, compressed ones too, until
//! [`preprocess`](crate::preprocess) reads them.

mod command;
mod error;
mod open;
mod rate;
mod request;
pub(crate) mod slot;
mod sources;
mod stop;
mod v4l;

pub use command::{CommandSource, MjpegSplitter, Piece, VideoFile};
pub use error::CameraError;
pub use open::{open, open_path};
pub use rate::CameraRate;
pub use request::CameraRequest;
pub use sources::{
    IdxSource, ImageLimits, ImageSource, Latest, MemoryImage, MemorySource, Reconnecting, SyntheticSource, decode_image,
};
pub use stop::StopToken;
pub(crate) use stop::{SLICE, after};
pub use v4l::{CaptureDevice, DeviceSource, Filled, FrameInterval, IntervalRange, Layout, Offer};
#[cfg(all(feature = "v4l", target_os = "linux"))]
pub use v4l::{V4lDevice, V4lSource};

pub use crate::frame::{Frame, PixelFormat};

/// Something that yields frames one after the other: a camera, a folder, a file, a generator.
///
/// ```
/// use dyn_perceiver::camera::{Frame, FrameSource, SyntheticSource};
///
/// let mut source = SyntheticSource::new(64, 48).with_count(3);
/// let mut frame = Frame::default();
/// while source.read(&mut frame)? {
///     assert_eq!(frame.pixels.len(), 64 * 48);
/// }
/// # Ok::<(), dyn_perceiver::camera::CameraError>(())
/// ```
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

    /// Frames that came damaged or cut short before the one that was last read. [`read`](Self::read) returns an error for
    /// each of them, of which a thread in between may leave out some.
    fn damaged(&self) -> u64 {
        0
    }

    /// Makes `stop` end a [`read`](Self::read) that waits, now or later, with `Ok(false)`. Sources that never wait long
    /// ignore it.
    fn stop_on(&mut self, _stop: &StopToken) {}

    /// Whether frames come at the pace of the world and old ones are dropped, as from a camera; a file waits instead.
    fn is_live(&self) -> bool {
        false
    }

    /// Number of the stream that the frame which was last read belongs to. Another number means that it does not follow the
    /// frame before it: it is of another folder, or the camera was lost or opened again in between.
    fn stream(&self) -> u64 {
        0
    }

    /// What to tell how many frames a second are taken, where the source can follow.
    fn rate(&self) -> Option<CameraRate> {
        None
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

    fn damaged(&self) -> u64 {
        (**self).damaged()
    }

    fn stop_on(&mut self, stop: &StopToken) {
        (**self).stop_on(stop);
    }

    fn is_live(&self) -> bool {
        (**self).is_live()
    }

    fn stream(&self) -> u64 {
        (**self).stream()
    }

    fn rate(&self) -> Option<CameraRate> {
        (**self).rate()
    }
}
