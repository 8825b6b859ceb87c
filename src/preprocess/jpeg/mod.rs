//! JPEG decoding, of files and of MJPEG frames.
//!
//! A decoder fills what is missing of a file that was cut short, and a network then answers about the filling. So every
//! file is walked through first (see [`verify`](verify::verify)): only one that holds every block of its picture is decoded.

mod bits;
mod blocks;
mod error;
mod header;
mod huffman;
mod means;
mod verify;

use dyn_perceiver_core::gate::Luma;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

pub(crate) use self::error::JpegError;
use self::verify::{Verified, Verifier};
use super::PreprocessError;
use crate::frame::{Frame, PixelFormat};

/// Largest picture that is decoded from a camera, in pixels.
const MAX_PIXELS: u64 = 1 << 26;

/// Decodes JPEG files, with buffers that are kept from one to the next.
#[derive(Debug, Default)]
pub(crate) struct JpegDecoder {
    verifier: Verifier,
    /// The file with standard Huffman tables put in, for files that leave them out.
    completed: Vec<u8>,
}

impl JpegDecoder {
    /// Decodes an MJPEG frame into `decoded`, grey or RGB, whose buffer is reused.
    pub(crate) fn decode_frame(&mut self, frame: &Frame, decoded: &mut Frame) -> Result<(), PreprocessError> {
        self.verifier.means.wanted = false;
        self.decode(&frame.pixels, MAX_PIXELS, decoded).map(drop).map_err(|error| refused(frame, &error))
    }

    /// The same if the frame is `wanted` by its luminance, an eighth of its size in each direction. Returns whether it was;
    /// one that is damaged is refused in any case.
    pub(crate) fn decode_frame_if(
        &mut self,
        frame: &Frame,
        decoded: &mut Frame,
        wanted: impl FnOnce(Option<Luma<'_>>) -> bool,
    ) -> Result<bool, PreprocessError> {
        self.verifier.means.wanted = true;
        let found = self.verifier.verify(&frame.pixels, MAX_PIXELS).map_err(|error| refused(frame, &error))?;
        if !wanted(self.verifier.means.luma()) {
            return Ok(false);
        }
        self.decode_whole(&frame.pixels, found, decoded).map(|_| true).map_err(|error| refused(frame, &error))
    }

    /// Decodes a file of at most `max_pixels` pixels into `decoded`, grey or RGB, whose buffer is reused. Returns the Exif
    /// data, where there are any.
    pub(crate) fn decode(
        &mut self,
        file: &[u8],
        max_pixels: u64,
        decoded: &mut Frame,
    ) -> Result<Option<Vec<u8>>, JpegError> {
        let found = self.verifier.verify(file, max_pixels)?;
        self.decode_whole(file, found, decoded)
    }

    /// Decodes a file that has been walked through.
    fn decode_whole(
        &mut self,
        file: &[u8],
        found: Verified,
        decoded: &mut Frame,
    ) -> Result<Option<Vec<u8>>, JpegError> {
        let Verified { width, height, components, end, .. } = found;
        let file = &file[..end];
        let file = if found.lacks_tables {
            self.completed.clear();
            self.completed.extend_from_slice(&file[..2]);
            huffman::write_standard_tables(&mut self.completed);
            self.completed.extend_from_slice(&file[2..]);
            &self.completed
        } else {
            file
        };
        let (colour, format) =
            if components == 1 { (ColorSpace::Luma, PixelFormat::Grey) } else { (ColorSpace::RGB, PixelFormat::Rgb) };
        let options = DecoderOptions::default()
            .jpeg_set_out_colorspace(colour)
            .set_max_width(width as usize)
            .set_max_height(height as usize)
            // What was found whole above is decoded whole or refused, but bytes between segments are no reason to.
            .set_strict_mode(!found.has_gaps);
        let mut decoder = zune_jpeg::JpegDecoder::new_with_options(ZCursor::new(file), options);
        decoder.decode_headers().map_err(|error| JpegError::refused(error.to_string()))?;
        let size = decoder.info().map(|info| (u32::from(info.width), u32::from(info.height)));
        let bytes = format.frame_bytes(width, height).filter(|&bytes| decoder.output_buffer_size() == Some(bytes));
        let (Some(bytes), true) = (bytes, size == Some((width, height))) else {
            return Err(JpegError::refused("its headers contradict each other"));
        };
        (decoded.width, decoded.height, decoded.format) = (width, height, format);
        decoded.pixels.resize(bytes, 0);
        decoder.decode_into(&mut decoded.pixels).map_err(|error| JpegError::refused(error.to_string()))?;
        Ok(decoder.exif().cloned())
    }
}

fn refused(frame: &Frame, error: &JpegError) -> PreprocessError {
    PreprocessError::Jpeg { sequence: frame.sequence, bytes: frame.pixels.len(), reason: error.to_string() }
}
