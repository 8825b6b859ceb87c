//! The gate behind the first exit: whether what the network made of a frame so far is what it made of the last one that it
//! saw whole.

use core::time::Duration;

use super::{Cause, Verdict};

/// When the code of a frame counts as another one, and how long an answer holds.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub struct LatentSettings {
    /// Largest [`code_distance`] at which an answer holds. There is no default: it depends on the network and the place, and
    /// is calibrated on pairs of frames.
    pub threshold: f32,
    /// Longest time from one whole run of the network to the next.
    pub refresh: Duration,
}

impl LatentSettings {
    /// A threshold, a [`code_distance`], and the longest time for which an answer holds.
    pub const fn new(threshold: f32, refresh: Duration) -> Self {
        LatentSettings { threshold, refresh }
    }
}

/// How far two codes are apart: the length of their difference over the root mean square of their own lengths, in [0, 2].
/// `None` where they cannot be compared: of another number of values, of none, or not finite.
///
/// ```
/// use dyn_perceiver_core::gate::code_distance;
///
/// assert_eq!(code_distance(&[3.0, 4.0], &[3.0, 4.0]), Some(0.0));
/// assert_eq!(code_distance(&[3.0, 4.0], &[-3.0, -4.0]), Some(2.0));
/// assert_eq!(code_distance(&[3.0, 4.0], &[3.0]), None);
/// ```
pub fn code_distance(one: &[f32], other: &[f32]) -> Option<f32> {
    if one.len() != other.len() || one.is_empty() {
        return None;
    }
    let (mut apart, mut length) = (0.0f32, 0.0f32);
    for (a, b) in one.iter().zip(other) {
        apart += (a - b) * (a - b);
        length += a * a + b * b;
    }
    if !apart.is_finite() || !length.is_finite() {
        return None;
    }
    // Two codes of zeros alone are alike.
    Some(if apart > 0.0 { libm::sqrtf(2.0 * apart / length).min(2.0) } else { 0.0 })
}

/// Decides after the first exit whether the rest of the network runs.
///
/// The network's code of a frame, the features in front of its first exit, is compared with the code of the last frame that
/// went through as much of the network as its policy wanted. Small steps add up: what is compared with is never a frame whose
/// answer was used again. `B` holds a code: an array where there is no allocator.
///
/// ```
/// use core::time::Duration;
/// use dyn_perceiver_core::gate::{Cause, LatentGate, LatentSettings, Verdict};
///
/// let mut gate = LatentGate::new(LatentSettings::new(0.1, Duration::from_secs(10)), [0.0; 2]);
/// let second = Duration::from_secs(1);
/// assert_eq!(gate.judge(second, &[1.0, 2.0]), Verdict::Run(Cause::First));
/// gate.ran(second, &[1.0, 2.0]);
/// assert_eq!(gate.judge(2 * second, &[1.0, 2.05]), Verdict::Reuse);
/// assert_eq!(gate.judge(3 * second, &[2.0, 1.0]), Verdict::Run(Cause::Changed));
/// assert_eq!(gate.judge(11 * second, &[1.0, 2.0]), Verdict::Run(Cause::Refresh));
/// ```
#[derive(Clone, Debug)]
pub struct LatentGate<B> {
    settings: LatentSettings,
    /// The code of the frame that the network saw last, in the first `len` values.
    code: B,
    len: usize,
    ran: Option<Duration>,
    distance: Option<f32>,
}

impl<B: AsRef<[f32]> + AsMut<[f32]>> LatentGate<B> {
    /// A gate that has seen nothing, with room for a code. A code that is longer than `room` is never alike.
    pub const fn new(settings: LatentSettings, room: B) -> Self {
        LatentGate { settings, code: room, len: 0, ran: None, distance: None }
    }

    /// The settings.
    pub const fn settings(&self) -> &LatentSettings {
        &self.settings
    }

    /// The distance that [`judge`](Self::judge) found last; none where codes were not compared.
    pub const fn distance(&self) -> Option<f32> {
        self.distance
    }

    /// When the network ran last, if there is an answer that may hold.
    pub const fn answered(&self) -> Option<Duration> {
        self.ran
    }

