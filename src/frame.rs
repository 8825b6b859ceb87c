//! One picture and what is known about it.

use std::fmt;
use std::str::FromStr;
use std::time::Instant;

use dyn_perceiver_core::gate::Luma;

/// How the bytes of a frame encode its pixels.
///
/// YUV formats are BT.601, limited range, as webcams send them. The 4:2:2 ones need an even width, the 4:2:0 ones an even
/// width and height.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum PixelFormat {
    /// One byte of luminance per pixel.
    Grey,
    /// Three bytes per pixel: red, green, blue.
    Rgb,
    /// Three bytes per pixel: blue, green, red.
    Bgr,
    /// 4:2:2 in two bytes per pixel, `Y0 U Y1 V` for each pair.
    Yuyv,
    /// 4:2:2 in two bytes per pixel, `U Y0 V Y1` for each pair.
    Uyvy,
    /// 4:2:2 in two bytes per pixel, `Y0 V Y1 U` for each pair.
    Yvyu,
    /// 4:2:0: a plane of Y, then a plane of `U V` pairs at half the width and height.
    Nv12,
    /// 4:2:0: a plane of Y, then a plane of `V U` pairs at half the width and height.
    Nv21,
    /// 4:2:0: a plane of Y, then one of U and one of V, each at half the width and height. V4L2 calls it `YU12`.
    I420,
    /// 4:2:0: a plane of Y, then one of V and one of U, each at half the width and height.
    Yv12,
    /// A whole JPEG file per frame.
    Mjpeg,
}

/// How chroma is subsampled, which decides the sizes a format can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Subsampling {
    None,
    Columns,
    Both,
}

impl PixelFormat {
    /// Every format, in the order in which a camera is asked for them: in colour before grey, cheapest to read first.
    pub const ALL: &'static [Self] = &[
        Self::Yuyv,
        Self::Uyvy,
        Self::Yvyu,
        Self::Nv12,
        Self::Nv21,
        Self::I420,
        Self::Yv12,
        Self::Rgb,
        Self::Bgr,
        Self::Mjpeg,
        Self::Grey,
    ];

    /// Largest width and height of a frame in pixels.
    pub const MAX_SIDE: u32 = 16384;

    /// Bytes of a `width x height` frame; `None` for MJPEG, whose frames differ, and where the product overflows.
    ///
    /// ```
    /// use dyn_perceiver::frame::PixelFormat;
    ///
    /// assert_eq!(PixelFormat::I420.frame_bytes(640, 480), Some(640 * 480 * 3 / 2));
    /// assert_eq!(PixelFormat::Mjpeg.frame_bytes(640, 480), None);
    /// ```
    #[must_use]
    pub fn frame_bytes(self, width: u32, height: u32) -> Option<usize> {
        let pixels = (width as usize).checked_mul(height as usize)?;
        match self {
            Self::Grey => Some(pixels),
            Self::Rgb | Self::Bgr => pixels.checked_mul(3),
            Self::Yuyv | Self::Uyvy | Self::Yvyu => pixels.checked_mul(2),
            Self::Nv12 | Self::Nv21 | Self::I420 | Self::Yv12 => pixels.checked_add(pixels / 2),
            Self::Mjpeg => None,
        }
    }

    /// What is wrong with a `width x height` frame of this format, as the words for what would be right; `None` where it
    /// can be.
    #[must_use]
    pub fn wrong_size(self, width: u32, height: u32) -> Option<&'static str> {
        if width == 0 || height == 0 {
            return Some("at least 1x1 pixels");
        }
        if width > Self::MAX_SIDE || height > Self::MAX_SIDE {
            return Some("at most 16384 pixels a side");
        }
        match self.subsampling() {
            Subsampling::Both if width % 2 == 1 || height % 2 == 1 => Some("an even width and height"),
            Subsampling::Columns if width % 2 == 1 => Some("an even width"),
            _ => None,
        }
    }

    fn subsampling(self) -> Subsampling {
        match self {
            Self::Grey | Self::Rgb | Self::Bgr | Self::Mjpeg => Subsampling::None,
            Self::Yuyv | Self::Uyvy | Self::Yvyu => Subsampling::Columns,
            Self::Nv12 | Self::Nv21 | Self::I420 | Self::Yv12 => Subsampling::Both,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Grey => "grey",
            Self::Rgb => "rgb",
            Self::Bgr => "bgr",
            Self::Yuyv => "yuyv",
            Self::Uyvy => "uyvy",
            Self::Yvyu => "yvyu",
            Self::Nv12 => "nv12",
            Self::Nv21 => "nv21",
            Self::I420 => "i420",
            Self::Yv12 => "yv12",
            Self::Mjpeg => "mjpeg",
        }
    }
}

