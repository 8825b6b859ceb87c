//! Many images at once, some of them together on each thread.
//!
//! Splitting every operator of one image among threads makes that image faster; several images are done sooner when each
//! thread has images of its own: none waits for another between operators. A thread takes a few together, so that the weights of
//! an operator come from memory once for all of them. An image that leaves early is computed no further.

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use super::walk::{self, Walk};
use super::{ExitSet, Outcome, RunError, Runtime, StageTime};
use crate::exit::ExitPolicy;
use crate::plan::Plan;

/// How many images a thread computes together, at most.
pub(super) const TOGETHER: usize = 4;
/// How many bytes of buffers these may have, all together, where they are more than two: with more they drive weights, and each other, out
/// of the caches. By the times of three networks on a machine with 32 MiB of them for two threads.
const TOGETHER_BYTES: usize = 22 << 20;

/// Runs a plan for many images on several threads, with buffers for each image that a thread computes at the same time; weights are
/// shared.
#[derive(Debug)]
pub struct BatchRuntime {
    /// For each thread, the first of them the calling one, a runtime for each image that it computes at the same time.
    threads: Vec<Vec<Runtime>>,
}

impl BatchRuntime {
    /// A runtime with its own buffers over shared plans, on the calling thread alone.
    ///
    /// # Errors
    /// [`RunError::Batch`] for a plan that takes several images at once itself, [`RunError::States`] for one that carries
    /// states from frame to frame; otherwise as [`Runtime::new`].
    pub fn new(plan: Arc<Plan>) -> Result<BatchRuntime, RunError> {
        let batch = plan.info().input.batch;
        if batch != 1 {
            return Err(RunError::Batch { batch });
        }
        if plan.info().video.is_some() {
            return Err(RunError::States);
        }
        Ok(BatchRuntime { threads: vec![vec![Runtime::new(plan)?]] })
    }

    /// The same runtime on exactly `threads` threads: the calling one and those started for each batch.
    ///
    /// # Errors
    /// As [`Runtime::new`].
    pub fn with_threads(mut self, threads: NonZeroUsize) -> Result<BatchRuntime, RunError> {
        let plan = self.plan().clone();
        self.threads.truncate(threads.get());
        while self.threads.len() < threads.get() {
            self.threads.push(vec![Runtime::new(plan.clone())?]);
        }
        Ok(self)
    }

    /// The plans that are run.
    pub fn plan(&self) -> &Arc<Plan> {
        self.threads[0][0].plan()
    }

