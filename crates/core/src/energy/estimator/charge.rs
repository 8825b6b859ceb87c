//! State of a battery in use, by an extended Kalman filter: charge, what idling and frames take of it, what comes in, and by
//! how much the gauge errs.
//!
//! Five numbers are estimated together with their covariance:
//!
//! | state | how it moves | seen through |
//! | --- | --- | --- |
//! | charge | falls by what the power model says was spent, times the two drains; rises by the income | gauge |
//! | drain of idling | wanders slowly: age, cold, converter, a power model that is wrong | the fall of the charge |
//! | drain of frames | likewise; moves apart from the other where the load varies | the fall of the charge |
//! | error of the gauge | comes and goes over hours, so that a long mean of readings is no truth | the gauge, with the charge |
//! | income | wanders quickly while the sun is known to shine at times, else 0 | the fall of the charge |
//!
//! The filter is linear but for the voltage, which is higher the fuller the battery: the same joules take less of a full one. A
//! reading is taken in only when it differs from the one before, at the middle between the two: that is when a gauge of
//! coarse steps says something, and a gauge that is stuck says nothing. Without readings the charge goes on falling by the
//! model, and its variance grows by what is not known of the drains.

use serde::{Deserialize, Serialize};

/// Charge, drain of idling, drain of frames, error of the gauge, income.
const STATES: usize = 5;
const SOC: usize = 0;
const IDLE: usize = 1;
const FRAMES: usize = 2;
const ERROR: usize = 3;
const INCOME: usize = 4;

/// Standard deviation of a gauge's slow error, and seconds over which it forgets.
const GAUGE_ERROR: f32 = 0.01;
const GAUGE_MEMORY: f32 = 7200.0;
/// Standard deviation of a reading beside that.
const GAUGE_NOISE: f32 = 0.005;
/// Standard deviation of what age, cold and the converter make of a battery before anything is known, and of what the
/// power model is wrong by beside that, for idling and for frames.
const BATTERY_SPREAD: f32 = 0.12;
const MODEL_SPREAD: f32 = 0.09;
/// Standard deviation of the drains when an income is first seen.
const SUN_SPREAD: f32 = 0.08;
/// By how much drains wander in an hour, and over a whole charge: no voltage falls just as it is taken to.
const DRAIN_WANDER: f32 = 0.002;
const DRAIN_WANDER_CHARGE: f32 = 0.05;
/// By how much charge wanders in an hour for no reason that is modelled: as a share of what the load takes, since boards and cold err
/// by shares, between bounds. A battery of a week wanders less than one of a day.
const CHARGE_WANDER: f32 = 0.08;
const LEAST_WANDER: f32 = 0.0005;
const MOST_WANDER: f32 = 0.003;
/// By how much the income wanders in an hour while there may be any, as a share of a charge an hour.
const INCOME_WANDER: f32 = 0.04;
/// The same as a share of the most that comes in, and its bounds.
const CLOUDS: f32 = 0.4;
const LEAST_WEATHER: f32 = 0.02;
const MOST_WEATHER: f32 = 0.3;
/// The most that the state of charge is estimated at: a bound at 1 would make every estimate near it too low.
const FULLEST: f32 = 1.03;
/// The same by night.
const NIGHT_WANDER: f32 = 0.003;
/// Hours over which the income goes back to what is usual.
pub(crate) const INCOME_MEMORY: f32 = 1.5;
/// Deviations at which an innovation stops counting for more.
const HUBER: f32 = 3.0;

/// What is known of the battery, with its uncertainty. See the module's text for the model.
///
/// ```
/// use dyn_perceiver_core::energy::estimator::ChargeEstimator;
/// let mut battery = ChargeEstimator::new(0.16);
/// battery.begin(0.9);
/// // An hour in which idling should have taken 4 % and frames 1 % of a charge, but the gauge fell by 10 %.
/// for minute in 1..=60 {
///     battery.predict(60.0, (0.04 / 60.0, 0.01 / 60.0), None);
///     battery.correct(0.9 - 0.1 * minute as f32 / 60.0);
/// }
/// assert!(battery.soc() < 0.82 && battery.idle_drain() > 1.2);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct ChargeEstimator {
    x: [f32; STATES],
    p: [[f32; STATES]; STATES],
    /// By how much of its mean the voltage falls from full to empty.
    voltage_fall: f32,
    /// The last reading taken.
    last: Option<f32>,
    /// Whether there may be an income.
    sunny: bool,
    /// By how much the income wanders in an hour.
    #[serde(default = "usual_wander")]
    weather: f32,
}

