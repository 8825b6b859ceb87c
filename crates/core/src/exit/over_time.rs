//! Exits over time: a video's frames decided together, so that most of them need no more than the first exit.
//!
//! Logits of an exit are summed over a window of frames, and confidence is read off the sum. A frame leaves at the first
//! exit whose summed confidence reaches its threshold. An answer changes only after several equal ones in a row, and once
//! it is certain only the first exit is looked at, until it disagrees.

use core::fmt;

use super::{Decision, ExitPolicy, ExitRule, LogitsError, MAX_EXITS, Reading};

/// Most frames of a window.
pub const MAX_WINDOW: usize = 32;

/// How frames are decided together.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct OverTimeSettings {
    policy: ExitPolicy,
    window: usize,
    repeats: u32,
    hold: u32,
    warming: u32,
}

/// Settings or memory that do not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum OverTimeError {
    /// A window without frames, or with more than [`MAX_WINDOW`].
    Window {
        /// Frames asked for.
        frames: usize,
    },
    /// Answers that repeat no times.
    Repeats,
    /// A policy for another number of exits.
    Exits {
        /// Exits of the video.
        expected: usize,
        /// Exits of the policy.
        actual: usize,
    },
    /// Less memory than [`OverTime::storage_len`] says, or no classes.
    Storage {
        /// Floats needed.
        expected: usize,
        /// Floats given.
        actual: usize,
    },
}

impl fmt::Display for OverTimeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OverTimeError::Window { frames } => write!(f, "a window of {frames} frames, expected 1 to {MAX_WINDOW}"),
            OverTimeError::Repeats => f.write_str("an answer has to be given once at least"),
            OverTimeError::Exits { expected, actual } => write!(f, "a policy for {actual} exits, expected {expected}"),
            OverTimeError::Storage { expected, actual } => write!(f, "room for {actual} logits, expected {expected}"),
        }
    }
}

impl core::error::Error for OverTimeError {}

impl OverTimeSettings {
    /// Frames by the thresholds of `policy` on sums over `window` frames; an answer changes after `repeats` equal ones in
    /// a row. States count as stale after as many frames as the window has, and one full frame warms them.
    ///
    /// # Errors
    /// [`OverTimeError::Window`] or [`OverTimeError::Repeats`].
    pub fn new(policy: ExitPolicy, window: usize, repeats: u32) -> Result<Self, OverTimeError> {
        if !(1..=MAX_WINDOW).contains(&window) {
            return Err(OverTimeError::Window { frames: window });
        }
        if repeats == 0 {
            return Err(OverTimeError::Repeats);
        }
        Ok(OverTimeSettings { policy, window, repeats, hold: window as u32, warming: 1 })
    }

    /// States that were held for more than `frames` frames count as stale.
    #[must_use]
    pub fn with_hold(mut self, frames: u32) -> Self {
        self.hold = frames;
        self
    }

    /// After stale states so many frames that compute them anew are marked as warming.
    #[must_use]
    pub fn with_warming(mut self, frames: u32) -> Self {
        self.warming = frames;
        self
    }

    /// Thresholds and measure.
    pub fn policy(&self) -> &ExitPolicy {
        &self.policy
    }

    /// Frames over which logits are summed.
    pub fn window(&self) -> usize {
        self.window
    }

    /// Equal answers in a row after which the answer changes.
    pub fn repeats(&self) -> u32 {
        self.repeats
    }
}

/// What became of a frame.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub struct FrameAnswer {
    /// The answer as it stands: that of earlier frames until enough frames say otherwise. None before the first.
    pub class: Option<usize>,
    /// Whether this frame changed it.
    pub changed: bool,
    /// The exit that the frame left at, from 0. None where none gave finite logits.
    pub exit: Option<usize>,
    /// What this exit says of the window: class and confidence.
    pub reading: Option<Reading>,
    /// Whether the answer is certain, so that the next frame looks at the first exit alone.
    pub certain: bool,
    /// Whether states behind the exit were stale when it was computed: its logits are worth less.
    pub warming: bool,
    /// Frames since the last exit that the policy evaluates was computed.
    pub held: u32,
}

