//! The best answer by a deadline.

use std::time::{Duration, Instant};

use super::{Outcome, RunError, Runtime};
use crate::exit::{ExitPolicy, MAX_EXITS};

/// Time that each stage needs, as good as always: the 95th percentile of what was measured. A stage is not started that
/// might not be finished in time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StageLimits {
    limits: [Duration; MAX_EXITS],
}

impl StageLimits {
    /// Measures the stages of a policy on the runtime's machine: `runs` runs through every exit that it evaluates, on
    /// `image`, after one that does not count.
    ///
    /// # Errors
    /// As [`Runtime::run`].
    pub fn measure(
        runtime: &mut Runtime,
        policy: &ExitPolicy,
        image: &[f32],
        runs: usize,
    ) -> Result<StageLimits, RunError> {
        let mut times = vec![vec![]; MAX_EXITS];
        for run in 0..=runs {
            runtime.begin(image)?;
            for exit in (0..policy.rules().len()).filter(|&exit| policy.evaluates(exit)) {
                let began = Instant::now();
                runtime.advance(exit)?;
                if run > 0 {
                    times[exit].push(began.elapsed());
                }
            }
        }
        let mut limits = [Duration::ZERO; MAX_EXITS];
        for (limit, times) in limits.iter_mut().zip(&mut times) {
            times.sort_unstable();
            *limit = times.get((times.len() * 95).div_ceil(100).saturating_sub(1)).copied().unwrap_or_default();
        }
        Ok(StageLimits { limits })
    }

    /// Limits that are known, one per exit.
    pub fn new(limits: impl IntoIterator<Item = Duration>) -> StageLimits {
        let mut all = [Duration::ZERO; MAX_EXITS];
        all.iter_mut().zip(limits).for_each(|(limit, given)| *limit = given);
        StageLimits { limits: all }
    }

    /// The limit of a stage; zero where it was not measured.
    pub fn of(&self, exit: usize) -> Duration {
        self.limits.get(exit).copied().unwrap_or_default()
    }
}

impl Runtime {
    /// As [`Runtime::run`], but no stage is started that might end after `deadline`: then what was seen until there
    /// answers. None when not even the first stage could be started.
    ///
    /// # Errors
    /// As [`Runtime::run`].
    pub fn run_until(
        &mut self,
        image: &[f32],
        policy: &ExitPolicy,
        limits: &StageLimits,
        deadline: Instant,
    ) -> Result<Option<Outcome>, RunError> {
        let in_time = |exit| Instant::now().checked_add(limits.of(exit)).is_some_and(|end| end <= deadline);
        self.walk(image, policy, |_, exit, _| Ok(in_time(exit)))
    }
}
