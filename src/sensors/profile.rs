//! Joules per stage, measured on the board itself.
//!
//! Exit by exit the network runs for a while between idle intervals; what the meter counts above the idle power, over the
//! number of frames, is the energy of a frame up to that exit. Rounds give standard errors.

use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::energy::gauge::{PowerMonitor, SensorError};
use crate::energy::{JoulesSource, PowerModel, PowerModelError};

/// How long to measure.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct ProfileSettings {
    /// Length of every idle interval and of every run.
    pub interval: Duration,
    /// Rounds over all exits.
    pub rounds: usize,
}

impl ProfileSettings {
    /// Settings of so many rounds over all exits, with intervals of this length.
    pub fn new(interval: Duration, rounds: usize) -> Self {
        Self { interval, rounds }
    }
}

/// What one stage costs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct StageProfile {
    /// The exit at its end.
    pub exit: String,
    /// Joules that it adds to a frame.
    pub joules: f64,
    /// Standard error of the joules; none where they are modelled.
    pub standard_error: Option<f64>,
    /// Mean seconds that it adds to a frame.
    pub seconds: f64,
    /// Joules of a frame up to this exit.
    pub cumulative_joules: f64,
}

/// The costs of one network on one board.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Profile {
    /// Where the joules come from.
    pub source: JoulesSource,
    /// How they were come by, in words.
    pub method: String,
    /// Watts of the idle board.
    pub idle_watts: f64,
    /// The stages, in the order of the exits.
    pub stages: Vec<StageProfile>,
    /// Threads that the network ran on, if known: time and joules of a stage are those of this number.
    #[serde(default)]
    pub threads: Option<NonZeroUsize>,
    /// The whole network on other numbers of threads and at other clocks, where that was measured.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub variants: Vec<Variant>,
}

/// The whole network on so many threads at a clock of the processor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Variant {
    /// Threads that work on a frame.
    pub threads: usize,
    /// Limit of the clock in megahertz; none where it was left as it is.
    pub megahertz: Option<f64>,
    /// Mean seconds of a frame.
    pub seconds: f64,
    /// Joules that a frame adds to idling; none where they can neither be measured nor modelled: nobody knows what a board
    /// draws at another clock.
    pub joules: Option<f64>,
    /// Standard error of the joules; none where they are modelled.
    pub standard_error: Option<f64>,
}

impl Profile {
    /// The power model that the governor uses.
    ///
    /// # Errors
    /// [`PowerModelError`] when a figure is out of range.
    pub fn power_model(&self) -> Result<PowerModel, PowerModelError> {
        let joules: Vec<f32> = self.stages.iter().map(|stage| stage.joules as f32).collect();
        PowerModel::new(self.idle_watts as f32, &joules, self.source)
    }
}

impl Variant {
    /// What a profile of the whole network alone says of a variant.
    #[must_use]
    pub fn of(profile: &Profile, threads: usize, megahertz: Option<f64>) -> Option<Self> {
        let whole = profile.stages.last()?;
        let seconds = profile.stages.iter().map(|stage| stage.seconds).sum();
        // A modelled figure rests on the watts of the clock as it is.
        let is_known = profile.source == JoulesSource::Measured || megahertz.is_none();
        let joules = is_known.then_some(whole.cumulative_joules);
        Some(Self { threads, megahertz, seconds, joules, standard_error: whole.standard_error })
    }
}

/// Counts the joules that flow while something runs.
pub trait EnergyMeter {
    /// The error of the sensor behind.
    type Error;

    /// Does `work` and returns the joules that flowed meanwhile.
    ///
    /// # Errors
    /// When the sensor cannot be read.
    fn during(&mut self, work: &mut dyn FnMut()) -> Result<f64, Self::Error>;
}

impl EnergyMeter for super::linux::Rapl {
    type Error = super::linux::LinuxError;

    fn during(&mut self, work: &mut dyn FnMut()) -> Result<f64, Self::Error> {
        let before = self.joules()?;
        work();
        Ok(self.joules()? - before)
    }
}

/// A power monitor read again and again by a thread of its own while the work runs.
#[derive(Debug)]
pub struct SampledMeter<M> {
    monitor: M,
    pause: Duration,
}

impl<M> SampledMeter<M> {
    /// Samples `monitor` with `pause` between readings.
    pub fn new(monitor: M, pause: Duration) -> Self {
        SampledMeter { monitor, pause }
    }
}