/// For state from before the weather was part of it.
const fn usual_wander() -> f32 {
    INCOME_WANDER
}

impl ChargeEstimator {
    /// Nothing known of a battery whose voltage falls by `voltage_fall` of its mean from full to empty.
    pub const fn new(voltage_fall: f32) -> Self {
        let mut p = [[0.0; STATES]; STATES];
        let battery = BATTERY_SPREAD * BATTERY_SPREAD;
        p[SOC][SOC] = 0.1;
        p[IDLE][IDLE] = battery + MODEL_SPREAD * MODEL_SPREAD;
        p[FRAMES][FRAMES] = battery + MODEL_SPREAD * MODEL_SPREAD;
        p[IDLE][FRAMES] = battery;
        p[FRAMES][IDLE] = battery;
        p[ERROR][ERROR] = GAUGE_ERROR * GAUGE_ERROR;
        ChargeEstimator {
            x: [0.5, 1.0, 1.0, 0.0, 0.0],
            p,
            voltage_fall,
            last: None,
            sunny: false,
            weather: INCOME_WANDER,
        }
    }

    /// The same where idling and frames are taken to take `drain` times what is told, until that is seen.
    pub(crate) const fn with_drain(mut self, drain: f32) -> Self {
        self.x[IDLE] = drain;
        self.x[FRAMES] = drain;
        self
    }

    /// Begins anew at what the gauge says, or goes on from there after external power; drains are kept.
    pub fn begin(&mut self, reading: f32) {
        for k in 0..STATES {
            for one in [SOC, ERROR] {
                self.p[one][k] = 0.0;
                self.p[k][one] = 0.0;
            }
        }
        let slow = GAUGE_ERROR * GAUGE_ERROR;
        self.x[SOC] = reading.clamp(0.0, 1.0);
        self.x[ERROR] = 0.0;
        // Charge and error together are what was read: the one is higher by what the other is lower.
        self.p[SOC][SOC] = slow + GAUGE_NOISE * GAUGE_NOISE;
        self.p[ERROR][ERROR] = slow;
        self.p[SOC][ERROR] = -slow;
        self.p[ERROR][SOC] = -slow;
        self.last = Some(reading);
    }

    /// Whether there was a reading to begin from.
    pub const fn has_begun(&self) -> bool {
        self.last.is_some()
    }

