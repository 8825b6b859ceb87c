//! An ONNX file as a multi-exit graph: its exits, its input, its labels and its preprocessing.
//!
//! [`Model::load`] accepts a file whole or refuses it with a [`ModelError`] that names the file and what is wrong.
//! A model is the input of [`crate::plan::Plan`], which makes it runnable.

mod declutter;
mod error;
mod exits;
mod fact;
mod file;
mod guard;
mod integers;
mod layout;
mod metadata;
mod onnx;
mod options;
mod prepare;
mod stateless;
mod task;
mod tensor;
#[cfg(test)]
mod tests;

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tract_core::prelude::TypedModel;

use crate::deadline::{self, Overdue};
use crate::exit::ModelDigest;
use crate::preprocess::Preprocess;
pub use crate::preprocess::Preprocessing;

pub(crate) use declutter::declutter;
pub use error::ModelError;
pub(crate) use file::read as read_file;
pub use guard::LoadLimits;
pub use layout::{Layout, UnknownLayout};
pub use metadata::PreprocessingSource;
#[cfg(feature = "calibrate")]
pub(crate) use onnx::tensor_shapes;
pub use options::LoadOptions;
pub use task::{AnchorSpec, BoxLevel, BoxSpec, CodeSpec, LevelGoal, Presence, StateSpec, VideoSpec};

/// A multi-exit image classifier, loaded and checked, not yet partitioned. Clones share the weights.
#[derive(Clone)]
pub struct Model {
    pub(crate) graph: TypedModel,
    pub(crate) info: ModelInfo,
    /// What it was loaded under, which holds for what is made of it too.
    pub(crate) limits: LoadLimits,
}

/// What is known of a model without running it.
#[derive(Clone, Debug)]
#[non_exhaustive]
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
    /// How its maps become boxes, where it is a detector.
    pub boxes: Option<BoxSpec>,
    /// Which exits tell an empty image, where it is a detector that says so.
    pub presence: Option<Presence>,
    /// What goes from frame to frame, where it is a network of videos.
    pub video: Option<VideoSpec>,
    /// How the file orders the axes of its input. Plans take (N, C, H, W) whatever it is.
    pub layout: Layout,
    /// Where the normalisation in [`ModelInfo::input`] comes from.
    pub preprocessing_source: PreprocessingSource,
    /// What a user should be told once, each a sentence without a full stop: what was assumed or left out.
    pub warnings: Vec<String>,
    /// How the file was understood where that is not self-evident, such as a soft-max that was cut off.
    pub notes: Vec<String>,
}

impl ModelInfo {
    /// Names of the outcomes that a frame can have: the exits, then the goals of boxes, coarse to fine. A policy for a
    /// detector has a rule for each: an exit that it evaluates may end the frame when it says that nothing is there, and
    /// boxes are computed up to the last goal that it evaluates.
    pub fn outcome_names(&self) -> Vec<String> {
        let goals = self.boxes.as_ref().map(BoxSpec::goals).unwrap_or_default();
        self.exits.iter().cloned().chain(goals.into_iter().map(|goal| goal.name)).collect()
    }

    /// Whether the answer to an image is that of its exits alone: no boxes, and no frames before it.
    pub fn answers_alone(&self) -> bool {
        self.boxes.is_none() && self.video.is_none()
    }

    /// The place of the exit that `text` means, from 0: the exit of that name or, if none has it, the one of that number,
    /// from 1.
    ///
    /// ```no_run
    /// # let plan = dyn_perceiver::plan::Plan::load("m.onnx", &Default::default())?;
    /// let last = plan.info().find_exit("2");
    /// # Ok::<(), dyn_perceiver::plan::PlanError>(())
    /// ```
    pub fn find_exit(&self, text: &str) -> Option<usize> {
        let named = self.exits.iter().position(|name| name == text);
        let numbered = || text.parse::<usize>().ok()?.checked_sub(1).filter(|&exit| exit < self.exits.len());
        named.or_else(numbered)
    }
}

/// A name from a file for a terminal: control characters are written out, everything else stays.
pub fn display_name(name: &str) -> String {
    let shown = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.to_string() };
    name.chars().map(shown).collect()
}

