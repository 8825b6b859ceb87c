//! An ONNX file as a multi-exit graph: its exits, its input, its labels and its preprocessing.
//!
//! [`Model::load`] accepts a file whole or refuses it with a [`ModelError`] that names the file and what is wrong.
//! A model is the input of [`crate::plan::Plan`], which makes it runnable.

mod error;
mod exits;
mod metadata;
mod onnx;

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tract_core::prelude::TypedModel;

use crate::exit::ModelDigest;
use crate::preprocess::Preprocess;
pub use crate::preprocess::Preprocessing;
pub use error::ModelError;
use onnx::OnnxError;

/// A multi-exit image classifier, loaded and checked, not yet partitioned.
pub struct Model {
    pub(crate) graph: TypedModel,
    pub(crate) info: ModelInfo,
}

/// What is known of a model without running it.
#[derive(Clone, Debug)]
pub struct ModelInfo {
    /// Where the model came from.
    pub path: PathBuf,
    /// SHA-256 of the ONNX file, also where it was loaded from a bundle: what policies and records are tied to.
    pub digest: ModelDigest,
    /// Bytes of the file.
    pub file_bytes: u64,
    /// The input image.
    pub input: InputSpec,
    /// Number of classes; the same at every exit.
    pub classes: usize,
    /// Exit names. [`Model::info`] has them as the file lists them, [`crate::plan::Plan::info`] in order of cost.
    pub exits: Vec<String>,
    /// One name per class, when the file has them.
    pub labels: Option<Vec<String>>,
}

/// Shape of the input tensor, and how an image becomes one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InputSpec {
    /// Name of the input in the file.
    pub name: String,
    /// Images per run.
    pub batch: usize,
    /// 1 (grey) or 3 (red, green, blue).
    pub channels: usize,
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
    /// How an image becomes this tensor.
    pub preprocessing: Preprocessing,
}

impl InputSpec {
    /// How a frame becomes this tensor's pixels.
    pub fn preprocess(&self) -> Preprocess {
        self.preprocessing.for_input(self.width as u32, self.height as u32)
    }

    /// Number of floats in the input tensor, N x C x H x W.
    pub fn len(&self) -> usize {
        self.batch * self.channels * self.height * self.width
    }

    /// Never: every dimension is at least 1.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// What [`Model::load_with`] may be told.
#[derive(Clone, Debug)]
pub struct LoadOptions {
    /// Exits by output name. Without it, those that the file's metadata lists; without that, every output of shape
    /// (N, classes).
    pub exits: Option<Vec<String>>,
    /// Images per run, at least 1.
    pub batch: usize,
}

impl Default for LoadOptions {
    fn default() -> Self {
        LoadOptions { exits: None, batch: 1 }
    }
}

impl Model {
    /// Loads an ONNX file for one image at a time, with the exits that it lists or that can be found.
    ///
    /// # Errors
    /// [`ModelError`] when the file cannot be read, is no ONNX model, has no exits, or uses what tract cannot run.
    pub fn load(path: impl AsRef<Path>) -> Result<Model, ModelError> {
        Self::load_with(path, &LoadOptions::default())
    }

    /// As [`Model::load`], with options.
    ///
    /// # Errors
    /// As [`Model::load`]; also when an exit asked for does not exist or is no classifier output.
    pub fn load_with(path: impl AsRef<Path>, options: &LoadOptions) -> Result<Model, ModelError> {
        let path = path.as_ref();
        let bytes = std::fs::read(path).map_err(|source| ModelError::Read { path: path.into(), source })?;
        Self::from_bytes(bytes, path, options)
    }

    /// As [`Model::load_with`], from bytes in memory; `path` only names them in errors.
    ///
    /// # Errors
    /// As [`Model::load_with`].
    pub fn from_bytes(bytes: Vec<u8>, path: impl AsRef<Path>, options: &LoadOptions) -> Result<Model, ModelError> {
        let path = path.as_ref().to_path_buf();
        let in_file = |error| in_file(&path, error);
        if bytes.is_empty() {
            return Err(ModelError::Empty { path });
        }
        let digest = ModelDigest(Sha256::digest(&bytes).into());
        let file_bytes = bytes.len() as u64;
        let proto = onnx::decode(&bytes).map_err(in_file)?;
        drop(bytes);
        let entries: HashMap<&str, &str> =
            proto.metadata_props.iter().map(|entry| (entry.key.as_str(), entry.value.as_str())).collect();
        let metadata = metadata::read(&entries).map_err(|(key, reason)| ModelError::Metadata {
            path: path.clone(),
            key,
            reason,
        })?;
        let mut graph = onnx::to_graph(proto, &metadata, options.batch.max(1), false).map_err(in_file)?;

        let wanted = options.exits.as_ref().or(metadata.exits.as_ref());
        let (exits, classes) =
            exits::find(&path, &graph.typed, &graph.outputs, graph.shape[0], wanted.map(Vec::as_slice))?;
        if let Some(labels) = &metadata.labels
            && labels.len() != classes
        {
            let reason = format!("{} labels for {classes} classes", labels.len());
            return Err(ModelError::Metadata { path, key: "dyn_perceiver.labels", reason });
        }
        let outlets: Vec<_> = exits.iter().map(|&output| graph.typed.outputs[output]).collect();
        graph.typed.select_output_outlets(&outlets).map_err(|e| in_file(OnnxError::Unsupported(format!("{e:#}"))))?;
        let [batch, channels, height, width] = graph.shape;
        let preprocessing = metadata.preprocessing;
        let info = ModelInfo {
            digest,
            file_bytes,
            input: InputSpec { name: graph.input, batch, channels, height, width, preprocessing },
            classes,
            exits: exits.into_iter().map(|output| graph.outputs[output].clone()).collect(),
            labels: metadata.labels,
            path,
        };
        Ok(Model { graph: graph.typed, info })
    }

    /// The decluttered graph of the file that `info` is of, for any number of images at once; its outputs are the exits in
    /// the order of `info`.
    pub(crate) fn open_batch(info: &ModelInfo) -> Result<TypedModel, ModelError> {
        let path = &info.path;
        let bytes = std::fs::read(path).map_err(|source| ModelError::Read { path: path.into(), source })?;
        let in_file = |error| in_file(path, error);
        let metadata = metadata::Metadata { size: Some(info.input.height), ..metadata::Metadata::default() };
        let mut graph = onnx::to_graph(onnx::decode(&bytes).map_err(in_file)?, &metadata, 1, true).map_err(in_file)?;
        let places = info.exits.iter().filter_map(|exit| graph.outputs.iter().position(|output| output == exit));
        let outlets: Vec<_> = places.map(|output| graph.typed.outputs[output]).collect();
        graph.typed.select_output_outlets(&outlets).map_err(|e| in_file(OnnxError::Unsupported(format!("{e:#}"))))?;
        Ok(graph.typed)
    }

    /// What is known of the model.
    pub fn info(&self) -> &ModelInfo {
        &self.info
    }
}

fn in_file(path: &Path, error: OnnxError) -> ModelError {
    let path = path.to_path_buf();
    match error {
        OnnxError::NotOnnx(reason) => ModelError::NotOnnx { path, reason },
        OnnxError::Unsupported(reason) => ModelError::Unsupported { path, reason },
        OnnxError::Input { input, actual } => ModelError::Input { path, input, actual },
    }
}

impl fmt::Debug for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Model").field("info", &self.info).finish_non_exhaustive()
    }
}
