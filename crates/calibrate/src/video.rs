//! Clips with a class: how frames are decided together, found by replaying what every exit said of every frame.

use std::cmp::Ordering;

use dyn_perceiver_core::exit::{
    Decision, ExitPolicy, ExitRule, Measure, OverTime, OverTimeError, OverTimeSettings, PolicyError,
};

/// Confidences at which exits are tried to be left. Those of sums are near 1, so they lie close together there.
const LEVELS: [f32; 13] = [0.0, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.999, 0.9999, 1.0];
/// Equal answers in a row that are tried.
const REPEATS: [u32; 3] = [1, 2, 3];

/// A labelled clip and what the network said of it.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Clip {
    /// Its class.
    pub class: usize,
    /// For each frame, for each exit, its logits.
    pub frames: Vec<Vec<Vec<f32>>>,
}

impl Clip {
    /// A clip of a class, with the logits of each exit at each frame.
    pub fn new(class: usize, frames: Vec<Vec<Vec<f32>>>) -> Clip {
        Clip { class, frames }
    }
}

/// What became of a clip.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct ClipOutcome {
    /// The answer at its end; none where none was given.
    pub answer: Option<usize>,
    /// Frames until this answer was first given and stayed.
    pub delay: Option<usize>,
    /// For each frame, the exit that it left at; none where it gave no finite logits.
    pub exits: Vec<Option<usize>>,
}

/// Adds up the frames of a clip as a loop decides them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ClipWatch {
    answer: Option<usize>,
    since: usize,
    exits: Vec<Option<usize>>,
}

impl ClipWatch {
    /// Takes in the answer after a frame, and the exit that the frame left at.
    pub fn add(&mut self, answer: Option<usize>, exit: Option<usize>) {
        self.exits.push(exit);
        if self.answer != answer {
            (self.answer, self.since) = (answer, self.exits.len());
        }
    }

    /// What became of the clip.
    pub fn finish(self) -> ClipOutcome {
        ClipOutcome { answer: self.answer, delay: self.answer.map(|_| self.since), exits: self.exits }
    }
}

/// What settings come to on labelled clips.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct ClipPoint {
    /// The settings.
    pub settings: OverTimeSettings,
    /// Share of the clips whose answer at their end is right.
    pub accuracy: f64,
    /// Mean cost of a frame.
    pub cost: f64,
    /// Mean number of frames until the right answer, of the clips that got it.
    pub delay: Option<f64>,
    /// Share of the frames that leave at each exit.
    pub shares: Vec<f64>,
}

impl ClipPoint {
    /// Adds up clips: for each its class and what became of it. `cost` is that of a frame that leaves at an exit.
    pub fn of(settings: &OverTimeSettings, clips: &[(usize, ClipOutcome)], cost: impl Fn(usize) -> f64) -> ClipPoint {
        let exits = settings.policy().rules().len();
        let last = settings.policy().last_exit();
        let (mut right, mut frames, mut total, mut delays) = (0usize, 0usize, 0.0, vec![]);
        let mut shares = vec![0.0; exits];
        for (class, outcome) in clips {
            if outcome.answer == Some(*class) {
                right += 1;
                delays.extend(outcome.delay);
            }
            for exit in &outcome.exits {
                // What gave no answer ran to the end.
                let exit = exit.unwrap_or(last);
                frames += 1;
                total += cost(exit);
                shares[exit] += 1.0;
            }
        }
        shares.iter_mut().for_each(|share| *share /= frames.max(1) as f64);
        let delay = (!delays.is_empty()).then(|| delays.iter().sum::<usize>() as f64 / delays.len() as f64);
        let (accuracy, cost) = (right as f64 / clips.len().max(1) as f64, total / frames.max(1) as f64);
        ClipPoint { settings: settings.clone(), accuracy, cost, delay, shares }
    }
}

/// Replays a clip: each frame leaves where the settings say, by what every exit said when all of them were computed. States
/// that early frames would have held are therefore taken as fresh; the network alone knows better.
///
/// # Errors
/// [`OverTimeError`] for logits that are not those of the settings' exits.
pub fn replay_clip(settings: &OverTimeSettings, clip: &Clip) -> Result<ClipOutcome, OverTimeError> {
    let classes = clip.frames.iter().flatten().map(Vec::len).max().unwrap_or(1);
    let exits = settings.policy().rules().len();
    let room = vec![0.0; OverTime::<Vec<f32>>::storage_len(exits, classes, settings.window())];
    let mut video = OverTime::new(settings.clone(), classes, room)?;
    let mut watch = ClipWatch::default();
    for frame in &clip.frames {
        video.begin();
        for exit in (0..exits).filter(|&exit| settings.policy().evaluates(exit)) {
            let logits = frame.get(exit).map_or(&[][..], Vec::as_slice);
            if video.observe(exit, logits) == Ok(Decision::Leave) {
                break;
            }
        }
        let answer = video.finish();
        watch.add(answer.class, answer.exit);
    }
    Ok(watch.finish())
}

