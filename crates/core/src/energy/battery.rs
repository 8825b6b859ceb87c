//! Simulated battery: a bucket of joules that is its own fuel gauge.

use core::convert::Infallible;

use super::JOULES_PER_MWH;
use super::gauge::{FuelGauge, GaugeReading};

/// A simulated battery of a given capacity.
///
/// It has no voltage and no losses; the discrete-event simulation has a battery with both.
///
/// ```
/// use dyn_perceiver_core::energy::{Battery, FuelGauge};
/// let mut battery = Battery::new(1000.0); // 1 Wh is 3600 J
/// battery.drain(900.0);
/// assert_eq!(battery.read().unwrap().soc, 0.75);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Battery {
    capacity: f64,
    // A frame of millijoules beside a battery of 100 kJ is below the resolution of an f32.
    left: f64,
}

impl Battery {
    /// A full battery of `capacity_mwh` milliwatt-hours. A capacity that is not positive is an empty battery.
    pub fn new(capacity_mwh: f32) -> Self {
        let capacity = if capacity_mwh > 0.0 { f64::from(capacity_mwh) * f64::from(JOULES_PER_MWH) } else { 0.0 };
        Battery { capacity, left: capacity }
    }

    /// The same battery charged to `soc` in [0, 1].
    #[must_use]
    pub fn charged_to(self, soc: f32) -> Self {
        let soc = if soc.is_nan() { 0.0 } else { f64::from(soc.clamp(0.0, 1.0)) };
        Battery { left: self.capacity * soc, ..self }
    }

    /// Takes `joules` out of the battery, or puts them in when negative. It never holds less than nothing nor more than
    /// its capacity; NaN changes nothing.
    pub fn drain(&mut self, joules: f32) {
        if !joules.is_nan() {
            self.left = (self.left - f64::from(joules)).clamp(0.0, self.capacity);
        }
    }

    /// Capacity in milliwatt-hours.
    pub fn capacity_mwh(&self) -> f32 {
        (self.capacity / f64::from(JOULES_PER_MWH)) as f32
    }

    /// Joules left.
    pub fn joules(&self) -> f32 {
        self.left as f32
    }

    /// State of charge in [0, 1].
    pub fn soc(&self) -> f32 {
        if self.capacity > 0.0 { (self.left / self.capacity) as f32 } else { 0.0 }
    }

    /// Whether nothing is left.
    pub fn is_empty(&self) -> bool {
        self.left <= 0.0
    }
}

impl FuelGauge for Battery {
    type Error = Infallible;

    fn read(&mut self) -> Result<GaugeReading, Infallible> {
        Ok(GaugeReading::new(self.soc()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn battery_small_drains_add_up() {
        let mut battery = Battery::new(30_000.0);
        for _ in 0..1_000_000 {
            battery.drain(0.001);
        }
        assert!((battery.joules() - (108_000.0 - 1000.0)).abs() < 0.1);
    }

    #[test]
    fn battery_stays_between_empty_and_full() {
        let mut battery = Battery::new(1.0);
        battery.drain(f32::NAN);
        battery.drain(-5.0);
        assert_eq!(battery.soc(), 1.0);
        battery.drain(1e30);
        assert!(battery.is_empty());
        assert_eq!(battery.read().unwrap().soc, 0.0);
        assert_eq!(Battery::new(f32::NAN).soc(), 0.0);
        assert_eq!(Battery::new(10.0).charged_to(0.5).joules(), 18.0);
    }
}
