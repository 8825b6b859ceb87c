//! How many threads a frame is best run on, measured where it runs.
//!
//! More threads are not always faster: cores that other work holds, small networks and slow wake-ups take more than
//! they give. Nothing but a measurement tells, so that is what [`Threads::Auto`] is.

use std::fmt;
use std::num::NonZeroUsize;
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{RunError, Runtime};
use crate::machine::MachineTimes;
use crate::plan::Plan;

/// More threads would only be a slip of the finger.
const MOST: usize = 1024;
/// Whole frames that each candidate is timed with, in turns.
const ROUNDS: usize = 9;
/// Rounds that are always done, also where they take longer than [`TIME`].
const LEAST_ROUNDS: usize = 3;
/// How long measuring goes on.
const TIME: Duration = Duration::from_secs(2);
/// Fewer threads are taken where they are slower by no more than this part: idle cores save energy.
const WORTH: f64 = 0.05;

/// A number of threads, or the number that is measured to be the fastest.
///
/// ```
/// use dyn_perceiver::runtime::Threads;
///
/// assert_eq!("auto".parse(), Ok(Threads::Auto));
/// assert_eq!("4".parse(), Ok(Threads::from(4)));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Threads {
    /// Exactly so many, the calling one among them.
    Count(NonZeroUsize),
    /// As many as are fastest here, found by running whole frames on some, see [`Threads::choose`].
    Auto,
}

/// A text that is no number of threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected a number from 1 to {MOST}, or auto for as many as are measured to be fastest")]
pub struct ThreadsError;

/// A number of threads and how it was come by.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct ThreadChoice {
    /// How many threads.
    pub threads: NonZeroUsize,
    /// What was measured to choose them; empty where the number was given.
    pub measured: Vec<ThreadTime>,
}

/// The time of a whole frame on so many threads.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct ThreadTime {
    /// How many threads.
    pub threads: NonZeroUsize,
    /// The median over some frames.
    pub time: Duration,
}

impl Default for Threads {
    fn default() -> Self {
        Threads::Count(NonZeroUsize::MIN)
    }
}

/// 0 counts as 1.
impl From<usize> for Threads {
    fn from(threads: usize) -> Self {
        Threads::Count(NonZeroUsize::new(threads).unwrap_or(NonZeroUsize::MIN))
    }
}

impl From<NonZeroUsize> for Threads {
    fn from(threads: NonZeroUsize) -> Self {
        Threads::Count(threads)
    }
}

impl FromStr for Threads {
    type Err = ThreadsError;

    fn from_str(text: &str) -> Result<Self, ThreadsError> {
        if text == "auto" {
            return Ok(Threads::Auto);
        }
        let count = text.parse().ok().filter(|count: &NonZeroUsize| count.get() <= MOST);
        count.map(Threads::Count).ok_or(ThreadsError)
    }
}

impl fmt::Display for Threads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Threads::Count(count) => count.fmt(f),
            Threads::Auto => f.write_str("auto"),
        }
    }
}

impl Threads {
    /// The number of threads. [`Threads::Auto`] times whole frames of `plan` on 1, 2, 4, ... threads and on one for each
    /// core, in turns, for some two seconds at most on all but the slowest boards, and takes the fewest threads that are
    /// within 5 % of the fastest.
    ///
    /// # Errors
    /// [`RunError`] when the plan cannot be run or the system starts no more threads.
    pub fn choose(self, plan: &Arc<Plan>) -> Result<ThreadChoice, RunError> {
        let cores = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        match self {
            Threads::Count(threads) => Ok(ThreadChoice::given(threads)),
            Threads::Auto if cores == NonZeroUsize::MIN => Ok(ThreadChoice::given(cores)),
            Threads::Auto => measure(plan, cores),
        }
    }
}

impl ThreadChoice {
    /// A number that needs no measurement.
    pub fn given(threads: NonZeroUsize) -> Self {
        ThreadChoice { threads, measured: vec![] }
    }

    /// The fewest threads that are worth it by times of this machine that were taken before, as a bundle keeps them; none where
    /// there are not times of several numbers of threads.
    pub fn known(times: &[MachineTimes]) -> Option<Self> {
        let here = times.iter().filter(|times| times.is_of_here());
        let measured: Vec<ThreadTime> = here
            .map(|times| {
                let time = Duration::try_from_secs_f32(times.whole()).unwrap_or(Duration::MAX);
                ThreadTime { threads: times.threads, time }
            })
            .collect();
        (measured.len() > 1).then(|| ThreadChoice::of(measured))
    }

