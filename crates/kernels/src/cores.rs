//! Which core a thread runs on.
//!
//! After a pause, such as the one between two frames of a camera, Linux may wake a helper on the core of the thread that
//! wakes it, although another is idle: with few cores under one cache it looks for an idle one only briefly. Both threads
//! then share one core for tens of milliseconds, and two threads are slower than one.

/// The core of the calling thread; none where the system does not tell.
#[cfg(target_os = "linux")]
pub fn current() -> Option<usize> {
    nix::sched::sched_getcpu().ok()
}

/// Moves the calling thread to another core, if it is on `core` and may run elsewhere. Where it may run stays the same.
#[cfg(target_os = "linux")]
pub fn leave(core: usize) {
    use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};

    const SELF: nix::unistd::Pid = nix::unistd::Pid::from_raw(0);
    if current() != Some(core) {
        return;
    }
    let Ok(allowed) = sched_getaffinity(SELF) else { return };
    let mut others = allowed;
    let elsewhere = others.unset(core).is_ok() && (0..CpuSet::count()).any(|core| others.is_set(core).unwrap_or(false));
    // A system that forbids it leaves the thread where it is, which is slower and nothing else.
    if elsewhere && sched_setaffinity(SELF, &others).is_ok() {
        let _ = sched_setaffinity(SELF, &allowed);
    }
}

#[cfg(not(target_os = "linux"))]
pub fn current() -> Option<usize> {
    None
}

#[cfg(not(target_os = "linux"))]
pub fn leave(_core: usize) {}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use nix::sched::sched_getaffinity;
    use nix::unistd::Pid;

    #[test]
    fn a_thread_leaves_a_core_and_may_come_back() {
        // On a thread of its own: the test runner's stays as it is.
        std::thread::spawn(|| {
            let before = sched_getaffinity(Pid::from_raw(0)).unwrap();
            let core = current().unwrap();
            leave(core);
            assert_eq!(sched_getaffinity(Pid::from_raw(0)).unwrap(), before);
            leave(usize::MAX);
            assert_eq!(sched_getaffinity(Pid::from_raw(0)).unwrap(), before);
        })
        .join()
        .unwrap();
    }
}
