//! Checkpoints in the safetensors format.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use safetensors::tensor::{Dtype, Metadata, SafeTensors};

use super::{Weights, element::Element};
use crate::Error;

/// A `.safetensors` file, held in memory as it is; tensors are widened one at a time.
#[derive(Debug)]
pub struct Safetensors {
    path: PathBuf,
    bytes: Vec<u8>,
    /// Where the tensors' bytes begin.
    start: usize,
    directory: Metadata,
    shapes: BTreeMap<String, Vec<usize>>,
}

impl Safetensors {
    /// Reads the file.
    ///
    /// # Errors
    /// [`Error::Io`], or [`Error::Malformed`] for a damaged file.
    pub fn open(path: &Path) -> Result<Safetensors, Error> {
        let bytes = std::fs::read(path).map_err(Error::io(path))?;
        let damaged = |e: safetensors::SafeTensorError| Error::malformed(path, "header", e.to_string());
        let (header, directory) = SafeTensors::read_metadata(&bytes).map_err(damaged)?;
        let shapes = directory.tensors().into_iter().map(|(key, info)| (key, info.shape.clone())).collect();
        // The header stands after its own length in 8 bytes.
        Ok(Safetensors { path: path.to_owned(), start: header + 8, bytes, directory, shapes })
    }
}

impl Weights for Safetensors {
    fn shapes(&self) -> Option<&BTreeMap<String, Vec<usize>>> {
        Some(&self.shapes)
    }

    fn read(&mut self, key: &str, _: &[usize]) -> Result<Vec<f32>, Error> {
        let malformed = |reason: String| Error::malformed(&self.path, key, reason);
        let info = self.directory.info(key).ok_or_else(|| malformed("no such tensor".to_owned()))?;
        let element = match info.dtype {
            Dtype::F64 => Element::F64,
            Dtype::F32 => Element::F32,
            Dtype::F16 => Element::F16,
            Dtype::BF16 => Element::Bf16,
            Dtype::I64 => Element::I64,
            Dtype::I32 => Element::I32,
            other => return Err(malformed(format!("elements of type {other:?} are no weights"))),
        };
        let (from, to) = info.data_offsets;
        let bytes = self.bytes.get(self.start + from..self.start + to);
        let bytes = bytes.ok_or_else(|| malformed(format!("bytes {from} to {to} are beyond the end of the file")))?;
        Ok(element.widen(bytes))
    }
}
