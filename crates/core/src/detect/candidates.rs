//! From the maps of a head to the boxes that stay.

use core::cmp::Ordering;
use core::fmt;

use super::{Anchors, BoundingBox, BoxCode};

/// Coordinates of a box.
const COORDINATES: usize = 4;

/// The maps of one level: class scores as logits, and deltas of boxes.
#[derive(Clone, Copy, Debug)]
pub struct LevelMaps<'a> {
    stride: u32,
    /// Rows and columns.
    shape: [usize; 2],
    classes: usize,
    anchors: usize,
    scores: &'a [f32],
    deltas: &'a [f32],
    order: MapOrder,
}

/// How the numbers of a map lie in memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum MapOrder {
    /// (channels, rows, columns), as ONNX has them.
    #[default]
    ChannelsFirst,
    /// (rows, columns, channels).
    ChannelsLast,
}

/// Maps that do not belong together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub struct MapError {
    /// Numbers in the map of scores.
    pub scores: usize,
    /// Numbers in the map of deltas.
    pub deltas: usize,
    /// Places, rows by columns.
    pub places: usize,
    /// Classes.
    pub classes: usize,
}

impl fmt::Display for MapError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let MapError { scores, deltas, places, classes } = self;
        write!(f, "{scores} scores and {deltas} deltas are no maps of {places} places and {classes} classes")
    }
}

impl core::error::Error for MapError {}

impl<'a> LevelMaps<'a> {
    /// Maps of a level with one place every `stride` pixels, `shape` rows and columns: `scores` are anchors x classes
    /// logits a place, `deltas` anchors x 4 numbers a place; channel = anchor x classes + class, anchor x 4 + coordinate.
    ///
    /// # Errors
    /// [`MapError`] where the lengths do not fit.
    pub fn new(
        stride: u32,
        shape: [usize; 2],
        classes: usize,
        scores: &'a [f32],
        deltas: &'a [f32],
    ) -> Result<Self, MapError> {
        let places = shape[0].saturating_mul(shape[1]);
        let error = MapError { scores: scores.len(), deltas: deltas.len(), places, classes };
        let per_place = |len: usize, unit: usize| {
            let of_one = places.checked_mul(unit).filter(|&of_one| of_one > 0 && len.is_multiple_of(of_one));
            of_one.map(|of_one| len / of_one)
        };
        let anchors = per_place(scores.len(), classes).filter(|&anchors| anchors > 0).ok_or(error)?;
        if per_place(deltas.len(), COORDINATES) != Some(anchors) || stride == 0 {
            return Err(error);
        }
        Ok(LevelMaps { stride, shape, classes, anchors, scores, deltas, order: MapOrder::ChannelsFirst })
    }

    /// The same maps in another order.
    #[must_use]
    pub fn with_order(mut self, order: MapOrder) -> Self {
        self.order = order;
        self
    }

    /// A number of a map with `channels` channels.
    fn at(&self, map: &[f32], channels: usize, place: usize, channel: usize) -> f32 {
        let places = self.shape[0] * self.shape[1];
        let index = match self.order {
            MapOrder::ChannelsFirst => channel * places + place,
            MapOrder::ChannelsLast => place * channels + channel,
        };
        map.get(index).copied().unwrap_or(f32::NAN)
    }

    fn score(&self, place: usize, channel: usize) -> f32 {
        self.at(self.scores, self.anchors * self.classes, place, channel)
    }

    fn deltas(&self, place: usize, anchor: usize) -> [f32; COORDINATES] {
        core::array::from_fn(|i| self.at(self.deltas, self.anchors * COORDINATES, place, anchor * COORDINATES + i))
    }
}

/// What is taken of a level.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub struct Limits {
    /// Scores above this count, in [0, 1].
    pub score: f32,
    /// Of each level the best so many pairs of anchor and class.
    pub candidates: usize,
}

impl Limits {
    /// RetinaNet's: scores above 0.05, the best 1000 of a level.
    pub const fn retina() -> Self {
        Limits { score: 0.05, candidates: 1000 }
    }

    /// Scores above `score`, the best `candidates` of a level.
    pub const fn new(score: f32, candidates: usize) -> Self {
        Limits { score, candidates }
    }
}

/// A box found.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub struct Found {
    /// Where, in pixels of the network's input.
    pub area: BoundingBox,
    /// How sure, in [0, 1].
    pub score: f32,
    /// The class.
    pub label: u16,
    /// The level it is from, as it was named when it was added.
    pub level: u8,
    /// The anchor of the level: place x anchors at a place + anchor.
    pub anchor: u32,
}

impl Found {
    /// A box of a class with a score, of no level.
    pub const fn new(area: BoundingBox, score: f32, label: u16) -> Self {
        Found { area, score, label, level: 0, anchor: 0 }
    }

    /// Best first; of equal scores, the one that comes first by level, anchor and class.
    fn order(&self, other: &Found) -> Ordering {
        let place = |found: &Found| (found.level, found.anchor, found.label);
        other.score.total_cmp(&self.score).then_with(|| place(self).cmp(&place(other)))
    }
}

/// Boxes on their way, at most `N`; room for levels times [`Limits::candidates`] keeps all that these allow.
pub struct Candidates<const N: usize> {
    found: [Found; N],
    len: usize,
    full: bool,
}