impl fmt::Display for PixelFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A name that is no pixel format.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{name}` is no pixel format; known are {known}", known = PixelFormat::ALL.iter().map(|format| format.name()).collect::<Vec<_>>().join(", "))]
pub struct UnknownFormat {
    name: String,
}

impl FromStr for PixelFormat {
    type Err = UnknownFormat;

    /// Reads the name that is printed, or one that V4L2, GStreamer or FFmpeg have for the same format (`yu12`, `yuv420p`,
    /// `bgr24`, `yuy2`), in any case.
    fn from_str(name: &str) -> Result<Self, UnknownFormat> {
        Ok(match name.to_ascii_lowercase().as_str() {
            "grey" | "gray" | "gray8" | "y800" => Self::Grey,
            "rgb" | "rgb3" | "rgb24" => Self::Rgb,
            "bgr" | "bgr3" | "bgr24" => Self::Bgr,
            "yuyv" | "yuy2" | "yuyv422" => Self::Yuyv,
            "uyvy" | "uyvy422" => Self::Uyvy,
            "yvyu" | "yvyu422" => Self::Yvyu,
            "nv12" => Self::Nv12,
            "nv21" => Self::Nv21,
            "i420" | "yu12" | "iyuv" | "yuv420" | "yuv420p" => Self::I420,
            "yv12" | "yvu420" => Self::Yv12,
            "mjpeg" | "mjpg" | "jpeg" => Self::Mjpeg,
            _ => return Err(UnknownFormat { name: name.into() }),
        })
    }
}

/// One picture, with its place in the stream and the time it was taken.
///
/// ```
/// use dyn_perceiver::frame::{Frame, PixelFormat};
///
/// let frame = Frame::new(vec![128; 64 * 48 * 3], PixelFormat::Rgb, 64, 48);
/// assert!(frame.check().is_ok());
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Frame {
    /// The bytes, rows from top to bottom without padding, as `format` says.
    pub pixels: Vec<u8>,
    /// How `pixels` encodes the picture.
    pub format: PixelFormat,
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// Number of this frame in its stream, counted from 0 by whoever makes the frames: a gap means frames were lost.
    pub sequence: u64,
    /// When the picture was taken, or read where a file has no such time.
    pub captured: Instant,
    /// The true class, where the source knows it.
    pub label: Option<u32>,
}

impl Default for Frame {
    /// A frame of no pixels, to be filled by a source's `read`.
    fn default() -> Self {
        Self {
            pixels: Vec::new(),
            format: PixelFormat::Grey,
            width: 0,
            height: 0,
            sequence: 0,
            captured: Instant::now(),
            label: None,
        }
    }
}

/// A frame whose size, format and bytes do not agree.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a {format} frame of {width}x{height} pixels and {bytes} bytes: {expected} expected")]
#[non_exhaustive]
pub struct FrameShapeError {
    /// The format.
    pub format: PixelFormat,
    /// The width in pixels.
    pub width: u32,
    /// The height in pixels.
    pub height: u32,
    /// The bytes there are.
    pub bytes: usize,
    /// What was expected.
    pub expected: String,
}

impl Frame {
    /// A frame of these pixels: the first of its stream, taken now, its class unknown. For MJPEG the width and height are
    /// whatever the caller knows, at least 1; the file itself says the true ones.
    #[must_use]
    pub fn new(pixels: Vec<u8>, format: PixelFormat, width: u32, height: u32) -> Self {
        Self { pixels, format, width, height, ..Self::default() }
    }

    /// The same frame with another number.
    #[must_use]
    pub fn with_sequence(mut self, sequence: u64) -> Self {
        self.sequence = sequence;
        self
    }

    /// The same frame, of a known class.
    #[must_use]
    pub fn with_label(mut self, label: u32) -> Self {
        self.label = Some(label);
        self
    }

