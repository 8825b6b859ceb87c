//! How many frames a second are wanted of a camera, told to it while it runs.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// Frames per second that are wanted of a camera: shared by the loop, which takes frames, and by whoever opens the camera.
///
/// A camera that makes thirty frames a second for a loop that takes one every five seconds costs transfers that nobody
/// needs. The rate follows the loop's period, and is never below one a second: a camera that is silent for longer cannot be
/// told from one that hangs.
///
/// ```
/// use std::time::Duration;
///
/// use dyn_perceiver::camera::CameraRate;
///
/// let rate = CameraRate::default();
/// assert_eq!(rate.fps(), None);
/// rate.follow(Duration::from_millis(150));
/// assert_eq!(rate.fps(), Some(7));
/// rate.follow(Duration::from_secs(60));
/// assert_eq!(rate.fps(), Some(1));
/// ```
#[derive(Clone, Debug, Default)]
pub struct CameraRate(Arc<AtomicU32>);

impl CameraRate {
    /// A rate that is asked for from the beginning; `None` leaves it to the camera.
    #[must_use]
    pub fn new(fps: Option<u32>) -> Self {
        Self(Arc::new(AtomicU32::new(fps.unwrap_or(0))))
    }

    /// Wants as many frames as a loop takes that pauses for `period` between two; a loop without a pause leaves it to the
    /// camera.
    pub fn follow(&self, period: Duration) {
        let fps = if period.is_zero() { 0.0 } else { (1.0 / period.as_secs_f64()).ceil().max(1.0) };
        self.0.store(fps as u32, Ordering::Relaxed);
    }

    /// Frames per second, if there is a wish.
    #[must_use]
    pub fn fps(&self) -> Option<u32> {
        Some(self.0.load(Ordering::Relaxed)).filter(|&fps| fps > 0)
    }

    /// Whether a camera that was opened at `opened` frames a second is at another rate than is wanted, by a factor of two
    /// or more: a smaller difference is not worth opening it again.
    pub(super) fn is_far_from(&self, opened: Option<u32>) -> bool {
        match (self.fps(), opened) {
            (Some(wanted), Some(opened)) => wanted >= opened.saturating_mul(2) || opened >= wanted.saturating_mul(2),
            (wanted, opened) => wanted != opened,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_far_from_another_at_half_and_at_twice() {
        let rate = CameraRate::new(Some(10));
        let far: Vec<u32> = (1..40).filter(|&opened| rate.is_far_from(Some(opened))).collect();
        assert_eq!(far, (1..=5).chain(20..40).collect::<Vec<u32>>());
        assert!(rate.is_far_from(None) && !CameraRate::default().is_far_from(None));
        rate.follow(Duration::ZERO);
        assert_eq!(rate.fps(), None);
    }
}
