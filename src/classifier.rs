//! The facade: a model file and an image to a label.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

#[cfg(doc)]
use crate::error::Error;
use crate::error::Result;
use crate::exit::{ExitPolicy, Measure};
use crate::frame::Frame;
#[cfg(feature = "camera")]
use crate::frame::PixelFormat;
#[cfg(doc)]
use crate::model::InputSpec;
use crate::model::LoadOptions;
use crate::plan::Plan;
use crate::policy_file;
use crate::preparation::Preparation;
use crate::runtime::{Outcome, Runtime, Threads};

/// Confidence at which an exit is left when neither thresholds nor a policy are given.
const DEFAULT_THRESHOLD: f32 = 0.9;

/// A multi-exit classifier: preprocessing, network and exit policy in one.
///
/// Make one per thread; several share a [`Plan`], and so the weights, by [`ClassifierBuilder::from`].
///
/// ```no_run
/// use dyn_perceiver::Classifier;
///
/// let mut classifier = Classifier::builder("model.onnx").thresholds([0.9, 0.9, 0.9]).threads(4).build()?;
/// let image = image::open("image.png")?.into_rgb8();
/// let prediction = classifier.classify(&image)?;
/// println!("{} at exit {}", prediction.label, prediction.exit);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Classifier {
    runtime: Runtime,
    preparation: Preparation,
    policy: ExitPolicy,
    /// The network's input, NCHW.
    input: Vec<f32>,
    /// An image that came as another type.
    #[cfg(feature = "camera")]
    frame: Frame,
    exits: Vec<Arc<str>>,
    labels: Vec<Arc<str>>,
}

/// How a [`Classifier`] is put together; see [`Classifier::builder`].
#[derive(Clone, Debug)]
pub struct ClassifierBuilder {
    source: Source,
    options: LoadOptions,
    choice: Choice,
    measure: Measure,
    threads: Threads,
}

#[derive(Clone, Debug)]
enum Source {
    File(PathBuf),
    Plan(Arc<Plan>),
}

/// Which policy was asked for.
#[derive(Clone, Debug)]
enum Choice {
    Default,
    Thresholds(Vec<f32>),
    Policy(Box<ExitPolicy>),
    File(PathBuf),
}

/// An image as [`Classifier::classify`] takes it.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Image<'a> {
    /// A frame of a camera or a file, in any pixel format; preprocessed as the model asks.
    Frame(&'a Frame),
    /// An RGB image of any size; preprocessed as the model asks.
    #[cfg(feature = "camera")]
    Rgb(&'a image::RgbImage),
    /// The network's input tensor, NCHW, of [`InputSpec::len`] floats; taken as it is.
    Tensor(&'a [f32]),
}

/// The answer to one image.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Prediction {
    /// Index of the class.
    pub class: usize,
    /// Its name; `class 7` for class 7 of a model without labels.
    pub label: Arc<str>,
    /// Its softmax at the exit that answered, which is no calibrated probability.
    pub softmax: f32,
    /// Confidence in [0, 1] by the policy's measure.
    pub confidence: f32,
    /// Probability in [0, 1] that the class is right, as calibration found it on labelled images; none where the policy file or
    /// bundle has no calibration, and for thresholds of another measure.
    pub probability: Option<f32>,
    /// Name of the exit at which the frame left.
    pub exit: Arc<str>,
    /// Its index, from 0, in order of cost.
    pub exit_index: usize,
    /// Whether the frame left before the last exit that the policy evaluates.
    pub exited_early: bool,
    /// Wall time of the network, without preprocessing.
    pub latency: Duration,
}

impl<'a> From<&'a Frame> for Image<'a> {
    fn from(frame: &'a Frame) -> Self {
        Image::Frame(frame)
    }
}

#[cfg(feature = "camera")]
impl<'a> From<&'a image::RgbImage> for Image<'a> {
    fn from(image: &'a image::RgbImage) -> Self {
        Image::Rgb(image)
    }
}

impl<'a> From<&'a [f32]> for Image<'a> {
    fn from(tensor: &'a [f32]) -> Self {
        Image::Tensor(tensor)
    }
}