/// Shape of the input tensor, and how an image becomes one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
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
    /// As [`Model::load`]; also when an exit asked for does not exist or is no classifier output, and when the file asks
    /// for more than [`LoadOptions::limits`] allow.
    pub fn load_with(path: impl AsRef<Path>, options: &LoadOptions) -> Result<Model, ModelError> {
        let path = path.as_ref();
        Self::in_time(file::read(path, options.limits.file_bytes)?, path, options)
    }

    /// As [`Model::load_with`], from bytes in memory; `path` names them in errors, and weights outside the file are
    /// sought beside it.
    ///
    /// # Errors
    /// As [`Model::load_with`].
    pub fn from_bytes(bytes: Vec<u8>, path: impl AsRef<Path>, options: &LoadOptions) -> Result<Model, ModelError> {
        Self::in_time(bytes, path.as_ref(), options)
    }

    fn in_time(bytes: Vec<u8>, path: &Path, options: &LoadOptions) -> Result<Model, ModelError> {
        let (inner, asked) = (path.to_path_buf(), options.clone());
        let work = move || Self::from_bytes_here(bytes, &inner, &asked);
        deadline::within(options.limits.deadline, work)
            .unwrap_or_else(|overdue| Err(late(overdue, path, options.limits.deadline)))
    }

    /// As [`Model::from_bytes`], on this thread and without a deadline.
    pub(crate) fn from_bytes_here(bytes: Vec<u8>, path: &Path, options: &LoadOptions) -> Result<Model, ModelError> {
        let made = crate::quiet::catch(|| Self::make(bytes, path, options));
        made.unwrap_or_else(|reason| Err(ModelError::Panic { path: path.into(), reason }))
    }

    fn make(bytes: Vec<u8>, path: &Path, options: &LoadOptions) -> Result<Model, ModelError> {
        let digest = ModelDigest(Sha256::digest(&bytes).into());
        let file_bytes = bytes.len() as u64;
        let mut prepared = onnx::prepare(&bytes, path, options)?;
        drop(bytes);
        let in_metadata = |(key, reason)| ModelError::Metadata { path: path.into(), key, reason };
        let metadata = std::mem::take(&mut prepared.metadata);
        let (preprocessing, source) = metadata.preprocessing(options, prepared.input.bytes).map_err(in_metadata)?;
        let mut warnings = std::mem::take(&mut prepared.warnings);
        if source == PreprocessingSource::Assumed {
            warnings.push(metadata::ASSUMED.into());
        }
        let outputs = prepared.exits.classes;
        // One output is a binary classifier.
        let classes = outputs.max(2);
        let labels = match options.labels.clone().or(metadata.labels) {
            Some(mut labels) if outputs == 1 && labels.len() == 1 => {
                labels.insert(0, format!("not {}", labels[0]));
                Some(labels)
            }
            labels => labels,
        };
        if let Some(labels) = labels.as_ref().filter(|labels| labels.len() != classes) {
            return Err(in_metadata((
                "dyn_perceiver.labels",
                format!("{} labels for {classes} classes", labels.len()),
            )));
        }
        if let Some(presence) = &metadata.presence {
            let exits = &prepared.exits.names;
            let unknown = presence.exits.iter().find(|exit| !exits.contains(exit));
            if let (true, Some(exit)) = (options.exits.is_none(), unknown) {
                return Err(in_metadata((metadata::PRESENCE, format!("there is no exit {exit:?}"))));
            }
            if presence.nothing >= classes {
                return Err(in_metadata((metadata::PRESENCE, format!("there is no class {}", presence.nothing))));
            }
        }
        let states = metadata.states.iter().zip(&prepared.input.states);
        let state = |([input, output], (_, shape)): (&[String; 2], &(String, Vec<usize>))| StateSpec {
            input: input.clone(),
            output: output.clone(),
            shape: shape.clone(),
        };
        let states: Vec<StateSpec> = states.map(state).collect();
        let is_video = !states.is_empty();
        let (window, frame_period) = (metadata.window, metadata.frame_period);
        let video = is_video.then_some(VideoSpec { states, window, frame_period, repeats: None });
        let [batch, channels, height, width] = prepared.input.shape;
        let name = prepared.input.name.clone();
        let info = ModelInfo {
            path: path.into(),
            digest,
            file_bytes,
            input: InputSpec { name, batch, channels, height, width, preprocessing },
            classes,
            exits: std::mem::take(&mut prepared.exits.names),
            labels,
            boxes: metadata.boxes,
            presence: metadata.presence,
            video,
            layout: prepared.input.layout,
            preprocessing_source: source,
            warnings,
            notes: std::mem::take(&mut prepared.notes),
        };
        Ok(Model { graph: onnx::translate(prepared, path, false)?, info, limits: options.limits.clone() })
    }

    /// The decluttered graph of the model's file, for any number of images at once; its outputs are the exits in the order
    /// of `info`. The file must still be the one that the model was loaded from.
    pub(crate) fn open_batch(info: &ModelInfo, limits: &LoadLimits) -> Result<TypedModel, ModelError> {
        let options = LoadOptions {
            exits: Some(info.exits.clone()),
            size: Some([info.input.height, info.input.width]),
            layout: Some(info.layout),
            limits: limits.clone(),
            ..LoadOptions::default()
        };
        let bytes = file::read(&info.path, limits.file_bytes)?;
        if ModelDigest(Sha256::digest(&bytes).into()) != info.digest {
            return Err(ModelError::Changed { path: info.path.clone() });
        }
        let prepared = onnx::prepare(&bytes, &info.path, &options)?;
        drop(bytes);
        onnx::translate(prepared, &info.path, true)
    }

    /// The same network of videos with a window and a number of equal answers that calibration found, which its bundle then
    /// has; of other models nothing changes.
    #[must_use]
    pub fn with_over_time(mut self, window: usize, repeats: u32) -> Self {
        if let Some(video) = &mut self.info.video {
            (video.window, video.repeats) = (Some(window), Some(repeats));
        }
        self
    }

    /// What is known of the model.
    pub fn info(&self) -> &ModelInfo {
        &self.info
    }
}

/// What a deadline that was missed means for a caller.
pub(crate) fn late(overdue: Overdue, path: &Path, limit: Option<Duration>) -> ModelError {
    match overdue {
        Overdue::Late => ModelError::Deadline { path: path.into(), limit: limit.unwrap_or_default() },
        Overdue::Busy(late) => ModelError::Busy { path: path.into(), late },
        Overdue::Panicked => ModelError::Panic { path: path.into(), reason: "the loading thread ended".into() },
    }
}

impl fmt::Debug for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Model").field("info", &self.info).finish_non_exhaustive()
    }
}
