//! New classifiers for a network that is there: features in front of each exit, and the network with other heads.
//!
//! In front of an exit stand what its classifier read, and the means of maps of the trunk (global average pooling) that the exit
//! computes anyway: the last of every width before the last reduction of resolution. Layers near the exits were trained for the
//! old classes, those before them know more of others.
//!
//! The network's own layers stay as they are, also the old classifiers where a later exit reads their logits: it sees what
//! it saw in training. What is learned from the features stands in [`calibrate::learn`](crate::calibrate::learn).

mod heads;
mod layers;

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use dyn_perceiver_calibrate::learn::{Linear, Outside};
use thiserror::Error;

use crate::frame::Frame;
use crate::model::{self, LoadOptions, Model};
use crate::plan::Plan;
use crate::{Classifier, Error};
use heads::Heads;
pub use heads::NONE_OF_THESE;

/// Why a network's exits cannot be learned anew.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum HeadsError {
    /// The network cannot be read or run.
    #[error(transparent)]
    Network(#[from] Box<Error>),
    /// An exit that does not end in one linear layer.
    #[error("exit {exit:?} cannot be learned anew: {reason}")]
    Exit {
        /// The exit.
        exit: String,
        /// What it ends in.
        reason: String,
    },
    /// Not as many classifiers as exits, or of another width.
    #[error("classifiers do not fit: {reason}")]
    Classifiers {
        /// What does not fit.
        reason: String,
    },
}

/// A network whose exits are learned anew.
///
/// # Examples
/// ```no_run
/// use dyn_perceiver::calibrate::learn::{Features, Options, learn};
/// use dyn_perceiver::learn::Learner;
/// use dyn_perceiver::{Frame, LoadOptions};
///
/// let mut learner = Learner::load("model.onnx", &LoadOptions::default())?;
/// let labels = ["cat".to_owned(), "dog".to_owned()];
/// let mut seen: Vec<Features> = learner.widths().iter().map(|&width| Features::new(width, 2)).collect();
/// # let photos: Vec<(Frame, usize)> = vec![];
/// for (photo, class) in &photos {
///     for (exit, row) in learner.features(photo)?.iter().enumerate() {
///         seen[exit].push(row, *class)?;
///     }
/// }
/// let learned = seen.iter().map(|features| Ok(learn(features, &Options::default())?.classifier));
/// let learned = learned.collect::<Result<Vec<_>, dyn_perceiver::calibrate::learn::LearnError>>()?;
/// std::fs::write("mine.onnx", learner.finish(&learned, &labels)?)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Learner {
    heads: Heads,
    classifier: Classifier,
    /// For each exit where its features stand in what the classifier gives.
    places: Vec<Vec<Range<usize>>>,
}

impl std::fmt::Debug for Learner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Learner").field("exits", &self.exits()).finish_non_exhaustive()
    }
}

impl Learner {
    /// The ONNX model at `path`.
    ///
    /// # Errors
    /// [`HeadsError`].
    pub fn load(path: impl AsRef<Path>, options: &LoadOptions) -> Result<Self, HeadsError> {
        let path = path.as_ref();
        let bytes = std::fs::read(path);
        let read = bytes.map_err(|source| crate::model::ModelError::Read { path: path.into(), source });
        let bytes = read.map_err(|error| Box::new(Error::from(error)))?;
        Self::from_bytes(bytes, path, options)
    }

    /// The ONNX model in `bytes`; `path` only names it in errors.
    ///
    /// # Errors
    /// [`HeadsError`].
    pub fn from_bytes(bytes: Vec<u8>, path: impl AsRef<Path>, options: &LoadOptions) -> Result<Self, HeadsError> {
        let path = path.as_ref();
        let network = |error: Error| HeadsError::Network(Box::new(error));
        // Judged as any model is, before a word of it is believed.
        let model = Model::from_bytes(bytes.clone(), path, options).map_err(|error| network(error.into()))?;
        let (exits, size) = (model.info().exits.clone(), [model.info().input.height, model.info().input.width]);
        drop(model);
        let shapes = model::tensor_shapes(&bytes, path, options).map_err(|error| network(error.into()))?;
        let heads = Heads::find(&bytes, &exits, &shapes, size)?;
        let options = options.clone().with_exits(None);
        let model = Model::from_bytes(heads.features(), path, &options).map_err(|error| network(error.into()))?;
        let plan = Arc::new(Plan::new(model).map_err(|error| network(error.into()))?);
        let places = heads.places();
        let classifier = Classifier::new(plan).map_err(network)?;
        Ok(Learner { heads, classifier, places })
    }

    /// The exits, in the order of the network's outputs.
    pub fn exits(&self) -> &[String] {
        self.heads.exits()
    }

    /// How many features stand in front of each exit, those of the trunk among them.
    pub fn widths(&self) -> Vec<usize> {
        self.heads.widths()
    }

    /// The place among [`Learner::exits`] of the one that needs most layers: whoever gets there has been seen by the whole
    /// network.
    pub fn deepest(&self) -> usize {
        self.heads.deepest()
    }

    /// Runs the whole network once: the features in front of each exit.
    ///
    /// # Errors
    /// [`HeadsError::Network`] when the image cannot be prepared or run.
    pub fn features(&mut self, frame: &Frame) -> Result<Vec<Vec<f32>>, HeadsError> {
        self.of_view(frame, false)
    }

    /// As [`Learner::features`], of the image mirrored left to right: one more view of what it shows.
    ///
    /// # Errors
    /// As [`Learner::features`].
    pub fn mirrored_features(&mut self, frame: &Frame) -> Result<Vec<Vec<f32>>, HeadsError> {
        self.of_view(frame, true)
    }

    fn of_view(&mut self, frame: &Frame, mirrored: bool) -> Result<Vec<Vec<f32>>, HeadsError> {
        let mut run = || {
            let mut input = self.classifier.tensor(frame)?.to_vec();
            if mirrored {
                let width = self.classifier.plan().info().input.width;
                input.chunks_exact_mut(width.max(1)).for_each(<[f32]>::reverse);
            }
            Ok(self.classifier.runtime().all_logits(&input)?)
        };
        let all: Vec<Vec<f32>> = run().map_err(|error: Error| HeadsError::Network(Box::new(error)))?;
        let all = all.into_iter().next().unwrap_or_default();
        let row =
            |places: &Vec<Range<usize>>| places.iter().flat_map(|place| all[place.clone()].iter().copied()).collect();
        Ok(self.places.iter().map(row).collect())
    }

    /// The network as an ONNX file with these classifiers in place of its own, in the order of [`Learner::exits`], and these
    /// names of classes.
    ///
    /// # Errors
    /// [`HeadsError::Classifiers`].
    pub fn finish(&self, classifiers: &[Linear], labels: &[String]) -> Result<Vec<u8>, HeadsError> {
        self.heads.with(classifiers, None, labels)
    }

    /// As [`Learner::finish`], with one more class behind the others: [`NONE_OF_THESE`].
    ///
    /// # Errors
    /// As [`Learner::finish`].
    pub fn finish_with_none(
        &self,
        classifiers: &[Linear],
        outside: &[Outside],
        labels: &[String],
    ) -> Result<Vec<u8>, HeadsError> {
        self.heads.with(classifiers, Some(outside), labels)
    }
}
