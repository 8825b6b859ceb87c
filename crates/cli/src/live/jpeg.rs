//! Frames as JPEG files, of bounded size: for people to look at, not for a network to read.

use std::cell::RefCell;

use dyn_perceiver::camera::{Frame, PixelFormat};
use jpeg_encoder::{Encoder, ImageBuffer, JpegColorType, rgb_to_ycbcr};

/// Longest side of a picture in pixels; larger frames are shown with every second, third, ... pixel.
const LONGEST_SIDE: u32 = 1280;
/// Good enough to see what it is, and small enough for a phone far from the board. Frames of few pixels are shown magnified,
/// with every fault in them.
const QUALITY: u8 = 75;
const SMALL_QUALITY: u8 = 92;
const SMALL_SIDE: u32 = 160;
/// A camera's own JPEG file is handed on up to this size.
const LONGEST_FILE: usize = 4 << 20;

/// `frame` as a JPEG file; the camera's own where it sends such. None where the frame makes no sense, or its file is larger
/// than anybody should load.
pub(crate) fn encode(frame: &Frame) -> Option<Vec<u8>> {
    if frame.format == PixelFormat::Mjpeg {
        return (frame.pixels.len() <= LONGEST_FILE).then(|| frame.pixels.clone());
    }
    frame.check().ok()?;
    let step = frame.width.max(frame.height).div_ceil(LONGEST_SIDE);
    let planes = if frame.format == PixelFormat::Grey { 1 } else { 3 };
    let row = RefCell::new(vec![0.0; planes * frame.width as usize]);
    let mut file = Vec::new();
    let quality = if frame.width.max(frame.height) < SMALL_SIDE { SMALL_QUALITY } else { QUALITY };
    Encoder::new(&mut file, quality).encode_image(Picture { frame, step, row }).ok()?;
    Some(file)
}

struct Picture<'a> {
    frame: &'a Frame,
    step: u32,
    /// A row as floats, plane after plane.
    row: RefCell<Vec<f32>>,
}

impl Picture<'_> {
    fn side(&self, pixels: u32) -> u16 {
        u16::try_from(pixels.div_ceil(self.step)).unwrap_or(u16::MAX)
    }
}

impl ImageBuffer for Picture<'_> {
    fn get_jpeg_color_type(&self) -> JpegColorType {
        if self.frame.format == PixelFormat::Grey { JpegColorType::Luma } else { JpegColorType::Ycbcr }
    }

    fn width(&self) -> u16 {
        self.side(self.frame.width)
    }

    fn height(&self) -> u16 {
        self.side(self.frame.height)
    }

    fn fill_buffers(&self, y: u16, buffers: &mut [Vec<u8>; 4]) {
        let mut row = self.row.borrow_mut();
        self.frame.read_row(u32::from(y) * self.step, &mut row);
        let columns = (0..self.frame.width as usize).step_by(self.step as usize);
        let [luma, blue, red, _] = buffers;
        if self.frame.format == PixelFormat::Grey {
            luma.extend(columns.map(|x| row[x] as u8));
            return;
        }
        let width = self.frame.width as usize;
        for x in columns {
            let value = |plane: usize| row[plane * width + x].round() as u8;
            let (y, cb, cr) = rgb_to_ycbcr(value(0), value(1), value(2));
            luma.push(y);
            blue.push(cb);
            red.push(cr);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dyn_perceiver::camera::{FrameSource as _, SyntheticSource};
    use dyn_perceiver::preprocess::{Preprocess, Preprocessor};

    fn pixels(frame: &Frame, (width, height): (u32, u32)) -> Vec<f32> {
        let preprocess = Preprocess::new(width, height).with_normalisation([0.0; 3], [1.0; 3]);
        let mut out = vec![0.0; preprocess.len()];
        Preprocessor::new(preprocess).unwrap().run(frame, &mut out).unwrap();
        out
    }

    #[test]
    fn every_format_is_shown_as_the_network_sees_it() {
        for &format in PixelFormat::ALL.iter().filter(|&&format| format != PixelFormat::Mjpeg) {
            let frame = SyntheticSource::new(64, 48).with_format(format).next().unwrap().unwrap();
            let file = encode(&frame).unwrap();
            let shown = pixels(&Frame::new(file, PixelFormat::Mjpeg, 64, 48), (64, 48));
            let seen = pixels(&frame, (64, 48));
            let error = shown.iter().zip(&seen).map(|(a, b)| (a - b).abs()).sum::<f32>() / seen.len() as f32;
            assert!(error < 0.03, "{format}: {error}");
        }
    }

    #[test]
    fn large_frames_are_shown_small_and_damaged_ones_not_at_all() {
        let frame = SyntheticSource::new(3001, 20).next().unwrap().unwrap();
        let file = encode(&frame).unwrap();
        assert!(file.len() < 60_000, "{}", file.len());
        assert_eq!(encode(&Frame::new(vec![0; 5], PixelFormat::Rgb, 2, 2)), None);
        let own = Frame::new(vec![0xff, 0xd8, 0xff, 0xd9], PixelFormat::Mjpeg, 1, 1);
        assert_eq!(encode(&own), Some(own.pixels.clone()));
        assert_eq!(encode(&Frame::new(vec![0; LONGEST_FILE + 1], PixelFormat::Mjpeg, 1, 1)), None);
    }
}
