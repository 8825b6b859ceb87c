//! Rounds taken in turns, so that what disturbs the machine disturbs all alike.

use std::time::{Duration, Instant};

use crate::rounds::{Spread, ratios};

/// Something whose calls can be timed.
pub(super) trait Clocked {
    /// Seconds that `calls` calls took together.
    ///
    /// # Errors
    /// When a call fails.
    fn seconds(&mut self, calls: usize) -> anyhow::Result<f64>;

    /// Calls after which the work begins anew: frames that leave at several exits are only alike by the cycle.
    fn cycle(&self) -> usize {
        1
    }
}

/// How long to measure.
#[derive(Clone, Copy, Debug)]
pub(super) struct Effort {
    /// Rounds at most.
    pub rounds: usize,
    /// Rounds at least, however long they take.
    pub least_rounds: usize,
    /// No round begins after this time.
    pub budget: Duration,
    /// A round repeats calls until it lasts this long.
    pub round: Duration,
    /// How often a group whose rounds disagree is timed again.
    pub again: usize,
    /// Between two series: threads that spin after their last call have gone to sleep by then.
    pub pause: Duration,
}

/// One series after all rounds.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Series {
    /// Calls per round.
    pub calls: usize,
    /// Seconds per call, one per round.
    pub rounds_s: Vec<f64>,
}

/// Times all of `clocked` in turns: first each until it is warm, then round by round A, B, C, A, B, C. Every measured round
/// comes right after an untimed one, which brings code and weights back into the caches and threads back to work. One that
/// fails gets no series, but its error.
pub(super) fn in_turns(clocked: &mut [&mut dyn Clocked], effort: Effort) -> Vec<anyhow::Result<Series>> {
    let mut series: Vec<anyhow::Result<Series>> = clocked
        .iter_mut()
        .map(|clocked| {
            clocked.seconds(1)?;
            let once = clocked.seconds(2)? / 2.0;
            let calls = (effort.round.as_secs_f64() / once.max(1e-9)).ceil().clamp(1.0, 10_000.0) as usize;
            Ok(Series { calls: calls.next_multiple_of(clocked.cycle().max(1)), rounds_s: vec![] })
        })
        .collect();
    let began = Instant::now();
    for round in 0..effort.rounds {
        if round >= effort.least_rounds && began.elapsed() > effort.budget {
            break;
        }
        for (clocked, series) in clocked.iter_mut().zip(&mut series) {
            let Ok(done) = series else { continue };
            std::thread::sleep(effort.pause);
            match clocked.seconds(done.calls).and_then(|_| clocked.seconds(done.calls)) {
                Ok(seconds) => done.rounds_s.push(seconds / done.calls as f64),
                Err(error) => *series = Err(error),
            }
        }
    }
    series
}

/// As [`in_turns`], again where rounds disagree: what is kept is the time on which they agree most.
pub(super) fn until_they_agree(clocked: &mut [&mut dyn Clocked], effort: Effort) -> Vec<anyhow::Result<Series>> {
    let mut best = in_turns(clocked, effort);
    for _ in 0..effort.again {
        // What is broken stays so.
        if best.iter().any(Result::is_err) || widest(&best).is_none_or(Spread::agrees) {
            break;
        }
        let next = in_turns(clocked, effort);
        let width = |series: &[anyhow::Result<Series>]| widest(series).map_or(f64::INFINITY, Spread::width);
        if next.iter().any(Result::is_err) || width(&next) < width(&best) {
            best = next;
        }
    }
    best
}