impl<'a> From<&'a Vec<f32>> for Image<'a> {
    fn from(tensor: &'a Vec<f32>) -> Self {
        Image::Tensor(tensor)
    }
}

impl Classifier {
    /// A classifier over shared plans with the default policy, see [`ClassifierBuilder::build`].
    ///
    /// # Errors
    /// As [`ClassifierBuilder::build`].
    pub fn new(plan: Arc<Plan>) -> Result<Classifier> {
        ClassifierBuilder::from(plan).build()
    }

    /// Begins with an ONNX file or a bundle, whichever the file is.
    pub fn builder(model: impl AsRef<Path>) -> ClassifierBuilder {
        ClassifierBuilder::new(Source::File(model.as_ref().into()))
    }

    /// Classifies one image under the classifier's policy.
    ///
    /// # Errors
    /// [`Error::Preprocess`] when the frame is not what it says it is, [`Error::Run`] when a tensor has another length or
    /// the network makes logits that are no numbers at every exit.
    pub fn classify<'a>(&mut self, image: impl Into<Image<'a>>) -> Result<Prediction> {
        self.prepare(image.into())?;
        let outcome = self.runtime.run(&self.input, &self.policy)?;
        Ok(self.prediction(&outcome))
    }

    /// Classifies one image under another policy, with the time of every stage.
    ///
    /// # Errors
    /// As [`classify`](Self::classify); [`Error::Run`] also for a policy of another number of exits.
    pub fn classify_with<'a>(&mut self, image: impl Into<Image<'a>>, policy: &ExitPolicy) -> Result<Outcome> {
        self.prepare(image.into())?;
        Ok(self.runtime.run(&self.input, policy)?)
    }

    /// The image as the network's input tensor, NCHW.
    ///
    /// # Errors
    /// [`Error::Preprocess`] when the frame is not what it says it is.
    pub fn tensor<'a>(&mut self, image: impl Into<Image<'a>>) -> Result<&[f32]> {
        self.prepare(image.into())?;
        Ok(&self.input)
    }

    /// The policy of [`classify`](Self::classify).
    pub fn policy(&self) -> &ExitPolicy {
        &self.policy
    }

    /// Changes the policy, as a governor does from frame to frame.
    pub fn set_policy(&mut self, policy: ExitPolicy) {
        self.policy = policy;
    }

    /// The stage plans.
    pub fn plan(&self) -> &Arc<Plan> {
        self.runtime.plan()
    }

    /// The runtime, for what goes beyond one policy at a time.
    pub fn runtime(&mut self) -> &mut Runtime {
        &mut self.runtime
    }

    /// Names and times of an outcome, as [`classify`](Self::classify) gives them.
    pub fn prediction(&self, outcome: &Outcome) -> Prediction {
        let class = outcome.class;
        Prediction {
            class,
            label: self.labels.get(class).cloned().unwrap_or_else(|| format!("class {class}").into()),
            softmax: outcome.softmax,
            confidence: outcome.confidence,
            probability: outcome.probability,
            exit: self.exits[outcome.exit].clone(),
            exit_index: outcome.exit,
            exited_early: outcome.exited_early,
            latency: outcome.latency(),
        }
    }

    fn prepare(&mut self, image: Image<'_>) -> Result<()> {
        match image {
            Image::Frame(frame) => self.preparation.run(frame, &mut self.input)?,
            #[cfg(feature = "camera")]
            Image::Rgb(image) => {
                self.frame.pixels.clear();
                self.frame.pixels.extend_from_slice(image.as_raw());
                (self.frame.width, self.frame.height) = image.dimensions();
                self.frame.format = PixelFormat::Rgb;
                self.preparation.run(&self.frame, &mut self.input)?;
            }
            Image::Tensor(tensor) => {
                self.input.clear();
                self.input.extend_from_slice(tensor);
            }
        }
        Ok(())
    }
}

impl From<Arc<Plan>> for ClassifierBuilder {
    fn from(plan: Arc<Plan>) -> Self {
        ClassifierBuilder::new(Source::Plan(plan))
    }
}

impl ClassifierBuilder {
    fn new(source: Source) -> Self {
        ClassifierBuilder {
            source,
            options: LoadOptions::default(),
            choice: Choice::Default,
            measure: Measure::MaxSoftmax,
            threads: Threads::default(),
        }
    }

