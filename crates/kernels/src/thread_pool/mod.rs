//! Fork-join thread pool for intra-op parallelism: the threads that share the work of one operator.
//!
//! Work is cut into parts, and what a part computes does not depend on how many threads there are or which of them takes
//! it, so results are the same bits for every number of threads. Idle threads spin for some microseconds, which is the
//! time between two operators of a frame, and then sleep.

#[cfg(test)]
mod model;
mod shared;
mod sync;
#[cfg(test)]
mod tests;

use std::cell::Cell;
use std::fmt;
use std::io;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread::{self, JoinHandle};

use thiserror::Error;

use self::shared::Shared;
use crate::dispatch::{DotToken, HalfIsa, HalfToken, Int8Isa, Isa, IsaError, Token, isa, select_isa};
use crate::sink::Sink;

/// Operations below which handing a part over costs more than it gives: some microseconds' work.
const GRAIN: usize = 100_000;

thread_local! {
    static IS_WORKER: Cell<bool> = const { Cell::new(false) };
}

/// Whether the calling thread is a worker of some pool. A panic there is caught and handed on to the thread that it works
/// for; a panic hook may leave it to that thread to tell.
pub fn is_worker() -> bool {
    // A thread that is about to end has no thread-locals any more.
    IS_WORKER.try_with(Cell::get).unwrap_or(false)
}

/// The thread that calls, the workers that it has started, and the instruction set that kernels run on.
///
/// ```
/// use std::sync::atomic::{AtomicUsize, Ordering};
///
/// use dyn_perceiver_kernels::thread_pool::ThreadPool;
///
/// let mut pool = ThreadPool::new(2.try_into()?)?;
/// let sum = AtomicUsize::new(0);
/// pool.run(10, &|part| {
///     sum.fetch_add(part, Ordering::Relaxed);
/// });
/// assert_eq!(sum.into_inner(), 45);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct ThreadPool {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
    token: Token,
    dot: DotToken,
    half: HalfToken,
    grain: usize,
}

/// Why a thread pool could not be made.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum PoolError {
    /// The instruction set cannot be used.
    #[error(transparent)]
    Isa(#[from] IsaError),
    /// The system starts no more threads.
    #[error("starting worker thread {worker}")]
    Spawn {
        /// Number of the worker, from 0.
        worker: usize,
        /// What the system says.
        source: io::Error,
    },
}

impl fmt::Debug for ThreadPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ThreadPool")
            .field("threads", &self.threads())
            .field("isa", &self.isa())
            .field("int8_isa", &self.int8_isa())
            .finish()
    }
}

impl ThreadPool {
    /// Starts one thread less than `threads`, for kernels on the instruction set that [`select_isa`] takes.
    ///
    /// # Errors
    /// The environment variable for the instruction set is refused, or the system starts no more threads.
    pub fn new(threads: NonZeroUsize) -> Result<ThreadPool, PoolError> {
        ThreadPool::with_isa(threads, select_isa()?)
    }

    /// As [`ThreadPool::new`], for kernels on the given instruction set.
    ///
    /// # Errors
    /// The CPU lacks the instruction set, or the system starts no more threads.
    pub fn with_isa(threads: NonZeroUsize, isa: Isa) -> Result<ThreadPool, PoolError> {
        let workers = threads.get() - 1;
        let token = Token::detect(isa)?;
        let (dot, half) = (DotToken::best(isa), HalfToken::best(isa));
        let shared = Arc::new(Shared::new(workers));
        let mut pool = ThreadPool { shared, workers: vec![], token, dot, half, grain: GRAIN };
        for worker in 0..workers {
            let shared = pool.shared.clone();
            let thread = thread::Builder::new().name(format!("dynp-{worker}"));
            let thread = thread.spawn(move || {
                IS_WORKER.set(true);
                shared.worker_loop(worker);
            });
            pool.workers.push(thread.map_err(|source| PoolError::Spawn { worker, source })?);
        }
        Ok(pool)
    }

    /// The calling thread alone, for kernels on the instruction set that [`isa`] reports.
    pub fn single() -> ThreadPool {
        // What `isa` reports is available; plain code always is.
        let token = Token::detect(isa()).unwrap_or(Token::Plain(crate::simd::Plain));
        let (dot, half) = (DotToken::best(token.isa()), HalfToken::best(token.isa()));
        ThreadPool { shared: Arc::new(Shared::new(0)), workers: vec![], token, dot, half, grain: GRAIN }
    }

    /// How many threads work, the caller's with them.
    pub fn threads(&self) -> usize {
        self.workers.len() + 1
    }

    /// The instruction set that kernels run on.
    pub fn isa(&self) -> Isa {
        self.token.isa()
    }

    /// The instructions that int8 kernels run on: the best of this CPU that belong to [`ThreadPool::isa`].
    pub fn int8_isa(&self) -> Int8Isa {
        self.dot.isa()
    }

    pub(crate) fn dot(&self) -> DotToken {
        self.dot
    }

    /// The instructions that kernels with f16 weights run on.
    pub fn half_isa(&self) -> HalfIsa {
        self.half.isa()
    }