/// Policies that are tried: one confidence for all exits, for the first and the last, or the last alone.
///
/// # Errors
/// [`PolicyError`] for more exits than a policy can have.
pub fn policies(exits: usize) -> Result<Vec<ExitPolicy>, PolicyError> {
    let mut found = vec![ExitPolicy::only(exits.saturating_sub(1), exits)?];
    for level in LEVELS {
        let every = vec![ExitRule::Leave(level); exits];
        let ends: Vec<ExitRule> = (0..exits)
            .map(|exit| if exit == 0 || exit + 1 == exits { ExitRule::Leave(level) } else { ExitRule::Skip })
            .collect();
        found.push(ExitPolicy::new(Measure::MaxSoftmax, &every)?);
        if exits > 2 {
            found.push(ExitPolicy::new(Measure::MaxSoftmax, &ends)?);
        }
    }
    Ok(found)
}

/// The window and the number of equal answers that are right most often, of those the ones that answer soonest; with them,
/// the policies that no cheaper one reaches in accuracy, by rising cost. Windows of 1, 2, 4 frames and of `window` are tried.
/// `cost` is that of a frame that leaves at an exit under a policy.
///
/// # Errors
/// [`OverTimeError`] when logits do not fit.
pub fn clip_frontier(
    clips: &[Clip],
    window: usize,
    policies: &[ExitPolicy],
    cost: impl Fn(&ExitPolicy, usize) -> f64,
) -> Result<Vec<ClipPoint>, OverTimeError> {
    let mut windows: Vec<usize> = [1, 2, 4].into_iter().filter(|&frames| frames < window).collect();
    windows.push(window);
    let mut best: Option<(f64, f64, Vec<ClipPoint>)> = None;
    for window in windows {
        for repeats in REPEATS {
            let mut points = vec![];
            for policy in policies {
                let settings = OverTimeSettings::new(policy.clone(), window, repeats)?;
                let replayed: Result<Vec<_>, _> =
                    clips.iter().map(|clip| Ok((clip.class, replay_clip(&settings, clip)?))).collect();
                points.push(ClipPoint::of(&settings, &replayed?, |exit| cost(policy, exit)));
            }
            let points = frontier(points);
            let Some(last) = points.last() else { continue };
            let (accuracy, delay) = (last.accuracy, last.delay.unwrap_or(f64::INFINITY));
            let is_better = |(most, soonest): (f64, f64)| match accuracy.total_cmp(&most) {
                Ordering::Equal => delay < soonest,
                order => order == Ordering::Greater,
            };
            if best.as_ref().is_none_or(|(most, soonest, _)| is_better((*most, *soonest))) {
                best = Some((accuracy, delay, points));
            }
        }
    }
    Ok(best.map(|best| best.2).unwrap_or_default())
}

/// Of points those that no cheaper one reaches in accuracy, by rising cost.
pub fn frontier(mut points: Vec<ClipPoint>) -> Vec<ClipPoint> {
    points.sort_by(|a, b| a.cost.total_cmp(&b.cost).then(b.accuracy.total_cmp(&a.accuracy)));
    let mut best = f64::NEG_INFINITY;
    points.retain(|point| {
        let better = point.accuracy > best;
        best = best.max(point.accuracy);
        better
    });
    points
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Clips of three classes. The first exit tells the class from the third frame on, the last one always, but one frame
    /// in four shows another.
    fn clips() -> Vec<Clip> {
        let say = |class: usize, strength: f32| -> Vec<f32> {
            (0..3).map(|c| if c == class { strength } else { 0.0 }).collect()
        };
        (0..30)
            .map(|n| {
                let class = n % 3;
                let frame = |t: usize| {
                    let shown = if (t + n) % 4 == 3 { (class + 1) % 3 } else { class };
                    vec![say(if t >= 2 { shown } else { 0 }, if t >= 2 { 3.0 } else { 0.1 }), say(shown, 2.0)]
                };
                Clip::new(class, (0..8).map(frame).collect())
            })
            .collect()
    }

    fn cost(_: &ExitPolicy, exit: usize) -> f64 {
        [1.0, 10.0][exit]
    }

    #[test]
    fn sums_over_time_are_right_where_single_frames_are_not() {
        let clips = clips();
        let found = clip_frontier(&clips, 8, &policies(2).unwrap(), cost).unwrap();
        let best = found.last().unwrap();
        assert_eq!(best.accuracy, 1.0, "{best:?}");
        assert!(best.settings.window() > 1 && best.cost < 10.0, "{best:?}");
        assert!(found.windows(2).all(|pair| pair[0].cost < pair[1].cost && pair[0].accuracy < pair[1].accuracy));
        // One frame and one answer are fooled by the clips that end with another.
        let alone = OverTimeSettings::new(ExitPolicy::only(1, 2).unwrap(), 1, 1).unwrap();
        let replayed: Vec<_> = clips.iter().map(|clip| (clip.class, replay_clip(&alone, clip).unwrap())).collect();
        let point = ClipPoint::of(&alone, &replayed, |exit| cost(alone.policy(), exit));
        assert!((point.accuracy - 0.75).abs() < 0.1 && point.cost == 10.0, "{point:?}");
        assert_eq!(point.shares, [0.0, 1.0]);
    }

    #[test]
    fn the_delay_is_when_the_answer_came_to_stay() {
        let mut watch = ClipWatch::default();
        for answer in [None, Some(2), Some(1), Some(1), Some(1)] {
            watch.add(answer, Some(0));
        }
        let outcome = watch.finish();
        assert_eq!((outcome.answer, outcome.delay), (Some(1), Some(3)));
    }
}
