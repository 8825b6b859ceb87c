//! Plausibility monitor of a fuel gauge: sensor failure, stuck-at fault, jumps, and external power that a gauge hides.

use core::fmt;
use core::time::Duration;

use crate::energy::clock::since;
use crate::energy::gauge::{Fault, FuelGauge, GaugeReading, GaugeState, SensorError, Supply};

/// What counts as a fault.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub struct MonitorSettings {
    /// How often a failed read is tried again before it counts as failed.
    pub retries: u8,
    /// Age of the last good reading at which the gauge counts as failed.
    pub fail_after: Duration,
    /// Lowest and highest plausible terminal voltage.
    pub volts: (f32, f32),
    /// State of charge that the load must have taken, by the power model, while the reading never changed, for the gauge
    /// to count as stuck. Above the gauge's resolution.
    pub stuck_drop: f32,
    /// Largest plausible change of the state of charge from one reading to the next, beside what the load takes; also
    /// upwards, unless the gauge tells that something charges the battery.
    pub jump: f32,
    /// State of charge from which a battery counts as full: a full one that does not fall under load is on external power.
    pub full: f32,
}

impl Default for MonitorSettings {
    /// Two retries, failed after 15 minutes, 2.5 to 30 V, stuck after 4 % of charge, a jump beyond 8 %, full from 98 %.
    fn default() -> Self {
        MonitorSettings {
            retries: 2,
            fail_after: Duration::from_secs(900),
            volts: (2.5, 30.0),
            stuck_drop: 0.04,
            jump: 0.08,
            full: 0.98,
        }
    }
}

impl MonitorSettings {
    /// The same settings with another number of retries.
    #[must_use]
    pub const fn with_retries(self, retries: u8) -> Self {
        MonitorSettings { retries, ..self }
    }

    /// The same settings with another age of the last good reading at which the gauge counts as failed.
    #[must_use]
    pub const fn with_fail_after(self, age: Duration) -> Self {
        MonitorSettings { fail_after: age, ..self }
    }

    /// The same settings with another range of plausible volts.
    #[must_use]
    pub const fn with_volts(self, lowest: f32, highest: f32) -> Self {
        MonitorSettings { volts: (lowest, highest), ..self }
    }

    /// The same settings with another modelled drop at which an unmoved gauge counts as stuck, and another rise that
    /// counts as a jump, both of the state of charge.
    #[must_use]
    pub const fn with_limits(self, stuck_drop: f32, jump: f32) -> Self {
        MonitorSettings { stuck_drop, jump, ..self }
    }
}

/// Share of its highest voltage by which a full battery must sag to show that it carries the load after all.
const SAG: f32 = 0.03;
/// Time and readings for which another level must last before it can be believed.
const LASTS: Duration = Duration::from_secs(300);
const LASTING_READINGS: u16 = 3;
/// The same for a lower level that no voltage speaks for or against: rather a battery thought emptier than it is.
const LASTS_UNSUPPORTED: Duration = Duration::from_secs(7200);
/// Share by which the voltage must have moved with the charge for the two to support each other.
const VOLTS_MOVED: f32 = 0.03;
/// By how much more than modelled a load may have taken.
const LOAD_FACTOR: f32 = 1.6;
/// The same once the gauge has shown another level.
const LEFT_LOAD_FACTOR: f32 = 1.3;
/// Time without a fault after which the same fault is told again.
const TELL_AGAIN: Duration = Duration::from_secs(600);

/// Why a gauge is not believed, told once per spell of faults.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub struct GaugeTrouble<E> {
    /// The kind of fault.
    pub fault: Fault,
    /// What the sensor reported, where it could not be read.
    pub error: Option<E>,
    /// The implausible reading, where it could.
    pub reading: Option<GaugeReading>,
}

impl<E: fmt::Display> fmt::Display for GaugeTrouble<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.fault.name())?;
        if let Some(error) = &self.error {
            write!(f, ": {error}")?;
        }
        if let Some(reading) = &self.reading {
            write!(f, " at {:.1} % charge", 100.0 * reading.soc)?;
            if let Some(volts) = reading.volts {
                write!(f, " and {volts:.2} V")?;
            }
        }
        Ok(())
    }
}

