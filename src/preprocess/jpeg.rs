//! JPEG decoding, of files and of MJPEG frames.

use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

use super::PreprocessError;
use crate::frame::{Frame, PixelFormat};

/// Decodes an MJPEG frame into `decoded`, grey or RGB, whose buffer is reused.
pub(crate) fn decode_jpeg(frame: &Frame, decoded: &mut Frame) -> Result<(), PreprocessError> {
    let wrong = |reason: String| PreprocessError::Jpeg { sequence: frame.sequence, bytes: frame.pixels.len(), reason };
    let options =
        DecoderOptions::default().jpeg_set_out_colorspace(ColorSpace::RGB).set_max_width(16384).set_max_height(16384);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(&frame.pixels), options);
    decoder.decode_headers().map_err(|error| wrong(error.to_string()))?;
    let info = decoder.info().ok_or_else(|| wrong("no size in its header".into()))?;
    if decoder.input_colorspace() == Some(ColorSpace::Luma) {
        decoder.set_options(options.jpeg_set_out_colorspace(ColorSpace::Luma));
        decoded.format = PixelFormat::Grey;
    } else {
        decoded.format = PixelFormat::Rgb;
    }
    (decoded.width, decoded.height) = (info.width.into(), info.height.into());
    let bytes = decoded.format.frame_bytes(decoded.width, decoded.height).unwrap_or(0);
    decoded.pixels.resize(bytes, 0);
    decoder.decode_into(&mut decoded.pixels).map_err(|error| wrong(error.to_string()))?;
    decoded.check()
}