/// Of the ratios of each series to the first, those that lie furthest apart.
fn widest(series: &[anyhow::Result<Series>]) -> Option<Spread> {
    let mut done = series.iter().filter_map(|series| series.as_ref().ok());
    let first = done.next()?;
    let spreads = done.filter_map(|series| Spread::of(&ratios(&series.rounds_s, &first.rounds_s)));
    spreads.max_by(|a, b| a.width().total_cmp(&b.width()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A runtime on a machine whose speed wanders, seen by a clock of its own.
    struct Fake<'a> {
        cost: f64,
        machine: &'a std::cell::RefCell<fastrand::Rng>,
        broken: bool,
    }

    impl Clocked for Fake<'_> {
        fn seconds(&mut self, calls: usize) -> anyhow::Result<f64> {
            anyhow::ensure!(!self.broken, "broken");
            let mut random = self.machine.borrow_mut();
            let slow = if random.f64() < 0.1 { 3.0 } else { 1.0 };
            Ok(self.cost * calls as f64 * slow * (1.0 + 0.1 * random.f64()))
        }
    }

    const EFFORT: Effort = Effort {
        rounds: 15,
        least_rounds: 15,
        budget: Duration::from_secs(60),
        round: Duration::from_millis(10),
        again: 2,
        pause: Duration::ZERO,
    };

    #[test]
    fn twice_as_slow_shows_as_two_on_a_noisy_machine() {
        for seed in 0..20 {
            let machine = std::cell::RefCell::new(fastrand::Rng::with_seed(seed));
            let mut one = Fake { cost: 0.004, machine: &machine, broken: false };
            let mut two = Fake { cost: 0.008, machine: &machine, broken: false };
            let series = in_turns(&mut [&mut one, &mut two], EFFORT);
            let [one, two] = [0, 1].map(|i| series[i].as_ref().unwrap().clone());
            let ratio = Spread::of(&ratios(&two.rounds_s, &one.rounds_s)).unwrap();
            assert!((ratio.median - 2.0).abs() < 0.1, "seed {seed}: {ratio:?}");
        }
    }

    /// Every tenth frame is dear: only whole cycles cost the same.
    struct Uneven(usize);

    impl Clocked for Uneven {
        fn seconds(&mut self, calls: usize) -> anyhow::Result<f64> {
            let frames = self.0..self.0 + calls;
            self.0 += calls;
            Ok(frames.map(|frame| if frame % 10 == 0 { 0.1 } else { 0.01 }).sum())
        }

        fn cycle(&self) -> usize {
            10
        }
    }

    #[test]
    fn rounds_are_whole_cycles() {
        let series = in_turns(&mut [&mut Uneven(3)], EFFORT).remove(0).unwrap();
        assert_eq!(series.calls % 10, 0);
        assert!(series.rounds_s.iter().all(|mean| (mean - 0.019).abs() < 1e-9), "{:?}", series.rounds_s);
    }

    /// A machine that is busy for so many calls.
    struct Busy {
        calls: usize,
        rest: usize,
    }

    impl Clocked for Busy {
        fn seconds(&mut self, calls: usize) -> anyhow::Result<f64> {
            self.calls += calls;
            let noise = if self.calls < self.rest { (self.calls % 7) as f64 } else { 0.0 };
            Ok(calls as f64 * (1.0 + noise))
        }
    }

    #[test]
    fn a_group_whose_rounds_disagree_is_timed_again() {
        // Warming up takes 3 calls, and each of 15 rounds two.
        let mut steady = Busy { calls: 0, rest: 0 };
        for (rest, timed) in [(0, 1), (20, 2), (1000, 3)] {
            let mut busy = Busy { calls: 0, rest };
            let effort = Effort { round: Duration::ZERO, ..EFFORT };
            let series = until_they_agree(&mut [&mut steady, &mut busy], effort);
            assert_eq!(busy.calls, timed * (3 + 2 * 15), "busy until call {rest}");
            assert_eq!(widest(&series).unwrap().agrees(), rest < 1000);
        }
    }

    #[test]
    fn one_that_breaks_does_not_stop_the_others() {
        let machine = std::cell::RefCell::new(fastrand::Rng::with_seed(1));
        let mut good = Fake { cost: 0.01, machine: &machine, broken: false };
        let mut bad = Fake { cost: 0.01, machine: &machine, broken: true };
        let series = in_turns(&mut [&mut bad, &mut good], EFFORT);
        assert_eq!(series[0].as_ref().unwrap_err().to_string(), "broken");
        assert_eq!(series[1].as_ref().unwrap().rounds_s.len(), 15);
    }
}
