//! Image files of every kind that is read, decoded to frames.

use std::fs::File;
use std::io::{Cursor, Read};
use std::path::Path;
use std::time::Instant;

use image::metadata::Orientation;
use image::{ColorType, DynamicImage, GrayImage, ImageDecoder as _, ImageFormat, ImageReader, RgbImage};

use super::exif;
use super::sniff::{Kind, SNIFFED, sniff};
use crate::camera::{CameraError, Frame, PixelFormat};
use crate::preprocess::{JpegDecoder, JpegError, PreprocessError};

/// More than any file of a picture within the limits.
const MAX_FILE: u64 = 512 << 20;

/// What an image file may cost, since a file of a few kilobytes can describe gigabytes.
///
/// ```
/// use dyn_perceiver::camera::ImageLimits;
///
/// let small_board = ImageLimits::default().with_pixels(16_000_000);
/// assert_eq!(small_board.pixels, 16_000_000);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ImageLimits {
    /// Pixels of a picture.
    pub pixels: u64,
    /// Bytes that a picture takes as it is stored: 8 per pixel of a 16-bit one with alpha.
    pub bytes: u64,
}

impl Default for ImageLimits {
    /// 67 million pixels (8192 x 8192) and 256 MiB: any phone's photograph.
    fn default() -> Self {
        Self { pixels: 1 << 26, bytes: 256 << 20 }
    }
}

impl ImageLimits {
    /// With another limit of pixels.
    #[must_use]
    pub fn with_pixels(mut self, pixels: u64) -> Self {
        self.pixels = pixels;
        self
    }

    /// With another limit of bytes.
    #[must_use]
    pub fn with_bytes(mut self, bytes: u64) -> Self {
        self.bytes = bytes;
        self
    }
}

/// Reads one image file, as [`ImageSource`](super::ImageSource) does: a JPEG, PNG, WebP or BMP by its contents, whatever its
/// name; also from a pipe.
///
/// # Errors
/// [`CameraError`] when the file cannot be read, is no image, is cut short or larger than `limits`.
///
/// ```no_run
/// use dyn_perceiver::camera::{ImageLimits, decode_image};
///
/// let frame = decode_image("photo.jpg".as_ref(), ImageLimits::default())?;
/// println!("{}x{}", frame.width, frame.height);
/// # Ok::<(), dyn_perceiver::camera::CameraError>(())
/// ```
pub fn decode_image(path: &Path, limits: ImageLimits) -> Result<Frame, CameraError> {
    let mut frame = Frame::default();
    Decoder::new(limits).read(path, &mut frame)?;
    Ok(frame)
}

/// Decodes files, with buffers that are kept from one to the next.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    limits: ImageLimits,
    jpeg: JpegDecoder,
    file: Vec<u8>,
}

impl Decoder {
    pub(super) fn new(limits: ImageLimits) -> Self {
        Self { limits, ..Self::default() }
    }

    /// Reads the file at `path` into `frame`: its pixels, format and size, and the time.
    ///
    /// Grey files give [`PixelFormat::Grey`], all others [`PixelFormat::Rgb`]. Alpha is dropped, 16 bits become 8, and the
    /// orientation of the Exif data is applied.
    pub(super) fn read(&mut self, path: &Path, frame: &mut Frame) -> Result<(), CameraError> {
        let kind = self.load(path)?;
        self.loaded(kind, path, frame)
    }

    /// As [`read`](Self::read), of a file's bytes; `path` only names them in errors.
    pub(super) fn read_bytes(&mut self, path: &Path, bytes: &[u8], frame: &mut Frame) -> Result<(), CameraError> {
        if bytes.is_empty() {
            return Err(CameraError::Empty { path: path.into(), expected: "an image" });
        }
        self.file.clear();
        self.file.extend_from_slice(bytes);
        let kind = sniff(&self.file[..self.file.len().min(SNIFFED)]);
        self.loaded(kind, path, frame)
    }

    fn loaded(&mut self, kind: Kind, path: &Path, frame: &mut Frame) -> Result<(), CameraError> {
        let orientation = match kind {
            Kind::Jpeg => self.jpeg(path, frame)?,
            Kind::Other(format) => self.other(path, format, frame)?,
            Kind::Unsupported(kind) => return Err(CameraError::Unsupported { path: path.into(), kind }),
            Kind::NoPicture(reason) => return Err(refused(path, reason)),
        };
        if let Some(orientation) = orientation {
            orient(frame, orientation).ok_or_else(|| refused(path, "fewer pixels than its size says"))?;
        }
        frame.captured = Instant::now();
        Ok(frame.check().map_err(PreprocessError::from)?)
    }