    /// Runs every image until the policy leaves; one outcome per image, in their order. `images` holds one image of
    /// [`crate::model::InputSpec::len`] floats after another. The times of an image's stages are shares of those that it was
    /// computed together with.
    ///
    /// # Errors
    /// [`RunError::InputLength`] when `images` is no whole number of images; otherwise as [`Runtime::run`], of several errors one
    /// among the first images that have any.
    pub fn run(&mut self, images: &[f32], policy: &ExitPolicy) -> Result<Vec<Outcome>, RunError> {
        let (count, plan) = (self.count(images)?, self.plan().clone());
        walk::check(&plan, policy)?;
        let calibration = self.threads[0][0].calibration.clone();
        let classes = plan.info().classes;
        let mut scratch = vec![0.0; count * classes];
        let mut walks: Vec<Walk<'_>> =
            scratch.chunks_exact_mut(classes).map(|scratch| Walk::new(policy, scratch)).collect();
        let exits: Vec<usize> = walk::exits(policy).collect();
        self.walk(images, &exits, &mut walks, |walk, stage, logits| {
            walk.stages.push(stage);
            walk.observe(stage.exit, logits).map_err(|unreadable| walk::error(&plan, unreadable))
        })?;
        let outcome = |walk: Walk<'_>| {
            let outcome = walk.outcome(calibration.as_ref()).map_err(|unreadable| walk::error(&plan, unreadable))?;
            outcome.ok_or(RunError::NoSuchExit { exit: 0, exits: plan.exits.len() })
        };
        walks.into_iter().map(outcome).collect()
    }

    /// Computes `exits` of every image, in this order, and calls `see` with the image's own of `states`, the exit with the
    /// image's share of its time, and its logits. An image goes on to the next exit where that returns true.
    ///
    /// # Panics
    /// There are not as many states as images.
    ///
    /// # Errors
    /// [`RunError::InputLength`] when `images` is no whole number of images, [`RunError::NoSuchExit`], [`RunError::InputNotFinite`],
    /// what tract says, and the errors of `see`; of several errors one among the first images that have any.
    pub fn walk<S: Send>(
        &mut self,
        images: &[f32],
        exits: &[usize],
        states: &mut [S],
        see: impl Fn(&mut S, StageTime, &[f32]) -> Result<bool, RunError> + Sync,
    ) -> Result<(), RunError> {
        let (count, plan) = (self.count(images)?, self.plan().clone());
        assert_eq!(states.len(), count, "a state for each image");
        if let Some(&exit) = exits.iter().find(|exit| **exit >= plan.exits.len()) {
            return Err(RunError::NoSuchExit { exit, exits: plan.exits.len() });
        }
        let most = if TOGETHER * plan.executor.buffer_memory() > TOGETHER_BYTES { 2 } else { TOGETHER };
        let together = count.div_ceil(self.threads.len()).clamp(1, most);
        for runtimes in self.threads.iter_mut().take(count.div_ceil(together)) {
            while runtimes.len() < together {
                runtimes.push(Runtime::new(plan.clone())?);
            }
        }
        let len = plan.info().input.len();
        let groups = images.chunks(together * len).zip(states.chunks_mut(together));
        let walked = self.share(groups, |runtimes, (images, states)| {
            let mut staying: Vec<_> = runtimes.iter_mut().zip(images.chunks_exact(len)).zip(states).collect();
            staying.iter_mut().try_for_each(|((runtime, image), _)| runtime.begin(image))?;
            for &exit in exits {
                let began = Instant::now();
                let mut runtimes: Vec<&mut Runtime> =
                    staying.iter_mut().map(|((runtime, _), _)| &mut **runtime).collect();
                Runtime::compute_together(&mut runtimes, ExitSet::of([exit]))?;
                let stage = StageTime { exit, time: began.elapsed() / staying.len().max(1) as u32 };
                let goes_on = staying.iter_mut().map(|((runtime, _), state)| see(state, stage, runtime.logits(exit)?));
                let mut goes_on = goes_on.collect::<Result<Vec<bool>, _>>()?.into_iter();
                staying.retain(|_| goes_on.next() == Some(true));
            }
            Ok(())
        })?;
        walked.into_iter().collect()
    }

    /// Calls `work` for every image, with a runtime for its use alone and the image's number; results in order.
    ///
    /// # Errors
    /// As [`BatchRuntime::run`], with the errors of `work`: the error of the first image that has one.
    pub fn each<T: Send>(
        &mut self,
        images: &[f32],
        work: impl Fn(&mut Runtime, usize, &[f32]) -> Result<T, RunError> + Sync,
    ) -> Result<Vec<T>, RunError> {
        self.count(images)?;
        let len = self.plan().info().input.len();
        let numbered = images.chunks_exact(len).enumerate();
        let done = self.share(numbered, |runtimes, (number, image)| work(&mut runtimes[0], number, image))?;
        done.into_iter().collect()
    }

    fn count(&self, images: &[f32]) -> Result<usize, RunError> {
        let len = self.plan().info().input.len();
        if !images.len().is_multiple_of(len) {
            let expected = images.len().next_multiple_of(len);
            return Err(RunError::InputLength { expected, actual: images.len() });
        }
        Ok(images.len() / len)
    }

    /// Does every piece of work on the thread that is free for it; results in order.
    fn share<W: Send, T: Send>(
        &mut self,
        pieces: impl ExactSizeIterator<Item = W> + Send,
        work: impl Fn(&mut [Runtime], W) -> Result<T, RunError> + Sync,
    ) -> Result<Vec<Result<T, RunError>>, RunError> {
        let (count, pieces) = (pieces.len(), Mutex::new(pieces.enumerate()));
        let next = || pieces.lock().unwrap_or_else(PoisonError::into_inner).next();
        let share = |runtimes: &mut [Runtime]| -> Vec<(usize, Result<T, RunError>)> {
            std::iter::from_fn(next).map(|(number, piece)| (number, work(runtimes, piece))).collect()
        };
        let threads = self.threads.len();
        let (caller, helpers) = self.threads.split_first_mut().expect("at least one thread");
        let helpers = &mut helpers[..count.saturating_sub(1).min(threads - 1)];
        let mut done = std::thread::scope(|scope| {
            let started = helpers.iter_mut().map(|runtimes| {
                std::thread::Builder::new()
                    .spawn_scoped(scope, || share(runtimes))
                    .map_err(|source| RunError::Threads { threads, source })
            });
            let started = started.collect::<Result<Vec<_>, _>>();
            let mut done = share(caller);
            for helper in started? {
                done.extend(helper.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
            }
            Ok::<_, RunError>(done)
        })?;
        done.sort_by_key(|(number, _)| *number);
        Ok(done.into_iter().map(|(_, result)| result).collect())
    }
}
