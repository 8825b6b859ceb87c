//! What chance brings in one mission: frames and what every policy makes of them, temperature, sun, the real board.

use super::frames::Frames;
use super::gauge::normal;
use super::scenario::{Arrivals, BEGINS, Scenario};

/// One mission's worth of chance, the same for every strategy.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Trace {
    /// Length of a tick in seconds.
    pub tick: f32,
    frames: Vec<u32>,
    /// Joules by the power model and right answers, policy by policy and tick by tick.
    made: Vec<Vec<(f32, f32)>>,
    /// Temperature in °C, tick by tick.
    pub celsius: Vec<f32>,
    /// Watts from the sun, tick by tick.
    pub sun: Vec<f32>,
    /// Health of the battery.
    pub health: f32,
    /// The board's real idle watts over the model's.
    pub idle_error: f32,
    /// The board's real joules per frame over the model's.
    pub joules_error: f32,
    /// When an injected fault begins, as a share of the mission.
    pub fault_at: f32,
}

impl Trace {
    /// Draws a mission. Every policy judges the same frames.
    pub fn draw(scenario: &Scenario, drawn_from: &Frames, seed: u64) -> Self {
        let mut weather = fastrand::Rng::with_seed(seed);
        let mut camera = weather.fork();
        let between = |rng: &mut fastrand::Rng, (low, high): (f32, f32)| low + rng.f32() * (high - low);
        let health = between(&mut weather, scenario.health);
        let mean = between(&mut weather, scenario.celsius);
        let clouds = between(&mut weather, (0.3, 1.0));
        let (idle_error, joules_error) = (
            (1.0 + scenario.model_error * normal(&mut weather)).clamp(0.7, 1.4),
            (1.0 + scenario.model_error * normal(&mut weather)).clamp(0.7, 1.4),
        );
        let fault_at = between(&mut weather, (0.2, 0.7));

        let ticks = (scenario.mission.duration.as_secs_f32() / scenario.tick).ceil() as usize;
        let mut trace = Trace {
            tick: scenario.tick,
            frames: Vec::with_capacity(ticks),
            made: vec![Vec::with_capacity(ticks); drawn_from.policies()],
            celsius: Vec::with_capacity(ticks),
            sun: Vec::with_capacity(ticks),
            health,
            idle_error,
            joules_error,
            fault_at,
        };
        let (mut hard, mut due) = (camera.bool(), 0.0f32);
        let mut made = vec![(0.0, 0.0); drawn_from.policies()];
        // What every policy made of the last frame that was run.
        let mut last: &[(f32, f32)] = &[];
        for index in 0..ticks {
            let hour = (index as f32 * scenario.tick + BEGINS.as_secs_f32()) / 3600.0;
            let of_day = hour.rem_euclid(24.0);
            // Noon is the peak of the sun, three o'clock that of the temperature.
            trace.celsius.push(mean + scenario.swing * (core::f32::consts::TAU * (of_day - 9.0) / 24.0).sin());
            let height = (core::f32::consts::TAU * (of_day - 6.0) / 24.0).sin().max(0.0);
            trace.sun.push(scenario.solar_watts * clouds * height);

            if camera.f32() < scenario.tick / scenario.spells.seconds.max(scenario.tick) {
                hard = !hard;
            }
            let count = match scenario.arrivals {
                Arrivals::Periodic(seconds) => {
                    due += scenario.tick / seconds;
                    let whole = due.floor();
                    due -= whole;
                    whole as u32
                }
                Arrivals::Poisson(rate) => poisson(&mut camera, rate * scenario.tick / 3600.0),
                Arrivals::DayNight(day, night) => {
                    let rate = if (6.0..18.0).contains(&of_day) { day } else { night };
                    poisson(&mut camera, rate * scenario.tick / 3600.0)
                }
            };
            made.fill((0.0f32, 0.0f32));
            for _ in 0..count {
                // Without quiet frames nothing more is drawn: missions are those of earlier versions.
                if scenario.quiet > 0.0 && camera.f32() < scenario.quiet && !last.is_empty() {
                    made.iter_mut().zip(last).for_each(|(sum, held)| sum.1 += held.1);
                    continue;
                }
                let from_hard = hard == (camera.f32() < scenario.spells.purity);
                let row = drawn_from.pick(&mut camera, from_hard);
                for (sum, one) in made.iter_mut().zip(row) {
                    sum.0 += one.0;
                    sum.1 += one.1;
                }
                last = row;
            }
            trace.made.iter_mut().zip(&made).for_each(|(policy, made)| policy.push(*made));
            trace.frames.push(count);
        }
        trace
    }

