//! Many images at once, each wholly on one thread.
//!
//! Splitting every operator of one image among threads makes that image faster; several images are done sooner when each
//! thread has images of its own: none waits for another between operators, and what an image needs stays in one core's
//! caches. An image that leaves early frees its thread for the next one, so that no later stage is computed for it.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::{Outcome, RunError, Runtime};
use crate::exit::ExitPolicy;
use crate::plan::Plan;

/// Runs a plan for one image at a time on several threads, with buffers for each of them; weights are shared.
#[derive(Debug)]
pub struct BatchRuntime {
    /// One per thread, the first of them the calling one's.
    runtimes: Vec<Runtime>,
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
        Ok(BatchRuntime { runtimes: vec![Runtime::new(plan)?] })
    }

    /// The same runtime on exactly `threads` threads, each with buffers of its own: the calling one and those started for
    /// each batch.
    ///
    /// # Errors
    /// As [`Runtime::new`].
    pub fn with_threads(mut self, threads: NonZeroUsize) -> Result<BatchRuntime, RunError> {
        let plan = self.plan().clone();
        self.runtimes.truncate(threads.get());
        while self.runtimes.len() < threads.get() {
            self.runtimes.push(Runtime::new(plan.clone())?);
        }
        Ok(self)
    }

    /// The plans that are run.
    pub fn plan(&self) -> &Arc<Plan> {
        self.runtimes[0].plan()
    }

    /// Runs every image until the policy leaves; one outcome per image, in their order. `images` holds one image of
    /// [`crate::model::InputSpec::len`] floats after another.
    ///
    /// # Errors
    /// [`RunError::InputLength`] when `images` is no whole number of images; otherwise as [`Runtime::run`], the error of
    /// the first image that has one.
    pub fn run(&mut self, images: &[f32], policy: &ExitPolicy) -> Result<Vec<Outcome>, RunError> {
        self.each(images, |runtime, _, image| runtime.run(image, policy))
    }

    /// Calls `work` for every image, with a runtime for its use alone and the image's number; results in order.
    ///
    /// # Errors
    /// As [`BatchRuntime::run`], with the errors of `work`.
    pub fn each<T: Send>(
        &mut self,
        images: &[f32],
        work: impl Fn(&mut Runtime, usize, &[f32]) -> Result<T, RunError> + Sync,
    ) -> Result<Vec<T>, RunError> {
        let len = self.plan().info().input.len();
        if !images.len().is_multiple_of(len) {
            let expected = images.len().next_multiple_of(len);
            return Err(RunError::InputLength { expected, actual: images.len() });
        }
        let (next, images) = (AtomicUsize::new(0), images.chunks_exact(len));
        // Who is done takes the next image.
        let share = |runtime: &mut Runtime| -> Vec<(usize, Result<T, RunError>)> {
            let mut done = vec![];
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                let Some(image) = images.clone().nth(number) else { return done };
                done.push((number, work(runtime, number, image)));
            }
        };
        let threads = self.runtimes.len();
        let (caller, helpers) = self.runtimes.split_first_mut().expect("at least one thread");
        let helpers = &mut helpers[..images.len().saturating_sub(1).min(threads - 1)];
        let mut done = std::thread::scope(|scope| {
            let started = helpers.iter_mut().map(|runtime| {
                std::thread::Builder::new()
                    .spawn_scoped(scope, || share(runtime))
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
        done.into_iter().map(|(_, result)| result).collect()
    }
}
