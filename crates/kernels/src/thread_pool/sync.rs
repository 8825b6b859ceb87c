//! What the pool's protocol needs of threads and atomics, so that a model checker can stand in for the real ones.

use std::time::{Duration, Instant};

pub(super) use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, AtomicUsize, Ordering};
pub(super) use std::sync::{Mutex, MutexGuard};
pub(super) use std::thread::{Thread, current, park};

pub(super) use crate::affinity;

/// How long a thread looks for the next operator, or for the end of this one, before it sleeps.
const PATIENCE: Duration = Duration::from_micros(50);

/// A wait that spins at first, since operators of a frame follow each other within microseconds.
pub(super) struct Spin(Instant);

impl Spin {
    pub(super) fn new() -> Spin {
        Spin(Instant::now())
    }

    /// Spins once; false when it is time to sleep.
    pub(super) fn spin(&self) -> bool {
        let is_early = self.0.elapsed() < PATIENCE;
        if is_early {
            std::hint::spin_loop();
        }
        is_early
    }
}
