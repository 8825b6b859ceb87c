//! Labelled clips: a folder for each class, in it a folder for each clip, in it the frames by name.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use dyn_perceiver::calibrate::video::{Clip, ClipOutcome, ClipPoint, ClipWatch};
use dyn_perceiver::camera::{Frame, ImageLimits, decode_image};
use dyn_perceiver::dataset::{ImageFolder, SkipReason, Skipped};
use dyn_perceiver::exit::{ExitPolicy, Measure, OverTimeSettings};
use dyn_perceiver::plan::Plan;
use dyn_perceiver::video::{OverTimeConfig, VideoClassifier};

use super::images::DataArgs;
use super::load::LoadArgs;
use crate::output::data_notes::DataNotes;
use crate::output::failure::{Failure, OrInput as _, chain, wrong};
use crate::output::progress;

/// A clip on disk.
#[derive(Clone, Debug)]
pub(crate) struct LabelledClip {
    pub path: PathBuf,
    pub class: usize,
    pub frames: Vec<PathBuf>,
}

/// How clips are run.
#[derive(Clone, Copy)]
pub(crate) struct Running<'a> {
    pub plan: &'a Arc<Plan>,
    /// Whether a clip that cannot be run ends the work.
    pub strict: bool,
    pub jobs: Option<NonZeroUsize>,
    pub quiet: bool,
}

/// The labelled clips of a command, for the classes of `plan`; of them those in `--range`.
pub(crate) fn open(data: &DataArgs, load: &LoadArgs, plan: &Plan) -> Result<Vec<LabelledClip>, Failure> {
    let info = plan.info();
    let folder = ImageFolder::read(&data.data).or_input()?;
    let classes = folder.match_classes(info.labels.as_deref(), info.classes).or_input()?;
    let mut clips: Vec<LabelledClip> = vec![];
    for image in folder.images() {
        let label = image.folder.and_then(|folder| classes.labels.get(folder).copied().flatten());
        let (Some(class), Some(path)) = (label, image.path.parent()) else { continue };
        match clips.last_mut().filter(|clip| clip.path == path) {
            Some(clip) => clip.frames.push(image.path.clone()),
            None => {
                clips.push(LabelledClip { path: path.into(), class: class as usize, frames: vec![image.path.clone()] })
            }
        }
    }
    if let Some(range) = load.images() {
        let count = clips.len() as u64;
        if range.end > count {
            let (data, start, end) = (data.data.display(), range.start, range.end);
            return wrong(format!("{data}: {count} clips, asked for {start}..{end}"));
        }
        clips = clips.drain(range.start as usize..range.end as usize).collect();
    }
    if clips.is_empty() {
        return wrong(format!(
            "{}: no clips: expected a folder for each class, in it one for each clip",
            data.data.display()
        ));
    }
    Ok(clips)
}

/// The frames of one clip, in the order of their names.
pub(crate) fn frames(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    let images = ImageFolder::read(folder).or_input()?;
    let frames: Vec<PathBuf> =
        images.images().iter().filter(|image| image.folder.is_none()).map(|image| image.path.clone()).collect();
    if frames.is_empty() { wrong(format!("{}: no image in this folder", folder.display())) } else { Ok(frames) }
}

/// What the network says of a clip when every frame is run to the end.
pub(crate) struct Recorded {
    pub clip: Clip,
    /// Frames whose last exit is right when they are the first of a video.
    pub right_alone: usize,
}

/// Runs every clip to the end; those that cannot be run are left out.
pub(crate) fn record(
    running: Running<'_>,
    clips: &[LabelledClip],
    notes: &mut DataNotes,
) -> Result<Vec<Recorded>, Failure> {
    let settings = full(running.plan)?;
    each(running, clips, notes, &settings, |video, clip| {
        let frames = decoded(clip)?;
        let mut right_alone = 0;
        for frame in &frames {
            video.reset();
            let logits = video.logits(frame)?;
            let last = logits.last().and_then(|logits| Measure::MaxSoftmax.read(logits).ok());
            right_alone += usize::from(last.is_some_and(|reading| reading.class == clip.class));
        }
        video.reset();
        let said = frames.iter().map(|frame| video.logits(frame)).collect::<Result<_, _>>()?;
        Ok(Recorded { clip: Clip::new(clip.class, said), right_alone })
    })
}

