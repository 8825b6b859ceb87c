//! From a frame to a model's input tensor, in a buffer that keeps its memory.

#[cfg(feature = "camera")]
use dyn_perceiver_core::gate::Luma;

use crate::frame::Frame;
use crate::model::InputSpec;
use crate::preprocess::{Preprocess, PreprocessError, Preprocessor};

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
        Self::with(input.preprocess(), input)
    }

    /// With other parameters than the model's own, as a detector has them.
    pub(crate) fn with(preprocess: Preprocess, input: &InputSpec) -> Result<Self, PreprocessError> {
        let preprocessor = Preprocessor::new(preprocess)?;
        let planes = vec![0.0; preprocessor.preprocess().len()];
        Ok(Self { preprocessor, planes, len: input.len() })
    }

    /// Width and height of the frame that was written last, in pixels.
    #[cfg(feature = "camera")]
    pub(crate) fn frame_size(&self) -> [u32; 2] {
        self.preprocessor.frame_size()
    }

    /// Writes the frame as the network's input into `tensor`, which keeps its memory from frame to frame.
    pub(crate) fn run(&mut self, frame: &Frame, tensor: &mut Vec<f32>) -> Result<(), PreprocessError> {
        self.preprocessor.run(frame, &mut self.planes)?;
        self.hand_out(tensor);
        Ok(())
    }

    /// The same if the frame is `wanted` by its luminance, as [`Preprocessor::run_if`] has it.
    #[cfg(feature = "camera")]
    pub(crate) fn run_if(
        &mut self,
        frame: &Frame,
        tensor: &mut Vec<f32>,
        wanted: impl FnOnce(Option<Luma<'_>>) -> bool,
    ) -> Result<bool, PreprocessError> {
        let wanted = self.preprocessor.run_if(frame, &mut self.planes, wanted)?;
        if wanted {
            self.hand_out(tensor);
        }
        Ok(wanted)
    }

    fn hand_out(&self, tensor: &mut Vec<f32>) {
        tensor.resize(self.len, 0.0);
        // A grey model takes the first of three planes, luminance repeated.
        let used = self.len.min(self.planes.len());
        tensor[..used].copy_from_slice(&self.planes[..used]);
    }
}
