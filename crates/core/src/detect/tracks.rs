//! The same object from frame to frame: boxes matched by overlap, and believed once seen n times of m.

use super::{BoundingBox, Found};

/// When a track is believed and when it ends.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub struct TrackerSettings {
    /// Boxes of one class that overlap (IoU) by this much or more are the same object.
    pub overlap: f32,
    /// Frames in which an object has to be seen, of the last `of`.
    pub seen: u32,
    /// The frames that are looked back on, at most 32.
    pub of: u32,
    /// Frames in a row without the object after which its track ends.
    pub patience: u32,
}

impl Default for TrackerSettings {
    /// An overlap of 0.3, two frames of three, and ten without.
    fn default() -> Self {
        TrackerSettings { overlap: 0.3, seen: 2, of: 3, patience: 10 }
    }
}

impl TrackerSettings {
    /// Boxes are one object from `overlap` on, and it is believed once seen in `seen` of the last `of` frames.
    pub fn new(overlap: f32, seen: u32, of: u32) -> Self {
        TrackerSettings { overlap, seen, of, ..TrackerSettings::default() }
    }

    /// Replaces the frames without the object after which its track ends.
    #[must_use]
    pub fn with_patience(mut self, patience: u32) -> Self {
        self.patience = patience;
        self
    }
}

/// An object over time.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub struct Track {
    /// Its number, never given twice until they wrap.
    pub id: u32,
    /// Where it was seen last.
    pub area: BoundingBox,
    /// Its class.
    pub label: u16,
    /// The score of its last box.
    pub score: f32,
    /// Whether it was seen often enough to be believed; it is so for good.
    pub confirmed: bool,
    /// Frames since it was seen.
    pub missed: u32,
    /// A bit for each of the last frames, the newest lowest: seen or not.
    history: u32,
    /// Frames since its first.
    age: u32,
}

/// What changed with a frame, of tracks that are believed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub struct Changes {
    /// Objects that were believed for the first time.
    pub appeared: u32,
    /// Objects whose track ended.
    pub left: u32,
}

/// At most `T` objects at a time.
#[derive(Clone, Debug)]
pub struct Tracker<const T: usize> {
    settings: TrackerSettings,
    tracks: [Option<Track>; T],
    next: u32,
}

impl<const T: usize> Tracker<T> {
    /// No objects yet.
    pub fn new(settings: TrackerSettings) -> Self {
        let of = settings.of.clamp(1, u32::BITS);
        let settings = TrackerSettings { of, seen: settings.seen.clamp(1, of), ..settings };
        Tracker { settings, tracks: [None; T], next: 1 }
    }

    /// Forgets all objects; numbers go on.
    pub fn reset(&mut self) {
        self.tracks = [None; T];
    }

    /// All tracks, those not believed yet among them.
    pub fn tracks(&self) -> impl Iterator<Item = &Track> {
        self.tracks.iter().flatten()
    }

    /// Takes the boxes of a frame, best first, and writes for each the number of its track where that is believed. Boxes
    /// beyond the length of `ids` are matched too. A box takes the track of its class that overlaps most, a track one
    /// box; where there is no room for a new track, its box has none.
    pub fn update(&mut self, found: &[Found], ids: &mut [Option<u32>]) -> Changes {
        let mut changes = Changes::default();
        for track in self.tracks.iter_mut().flatten() {
            track.history <<= 1;
            track.missed = track.missed.saturating_add(1);
            track.age = track.age.saturating_add(1);
        }
        let unknown = ids.len().min(found.len());
        ids.iter_mut().skip(unknown).for_each(|id| *id = None);
        for (i, found) in found.iter().enumerate() {
            let place = self.place_for(found);
            let track = place.and_then(|place| self.tracks.get_mut(place)).and_then(Option::as_mut);
            let mut id = None;
            if let Some(track) = track {
                track.area = found.area;
                track.score = found.score;
                track.history |= 1;
                track.missed = 0;
                let mask = u32::MAX >> (u32::BITS - self.settings.of);
                if !track.confirmed && (track.history & mask).count_ones() >= self.settings.seen {
                    track.confirmed = true;
                    changes.appeared += 1;
                }
                id = track.confirmed.then_some(track.id);
            }
            if let Some(place) = ids.get_mut(i) {
                *place = id;
            }
        }
        let settings = self.settings;
        for place in &mut self.tracks {
            // What is not believed once it cannot be any more ends at once.
            let ended = |track: &Track| match track.confirmed {
                true => track.missed >= settings.patience.max(1),
                false => track.missed >= settings.of,
            };
            if let Some(track) = place.filter(ended) {
                changes.left += u32::from(track.confirmed);
                *place = None;
            }
        }
        changes
    }

