//! Events: from an answer per frame to what somebody wants to be told.
//!
//! A single frame may be wrong. A [`Debouncer`] tells that a class has appeared once it was seen in so many of the last
//! frames, that it has left once it was missing in as many, and meanwhile, if asked, that it is still here. Neither `std`
//! nor an allocator is needed.

mod settings;

use core::time::Duration;

use serde::{Deserialize, Serialize};

pub use settings::{Confidences, EventSettings, EventSettingsError, MOST_FRAMES};

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum EventKind {
    /// The class was not here before.
    Appeared,
    /// It has been here for a while.
    StillHere,
    /// It is here no more.
    Left,
}

impl EventKind {
    /// The name used in files, records and messages.
    pub const fn name(self) -> &'static str {
        match self {
            EventKind::Appeared => "appeared",
            EventKind::StillHere => "still-here",
            EventKind::Left => "left",
        }
    }
}

impl core::fmt::Display for EventKind {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.pad(self.name())
    }
}

/// A class that a frame shows.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub struct Sighting {
    /// Index of the class.
    pub class: u16,
    /// Confidence in [0, 1].
    pub confidence: f32,
}

impl Sighting {
    /// A class and how sure the network is.
    pub const fn new(class: u16, confidence: f32) -> Self {
        Sighting { class, confidence }
    }
}

/// Something that somebody may want to be told.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub struct Event {
    /// What happened.
    pub kind: EventKind,
    /// Index of the class.
    pub class: u16,
    /// Highest confidence with which it was seen since it appeared.
    pub confidence: f32,
    /// How long it has been here.
    pub lasted: Duration,
}

/// One class that is followed.
#[derive(Clone, Copy, Debug)]
struct Followed {
    class: u16,
    /// Whether it was seen, frame by frame, the latest lowermost.
    seen: u32,
    /// Whether it counts as here, and since when.
    here: Option<Duration>,
    confidence: f32,
    /// When something was told of it last, and when it was told to have appeared.
    told: Duration,
    appeared: Option<Duration>,
}

/// Turns answers into events, of up to `N` classes at a time.
///
/// ```
/// use core::time::Duration;
/// use dyn_perceiver_core::events::{Debouncer, EventKind, EventSettings, Sighting};
///
/// // Two of three frames.
/// let mut debouncer = Debouncer::<4>::new(EventSettings::new(2, 3)?);
/// let mut told = [None; 2];
/// for (second, class) in [7, 3, 7, 7, 3, 3].into_iter().enumerate() {
///     let now = Duration::from_secs(second as u64);
///     debouncer.observe(now, &[Sighting::new(class, 0.9)], |event| {
///         if event.class == 7 {
///             told[usize::from(event.kind == EventKind::Left)] = Some(second);
///         }
///     });
/// }
/// assert_eq!(told, [Some(2), Some(5)]);
/// # Ok::<(), dyn_perceiver_core::events::EventSettingsError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Debouncer<const N: usize = 16> {
    settings: EventSettings,
    confidences: Confidences<N>,
    followed: [Option<Followed>; N],
    overlooked: u32,
}

impl<const N: usize> Debouncer<N> {
    /// One that has seen nothing.
    pub const fn new(settings: EventSettings) -> Self {
        Debouncer { settings, confidences: Confidences::new(settings.confidence), followed: [None; N], overlooked: 0 }
    }

    /// The same with confidences of single classes.
    #[must_use]
    pub fn with_confidences(self, confidences: Confidences<N>) -> Self {
        Debouncer { confidences, ..self }
    }

    /// Sightings that nothing came of because as many classes as there is room for were followed already.
    pub const fn overlooked(&self) -> u32 {
        self.overlooked
    }

    /// The classes that are here.
    pub fn here(&self) -> impl Iterator<Item = u16> + '_ {
        self.followed.iter().flatten().filter(|one| one.here.is_some()).map(|one| one.class)
    }

    /// Takes in a frame of `time`, on a clock that does not go back, and hands what happened to `tell`.
    pub fn observe(&mut self, time: Duration, seen: &[Sighting], mut tell: impl FnMut(Event)) {
        for one in self.followed.iter_mut().flatten() {
            one.seen <<= 1;
        }
        for sighting in seen {
            // What is not a number is not sure of anything.
            if sighting.confidence >= self.confidences.of(sighting.class) {
                self.see(*sighting, time);
            }
        }
        let settings = self.settings;
        for slot in &mut self.followed {
            let Some(one) = slot else { continue };
            let count = settings.count(one.seen);
            match one.here {
                None if count >= settings.needed() => {
                    let cold = one.appeared.is_none_or(|last| time.saturating_sub(last) >= settings.cool_down);
                    if cold {
                        (one.here, one.appeared, one.told) = (Some(time), Some(time), time);
                        tell(one.event(EventKind::Appeared, time));
                    }
                }
                None if count == 0 => {
                    one.confidence = 0.0;
                    // Its place is free again, once its cool-down is over.
                    if one.appeared.is_none_or(|last| time.saturating_sub(last) >= settings.cool_down) {
                        *slot = None;
                    }
                }
                None => {}
                Some(_) if count <= settings.left_at() => {
                    tell(one.event(EventKind::Left, time));
                    (one.here, one.confidence) = (None, 0.0);
                }
                Some(_) => {
                    let due = settings.still_every.is_some_and(|every| time.saturating_sub(one.told) >= every);
                    if due {
                        one.told = time;
                        tell(one.event(EventKind::StillHere, time));
                    }
                }
            }
        }
    }

    fn see(&mut self, sighting: Sighting, time: Duration) {
        let at = self.followed.iter().position(|one| one.is_some_and(|one| one.class == sighting.class));
        let at = at.or_else(|| self.followed.iter().position(Option::is_none));
        // Without a free place, that of a class which is not here and was seen least.
        let at = at.or_else(|| {
            let absent = |one: &Option<Followed>| one.as_ref().is_some_and(|one| one.here.is_none());
            let count = |one: &Option<Followed>| one.as_ref().map_or(0, |one| self.settings.count(one.seen));
            let least = (0..N).filter(|&at| self.followed.get(at).is_some_and(absent));
            least.min_by_key(|&at| self.followed.get(at).map_or(0, count))
        });
        let Some(place) = at.and_then(|at| self.followed.get_mut(at)) else {
            self.overlooked = self.overlooked.saturating_add(1);
            return;
        };
        let new = Followed { class: sighting.class, seen: 0, here: None, confidence: 0.0, told: time, appeared: None };
        let one = match place {
            Some(one) if one.class == sighting.class => one,
            _ => place.insert(new),
        };
        one.seen |= 1;
        one.confidence = one.confidence.max(sighting.confidence.min(1.0));
    }
}

impl Followed {
    fn event(&self, kind: EventKind, time: Duration) -> Event {
        let lasted = self.here.map_or(Duration::ZERO, |here| time.saturating_sub(here));
        Event { kind, class: self.class, confidence: self.confidence, lasted }
    }
}

#[cfg(test)]
mod tests;
