//! Where the numbers of a network come from: a checkpoint, or a formula.

mod archive;
mod checkpoint;
mod element;
mod fold;
mod legacy;
mod pickle;
mod pytorch;
mod renamed;
mod safetensors;
mod seeded;
mod storages;

use std::collections::BTreeMap;

use crate::Error;
pub use checkpoint::Checkpoint;
pub(crate) use fold::{Constant, constant};
pub use pytorch::PyTorch;
pub use renamed::Renamed;
pub(crate) use renamed::plain_key;
pub use safetensors::Safetensors;
pub use seeded::{Seeded, seeded_frame, seeded_image};

/// The tensors of a state dict, read one at a time so that a checkpoint need not be in memory as a whole.
pub trait Weights {
    /// Every tensor there is and its shape; `None` if any tensor can be had in any shape.
    fn shapes(&self) -> Option<&BTreeMap<String, Vec<usize>>>;

    /// The tensor of that key in row-major order, widened to float32. `shape` is the one the network expects, which
    /// is also the one in [`Weights::shapes`].
    ///
    /// # Errors
    /// [`Error::Io`] or [`Error::Malformed`] if the file does not hold what its directory promised.
    fn read(&mut self, key: &str, shape: &[usize]) -> Result<Vec<f32>, Error>;
}
