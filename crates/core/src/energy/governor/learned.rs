//! What a governor has learned: the battery, what frames really cost, how many come, and what charges the battery at which hour.

use serde::{Deserialize, Serialize};

use super::hours::HourlyRate;
use crate::energy::estimator::{ChargeEstimator, Resistance};
use crate::energy::gauge::{GaugeReading, Supply};

/// Version of the learned state. State of another version is not gone on with.
const VERSION: u8 = 1;
/// Seconds over which the real cost of frames is averaged: longer than a spell of hard frames, so that a spell is paid
/// for by the easy frames around it and not by lowering its own accuracy.
const PRICE_SECONDS: f32 = 7200.0;
/// Least real cost over the expected one that is believed: where a gate lets nearly every answer hold, frames cost nearly
/// nothing.
const LEAST_PRICE: f32 = 0.02;
/// Share of the highest drain of idling so far, below which something else must carry a part of the load: no age or cold
/// goes away by as much.
const SPARED: f32 = 0.5;
/// The same where there must be something, or the mission could not be.
const SPARED_SURELY: f32 = 0.75;
/// Seconds over which readings are averaged to see the charge rise.
const RISE_SECONDS: f32 = 900.0;
/// Share of its highest voltage by which a full battery sags when it carries a load.
const SAG: f32 = 0.007;
/// Rise of that average above its lowest value that something must have charged the battery for.
const RISE: f32 = 0.035;

/// The learned state. It is small and can be stored, so that a restart does not begin from nothing.
///
/// State from before the present version is read, too, and holds nothing then.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[serde(default)]
pub struct Learned {
    version: u8,
    /// Joules that one whole charge of the battery delivers, as its nameplate says.
    nameplate: f32,
    pub(super) battery: ChargeEstimator,
    /// Real joules per frame over expected ones.
    pub price: f32,
    /// Frames seen, and frames that the mission expected meanwhile.
    frames: f32,
    planned: f32,
    /// Income in shares of a charge an hour, by hour of day.
    pub(super) income: HourlyRate,
    /// Income of the last hours of daylight over what is usual at them.
    #[serde(default = "usual_sky")]
    pub(super) sky: f32,
    /// Mean of the readings, the lowest that was, and the drains then; the gauge's steps.
    rise: Rise,
    resistance: Resistance,
    /// Whether the mission cannot be without a charger.
    #[serde(skip)]
    charger: bool,
    /// Mean temperature of the battery over the last day, where the gauge tells it.
    celsius: Option<f32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
struct Rise {
    mean: f32,
    lowest: f32,
    drains: (f32, f32),
    last: f32,
    step: f32,
    /// The highest voltage there was.
    volts: f32,
    /// Whole hours after the beginning when the mean was lowest.
    #[serde(default)]
    hour: u32,
    /// Seconds since a charger was seen.
    #[serde(default)]
    sunny: f32,
}

/// What a panel brings of its peak, day by day, from the height of the sun at `hour` of the day: 0 by night.
pub(super) fn daylight(hour: f32) -> f32 {
    libm::sinf((hour - 6.0) * (core::f32::consts::PI / 12.0)).max(0.0)
}

/// Share of a panel's peak that reaches the battery at noon of a usual day: clouds, dust, heat and the charger.
pub(super) const USUAL_SKY: f32 = 0.6;
/// Hours of daylight after which a charger that nobody told of has been seen to carry the load.
const HOURS_UNSEEN: f32 = 2.0;
/// Seconds after which the income of a charger that nobody told of is known well enough to guess a day by.
const SEEN_SECONDS: f32 = 1800.0;

/// Hours of daylight over which the weather is averaged, and of night over which it is forgotten.
const SKY_HOURS: f32 = 3.0;
const NIGHT_HOURS: f32 = 24.0;
/// Share of the highest income from which on there is daylight to judge the weather by.
const LIGHT: f32 = 0.25;
/// The most that a day's income may be over what is usual.
const MOST_SKY: f32 = 2.0;

/// For state from before the weather was followed.
const fn usual_sky() -> f32 {
    1.0
}

/// Share of its capacity that a battery loses with every degree below this temperature.
const CAPACITY_FALL: f32 = 0.006;
const WARM: f32 = 25.0;
/// Seconds over which the mean temperature is taken.
const DAY_SECONDS: f32 = 86_400.0;

impl Default for Learned {
    /// Nothing, of no version.
    fn default() -> Self {
        Learned { version: 0, ..Learned::new(1.0) }
    }
}

impl Learned {
    /// Nothing learned yet about a battery that delivers `nameplate` joules.
    pub const fn new(nameplate: f32) -> Self {
        Learned::of_battery(nameplate, 0.16)
    }