/// Runs every clip under settings, as a loop would, and adds up what became of them.
pub(crate) fn judge(
    running: Running<'_>,
    clips: &[LabelledClip],
    notes: &mut DataNotes,
    settings: &OverTimeSettings,
) -> Result<ClipPoint, Failure> {
    let outcomes: Vec<(usize, ClipOutcome)> = each(running, clips, notes, settings, |video, clip| {
        video.reset();
        let mut watch = ClipWatch::default();
        for frame in decoded(clip)? {
            let (outcome, answer) = video.classify(&frame)?;
            watch.add(answer.class, Some(outcome.exit));
        }
        Ok((clip.class, watch.finish()))
    })?;
    Ok(ClipPoint::of(settings, &outcomes, |exit| running.plan.macs(settings.policy(), exit) as f64))
}

/// Every frame run to the last exit, with the model's window.
pub(crate) fn full(plan: &Plan) -> Result<OverTimeSettings, Failure> {
    let exits = plan.stages().len();
    let last = ExitPolicy::only(exits - 1, exits)?;
    Ok(OverTimeConfig::default().with_repeats(1).settings(plan.info(), &last)?)
}

/// Share of the clips that the sum of the last exit's logits over all frames answers rightly.
pub(crate) fn clip_accuracy(recorded: &[Recorded]) -> f64 {
    let right = |recorded: &&Recorded| {
        let mut frames = recorded.clip.frames.iter().filter_map(|frame| frame.last());
        let mut sum = frames.next().cloned().unwrap_or_default();
        frames.for_each(|logits| sum.iter_mut().zip(logits).for_each(|(sum, logit)| *sum += logit));
        Measure::MaxSoftmax.read(&sum).is_ok_and(|reading| reading.class == recorded.clip.class)
    };
    recorded.iter().filter(right).count() as f64 / recorded.len().max(1) as f64
}

/// Share of the frames that are answered rightly without those before them.
pub(crate) fn frame_accuracy(recorded: &[Recorded]) -> f64 {
    let frames: usize = recorded.iter().map(|recorded| recorded.clip.frames.len()).sum();
    recorded.iter().map(|recorded| recorded.right_alone).sum::<usize>() as f64 / frames.max(1) as f64
}

fn decoded(clip: &LabelledClip) -> Result<Vec<Frame>, anyhow::Error> {
    clip.frames.iter().map(|path| Ok(decode_image(path, ImageLimits::default())?)).collect()
}

/// Clips by their places, and what came of them.
type Done<T> = Vec<(usize, Result<T, Skipped>)>;

/// Works on clips, several at once, in their order.
fn each<T: Send>(
    running: Running<'_>,
    clips: &[LabelledClip],
    notes: &mut DataNotes,
    settings: &OverTimeSettings,
    work: impl Fn(&mut VideoClassifier, &LabelledClip) -> Result<T, anyhow::Error> + Sync,
) -> Result<Vec<T>, Failure> {
    let Running { plan, strict, jobs, quiet } = running;
    let jobs = jobs.or_else(|| std::thread::available_parallelism().ok()).map_or(1, NonZeroUsize::get);
    let bar = progress::images(clips.len(), 0, quiet);
    let next = AtomicUsize::new(0);
    let one = || -> Result<Done<T>, Failure> {
        let mut video = VideoClassifier::new(plan.clone(), settings.clone())?;
        let mut done = vec![];
        loop {
            let place = next.fetch_add(1, Ordering::Relaxed);
            let Some(clip) = clips.get(place) else { return Ok(done) };
            let found = match work(&mut video, clip) {
                Err(error) if strict => return Err(Failure::Input(error)),
                found => found.map_err(|error| Skipped::new(&clip.path, SkipReason::Unreadable(chain(&error)))),
            };
            done.push((place, found));
            bar.inc(1);
        }
    };
    let parts: Vec<_> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..jobs.min(clips.len())).map(|_| scope.spawn(one)).collect();
        // A worker that panicked is a defect: it is passed on.
        workers.into_iter().map(|w| w.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
    });
    bar.finish_and_clear();
    let mut all: Done<T> = vec![];
    for part in parts {
        all.extend(part?);
    }
    all.sort_by_key(|(place, _)| *place);
    let (mut made, mut skipped) = (vec![], vec![]);
    for (_, found) in all {
        match found {
            Ok(one) => made.push(one),
            Err(one) => skipped.push(one),
        }
    }
    notes.skip(skipped);
    Ok(made)
}
