//! Times of a frame's stages, without an allocation.

use std::fmt;
use std::ops::Deref;
use std::time::Duration;

use crate::exit::MAX_EXITS;

/// Time spent for one exit, without what earlier exits had computed already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct StageTime {
    /// The exit.
    pub exit: usize,
    /// Wall time.
    pub time: Duration,
}

/// For each exit evaluated, how long what it needed anew took: a slice of [`StageTime`] that is kept in place, for a frame
/// allocates nothing.
#[derive(Clone, Copy, Default)]
pub struct StageTimes {
    times: [StageTime; MAX_EXITS],
    len: usize,
}

impl StageTimes {
    /// Adds the next; a network has no more than [`MAX_EXITS`] exits, each evaluated once.
    pub(crate) fn push(&mut self, time: StageTime) {
        debug_assert!(self.len < MAX_EXITS, "an exit was evaluated twice");
        if let Some(free) = self.times.get_mut(self.len) {
            *free = time;
            self.len += 1;
        }
    }
}

impl Deref for StageTimes {
    type Target = [StageTime];

    fn deref(&self) -> &[StageTime] {
        &self.times[..self.len]
    }
}

impl<'a> IntoIterator for &'a StageTimes {
    type Item = &'a StageTime;
    type IntoIter = std::slice::Iter<'a, StageTime>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl PartialEq for StageTimes {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for StageTimes {}

impl fmt::Debug for StageTimes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stage_times_are_the_slice_of_what_was_pushed() {
        let mut times = StageTimes::default();
        assert!(times.is_empty());
        for exit in 0..MAX_EXITS {
            times.push(StageTime { exit, time: Duration::from_millis(exit as u64) });
        }
        assert!(times.iter().map(|stage| stage.exit).eq(0..MAX_EXITS));
        assert_eq!(times, times.clone());
        assert_ne!(times, StageTimes::default());
    }
}
