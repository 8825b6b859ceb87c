//! Rows of a frame as floats, whatever the format.

use crate::frame::{Frame, PixelFormat};

impl Frame {
    /// Reads row `y` into `planes`: one plane of luminance for grey, else red, green and blue, each of the frame's width,
    /// as values 0..=255. Nothing is written for a frame that is MJPEG or not [whole](Frame::check), a row that it does not
    /// have or planes of another length.
    ///
    /// ```
    /// use dyn_perceiver::frame::{Frame, PixelFormat};
    ///
    /// let frame = Frame::new(vec![1, 2, 3, 4, 5, 6], PixelFormat::Rgb, 2, 1);
    /// let mut planes = [0.0; 6];
    /// frame.read_row(0, &mut planes);
    /// assert_eq!(planes, [1.0, 4.0, 2.0, 5.0, 3.0, 6.0]);
    /// ```
    pub fn read_row(&self, y: u32, planes: &mut [f32]) {
        let expected = self::planes(self.format) * self.width as usize;
        if self.format != PixelFormat::Mjpeg && y < self.height && planes.len() == expected && self.check().is_ok() {
            read_row(self, y as usize, 0, planes);
        }
    }
}

/// Planes a row is read into: 1 for grey, 3 (red, green, blue) for colour.
pub(super) fn planes(format: PixelFormat) -> usize {
    if format == PixelFormat::Grey { 1 } else { 3 }
}

/// Reads columns `left ..` of row `y` into `planes`, one after the other and equally long, as values 0..=255.
///
/// The frame has been [checked](Frame::check), is not MJPEG, and has the row and columns.
pub(super) fn read_row(frame: &Frame, y: usize, left: usize, planes: &mut [f32]) {
    let (width, height) = (frame.width as usize, frame.height as usize);
    let pixels = &frame.pixels;
    if frame.format == PixelFormat::Grey {
        let row = pixels[y * width + left..].iter();
        planes.iter_mut().zip(row).for_each(|(out, &value)| *out = value.into());
        return;
    }
    let columns = planes.len() / 3;
    let (red, rest) = planes.split_at_mut(columns);
    let (green, blue) = rest.split_at_mut(columns);
    let out = red.iter_mut().zip(green).zip(blue).map(|((r, g), b)| (r, g, b));
    match frame.format {
        PixelFormat::Rgb | PixelFormat::Bgr => {
            let swapped = frame.format == PixelFormat::Bgr;
            let row = pixels[(y * width + left) * 3..].chunks_exact(3);
            out.zip(row).for_each(|((r, g, b), pixel)| {
                let (first, last) = if swapped { (pixel[2], pixel[0]) } else { (pixel[0], pixel[2]) };
                (*r, *g, *b) = (first.into(), pixel[1].into(), last.into());
            });
        }
        PixelFormat::Yuyv | PixelFormat::Uyvy | PixelFormat::Yvyu => {
            // Places of the first Y, of U and of V among the four bytes of a pair of pixels.
            let (luma, u, v) = match frame.format {
                PixelFormat::Uyvy => (1, 0, 2),
                PixelFormat::Yvyu => (0, 3, 1),
                _ => (0, 1, 3),
            };
            let row = &pixels[y * width * 2..(y + 1) * width * 2];
            out.zip(left..).for_each(|((r, g, b), x)| {
                let pair = x / 2 * 4;
                (*r, *g, *b) = from_yuv(row[x * 2 + luma], row[pair + u], row[pair + v]);
            });
        }
        PixelFormat::Nv12 | PixelFormat::Nv21 => {
            let (u, v) = if frame.format == PixelFormat::Nv12 { (0, 1) } else { (1, 0) };
            let luma = &pixels[y * width..(y + 1) * width];
            let chroma = &pixels[width * height + y / 2 * width..];
            out.zip(left..).for_each(|((r, g, b), x)| {
                let pair = x / 2 * 2;
                (*r, *g, *b) = from_yuv(luma[x], chroma[pair + u], chroma[pair + v]);
            });
        }
        PixelFormat::I420 | PixelFormat::Yv12 => {
            let luma = &pixels[y * width..(y + 1) * width];
            let (first, second) = pixels[width * height..].split_at(width * height / 4);
            let (u, v) = if frame.format == PixelFormat::I420 { (first, second) } else { (second, first) };
            let (u, v) = (&u[y / 2 * (width / 2)..], &v[y / 2 * (width / 2)..]);
            out.zip(left..).for_each(|((r, g, b), x)| (*r, *g, *b) = from_yuv(luma[x], u[x / 2], v[x / 2]));
        }
        // Grey has been read above, and MJPEG is decoded to another format before.
        PixelFormat::Grey | PixelFormat::Mjpeg => {}
    }
}

