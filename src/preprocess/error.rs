//! Why a frame could not become a network's input.

use crate::frame::FrameShapeError;

/// Why a frame could not be preprocessed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PreprocessError {
    /// A frame whose size, format and bytes do not agree.
    #[error(transparent)]
    FrameShape(#[from] FrameShapeError),
    /// A compressed frame could not be decoded.
    #[error("frame {sequence}: {bytes} bytes of JPEG could not be decoded: {reason}")]
    Jpeg {
        /// Number of the frame in its stream.
        sequence: u64,
        /// Bytes of the frame.
        bytes: usize,
        /// What the decoder said.
        reason: String,
    },
    /// Preprocessing parameters that describe no picture.
    #[error("preprocessing: {field} is {actual}, {expected} expected")]
    Parameter {
        /// The parameter.
        field: &'static str,
        /// Its value.
        actual: String,
        /// What would be accepted.
        expected: &'static str,
    },
    /// The caller's buffer is not `3 x height x width` long.
    #[error("the buffer for the network's input has {actual} floats, {expected} expected")]
    OutputSize {
        /// Floats the network reads.
        expected: usize,
        /// Floats in the buffer.
        actual: usize,
    },
    /// A region to be cut out that does not lie inside the frame.
    #[error("the region {region} does not lie inside the frame of {width}x{height} pixels")]
    Region {
        /// The region as `WIDTHxHEIGHT+LEFT+TOP`.
        region: String,
        /// The frame's width.
        width: u32,
        /// The frame's height.
        height: u32,
    },
}
