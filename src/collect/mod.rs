//! Making calibration records: every exit of the network on every sample.

use std::path::PathBuf;
use std::sync::Arc;

use dyn_perceiver_calibrate::records::{Costs, RecordWriter, Records, RecordsError};

mod costs;
mod data;
mod error;
mod pairs;

pub use costs::{joule_costs, latency_costs, mac_costs};
pub use data::{LabelledData, Sample};
pub use error::CollectError;
pub use pairs::{Pairs, pairs};

use crate::dataset::{SkipReason, Skipped};
use crate::exit::ModelDigest;
use crate::plan::Plan;
use crate::{Classifier, Error};

/// Frames that each thread takes at a time.
const FRAMES_PER_THREAD: usize = 32;

/// What came of recording.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Collected {
    /// Whether every sample was seen; false when `progress` stopped the run.
    pub whole: bool,
    /// The samples that could not be recorded, in order.
    pub skipped: Vec<Skipped>,
}

/// Runs every sample to the last exit, on `threads` threads, and records it. Goes on where `writer` stands. `progress` is
/// told how many samples have been seen, and stops the run by returning false.
///
/// A sample that cannot be read, or that some exit answers with a logit that is not finite, is passed over and told,
/// unless the data are [strict](LabelledData::strict).
///
/// # Errors
/// [`CollectError`]; [`CollectError::NothingRecorded`] when every sample was passed over.
pub fn collect(
    plan: &Arc<Plan>,
    data: LabelledData,
    writer: &mut RecordWriter,
    threads: usize,
    mut progress: impl FnMut(usize) -> bool,
) -> Result<Collected, CollectError> {
    let threads = threads.max(1);
    let mut classifiers = (0..threads).map(|_| Classifier::new(plan.clone())).collect::<Result<Vec<_>, _>>()?;
    let sink = Sink { path: data.path().into(), names: data.names().to_vec(), strict: data.is_strict() };
    let classes = plan.info().classes;
    let before = writer.passed_over().iter().map(|&index| sink.skip(index, SkipReason::Before));
    let mut skipped: Vec<Skipped> = before.collect();
    let mut whole = true;
    let unread = data.visit(writer.position(), threads * FRAMES_PER_THREAD, |samples| {
        if let Some(sample) = samples.iter().find(|sample| sample.label as usize >= classes) {
            let (path, name, label) = (sink.path.clone(), sink.names[sample.index].clone(), sample.label);
            return Err(CollectError::Label { path, sample: name, label, classes });
        }
        let mut failure = None;
        for (sample, logits) in samples.iter().zip(run(&mut classifiers, samples)) {
            match sink.record(writer, sample, logits) {
                Ok(None) => {}
                Ok(Some((left_out, error))) => {
                    skipped.push(left_out);
                    failure.get_or_insert(error);
                }
                Err(error) => return Err(error),
            }
        }
        // A network that answers nothing at all is not the fault of a sample.
        if let Some(error) = failure.filter(|_| writer.done() == 0) {
            return Err(error);
        }
        whole = progress(samples.last().map_or(0, |sample| sample.index + 1));
        Ok(whole)
    })?;
    skipped.extend(unread);
    match skipped.iter().find(|_| whole && writer.done() == 0).cloned() {
        Some(first) => Err(CollectError::NothingRecorded { path: sink.path, samples: sink.names.len(), first }),
        None => Ok(Collected { whole, skipped }),
    }
}

/// The logits of every exit, exit by exit.
type Logits = Vec<Vec<f32>>;

/// Runs samples to the last exit, a share of them on each classifier's thread.
fn run(classifiers: &mut [Classifier], samples: &[Sample]) -> Vec<Result<Logits, Error>> {
    let share = samples.len().div_ceil(classifiers.len()).max(1);
    std::thread::scope(|scope| {
        let parts = samples.chunks(share).zip(classifiers);
        let workers: Vec<_> = parts
            .map(|(part, classifier)| {
                scope.spawn(move || part.iter().map(|sample| all_exits(classifier, sample)).collect::<Vec<_>>())
            })
            .collect();
        // A thread that panicked has already said so; its panic goes on here.
        workers.into_iter().flat_map(|w| w.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
    })
}

fn all_exits(classifier: &mut Classifier, sample: &Sample) -> Result<Logits, Error> {
    let input = classifier.tensor(&sample.frame)?.to_vec();
    Ok(classifier.runtime().all_logits(&input)?)
}

/// Where samples go.
struct Sink {
    path: PathBuf,
    names: Vec<String>,
    strict: bool,
}

impl Sink {
    /// Records a sample. One that cannot be is returned with the reason, and an error where none may be left out.
    fn record(
        &self,
        writer: &mut RecordWriter,
        sample: &Sample,
        logits: Result<Logits, Error>,
    ) -> Result<Option<(Skipped, CollectError)>, CollectError> {
        let error = match logits {
            Ok(logits) => match writer.push(&self.names[sample.index], sample.label, &logits) {
                Ok(()) => return Ok(None),
                Err(error @ RecordsError::Given { .. }) => CollectError::from(error),
                Err(error) => return Err(error.into()),
            },
            Err(error) => error.into(),
        };
        if self.strict {
            return Err(error);
        }
        let reason = SkipReason::Unanswered(data::chain(&error));
        Ok(Some((self.skip(sample.index, reason), error)))
    }

    fn skip(&self, index: usize, reason: SkipReason) -> Skipped {
        LabelledData::skip(&self.path, &self.names[index], reason)
    }
}

/// Records of no samples yet, for the model of a plan.
pub fn header(plan: &Plan, costs: Costs) -> Records {
    Records::new(digest(plan), plan.info().exits.clone(), plan.info().classes, costs)
}

/// The model that records and policies of this plan are tied to.
pub fn digest(plan: &Plan) -> ModelDigest {
    plan.info().digest
}
