//! Coulomb counting: a power monitor becomes a fuel gauge, corrected by the open-circuit voltage at rest.

use core::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Chemistry, OcvCurve};
use crate::energy::clock::since;
use crate::energy::gauge::{FuelGauge, GaugeReading, PowerMonitor, Supply};

/// What the counter must know of the battery.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub struct CoulombSettings {
    /// Capacity in milliampere-hours.
    pub capacity_mah: f32,
    /// Internal resistance in ohms: what the voltage sags by under load.
    pub ohms: f32,
    /// Open-circuit voltage over state of charge.
    pub ocv: OcvCurve,
    /// Current in amperes, of either sign, below which the battery counts as resting.
    pub rest_amperes: f32,
    /// How long it must rest before its voltage is believed.
    pub rest_time: Duration,
}

impl CoulombSettings {
    /// A battery of `cells` in series of one chemistry that holds `capacity_mwh`, with the resistance of a usual cell; at
    /// rest below 50 mA for ten minutes.
    pub fn new(chemistry: Chemistry, capacity_mwh: f32, cells: u8) -> Self {
        let ocv = OcvCurve::of(chemistry, cells);
        CoulombSettings {
            capacity_mah: capacity_mwh / ocv.mean_volts(),
            ohms: chemistry.cell_ohms() * f32::from(cells.max(1)),
            ocv,
            rest_amperes: 0.05,
            rest_time: Duration::from_secs(600),
        }
    }

    /// As [`CoulombSettings::new`] for lithium-ion cells.
    pub fn lithium_ion(capacity_mwh: f32, cells: u8) -> Self {
        CoulombSettings::new(Chemistry::LithiumIon, capacity_mwh, cells)
    }

    /// The same settings with another internal resistance in ohms.
    #[must_use]
    pub fn with_ohms(self, ohms: f32) -> Self {
        CoulombSettings { ohms, ..self }
    }

    /// The same settings with another current, and another time below it, after which the battery counts as rested.
    #[must_use]
    pub fn with_rest(self, amperes: f32, time: Duration) -> Self {
        CoulombSettings { rest_amperes: amperes, rest_time: time, ..self }
    }
}

/// What survives a restart.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub struct CoulombState {
    /// State of charge in [0, 1].
    pub soc: f32,
}

impl CoulombState {
    /// The state of a battery at this state of charge, in [0, 1].
    pub const fn new(soc: f32) -> Self {
        CoulombState { soc }
    }
}

/// A gap between readings beyond which the counted charge is worth less than the voltage.
const LONGEST_GAP: Duration = Duration::from_secs(3600);
/// Weight of one voltage at rest against the count.
const REST_WEIGHT: f32 = 0.2;
/// Rise of the voltage per whole charge, over the mean voltage, below which the curve is too flat to tell the charge.
const FLAT: f32 = 0.08;
/// Share of the mean voltage by which a cell's own voltage may differ from the curve.
const SPREAD: f32 = 0.01;
/// Difference between stored charge and voltage that is always believed.
const CLOSE: f32 = 0.15;

/// Counts the charge that a power monitor sees.
///
/// `clock` tells the time since any fixed moment; it must never go back.
///
/// ```
/// use core::convert::Infallible;
/// use core::time::Duration;
/// use dyn_perceiver_core::energy::estimator::{CoulombGauge, CoulombSettings};
/// use dyn_perceiver_core::energy::{FuelGauge, PowerMonitor, PowerReading};
/// struct Bench;
/// impl PowerMonitor for Bench {
///     type Error = Infallible;
///     fn read_power(&mut self) -> Result<PowerReading, Infallible> {
///         Ok(PowerReading::new(3.74, 0.0))
///     }
/// }
/// let settings = CoulombSettings::lithium_ion(10_000.0, 1);
/// let mut gauge = CoulombGauge::new(Bench, || Duration::ZERO, settings, None);
/// assert!((gauge.read().unwrap().soc - 0.5).abs() < 1e-3);
/// ```
#[derive(Clone, Debug)]
pub struct CoulombGauge<M, C> {
    monitor: M,
    clock: C,
    settings: CoulombSettings,
    soc: Option<f32>,
    last: Option<Duration>,
    resting_since: Option<Duration>,
}