    /// Lets `seconds` pass in which idling and frames should have taken these shares of a whole charge. `usual` is what
    /// usually comes in at this hour, in shares of a charge an hour, where that is known, and whether it is night: the income goes
    /// back to it.
    pub fn predict(&mut self, seconds: f32, (idle, frames): (f32, f32), usual: Option<(f32, bool)>) {
        let hours = seconds / 3600.0;
        // No more than there is: whatever is reported, the numbers stay finite.
        let (idle, frames) = (share(idle), share(frames));
        let shape = 1.0 + self.voltage_fall * (self.x[SOC] - 0.5);
        let drop = (self.x[IDLE] * idle + self.x[FRAMES] * frames) / shape;
        self.x[SOC] = (self.x[SOC] - drop + self.x[INCOME] * hours).clamp(0.0, FULLEST);
        let keep = libm::expf(-seconds / GAUGE_MEMORY);
        self.x[ERROR] *= keep;
        let (still, wanders) = match usual {
            Some((usual, night)) => {
                let still = libm::expf(-hours / INCOME_MEMORY);
                self.x[INCOME] = usual + (self.x[INCOME] - usual) * still;
                (still, if night { NIGHT_WANDER } else { self.weather })
            }
            None => (1.0, self.weather),
        };
        let row = [1.0, -idle / shape, -frames / shape, 0.0, hours];
        // F P: only the rows of charge and error are other than P's.
        let mut fp = self.p;
        for k in 0..STATES {
            let column: f32 = row.iter().zip(&self.p).map(|(f, p)| f * p[k]).sum();
            fp[SOC][k] = column;
            fp[ERROR][k] *= keep;
            fp[INCOME][k] *= still;
        }
        // F P F^T.
        let mut p = fp;
        for (to, from) in p.iter_mut().zip(&fp) {
            to[SOC] = row.iter().zip(from).map(|(f, p)| f * p).sum();
            to[ERROR] = from[ERROR] * keep;
            to[INCOME] = from[INCOME] * still;
        }
        let wander = |each: f32| each * each * hours;
        let loads = CHARGE_WANDER * drop / hours.max(1e-6);
        p[SOC][SOC] += wander(if loads > LEAST_WANDER { loads.min(MOST_WANDER) } else { LEAST_WANDER });
        p[ERROR][ERROR] += GAUGE_ERROR * GAUGE_ERROR * (1.0 - keep * keep);
        if self.sunny {
            p[INCOME][INCOME] += wander(wanders);
        }
        if !self.sunny || usual.is_some_and(|(_, night)| night) {
            let drains = wander(DRAIN_WANDER) + DRAIN_WANDER_CHARGE * DRAIN_WANDER_CHARGE * drop;
            p[IDLE][IDLE] += drains;
            p[FRAMES][FRAMES] += drains;
            p[IDLE][FRAMES] += 0.5 * drains;
            p[FRAMES][IDLE] += 0.5 * drains;
        }
        self.p = p;
        // After long times nothing is known, and not less than nothing.
        self.cap::<SOC>(0.25);
        self.cap::<INCOME>(0.25);
        self.cap::<IDLE>(0.1);
        self.cap::<FRAMES>(0.1);
    }

    /// Keeps the variance of a state within `most`; beyond that nothing is known of how it goes with others.
    fn cap<const STATE: usize>(&mut self, most: f32) {
        if self.p[STATE][STATE] > most {
            for k in 0..STATES {
                self.p[STATE][k] = 0.0;
                self.p[k][STATE] = 0.0;
            }
            self.p[STATE][STATE] = most;
        }
    }

    /// Takes in a reading of the state of charge that was found plausible.
    pub fn correct(&mut self, reading: f32) {
        let Some(last) = self.last.replace(reading) else {
            self.begin(reading);
            return;
        };
        if reading == last {
            return;
        }
        let step = (reading - last).abs();
        // A step of a coarse gauge lies somewhere between the two; that of a fine one is noise.
        let coarse = if step > 0.02 { 0.3 * step } else { 0.0 };
        let seen = if step > 0.02 { 0.5 * (reading + last) } else { reading };
        let noise = GAUGE_NOISE * GAUGE_NOISE + coarse * coarse;
        let column: [f32; STATES] = core::array::from_fn(|k| self.p[k][SOC] + self.p[k][ERROR]);
        let variance = column[SOC] + column[ERROR] + noise;
        if variance <= 0.0 {
            return;
        }
        let most = HUBER * libm::sqrtf(variance);
        let innovation = (seen - self.x[SOC] - self.x[ERROR]).max(-most).min(most);
        for ((x, row), part) in self.x.iter_mut().zip(&mut self.p).zip(column) {
            let gain = part / variance;
            *x += gain * innovation;
            row.iter_mut().zip(column).for_each(|(p, other)| *p -= gain * other);
        }
        self.bound();
    }

    /// Keeps rounding from making what cannot be.
    fn bound(&mut self) {
        self.x[SOC] = self.x[SOC].clamp(0.0, FULLEST);
        self.x[IDLE] = self.x[IDLE].clamp(0.3, 4.0);
        self.x[FRAMES] = self.x[FRAMES].clamp(0.3, 4.0);
        self.x[ERROR] = self.x[ERROR].clamp(-0.2, 0.2);
        self.x[INCOME] = self.x[INCOME].clamp(-0.3, 2.0);
        for i in 0..STATES {
            self.p[i][i] = self.p[i][i].max(1e-9);
            for k in 0..i {
                let mean = 0.5 * (self.p[i][k] + self.p[k][i]);
                self.p[i][k] = mean;
                self.p[k][i] = mean;
            }
        }
    }