impl<M: PowerMonitor<Error: Send> + Send> EnergyMeter for SampledMeter<M> {
    type Error = M::Error;

    fn during(&mut self, work: &mut dyn FnMut()) -> Result<f64, M::Error> {
        let done = std::sync::atomic::AtomicBool::new(false);
        let (monitor, pause) = (&mut self.monitor, self.pause);
        std::thread::scope(|scope| {
            let sampler = scope.spawn(|| {
                let (mut sum, mut count) = (0.0, 0u32);
                let mut failure = None;
                while !done.load(std::sync::atomic::Ordering::Acquire) || count == 0 {
                    match monitor.read_power() {
                        Ok(reading) => {
                            sum += f64::from(reading.watts());
                            count += 1;
                        }
                        // A chip between conversions has nothing to say; anything else ends the measurement.
                        Err(error) if error.fault() == crate::energy::gauge::Fault::NotReady => {}
                        Err(error) => {
                            failure = Some(error);
                            break;
                        }
                    }
                    std::thread::sleep(pause);
                }
                match failure {
                    Some(error) => Err(error),
                    None => Ok(sum / f64::from(count)),
                }
            });
            let begun = Instant::now();
            work();
            let seconds = begun.elapsed().as_secs_f64();
            done.store(true, std::sync::atomic::Ordering::Release);
            let watts = sampler.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
            Ok(watts * seconds)
        })
    }
}

/// Measures joules per stage: `run(k)` takes one frame through all the stages up to exit k.
///
/// # Errors
/// What the meter reports.
pub fn measure<M: EnergyMeter>(
    meter: &mut M,
    method: &str,
    exits: &[String],
    settings: &ProfileSettings,
    mut run: impl FnMut(usize),
) -> Result<Profile, M::Error> {
    // Per exit and round: joules of a frame above idle, and its seconds.
    let mut joules = vec![Vec::new(); exits.len()];
    let mut seconds = vec![Vec::new(); exits.len()];
    let mut idle_watts = Vec::new();
    let mut idle = |meter: &mut M| -> Result<f64, M::Error> {
        let begun = Instant::now();
        let spent = meter.during(&mut || std::thread::sleep(settings.interval))?;
        let watts = spent / begun.elapsed().as_secs_f64();
        idle_watts.push(watts);
        Ok(watts)
    };
    for _ in 0..settings.rounds.max(1) {
        let mut before = idle(meter)?;
        for exit in 0..exits.len() {
            let (mut frames, mut elapsed) = (0u32, 0.0);
            let spent = meter.during(&mut || {
                let begun = Instant::now();
                while begun.elapsed() < settings.interval || frames == 0 {
                    run(exit);
                    frames += 1;
                }
                elapsed = begun.elapsed().as_secs_f64();
            })?;
            // The mean of the idle power before and after takes out a slow drift, as of temperature.
            let after = idle(meter)?;
            let above = spent - (before + after) / 2.0 * elapsed;
            before = after;
            if let (Some(joules), Some(seconds)) = (joules.get_mut(exit), seconds.get_mut(exit)) {
                joules.push(above / f64::from(frames));
                seconds.push(elapsed / f64::from(frames));
            }
        }
    }
    let mut stages = Vec::new();
    let mut before = (0.0, 0.0, 0.0);
    for (exit, (joules, seconds)) in exits.iter().zip(joules.iter().zip(&seconds)) {
        let (mean, error) = mean_and_error(joules);
        let (time, _) = mean_and_error(seconds);
        let difference = (mean - before.0).max(0.0);
        stages.push(StageProfile {
            exit: exit.clone(),
            joules: difference,
            standard_error: Some(f64::hypot(error, before.1)),
            seconds: (time - before.2).max(0.0),
            cumulative_joules: before.0 + difference,
        });
        before = (before.0 + difference, error, time);
    }
    let (idle_watts, _) = mean_and_error(&idle_watts);
    let (source, method) = (JoulesSource::Measured, method.to_owned());
    Ok(Profile { source, method, idle_watts, stages, threads: None, variants: Vec::new() })
}

