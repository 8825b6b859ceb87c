//! From a frame to a model's input tensor, in a buffer that keeps its memory.

use crate::frame::Frame;
use crate::model::InputSpec;
use crate::preprocess::{PreprocessError, Preprocessor};

/// Preprocessing into the network's input tensor.
#[derive(Debug)]
pub(crate) struct Preparation {
    preprocessor: Preprocessor,
    /// `3 x height x width` floats.
    planes: Vec<f32>,
    /// Floats of the network's input.
    len: usize,
}

impl Preparation {
    pub(crate) fn new(input: &InputSpec) -> Result<Self, PreprocessError> {
        let preprocessor = Preprocessor::new(input.preprocess())?;
        let planes = vec![0.0; preprocessor.preprocess().len()];
        Ok(Self { preprocessor, planes, len: input.len() })
    }

    /// Writes the frame as the network's input into `tensor`, which keeps its memory from frame to frame.
    pub(crate) fn run(&mut self, frame: &Frame, tensor: &mut Vec<f32>) -> Result<(), PreprocessError> {
        self.preprocessor.run(frame, &mut self.planes)?;
        tensor.resize(self.len, 0.0);
        // A grey model takes the first of three planes, luminance repeated.
        let used = self.len.min(self.planes.len());
        tensor[..used].copy_from_slice(&self.planes[..used]);
        Ok(())
    }
}