    /// The same for a battery whose voltage falls by `voltage_fall` of its mean from full to empty.
    pub(super) const fn of_battery(nameplate: f32, voltage_fall: f32) -> Self {
        Learned {
            version: VERSION,
            nameplate,
            battery: ChargeEstimator::new(voltage_fall),
            price: 1.0,
            frames: 0.0,
            planned: 0.0,
            income: HourlyRate::NONE,
            sky: 1.0,
            rise: Rise {
                mean: -1.0,
                lowest: 1.0,
                drains: (1.0, 1.0),
                last: -1.0,
                step: 0.0,
                volts: 0.0,
                hour: 0,
                sunny: 0.0,
            },
            resistance: Resistance::UNKNOWN,
            charger: false,
            celsius: None,
        }
    }

    /// The battery as it is estimated.
    pub const fn battery(&self) -> &ChargeEstimator {
        &self.battery
    }

    /// The battery's internal resistance in ohms, where the load has varied enough to tell.
    pub fn ohms(&self) -> Option<f32> {
        self.resistance.ohms()
    }

    /// Takes in what the voltage tells where nothing charges the battery: `watts` were drawn on average in the `seconds` before
    /// the reading.
    fn watch_sag(&mut self, seconds: f32, watts: f32, reading: &GaugeReading) {
        if let Some(volts) = reading.volts.filter(|volts| *volts > 0.0)
            && !(reading.may_rise() || self.battery.is_sunny())
        {
            self.resistance.observe(seconds, volts, watts / volts);
        }
    }

    /// By how much more of a charge a joule takes at this temperature than at the mean of the last day, which the drains are for.
    fn cold(&mut self, seconds: f32, celsius: Option<f32>) -> f32 {
        let Some(celsius) = celsius.filter(|celsius| (-50.0..=80.0).contains(celsius)) else { return 1.0 };
        let mean = self.celsius.get_or_insert(celsius);
        *mean += (1.0 - libm::expf(-seconds / DAY_SECONDS)) * (celsius - *mean);
        let capacity = |celsius: f32| 1.0 - CAPACITY_FALL * (WARM - celsius).max(0.0);
        capacity(*mean) / capacity(celsius)
    }

    /// State of charge; none before the first reading.
    pub fn soc(&self) -> Option<f32> {
        self.battery.has_begun().then(|| self.battery.soc())
    }

    /// Joules of the power model that one whole charge delivers, as far as it is drawn by idling.
    pub fn joules_per_charge(&self) -> f32 {
        self.nameplate / self.battery.idle_drain()
    }

    /// The nameplate's joules.
    pub(super) const fn nameplate(&self) -> f32 {
        self.nameplate
    }

