//! The pool's protocol: how a job is published, its parts are taken, and threads sleep and wake.
//!
//! It is written against `super::sync`, so that the tests can run it on a model of threads as well.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::ptr;
use std::sync::PoisonError;

use super::sync::{
    AtomicBool, AtomicPtr, AtomicU64, AtomicUsize, Mutex, MutexGuard, Ordering, Spin, Thread, affinity, current, park,
};

/// Called with the number of a part and that of the thread that does it; the caller is thread 0.
pub(super) type Job<'a> = &'a (dyn Fn(usize, usize) + Sync);

/// Called once, on a worker, with what turns true when it should come to an end.
pub(super) type Aside<'a> = &'a mut (dyn FnMut(&AtomicBool) + Send);

/// Whether there is work beside the jobs: none, published, taken by a worker, ended.
const NONE: usize = 0;
const OFFERED: usize = 1;
const TAKEN: usize = 2;
const ENDED: usize = 3;

/// What the threads of a pool share.
pub(super) struct Shared {
    /// Number of the job, parts taken, parts there are: 32, 16 and 16 bits. A part is taken by adding one to the middle,
    /// which fails when anything else has changed: so whoever takes a part knows that its job has not ended.
    state: AtomicU64,
    /// The published job, a `Job` on the stack of the caller.
    job: AtomicPtr<Job<'static>>,
    /// Parts of the job that have ended.
    ended: AtomicUsize,
    /// One of the four above.
    aside: AtomicUsize,
    /// What is published to be done beside the jobs, an `Aside` on the stack of the caller.
    aside_work: AtomicPtr<Aside<'static>>,
    /// Whether that should come to an end.
    aside_stop: AtomicBool,
    /// The first panic in this job, or beside it.
    panic: Mutex<Option<Box<dyn Any + Send>>>,
    /// For each worker, whether it sleeps.
    sleeping: Vec<AtomicBool>,
    /// The caller, while it sleeps until the last part has ended.
    caller: Mutex<Option<Thread>>,
    caller_sleeps: AtomicBool,
    /// The core of the caller when it last woke a worker.
    caller_core: AtomicUsize,
    shutdown: AtomicBool,
}

/// More parts than this do not fit into the state.
pub(super) const MOST_PARTS: usize = 0xffff;

fn pack(job: u64, taken: usize, parts: usize) -> u64 {
    job << 32 | (taken as u64) << 16 | parts as u64
}

fn unpack(state: u64) -> (u64, usize, usize) {
    (state >> 32, (state >> 16) as usize & MOST_PARTS, state as usize & MOST_PARTS)
}

impl Shared {
    pub(super) fn new(workers: usize) -> Shared {
        Shared {
            state: AtomicU64::new(pack(0, 0, 0)),
            job: AtomicPtr::new(ptr::null_mut()),
            ended: AtomicUsize::new(0),
            aside: AtomicUsize::new(NONE),
            aside_work: AtomicPtr::new(ptr::null_mut()),
            aside_stop: AtomicBool::new(false),
            panic: Mutex::new(None),
            sleeping: (0..workers).map(|_| AtomicBool::new(false)).collect(),
            caller: Mutex::new(None),
            caller_sleeps: AtomicBool::new(false),
            caller_core: AtomicUsize::new(usize::MAX),
            shutdown: AtomicBool::new(false),
        }
    }

