//! The threads that share the work of one operator.
//!
//! Work is cut into parts that do not depend on how many threads there are or which of them takes a part, so results
//! are the same bits for every number of threads. Threads that find nothing to do look again for some microseconds,
//! which is the time between two operators of a frame, and then sleep.

use std::any::Any;
use std::io;
use std::marker::PhantomData;
use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle, Thread};
use std::time::{Duration, Instant};

use super::cores;

/// How long a thread looks for the next operator, or for the end of this one, before it sleeps.
const PATIENCE: Duration = Duration::from_micros(50);

type Job<'a> = &'a (dyn Fn(usize) + Sync);

/// The thread that calls, and those it has started to help it.
pub struct Team {
    board: Arc<Board>,
    helpers: Vec<JoinHandle<()>>,
}

/// What the threads of a team know of each other.
struct Board {
    /// Number of the job, parts taken, parts there are: 32, 16 and 16 bits. A part is taken by adding one to the middle,
    /// which fails when anything else has changed: so whoever takes a part knows that its job has not ended.
    state: AtomicU64,
    /// The job on the board, a `Job` on the stack of the caller.
    job: AtomicPtr<Job<'static>>,
    /// Parts of the job that have ended.
    ended: AtomicUsize,
    /// The first panic of a helper in this job.
    panic: Mutex<Option<Box<dyn Any + Send>>>,
    sleeping: Vec<AtomicBool>,
    /// The caller, while it sleeps until the last part has ended.
    caller: Mutex<Option<Thread>>,
    caller_sleeps: AtomicBool,
    /// The core of the caller when it last woke a helper.
    caller_core: AtomicUsize,
    dismissed: AtomicBool,
}

const MOST_PARTS: usize = 0xffff;

fn pack(job: u64, taken: usize, parts: usize) -> u64 {
    job << 32 | (taken as u64) << 16 | parts as u64
}

fn unpack(state: u64) -> (u64, usize, usize) {
    (state >> 32, (state >> 16) as usize & MOST_PARTS, state as usize & MOST_PARTS)
}

impl Board {
    fn new(helpers: usize) -> Board {
        Board {
            state: AtomicU64::new(pack(0, 0, 0)),
            job: AtomicPtr::new(ptr::null_mut()),
            ended: AtomicUsize::new(0),
            panic: Mutex::new(None),
            sleeping: (0..helpers).map(|_| AtomicBool::new(false)).collect(),
            caller: Mutex::new(None),
            caller_sleeps: AtomicBool::new(false),
            caller_core: AtomicUsize::new(usize::MAX),
            dismissed: AtomicBool::new(false),
        }
    }

    /// Takes a part of the job on the board and does it; false when there is none left.
    fn work(&self) -> bool {
        let state = self.state.load(Ordering::SeqCst);
        let (job_number, taken, parts) = unpack(state);
        if taken == parts {
            return false;
        }
        let job = self.job.load(Ordering::Acquire);
        let next = pack(job_number, taken + 1, parts);
        if self.state.compare_exchange(state, next, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
            // SAFETY: the state was still that of the job whose number was read before `job` was, so `job` is that job:
            // the next is put up only after every part of this one has ended, and this part has just been taken. For the
            // same reason the caller, on whose stack the job lies, is still waiting in `Team::run`.
            let job = unsafe { *job };
            if let Err(panic) = catch_unwind(AssertUnwindSafe(|| job(taken))) {
                self.panic.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(panic);
            }
            self.ended.fetch_add(1, Ordering::SeqCst);
            if self.caller_sleeps.load(Ordering::SeqCst) {
                self.caller().as_ref().inspect(|caller| caller.unpark());
            }
        }
        true
    }

    fn caller(&self) -> MutexGuard<'_, Option<Thread>> {
        self.caller.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until `parts` parts have ended.
    fn wait(&self, parts: usize) {
        let waiting_since = Instant::now();
        while self.ended.load(Ordering::Acquire) < parts {
            if waiting_since.elapsed() < PATIENCE {
                std::hint::spin_loop();
                continue;
            }
            // A helper that has no core of its own gets this one, where looking on would only keep it from working. Said
            // before looking once more, as a helper ends its part before it looks who sleeps.
            *self.caller() = Some(thread::current());
            self.caller_sleeps.store(true, Ordering::SeqCst);
            while self.ended.load(Ordering::SeqCst) < parts {
                thread::park();
            }
            self.caller_sleeps.store(false, Ordering::SeqCst);
        }
    }