/// A fuel gauge whose readings are checked, retried and turned into a [`GaugeState`].
///
/// ```
/// use core::time::Duration;
/// use dyn_perceiver_core::energy::{Battery, GaugeMonitor, GaugeState, MonitorSettings};
/// let mut monitor = GaugeMonitor::new(Battery::new(1000.0), MonitorSettings::default());
/// let state = monitor.observe(Duration::ZERO, 0.0);
/// assert!(matches!(state, GaugeState::Good(reading) if reading.soc == 1.0));
/// assert!(monitor.take_trouble().is_none());
/// ```
#[derive(Debug)]
pub struct GaugeMonitor<G: FuelGauge> {
    gauge: G,
    settings: MonitorSettings,
    last: Option<(GaugeReading, Duration)>,
    /// Good readings so far.
    settled: u16,
    /// The last state of charge read, and what the load should have taken since it last changed.
    unmoved: Option<(f32, f32)>,
    /// The last good state of charge, what the load should have taken since it last changed, and the value before that.
    level: Option<Level>,
    /// Volts of the last good reading, since readings are not good any more.
    volts: Option<f32>,
    /// Another level that the gauge has moved to, and that is not believed yet.
    other: Option<OtherLevel>,
    /// What the load should have taken since the battery is full, and the highest voltage meanwhile.
    full: Option<(f32, f32)>,
    trouble: Option<GaugeTrouble<G::Error>>,
    /// The last fault told, and when it was last seen.
    told: Option<(Fault, Duration)>,
}

/// What is believed of the charge.
#[derive(Clone, Copy, Debug)]
struct Level {
    soc: f32,
    /// What the load should have taken since the reading changed to this.
    taken: f32,
    /// The reading before.
    before: f32,
    /// The largest step between good readings.
    step: f32,
}

/// A level far from what is believed.
#[derive(Clone, Copy, Debug)]
struct OtherLevel {
    soc: f32,
    taken: f32,
    since: Duration,
    readings: u16,
    /// Whether there had been no reading for a while before.
    after_gap: bool,
    /// Whether it is below what is believed.
    falls: bool,
    /// Whether the voltage moved with it, where there is one.
    moved: Option<bool>,
}

/// A read that failed or a reading that is not plausible.
type Refused<E> = (Fault, Option<E>, Option<GaugeReading>);

impl<G: FuelGauge> GaugeMonitor<G> {
    /// Monitors `gauge`.
    pub fn new(gauge: G, settings: MonitorSettings) -> Self {
        GaugeMonitor {
            gauge,
            settings,
            last: None,
            settled: 0,
            unmoved: None,
            level: None,
            volts: None,
            other: None,
            full: None,
            trouble: None,
            told: None,
        }
    }

    /// The gauge itself.
    pub fn gauge_mut(&mut self) -> &mut G {
        &mut self.gauge
    }

    /// Reads the gauge. `elapsed` is the time since the mission began; `expected_drop` is the state of charge that the
    /// load should have taken since the last call, by the power model, or 0 where that is unknown.
    pub fn observe(&mut self, elapsed: Duration, expected_drop: f32) -> GaugeState {
        let drop = expected_drop.max(0.0);
        if let Some(level) = &mut self.level {
            level.taken += drop;
        }
        if let Some(other) = &mut self.other {
            other.taken += drop;
        }
        match self.read_with_retries().and_then(|reading| self.check(reading, drop, elapsed)) {
            Ok(state) => {
                if let Some(reading) = state.reading() {
                    self.believe(reading.soc);
                    self.last = Some((*reading, elapsed));
                }
                state
            }
            Err((fault, error, reading)) => {
                let old = |(told, seen): (Fault, Duration)| told != fault || since(seen, elapsed) > TELL_AGAIN;
                if self.told.is_none_or(old) {
                    self.trouble = Some(GaugeTrouble { fault, error, reading });
                }
                self.told = Some((fault, elapsed));
                self.without_reading(elapsed, fault)
            }
        }
    }

    /// Why the gauge is not believed: once at the beginning of a spell of faults, and again when the fault changes.
    pub fn take_trouble(&mut self) -> Option<GaugeTrouble<G::Error>> {
        self.trouble.take()
    }

    fn without_reading(&self, elapsed: Duration, fault: Fault) -> GaugeState {
        match self.last {
            Some((last, at)) if since(at, elapsed) <= self.settings.fail_after => {
                GaugeState::Stale { last, age: since(at, elapsed), fault }
            }
            _ => GaugeState::Failed { fault },
        }
    }

    fn read_with_retries(&mut self) -> Result<GaugeReading, Refused<G::Error>> {
        let mut refused = (Fault::NotReady, None, None);
        for _ in 0..=self.settings.retries {
            match self.gauge.read() {
                Ok(reading) => return Ok(reading),
                Err(error) => refused = (error.fault(), Some(error), None),
            }
        }
        Err(refused)
    }