/// Models joules per stage where nothing can be measured: (active - idle watts) x measured latency.
pub fn model(
    idle_watts: f64,
    active_watts: f64,
    exits: &[String],
    settings: &ProfileSettings,
    mut run: impl FnMut(usize),
) -> Profile {
    let mut stages: Vec<StageProfile> = Vec::new();
    for (exit, name) in exits.iter().enumerate() {
        let (mut frames, begun) = (0u32, Instant::now());
        let enough = settings.interval * settings.rounds.max(1) as u32;
        while begun.elapsed() < enough || frames == 0 {
            run(exit);
            frames += 1;
        }
        let seconds = begun.elapsed().as_secs_f64() / f64::from(frames);
        let before: f64 = stages.iter().map(|stage| stage.seconds).sum();
        let stage = (seconds - before).max(0.0);
        stages.push(StageProfile {
            exit: name.clone(),
            joules: stage * (active_watts - idle_watts),
            standard_error: None,
            seconds: stage,
            cumulative_joules: (before + stage) * (active_watts - idle_watts),
        });
    }
    let method = "modelled: watts x measured latency".to_owned();
    Profile { source: JoulesSource::Modelled, method, idle_watts, stages, threads: None, variants: Vec::new() }
}

/// Mean and its standard error; no error from fewer than two values.
fn mean_and_error(values: &[f64]) -> (f64, f64) {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n.max(1.0);
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    (mean, if n > 1.0 { (squares / (n - 1.0) / n).sqrt() } else { 0.0 })
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::convert::Infallible;

    use super::*;
    use crate::energy::gauge::PowerReading;

    /// A board with 2 W idle and so many joules a frame.
    struct Board<'a> {
        begun: Instant,
        frames: &'a Cell<f64>,
    }

    impl EnergyMeter for Board<'_> {
        type Error = Infallible;

        fn during(&mut self, work: &mut dyn FnMut()) -> Result<f64, Infallible> {
            let count = |board: &Self| 2.0 * board.begun.elapsed().as_secs_f64() + board.frames.get();
            let before = count(self);
            work();
            Ok(count(self) - before)
        }
    }

    fn exits() -> Vec<String> {
        vec!["early".to_owned(), "late".to_owned()]
    }

    #[test]
    fn finds_the_joules_of_each_stage_above_idle() {
        let spent = Cell::new(0.0);
        let mut board = Board { begun: Instant::now(), frames: &spent };
        let settings = ProfileSettings { interval: Duration::from_millis(20), rounds: 4 };
        let profile = measure(&mut board, "a meter", &exits(), &settings, |exit| {
            std::thread::sleep(Duration::from_millis(2));
            spent.set(spent.get() + [0.5, 1.25][exit]);
        })
        .unwrap();
        let variant = Variant::of(&profile, 4, Some(600.0)).unwrap();
        assert_eq!((variant.threads, variant.joules), (4, Some(profile.stages[1].cumulative_joules)));
        assert!((profile.idle_watts - 2.0).abs() < 0.1);
        for (stage, expected) in profile.stages.iter().zip([0.5, 0.75]) {
            assert!((stage.joules - expected).abs() < 0.02, "{stage:?}");
            assert!(stage.standard_error.unwrap() < 0.02);
        }
        let power = profile.power_model().unwrap();
        assert_eq!(power.source(), JoulesSource::Measured);
        assert!((power.frame_joules(1) - 1.25).abs() < 0.02);
    }

    #[test]
    fn a_sampled_monitor_integrates_its_power() {
        struct Steady;
        impl PowerMonitor for Steady {
            type Error = Infallible;
            fn read_power(&mut self) -> Result<PowerReading, Infallible> {
                Ok(PowerReading::new(5.0, 0.5))
            }
        }
        let mut meter = SampledMeter::new(Steady, Duration::from_millis(1));
        let begun = Instant::now();
        let joules = meter.during(&mut || std::thread::sleep(Duration::from_millis(50))).unwrap();
        assert!((0.125..=2.5 * begun.elapsed().as_secs_f64()).contains(&joules), "{joules}");
    }

    #[test]
    fn what_cannot_be_measured_is_modelled_and_says_so() {
        let settings = ProfileSettings { interval: Duration::from_millis(10), rounds: 1 };
        let profile = model(2.0, 6.0, &exits(), &settings, |exit| {
            std::thread::sleep(Duration::from_millis([1, 3][exit]));
        });
        assert_eq!(profile.source, JoulesSource::Modelled);
        assert!(profile.method.contains("watts x measured latency"));
        assert!(Variant::of(&profile, 2, None).unwrap().joules.is_some());
        assert!(Variant::of(&profile, 2, Some(600.0)).unwrap().joules.is_none(), "nobody knows its watts");
        assert!(profile.stages[0].joules >= 0.004 && profile.stages[0].standard_error.is_none());
    }
}