    /// What a helper does until it is dismissed.
    fn help(&self, helper: usize) {
        let mut idle_since = Instant::now();
        loop {
            if self.work() {
                while self.work() {}
                idle_since = Instant::now();
            } else if self.dismissed.load(Ordering::SeqCst) {
                return;
            } else if idle_since.elapsed() < PATIENCE {
                std::hint::spin_loop();
            } else {
                // Said before looking once more, as the caller puts up a job before it looks who sleeps: one sees the
                // other.
                self.sleeping[helper].store(true, Ordering::SeqCst);
                let (_, taken, parts) = unpack(self.state.load(Ordering::SeqCst));
                if taken == parts && !self.dismissed.load(Ordering::SeqCst) {
                    thread::park();
                    cores::leave(self.caller_core.load(Ordering::SeqCst));
                }
                self.sleeping[helper].store(false, Ordering::SeqCst);
                idle_since = Instant::now();
            }
        }
    }
}

impl Team {
    /// Starts one thread less than `threads`.
    pub fn new(threads: NonZeroUsize) -> io::Result<Team> {
        let helpers = threads.get() - 1;
        let mut team = Team { board: Arc::new(Board::new(helpers)), helpers: vec![] };
        for helper in 0..helpers {
            let board = team.board.clone();
            let thread = thread::Builder::new().name(format!("dynp-{helper}"));
            team.helpers.push(thread.spawn(move || board.help(helper))?);
        }
        Ok(team)
    }

    /// The calling thread alone.
    pub fn alone() -> Team {
        Team { board: Arc::new(Board::new(0)), helpers: vec![] }
    }

    /// How many threads work.
    pub fn threads(&self) -> usize {
        self.helpers.len() + 1
    }

    /// Calls `job` once with each of `0..parts`, from any of the threads, and returns when all calls have.
    pub fn run(&mut self, parts: usize, job: Job<'_>) {
        if self.helpers.is_empty() || parts <= 1 {
            return (0..parts).for_each(job);
        }
        assert!(parts <= MOST_PARTS, "{parts} parts");
        let board = &*self.board;
        // SAFETY: only the lifetime changes. A thread reads the job only after taking one of its parts, and this
        // function returns only when all parts have been taken and have ended.
        let job: Job<'static> = unsafe { std::mem::transmute::<Job<'_>, Job<'static>>(job) };
        board.ended.store(0, Ordering::Relaxed);
        board.job.store((&raw const job).cast_mut(), Ordering::Release);
        let (number, ..) = unpack(board.state.load(Ordering::Relaxed));
        board.state.store(pack(number.wrapping_add(1) & 0xffff_ffff, 0, parts), Ordering::SeqCst);
        for (sleeping, helper) in board.sleeping.iter().zip(self.helpers.iter().map(JoinHandle::thread)) {
            if sleeping.load(Ordering::SeqCst) {
                board.caller_core.store(cores::current().unwrap_or(usize::MAX), Ordering::SeqCst);
                Thread::unpark(helper);
            }
        }
        while board.work() {}
        board.wait(parts);
        let panic = board.panic.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(panic) = panic {
            resume_unwind(panic);
        }
    }

    /// Calls `job` with the number and the entries of each of the pieces of `size` that `out` falls into, the last maybe
    /// shorter.
    pub fn run_pieces(&mut self, out: &mut [f32], size: usize, job: &(dyn Fn(usize, &mut [f32]) + Sync)) {
        let (len, size) = (out.len(), size.max(1));
        let sink = Sink::new(out);
        self.run(len.div_ceil(size), &|part| {
            // SAFETY: every part is done once, and the pieces of different parts do not overlap.
            let mut sink = unsafe { sink.share() };
            job(part, sink.entries(part * size, size.min(len - part * size)));
        });
    }