    /// One threshold in [0, 1] for each exit but the last, cheapest exit first.
    #[must_use]
    pub fn thresholds(mut self, thresholds: impl Into<Vec<f32>>) -> Self {
        self.choice = Choice::Thresholds(thresholds.into());
        self
    }

    /// How confidence is read off an exit's logits, for [`thresholds`](Self::thresholds); the largest softmax probability
    /// unless told otherwise.
    #[must_use]
    pub fn measure(mut self, measure: Measure) -> Self {
        self.measure = measure;
        self
    }

    /// This policy.
    #[must_use]
    pub fn policy(mut self, policy: ExitPolicy) -> Self {
        self.choice = Choice::Policy(Box::new(policy));
        self
    }

    /// The most accurate operating point of a policy file that calibration wrote for this model.
    #[must_use]
    pub fn policy_file(mut self, path: impl AsRef<Path>) -> Self {
        self.choice = Choice::File(path.as_ref().into());
        self
    }

    /// Threads that work on one image, the calling one among them, or [`Threads::Auto`] to measure in
    /// [`build`](Self::build) how many are fastest here; 1 unless told otherwise, and 0 counts as 1. Results do not depend
    /// on how many there are.
    #[must_use]
    pub fn threads(mut self, threads: impl Into<Threads>) -> Self {
        self.threads = threads.into();
        self
    }

    /// Options of loading, where the model is a file.
    #[must_use]
    pub fn options(mut self, options: LoadOptions) -> Self {
        self.options = options;
        self
    }

    /// Loads the model and makes it ready to run.
    ///
    /// Without thresholds or a policy, the most accurate operating point of a bundle's policy is used, else a threshold of
    /// 0.9 at every exit.
    ///
    /// # Errors
    /// [`Error`] when the model, the bundle or the policy file is refused, the policy is for another model or number of
    /// exits, or a thread cannot be started.
    pub fn build(self) -> Result<Classifier> {
        let plan = match self.source {
            Source::File(path) => Arc::new(Plan::load(path, &self.options)?),
            Source::Plan(plan) => plan,
        };
        let exits = plan.stages().len();
        let best = |frontier: &crate::exit::Frontier| frontier.points().last().map(|point| point.policy.clone());
        let with = |thresholds: &[f32]| ExitPolicy::with_thresholds(self.measure, exits, thresholds);
        let bundled =
            plan.bundle().and_then(|bundle| bundle.policy.as_ref()).and_then(|policy| best(policy.frontier()));
        // That of a policy file, in place of the bundle's.
        let mut calibration = None;
        let policy = match (self.choice, bundled) {
            (Choice::Policy(policy), _) => *policy,
            (Choice::Thresholds(thresholds), _) => with(&thresholds)?,
            (Choice::File(path), _) => {
                let calibrated = policy_file::load(&path)?;
                let frontier = policy_file::for_plan(&calibrated, &plan, &path)?;
                calibration = Some(calibrated.calibration().cloned());
                best(frontier).map_or_else(|| with(&vec![DEFAULT_THRESHOLD; exits - 1]), Ok)?
            }
            (Choice::Default, Some(policy)) => policy,
            (Choice::Default, None) => with(&vec![DEFAULT_THRESHOLD; exits - 1])?,
        };
        let threads = self.threads.choose(&plan)?.threads;
        let mut runtime = Runtime::new(plan.clone())?.with_threads(threads)?;
        if let Some(calibration) = calibration {
            runtime.set_calibration(calibration);
        }
        let info = plan.info();
        let names = |names: &[String]| names.iter().map(|name| Arc::from(name.as_str())).collect();
        Ok(Classifier {
            preparation: Preparation::new(&info.input)?,
            policy,
            input: Vec::new(),
            #[cfg(feature = "camera")]
            frame: Frame::default(),
            exits: names(&info.exits),
            labels: info.labels.as_deref().map_or_else(Vec::new, names),
            runtime,
        })
    }
}

impl fmt::Display for Prediction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let share = self.probability.unwrap_or(self.softmax);
        write!(f, "{} ({:.1} %) at exit {}", self.label, 100.0 * share, self.exit)
    }
}
