//! Ending waits from another thread.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How often a wait looks whether it should end.
pub(crate) const SLICE: Duration = Duration::from_millis(50);

/// Longest wait that is counted: a hundred years.
const LONGEST_WAIT: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// The time in `wait` from now; in a hundred years where that is beyond what the system's clock counts.
pub(crate) fn after(wait: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(wait.min(LONGEST_WAIT)).unwrap_or(now)
}

/// A flag that ends waiting for frames, shared by whoever waits and whoever wants it to end.
///
/// A signal handler may set it: that only stores to an atomic. Whoever waits looks at it at least twenty times a second.
///
/// ```
/// use dyn_perceiver::camera::StopToken;
///
/// let stop = StopToken::default();
/// let in_handler = stop.clone();
/// in_handler.stop();
/// assert!(stop.is_stopped());
/// ```
#[derive(Clone, Debug, Default)]
pub struct StopToken(Arc<AtomicBool>);

impl StopToken {
    /// Ends all waits that look at this token, for good.
    pub fn stop(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether waits should end.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Sleeps until `due` and returns true, or false as soon as it is stopped.
    pub fn sleep_until(&self, due: Instant) -> bool {
        loop {
            let left = due.saturating_duration_since(Instant::now());
            if self.is_stopped() || left.is_zero() {
                return !self.is_stopped();
            }
            std::thread::sleep(left.min(SLICE));
        }
    }
}

impl From<Arc<AtomicBool>> for StopToken {
    /// A token over a flag that something else sets, as a signal handler does.
    fn from(flag: Arc<AtomicBool>) -> Self {
        Self(flag)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_may_be_of_any_length() {
        assert!(after(Duration::MAX) > Instant::now() + Duration::from_secs(3600));
        assert!(after(Duration::ZERO) <= Instant::now());
    }

    #[test]
    fn a_stopped_token_ends_a_sleep_at_once() {
        let stop = StopToken::default();
        assert!(stop.sleep_until(Instant::now()));
        stop.stop();
        assert!(!stop.sleep_until(Instant::now() + Duration::from_secs(3600)));
    }
}