    /// Into how many parts work worth `operations` multiplications, additions or moved floats is best cut, when at most
    /// `most` are possible: one where handing it over costs more than it gives.
    pub fn parts(&self, operations: usize, most: usize) -> usize {
        // Some microseconds' work.
        const LEAST: usize = 100_000;
        // Two parts a thread: who is held up leaves one to the others.
        let wanted = if self.helpers.is_empty() { 1 } else { 2 * self.threads() };
        wanted.min(operations / LEAST).min(most).max(1)
    }
}

impl Drop for Team {
    fn drop(&mut self) {
        self.board.dismissed.store(true, Ordering::SeqCst);
        for helper in self.helpers.drain(..) {
            helper.thread().unpark();
            // It ends without a panic: those of jobs are caught.
            let _ = helper.join();
        }
    }
}

/// A result that a kernel writes, maybe at the same time as others write other entries of it.
pub struct Sink<'a> {
    start: *mut f32,
    len: usize,
    out: PhantomData<&'a mut [f32]>,
}

// SAFETY: a sink gives access to floats, which any thread may write, and `share` answers for who writes which.
unsafe impl Send for Sink<'_> {}
// SAFETY: a shared reference to a sink gives no access without `share`.
unsafe impl Sync for Sink<'_> {}

impl<'a> Sink<'a> {
    pub fn new(out: &'a mut [f32]) -> Sink<'a> {
        Sink { start: out.as_mut_ptr(), len: out.len(), out: PhantomData }
    }

    /// Another sink for the same entries.
    ///
    /// # Safety
    /// No entry may be taken from both while the one taken first is in use.
    pub unsafe fn share(&self) -> Sink<'a> {
        Sink { start: self.start, len: self.len, out: PhantomData }
    }

    /// The `len` entries from `at`.
    #[inline(always)]
    pub fn entries(&mut self, at: usize, len: usize) -> &mut [f32] {
        assert!(at <= self.len && len <= self.len - at, "{len} entries from {at} of {}", self.len);
        // SAFETY: they are part of the slice that the first of these sinks was made from, which is borrowed for as long
        // as any of them lives; nobody else refers to them, by the promise given to `share` and by `&mut self`.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(at), len) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn team(threads: usize) -> Team {
        Team::new(NonZeroUsize::new(threads).unwrap()).unwrap()
    }

    #[test]
    fn every_part_is_done_once_by_any_number_of_threads() {
        for threads in 1..4 {
            let mut team = team(threads);
            assert_eq!(team.threads(), threads);
            for parts in [0, 1, 2, 3, 7, 100] {
                for pause in [0, 200] {
                    let done: Vec<AtomicUsize> = (0..parts).map(|_| AtomicUsize::new(0)).collect();
                    team.run(parts, &|part| {
                        done[part].fetch_add(1, Ordering::Relaxed);
                    });
                    assert!(done.iter().all(|d| d.load(Ordering::Relaxed) == 1), "{threads} threads, {parts} parts");
                    // Long enough for the helpers to fall asleep.
                    thread::sleep(Duration::from_micros(pause));
                }
            }
        }
    }

    #[test]
    fn pieces_cover_the_result() {
        let mut team = team(3);
        for len in [0, 1, 5, 64, 67] {
            let mut out = vec![f32::NAN; len];
            team.run_pieces(&mut out, 5, &|part, piece| piece.fill(part as f32));
            let expected: Vec<f32> = (0..len).map(|i| (i / 5) as f32).collect();
            assert_eq!(out, expected);
        }
    }

    #[test]
    fn a_panic_in_a_part_reaches_the_caller_and_the_team_works_on() {
        let mut team = team(2);
        for part in 0..4 {
            let result = catch_unwind(AssertUnwindSafe(|| team.run(4, &|p| assert_ne!(p, part, "part {p}"))));
            let message = *result.unwrap_err().downcast::<String>().unwrap();
            assert!(message.contains(&format!("part {part}")), "{message}");
        }
        let sum = AtomicUsize::new(0);
        team.run(4, &|p| {
            sum.fetch_add(p, Ordering::Relaxed);
        });
        assert_eq!(sum.into_inner(), 6);
    }
}