impl<const N: usize> fmt::Debug for Candidates<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Candidates").field("found", &self.found.get(..self.len)).field("full", &self.full).finish()
    }
}

impl<const N: usize> Default for Candidates<N> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const N: usize> Candidates<N> {
    /// No boxes.
    pub fn new() -> Self {
        Candidates { found: [Found::default(); N], len: 0, full: false }
    }

    /// Forgets all boxes.
    pub fn clear(&mut self) {
        self.len = 0;
        self.full = false;
    }

    /// Whether there was no room for a box that the limits allowed: its level kept its best ones.
    pub fn was_full(&self) -> bool {
        self.full
    }

    /// The boxes as they are.
    pub fn found(&self) -> &[Found] {
        self.found.get(..self.len).unwrap_or_default()
    }

    /// Adds a box. What is no box, or has a score that is no number, is dropped.
    pub fn push(&mut self, found: Found) {
        if !found.area.is_box() || !found.score.is_finite() {
            return;
        }
        match self.found.get_mut(self.len) {
            Some(place) => {
                *place = found;
                self.len += 1;
            }
            None => self.full = true,
        }
    }

    /// Adds the boxes of a level, clipped to an image of `size`, width and height. Returns how many pairs of anchor and
    /// class the limits took, boxes without width or height among them. Maps with another number of anchors at a place
    /// have none.
    pub fn add_level(
        &mut self,
        level: u8,
        maps: &LevelMaps<'_>,
        anchors: &Anchors,
        code: &BoxCode,
        size: [f32; 2],
        limits: &Limits,
    ) -> usize {
        if anchors.len() != maps.anchors {
            return 0;
        }
        let begin = self.len;
        // A score is above the threshold when its logit is: most need no more than that.
        let logit = libm::logf(limits.score / (1.0 - limits.score));
        for place in 0..maps.shape[0] * maps.shape[1] {
            for channel in 0..maps.anchors * maps.classes {
                let score = maps.score(place, channel);
                // Not so of NaN either.
                if score > logit {
                    let anchor = place * maps.anchors + channel / maps.classes;
                    let label = u16::try_from(channel % maps.classes).unwrap_or(u16::MAX);
                    let anchor = u32::try_from(anchor).unwrap_or(u32::MAX);
                    let score = 1.0 / (1.0 + libm::expf(-score));
                    let found = Found { area: BoundingBox::default(), score, label, level, anchor };
                    self.offer(begin, found, limits.candidates);
                }
            }
        }
        let taken = self.len - begin;
        self.decode(begin, maps, anchors, code, size);
        taken
    }

    /// Keeps the best of a level: a heap from `begin` on, worst first.
    fn offer(&mut self, begin: usize, found: Found, most: usize) {
        let Some(heap) = self.found.get_mut(begin..) else { return };
        let len = self.len - begin;
        if len < most.min(heap.len()) {
            if let Some(place) = heap.get_mut(len) {
                *place = found;
            }
            self.len += 1;
            let mut child = len;
            while child > 0 {
                let parent = (child - 1) / 2;
                if heap[child].order(&heap[parent]) != Ordering::Greater {
                    break;
                }
                heap.swap(child, parent);
                child = parent;
            }
            return;
        }
        self.full |= len < most;
        let Some(heap) = heap.get_mut(..len) else { return };
        if heap.first().is_some_and(|worst| found.order(worst) == Ordering::Less) {
            heap[0] = found;
            let mut parent = 0;
            loop {
                let children = 2 * parent + 1..(2 * parent + 3).min(len);
                let worst = children.max_by(|&a, &b| heap[a].order(&heap[b]));
                match worst {
                    Some(child) if heap[child].order(&heap[parent]) == Ordering::Greater => {
                        heap.swap(child, parent);
                        parent = child;
                    }
                    _ => break,
                }
            }
        }
    }

    /// Fills in the boxes from `begin` on, and drops those that are none.
    fn decode(&mut self, begin: usize, maps: &LevelMaps<'_>, anchors: &Anchors, code: &BoxCode, size: [f32; 2]) {
        let mut kept = begin;
        for i in begin..self.len {
            let mut found = self.found[i];
            let (place, anchor) = (found.anchor as usize / maps.anchors, found.anchor as usize % maps.anchors);
            let (row, column) = (place / maps.shape[1], place % maps.shape[1]);
            let area = anchors.at(anchor, maps.stride as f32, row, column);
            if let Some(area) = area.and_then(|area| code.decode(area, maps.deltas(place, anchor), size)) {
                found.area = area;
                self.found[kept] = found;
                kept += 1;
            }
        }
        self.len = kept;
    }

    /// Greedy suppression class by class: a box goes if its overlap (IoU) with a better kept one of its class is above
    /// `overlap`. The best `most` stay, best first.
    pub fn suppress(&mut self, overlap: f32, most: usize) -> &[Found] {
        let Some(found) = self.found.get_mut(..self.len) else { return &[] };
        found.sort_unstable_by(Found::order);
        let mut kept = 0;
        for i in 0..found.len() {
            if kept == most {
                break;
            }
            let candidate = found[i];
            let covered = |better: &Found| better.label == candidate.label && better.area.iou(candidate.area) > overlap;
            if !found[..kept].iter().any(covered) {
                found[kept] = candidate;
                kept += 1;
            }
        }
        self.len = kept;
        self.found()
    }
}

#[cfg(test)]
#[path = "candidates_tests.rs"]
mod tests;
