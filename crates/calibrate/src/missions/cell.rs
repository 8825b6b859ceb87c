//! A battery model with open-circuit voltage, internal resistance, age and temperature.

use dyn_perceiver_core::energy::JOULES_PER_MWH;
use dyn_perceiver_core::energy::estimator::OcvCurve;

/// What a battery is like.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct CellSettings {
    /// Nameplate capacity in milliwatt-hours.
    pub capacity_mwh: f32,
    /// Share of the nameplate capacity that age has left, in (0, 1].
    pub health: f32,
    /// Internal resistance in ohms at 25 °C.
    pub ohms: f32,
    /// Share of the battery's energy that the converter passes on to the board.
    pub efficiency: f32,
    /// Terminal voltage at which the converter gives up: brown-out.
    pub cut_off_volts: f32,
    /// Open-circuit voltage over state of charge.
    pub ocv: OcvCurve,
}

impl CellSettings {
    /// One new lithium-ion cell of this nameplate capacity, behind a converter of 90 % that gives up at 3 V.
    pub fn lithium_ion(capacity_mwh: f32) -> Self {
        CellSettings {
            capacity_mwh,
            health: 1.0,
            ohms: 0.02,
            efficiency: 0.9,
            cut_off_volts: 3.0,
            ocv: OcvCurve::lithium_ion(1),
        }
    }
}

/// Capacity lost per degree below 25 °C: lithium-ion cells give about 85 % at 0 °C.
const CAPACITY_PER_DEGREE: f32 = 0.006;
/// Resistance gained per degree below 25 °C: about doubled at 0 °C.
const OHMS_PER_DEGREE: f32 = 0.04;

/// A battery in use.
#[derive(Clone, Debug)]
pub struct Cell {
    settings: CellSettings,
    soc: f64,
    volts: f32,
    drawn: f64,
}

impl Cell {
    /// A full battery.
    pub fn new(settings: CellSettings) -> Self {
        let volts = settings.ocv.volts(1.0);
        Cell { settings, soc: 1.0, volts, drawn: 0.0 }
    }

    /// State of charge in [0, 1].
    pub fn soc(&self) -> f32 {
        self.soc as f32
    }

    /// Terminal voltage under the last load.
    pub fn volts(&self) -> f32 {
        self.volts
    }

    /// Joules that the board has taken, after the converter.
    pub fn delivered(&self) -> f64 {
        self.drawn
    }

    /// Whether the voltage holds the board up.
    pub fn is_up(&self) -> bool {
        self.soc > 0.0 && self.volts > self.settings.cut_off_volts
    }

    /// Powers a load of `watts` less `income` watts (sun) for `seconds` at `celsius`.
    pub fn power(&mut self, watts: f32, income: f32, seconds: f32, celsius: f32) {
        let cold = (25.0 - celsius).max(0.0);
        let ohms = self.settings.ohms * (1.0 + OHMS_PER_DEGREE * cold);
        let open = self.settings.ocv.volts(self.soc as f32);
        // The converter's losses apply to what is drawn; what comes in is counted at the battery.
        let power = watts / self.settings.efficiency - income;
        // P = I (V - I R), solved for the smaller current. Beyond the largest power the battery can give it collapses.
        let discriminant = open * open - 4.0 * ohms * power;
        let amperes = (open - discriminant.max(0.0).sqrt()) / (2.0 * ohms);
        self.volts = open - amperes * ohms;
        let coulombs = f64::from(self.settings.capacity_mwh * JOULES_PER_MWH / self.settings.ocv.mean_volts())
            * f64::from(self.settings.health)
            * f64::from(1.0 - CAPACITY_PER_DEGREE * cold);
        self.soc = (self.soc - f64::from(amperes) * f64::from(seconds) / coulombs).clamp(0.0, 1.0);
        self.drawn += f64::from(watts) * f64::from(seconds);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cell(health: f32) -> Cell {
        Cell::new(CellSettings { health, ohms: 0.1, efficiency: 1.0, ..CellSettings::lithium_ion(10_000.0) })
    }

    fn hours(mut cell: Cell, watts: f32, celsius: f32) -> f32 {
        let mut seconds = 0;
        while cell.is_up() {
            cell.power(watts, 0.0, 10.0, celsius);
            seconds += 10;
        }
        seconds as f32 / 3600.0
    }

    #[test]
    fn cell_slow_discharge_gives_the_nameplate_and_cold_age_and_speed_take_from_it() {
        let slow = hours(cell(1.0), 0.2, 25.0);
        assert!((slow - 50.0).abs() < 1.0, "{slow} h");
        assert!(hours(cell(0.8), 0.2, 25.0) < 0.82 * slow);
        assert!(hours(cell(1.0), 0.2, 0.0) < 0.87 * slow);
        assert!(hours(cell(1.0), 10.0, 25.0) < 0.95);
    }

    #[test]
    fn cell_sags_under_load_charges_in_the_sun_and_collapses_beyond_its_power() {
        let mut c = cell(1.0);
        c.power(4.0, 0.0, 1.0, 25.0);
        let loaded = c.volts();
        c.power(0.0, 0.0, 1.0, 25.0);
        assert!(c.volts() - loaded > 0.09);
        c.power(5.0, 0.0, 3600.0, 25.0);
        let soc = c.soc();
        c.power(1.0, 3.0, 3600.0, 25.0);
        assert!(c.soc() > soc + 0.15);
        c.power(1000.0, 0.0, 1.0, 25.0);
        assert!(!c.is_up());
    }
}