impl<M: PowerMonitor, C: FnMut() -> Duration> CoulombGauge<M, C> {
    /// A gauge that begins from the open-circuit voltage, or goes on from `state` of an earlier run.
    pub fn new(monitor: M, clock: C, settings: CoulombSettings, state: Option<CoulombState>) -> Self {
        let soc = state.map(|state| state.soc).filter(|soc| (0.0..=1.0).contains(soc));
        CoulombGauge { monitor, clock, settings, soc, last: None, resting_since: None }
    }

    /// What must survive a restart; none before the first reading.
    pub fn state(&self) -> Option<CoulombState> {
        self.soc.map(|soc| CoulombState { soc })
    }
}

impl<M: PowerMonitor, C: FnMut() -> Duration> FuelGauge for CoulombGauge<M, C> {
    type Error = M::Error;

    fn read(&mut self) -> Result<GaugeReading, M::Error> {
        let power = self.monitor.read_power()?;
        let now = (self.clock)();
        let by_voltage = self.settings.ocv.soc(power.volts + power.amperes * self.settings.ohms);
        let slope = self.settings.ocv.slope(by_voltage) / self.settings.ocv.mean_volts();
        let gap = self.last.map(|last| since(last, now));
        self.last = Some(now);

        let resting = power.amperes.abs() < self.settings.rest_amperes;
        self.resting_since = if resting { self.resting_since.or(Some(now)) } else { None };
        let rested = self.resting_since.is_some_and(|begun| since(begun, now) >= self.settings.rest_time);

        let counted = match (self.soc, gap) {
            (Some(soc), Some(gap)) if gap <= LONGEST_GAP && self.settings.capacity_mah > 0.0 => {
                soc - power.amperes * gap.as_secs_f32() / (self.settings.capacity_mah * 3.6)
            }
            // The first reading after a restart: the stored charge, unless the voltage is far from it.
            (Some(soc), None) if (soc - by_voltage).abs() < CLOSE.max(SPREAD / slope) => soc,
            _ => by_voltage,
        };
        let soc = if rested && slope > FLAT {
            // The next correction needs another rest, or the voltage would soon replace the count.
            self.resting_since = Some(now);
            counted + REST_WEIGHT * (by_voltage - counted)
        } else {
            counted
        };
        let soc = soc.clamp(0.0, 1.0);
        self.soc = Some(soc);
        let reading = GaugeReading::new(soc).with_volts(power.volts);
        // A battery at rest may hang on its charger: it is not known to be discharged.
        let reading = match power.amperes {
            _ if resting => reading,
            amperes if amperes < 0.0 => reading.with_supply(Supply::Charging),
            _ => reading.with_supply(Supply::Battery),
        };
        let hours =
            if power.amperes > 0.0 { soc * self.settings.capacity_mah / 1000.0 / power.amperes } else { f32::INFINITY };
        Ok(match Duration::try_from_secs_f32(hours * 3600.0) {
            Ok(time) => reading.with_time_to_empty(time),
            Err(_) => reading,
        })
    }
}

#[cfg(test)]
mod tests {
    use core::cell::Cell;
    use core::convert::Infallible;

    use super::*;
    use crate::energy::gauge::PowerReading;

