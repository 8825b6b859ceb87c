//! A burst: the loop ends by itself once the scene is still, so that the board can be switched off.

use std::num::NonZeroU32;

/// Counts frames in a row with the same answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Burst {
    /// After so many the scene is still; none for a loop that does not end by itself.
    frames: Option<NonZeroU32>,
    class: Option<usize>,
    equal: u32,
}

impl Burst {
    pub(super) fn new(frames: Option<NonZeroU32>) -> Self {
        Self { frames, class: None, equal: 0 }
    }

    /// Takes in an answer, and says whether the burst is over.
    pub(super) fn is_over(&mut self, class: usize) -> bool {
        self.equal = if self.class.replace(class) == Some(class) { self.equal.saturating_add(1) } else { 1 };
        self.frames.is_some_and(|frames| self.equal >= frames.get())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_over_after_so_many_equal_answers_in_a_row() {
        let mut burst = Burst::new(NonZeroU32::new(3));
        let over: Vec<bool> = [4, 4, 7, 7, 7, 7].map(|class| burst.is_over(class)).into();
        assert_eq!(over, [false, false, false, false, true, true]);
        assert!(Burst::new(NonZeroU32::new(1)).is_over(0));
        let mut endless = Burst::new(None);
        assert!((0..1000).all(|_| !endless.is_over(0)));
    }
}