    /// Publishes a job of 1 to [`MOST_PARTS`] parts, wakes `workers`, takes part, and returns when all parts have ended.
    /// One job at a time: the caller has the pool to itself.
    pub(super) fn run<'t>(&self, workers: impl Iterator<Item = &'t Thread>, parts: usize, job: Job<'_>) {
        assert!(parts <= MOST_PARTS, "{parts} parts");
        // SAFETY: only the lifetime changes. A thread reads the job only after taking one of its parts, and this
        // function returns only when all parts have been taken and have ended.
        let job: Job<'static> = unsafe { std::mem::transmute::<Job<'_>, Job<'static>>(job) };
        self.ended.store(0, Ordering::Relaxed);
        self.job.store((&raw const job).cast_mut(), Ordering::Release);
        let (number, ..) = unpack(self.state.load(Ordering::Relaxed));
        self.state.store(pack(number.wrapping_add(1) & 0xffff_ffff, 0, parts), Ordering::SeqCst);
        self.wake(workers);
        while self.work(0) {}
        self.wait(|| self.ended.load(Ordering::SeqCst) >= parts);
        self.hand_on_panic();
    }

    /// Has a worker do `aside`, if one is free, while `main` wakes workers and runs jobs; then asks it to stop, and returns when it has.
    pub(super) fn run_beside(&self, mut aside: Aside<'_>, main: impl FnOnce()) {
        // SAFETY: only the lifetime changes. A worker uses it only after taking it, and `End`, dropped before this function returns or
        // unwinds, takes it back or waits until it has ended.
        let work = unsafe { std::mem::transmute::<&mut Aside<'_>, &mut Aside<'static>>(&mut aside) };
        self.aside_stop.store(false, Ordering::Relaxed);
        self.aside_work.store(ptr::from_mut(work), Ordering::Release);
        self.aside.store(OFFERED, Ordering::SeqCst);
        let end = End(self);
        main();
        drop(end);
        self.hand_on_panic();
    }

    /// Does what is published beside the jobs, if nobody else does.
    fn work_aside(&self) -> bool {
        let is_mine = self.aside.load(Ordering::SeqCst) == OFFERED
            && self.aside.compare_exchange(OFFERED, TAKEN, Ordering::SeqCst, Ordering::SeqCst).is_ok();
        if is_mine {
            let work = self.aside_work.load(Ordering::Acquire);
            // SAFETY: it was offered, and has been taken by this thread alone, so the caller, on whose stack it lies, waits until the
            // state is `ENDED`.
            let work = unsafe { &mut *work };
            if let Err(panic) = catch_unwind(AssertUnwindSafe(|| work(&self.aside_stop))) {
                self.panic.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(panic);
            }
            self.aside.store(ENDED, Ordering::SeqCst);
            self.wake_caller();
        }
        is_mine
    }

    fn wake_caller(&self) {
        if self.caller_sleeps.load(Ordering::SeqCst) {
            self.caller().as_ref().inspect(|caller| caller.unpark());
        }
    }

    fn hand_on_panic(&self) {
        let panic = self.panic.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(panic) = panic {
            resume_unwind(panic);
        }
    }

    /// Wakes those of `workers` that sleep.
    pub(super) fn wake<'t>(&self, workers: impl Iterator<Item = &'t Thread>) {
        for (sleeping, worker) in self.sleeping.iter().zip(workers) {
            if sleeping.load(Ordering::SeqCst) {
                self.caller_core.store(affinity::current_core().unwrap_or(usize::MAX), Ordering::SeqCst);
                Thread::unpark(worker);
            }
        }
    }

    /// Takes a part of the published job and does it; false when there is none left.
    fn work(&self, thread: usize) -> bool {
        let state = self.state.load(Ordering::SeqCst);
        let (job_number, taken, parts) = unpack(state);
        if taken == parts {
            return false;
        }
        let job = self.job.load(Ordering::Acquire);
        let next = pack(job_number, taken + 1, parts);
        if self.state.compare_exchange(state, next, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
            // SAFETY: the state was still that of the job whose number was read before `job` was, so `job` is that job:
            // the next is published only after every part of this one has ended, and this part has just been taken. For
            // the same reason the caller, on whose stack the job lies, is still waiting in `run`.
            let job = unsafe { *job };
            if let Err(panic) = catch_unwind(AssertUnwindSafe(|| job(taken, thread))) {
                self.panic.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(panic);
            }
            self.ended.fetch_add(1, Ordering::SeqCst);
            self.wake_caller();
        }
        true
    }

    fn caller(&self) -> MutexGuard<'_, Option<Thread>> {
        self.caller.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until what workers do has ended.
    fn wait(&self, has_ended: impl Fn() -> bool) {
        let spin = Spin::new();
        while !has_ended() {
            if spin.spin() {
                continue;
            }
            // A worker that has no core of its own gets this one, where spinning would only keep it from working. The flag
            // is set before looking once more, as a worker ends its part before it looks who sleeps: one sees the other.
            *self.caller() = Some(current());
            self.caller_sleeps.store(true, Ordering::SeqCst);
            while !has_ended() {
                park();
            }
            self.caller_sleeps.store(false, Ordering::SeqCst);
        }
    }

    /// What worker `worker` (from 0; its thread number is one more) does until the pool shuts down.
    pub(super) fn worker_loop(&self, worker: usize) {
        let mut idle = Spin::new();
        loop {
            if self.work_aside() || self.work(worker + 1) {
                while self.work(worker + 1) {}
                idle = Spin::new();
            } else if self.shutdown.load(Ordering::SeqCst) {
                return;
            } else if !idle.spin() {
                // The flag is set before looking once more, as the caller publishes work before it looks who sleeps: one
                // sees the other.
                self.sleeping[worker].store(true, Ordering::SeqCst);
                let (_, taken, parts) = unpack(self.state.load(Ordering::SeqCst));
                let is_offered = self.aside.load(Ordering::SeqCst) == OFFERED;
                if taken == parts && !is_offered && !self.shutdown.load(Ordering::SeqCst) {
                    park();
                    affinity::leave(self.caller_core.load(Ordering::SeqCst));
                }
                self.sleeping[worker].store(false, Ordering::SeqCst);
                idle = Spin::new();
            }
        }
    }

    /// Lets the workers end; each is to be unparked after it.
    pub(super) fn shutdown(&self) {
        self.shutdown.store(true, Ordering::SeqCst);
    }
}

/// Ends what is done beside the jobs, when it is dropped.
struct End<'a>(&'a Shared);

impl Drop for End<'_> {
    fn drop(&mut self) {
        let Shared { aside, aside_stop, .. } = self.0;
        aside_stop.store(true, Ordering::SeqCst);
        if aside.compare_exchange(OFFERED, NONE, Ordering::SeqCst, Ordering::SeqCst).is_err() {
            self.0.wait(|| aside.load(Ordering::SeqCst) == ENDED);
            aside.store(NONE, Ordering::SeqCst);
        }
    }
}