    /// Takes in that something charges the battery at times: what the drains do not explain is income from now on.
    pub fn expect_income(&mut self, drains: (f32, f32)) {
        if self.sunny {
            return;
        }
        self.sunny = true;
        (self.x[IDLE], self.x[FRAMES]) = drains;
        for one in [IDLE, FRAMES, INCOME] {
            for k in 0..STATES {
                self.p[one][k] = 0.0;
                self.p[k][one] = 0.0;
            }
        }
        // What was learned of the drains meanwhile was the income's doing.
        let spread = SUN_SPREAD * SUN_SPREAD;
        self.p[IDLE][IDLE] = spread;
        self.p[FRAMES][FRAMES] = spread;
        self.p[IDLE][FRAMES] = 0.6 * spread;
        self.p[FRAMES][IDLE] = 0.6 * spread;
        self.p[INCOME][INCOME] = self.weather * self.weather;
        self.bound();
    }

    /// Takes in how much comes in at best, in shares of a charge an hour: clouds change it by shares of that.
    pub(crate) fn expect_weather(&mut self, highest: f32) {
        self.weather = (CLOUDS * highest).clamp(LEAST_WEATHER, MOST_WEATHER);
    }

    /// Takes in that at least so much of a charge comes in each hour, where it cannot be seen in a battery that is full.
    pub fn assume_income(&mut self, income: f32) {
        if self.sunny && income.is_finite() {
            self.x[INCOME] = income.max(self.x[INCOME]);
            self.bound();
        }
    }

    /// Whether something charges the battery at times.
    pub const fn is_sunny(&self) -> bool {
        self.sunny
    }

    /// State of charge in [0, 1].
    pub const fn soc(&self) -> f32 {
        self.x[SOC].min(1.0)
    }

    /// Standard deviation of the state of charge.
    pub fn soc_deviation(&self) -> f32 {
        libm::sqrtf(self.p[SOC][SOC].max(0.0))
    }

    /// What idling really takes over what the power model and the nameplate say.
    pub const fn idle_drain(&self) -> f32 {
        self.x[IDLE]
    }

    /// What frames really take over what the power model and the nameplate say.
    pub const fn frame_drain(&self) -> f32 {
        self.x[FRAMES]
    }

    /// By how much the gauge reads above the truth.
    pub const fn gauge_error(&self) -> f32 {
        self.x[ERROR]
    }

    /// Share of a charge that comes in each hour.
    pub const fn income(&self) -> f32 {
        self.x[INCOME]
    }

    /// Standard deviation of the charge after idling and frames will have taken these shares of a whole charge.
    pub fn deviation_after(&self, idle: f32, frames: f32) -> f32 {
        let row = [1.0, -idle, -frames];
        let terms = row.iter().zip(&self.p).map(|(a, p)| row.iter().zip(p).map(|(b, p)| a * b * p).sum::<f32>());
        libm::sqrtf(terms.sum::<f32>().max(0.0))
    }

    /// Share of a whole charge's energy that a battery at `soc` holds.
    pub fn energy(&self, soc: f32) -> f32 {
        soc * (1.0 + 0.5 * self.voltage_fall * (soc - 1.0))
    }

    /// Whether every number is one that estimating can produce: for state read from a file.
    pub fn is_sound(&self) -> bool {
        let finite = self.x.iter().chain(self.p.iter().flatten()).all(|x| x.is_finite());
        let variances = self.p.iter().enumerate().all(|(i, row)| row.get(i).is_some_and(|p| (0.0..1.0).contains(p)));
        let drains = [self.x[IDLE], self.x[FRAMES]].iter().all(|x| (0.3..=4.0).contains(x));
        finite
            && variances
            && drains
            && (0.0..=FULLEST).contains(&self.x[SOC])
            && (0.0..=1.0).contains(&self.weather)
            && (0.0..=1.0).contains(&self.voltage_fall)
            && self.last.is_none_or(|last| (0.0..=1.0).contains(&last))
    }
}

/// A share of a charge, whatever came.
const fn share(amount: f32) -> f32 {
    if amount > 0.0 { amount.min(1.0) } else { 0.0 }
}

#[cfg(test)]
mod tests;
