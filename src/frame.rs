//! One picture and what is known about it.

use std::fmt;
use std::str::FromStr;
use std::time::Instant;

use crate::preprocess::PreprocessError;

/// How the bytes of a frame encode its pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum PixelFormat {
    /// One byte of luminance per pixel.
    Grey,
    /// Three bytes per pixel: red, green, blue.
    Rgb,
    /// Two bytes per pixel, `Y0 U Y1 V` for each pair; BT.601, limited range, as webcams send it. The width is even.
    Yuyv,
    /// A plane of Y, then a plane of `U V` pairs at half the width and height; BT.601, limited range. Width and height
    /// are even.
    Nv12,
    /// A whole JPEG file per frame.
    Mjpeg,
}

impl PixelFormat {
    /// Every format, in the order in which a camera is asked for them: in colour before grey, cheapest to read first.
    pub const ALL: [Self; 5] = [Self::Yuyv, Self::Nv12, Self::Rgb, Self::Mjpeg, Self::Grey];

    /// Bytes of a `width x height` frame; `None` for MJPEG, whose frames differ, and where the product overflows.
    #[must_use]
    pub fn frame_bytes(self, width: u32, height: u32) -> Option<usize> {
        let pixels = (width as usize).checked_mul(height as usize)?;
        match self {
            Self::Grey => Some(pixels),
            Self::Rgb => pixels.checked_mul(3),
            Self::Yuyv => pixels.checked_mul(2),
            Self::Nv12 => Some(pixels.checked_add(pixels / 2)?),
            Self::Mjpeg => None,
        }
    }
}

impl fmt::Display for PixelFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Grey => "grey",
            Self::Rgb => "rgb",
            Self::Yuyv => "yuyv",
            Self::Nv12 => "nv12",
            Self::Mjpeg => "mjpeg",
        })
    }
}

impl FromStr for PixelFormat {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|format| format.to_string() == name)
            .ok_or_else(|| format!("`{name}` is no pixel format; known are grey, yuyv, nv12, rgb, mjpeg"))
    }
}

/// One picture, with its place in the stream and the time it was taken.
#[derive(Clone, Debug)]
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
    /// A frame of no pixels, to be filled by [`FrameSource::read`](super::FrameSource::read).
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

impl Frame {
    /// Checks that the size is not zero, fits the format and agrees with the number of bytes.
    ///
    /// # Errors
    /// [`PreprocessError::FrameShape`] naming what was expected.
    pub fn check(&self) -> Result<(), PreprocessError> {
        let Self { format, width, height, .. } = *self;
        let shape = |expected: String| {
            Err(PreprocessError::FrameShape { format, width, height, bytes: self.pixels.len(), expected })
        };
        if width == 0 || height == 0 {
            return shape("at least 1x1 pixels".into());
        }
        let (even_width, even_height) = match format {
            PixelFormat::Yuyv => (true, false),
            PixelFormat::Nv12 => (true, true),
            _ => (false, false),
        };
        if even_width && width % 2 == 1 || even_height && height % 2 == 1 {
            return shape(if even_height { "an even width and height" } else { "an even width" }.into());
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
        for (format, bytes) in
            [(PixelFormat::Grey, 24), (PixelFormat::Rgb, 72), (PixelFormat::Yuyv, 48), (PixelFormat::Nv12, 36)]
        {
            assert!(frame(format, 6, 4, bytes).check().is_ok(), "{format}");
            let error = frame(format, 6, 4, bytes - 1).check().unwrap_err().to_string();
            assert!(error.contains(&format!("{bytes} bytes")), "{error}");
        }
    }

    #[test]
    fn a_frame_of_a_size_its_format_cannot_have_is_refused() {
        assert!(frame(PixelFormat::Grey, 0, 4, 0).check().is_err());
        assert!(frame(PixelFormat::Yuyv, 3, 2, 12).check().unwrap_err().to_string().contains("even width"));
        assert!(frame(PixelFormat::Nv12, 4, 3, 18).check().unwrap_err().to_string().contains("even width and height"));
        assert!(frame(PixelFormat::Rgb, u32::MAX, u32::MAX, 3).check().is_err());
    }

    #[test]
    fn formats_are_read_by_the_names_they_are_printed_with() {
        for format in PixelFormat::ALL {
            assert_eq!(format.to_string().parse(), Ok(format));
        }
        assert!("h264".parse::<PixelFormat>().unwrap_err().contains("h264"));
    }
}
