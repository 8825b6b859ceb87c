//! Pairs of frames of one camera, for the gate behind the first exit.

use std::collections::VecDeque;
use std::sync::Arc;

use dyn_perceiver_calibrate::gate::Pair;

use super::CollectError;
use crate::Classifier;
use crate::camera::{Frame, FrameSource};
use crate::gate::code_distance;
use crate::plan::Plan;

/// What came of a recording.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Pairs {
    /// The pairs, in no order that means anything.
    pub pairs: Vec<Pair>,
    /// Frames that the network answered.
    pub frames: u64,
    /// Frames that could not be read or answered.
    pub skipped: u64,
}

/// Runs every frame of a recording through the whole network, and pairs it with those 1, 2, 4, ... and at last `most` frames
/// before it. `progress` is told how many frames have been seen.
///
/// # Errors
/// [`CollectError`] when the model cannot be set up or the source fails for good.
pub fn pairs(
    plan: &Arc<Plan>,
    source: &mut dyn FrameSource,
    most: usize,
    mut progress: impl FnMut(u64),
) -> Result<Pairs, CollectError> {
    let mut classifier = Classifier::new(plan.clone())?;
    let last = plan.stages().len().saturating_sub(1);
    let mut frame = Frame::default();
    let mut found = Pairs::default();
    // The newest frame first; none where a frame had no answer.
    let mut seen: VecDeque<Option<(Vec<f32>, usize)>> = VecDeque::new();
    loop {
        let code = match source.read(&mut frame) {
            Ok(false) => return Ok(found),
            Ok(true) => answered(&mut classifier, &frame, last).ok(),
            Err(error) if error.is_of_one_frame() => None,
            Err(error) => return Err(error.into()),
        };
        match &code {
            Some((code, class)) => {
                found.frames += 1;
                let gaps = std::iter::successors(Some(1), |gap| Some(gap * 2)).take_while(|gap| *gap < most);
                for (earlier, other) in gaps.chain([most]).filter_map(|gap| seen.get(gap - 1)?.as_ref()) {
                    let distance = code_distance(earlier, code).unwrap_or(f32::INFINITY);
                    found.pairs.push(Pair { distance, agrees: class == other });
                }
            }
            None => found.skipped += 1,
        }
        seen.push_front(code);
        seen.truncate(most);
        progress(found.frames + found.skipped);
    }
}

/// The code of a frame, and the class that the whole network gives it.
fn answered(classifier: &mut Classifier, frame: &Frame, last: usize) -> Result<(Vec<f32>, usize), crate::Error> {
    let input = classifier.tensor(frame)?.to_vec();
    let runtime = classifier.runtime();
    runtime.begin(&input)?;
    runtime.advance(0)?;
    let code = runtime.code()?.to_vec();
    let logits = runtime.advance(last)?;
    let class = (0..logits.len()).max_by(|&a, &b| logits[a].total_cmp(&logits[b])).unwrap_or(0);
    Ok((code, class))
}
