//! Checkpoints as `torch.save` writes them since PyTorch 1.6: a zip file with a pickle and one file per storage.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use zip::ZipArchive;
use zip::result::ZipError;

use super::Weights;
use super::pickle::{Object, Pickle, Refusal, Tensor};
use crate::Error;

/// Where the state dict may be, best first: averaged weights are the ones to evaluate.
const WRAPPERS: [&str; 3] = ["model_ema", "model", "state_dict"];
/// Put before every key by PyTorch's data-parallel wrappers.
const PARALLEL_PREFIX: &str = "module.";
/// No pickle of a state dict is longer: it holds names and shapes, not numbers.
const LONGEST_PICKLE: u64 = 256 << 20;

/// A `.pth` file; storages are read from it when they are asked for.
pub struct PyTorch {
    path: PathBuf,
    archive: ZipArchive<BufReader<File>>,
    /// Folder inside the archive.
    root: String,
    tensors: BTreeMap<String, Tensor>,
    shapes: BTreeMap<String, Vec<usize>>,
    /// The storage read last, for tensors that share one.
    last: Option<(String, Vec<u8>)>,
}

impl std::fmt::Debug for PyTorch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PyTorch")
            .field("path", &self.path)
            .field("tensors", &self.tensors.len())
            .finish_non_exhaustive()
    }
}

impl PyTorch {
    /// Opens the file and finds the state dict in it: under `model_ema`, `model` or `state_dict`, or the whole of it.
    /// The pickle is read as data; nothing in it is executed.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Malformed`] for a damaged file or one without tensors; [`Error::Forbidden`] for a pickle
    /// that names anything a checkpoint has no use for.
    pub fn open(path: &Path) -> Result<PyTorch, Error> {
        let file = File::open(path).map_err(Error::io(path))?;
        let mut archive = ZipArchive::new(BufReader::new(file)).map_err(|e| damaged(path, "zip directory", e))?;
        let mut names = archive.file_names().filter_map(Result::ok);
        let pickle_name = names.find(|name| name.ends_with("/data.pkl") || name == "data.pkl").map(String::from);
        drop(names);
        let pickle_name =
            pickle_name.ok_or_else(|| Error::malformed(path, "zip directory", "there is no data.pkl in it"))?;
        let root = pickle_name.trim_end_matches("data.pkl").to_owned();
        let order = entry(&mut archive, path, &format!("{root}byteorder"), 16);
        if order.is_ok_and(|order| order != b"little") {
            return Err(Error::malformed(path, "byteorder", "expected little-endian numbers"));
        }
        let bytes = entry(&mut archive, path, &pickle_name, LONGEST_PICKLE)?;
        let pickle = Pickle::parse(&bytes).map_err(|refusal| match refusal {
            Refusal::Forbidden(symbol) => Error::Forbidden { path: path.to_owned(), symbol },
            Refusal::Malformed(at, reason) => Error::malformed(path, format!("{pickle_name}, byte {at}"), reason),
        })?;
        let tensors = state_dict(&pickle);
        if tensors.is_empty() {
            return Err(Error::malformed(path, pickle_name, "there is no state dict in it"));
        }
        let shapes = tensors.iter().map(|(key, tensor)| (key.clone(), tensor.shape.clone())).collect();
        Ok(PyTorch { path: path.to_owned(), archive, root, tensors, shapes, last: None })
    }

    fn load(&mut self, key: &str) -> Result<Vec<f32>, Error> {
        let tensor = self.tensors.get(key).ok_or_else(|| Error::malformed(&self.path, key, "no such tensor"))?;
        let size = tensor.storage.element.size();
        let name = format!("{}data/{}", self.root, tensor.storage.key);
        if self.last.as_ref().is_none_or(|(last, _)| *last != name) {
            let expected = (tensor.storage.count * size) as u64;
            let bytes = entry(&mut self.archive, &self.path, &name, expected)?;
            if bytes.len() as u64 != expected {
                let reason = format!("expected {expected} bytes, found {}", bytes.len());
                return Err(Error::malformed(&self.path, name, reason));
            }
            self.last = Some((name, bytes));
        }
        let bytes = self.last.as_ref().map_or(&[][..], |(_, bytes)| bytes);
        Ok(gather(tensor, bytes))
    }
}

impl Weights for PyTorch {
    fn shapes(&self) -> Option<&BTreeMap<String, Vec<usize>>> {
        Some(&self.shapes)
    }

    fn read(&mut self, key: &str, _: &[usize]) -> Result<Vec<f32>, Error> {
        self.load(key)
    }
}

/// The tensors of the state dict, under their plain keys.
fn state_dict(pickle: &Pickle) -> BTreeMap<String, Tensor> {
    let wrapped = WRAPPERS.iter().filter_map(|key| pickle.entry(pickle.root(), key));
    let dict = wrapped.chain([pickle.root()]).find(|dict| pickle.tensors(dict).next().is_some());
    let dict = dict.unwrap_or(&Object::Inert);
    let parallel = pickle.tensors(dict).all(|(key, _)| key.starts_with(PARALLEL_PREFIX));
    let plain = |key: &str| if parallel { key[PARALLEL_PREFIX.len()..].to_owned() } else { key.to_owned() };
    pickle.tensors(dict).map(|(key, tensor)| (plain(key), tensor.clone())).collect()
}

/// The elements of a tensor in row-major order; [`Pickle`] made sure that they are in the storage.
fn gather(tensor: &Tensor, bytes: &[u8]) -> Vec<f32> {
    let size = tensor.storage.element.size();
    let count: usize = tensor.shape.iter().product();
    let mut expected = 1;
    let contiguous = tensor.shape.iter().zip(&tensor.strides).rev().all(|(&length, &stride)| {
        let fits = length == 1 || stride == expected;
        expected *= length;
        fits
    });
    if contiguous || count == 0 {
        let start = tensor.offset * size;
        return tensor.storage.element.widen(bytes.get(start..start + count * size).unwrap_or(&[]));
    }
    let all = tensor.storage.element.widen(bytes);
    let mut index = vec![0; tensor.shape.len()];
    let mut values = Vec::with_capacity(count);
    for _ in 0..count {
        let at: usize = index.iter().zip(&tensor.strides).map(|(i, stride)| i * stride).sum();
        values.push(all[tensor.offset + at]);
        for (i, &length) in index.iter_mut().zip(&tensor.shape).rev() {
            *i += 1;
            if *i < length {
                break;
            }
            *i = 0;
        }
    }
    values
}

/// Reads a file of the archive, checking its length against `limit` and its contents against the archive's CRC.
fn entry(archive: &mut ZipArchive<BufReader<File>>, path: &Path, name: &str, limit: u64) -> Result<Vec<u8>, Error> {
    let file = archive.by_name(name).map_err(|e| damaged(path, name, e))?;
    if file.size() > limit {
        return Err(Error::malformed(path, name, format!("expected at most {limit} bytes, found {}", file.size())));
    }
    let mut bytes = Vec::with_capacity(file.size() as usize);
    file.take(limit + 1).read_to_end(&mut bytes).map_err(|e| Error::malformed(path, name, e.to_string()))?;
    Ok(bytes)
}

fn damaged(path: &Path, place: &str, error: ZipError) -> Error {
    Error::malformed(path, place, error.to_string())
}
