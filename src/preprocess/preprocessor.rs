//! From a frame to the network's input: cut out, resized and normalised in one pass over the pixels.

use dyn_perceiver_core::gate::Luma;

use super::jpeg::JpegDecoder;
use super::pixels::{planes, read_row};
use super::resample::Weights;
use super::{Crop, Preprocess, PreprocessError};
use crate::frame::{Frame, PixelFormat};

/// Applies a [`Preprocess`] to frames.
///
/// Each output value is `(x / 255 - mean) / std` of a resampled pixel, and resampling is a weighted sum. So every input
/// row is resampled once along x and added with its weight along y to the output rows it belongs to: one pass, no picture
/// in between, nothing rounded to bytes. Buffers are kept from frame to frame and grow only when frames change in size.
///
/// ```
/// use dyn_perceiver::frame::{Frame, PixelFormat};
/// use dyn_perceiver::preprocess::{Preprocess, Preprocessor};
///
/// let mut preprocessor = Preprocessor::new(Preprocess::new(32, 24).with_normalisation([0.5; 3], [0.25; 3]))?;
/// let frame = Frame::new(vec![255; 64 * 48], PixelFormat::Grey, 64, 48);
/// let mut tensor = vec![0.0; 3 * 24 * 32];
/// preprocessor.run(&frame, &mut tensor)?;
/// assert!(tensor.iter().all(|value| (value - 2.0).abs() < 1e-5));
/// # Ok::<(), dyn_perceiver::preprocess::PreprocessError>(())
/// ```
#[derive(Debug)]
pub struct Preprocessor {
    preprocess: Preprocess,
    layout: Layout,
    /// A row of the frame, as planes.
    row: Vec<f32>,
    /// The row resampled along x, as planes.
    line: Vec<f32>,
    /// For MJPEG frames, and the last one decoded.
    jpeg: JpegDecoder,
    decoded: Frame,
}

/// Where the pixels of a frame of one size come from and go to.
#[derive(Debug, Default)]
struct Layout {
    /// Size of the frames it is for.
    frame: (u32, u32),
    columns: Weights,
    rows: Weights,
    /// First output column and row that is written; the others are padding.
    offset: (usize, usize),
}

impl Preprocessor {
    /// Prepares to apply `preprocess`.
    ///
    /// # Errors
    /// [`PreprocessError::Parameter`] when a parameter describes no picture.
    pub fn new(preprocess: Preprocess) -> Result<Self, PreprocessError> {
        preprocess.check()?;
        Ok(Self {
            preprocess,
            layout: Layout::default(),
            row: Vec::new(),
            line: Vec::new(),
            jpeg: JpegDecoder::default(),
            decoded: Frame::default(),
        })
    }

    /// The parameters applied.
    #[must_use]
    pub fn preprocess(&self) -> &Preprocess {
        &self.preprocess
    }

    /// Width and height of the frame that was written last, in pixels: of a compressed one as its file says.
    #[must_use]
    pub fn frame_size(&self) -> [u32; 2] {
        self.layout.frame.into()
    }

    /// Writes `frame` as `3 x height x width` floats (planes of red, green, blue) into `out`. A grey frame gives three
    /// planes of the same pixels.
    ///
    /// # Errors
    /// [`PreprocessError`] when `out` has another length, the frame contradicts itself, its JPEG is damaged, or the region to
    /// be cut out does not lie inside it.
    pub fn run(&mut self, frame: &Frame, out: &mut [f32]) -> Result<(), PreprocessError> {
        let expected = self.preprocess.len();
        if out.len() != expected {
            return Err(PreprocessError::OutputSize { expected, actual: out.len() });
        }
        frame.check()?;
        if frame.format != PixelFormat::Mjpeg {
            return self.resample(frame, out);
        }
        let mut decoded = std::mem::take(&mut self.decoded);
        let result = self.jpeg.decode_frame(frame, &mut decoded).and_then(|()| self.resample(&decoded, out));
        self.decoded = decoded;
        result
    }

    /// The same if the frame is `wanted`, as its luminance decides: where a camera's own format has it, or for MJPEG an
    /// eighth of the picture in each direction, off the file's DC coefficients. Returns whether it was; `out` is left as it
    /// is otherwise. A frame that is damaged is refused in any case.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub fn run_if(
        &mut self,
        frame: &Frame,
        out: &mut [f32],
        wanted: impl FnOnce(Option<Luma<'_>>) -> bool,
    ) -> Result<bool, PreprocessError> {
        frame.check()?;
        if frame.format != PixelFormat::Mjpeg {
            return if wanted(frame.luma()) { self.run(frame, out).map(|()| true) } else { Ok(false) };
        }
        let mut decoded = std::mem::take(&mut self.decoded);
        let result = self.jpeg.decode_frame_if(frame, &mut decoded, wanted);
        let result = result.and_then(|wanted| if wanted { self.run(&decoded, out).map(|()| true) } else { Ok(false) });
        self.decoded = decoded;
        result
    }

