//! Weights in files beside the model, which exporters write when they are large.

use std::collections::HashMap;
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Component, Path, PathBuf};

use tract_onnx::pb::tensor_proto::DataLocation;
use tract_onnx::pb::{GraphProto, TensorProto};

use super::super::fact::Check;
use super::super::guard::LoadLimits;

/// Reads every tensor that lies in another file. Such files have to be in the model's folder or below it.
///
/// # Errors
/// A file that is missing, too short, too large, or outside the folder.
pub(in super::super) fn read(graph: &mut GraphProto, model: &Path, limits: &LoadLimits) -> Check<()> {
    let folder = match model.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_path_buf(),
        _ => PathBuf::from("."),
    };
    let mut reader = Reader { folder, limits, files: HashMap::new(), left: limits.file_bytes };
    super::edit::every_graph(graph, &mut |graph: &mut GraphProto| {
        let attributes = graph.node.iter_mut().flat_map(|node| &mut node.attribute).filter_map(|a| a.t.as_mut());
        graph.initializer.iter_mut().chain(attributes).try_for_each(|tensor| reader.fill(tensor))
    })
}

struct Reader<'a> {
    folder: PathBuf,
    limits: &'a LoadLimits,
    files: HashMap<String, (File, u64)>,
    /// Bytes that may still be read: tensors that share a place are read more than once.
    left: u64,
}

impl Reader<'_> {
    fn fill(&mut self, tensor: &mut TensorProto) -> Check<()> {
        if tensor.data_location != Some(DataLocation::External as i32) {
            return Ok(());
        }
        let name = tensor.name.clone();
        let refuse = |reason: String| format!("weight {name:?}: {reason}");
        let entry = |key: &str| tensor.external_data.iter().find(|e| e.key == key).map(|e| e.value.as_str());
        let location = entry("location").ok_or_else(|| refuse("the file it lies in is not named".into()))?.to_string();
        let number = |key: &str| match entry(key).filter(|text| !text.is_empty()) {
            Some(text) => text.parse::<u64>().map(Some).map_err(|_| refuse(format!("{key} is {text:?}"))),
            None => Ok(None),
        };
        let (offset, length) = (number("offset")?.unwrap_or(0), number("length")?);
        let size = self.open(&location).map_err(&refuse)?.1;
        let length = length.unwrap_or(size.saturating_sub(offset));
        if offset.checked_add(length).is_none_or(|end| end > size) {
            return Err(refuse(format!(
                "{length} bytes at {offset} of {location:?}, which has {size}: the file is cut short or another model's"
            )));
        }
        self.left = self.left.checked_sub(length).ok_or_else(|| refuse("the weights are too large".into()))?;
        let mut data = vec![0; usize::try_from(length).map_err(|_| refuse("it is too large".into()))?];
        let file = &mut self.open(&location).map_err(&refuse)?.0;
        let read = file.seek(SeekFrom::Start(offset)).and_then(|_| file.read_exact(&mut data));
        read.map_err(|error| refuse(format!("{location:?} cannot be read: {error}")))?;
        tensor.raw_data = data;
        tensor.data_location = None;
        tensor.external_data.clear();
        Ok(())
    }

    fn open(&mut self, location: &str) -> Check<&mut (File, u64)> {
        let relative = Path::new(location);
        let inside = relative.components().all(|c| matches!(c, Component::Normal(_) | Component::CurDir));
        if !inside || location.is_empty() {
            return Err(format!("its file {location:?} lies outside the model's folder, which is refused"));
        }
        if !self.files.contains_key(location) {
            let path = self.folder.join(relative);
            let missing = |error: std::io::Error| {
                format!("its data lie in {:?}, which cannot be opened: {error}: copy it beside the model", path)
            };
            let real = path.canonicalize().map_err(missing)?;
            let folder = self.folder.canonicalize().map_err(missing)?;
            if !real.starts_with(&folder) {
                return Err(format!("its file {location:?} lies outside the model's folder, which is refused"));
            }
            let file = File::open(&real).map_err(missing)?;
            let metadata = file.metadata().map_err(missing)?;
            if !metadata.is_file() || metadata.len() > self.limits.file_bytes {
                return Err(format!("{location:?} is no file of at most {} bytes", self.limits.file_bytes));
            }
            self.files.insert(location.to_string(), (file, metadata.len()));
        }
        self.files.get_mut(location).ok_or_else(|| "it cannot be opened".into())
    }
}
