//! How many frames a second are wanted of a camera, told to it while it runs.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::v4l::{FrameInterval, IntervalRange, lowest_rate};

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
pub struct CameraRate(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    wanted: AtomicU32,
    known: Mutex<Known>,
}

/// What is known of the rates that a camera can do; nothing, of a command.
#[derive(Debug)]
struct Known {
    offered: Vec<IntervalRange>,
    /// Frames per second that it did when fewer were asked for, and when more were.
    at_least: f64,
    at_most: f64,
    /// Whether it answers every wish with an error.
    refuses: bool,
    /// Whether it was told that the camera does not follow.
    told: bool,
}

impl Default for Known {
    fn default() -> Self {
        Self { offered: Vec::new(), at_least: 0.0, at_most: f64::INFINITY, refuses: false, told: false }
    }
}

impl Known {
    /// Frames per second that the camera would do if `fps` were asked for.
    fn does(&self, fps: u32) -> f64 {
        let offered = lowest_rate(&self.offered, fps).map_or(f64::from(fps), FrameInterval::fps);
        offered.max(self.at_least).min(self.at_most)
    }

    /// Whether the camera has one rate only, whatever is asked for.
    fn is_fixed(&self) -> bool {
        let one = matches!(self.offered[..], [one] if one.shortest == one.longest);
        self.refuses || one || self.at_least >= self.at_most
    }
}

/// Whether two rates differ by a factor of two or more: a smaller difference is not worth opening a camera again.
fn are_far(one: f64, other: f64) -> bool {
    one >= other * 2.0 || other >= one * 2.0
}

impl CameraRate {
    /// A rate that is asked for from the beginning; `None` leaves it to the camera.
    #[must_use]
    pub fn new(fps: Option<u32>) -> Self {
        let rate = Self::default();
        rate.0.wanted.store(fps.unwrap_or(0), Ordering::Relaxed);
        rate
    }

    /// Wants as many frames as a loop takes that pauses for `period` between two; a loop without a pause leaves it to the
    /// camera.
    pub fn follow(&self, period: Duration) {
        let fps = if period.is_zero() { 0.0 } else { (1.0 / period.as_secs_f64()).ceil().max(1.0) };
        self.0.wanted.store(fps as u32, Ordering::Relaxed);
    }

    /// Frames per second, if there is a wish.
    #[must_use]
    pub fn fps(&self) -> Option<u32> {
        Some(self.0.wanted.load(Ordering::Relaxed)).filter(|&fps| fps > 0)
    }

    /// Whether a camera that was opened for `opened` frames a second does another rate than it would for what is wanted now,
    /// by a factor of two or more.
    pub(super) fn is_far_from(&self, opened: Option<u32>) -> bool {
        let known = self.known();
        match (self.fps(), opened) {
            _ if known.is_fixed() => false,
            (Some(wanted), Some(opened)) => are_far(known.does(wanted), known.does(opened)),
            (wanted, opened) => wanted != opened,
        }
    }

    /// Learns what a device offers; returns what to ask it for.
    pub(super) fn offered(&self, offered: Vec<IntervalRange>) -> Option<FrameInterval> {
        let mut known = self.known();
        known.offered = offered;
        let fps = self.fps()?;
        lowest_rate(&known.offered, fps).or_else(|| FrameInterval::per_second(fps))
    }

    /// Learns what the device called `name` set itself to when it was asked for an interval; `None` where it refused.
    pub(super) fn answered(&self, name: &str, asked: FrameInterval, set: Option<FrameInterval>) {
        let mut known = self.known();
        let tell = match set {
            None => {
                known.refuses = true;
                format!("{name} refuses {asked} and goes on at its own rate")
            }
            Some(set) if are_far(set.fps(), asked.fps()) => {
                let fps = set.fps();
                if set < asked {
                    known.at_least = fps
                } else {
                    known.at_most = fps
                }
                format!("{name} was asked for {asked} and goes on at {set}")
            }
            Some(_) => return,
        };
        if !std::mem::replace(&mut known.told, true) {
            log::info!("{tell}");
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        // Nothing that is written while it is held can panic half-way.
        self.0.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interval(fps: u32) -> FrameInterval {
        FrameInterval::per_second(fps).unwrap()
    }

    /// Which of the rates that a camera was opened for would have it opened again.
    fn far(rate: &CameraRate, opened: impl Iterator<Item = u32>) -> Vec<u32> {
        opened.filter(|&opened| rate.is_far_from(Some(opened))).collect()
    }

    #[test]
    fn a_rate_is_far_from_another_at_half_and_at_twice() {
        let rate = CameraRate::new(Some(10));
        assert_eq!(far(&rate, 1..40), (1..=5).chain(20..40).collect::<Vec<u32>>());
        assert!(rate.is_far_from(None) && !CameraRate::default().is_far_from(None));
        rate.follow(Duration::ZERO);
        assert_eq!(rate.fps(), None);
    }

    #[test]
    fn only_what_the_camera_would_do_differently_is_far() {
        let rate = CameraRate::new(Some(1));
        let offered = || [30, 10, 5].map(|fps| IntervalRange::one(interval(fps))).to_vec();
        assert_eq!(rate.offered(offered()).map(FrameInterval::fps), Some(5.0));
        // Up to 5 it does 5, and 10 for 6 to 10.
        assert_eq!(far(&rate, 1..12), [6, 7, 8, 9, 10, 11]);
        let rate = CameraRate::new(Some(1));
        rate.offered(vec![IntervalRange::one(interval(30))]);
        assert!(far(&rate, 1..100).is_empty() && !rate.is_far_from(None));
    }

    #[test]
    fn a_camera_that_refuses_is_not_opened_again() {
        let rate = CameraRate::new(Some(1));
        assert_eq!(rate.offered(Vec::new()), Some(interval(1)));
        assert!(rate.is_far_from(Some(30)) && rate.is_far_from(None));
        rate.answered("/dev/video0", interval(1), None);
        assert!(!rate.is_far_from(Some(30)) && !rate.is_far_from(None));
    }

    #[test]
    fn a_camera_that_sets_itself_to_another_rate_is_asked_again_only_for_what_it_may_do() {
        let rate = CameraRate::new(Some(1));
        rate.answered("/dev/video0", interval(1), Some(interval(8)));
        // It does 8 at least, and so 15 is not far from 1, but 16 is.
        assert_eq!(far(&rate, 14..18), [16, 17]);
        rate.answered("/dev/video0", interval(60), Some(interval(15)));
        assert!(far(&rate, 1..100).is_empty());
        // A little beside what was asked for is what was asked for.
        let rate = CameraRate::new(Some(30));
        rate.answered("/dev/video0", interval(30), FrameInterval::new(1001, 30000));
        assert_eq!(far(&rate, 14..18), [14, 15]);
    }
}