/// Frames of one video. `S` is memory for logits: an array, a slice or a `Vec`.
///
/// ```
/// use dyn_perceiver_core::exit::{Decision, ExitPolicy, Measure, OverTime, OverTimeSettings};
///
/// let policy = ExitPolicy::with_thresholds(Measure::MaxSoftmax, 2, &[0.9])?;
/// let settings = OverTimeSettings::new(policy, 4, 2)?;
/// let mut video = OverTime::new(settings, 3, [0.0; 32])?;
/// for logits in [[0.0, 4.0, 0.0], [0.0, 3.0, 0.0]] {
///     video.begin();
///     assert_eq!(video.observe(0, &logits)?, Decision::Leave);
///     video.finish();
/// }
/// assert_eq!(video.answer(), Some(1));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct OverTime<S> {
    settings: OverTimeSettings,
    classes: usize,
    /// For each exit the logits of each frame of the window, then one row for their sum.
    logits: S,
    /// For each exit, a bit for each frame of the window at which it was computed.
    seen: [u32; MAX_EXITS],
    /// Where in the window this frame is.
    place: usize,
    /// For each exit, frames since it was computed.
    since: [u32; MAX_EXITS],
    answer: Option<usize>,
    certain: bool,
    /// Another class than the answer, and how often in a row it was said.
    candidate: Option<(usize, u32)>,
    /// Frames still to be marked.
    warming: u32,
    /// Of this frame: the exit reached, what it says, and whether that reaches its threshold.
    reached: Option<(usize, Reading, bool)>,
    /// Whether this frame computed what was stale.
    warmed: bool,
}

impl<S: AsRef<[f32]> + AsMut<[f32]>> OverTime<S> {
    /// Floats of memory for `exits` exits of `classes` classes over `window` frames.
    pub const fn storage_len(exits: usize, classes: usize, window: usize) -> usize {
        (exits.saturating_mul(window)).saturating_add(1).saturating_mul(classes)
    }

    /// A video that has not begun.
    ///
    /// # Errors
    /// [`OverTimeError::Storage`].
    pub fn new(settings: OverTimeSettings, classes: usize, storage: S) -> Result<Self, OverTimeError> {
        let expected = Self::storage_len(settings.policy.rules().len(), classes, settings.window);
        let actual = storage.as_ref().len();
        if classes == 0 || actual < expected {
            return Err(OverTimeError::Storage { expected: expected.max(1), actual });
        }
        Ok(OverTime {
            settings,
            classes,
            logits: storage,
            seen: [0; MAX_EXITS],
            place: 0,
            since: [0; MAX_EXITS],
            answer: None,
            certain: false,
            candidate: None,
            warming: 0,
            reached: None,
            warmed: false,
        })
    }

    /// Forgets all frames: what comes is another video.
    pub fn reset(&mut self) {
        self.seen = [0; MAX_EXITS];
        self.since = [0; MAX_EXITS];
        self.place = 0;
        (self.answer, self.certain, self.candidate) = (None, false, None);
        (self.warming, self.reached, self.warmed) = (0, None, false);
    }

    /// The answer as it stands.
    pub fn answer(&self) -> Option<usize> {
        self.answer
    }

    /// Goes on under another policy, as a governor has it from frame to frame; what was seen stays.
    ///
    /// # Errors
    /// [`OverTimeError::Exits`] when it is for another number of exits.
    pub fn set_policy(&mut self, policy: &ExitPolicy) -> Result<(), OverTimeError> {
        let (expected, actual) = (self.settings.policy.rules().len(), policy.rules().len());
        if expected != actual {
            return Err(OverTimeError::Exits { expected, actual });
        }
        if self.settings.policy != *policy {
            self.settings.policy = policy.clone();
        }
        Ok(())
    }

    /// How frames are decided.
    pub fn settings(&self) -> &OverTimeSettings {
        &self.settings
    }

    /// Whether what exit `exit` and those after it compute was held for longer than the settings allow.
    pub fn is_stale(&self, exit: usize) -> bool {
        self.since.get(exit).is_some_and(|&since| since > self.settings.hold)
    }

    /// Begins a frame; the oldest one leaves the window.
    pub fn begin(&mut self) {
        self.place = (self.place + 1) % self.settings.window;
        for seen in &mut self.seen {
            *seen &= !(1 << self.place);
        }
        for since in &mut self.since {
            *since = since.saturating_add(1);
        }
        (self.reached, self.warmed) = (None, false);
    }

