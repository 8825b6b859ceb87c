//! How long stages take here, measured by running whole frames.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Instant;

use super::{RunError, Runtime};
use crate::machine::{self, MachineTimes};
use crate::plan::Plan;

/// Frames that each stage is timed with.
const RUNS: usize = 15;

impl MachineTimes {
    /// Runs whole frames on so many threads of this machine, and takes the median time of each stage.
    ///
    /// # Errors
    /// [`RunError`] when the plan cannot be run or the system starts no more threads.
    pub fn measure(plan: &Arc<Plan>, threads: NonZeroUsize) -> Result<Self, RunError> {
        let mut runtime = Runtime::new(plan.clone())?.with_threads(threads)?;
        let image = vec![0.0; plan.info().input.len()];
        let exits = plan.stages().len();
        let mut times = vec![vec![]; plan.outcomes()];
        for _ in 0..RUNS {
            runtime.begin(&image)?;
            for (outcome, times) in times.iter_mut().enumerate() {
                let began = Instant::now();
                match outcome.checked_sub(exits) {
                    None => {
                        runtime.advance(outcome)?;
                    }
                    Some(goal) => {
                        runtime.advance_to_boxes(goal)?;
                    }
                }
                times.push(began.elapsed().as_secs_f32());
            }
        }
        let median = |mut times: Vec<f32>| {
            times.sort_by(f32::total_cmp);
            times[RUNS / 2]
        };
        Ok(MachineTimes::new(machine::name(), threads, times.into_iter().map(median).collect::<Vec<_>>()))
    }
}
