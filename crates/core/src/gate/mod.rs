//! Gates: whether a frame has to go through the network at all, or the last answer still holds.
//!
//! A [`Gate`] compares the luminance of a frame, at about a sixteenth of its size, with that of the frame that the network
//! saw last. Where nothing has changed the last answer is used again, but never for longer than
//! [`refresh`](GateSettings::refresh): what stands still is answered anew from time to time and never forgotten. A signal
//! from outside, such as a motion sensor's, can stand beside or in place of the comparison. A [`LatentGate`] stands behind the
//! network's first exit and compares what the network made of the frames so far. Neither `std` nor an allocator is needed, and
//! a gate never panics on any picture.

mod grid;
mod latent;
mod luma;

use core::time::Duration;

pub use grid::{CELLS, Grid};
pub use latent::{LatentGate, LatentSettings, code_distance};
pub use luma::Luma;

/// When a frame counts as changed, and how long an answer holds.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub struct GateSettings {
    /// Levels of luminance, of 255, by which the most changed cell of the picture may differ.
    pub threshold: f32,
    /// Longest time from one run of the network to the next.
    pub refresh: Duration,
}

impl GateSettings {
    /// Levels of luminance that a cell may differ by unless something else is asked for: above the noise of cameras by
    /// day, below what anything of a cell's size changes.
    pub const THRESHOLD: f32 = 8.0;
    /// Time for which an answer holds unless something else is asked for.
    pub const REFRESH: Duration = Duration::from_secs(10);

    /// A threshold in levels of luminance and the longest time for which an answer holds.
    pub const fn new(threshold: f32, refresh: Duration) -> Self {
        GateSettings { threshold, refresh }
    }
}

impl Default for GateSettings {
    fn default() -> Self {
        GateSettings::new(Self::THRESHOLD, Self::REFRESH)
    }
}

/// What is known of a frame before the network sees it.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct Scene<'a> {
    /// Its luminance, where pictures are compared.
    pub luma: Option<Luma<'a>>,
    /// What a sensor outside says: whether there may be something to see.
    pub signal: Option<bool>,
}

impl<'a> Scene<'a> {
    /// A frame by its luminance.
    pub const fn of(luma: Luma<'a>) -> Self {
        Scene { luma: Some(luma), signal: None }
    }

    /// The same frame, with what a sensor says, if there is one.
    #[must_use]
    pub const fn with_signal(self, signal: Option<bool>) -> Self {
        Scene { signal, ..self }
    }
}

/// Why the network has to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Cause {
    /// There is no answer yet.
    First,
    /// The picture has changed, or nothing says that it has not.
    Changed,
    /// The answer is as old as it may become.
    Refresh,
}

/// What a gate says of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Verdict {
    /// The network runs.
    Run(Cause),
    /// The last answer holds.
    Reuse,
}

/// Decides frame by frame whether the network runs.
///
/// ```
/// use core::time::Duration;
/// use dyn_perceiver_core::gate::{Cause, Gate, GateSettings, Luma, Scene, Verdict};
///
/// let mut gate = Gate::new(GateSettings::default());
/// let empty = [90; 64 * 48];
/// let mut person = empty;
/// person[20 * 64 + 20..20 * 64 + 40].fill(200);
/// fn scene(pixels: &[u8]) -> Scene<'_> {
///     Luma::grey(pixels, 64, 48).map_or(Scene::default(), Scene::of)
/// }
/// let second = Duration::from_secs(1);
/// assert_eq!(gate.judge(second, scene(&empty)), Verdict::Run(Cause::First));
/// assert_eq!(gate.judge(2 * second, scene(&empty)), Verdict::Reuse);
/// assert_eq!(gate.judge(3 * second, scene(&person)), Verdict::Run(Cause::Changed));
/// assert_eq!(gate.judge(4 * second, scene(&person)), Verdict::Reuse);
/// assert_eq!(gate.judge(13 * second, scene(&person)), Verdict::Run(Cause::Refresh));
/// ```
#[derive(Clone, Debug)]
pub struct Gate {
    settings: GateSettings,
    /// The frame that the network saw last, and the present one.
    seen: Grid,
    present: Grid,
    /// When the network saw a frame last.
    ran: Option<Duration>,
    difference: Option<f32>,
}

impl Gate {
    /// A gate that has seen nothing.
    pub const fn new(settings: GateSettings) -> Self {
        Gate { settings, seen: Grid::new(), present: Grid::new(), ran: None, difference: None }
    }

    /// The settings.
    pub const fn settings(&self) -> &GateSettings {
        &self.settings
    }

    /// By how many levels of luminance the most changed cell of the last frame differed from the frame that the network
    /// saw; none where they were not compared.
    pub const fn difference(&self) -> Option<f32> {
        self.difference
    }

    /// Forgets the last answer: the next frame runs.
    pub fn forget(&mut self) {
        self.ran = None;
    }

    /// Says that the last frame which was told to run got the answer of an earlier one, taken at `time`, as behind a
    /// [`LatentGate`]: that answer's age is what counts.
    pub fn answered_at(&mut self, time: Duration) {
        self.ran = self.ran.map(|ran| ran.min(time));
    }

    /// Judges the frame taken at `time`, on a clock that does not go back. Whoever is told to run does so: the frame is
    /// what later ones are compared with.
    pub fn judge(&mut self, time: Duration, scene: Scene<'_>) -> Verdict {
        self.difference = None;
        let has_luma = scene.luma.is_some_and(|luma| {
            self.present.fill(&luma);
            true
        });
        let cause = match self.ran {
            None => Some(Cause::First),
            Some(ran) if time.saturating_sub(ran) >= self.settings.refresh => Some(Cause::Refresh),
            Some(_) if scene.signal == Some(false) => None,
            Some(_) if has_luma => {
                self.difference = self.present.difference(&self.seen);
                // Not a number, and no comparison at all, count as changed.
                let alike = self.difference.is_some_and(|levels| levels <= self.settings.threshold);
                (!alike).then_some(Cause::Changed)
            }
            Some(_) => Some(Cause::Changed),
        };
        let Some(cause) = cause else { return Verdict::Reuse };
        self.ran = Some(time);
        if has_luma {
            core::mem::swap(&mut self.seen, &mut self.present);
        } else {
            // What was seen is not known: the next picture cannot be compared with it.
            self.seen = Grid::new();
        }
        Verdict::Run(cause)
    }
}

#[cfg(test)]
mod tests;