    /// Takes the logits of an exit for this frame and says whether the frame leaves here. Exits come in order, those that
    /// the policy skips left out.
    ///
    /// # Errors
    /// [`LogitsError`] for logits that are no numbers or not as many as there are classes; then the next exit is asked.
    pub fn observe(&mut self, exit: usize, logits: &[f32]) -> Result<Decision, LogitsError> {
        let rules = self.settings.policy.rules();
        let (Some(rule), true) = (rules.get(exit).copied(), logits.len() == self.classes) else {
            return Err(LogitsError::Empty);
        };
        if let Some(index) = logits.iter().position(|logit| !logit.is_finite()) {
            return Err(LogitsError::NotFinite { index });
        }
        let (classes, window) = (self.classes, self.settings.window);
        let (rows, sum) = self.logits.as_mut().split_at_mut(rules.len() * window * classes);
        let row = |frame: usize| (exit * window + frame) * classes..(exit * window + frame + 1) * classes;
        if let (Some(row), Some(seen)) = (rows.get_mut(row(self.place)), self.seen.get_mut(exit)) {
            row.copy_from_slice(logits);
            *seen |= 1 << self.place;
        }
        let Some(sum) = sum.get_mut(..classes) else { return Err(LogitsError::Empty) };
        sum.fill(0.0);
        let seen = self.seen.get(exit).copied().unwrap_or(0);
        // Oldest first: the same frames give the same bits wherever in memory they lie.
        let frames = (1..=window).map(|age| (self.place + age) % window);
        for frame in frames.filter(|frame| seen & (1 << frame) != 0) {
            for (sum, logit) in sum.iter_mut().zip(rows.get(row(frame)).unwrap_or_default()) {
                *sum += logit;
            }
        }
        let reading = self.settings.policy.measure().read(sum)?;
        if let Some(since) = self.since.get_mut(exit) {
            // This frame counts as one already. The first exit is computed in every frame.
            self.warmed |= since.saturating_sub(1) > self.settings.hold;
            *since = 0;
        }
        // The last exit takes what is left, whatever it says: sure is what would have been so one exit earlier.
        let before = rules[..exit].iter().rev().find(|rule| **rule != ExitRule::Skip).copied();
        let rule = if exit >= self.settings.policy.last_exit() { before.unwrap_or(rule) } else { rule };
        let sure = matches!(rule, ExitRule::Leave(threshold) if reading.confidence >= threshold);
        self.reached = Some((exit, reading, sure));
        let first = rules.iter().position(|rule| *rule != ExitRule::Skip) == Some(exit);
        let last = exit >= self.settings.policy.last_exit();
        let leaves = match (self.certain, first) {
            (true, true) => self.answer == Some(reading.class),
            _ => sure,
        };
        self.certain &= leaves;
        Ok(if leaves || last { Decision::Leave } else { Decision::Continue })
    }

    /// Ends the frame.
    pub fn finish(&mut self) -> FrameAnswer {
        let mut changed = false;
        if self.warmed {
            self.warming = self.settings.warming;
        }
        let deep = self.reached.is_some_and(|(exit, ..)| {
            let rules = self.settings.policy.rules();
            rules.iter().position(|rule| *rule != ExitRule::Skip) != Some(exit)
        });
        let warming = deep && self.warming > 0;
        if warming {
            self.warming -= 1;
        }
        if let Some((_, reading, sure)) = self.reached {
            if self.answer == Some(reading.class) {
                self.candidate = None;
                self.certain |= sure;
            } else {
                let times = self.candidate.filter(|(class, _)| *class == reading.class).map_or(0, |(_, times)| times);
                self.candidate = Some((reading.class, times.saturating_add(1)));
                self.certain = false;
                if times.saturating_add(1) >= self.settings.repeats {
                    (self.answer, self.candidate, changed) = (Some(reading.class), None, true);
                    self.certain = sure;
                }
            }
        }
        let last = self.settings.policy.last_exit();
        FrameAnswer {
            class: self.answer,
            changed,
            exit: self.reached.map(|(exit, ..)| exit),
            reading: self.reached.map(|(_, reading, _)| reading),
            certain: self.certain,
            warming,
            held: self.since.get(last).copied().unwrap_or(0),
        }
    }
}

/// Whether the time since the last frame is so long that what was carried is of another scene: more than two periods.
/// What is no number is such a time, and a period that is not known has none.
pub fn is_gap(elapsed: f32, period: Option<f32>) -> bool {
    period.is_some_and(|period| elapsed.is_nan() || elapsed > 2.0 * period)
}

#[cfg(test)]
#[path = "over_time_tests.rs"]
mod tests;
