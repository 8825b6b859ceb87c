//! The maps of a detector's levels, where they lie.

use std::fmt;

/// Levels that a detector has at most.
const LEVELS: usize = 8;

/// The maps of one level of a detector, (batch, channels, rows, columns) each.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct BoxMaps<'a> {
    /// The level, a place in [`BoxSpec::levels`](crate::model::BoxSpec::levels).
    pub level: usize,
    /// Rows and columns.
    pub shape: [usize; 2],
    /// Class scores, as logits.
    pub scores: &'a [f32],
    /// Deltas of boxes.
    pub deltas: &'a [f32],
}

/// The maps of the levels of one goal, kept in place, for a frame allocates nothing.
#[derive(Clone, Copy, Default)]
pub struct GoalMaps<'a>([Option<BoxMaps<'a>>; LEVELS]);

impl<'a> GoalMaps<'a> {
    /// Adds a level; a detector has no more than there is room for.
    pub(super) fn push(&mut self, maps: BoxMaps<'a>) {
        if let Some(free) = self.0.iter_mut().find(|place| place.is_none()) {
            *free = Some(maps);
        }
    }

    /// Level by level.
    pub fn iter(&self) -> impl Iterator<Item = BoxMaps<'a>> + use<'a> {
        self.0.into_iter().flatten()
    }
}

impl<'a> IntoIterator for GoalMaps<'a> {
    type Item = BoxMaps<'a>;
    type IntoIter = std::iter::Flatten<std::array::IntoIter<Option<BoxMaps<'a>>, LEVELS>>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter().flatten()
    }
}

impl fmt::Debug for GoalMaps<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}
