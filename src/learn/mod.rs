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
mod maps;
mod view;

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use dyn_perceiver_calibrate::learn::{Linear, Outside};
use thiserror::Error;

use crate::frame::Frame;
use crate::model::{self, LoadOptions, Model};
use crate::plan::Plan;
use crate::preparation::Preparation;
use crate::{Classifier, Error};
pub use heads::NONE_OF_THESE;
use heads::{Heads, Places};
pub use view::{Part, View};

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
    places: Vec<Places>,
    labels: Vec<String>,
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
        Self::of(bytes, path.as_ref(), options, false)
    }

    /// As [`Learner::from_bytes`], of a network that keeps its classifiers and learns only what is none of its classes:
    /// [`Learner::finish_kept`] ends it.
    ///
    /// # Errors
    /// [`HeadsError`], also where an exit ends in a softmax or has that answer already.
    pub fn keeping(bytes: Vec<u8>, path: impl AsRef<Path>, options: &LoadOptions) -> Result<Self, HeadsError> {
        Self::of(bytes, path.as_ref(), options, true)
    }

    fn of(bytes: Vec<u8>, path: &Path, options: &LoadOptions, keeps: bool) -> Result<Self, HeadsError> {
        let network = |error: Error| HeadsError::Network(Box::new(error));
        // Judged as any model is, before a word of it is believed.
        let model = Model::from_bytes(bytes.clone(), path, options).map_err(|error| network(error.into()))?;
        let (exits, size) = (model.info().exits.clone(), [model.info().input.height, model.info().input.width]);
        let (classes, labels) = (model.info().classes, model.info().labels.clone().unwrap_or_default());
        drop(model);
        let shapes = model::tensor_shapes(&bytes, path, options).map_err(|error| network(error.into()))?;
        let mut heads = Heads::find(&bytes, &exits, &shapes, size)?;
        if keeps {
            heads = heads.keeping(classes, &shapes)?;
        }
        let options = options.clone().with_exits(None);
        let model = Model::from_bytes(heads.features(), path, &options).map_err(|error| network(error.into()))?;
        let plan = Arc::new(Plan::new(model).map_err(|error| network(error.into()))?);
        let places = heads.places();
        let classifier = Classifier::new(plan).map_err(network)?;
        Ok(Learner { heads, classifier, places, labels })
    }

    /// The exits, in the order of the network's outputs.
    pub fn exits(&self) -> &[String] {
        self.heads.exits()
    }

    /// The names of the network's own classes, if it has any.
    pub fn labels(&self) -> &[String] {
        &self.labels
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

    /// Whether whoever gets to the exit at this place has been seen by all that tells what is none of the classes: by the whole
    /// network, or, where classifiers are kept, by the whole trunk.
    pub fn tells_all(&self, place: usize) -> bool {
        place == self.deepest() || self.heads.is_behind_trunk(place)
    }

    /// Runs the whole network once: the features in front of each exit.
    ///
    /// # Errors
    /// [`HeadsError::Network`] when the image cannot be prepared or run.
    pub fn features(&mut self, frame: &Frame) -> Result<Vec<Vec<f32>>, HeadsError> {
        Ok(self.look(frame, View::default())?.into_iter().map(|seen| seen.features).collect())
    }

    /// Runs the whole network once, over one view of the image: what each exit sees of it, and what it says where it keeps its
    /// classifier.
    ///
    /// # Errors
    /// As [`Learner::features`].
    pub fn look(&mut self, frame: &Frame, view: View) -> Result<Vec<Seen>, HeadsError> {
        let mut run = || {
            let mut input = self.tensor(frame, view.part)?;
            if view.mirrored {
                view::mirror(&mut input, self.classifier.plan().info().input.width);
            }
            Ok(self.classifier.runtime().all_logits(&input)?)
        };
        let all: Vec<Vec<f32>> = run().map_err(|error: Error| HeadsError::Network(Box::new(error)))?;
        let all = all.into_iter().next().unwrap_or_default();
        let at = |place: &Range<usize>| all[place.clone()].iter().copied();
        let seen = |places: &Places| Seen {
            features: places.features.iter().flat_map(at).collect(),
            logits: at(&places.logits).collect(),
        };
        Ok(self.places.iter().map(seen).collect())
    }

    /// A part of the image as the network's input.
    fn tensor(&mut self, frame: &Frame, part: Part) -> Result<Vec<f32>, Error> {
        if part == Part::Own {
            return Ok(self.classifier.tensor(frame)?.to_vec());
        }
        let input = &self.classifier.plan().info().input;
        let (own, mut tensor) = (input.preprocess(), Vec::new());
        let size = match view::size(frame) {
            Some(size) => size,
            None => {
                let mut whole = Preparation::new(input)?;
                whole.run(frame, &mut tensor)?;
                whole.frame_size()
            }
        };
        Preparation::with(own.with_crop(part.crop(&own, size)), input)?.run(frame, &mut tensor)?;
        Ok(tensor)
    }

    /// The network as an ONNX file with these classifiers in place of its own, in the order of [`Learner::exits`], and these
    /// names of classes.
    ///
    /// # Errors
    /// [`HeadsError::Classifiers`].
    pub fn finish(&self, classifiers: &[Linear], labels: &[String]) -> Result<Vec<u8>, HeadsError> {
        self.heads.with(Some(classifiers), None, labels)
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
        self.heads.with(Some(classifiers), Some(outside), labels)
    }

    /// The network with the classifiers that it keeps and [`NONE_OF_THESE`] behind their classes, as an ONNX file.
    ///
    /// # Errors
    /// As [`Learner::finish`]; also of a network that does not keep them.
    pub fn finish_kept(&self, outside: &[Outside], labels: &[String]) -> Result<Vec<u8>, HeadsError> {
        self.heads.with(None, Some(outside), labels)
    }
}

/// What an exit sees of an image.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Seen {
    /// The features in front of it, as many as [`Learner::widths`] says.
    pub features: Vec<f32>,
    /// The logits of the classifier that it keeps; else none.
    pub logits: Vec<f32>,
}