/// Red, green and blue in 0..=255 from limited-range luma (16..=235) and chroma (16..=240): ITU-R BT.601, whose luma
/// weights are 0.299, 0.587 and 0.114.
fn from_yuv(y: u8, u: u8, v: u8) -> (f32, f32, f32) {
    let luma = (f32::from(y) - 16.0) * (255.0 / 219.0);
    let (u, v) = ((f32::from(u) - 128.0) * (255.0 / 224.0), (f32::from(v) - 128.0) * (255.0 / 224.0));
    let red = luma + 1.402 * v;
    let green = luma - 0.344_136 * u - 0.714_136 * v;
    let blue = luma + 1.772 * u;
    (red.clamp(0.0, 255.0), green.clamp(0.0, 255.0), blue.clamp(0.0, 255.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Limited-range BT.601 YUV of a colour, rounded to bytes.
    fn to_yuv([r, g, b]: [u8; 3]) -> [u8; 3] {
        let (r, g, b) = (f64::from(r), f64::from(g), f64::from(b));
        let y = 0.299 * r + 0.587 * g + 0.114 * b;
        let byte = |value: f64| value.round() as u8;
        [
            byte(16.0 + y * 219.0 / 255.0),
            byte(128.0 + (b - y) / 1.772 * 224.0 / 255.0),
            byte(128.0 + (r - y) / 1.402 * 224.0 / 255.0),
        ]
    }

    #[test]
    fn yuv_gives_back_the_colour_it_was_made_from() {
        for colour in [[0, 0, 0], [255; 3], [255, 0, 0], [0, 255, 0], [0, 0, 255], [12, 200, 97], [128; 3]] {
            let [y, u, v] = to_yuv(colour);
            let (r, g, b) = from_yuv(y, u, v);
            for (found, expected) in [r, g, b].into_iter().zip(colour) {
                assert!((found - f32::from(expected)).abs() < 2.0, "{colour:?}: {found} for {expected}");
            }
        }
    }

    #[test]
    fn every_format_reads_the_same_picture() {
        // Pairs of equal colours in both directions, so that subsampled chroma loses nothing.
        let colour =
            |x: usize, y: usize| [[200, 40, 40], [30, 90, 220], [60, 180, 20], [128, 128, 128]][x / 2 % 2 + y / 2 * 2];
        let width = 4;
        let at = |i: usize| colour(i % width, i / width);
        let rgb: Vec<u8> = (0..16).flat_map(at).collect();
        let bgr: Vec<u8> = (0..16).flat_map(|i| at(i).into_iter().rev()).collect();
        // Pairs of pixels as `Y0 U Y1 V`, the bytes taken in another order.
        let packed = |order: [usize; 4]| -> Vec<u8> {
            let pair = |i: usize| {
                let ([y0, u, v], [y1, ..]) = (to_yuv(at(2 * i)), to_yuv(at(2 * i + 1)));
                let bytes = [y0, u, y1, v];
                order.map(|place| bytes[place])
            };
            (0..8).flat_map(pair).collect()
        };
        let luma: Vec<u8> = (0..16).map(|i| to_yuv(at(i))[0]).collect();
        let chroma: Vec<[u8; 3]> = (0..4).map(|i| to_yuv(colour(i % 2 * 2, i / 2 * 2))).collect();
        let pairs =
            |order: [usize; 2]| [luma.clone(), chroma.iter().flat_map(|yuv| order.map(|c| yuv[c])).collect()].concat();
        let planar = |order: [usize; 2]| {
            let plane = |c: usize| chroma.iter().map(|yuv| yuv[c]).collect();
            [luma.clone(), plane(order[0]), plane(order[1])].concat()
        };
        for (format, pixels) in [
            (PixelFormat::Yuyv, packed([0, 1, 2, 3])),
            (PixelFormat::Uyvy, packed([1, 0, 3, 2])),
            (PixelFormat::Yvyu, packed([0, 3, 2, 1])),
            (PixelFormat::Nv12, pairs([1, 2])),
            (PixelFormat::Nv21, pairs([2, 1])),
            (PixelFormat::I420, planar([1, 2])),
            (PixelFormat::Yv12, planar([2, 1])),
            (PixelFormat::Rgb, rgb),
            (PixelFormat::Bgr, bgr),
        ] {
            let frame = Frame { pixels, format, width: 4, height: 4, ..Frame::default() };
            frame.check().unwrap();
            for (y, left) in [(0, 0), (1, 1), (2, 0), (3, 3)] {
                let columns = width - left;
                let mut planes = vec![0.0; 3 * columns];
                read_row(&frame, y, left, &mut planes);
                for x in 0..columns {
                    for c in 0..3 {
                        let (found, expected) = (planes[c * columns + x], f32::from(colour(left + x, y)[c]));
                        assert!((found - expected).abs() < 2.0, "{format} ({x}, {y}): {found} for {expected}");
                    }
                }
            }
        }
    }
}