    fn check(&mut self, reading: GaugeReading, drop: f32, elapsed: Duration) -> Result<GaugeState, Refused<G::Error>> {
        let (lowest, highest) = self.settings.volts;
        let plausible = |volts: f32| volts >= lowest && volts <= highest;
        if !(0.0..=1.0).contains(&reading.soc) || reading.volts.is_some_and(|volts| !plausible(volts)) {
            return Err((Fault::OutOfRange, None, Some(reading)));
        }
        let jumped = !self.is_near(&reading) && !self.has_moved(&reading, elapsed);
        // A gauge that jumped to full is not believed for staying there.
        let held_full = self.stays_full(&reading, drop) && !jumped;
        let unmoved = match self.unmoved {
            Some((soc, before)) if soc == reading.soc && !reading.may_rise() => before + drop,
            _ => 0.0,
        };
        self.unmoved = Some((reading.soc, unmoved));
        if reading.supply == Some(Supply::External) || held_full {
            return Ok(GaugeState::ExternalPower(reading));
        }
        // Empty is where a gauge rightly stays.
        let steps = self.level.map_or(0.0, |level| LOAD_FACTOR * level.step);
        let stuck = unmoved > self.settings.stuck_drop.max(steps) && reading.soc > 0.0;
        let fault = if stuck {
            Fault::Stuck
        } else if jumped {
            Fault::Jump
        } else {
            return Ok(GaugeState::Good(reading));
        };
        // The charge is wrong, not the voltage: a brown-out must still be seen coming.
        if let Some((last, _)) = &mut self.last {
            self.volts = self.volts.or(last.volts);
            last.volts = reading.volts;
        }
        Err((fault, None, Some(reading)))
    }

    fn believe(&mut self, soc: f32) {
        self.other = None;
        self.volts = None;
        self.settled = self.settled.saturating_add(1);
        match &mut self.level {
            Some(level) if level.soc == soc => {}
            Some(level) => {
                let step = (level.soc - soc).abs().max(level.step);
                *level = Level { soc, taken: 0.0, before: level.soc, step };
            }
            None => self.level = Some(Level { soc, taken: 0.0, before: soc, step: 0.0 }),
        }
    }

    /// Whether a reading is where the last good one and the load since then let it be.
    fn is_near(&self, reading: &GaugeReading) -> bool {
        let Some(level) = self.level else { return true };
        let jump = self.settings.jump;
        // At the edge of a step a coarse gauge goes to and fro.
        let back = reading.soc == level.before && level.taken < 0.02;
        // A level that was left is not come back to only because the battery has drained by as much meanwhile.
        let load = if self.other.is_none() { LOAD_FACTOR } else { LEFT_LOAD_FACTOR };
        let lowest = level.soc - jump - load * level.taken;
        let highest = level.soc + jump - level.taken;
        let highest = if self.other.is_none() { highest.max(level.soc) } else { highest };
        back || (reading.soc >= lowest && (reading.may_rise() || reading.soc <= highest))
    }

    /// Whether a reading far from the last good one is to be believed all the same: another level lasts, and there was a gap
    /// in which the charge may have changed, or the voltage has moved with it, or too little was read before to judge by. One
    /// reading alone never is.
    fn has_moved(&mut self, reading: &GaugeReading, elapsed: Duration) -> bool {
        let near = |other: &OtherLevel| {
            let fallen = other.soc - reading.soc;
            fallen >= -0.5 * self.settings.jump && fallen <= 0.5 * self.settings.jump + LOAD_FACTOR * other.taken
        };
        let gap = self.last.is_none_or(|(_, at)| since(at, elapsed) >= LASTS);
        let falls = self.level.is_some_and(|level| reading.soc < level.soc);
        let other = match self.other.filter(near) {
            Some(other) => OtherLevel { readings: other.readings.saturating_add(1), ..other },
            None => {
                let before = self.volts.or(self.last.and_then(|(last, _)| last.volts));
                let moved = before
                    .zip(reading.volts)
                    .map(|(before, now)| VOLTS_MOVED * before < if falls { before - now } else { now - before });
                OtherLevel { soc: reading.soc, taken: 0.0, since: elapsed, readings: 1, after_gap: gap, moved, falls }
            }
        };
        self.other = Some(other);
        let lasted = since(other.since, elapsed);
        let enough = other.readings >= LASTING_READINGS;
        enough
            && ((self.settled < LASTING_READINGS && other.falls)
                || (lasted >= LASTS && (other.after_gap || other.moved == Some(true)))
                || (lasted >= LASTS_UNSUPPORTED && other.falls && other.moved.is_none()))
    }

    /// Whether a full battery stays full although the load should have emptied it by more than the gauge can hide: then
    /// something else carries the load, whatever the gauge knows about it. A voltage that sags says otherwise.
    fn stays_full(&mut self, reading: &GaugeReading, drop: f32) -> bool {
        if reading.soc < self.settings.full || reading.supply == Some(Supply::Battery) {
            self.full = None;
            return false;
        }
        let volts = reading.volts.unwrap_or(0.0);
        let (taken, highest) = match self.full {
            Some((taken, highest)) => (taken + drop, volts.max(highest)),
            None => (0.0, volts),
        };
        self.full = Some((taken, highest));
        taken > self.settings.stuck_drop && volts >= highest * (1.0 - SAG)
    }
}

#[cfg(test)]
mod tests;