    fn resample(&mut self, frame: &Frame, out: &mut [f32]) -> Result<(), PreprocessError> {
        if self.layout.frame != (frame.width, frame.height) {
            self.layout = layout(&self.preprocess, frame)?;
        }
        let Layout { columns, rows, offset, .. } = &self.layout;
        let (width, height) = (self.preprocess.width as usize, self.preprocess.height as usize);
        let planes = planes(frame.format);
        let used = columns.inputs();
        self.row.resize(planes * used.len(), 0.0);
        self.line.resize(planes * columns.len(), 0.0);

        let gain = self.preprocess.std.map(|std| 1.0 / (255.0 * std));
        let bias: [f32; 3] = std::array::from_fn(|c| -self.preprocess.mean[c] / self.preprocess.std[c]);
        out.fill(0.0);
        for (plane, bias) in out.chunks_exact_mut(width * height).zip(bias) {
            for row in plane.chunks_exact_mut(width).skip(offset.1).take(rows.len()) {
                row[offset.0..offset.0 + columns.len()].fill(bias);
            }
        }

        let mut first = 0;
        for y in rows.inputs() {
            read_row(frame, y, used.start, &mut self.row);
            for (row, line) in self.row.chunks_exact(used.len()).zip(self.line.chunks_exact_mut(columns.len())) {
                for (value, (start, weights)) in line.iter_mut().zip(columns.iter()) {
                    let pixels = &row[start - used.start..][..weights.len()];
                    *value = pixels.iter().zip(weights).map(|(pixel, weight)| pixel * weight).sum();
                }
            }
            // Windows only move forward: output rows before `first` are complete.
            while first < rows.len() && rows.window(first).0 + rows.window(first).1.len() <= y {
                first += 1;
            }
            for output_row in first..rows.len() {
                let (start, weights) = rows.window(output_row);
                if start > y {
                    break;
                }
                let weight = weights[y - start];
                for (c, gain) in gain.into_iter().enumerate() {
                    let line = &self.line[if planes == 1 { 0 } else { c * columns.len() }..][..columns.len()];
                    let begin = (c * height + offset.1 + output_row) * width + offset.0;
                    let factor = weight * gain;
                    out[begin..begin + columns.len()].iter_mut().zip(line).for_each(|(out, x)| *out += factor * x);
                }
            }
        }
        Ok(())
    }
}