    /// The track that a box belongs to, a new one where none overlaps enough. None where there is no room.
    fn place_for(&mut self, found: &Found) -> Option<usize> {
        let fits = |track: &Track| {
            // A track that this frame has reached already is another object.
            let free = track.label == found.label && track.missed > 0;
            let overlap = track.area.iou(found.area);
            (free && overlap >= self.settings.overlap && overlap > 0.0).then_some(overlap)
        };
        let overlaps = self.tracks.iter().enumerate();
        let overlaps = overlaps.filter_map(|(place, track)| Some((place, fits(track.as_ref()?)?)));
        if let Some((place, _)) = overlaps.max_by(|a, b| a.1.total_cmp(&b.1)) {
            return Some(place);
        }
        let place = self.tracks.iter().position(Option::is_none)?;
        let id = self.next;
        self.next = self.next.wrapping_add(1).max(1);
        let Found { area, label, score, .. } = *found;
        // Missed until it is marked as seen: the caller does.
        let track = Track { id, area, label, score, confirmed: false, missed: 1, history: 0, age: 0 };
        *self.tracks.get_mut(place)? = Some(track);
        Some(place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(x: f32, label: u16) -> Found {
        Found::new(BoundingBox::new(x, 0.0, x + 10.0, 10.0), 0.9, label)
    }

    fn frame<const T: usize>(tracker: &mut Tracker<T>, found: &[Found]) -> (std::vec::Vec<Option<u32>>, Changes) {
        let mut ids = std::vec![None; found.len()];
        let changes = tracker.update(found, &mut ids);
        (ids, changes)
    }

    #[test]
    fn an_object_has_its_number_once_it_was_seen_twice_of_three() {
        let mut tracker = Tracker::<4>::new(TrackerSettings::default());
        assert_eq!(frame(&mut tracker, &[at(0.0, 1)]).0, [None]);
        assert_eq!(frame(&mut tracker, &[]).1, Changes::default());
        let (ids, changes) = frame(&mut tracker, &[at(2.0, 1)]);
        assert_eq!((ids[0], changes.appeared), (Some(1), 1));
        // Another class in the same place is another object, and a box far away too.
        let (ids, _) = frame(&mut tracker, &[at(3.0, 1), at(3.0, 2), at(50.0, 1)]);
        assert_eq!(ids, [Some(1), None, None]);
        assert_eq!(tracker.tracks().count(), 3);
    }

    #[test]
    fn a_track_ends_when_its_object_stays_away() {
        let mut tracker = Tracker::<4>::new(TrackerSettings::new(0.3, 1, 1).with_patience(3));
        assert_eq!(frame(&mut tracker, &[at(0.0, 0)]).0, [Some(1)]);
        let left: u32 = (0..5).map(|_| frame(&mut tracker, &[]).1.left).sum();
        assert_eq!((left, tracker.tracks().count()), (1, 0));
        assert_eq!(frame(&mut tracker, &[at(0.0, 0)]).0, [Some(2)]);
    }

    #[test]
    fn two_boxes_of_one_frame_are_two_objects() {
        let mut tracker = Tracker::<4>::new(TrackerSettings::new(0.3, 1, 1));
        assert_eq!(frame(&mut tracker, &[at(0.0, 0), at(2.0, 0)]).0, [Some(1), Some(2)]);
        // Each goes on with the one that it overlaps most.
        assert_eq!(frame(&mut tracker, &[at(2.0, 0), at(0.0, 0)]).0, [Some(2), Some(1)]);
    }

    #[test]
    fn where_there_is_no_room_a_box_has_no_track() {
        let mut tracker = Tracker::<1>::new(TrackerSettings::new(0.3, 1, 1));
        assert_eq!(frame(&mut tracker, &[at(0.0, 0), at(50.0, 0)]).0, [Some(1), None]);
        let nan = Found::new(BoundingBox::new(f32::NAN, 0.0, 1.0, 1.0), f32::NAN, 0);
        assert_eq!(frame(&mut tracker, &[nan]).0, [None]);
        assert_eq!(Tracker::<0>::new(TrackerSettings::default()).update(&[at(0.0, 0)], &mut []), Changes::default());
    }
}