    struct Bench<'a>(&'a Cell<PowerReading>);

    impl PowerMonitor for Bench<'_> {
        type Error = Infallible;

        fn read_power(&mut self) -> Result<PowerReading, Infallible> {
            Ok(self.0.get())
        }
    }

    fn settings() -> CoulombSettings {
        let settings = CoulombSettings::lithium_ion(1000.0, 1).with_ohms(0.1).with_rest(0.02, Duration::from_secs(600));
        CoulombSettings { capacity_mah: 2000.0, ..settings }
    }

    #[test]
    fn coulomb_starts_from_the_voltage_without_load_and_counts_from_there() {
        let power = Cell::new(PowerReading::new(4.09 - 0.1, 1.0));
        let time = Cell::new(Duration::ZERO);
        let mut gauge = CoulombGauge::new(Bench(&power), || time.get(), settings(), None);
        assert!((gauge.read().unwrap().soc - 0.9).abs() < 1e-4);
        for minute in 1..=30 {
            time.set(Duration::from_secs(60 * minute));
            gauge.read().unwrap();
        }
        // Half an hour of 1 A out of 2 Ah.
        let reading = gauge.read().unwrap();
        assert!((reading.soc - 0.65).abs() < 1e-3, "{}", reading.soc);
        assert!((reading.time_to_empty.unwrap().as_secs_f32() / 3600.0 - 1.3).abs() < 0.01);
        // Charging counts up.
        power.set(PowerReading::new(4.0, -1.0));
        time.set(Duration::from_secs(60 * 36));
        let reading = gauge.read().unwrap();
        assert!(
            (reading.soc - 0.70).abs() < 1e-3
                && reading.supply == Some(Supply::Charging)
                && reading.time_to_empty.is_none()
        );
        assert_eq!(gauge.state().unwrap().soc, reading.soc);
    }

    #[test]
    fn coulomb_settings_of_a_battery_by_its_watt_hours() {
        let settings = CoulombSettings::lithium_ion(22_600.0, 2);
        assert!((settings.capacity_mah / 3000.0 - 1.0).abs() < 0.02, "{}", settings.capacity_mah);
        assert_eq!(settings.ocv.volts(1.0), 8.38);
    }

    #[test]
    fn coulomb_keeps_the_stored_charge_on_a_flat_curve() {
        // Ten millivolts are a tenth of the charge of lithium iron phosphate at mid charge.
        let power = Cell::new(PowerReading::new(3.255, 0.0));
        let time = Cell::new(Duration::ZERO);
        let settings = CoulombSettings::new(Chemistry::LithiumIronPhosphate, 10_000.0, 1);
        assert!((settings.capacity_mah / 3100.0 - 1.0).abs() < 0.02, "{}", settings.capacity_mah);
        let state = Some(CoulombState::new(0.65));
        let mut gauge = CoulombGauge::new(Bench(&power), || time.get(), settings, state);
        for minute in 0..=180 {
            time.set(Duration::from_secs(60 * minute));
            assert_eq!(gauge.read().unwrap().soc, 0.65);
        }
    }

    #[test]
    fn coulomb_count_that_drifted_is_pulled_to_the_voltage_at_rest() {
        let power = Cell::new(PowerReading::new(3.91, 0.0));
        let time = Cell::new(Duration::ZERO);
        let state = Some(CoulombState { soc: 0.8 });
        let mut gauge = CoulombGauge::new(Bench(&power), || time.get(), settings(), state);
        assert_eq!(gauge.read().unwrap().soc, 0.8);
        for minute in 1..=180 {
            time.set(Duration::from_secs(60 * minute));
            gauge.read().unwrap();
        }
        assert!((gauge.read().unwrap().soc - 0.7).abs() < 0.01);
    }

    #[test]
    fn coulomb_charge_stored_far_from_the_voltage_and_long_gaps_are_not_believed() {
        let power = Cell::new(PowerReading::new(3.6, 0.0));
        let time = Cell::new(Duration::ZERO);
        let state = Some(CoulombState { soc: 0.9 });
        let mut gauge = CoulombGauge::new(Bench(&power), || time.get(), settings(), state);
        assert!((gauge.read().unwrap().soc - 0.2).abs() < 1e-4);
        power.set(PowerReading::new(4.09, 0.0));
        time.set(Duration::from_secs(7200));
        assert!((gauge.read().unwrap().soc - 0.9).abs() < 1e-4);
    }
}
