//! When something counts as an event.

use core::fmt;
use core::time::Duration;

/// Most frames that are looked back upon.
pub const MOST_FRAMES: u8 = 32;

/// When a class counts as here, and how often it is told.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub struct EventSettings {
    /// Frames that must show a class, of those looked back upon.
    needed: u8,
    /// Frames looked back upon.
    of: u8,
    /// Least confidence of a frame that shows a class, where the class has none of its own.
    pub confidence: f32,
    /// Time for which a class that appeared is not told to appear again.
    pub cool_down: Duration,
    /// How often a class that stays is told, if at all.
    pub still_every: Option<Duration>,
}

/// Numbers of frames that make no sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct EventSettingsError {
    /// Frames that must show a class.
    pub needed: u8,
    /// Frames looked back upon.
    pub of: u8,
}

impl fmt::Display for EventSettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let EventSettingsError { needed, of } = self;
        write!(f, "{needed} of {of} frames: expected at least 1, and of at most {MOST_FRAMES} frames")
    }
}

impl core::error::Error for EventSettingsError {}

impl Default for EventSettings {
    /// Three of five frames at a confidence of 0.6, without a cool-down.
    fn default() -> Self {
        EventSettings { needed: 3, of: 5, confidence: 0.6, cool_down: Duration::ZERO, still_every: None }
    }
}

impl EventSettings {
    /// A class is here when `needed` of the last `of` frames show it.
    ///
    /// # Errors
    /// [`EventSettingsError`] unless `1 <= needed <= of <= 32`.
    pub const fn new(needed: u8, of: u8) -> Result<Self, EventSettingsError> {
        if needed == 0 || needed > of || of > MOST_FRAMES {
            return Err(EventSettingsError { needed, of });
        }
        Ok(EventSettings { needed, of, confidence: 0.6, cool_down: Duration::ZERO, still_every: None })
    }

    /// The same with another least confidence.
    #[must_use]
    pub const fn with_confidence(self, confidence: f32) -> Self {
        EventSettings { confidence, ..self }
    }

    /// The same with a time for which a class that appeared is not told to appear again.
    #[must_use]
    pub const fn with_cool_down(self, cool_down: Duration) -> Self {
        EventSettings { cool_down, ..self }
    }

    /// The same, telling so often that a class is still here.
    #[must_use]
    pub const fn with_still_every(self, every: Option<Duration>) -> Self {
        EventSettings { still_every: every, ..self }
    }

    pub(super) const fn needed(&self) -> u32 {
        self.needed as u32
    }

    /// Frames of those looked back upon that show a class, up to which one that was here has left: as many lack it as had
    /// to show it, and always fewer show it than had to.
    pub(super) const fn left_at(&self) -> u32 {
        let lacking = self.of - self.needed;
        if lacking < self.needed { lacking as u32 } else { self.needed as u32 - 1 }
    }

    /// Frames looked back upon that show a class.
    pub(super) const fn count(&self, seen: u32) -> u32 {
        (seen & (u32::MAX >> (MOST_FRAMES - self.of))).count_ones()
    }
}

/// Least confidences: one for all classes, and others for up to `N` single ones.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Confidences<const N: usize> {
    all: f32,
    single: [Option<(u16, f32)>; N],
}

impl<const N: usize> Confidences<N> {
    /// One for all classes.
    pub const fn new(all: f32) -> Self {
        Confidences { all, single: [None; N] }
    }

    /// Sets that of one class; false where there is no room for another one.
    pub fn set(&mut self, class: u16, confidence: f32) -> bool {
        let known = self.single.iter().position(|one| one.is_some_and(|(known, _)| known == class));
        let place = known.or_else(|| self.single.iter().position(Option::is_none));
        match place.and_then(|at| self.single.get_mut(at)) {
            Some(place) => {
                *place = Some((class, confidence));
                true
            }
            None => false,
        }
    }

    /// That of a class.
    pub fn of(&self, class: u16) -> f32 {
        self.single.iter().flatten().find(|(known, _)| *known == class).map_or(self.all, |&(_, confidence)| confidence)
    }
}
