//! Making calibration records: every exit of the network on every sample.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use thiserror::Error;

use dyn_perceiver_calibrate::records::{CostError, Costs, ExitSet, RecordWriter, Records, RecordsError};

use crate::camera::{CameraError, Frame, FrameSource, IdxSource, ImageSource};
use crate::energy::PowerModel;
use crate::exit::{CostUnit, ExitPolicy, ExitRule, Measure, ModelDigest, PolicyError};
use crate::plan::Plan;
use crate::runtime::{RunError, Runtime};
use crate::{Classifier, ClassifierBuilder, Error};

/// Frames that each thread takes at a time.
const FRAMES_PER_THREAD: usize = 32;
/// Runs over which a latency is measured; the median counts.
const LATENCY_RUNS: usize = 31;

/// Why records could not be made.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CollectError {
    /// The data could not be read.
    #[error(transparent)]
    Camera(#[from] CameraError),
    /// There are no labels: accuracy cannot be known.
    #[error("{}: sample {sample:?} has no label: give a folder of one folder per class, or an IDX file with its labels beside", path.display())]
    NoLabel {
        /// The data.
        path: PathBuf,
        /// The sample.
        sample: String,
    },
    /// A label that the model has no class for.
    #[error("{}: sample {sample:?} has label {label}, but the model has {classes} classes", path.display())]
    Label {
        /// The data.
        path: PathBuf,
        /// The sample.
        sample: String,
        /// Its label.
        label: u32,
        /// Classes of the model.
        classes: usize,
    },
    /// Fewer samples than asked for.
    #[error("{}: {available} samples, but {} to {} were asked for", path.display(), range.start, range.end)]
    Range {
        /// The data.
        path: PathBuf,
        /// Samples there are.
        available: u64,
        /// Samples asked for.
        range: Range<u64>,
    },
    /// The network failed.
    #[error(transparent)]
    Pipeline(#[from] Error),
    /// The network failed.
    #[error(transparent)]
    Run(#[from] RunError),
    /// The records could not be written.
    #[error(transparent)]
    Records(#[from] RecordsError),
    /// Costs that make no sense.
    #[error(transparent)]
    Costs(#[from] CostError),
    /// A network with too many exits.
    #[error(transparent)]
    Policy(#[from] PolicyError),
}

/// The name of a sample by its number.
type NameOf = Box<dyn Fn(u64) -> String>;

/// Labelled samples in files: an IDX pair, or a folder with a folder per class.
pub struct LabelledData {
    path: PathBuf,
    source: Box<dyn FrameSource>,
    names: Vec<String>,
    range: Range<u64>,
}

impl LabelledData {
    /// Opens an IDX file of images (its labels are found beside: `images` for `labels`, `idx3` for `idx1`) or a folder.
    /// Of the samples, those in `range`; all without.
    ///
    /// # Errors
    /// [`CollectError::Camera`], or [`CollectError::Range`] when there are fewer samples.
    pub fn open(path: &Path, range: Option<Range<u64>>) -> Result<Self, CollectError> {
        let (source, name): (Box<dyn FrameSource>, NameOf) = if path.is_dir() {
            let (source, names) = (ImageSource::open(path)?, ImageSource::open(path)?);
            let root = path.to_path_buf();
            let name = move |i: u64| {
                let file = names.path(i).unwrap_or(Path::new(""));
                file.strip_prefix(&root).unwrap_or(file).to_string_lossy().into_owned()
            };
            (Box::new(source), Box::new(name))
        } else {
            let file = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let labels = path.with_file_name(file.replace("images", "labels").replace("idx3", "idx1"));
            let labels = (labels != path && labels.is_file()).then_some(labels);
            (Box::new(IdxSource::open(path, labels.as_deref())?), Box::new(|i: u64| i.to_string()))
        };
        let available = source.frames().unwrap_or(0);
        let range = range.unwrap_or(0..available);
        if range.end > available || range.start > range.end {
            return Err(CollectError::Range { path: path.into(), available, range });
        }
        let names = range.clone().map(name).collect();
        Ok(LabelledData { path: path.into(), source, names, range })
    }

    /// What each sample is called.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Number of samples.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// Reads every sample from number `from` on, in order, `batch` at a time, and hands each batch with the number of its
    /// first sample to `take`; ends early when that returns false.
    ///
    /// # Errors
    /// What reading says, [`CollectError::NoLabel`], or what `take` says.
    pub fn visit(
        mut self,
        from: usize,
        batch: usize,
        mut take: impl FnMut(usize, &[Frame]) -> Result<bool, CollectError>,
    ) -> Result<(), CollectError> {
        let mut skipped = Frame::default();
        for _ in 0..self.range.start + from as u64 {
            self.source.read(&mut skipped)?;
        }
        let mut first = from;
        while first < self.len() {
            let count = batch.min(self.len() - first);
            let mut frames = Vec::with_capacity(count);
            for name in &self.names[first..first + count] {
                let frame = self.source.next()?.filter(|frame| frame.label.is_some());
                let no_label = || CollectError::NoLabel { path: self.path.clone(), sample: name.clone() };
                frames.push(frame.ok_or_else(no_label)?);
            }
            if !take(first, &frames)? {
                return Ok(());
            }
            first += count;
        }
        Ok(())
    }
}

/// Runs every sample to the last exit, on `threads` threads, and records it. Goes on where `writer` stands. `progress` is
/// told how many samples are done, and stops the run by returning false. Returns whether all samples were recorded.
///
/// # Errors
/// [`CollectError`].
pub fn collect(
    plan: &Arc<Plan>,
    data: LabelledData,
    writer: &mut RecordWriter,
    threads: usize,
    mut progress: impl FnMut(usize) -> bool,
) -> Result<bool, CollectError> {
    let classes = plan.info().classes;
    let threads = threads.max(1);
    let mut classifiers =
        (0..threads).map(|_| ClassifierBuilder::from(plan.clone()).build()).collect::<Result<Vec<_>, _>>()?;
    let (path, names) = (data.path.clone(), data.names.clone());
    let all = names.len();
    data.visit(writer.done(), threads * FRAMES_PER_THREAD, |first, frames| {
        let share = frames.len().div_ceil(threads);
        let results: Vec<Result<Vec<Vec<Vec<f32>>>, Error>> = std::thread::scope(|scope| {
            let parts = frames.chunks(share).zip(&mut classifiers);
            let workers: Vec<_> =
                parts.map(|(part, classifier)| scope.spawn(move || all_exits(classifier, part))).collect();
            // A thread that panicked has already said so; its panic goes on here.
            workers.into_iter().map(|w| w.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
        });
        let mut index = first;
        for part in results {
            for logits in part? {
                let (sample, label) = (&names[index], frames[index - first].label.unwrap_or_default());
                if label as usize >= classes {
                    let sample = sample.clone();
                    return Err(CollectError::Label { path: path.clone(), sample, label, classes });
                }
                writer.push(sample, label, &logits)?;
                index += 1;
            }
        }
        Ok(progress(writer.done()))
    })?;
    Ok(writer.done() == all)
}

fn all_exits(classifier: &mut Classifier, frames: &[Frame]) -> Result<Vec<Vec<Vec<f32>>>, Error> {
    frames
        .iter()
        .map(|frame| {
            let input = classifier.tensor(frame)?.to_vec();
            Ok(classifier.runtime().all_logits(&input)?)
        })
        .collect()
}

/// Records of no samples yet, for the model of a plan.
pub fn header(plan: &Plan, costs: Costs) -> Records {
    Records::new(digest(plan), plan.info().exits.clone(), plan.info().classes, costs)
}

/// The model that records and policies of this plan are tied to.
pub fn digest(plan: &Plan) -> ModelDigest {
    ModelDigest(plan.info().digest.0)
}

/// Evaluates exactly the exits of a set, and leaves at the last of them.
fn through(set: ExitSet, exits: usize) -> Result<(ExitPolicy, usize), PolicyError> {
    let rule = |exit: usize| if set.contains(exit) { ExitRule::Leave(1.0) } else { ExitRule::Skip };
    let rules: Vec<ExitRule> = (0..exits).map(rule).collect();
    Ok((ExitPolicy::new(Measure::default(), &rules)?, set.last().unwrap_or(0)))
}

fn for_every_set(plan: &Plan, cost: impl Fn(&ExitPolicy, usize) -> f64) -> Result<Vec<(ExitSet, f64)>, PolicyError> {
    let exits = plan.stages().len();
    ExitSet::every(exits)
        .map(|set| {
            let (policy, last) = through(set, exits)?;
            Ok((set, cost(&policy, last)))
        })
        .collect()
}

/// Multiply-accumulates of every set of exits.
///
/// # Errors
/// [`CollectError`] when there are too many exits.
pub fn mac_costs(plan: &Plan) -> Result<Costs, CollectError> {
    let sets = for_every_set(plan, |policy, exit| plan.macs(policy, exit) as f64)?;
    Ok(Costs::from_sets(CostUnit::Macs, plan.stages().len(), sets)?)
}

/// Joules of every set of exits on a board whose stages cost `stage_joules` per frame: an exit left out saves its
/// exclusive work, by its share of the stage's multiply-accumulates.
///
/// # Errors
/// [`CollectError`] when there are not as many stages, or a figure is out of range.
pub fn joule_costs(plan: &Plan, power: &PowerModel) -> Result<Costs, CollectError> {
    let exits = plan.stages().len();
    let every = ExitSet::first(exits);
    let macs = |set: ExitSet| through(set, exits).map(|(policy, last)| plan.macs(&policy, last) as f32);
    let mut exclusive = vec![0.0; exits];
    for (exit, (part, stage)) in exclusive.iter_mut().zip(plan.stages()).enumerate() {
        let without = every.without(exit);
        if !without.is_empty() && stage.macs > 0 {
            // Leaving out the last exit leaves its whole stage out; that never costs anyway.
            let saved = (macs(every)? - macs(without)?) / stage.macs as f32;
            *part = power.stages().get(exit).copied().unwrap_or(0.0) * saved.clamp(0.0, 1.0);
        }
    }
    let power =
        power.clone().with_exclusive(&exclusive).map_err(|_| CostError::Exits { exits: power.stages().len() })?;
    let sets = for_every_set(plan, |policy, exit| f64::from(power.policy_joules(policy, exit)))?;
    Ok(Costs::measured(CostUnit::Joules, exits, sets)?)
}

/// Seconds of every set of exits on this machine, one thread: the median over runs, the sets taking turns.
///
/// # Errors
/// [`CollectError`] when the network fails.
pub fn latency_costs(plan: &Arc<Plan>) -> Result<Costs, CollectError> {
    let exits = plan.stages().len();
    let mut runtime = Runtime::new(plan.clone())?;
    let image = vec![0.0; plan.info().input.len()];
    let sets: Vec<ExitSet> = ExitSet::every(exits).collect();
    let mut times = vec![vec![]; sets.len()];
    for run in 0..=LATENCY_RUNS {
        for (set, times) in sets.iter().zip(&mut times) {
            let began = Instant::now();
            runtime.begin(&image)?;
            for exit in set.iter() {
                runtime.advance(exit)?;
            }
            // The first round only warms up.
            if run > 0 {
                times.push(began.elapsed().as_secs_f64());
            }
        }
    }
    let median = |mut times: Vec<f64>| {
        times.sort_by(f64::total_cmp);
        times[times.len() / 2]
    };
    let measured = sets.into_iter().zip(times.into_iter().map(median));
    Ok(Costs::measured(CostUnit::Seconds, exits, measured)?)
}
