//! Rows of a frame as floats, whatever the format.

use crate::frame::{Frame, PixelFormat};

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
        PixelFormat::Rgb => {
            let row = pixels[(y * width + left) * 3..].chunks_exact(3);
            out.zip(row).for_each(|((r, g, b), pixel)| {
                (*r, *g, *b) = (pixel[0].into(), pixel[1].into(), pixel[2].into());
            });
        }
        PixelFormat::Yuyv => {
            let row = &pixels[y * width * 2..(y + 1) * width * 2];
            out.zip(left..).for_each(|((r, g, b), x)| {
                let pair = x / 2 * 4;
                (*r, *g, *b) = from_yuv(row[x * 2], row[pair + 1], row[pair + 3]);
            });
        }
        PixelFormat::Nv12 => {
            let luma = &pixels[y * width..(y + 1) * width];
            let chroma = &pixels[width * height + y / 2 * width..];
            out.zip(left..).for_each(|((r, g, b), x)| {
                let pair = x / 2 * 2;
                (*r, *g, *b) = from_yuv(luma[x], chroma[pair], chroma[pair + 1]);
            });
        }
        PixelFormat::Grey | PixelFormat::Mjpeg => unreachable!("grey is read above, MJPEG is decoded before"),
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
        let yuyv: Vec<u8> = (0..16)
            .flat_map(|i| {
                let [y, u, v] = to_yuv(at(i));
                [y, if i % 2 == 0 { u } else { v }]
            })
            .collect();
        let luma = (0..16).map(|i| to_yuv(at(i))[0]);
        let chroma = (0..4).flat_map(|i| {
            let [_, u, v] = to_yuv(colour(i % 2 * 2, i / 2 * 2));
            [u, v]
        });
        let nv12: Vec<u8> = luma.chain(chroma).collect();
        for (format, pixels) in [(PixelFormat::Yuyv, yuyv), (PixelFormat::Nv12, nv12), (PixelFormat::Rgb, rgb)] {
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
