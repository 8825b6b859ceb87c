//! Affinity workaround: moves a worker that woke on the core of the thread that woke it.
//!
//! After a pause, such as the one between two frames of a camera, Linux may wake a worker on the waker's core, although
//! another is idle: with few cores under one cache it looks for an idle one only briefly. Both threads then share one
//! core for tens of milliseconds, and two threads are slower than one.

#[cfg(all(target_os = "linux", not(miri)))]
pub(crate) use linux::{current_core, leave};
#[cfg(not(all(target_os = "linux", not(miri))))]
pub(crate) use other::{current_core, leave};

#[cfg(all(target_os = "linux", not(miri)))]
mod linux {
    use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
    use nix::unistd::Pid;

    const SELF: Pid = Pid::from_raw(0);

    /// The core of the calling thread; none where the system does not tell.
    pub(crate) fn current_core() -> Option<usize> {
        nix::sched::sched_getcpu().ok()
    }

    /// Moves the calling thread to another core, if it is on `core` and may run elsewhere. Where it may run stays the
    /// same.
    pub(crate) fn leave(core: usize) {
        drop(Away::from(core));
    }

    /// The calling thread may not run on one core; as before when this is dropped.
    struct Away {
        #[cfg_attr(not(test), allow(dead_code))]
        core: usize,
        allowed: CpuSet,
    }

    impl Away {
        /// None if the thread is not on `core`, may run nowhere else, or the system forbids it, which is slower and
        /// nothing else.
        fn from(core: usize) -> Option<Away> {
            if current_core() != Some(core) {
                return None;
            }
            let allowed = sched_getaffinity(SELF).ok()?;
            let mut others = allowed;
            others.unset(core).ok()?;
            let elsewhere = (0..CpuSet::count()).any(|core| others.is_set(core).unwrap_or(false));
            (elsewhere && sched_setaffinity(SELF, &others).is_ok()).then_some(Away { core, allowed })
        }
    }

    impl Drop for Away {
        fn drop(&mut self) {
            let _ = sched_setaffinity(SELF, &self.allowed);
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn affinity_moves_a_thread_off_a_core_and_is_restored() {
            // On a thread of its own: the test runner's stays as it is.
            let moved = || {
                let before = sched_getaffinity(SELF).unwrap();
                let allowed = (0..CpuSet::count()).filter(|core| before.is_set(*core).unwrap()).count();
                // The system may move the thread between the two calls, after which there is nothing to leave: asked again.
                let away = (0..1000).find_map(|_| Away::from(current_core()?));
                assert_eq!(away.is_some(), allowed > 1, "{allowed} cores");
                if let Some(away) = away {
                    assert_ne!(current_core(), Some(away.core));
                }
                assert_eq!(sched_getaffinity(SELF).unwrap(), before);
                assert!(Away::from(usize::MAX).is_none(), "the thread is on no such core");
                assert_eq!(sched_getaffinity(SELF).unwrap(), before);
            };
            std::thread::spawn(moved).join().unwrap();
        }
    }
}

/// Where there are no affinities to be set, threads run where the system puts them.
#[cfg(not(all(target_os = "linux", not(miri))))]
mod other {
    pub(crate) fn current_core() -> Option<usize> {
        None
    }

    pub(crate) fn leave(_core: usize) {}
}
