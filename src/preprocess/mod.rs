//! Preprocessing: from a [`Frame`](crate::frame::Frame) to the network's input tensor, `3 x height x width` in NCHW order.
//!
//! A [`Preprocessor`] decodes MJPEG, converts the pixel format, crops, resizes with antialiasing and normalises in one pass
//! over the rows of a frame. [`Preprocessing`] is what a model file says about its input, [`Preprocess`] all parameters.

mod error;
mod jpeg;
mod parameters;
mod pixels;
mod preprocessor;
mod resample;

pub use error::PreprocessError;
#[cfg(feature = "camera")]
pub(crate) use jpeg::{JpegDecoder, JpegError};
pub use parameters::{Crop, Preprocess, Preprocessing};
pub use preprocessor::Preprocessor;
pub use resample::Interpolation;