    /// The numbers of threads that [`Threads::Auto`] compares: 1, 2, 4, ... and one for each core.
    pub fn candidates() -> Vec<NonZeroUsize> {
        candidates(std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN))
    }

    /// The fewest threads that are worth it.
    fn of(measured: Vec<ThreadTime>) -> Self {
        let fastest = measured.iter().map(|one| one.time).min().unwrap_or_default();
        let enough = fastest.mul_f64(1.0 + WORTH);
        let threads = measured.iter().filter(|one| one.time <= enough).map(|one| one.threads).min();
        ThreadChoice { threads: threads.unwrap_or(NonZeroUsize::MIN), measured }
    }
}

/// `2`, or `2 (a whole frame on 1: 20.1 ms, 2: 12.0 ms)`.
impl fmt::Display for ThreadChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.threads.fmt(f)?;
        for (i, ThreadTime { threads, time }) in self.measured.iter().enumerate() {
            f.write_str(if i == 0 { " (a whole frame on " } else { ", " })?;
            write!(f, "{threads}: {:.2} ms", 1e3 * time.as_secs_f64())?;
        }
        f.write_str(if self.measured.is_empty() { "" } else { ")" })
    }
}

/// 1, 2, 4, ... and all cores.
fn candidates(cores: NonZeroUsize) -> Vec<NonZeroUsize> {
    let powers = (0..usize::BITS).filter_map(|power| NonZeroUsize::new(1 << power));
    powers.take_while(|count| *count < cores).chain([cores]).collect()
}

fn measure(plan: &Arc<Plan>, cores: NonZeroUsize) -> Result<ThreadChoice, RunError> {
    let image = vec![0.5; plan.info().input.len()];
    let exits = plan.info().exits.len();
    let counts = candidates(cores);
    let mut runtimes = Vec::with_capacity(counts.len());
    for count in &counts {
        runtimes.push(Runtime::new(plan.clone())?.with_threads(*count)?);
    }
    let mut times = vec![vec![]; counts.len()];
    let begun = Instant::now();
    // The first round warms up and is not counted.
    for round in 0..=ROUNDS {
        if round > LEAST_ROUNDS && begun.elapsed() > TIME {
            break;
        }
        for (runtime, times) in runtimes.iter_mut().zip(&mut times) {
            let begun = Instant::now();
            runtime.begin(&image)?;
            for exit in 0..exits {
                runtime.advance(exit)?;
            }
            for goal in 0..plan.goals().len() {
                runtime.advance_to_boxes(goal)?;
            }
            if round > 0 {
                times.push(begun.elapsed());
            }
        }
    }
    let median = |mut times: Vec<Duration>| {
        times.sort_unstable();
        times.get(times.len() / 2).copied().unwrap_or_default()
    };
    let timed = counts.into_iter().zip(times);
    Ok(ThreadChoice::of(timed.map(|(threads, times)| ThreadTime { threads, time: median(times) }).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(threads: usize) -> NonZeroUsize {
        NonZeroUsize::new(threads).unwrap()
    }

    #[test]
    fn threads_are_a_number_or_auto() {
        assert_eq!("auto".parse(), Ok(Threads::Auto));
        assert_eq!("4".parse(), Ok(Threads::Count(count(4))));
        assert_eq!(Threads::from(0), Threads::default());
        for text in ["0", "-1", "all", "5000", ""] {
            assert_eq!(text.parse::<Threads>(), Err(ThreadsError), "{text}");
        }
    }

    #[test]
    fn the_fewest_threads_within_five_percent_are_taken() {
        let choice = |times: &[(usize, u64)]| {
            let time = |&(threads, ms)| ThreadTime { threads: count(threads), time: Duration::from_millis(ms) };
            ThreadChoice::of(times.iter().map(time).collect())
        };
        assert_eq!(choice(&[(1, 100), (2, 60), (4, 58)]).threads, count(2));
        assert_eq!(choice(&[(1, 100), (2, 60), (4, 40)]).threads, count(4));
        assert_eq!(choice(&[(1, 100), (2, 130)]).threads, count(1));
        let told = choice(&[(1, 100), (2, 60)]).to_string();
        assert_eq!(told, "2 (a whole frame on 1: 100.00 ms, 2: 60.00 ms)");
        assert_eq!(ThreadChoice::given(count(3)).to_string(), "3");
    }

    #[test]
    fn candidates_are_powers_of_two_and_all_cores() {
        let candidates = |cores| candidates(count(cores)).into_iter().map(NonZeroUsize::get).collect::<Vec<_>>();
        assert_eq!(candidates(1), [1]);
        assert_eq!(candidates(2), [1, 2]);
        assert_eq!(candidates(6), [1, 2, 4, 6]);
    }
}