    /// Reads the file to its end, whether or not its size is known beforehand; one that is no picture not further than its
    /// beginning.
    fn load(&mut self, path: &Path) -> Result<Kind, CameraError> {
        let io = |source| CameraError::Io { path: path.into(), source };
        let mut file = File::open(path).map_err(io)?;
        self.file.clear();
        (&mut file).take(SNIFFED as u64).read_to_end(&mut self.file).map_err(io)?;
        if self.file.is_empty() {
            return Err(CameraError::Empty { path: path.into(), expected: "an image" });
        }
        let kind = sniff(&self.file);
        if matches!(kind, Kind::Jpeg | Kind::Other(_)) {
            let read = file.take(MAX_FILE).read_to_end(&mut self.file).map_err(io)?;
            if read as u64 == MAX_FILE {
                return Err(refused(path, "a file of more than 512 MiB"));
            }
        }
        Ok(kind)
    }

    fn jpeg(&mut self, path: &Path, frame: &mut Frame) -> Result<Option<Orientation>, CameraError> {
        match self.jpeg.decode(&self.file, self.limits.pixels, frame) {
            Ok(exif) => Ok(exif.as_deref().and_then(exif::orientation)),
            Err(JpegError::TooLarge { width, height, .. }) => Err(self.too_many_pixels(path, width, height)),
            Err(JpegError::Refused(reason)) => Err(refused(path, reason)),
        }
    }

    fn other(&self, path: &Path, format: ImageFormat, frame: &mut Frame) -> Result<Option<Orientation>, CameraError> {
        let failed = |error: image::ImageError| refused(path, error.to_string());
        let mut reader = ImageReader::with_format(Cursor::new(&self.file[..]), format);
        let mut limits = image::Limits::no_limits();
        limits.max_alloc = Some(self.limits.bytes);
        reader.limits(limits);
        let decoder = reader.into_decoder().map_err(failed)?;
        let (width, height) = decoder.dimensions();
        if u64::from(width) * u64::from(height) > self.limits.pixels {
            return Err(self.too_many_pixels(path, width, height));
        }
        if decoder.total_bytes() > self.limits.bytes {
            let limit = format!("{} bytes, and it takes {}", self.limits.bytes, decoder.total_bytes());
            return Err(CameraError::TooLarge { path: path.into(), width, height, limit });
        }
        let orientation = match format {
            ImageFormat::Png => exif::of_png(&self.file).and_then(exif::orientation),
            // The decoder takes memory for what a chunk claims to be.
            ImageFormat::WebP => exif::of_webp(&self.file).and_then(exif::orientation),
            _ => None,
        };
        let kind = decoder.color_type();
        let picture = DynamicImage::from_decoder(decoder).map_err(failed)?;
        (frame.width, frame.height) = (width, height);
        (frame.format, frame.pixels) = match kind {
            ColorType::L8 => (PixelFormat::Grey, picture.into_bytes()),
            ColorType::La8 => (PixelFormat::Grey, without_alpha(picture.into_bytes(), 1)),
            ColorType::L16 | ColorType::La16 => (PixelFormat::Grey, picture.into_luma8().into_raw()),
            ColorType::Rgb8 => (PixelFormat::Rgb, picture.into_bytes()),
            ColorType::Rgba8 => (PixelFormat::Rgb, without_alpha(picture.into_bytes(), 3)),
            _ => (PixelFormat::Rgb, picture.into_rgb8().into_raw()),
        };
        Ok(orientation)
    }

    fn too_many_pixels(&self, path: &Path, width: u32, height: u32) -> CameraError {
        let limit = format!("{} pixels", self.limits.pixels);
        CameraError::TooLarge { path: path.into(), width, height, limit }
    }
}

fn refused(path: &Path, reason: impl Into<String>) -> CameraError {
    CameraError::NotAnImage { path: path.into(), reason: reason.into() }
}

/// Takes the alpha channel behind each `colours` bytes away, in place: a copy of a large picture would cost as much again.
fn without_alpha(mut pixels: Vec<u8>, colours: usize) -> Vec<u8> {
    let count = pixels.len() / (colours + 1);
    for pixel in 0..count {
        let from = pixel * (colours + 1);
        pixels.copy_within(from..from + colours, pixel * colours);
    }
    pixels.truncate(count * colours);
    pixels
}

/// Turns the picture as its tag says; `None` where there are fewer pixels than its size says.
fn orient(frame: &mut Frame, orientation: Orientation) -> Option<()> {
    if orientation == Orientation::NoTransforms {
        return Some(());
    }
    let pixels = std::mem::take(&mut frame.pixels);
    let mut picture = match frame.format {
        PixelFormat::Grey => GrayImage::from_raw(frame.width, frame.height, pixels).map(DynamicImage::ImageLuma8)?,
        _ => RgbImage::from_raw(frame.width, frame.height, pixels).map(DynamicImage::ImageRgb8)?,
    };
    picture.apply_orientation(orientation);
    (frame.width, frame.height) = (picture.width(), picture.height());
    frame.pixels = picture.into_bytes();
    Some(())
}

#[cfg(test)]
#[path = "decode_tests.rs"]
mod tests;
