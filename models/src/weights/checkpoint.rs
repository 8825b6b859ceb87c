//! A checkpoint file of either kind, told apart by its first bytes.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

use super::{PyTorch, Safetensors, Weights};
use crate::Error;

/// A checkpoint: `.pth` as PyTorch writes it, or `.safetensors`.
#[derive(Debug)]
#[non_exhaustive]
pub enum Checkpoint {
    /// PyTorch's zip format, or the one before 1.6.
    PyTorch(PyTorch),
    /// The safetensors format.
    Safetensors(Safetensors),
}

impl Checkpoint {
    /// Opens the file and reads its directory.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be read, [`Error::Malformed`] if it is neither kind or damaged, [`Error::Forbidden`] if
    /// its pickle asks for anything but tensors.
    pub fn open(path: &Path) -> Result<Checkpoint, Error> {
        let mut file = std::fs::File::open(path).map_err(Error::io(path))?;
        let mut magic = Vec::new();
        file.by_ref().take(9).read_to_end(&mut magic).map_err(Error::io(path))?;
        match magic.as_slice() {
            [] => Err(Error::malformed(path, "start", "the file is empty")),
            [b'P', b'K', 3, 4, ..] | [0x80, 2..=5, ..] => PyTorch::open(path).map(Checkpoint::PyTorch),
            [_, _, _, _, _, _, _, _, b'{'] => Safetensors::open(path).map(Checkpoint::Safetensors),
            _ => Err(Error::malformed(path, "start", "neither a PyTorch zip file nor safetensors")),
        }
    }
}

impl Weights for Checkpoint {
    fn shapes(&self) -> Option<&BTreeMap<String, Vec<usize>>> {
        match self {
            Checkpoint::PyTorch(weights) => weights.shapes(),
            Checkpoint::Safetensors(weights) => weights.shapes(),
        }
    }

    fn read(&mut self, key: &str, shape: &[usize]) -> Result<Vec<f32>, Error> {
        match self {
            Checkpoint::PyTorch(weights) => weights.read(key, shape),
            Checkpoint::Safetensors(weights) => weights.read(key, shape),
        }
    }
}