    /// The same mission for fewer policies, to keep many at once: all others make nothing of it.
    #[must_use]
    pub fn with_policies(mut self, policies: &[usize]) -> Self {
        for (policy, made) in self.made.iter_mut().enumerate() {
            if !policies.contains(&policy) {
                *made = Vec::new();
            }
        }
        self
    }

    /// Number of ticks.
    pub fn ticks(&self) -> usize {
        self.frames.len()
    }

    /// Frames of a tick.
    pub fn frames(&self, tick: usize) -> u32 {
        self.frames.get(tick).copied().unwrap_or(0)
    }

    /// Joules by the power model and right answers that `policy` makes of a tick's frames.
    pub fn made(&self, tick: usize, policy: usize) -> (f32, f32) {
        self.made.get(policy).and_then(|made| made.get(tick)).copied().unwrap_or((0.0, 0.0))
    }
}

/// A draw from the Poisson distribution: Knuth's product of uniforms, and the normal limit for large means.
fn poisson(rng: &mut fastrand::Rng, mean: f32) -> u32 {
    if mean > 60.0 {
        return (mean + mean.sqrt() * normal(rng) + 0.5).max(0.0) as u32;
    }
    let limit = (-mean).exp();
    let mut product = rng.f32();
    let mut count = 0;
    while product > limit {
        product *= rng.f32();
        count += 1;
    }
    count
}

#[cfg(test)]
mod tests {
    use core::time::Duration;

    use super::*;
    use crate::records::Synthetic;
    use dyn_perceiver_core::energy::{JoulesSource, PowerModel};
    use dyn_perceiver_core::exit::ExitPolicy;

    #[test]
    fn quiet_frames_cost_nothing_and_are_as_right_as_the_others() {
        let records = Synthetic::four_exits().records(500, 3).unwrap();
        let power = PowerModel::new(0.5, &[1.0, 2.0, 3.0, 4.0], JoulesSource::Modelled).unwrap();
        let policies = [ExitPolicy::only(3, 4).unwrap()];
        let frames = Frames::new(&records, &records.rows(), &policies, &power).unwrap();
        let of = |quiet: f32| {
            let mut scenario = Scenario::new(Duration::from_secs(86_400), 0.1, Arrivals::Periodic(0.5), 10_000.0);
            scenario.quiet = quiet;
            let trace = Trace::draw(&scenario, &frames, 1);
            let made = (0..trace.ticks()).map(|tick| trace.made(tick, 0));
            made.fold((0.0, 0.0), |sum, made| (sum.0 + f64::from(made.0), sum.1 + f64::from(made.1)))
        };
        let (all, some) = (of(0.0), of(0.8));
        assert!((some.0 / all.0 - 0.2).abs() < 0.01, "{some:?} of {all:?}");
        assert!((some.1 / all.1 - 1.0).abs() < 0.03, "{some:?} of {all:?}");
    }

    #[test]
    fn trace_of_one_seed_is_one_and_the_rates_are_those_asked_for() {
        let records = Synthetic::four_exits().records(500, 3).unwrap();
        let power = PowerModel::new(0.5, &[1.0, 2.0, 3.0, 4.0], JoulesSource::Modelled).unwrap();
        let policies = [ExitPolicy::only(0, 4).unwrap(), ExitPolicy::only(3, 4).unwrap()];
        let frames = Frames::new(&records, &records.rows(), &policies, &power).unwrap();
        for arrivals in [Arrivals::Periodic(0.5), Arrivals::Poisson(7200.0), Arrivals::DayNight(12_000.0, 2400.0)] {
            let scenario = Scenario::new(Duration::from_secs(86_400), 0.1, arrivals, 10_000.0);
            let draw = |seed| Trace::draw(&scenario, &frames, seed);
            let trace = draw(1);
            let count: u32 = (0..trace.ticks()).map(|tick| trace.frames(tick)).sum();
            assert!((f64::from(count) / (7200.0 * 24.0) - 1.0).abs() < 0.02, "{arrivals:?}: {count}");
            assert_eq!(trace.made, draw(1).made);
            assert_ne!(trace.made, draw(2).made);
            // Spells are of both kinds, so that the mean over a day is near that of the records.
            let right: f32 = (0..trace.ticks()).map(|tick| trace.made(tick, 1).1).sum();
            assert!((right / count as f32 - frames.accuracy(1)).abs() < 0.06);
        }
    }
}
