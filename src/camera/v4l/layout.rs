//! How frames lie in a device's buffers, and what is taken away of them.

use super::interval::FrameInterval;
use crate::camera::PixelFormat;

/// How a device that has been set up lays out its frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Layout {
    /// The format.
    pub format: PixelFormat,
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// Bytes from one row to the next, of the first plane where there are several; 0 where rows follow each other without
    /// a gap.
    pub stride: u32,
    /// Time from frame to frame that it set itself to; `None` where it was not asked or does not tell.
    pub interval: Option<FrameInterval>,
}

impl Layout {
    /// Rows that follow each other without a gap.
    #[must_use]
    pub fn new(format: PixelFormat, width: u32, height: u32) -> Self {
        Self { format, width, height, stride: 0, interval: None }
    }

    /// The same with the time from frame to frame that the device told.
    #[must_use]
    pub fn with_interval(mut self, interval: Option<FrameInterval>) -> Self {
        self.interval = interval;
        self
    }

    /// The same with padded rows.
    #[must_use]
    pub fn with_stride(mut self, stride: u32) -> Self {
        self.stride = stride;
        self
    }
}

/// Bytes of a buffer that hold the frame, by what the driver says was used of its `capacity`.
///
/// Some drivers leave that at 0 for formats of a fixed size. Of a compressed frame it means that there is none: the buffer
/// still holds an old one.
#[cfg_attr(not(all(feature = "v4l", target_os = "linux")), allow(dead_code))]
pub(super) fn used_bytes(format: PixelFormat, used: u32, capacity: usize) -> usize {
    if used == 0 && format != PixelFormat::Mjpeg { capacity } else { capacity.min(used as usize) }
}

/// Removes what pads rows and the end of a buffer. Returns false where bytes are missing.
pub(super) fn unpad(bytes: &mut Vec<u8>, layout: Layout) -> bool {
    let Layout { format, width, height, stride, .. } = layout;
    let Some(size) = format.frame_bytes(width, height) else { return !bytes.is_empty() };
    let (width, height, stride) = (width as usize, height as usize, stride as usize);
    // Planes as bytes of a row, rows, and bytes from one row to the next.
    let planes = match format {
        PixelFormat::Nv12 | PixelFormat::Nv21 => [(width, height * 3 / 2, stride), (0, 0, 0)],
        // Both planes of chroma have rows half as long, padded to half the stride.
        PixelFormat::I420 | PixelFormat::Yv12 => [(width, height, stride), (width / 2, height, stride / 2)],
        _ => [(size / height.max(1), height, stride), (0, 0, 0)],
    };
    let (mut from, mut to) = (0, 0);
    for (row, rows, stride) in planes {
        let stride = stride.max(row);
        if stride == row && from == to {
            // Nothing to move; what is missing shows below.
            from += row * rows;
            to = from;
            continue;
        }
        for _ in 0..rows {
            if bytes.len() < from + row {
                return false;
            }
            bytes.copy_within(from..from + row, to);
            from += stride;
            to += row;
        }
    }
    let whole = bytes.len() >= size;
    bytes.truncate(size);
    whole
}