    /// Takes in `seconds` in which the board was expected to draw `idle` joules at rest and `frames` joules for frames,
    /// each as the power model has them, `hour` whole hours after the beginning; the gauge now says `gauge`, if it can be believed.
    pub(super) fn drain(&mut self, hour: u32, seconds: f32, (idle, frames): (f32, f32), gauge: Option<&GaugeReading>) {
        // A monitor lets nothing else through, but a gauge may be asked without one.
        let soc = gauge.map(|reading| reading.soc).filter(|soc| soc.is_finite()).map(|soc| soc.clamp(0.0, 1.0));
        let cold = self.cold(seconds, gauge.and_then(|reading| reading.celsius));
        if self.battery.has_begun() {
            let shares = (cold * idle / self.nameplate, cold * frames / self.nameplate);
            let usual = self.income.rate(hour).map(|usual| (usual, self.income.is_nothing(hour)));
            self.battery.predict(seconds, shares, usual);
        }
        if let Some(volts) = gauge.and_then(|reading| reading.volts).filter(|volts| volts.is_finite()) {
            self.rise.volts = self.rise.volts.max(volts);
        }
        if let Some(reading) = gauge.filter(|_| seconds > 0.0) {
            self.watch_sag(seconds, (idle + frames) / seconds, reading);
        }
        let Some(soc) = soc else { return };
        if gauge.is_some_and(|reading| reading.supply == Some(Supply::Charging)) {
            // The sun had a part of the load before it had more than all of it.
            let drains = if self.rise.mean < 0.0 {
                (self.battery.idle_drain(), self.battery.frame_drain())
            } else {
                self.rise.drains
            };
            self.battery.expect_income(drains);
        }
        self.battery.correct(soc);
        self.watch_rise(hour, seconds, soc);
        if self.battery.is_sunny() {
            let before = self.rise.sunny;
            self.rise.sunny = (before + seconds).min(1e6);
            if before < SEEN_SECONDS && self.rise.sunny >= SEEN_SECONDS {
                self.guess_day(hour);
            }
            self.battery.expect_weather(self.income.highest());
        }
    }

    /// Takes in what a panel is told to bring, before it is seen: `peak` in shares of a charge an hour, and the hour of day at
    /// which the mission begins.
    pub(super) fn expect_sun(&mut self, peak: f32, begins: f32) {
        self.battery.expect_income((self.battery.idle_drain(), self.battery.frame_drain()));
        self.income.guess(|hour| peak * USUAL_SKY * daylight(begins + hour));
        self.battery.expect_weather(peak);
    }

    /// Guesses a day of sun from its first hours, where nobody told of a panel: it took the sun some hours to be seen.
    fn guess_day(&mut self, hour: u32) {
        let at = hour as f32 + 0.5;
        let begins = 6.0 + HOURS_UNSEEN - self.rise.hour as f32;
        let now = daylight(begins + at).max(0.3);
        let peak = (self.battery.income() / now).clamp(0.0, 1.0);
        self.income.guess(|hour| peak * daylight(begins + hour));
    }

    /// Takes in that the mission cannot be without a charger: less tells of it.
    pub(super) fn need_charger(&mut self) {
        self.charger = true;
    }

    /// The highest drain of idling so far, which no charger has a part in.
    pub(super) fn highest_drain(&self) -> f32 {
        self.battery.idle_drain().max(self.rise.drains.0)
    }

    /// Goes on from a reading on external power: nothing is learned there but the charge.
    pub(super) fn refill(&mut self, reading: &GaugeReading) {
        if reading.soc.is_finite() {
            let soc = reading.soc.clamp(0.0, 1.0);
            self.battery.begin(soc);
            self.rise = Rise { mean: soc, lowest: soc, last: soc, ..self.rise };
        }
    }

    /// Whether the voltage says of a battery that reads full that it is being emptied: the gauge's steps are too coarse to
    /// tell, or it is stuck.
    pub(super) fn sags(&self, reading: &GaugeReading) -> bool {
        reading.volts.is_some_and(|volts| volts < self.rise.volts * (1.0 - SAG))
    }

    /// Goes on from a full battery that stays full under load although no gauge tells why: what comes in is at least what the
    /// board draws, `idle` and `frames` joules in `seconds`.
    pub(super) fn held_full(&mut self, reading: &GaugeReading, seconds: f32, (idle, frames): (f32, f32)) {
        self.battery.expect_income(self.rise.drains);
        self.refill(reading);
        if seconds > 0.0 {
            let drawn = self.battery.idle_drain() * idle + self.battery.frame_drain() * frames;
            self.battery.assume_income(drawn / self.nameplate * 3600.0 / seconds);
        }
    }

