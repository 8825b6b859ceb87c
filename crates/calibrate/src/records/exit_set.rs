//! Sets of exits, as bit masks.

use std::fmt;

use dyn_perceiver_core::exit::ExitPolicy;

/// A set of exits of one network, exits counted from 0 in order of cost.
///
/// It displays as users count: `1+3` is the set of the first and the third exit.
///
/// # Examples
/// ```
/// use dyn_perceiver_calibrate::records::ExitSet;
///
/// let set: ExitSet = [0, 2].into_iter().collect();
/// assert!(set.contains(2) && !set.contains(1));
/// assert_eq!(set.with(3).last(), Some(3));
/// assert_eq!(set.to_string(), "1+3");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ExitSet(u32);

impl ExitSet {
    /// The set of no exit.
    pub const EMPTY: ExitSet = ExitSet(0);

    /// The set of this exit alone; of none from exit 32 on, which no network has.
    #[must_use]
    pub const fn only(exit: usize) -> Self {
        if exit < 32 { ExitSet(1 << exit) } else { ExitSet(0) }
    }

    /// The first `exits` exits.
    #[must_use]
    pub const fn first(exits: usize) -> Self {
        if exits < 32 { ExitSet((1 << exits) - 1) } else { ExitSet(u32::MAX) }
    }

    /// The exits that a policy evaluates.
    #[must_use]
    pub fn evaluated_by(policy: &ExitPolicy) -> Self {
        (0..policy.rules().len()).filter(|&exit| policy.evaluates(exit)).collect()
    }

    /// Whether the exit is in the set.
    #[must_use]
    pub const fn contains(self, exit: usize) -> bool {
        self.0 & ExitSet::only(exit).0 != 0
    }

    /// The set with this exit too.
    #[must_use]
    pub const fn with(self, exit: usize) -> Self {
        ExitSet(self.0 | ExitSet::only(exit).0)
    }

    /// The set without this exit.
    #[must_use]
    pub const fn without(self, exit: usize) -> Self {
        ExitSet(self.0 & !ExitSet::only(exit).0)
    }

    /// Those of the set up to and with `exit`.
    #[must_use]
    pub const fn up_to(self, exit: usize) -> Self {
        ExitSet(self.0 & ExitSet::first(exit + 1).0)
    }

    /// The exits, in order of cost.
    pub fn iter(self) -> impl DoubleEndedIterator<Item = usize> {
        (0..u32::BITS as usize).filter(move |&exit| self.contains(exit))
    }

    /// The exit that costs most.
    #[must_use]
    pub const fn last(self) -> Option<usize> {
        match self.0 {
            0 => None,
            bits => Some(bits.ilog2() as usize),
        }
    }

    /// Number of exits in the set.
    #[must_use]
    pub const fn len(self) -> usize {
        self.0.count_ones() as usize
    }

    /// Whether there is no exit in the set.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// What a frame has evaluated on its way through the set: its first exit, its first two, and so on.
    pub(crate) fn prefixes(self) -> impl Iterator<Item = ExitSet> {
        self.iter().map(move |exit| self.up_to(exit))
    }

    /// Every set of the first `exits` exits but the empty one; the sets without the last exit come first.
    pub fn every(exits: usize) -> impl Iterator<Item = ExitSet> {
        (1..=ExitSet::first(exits).0).map(ExitSet)
    }

    /// The place of the set in a table of all sets: exit k counts 2^k.
    pub(crate) const fn index(self) -> usize {
        self.0 as usize
    }
}

impl FromIterator<usize> for ExitSet {
    fn from_iter<I: IntoIterator<Item = usize>>(exits: I) -> Self {
        exits.into_iter().fold(ExitSet::EMPTY, ExitSet::with)
    }
}

impl fmt::Display for ExitSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, exit) in self.iter().enumerate() {
            if place > 0 {
                f.write_str("+")?;
            }
            write!(f, "{}", exit + 1)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_set_prefixes_grow_exit_by_exit() {
        let set: ExitSet = [0, 2, 3].into_iter().collect();
        let prefixes: Vec<String> = set.prefixes().map(|prefix| prefix.to_string()).collect();
        assert_eq!(prefixes, ["1", "1+3", "1+3+4"]);
        assert_eq!((set.len(), set.last(), set.index()), (3, Some(3), 0b1101));
    }

    #[test]
    fn exit_set_ends_are_sound() {
        assert_eq!((ExitSet::EMPTY.last(), ExitSet::EMPTY.to_string()), (None, String::new()));
        assert_eq!(ExitSet::first(3), [0, 1, 2].into_iter().collect());
        assert_eq!(ExitSet::first(40).up_to(99).len(), 32);
        assert!(ExitSet::only(32).is_empty() && !ExitSet::first(40).contains(32));
        assert_eq!(ExitSet::every(2).count(), 3);
    }
}