    /// The luminance where the format has it: a plane, or some of the bytes of packed pixels; of red, green and blue the
    /// green. `None` for MJPEG, which would have to be decoded, and for a frame that contradicts itself.
    ///
    /// ```
    /// use dyn_perceiver::frame::{Frame, PixelFormat};
    ///
    /// let frame = Frame::new(vec![128; 64 * 48 * 2], PixelFormat::Yuyv, 64, 48);
    /// assert_eq!(frame.luma().map(|luma| luma.size()), Some((64, 48)));
    /// ```
    #[must_use]
    pub fn luma(&self) -> Option<Luma<'_>> {
        let (width, height) = (self.width as usize, self.height as usize);
        let (first, pixel) = match self.format {
            PixelFormat::Mjpeg => return None,
            PixelFormat::Rgb | PixelFormat::Bgr => (1, 3),
            PixelFormat::Yuyv | PixelFormat::Yvyu => (0, 2),
            PixelFormat::Uyvy => (1, 2),
            PixelFormat::Grey | PixelFormat::Nv12 | PixelFormat::Nv21 | PixelFormat::I420 | PixelFormat::Yv12 => (0, 1),
        };
        Luma::new(self.pixels.get(first..)?, (width, height), pixel, width * pixel)
    }

    /// Checks that the size is not zero, fits the format and agrees with the number of bytes.
    ///
    /// # Errors
    /// [`FrameShapeError`] naming what was expected.
    pub fn check(&self) -> Result<(), FrameShapeError> {
        let Self { format, width, height, .. } = *self;
        let shape =
            |expected: String| Err(FrameShapeError { format, width, height, bytes: self.pixels.len(), expected });
        if let Some(expected) = format.wrong_size(width, height) {
            return shape(expected.into());
        }
        match format.frame_bytes(width, height) {
            Some(bytes) if bytes == self.pixels.len() => Ok(()),
            Some(bytes) => shape(format!("{bytes} bytes")),
            None if format == PixelFormat::Mjpeg => Ok(()),
            None => shape("a size whose bytes can be counted".into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(format: PixelFormat, width: u32, height: u32, bytes: usize) -> Frame {
        Frame { pixels: vec![0; bytes], format, width, height, ..Frame::default() }
    }

    #[test]
    fn the_bytes_of_a_frame_follow_from_its_format() {
        for (format, bytes) in [
            (PixelFormat::Grey, 24),
            (PixelFormat::Rgb, 72),
            (PixelFormat::Bgr, 72),
            (PixelFormat::Yuyv, 48),
            (PixelFormat::Uyvy, 48),
            (PixelFormat::Yvyu, 48),
            (PixelFormat::Nv12, 36),
            (PixelFormat::Nv21, 36),
            (PixelFormat::I420, 36),
            (PixelFormat::Yv12, 36),
        ] {
            assert!(frame(format, 6, 4, bytes).check().is_ok(), "{format}");
            let error = frame(format, 6, 4, bytes - 1).check().unwrap_err().to_string();
            assert!(error.contains(&format!("{bytes} bytes")), "{error}");
        }
    }

    #[test]
    fn a_frame_of_a_size_its_format_cannot_have_is_refused() {
        assert!(frame(PixelFormat::Grey, 0, 4, 0).check().is_err());
        for format in [PixelFormat::Yuyv, PixelFormat::Uyvy, PixelFormat::Yvyu] {
            assert!(frame(format, 3, 2, 12).check().unwrap_err().to_string().contains("even width"));
        }
        for format in [PixelFormat::Nv12, PixelFormat::Nv21, PixelFormat::I420, PixelFormat::Yv12] {
            assert!(frame(format, 4, 3, 18).check().unwrap_err().to_string().contains("even width and height"));
        }
        let error = frame(PixelFormat::Rgb, u32::MAX, u32::MAX, 3).check().unwrap_err().to_string();
        assert!(error.contains("at most 16384 pixels a side"), "{error}");
    }

    #[test]
    fn formats_are_read_by_the_names_they_are_printed_with() {
        for &format in PixelFormat::ALL {
            assert_eq!(format.to_string().parse(), Ok(format));
        }
        for (name, format) in [("YU12", PixelFormat::I420), ("BGR3", PixelFormat::Bgr), ("yuy2", PixelFormat::Yuyv)] {
            assert_eq!(name.parse(), Ok(format));
        }
        let error = "h264".parse::<PixelFormat>().unwrap_err().to_string();
        assert_eq!(
            error,
            "`h264` is no pixel format; known are yuyv, uyvy, yvyu, nv12, nv21, i420, yv12, rgb, bgr, mjpeg, grey"
        );
    }
}
