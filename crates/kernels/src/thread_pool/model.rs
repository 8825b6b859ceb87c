//! The pool's protocol under shuttle, which runs its threads in many random interleavings: no part is lost or done twice,
//! and nobody sleeps for good. The protocol is compiled a second time, on shuttle's threads and atomics.

#[allow(clippy::duplicate_mod)] // Twice on purpose: here against the model's `sync`.
#[path = "shared.rs"]
mod shared;

mod sync {
    pub(super) use shuttle::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, AtomicUsize, Ordering};
    pub(super) use shuttle::sync::{Mutex, MutexGuard};
    pub(super) use shuttle::thread::{Thread, current, park};

    /// The model's threads have no cores.
    pub(super) mod affinity {
        pub(in super::super) fn current_core() -> Option<usize> {
            None
        }

        pub(in super::super) fn leave(_core: usize) {}
    }

    /// Spins once, so that threads meet both spinning and asleep.
    pub(super) struct Spin(std::cell::Cell<bool>);

    impl Spin {
        pub(super) fn new() -> Spin {
            Spin(std::cell::Cell::new(true))
        }

        pub(super) fn spin(&self) -> bool {
            shuttle::thread::yield_now();
            self.0.replace(false)
        }
    }
}

use shuttle::sync::Arc;
use shuttle::thread;

use self::shared::Shared;
use self::sync::{AtomicBool, AtomicUsize, Ordering};

const ITERATIONS: usize = 2_000;

/// Runs some jobs of `parts` parts with `workers` workers, then shuts the pool down.
fn jobs(workers: usize, parts: usize, jobs: usize) {
    let shared = Arc::new(Shared::new(workers));
    let handles: Vec<_> = (0..workers)
        .map(|worker| {
            let shared = shared.clone();
            thread::spawn(move || shared.worker_loop(worker))
        })
        .collect();
    for _ in 0..jobs {
        let done: Vec<AtomicUsize> = (0..parts).map(|_| AtomicUsize::new(0)).collect();
        shared.run(handles.iter().map(|handle| handle.thread()), parts, &|part, thread| {
            assert!(thread <= workers);
            done[part].fetch_add(1, Ordering::Relaxed);
        });
        assert!(done.iter().all(|count| count.load(Ordering::Relaxed) == 1));
    }
    shut_down(&shared, handles);
}

fn shut_down(shared: &Shared, workers: Vec<thread::JoinHandle<()>>) {
    shared.shutdown();
    for worker in workers {
        worker.thread().unpark();
        worker.join().unwrap();
    }
}

/// Runs some jobs beside work of `steps` steps, several times; what is left of it when the jobs have ended, the caller does.
fn jobs_beside(workers: usize, steps: usize, jobs: usize) {
    let shared = Arc::new(Shared::new(workers));
    let handles: Vec<_> = (0..workers)
        .map(|worker| {
            let shared = shared.clone();
            thread::spawn(move || shared.worker_loop(worker))
        })
        .collect();
    let threads = || handles.iter().map(|handle| handle.thread());
    for _ in 0..2 {
        let (mut left, done) = (0..steps, AtomicUsize::new(0));
        let mut aside = |stop: &AtomicBool| {
            while !stop.load(Ordering::SeqCst) && left.next().is_some() {
                done.fetch_add(1, Ordering::Relaxed);
            }
        };
        shared.run_beside(&mut aside, || {
            shared.wake(threads());
            for _ in 0..jobs {
                let parts = AtomicUsize::new(0);
                shared.run(threads(), 2, &|_, _| {
                    parts.fetch_add(1, Ordering::Relaxed);
                });
                assert_eq!(parts.load(Ordering::Relaxed), 2);
            }
        });
        assert_eq!(done.load(Ordering::Relaxed) + left.count(), steps);
    }
    shut_down(&shared, handles);
}

#[test]
#[cfg_attr(miri, ignore = "shuttle maps stacks, which Miri does not")]
fn thread_pool_protocol_under_random_interleavings() {
    shuttle::check_random(|| jobs(1, 2, 3), ITERATIONS);
    shuttle::check_random(|| jobs(2, 3, 2), ITERATIONS);
    shuttle::check_random(|| jobs_beside(1, 2, 1), ITERATIONS);
    shuttle::check_random(|| jobs_beside(2, 3, 2), ITERATIONS);
}

#[test]
#[cfg_attr(miri, ignore = "shuttle maps stacks, which Miri does not")]
fn thread_pool_protocol_under_few_preemptions() {
    // Bugs of protocols like this one need two or three preemptions at the wrong places, which PCT looks for.
    shuttle::check_pct(|| jobs(2, 4, 2), ITERATIONS, 3);
    shuttle::check_pct(|| jobs_beside(2, 3, 2), ITERATIONS, 3);
}