/// Which pixels of a frame of this size go where.
fn layout(preprocess: &Preprocess, frame: &Frame) -> Result<Layout, PreprocessError> {
    let (frame_width, frame_height) = (f64::from(frame.width), f64::from(frame.height));
    let (width, height) = (f64::from(preprocess.width), f64::from(preprocess.height));
    let mut output = (preprocess.width as usize, preprocess.height as usize);
    let mut offset = (0, 0);
    let (left, top, cut_width, cut_height) = match preprocess.crop {
        Crop::Stretch => (0.0, 0.0, frame_width, frame_height),
        Crop::Centre(fraction) => {
            let scale = (frame_width / width).min(frame_height / height) * f64::from(fraction);
            let (cut_width, cut_height) = (width * scale, height * scale);
            ((frame_width - cut_width) / 2.0, (frame_height - cut_height) / 2.0, cut_width, cut_height)
        }
        Crop::Letterbox => {
            let scale = (frame_width / width).max(frame_height / height);
            let side = |length: f64, most: usize| ((length / scale).round() as usize).clamp(1, most);
            let inner = (side(frame_width, output.0), side(frame_height, output.1));
            offset = ((output.0 - inner.0) / 2, (output.1 - inner.1) / 2);
            output = inner;
            (0.0, 0.0, frame_width, frame_height)
        }
        Crop::Region { left, top, width, height } => {
            let fits =
                |from: u32, length: u32, all: u32| length > 0 && from.checked_add(length).is_some_and(|end| end <= all);
            if !fits(left, width, frame.width) || !fits(top, height, frame.height) {
                let region = format!("{width}x{height}+{left}+{top}");
                return Err(PreprocessError::Region { region, width: frame.width, height: frame.height });
            }
            (left.into(), top.into(), width.into(), height.into())
        }
    };
    let interpolation = preprocess.interpolation;
    Ok(Layout {
        frame: (frame.width, frame.height),
        columns: Weights::new(frame.width as usize, left, cut_width, output.0, interpolation),
        rows: Weights::new(frame.height as usize, top, cut_height, output.1, interpolation),
        offset,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::preprocess::Interpolation;

    fn plain(width: u32, height: u32, crop: Crop) -> Preprocess {
        // With this mean and deviation the output is the pixel value itself.
        let interpolation = Interpolation::Bilinear;
        Preprocess { width, height, mean: [0.0; 3], std: [1.0 / 255.0; 3], crop, interpolation }
    }

    fn run(preprocess: Preprocess, frame: &Frame) -> Vec<f32> {
        let mut out = vec![f32::NAN; preprocess.len()];
        Preprocessor::new(preprocess).unwrap().run(frame, &mut out).unwrap();
        out
    }

    /// A grey frame whose pixels are their own number.
    fn counting(width: u32, height: u32) -> Frame {
        let pixels = (0..width * height).map(|i| i as u8).collect();
        Frame { pixels, width, height, ..Frame::default() }
    }

    fn close(found: &[f32], expected: &[f32]) {
        assert_eq!(found.len(), expected.len());
        for (found, expected) in found.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-3, "{found} for {expected}");
        }
    }

    #[test]
    fn a_frame_of_the_right_size_passes_unchanged() {
        let frame = counting(4, 3);
        let expected: Vec<f32> = frame.pixels.iter().map(|&x| x.into()).collect();
        close(&run(plain(4, 3, Crop::Stretch), &frame), &expected.repeat(3));
    }

    #[test]
    fn a_region_or_the_centre_is_cut_out() {
        let frame = counting(6, 4);
        let expected = [8.0, 9.0, 14.0, 15.0].repeat(3);
        close(&run(plain(2, 2, Crop::Region { left: 2, top: 1, width: 2, height: 2 }), &frame), &expected);
        close(&run(plain(2, 2, Crop::Centre(0.5)), &frame), &expected);
    }

    #[test]
    fn a_letterbox_keeps_the_shape_and_pads_with_the_mean() {
        let mut preprocess = plain(4, 4, Crop::Letterbox);
        preprocess.mean = [0.5; 3];
        let frame = Frame { pixels: vec![255; 8], width: 4, height: 2, ..Frame::default() };
        let plane = [[0.0; 4], [127.5; 4], [127.5; 4], [0.0; 4]].concat();
        close(&run(preprocess, &frame), &plane.repeat(3));
    }

    #[test]
    fn one_preprocessor_takes_frames_of_changing_size_and_format() {
        let mut preprocessor = Preprocessor::new(plain(5, 5, Crop::Stretch)).unwrap();
        for (width, height, format) in
            [(8, 6, PixelFormat::Grey), (2, 2, PixelFormat::Rgb), (20, 4, PixelFormat::Yuyv), (8, 6, PixelFormat::Nv12)]
        {
            let bytes = format.frame_bytes(width, height).unwrap();
            let frame = Frame { pixels: vec![128; bytes], format, width, height, ..Frame::default() };
            let mut out = vec![f32::NAN; 75];
            preprocessor.run(&frame, &mut out).unwrap();
            let level =
                if matches!(format, PixelFormat::Grey | PixelFormat::Rgb) { 128.0 } else { 112.0 * 255.0 / 219.0 };
            close(&out, &[level; 75]);
        }
    }

    #[test]
    fn wrong_parameters_buffers_and_frames_are_refused() {
        let error = |preprocess: Preprocess| Preprocessor::new(preprocess).unwrap_err().to_string();
        assert!(error(plain(0, 4, Crop::Stretch)).contains("0x4"));
        assert!(error(plain(4, 4, Crop::Centre(1.5))).contains("1.5"));
        assert!(error(plain(4, 4, Crop::Centre(f32::NAN))).contains("NaN"));
        assert!(error(Preprocess { std: [1.0, 0.0, 1.0], ..plain(4, 4, Crop::Stretch) }).contains("0.0"));
        assert!(error(Preprocess { mean: [f32::NAN; 3], ..plain(4, 4, Crop::Stretch) }).contains("NaN"));

        let frame = counting(6, 4);
        let mut out = vec![0.0; 12];
        let mut small = Preprocessor::new(plain(2, 2, Crop::Stretch)).unwrap();
        let message = small.run(&frame, &mut out[..11]).unwrap_err().to_string();
        assert!(message.contains("11 floats, 12 expected"), "{message}");
        let short = Frame { pixels: vec![0; 23], ..frame.clone() };
        assert!(small.run(&short, &mut out).unwrap_err().to_string().contains("24 bytes expected"));
        for (left, width) in [(5, 2), (0, 7), (u32::MAX, 2), (2, 0)] {
            let crop = Crop::Region { left, top: 0, width, height: 1 };
            let mut outside = Preprocessor::new(plain(2, 2, crop)).unwrap();
            assert!(outside.run(&frame, &mut out).unwrap_err().to_string().contains("6x4 pixels"));
        }
    }

    #[test]
    fn a_damaged_jpeg_is_an_error_and_the_next_frame_is_fine() {
        let mut preprocessor = Preprocessor::new(plain(2, 2, Crop::Stretch)).unwrap();
        let mut out = vec![0.0; 12];
        let jpeg = |pixels: Vec<u8>| Frame { pixels, format: PixelFormat::Mjpeg, ..counting(6, 4) };
        for bytes in [vec![], b"no jpeg".to_vec(), vec![0xff, 0xd8, 0xff, 0xe0, 0, 16]] {
            let message = preprocessor.run(&jpeg(bytes), &mut out).unwrap_err().to_string();
            assert!(message.contains("could not be decoded"), "{message}");
        }
        preprocessor.run(&counting(6, 4), &mut out).unwrap();
    }
}
