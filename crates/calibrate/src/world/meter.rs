//! The gauge of the world: it errs slowly, in steps, and fails in the ways gauges do.

use core::fmt;

use dyn_perceiver_core::energy::gauge::{Fault, FuelGauge, GaugeReading, SensorError, Supply};

use super::chance::{Wander, gauss};
use super::pack::Pack;

/// What goes wrong with the gauge, and for how long.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Trouble {
    /// Nothing.
    None,
    /// Always so many times the truth.
    Scale(f64),
    /// Always so much above the truth.
    Offset(f64),
    /// From a moment on, for so many hours, the same value again and again.
    Stuck(f64),
    /// From a moment on, for so many hours, so much above the truth.
    Jump(f64, f64),
    /// From a moment on, for so many hours, no answer.
    Silent(f64),
    /// One reading of this value.
    Glitch(f64),
    /// The top bit of one reading in so many is the wrong one.
    Flips(f64),
}

/// The error of a gauge that does not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoAnswer;

impl fmt::Display for NoAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the gauge does not answer")
    }
}

impl SensorError for NoAnswer {
    fn fault(&self) -> Fault {
        Fault::Nack
    }
}

/// A gauge, told the truth once a tick.
#[derive(Clone, Debug)]
pub(super) struct Meter {
    rng: fastrand::Rng,
    slow: Wander,
    trouble: Trouble,
    /// When a trouble with a beginning begins, in hours.
    begins: f64,
    /// Steps of the gauge.
    step: f64,
    /// Whether it tells of chargers.
    knows_supply: bool,
    /// Whether it tells the battery's temperature.
    knows_celsius: bool,
    now: Result<GaugeReading, NoAnswer>,
    told: f64,
    glitched: bool,
}

impl Meter {
    pub(super) fn new(seed: u64, trouble: Trouble, begins: f64, (step, error): (f64, f64)) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let slow = Wander::new(&mut rng, error, 7200.0);
        let now = Err(NoAnswer);
        Meter {
            rng,
            slow,
            trouble,
            begins,
            step,
            knows_supply: false,
            knows_celsius: false,
            now,
            told: 1.0,
            glitched: false,
        }
    }

    /// The same gauge, which tells of chargers, and of the temperature, or does not.
    pub(super) fn that_tells(self, knows_supply: bool, knows_celsius: bool) -> Self {
        Meter { knows_supply, knows_celsius, ..self }
    }

    /// Tells the gauge the truth at `hours` after the beginning.
    pub(super) fn measure(&mut self, hours: f64, seconds: f64, pack: &Pack, celsius: f64, supply: Supply) {
        let error = self.slow.next(&mut self.rng, seconds) + 0.003 * gauss(&mut self.rng);
        let (noise, luck) = (0.004 * gauss(&mut self.rng), self.rng.f64());
        let lasts = |hold: f64| hours >= self.begins && hours < self.begins + hold;
        let mut shown = pack.soc() + error;
        let mut answers = true;
        match self.trouble {
            Trouble::Scale(factor) => shown *= factor,
            Trouble::Offset(offset) => shown += offset,
            Trouble::Jump(offset, hold) if lasts(hold) => shown += offset,
            Trouble::Silent(hold) => answers = !lasts(hold),
            _ => {}
        }
        shown = ((shown / self.step).round() * self.step).clamp(0.0, 1.0);
        match self.trouble {
            Trouble::Stuck(hold) if lasts(hold) => shown = self.told,
            Trouble::Flips(every) if luck < 1.0 / every => shown += if shown < 0.5 { 0.5 } else { -0.5 },
            Trouble::Glitch(value) if hours >= self.begins && !self.glitched => {
                self.glitched = true;
                shown = value;
            }
            _ => {}
        }
        self.told = shown;
        let reading = GaugeReading::new(shown as f32).with_volts((pack.volts() + noise) as f32);
        let reading = if self.knows_supply { reading.with_supply(supply) } else { reading };
        let reading = if self.knows_celsius { reading.with_celsius(celsius as f32) } else { reading };
        self.now = if answers { Ok(reading) } else { Err(NoAnswer) };
    }
}

impl FuelGauge for Meter {
    type Error = NoAnswer;

    fn read(&mut self) -> Result<GaugeReading, NoAnswer> {
        self.now
    }
}