    /// Forgets the last answer: the next frame runs.
    pub fn forget(&mut self) {
        self.ran = None;
    }

    /// Judges the code of the frame taken at `time`, on a clock that does not go back. Whoever is told to run and does so
    /// tells [`ran`](Self::ran).
    pub fn judge(&mut self, time: Duration, code: &[f32]) -> Verdict {
        self.distance = None;
        let Some(ran) = self.ran else { return Verdict::Run(Cause::First) };
        if time.saturating_sub(ran) >= self.settings.refresh {
            return Verdict::Run(Cause::Refresh);
        }
        self.distance = self.code.as_ref().get(..self.len).and_then(|seen| code_distance(seen, code));
        // Not a number, and no comparison at all, count as changed.
        match self.distance.is_some_and(|distance| distance <= self.settings.threshold) {
            true => Verdict::Reuse,
            false => Verdict::Run(Cause::Changed),
        }
    }

    /// The network ran on the frame taken at `time`: its code is what later ones are compared with.
    pub fn ran(&mut self, time: Duration, code: &[f32]) {
        self.len = 0;
        if let Some(room) = self.code.as_mut().get_mut(..code.len()) {
            room.copy_from_slice(code);
            self.len = code.len();
        }
        self.ran = Some(time);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn codes_are_compared_with_the_frame_that_ran_so_that_small_steps_add_up() {
        let mut gate = LatentGate::new(LatentSettings::new(0.1, 1000 * SECOND), [0.0; 2]);
        let mut ran = std::vec![];
        for step in 0..12u32 {
            let angle = step as f32 * 0.04;
            let code = [libm::cosf(angle), libm::sinf(angle)];
            if gate.judge(step * SECOND, &code) != Verdict::Reuse {
                gate.ran(step * SECOND, &code);
                ran.push(step);
            }
        }
        assert_eq!(ran, [0, 3, 6, 9], "every third step is more than a tenth of the length");
    }

    #[test]
    fn an_answer_never_holds_longer_than_the_refresh_or_when_it_was_forgotten() {
        let mut gate = LatentGate::new(LatentSettings::new(2.0, 5 * SECOND), [0.0; 3]);
        gate.ran(SECOND, &[1.0; 3]);
        assert_eq!(gate.judge(5 * SECOND, &[1.0; 3]), Verdict::Reuse);
        assert_eq!(gate.judge(6 * SECOND, &[1.0; 3]), Verdict::Run(Cause::Refresh));
        assert_eq!(gate.answered(), Some(SECOND));
        gate.forget();
        assert_eq!(gate.judge(2 * SECOND, &[1.0; 3]), Verdict::Run(Cause::First));
    }

    #[test]
    fn codes_that_cannot_be_compared_are_changes() {
        let mut gate = LatentGate::new(LatentSettings::new(2.0, 5 * SECOND), [0.0; 3]);
        gate.ran(SECOND, &[1.0; 4]);
        assert_eq!(gate.judge(SECOND, &[1.0; 4]), Verdict::Run(Cause::Changed), "no room for it");
        gate.ran(SECOND, &[1.0, f32::NAN, 1.0]);
        assert_eq!(gate.judge(SECOND, &[1.0; 3]), Verdict::Run(Cause::Changed));
        gate.ran(SECOND, &[f32::MAX; 3]);
        assert_eq!(gate.judge(SECOND, &[1.0; 3]), Verdict::Run(Cause::Changed));
        assert_eq!(code_distance(&[], &[]), None);
        assert_eq!(code_distance(&[0.0], &[0.0]), Some(0.0));
    }

    proptest! {
        /// Whatever the codes: no panic, a number in [0, 2], the same both ways.
        #[test]
        fn distances_are_symmetric_and_bounded(pairs in prop::collection::vec((any::<f32>(), any::<f32>()), 0..20)) {
            let (one, other): (std::vec::Vec<f32>, std::vec::Vec<f32>) = pairs.into_iter().unzip();
            let distance = code_distance(&one, &other);
            prop_assert_eq!(distance, code_distance(&other, &one));
            prop_assert!(distance.is_none_or(|distance| (0.0..=2.0).contains(&distance)));
        }
    }
}