    /// Sees charge that comes in although the gauge does not tell: a mean of readings that rises by more than the gauge errs.
    fn watch_rise(&mut self, hour: u32, seconds: f32, soc: f32) {
        let rise = &mut self.rise;
        if rise.mean < 0.0 {
            rise.mean = soc;
            rise.last = soc;
            rise.drains = (self.battery.idle_drain(), self.battery.frame_drain());
        }
        let forget = libm::expf(-seconds / 7200.0);
        rise.step = (rise.step * forget).max((soc - rise.last).abs());
        rise.last = soc;
        rise.mean += (1.0 - libm::expf(-seconds / RISE_SECONDS)) * (soc - rise.mean);
        if rise.mean < rise.lowest {
            rise.lowest = rise.mean;
            // Once something charges the battery, its lowest charge is the end of a night.
            if !self.battery.is_sunny() {
                rise.hour = hour;
            }
        }
        if self.battery.idle_drain() > rise.drains.0 {
            rise.drains = (self.battery.idle_drain(), self.battery.frame_drain());
        }
        let spared = self.battery.idle_drain() < if self.charger { SPARED_SURELY } else { SPARED } * rise.drains.0;
        if spared || rise.mean > rise.lowest + RISE + 1.2 * rise.step {
            self.battery.expect_income(rise.drains);
        }
    }

    /// Takes in that `frames` frames came in `seconds` where `planned` were planned, and cost `real` joules where
    /// `expected` were expected; `hour` whole hours after the beginning.
    pub(super) fn frames(
        &mut self,
        hour: u32,
        seconds: f32,
        (frames, planned): (f32, f32),
        (real, expected): (f32, f32),
    ) {
        self.frames += frames;
        self.planned += planned;
        if self.battery.is_sunny() {
            let hours = seconds / 3600.0;
            self.income.add(hour, self.battery.income() * hours, hours);
            self.watch_sky(hour, hours);
        }
        if expected > 0.0 && real.is_finite() {
            let gain = 1.0 - libm::expf(-seconds / PRICE_SECONDS);
            self.price = (self.price + gain * (real / expected - self.price)).clamp(LEAST_PRICE, 4.0);
        }
    }

    /// Sees whether the weather is better or worse than usual; a night forgets a part of it.
    fn watch_sky(&mut self, hour: u32, hours: f32) {
        let usual = self.income.rate(hour).unwrap_or(0.0);
        let (seen, memory) = if usual > LIGHT * self.income.highest() {
            ((self.battery.income() / usual).clamp(0.0, MOST_SKY), SKY_HOURS)
        } else {
            (1.0, NIGHT_HOURS)
        };
        self.sky += (1.0 - libm::expf(-hours / memory)) * (seen - self.sky);
    }

    /// Frames that come for each that the mission planned: 1, giving way to what was seen as time passes. The plan weighs
    /// as much as `weight` frames seen.
    pub fn demand(&self, weight: f32) -> f32 {
        let demand = (weight + self.frames) / (weight + self.planned);
        if demand.is_finite() { demand.max(0.0) } else { 1.0 }
    }

    /// Whether every number is one that learning can produce: for state read from a file.
    pub fn is_sound(&self) -> bool {
        let positive = [self.nameplate, self.price, self.frames, self.planned];
        let rise =
            [self.rise.mean, self.rise.lowest, self.rise.drains.0, self.rise.drains.1, self.rise.step, self.rise.volts];
        positive.iter().all(|x| x.is_finite() && *x >= 0.0)
            && rise.iter().all(|x| x.is_finite())
            && self.battery.is_sound()
            && self.resistance.is_sound()
            && self.celsius.is_none_or(f32::is_finite)
            && (0.0..=MOST_SKY).contains(&self.sky)
            && self.income.is_sound()
    }

    /// What may be gone on with for a battery with this nameplate capacity: nothing of another version or battery.
    pub(super) fn resumed(self, fresh: Learned) -> Self {
        let same = self.version == VERSION && self.nameplate == fresh.nameplate;
        if same && self.is_sound() { Learned { charger: fresh.charger, ..self } } else { fresh }
    }
}

#[cfg(test)]
mod tests;