    pub(crate) fn half(&self) -> HalfToken {
        self.half
    }

    /// Takes other instructions for f16 kernels, so that tests reach all that the CPU has.
    #[cfg(test)]
    pub(crate) fn set_half(&mut self, half: HalfToken) {
        self.half = half;
    }

    /// Takes other instructions for int8 kernels, so that tests reach all that the CPU has.
    #[cfg(test)]
    pub(crate) fn set_dot(&mut self, dot: DotToken) {
        self.dot = dot;
    }

    pub(crate) fn token(&self) -> Token {
        self.token
    }

    /// Cuts work from `operations` on, so that tests on small sizes have parts.
    #[cfg(test)]
    pub(crate) fn set_grain(&mut self, operations: usize) {
        self.grain = operations;
    }

    /// Wakes the threads that sleep, since work will follow: waking one takes as long as a short operator. Each sleeps again where
    /// none does.
    pub fn wake(&self) {
        self.shared.wake(self.workers.iter().map(JoinHandle::thread));
    }

    /// Calls `job` once with each of `0..parts`, from any of the threads, and returns when all calls have.
    ///
    /// # Panics
    /// `job` panics (with its payload, after all other parts have ended), or there are more than 65,535 parts.
    pub fn run(&mut self, parts: usize, job: &(dyn Fn(usize) + Sync)) {
        self.run_on_threads(parts, &|part, _| job(part));
    }

    /// As [`ThreadPool::run`], with scratch memory: `scratch` is cut into one piece for each thread, and the job is given
    /// that of the thread it runs on, with whatever an earlier part has left in it.
    ///
    /// # Panics
    /// As [`ThreadPool::run`].
    pub fn run_with_scratch(&mut self, parts: usize, scratch: &mut [f32], job: &(dyn Fn(usize, &mut [f32]) + Sync)) {
        let each = scratch.len() / self.threads();
        let scratch = Sink::new(scratch);
        self.run_on_threads(parts, &|part, thread| {
            // SAFETY: a thread does one part at a time, and each has its own piece.
            let mut scratch = unsafe { scratch.share() };
            job(part, scratch.entries(thread * each, each));
        });
    }

    /// Calls `main` with this pool, and meanwhile, on one of its threads, `aside` with what turns true when `main` has returned: `aside` should
    /// stop then, at the next place where it can. Its thread takes part in `main`'s work once it has returned by itself. Nobody calls it where
    /// there is no other thread, or where none has come to it in time.
    ///
    /// ```
    /// use std::sync::atomic::Ordering;
    ///
    /// use dyn_perceiver_kernels::thread_pool::ThreadPool;
    ///
    /// let mut steps = 0..1000;
    /// ThreadPool::new(2.try_into()?)?.run_beside(
    ///     &mut |stop| while !stop.load(Ordering::Relaxed) && steps.next().is_some() {},
    ///     |pool| pool.run(10, &|_part| ()),
    /// );
    /// // What is left is done afterwards.
    /// assert_eq!(steps.last().unwrap_or(999), 999);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Panics
    /// `main` or `aside` panics, after the other has returned.
    pub fn run_beside(&mut self, aside: &mut (dyn FnMut(&AtomicBool) + Send), main: impl FnOnce(&mut ThreadPool)) {
        if self.workers.is_empty() {
            return main(self);
        }
        self.shared.clone().run_beside(aside, || {
            self.wake();
            main(self);
        });
    }

    fn run_on_threads(&mut self, parts: usize, job: shared::Job<'_>) {
        if self.workers.is_empty() || parts <= 1 {
            return (0..parts).for_each(|part| job(part, 0));
        }
        self.shared.run(self.workers.iter().map(JoinHandle::thread), parts, job);
    }

    /// Calls `job` with the number and the entries of each of the chunks of `size` that `out` falls into, the last maybe
    /// shorter.
    ///
    /// # Panics
    /// As [`ThreadPool::run`].
    pub fn run_chunks(&mut self, out: &mut [f32], size: usize, job: &(dyn Fn(usize, &mut [f32]) + Sync)) {
        let (len, size) = (out.len(), size.max(1));
        let sink = Sink::new(out);
        self.run(len.div_ceil(size), &|part| {
            // SAFETY: every part is done once, and the chunks of different parts do not overlap.
            let mut sink = unsafe { sink.share() };
            job(part, sink.entries(part * size, size.min(len - part * size)));
        });
    }

    /// Into how many parts work worth `operations` multiplications, additions or moved floats is best cut, when at most
    /// `most` are possible: one where handing it over costs more than it gives.
    pub fn parts(&self, operations: usize, most: usize) -> usize {
        // 2x oversubscription for load balancing: a thread that is held up leaves one to the others.
        let wanted = if self.workers.is_empty() { 1 } else { 2 * self.threads() };
        wanted.min(operations / self.grain).min(most).max(1)
    }
}

impl Drop for ThreadPool {
    fn drop(&mut self) {
        self.shared.shutdown();
        for worker in self.workers.drain(..) {
            worker.thread().unpark();
            // It ends without a panic: those of jobs are caught.
            let _ = worker.join();
        }
    }
}
