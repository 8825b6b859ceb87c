//! Checkpoints as `torch.save` writes them, in the zip format and in the one before PyTorch 1.6.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read as _, Seek as _};
use std::path::{Path, PathBuf};

use super::Weights;
use super::archive::Archive;
use super::legacy::Legacy;
use super::pickle::{Object, Pickle, Storage, Tensor};
use super::storages::Storages;
use crate::Error;

/// Where the state dict may be, best first: averaged weights are the ones to evaluate.
const WRAPPERS: [&str; 3] = ["model_ema", "model", "state_dict"];
/// Put before every key by PyTorch's data-parallel wrappers and by `torch.compile`, in any order.
const WRAPPER_PREFIXES: [&str; 2] = ["module.", "_orig_mod."];

/// A `.pth` file; storages are read from it when they are asked for.
pub struct PyTorch {
    path: PathBuf,
    storages: Box<dyn Storages + Send + Sync>,
    tensors: BTreeMap<String, Tensor>,
    shapes: BTreeMap<String, Vec<usize>>,
    /// The storage read last, for tensors that share one.
    last: Option<(Storage, Vec<u8>)>,
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
    /// The pickle is read as data; nothing in it is executed. What lies beside the weights is not looked at.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Malformed`] for a damaged file or one without tensors; [`Error::Forbidden`] for a pickle
    /// that names what no checkpoint has a use for.
    pub fn open(path: &Path) -> Result<PyTorch, Error> {
        let mut file = File::open(path).map_err(Error::io(path))?;
        let mut first = [0];
        let read = file.read(&mut first).and_then(|read| file.rewind().map(|()| read)).map_err(Error::io(path))?;
        let (pickle, storages): (Pickle, Box<dyn Storages + Send + Sync>) = match (read, first) {
            (1, [b'P']) => {
                let (pickle, archive) = Archive::open(path, file)?;
                (pickle, Box::new(archive))
            }
            _ => {
                let (pickle, legacy) = Legacy::open(path, file)?;
                (pickle, Box::new(legacy))
            }
        };
        let tensors = state_dict(&pickle);
        if tensors.is_empty() {
            return Err(Error::malformed(path, "pickle", without_tensors(&pickle)));
        }
        let shapes = tensors.iter().map(|(key, tensor)| (key.clone(), tensor.shape.clone())).collect();
        Ok(PyTorch { path: path.to_owned(), storages, tensors, shapes, last: None })
    }
}

impl Weights for PyTorch {
    fn shapes(&self) -> Option<&BTreeMap<String, Vec<usize>>> {
        Some(&self.shapes)
    }

    fn read(&mut self, key: &str, _: &[usize]) -> Result<Vec<f32>, Error> {
        let tensor = self.tensors.get(key).ok_or_else(|| Error::malformed(&self.path, key, "no such tensor"))?;
        if self.last.as_ref().is_none_or(|(last, _)| last.key != tensor.storage.key) {
            // Dropped before the next one is read, so that there is room for it.
            self.last = None;
            let bytes = self.storages.read(&tensor.storage)?;
            self.last = Some((tensor.storage.clone(), bytes));
        }
        let bytes = self.last.as_ref().map_or(&[][..], |(_, bytes)| bytes);
        gather(tensor, bytes).ok_or_else(|| Error::malformed(&self.path, key, "the tensor is beyond its storage"))
    }
}

/// The tensors of the state dict, under their plain keys.
fn state_dict(pickle: &Pickle) -> BTreeMap<String, Tensor> {
    let wrapped = WRAPPERS.iter().filter_map(|key| pickle.entry(pickle.root(), key));
    let dict = wrapped.chain([pickle.root()]).find(|dict| pickle.tensors(dict).next().is_some());
    let dict = dict.unwrap_or(&Object::Inert);
    let mut tensors: Vec<(&str, &Tensor)> = pickle.tensors(dict).collect();
    while let Some(stripped) = without_prefix(&tensors) {
        tensors = stripped;
    }
    tensors.into_iter().map(|(key, tensor)| (key.to_owned(), tensor.clone())).collect()
}

/// The tensors without the wrapper's prefix that all their keys have; `None` if there is none.
fn without_prefix<'a>(tensors: &[(&'a str, &'a Tensor)]) -> Option<Vec<(&'a str, &'a Tensor)>> {
    let strip = |prefix| tensors.iter().map(|&(key, tensor)| Some((key.strip_prefix(prefix)?, tensor))).collect();
    WRAPPER_PREFIXES.iter().filter(|_| !tensors.is_empty()).find_map(strip)
}

