//! Images held in memory, such as those a program carries.

use std::borrow::Cow;
use std::path::PathBuf;

use super::decode::Decoder;
use crate::camera::{CameraError, Frame, FrameSource};

/// An image file in memory.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct MemoryImage {
    /// What it is called in errors.
    pub name: String,
    /// The file's bytes.
    pub bytes: Cow<'static, [u8]>,
    /// Its class, where that is known.
    pub label: Option<u32>,
}

impl MemoryImage {
    /// An image file's bytes, what it is called, and its class.
    pub fn new(name: impl Into<String>, bytes: impl Into<Cow<'static, [u8]>>, label: Option<u32>) -> Self {
        MemoryImage { name: name.into(), bytes: bytes.into(), label }
    }
}

/// Image files in memory, one frame each; read as [`ImageSource`](super::ImageSource) reads files.
///
/// ```
/// use dyn_perceiver::camera::{FrameSource as _, MemoryImage, MemorySource};
///
/// let damaged = MemoryImage::new("note.jpg", &b"no picture"[..], None);
/// let mut source = MemorySource::new(vec![damaged]);
/// assert!(source.next().is_err());
/// assert!(source.next()?.is_none());
/// # Ok::<(), dyn_perceiver::camera::CameraError>(())
/// ```
#[derive(Debug)]
pub struct MemorySource {
    images: Vec<MemoryImage>,
    next: usize,
    decoder: Decoder,
}

impl MemorySource {
    /// The images, in that order.
    #[must_use]
    pub fn new(images: Vec<MemoryImage>) -> Self {
        MemorySource { images, next: 0, decoder: Decoder::default() }
    }
}

impl FrameSource for MemorySource {
    fn read(&mut self, frame: &mut Frame) -> Result<bool, CameraError> {
        let Some(image) = self.images.get(self.next) else { return Ok(false) };
        let sequence = self.next as u64;
        self.next += 1;
        self.decoder.read_bytes(&PathBuf::from(&image.name), &image.bytes, frame)?;
        frame.sequence = sequence;
        frame.label = image.label;
        Ok(true)
    }

    fn frames(&self) -> Option<u64> {
        Some(self.images.len() as u64)
    }
}
