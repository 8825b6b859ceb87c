//! Boxes drawn into a picture.

use std::io::Cursor;
use std::path::Path;

use dyn_perceiver::camera::Frame;
use dyn_perceiver::detector::Detection;
use dyn_perceiver::file::atomic_write;
use dyn_perceiver::preprocess::{Preprocess, Preprocessor};
use image::{ImageFormat, Rgb, RgbImage};

use super::failure::Failure;

/// Colours of classes, in turn (Okabe and Ito's, told apart by everybody).
const COLOURS: [[u8; 3]; 7] =
    [[230, 159, 0], [86, 180, 233], [0, 158, 115], [240, 228, 66], [0, 114, 178], [213, 94, 0], [204, 121, 167]];
/// Pixels of a box's line per pixel of the picture's shorter side.
const LINE: u32 = 200;

/// Writes the frame with its boxes as a PNG file.
pub(crate) fn boxes(frame: &Frame, found: &[Detection], path: &Path) -> Result<(), Failure> {
    let mut picture = picture(frame)?;
    let line = (frame.width.min(frame.height) / LINE).max(1);
    for found in found {
        outline(&mut picture, found, line);
    }
    let mut bytes = Cursor::new(Vec::new());
    picture.write_to(&mut bytes, ImageFormat::Png).map_err(|error| Failure::Failed(error.into()))?;
    atomic_write(path, &bytes.into_inner())?;
    Ok(())
}

/// The frame as red, green and blue.
fn picture(frame: &Frame) -> Result<RgbImage, Failure> {
    let (width, height) = (frame.width, frame.height);
    let mut planes = vec![0.0; 3 * width as usize * height as usize];
    let mut preprocessor = Preprocessor::new(Preprocess::new(width, height)).map_err(|e| Failure::Failed(e.into()))?;
    preprocessor.run(frame, &mut planes).map_err(|error| Failure::Failed(error.into()))?;
    let pixels = width as usize * height as usize;
    Ok(RgbImage::from_fn(width, height, |x, y| {
        let at = y as usize * width as usize + x as usize;
        Rgb([0, 1, 2].map(|plane| (255.0 * planes[plane * pixels + at]).round() as u8))
    }))
}

fn outline(picture: &mut RgbImage, found: &Detection, line: u32) {
    let (width, height) = picture.dimensions();
    let [x1, y1, x2, y2] = found.area.corners().map(|corner| corner.round() as u32);
    let (x2, y2) = (x2.min(width), y2.min(height));
    let colour = Rgb(COLOURS[found.class % COLOURS.len()]);
    for y in y1.min(height)..y2 {
        for x in x1.min(width)..x2 {
            let edge = x < x1 + line || x + line >= x2 || y < y1 + line || y + line >= y2;
            if edge {
                picture.put_pixel(x, y, colour);
            }
        }
    }
}