/// Why there is nothing to read: most often a whole model was saved, whose tensors are in objects of its own classes.
fn without_tensors(pickle: &Pickle) -> String {
    let wrapped = WRAPPERS.iter().filter_map(|key| pickle.entry(pickle.root(), key));
    match wrapped.chain([pickle.root()]).find_map(|object| pickle.class(object)) {
        None => "there is no state dict in it".to_owned(),
        Some(class) => {
            let class = class.escape_debug();
            format!(
                "there is no state dict in it but an object of {class}; save model.state_dict() in place of the model"
            )
        }
    }
}

/// The elements of a tensor in row-major order; `None` if they are not in the storage.
fn gather(tensor: &Tensor, bytes: &[u8]) -> Option<Vec<f32>> {
    if tensor.shape.contains(&0) {
        return Some(Vec::new());
    }
    let (element, size) = (tensor.storage.element, tensor.storage.element.size());
    let count = tensor.shape.iter().try_fold(1usize, |count, &length| count.checked_mul(length))?;
    let slice =
        |start: usize, count: usize| bytes.get(start.checked_mul(size)?..start.checked_add(count)?.checked_mul(size)?);
    let mut expected = 1;
    let contiguous = tensor.shape.iter().zip(&tensor.strides).rev().all(|(&length, &stride)| {
        let fits = length == 1 || stride == expected;
        expected *= length;
        fits
    });
    if contiguous {
        return Some(element.widen(slice(tensor.offset, count)?));
    }
    let mut index = vec![0; tensor.shape.len()];
    let mut values = Vec::with_capacity(count.min(bytes.len()));
    for _ in 0..count {
        let at: usize = index.iter().zip(&tensor.strides).map(|(i, stride)| i * stride).sum();
        values.extend(element.widen(slice(tensor.offset + at, 1)?));
        for (i, &length) in index.iter_mut().zip(&tensor.shape).rev() {
            *i += 1;
            if *i < length {
                break;
            }
            *i = 0;
        }
    }
    Some(values)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::weights::element::Element;

    fn tensor(offset: usize, shape: &[usize], strides: &[usize]) -> Tensor {
        let storage = Storage { key: Arc::from("0"), element: Element::U8, count: 6, window: (0, 6) };
        Tensor { storage, offset, shape: shape.to_vec(), strides: strides.to_vec() }
    }

    #[test]
    fn gather_follows_offset_and_strides() {
        let bytes = [0, 1, 2, 3, 4, 5];
        assert_eq!(gather(&tensor(0, &[2, 3], &[3, 1]), &bytes).unwrap(), [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
        assert_eq!(gather(&tensor(0, &[3, 2], &[1, 3]), &bytes).unwrap(), [0.0, 3.0, 1.0, 4.0, 2.0, 5.0]);
        assert_eq!(gather(&tensor(2, &[2], &[2]), &bytes).unwrap(), [2.0, 4.0]);
        assert_eq!(gather(&tensor(5, &[], &[]), &bytes).unwrap(), [5.0]);
    }

    #[test]
    fn prefixes_of_wrappers_are_taken_off_if_every_key_has_them() {
        let tensor = tensor(0, &[1], &[1]);
        let strip = |keys: &[&'static str]| {
            let mut tensors: Vec<_> = keys.iter().map(|&key| (key, &tensor)).collect();
            while let Some(stripped) = without_prefix(&tensors) {
                tensors = stripped;
            }
            tensors.into_iter().map(|(key, _)| key).collect::<Vec<_>>()
        };
        assert_eq!(strip(&["module._orig_mod.a", "module._orig_mod.b"]), ["a", "b"]);
        assert_eq!(strip(&["module.a", "b"]), ["module.a", "b"]);
        assert_eq!(strip(&[]), [""; 0]);
    }

    #[test]
    fn gather_refuses_what_is_beyond_the_storage() {
        assert_eq!(gather(&tensor(0, &[7], &[1]), &[0; 6]), None);
        assert_eq!(gather(&tensor(4, &[2], &[2]), &[0; 6]), None);
        assert_eq!(gather(&tensor(0, &[0, usize::MAX, 4], &[1, 1, 1]), &[]).unwrap(), [0.0; 0]);
    }
}
