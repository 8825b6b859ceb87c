//! Luminance where a camera's buffer has it.

/// The luminance of a picture inside whatever layout the camera has: a plane, or every second byte of packed pixels.
#[derive(Clone, Copy, Debug)]
pub struct Luma<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) width: usize,
    pub(super) height: usize,
    /// Bytes from one pixel to the next, and from one row to the next.
    pub(super) pixel: usize,
    pub(super) row: usize,
}

impl<'a> Luma<'a> {
    /// A picture of `width x height` pixels whose luminance begins at the first of `bytes`, with `pixel` bytes from one to
    /// the next and `row` bytes from row to row; `None` where they do not lie inside `bytes`, or there are none.
    pub const fn new(bytes: &'a [u8], (width, height): (usize, usize), pixel: usize, row: usize) -> Option<Self> {
        if width == 0 || height == 0 || pixel == 0 {
            return None;
        }
        let (Some(across), Some(down)) = ((width - 1).checked_mul(pixel), (height - 1).checked_mul(row)) else {
            return None;
        };
        match across.checked_add(down) {
            Some(last) if last < bytes.len() && across < row => Some(Luma { bytes, width, height, pixel, row }),
            Some(last) if last < bytes.len() && height == 1 => Some(Luma { bytes, width, height, pixel, row }),
            _ => None,
        }
    }

    /// One byte per pixel, rows without gaps; also the first plane of planar YUV.
    pub const fn grey(bytes: &'a [u8], width: usize, height: usize) -> Option<Self> {
        Self::new(bytes, (width, height), 1, width)
    }

    /// Width and height in pixels.
    pub const fn size(&self) -> (usize, usize) {
        (self.width, self.height)
    }

    /// Sum of the pixels `from .. to` of a row.
    pub(super) fn sum(&self, row: usize, from: usize, to: usize) -> u32 {
        let begin = row * self.row + from * self.pixel;
        let end = row * self.row + to.saturating_sub(1) * self.pixel + 1;
        let Some(bytes) = self.bytes.get(begin..end) else { return 0 };
        // Constant steps are what the compiler makes vector instructions of.
        match self.pixel {
            1 => bytes.iter().map(|&byte| u32::from(byte)).sum(),
            2 => {
                let pairs = bytes.chunks_exact(2);
                let last = pairs.remainder().first().map_or(0, |&byte| u32::from(byte));
                pairs.map(|pair| u32::from(pair[0])).sum::<u32>() + last
            }
            step => bytes.iter().step_by(step).map(|&byte| u32::from(byte)).sum(),
        }
    }
}
