//! The open-circuit voltage of a battery over its state of charge.

use core::fmt;

use heapless::Vec;
use serde::{Deserialize, Serialize};

/// The most points a curve may have.
pub const MAX_OCV_POINTS: usize = 16;

/// Open-circuit voltage over state of charge, straight between points.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct OcvCurve {
    /// (state of charge, volts), both rising.
    points: Vec<(f32, f32), MAX_OCV_POINTS>,
}

/// The points are no rising curve from an empty to a full battery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct OcvError;

impl fmt::Display for OcvError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "expected 2 to {MAX_OCV_POINTS} points, state of charge rising from 0 to 1 and volts rising from above 0"
        )
    }
}

impl core::error::Error for OcvError {}

/// One lithium-ion cell (nickel manganese cobalt oxide against graphite), the usual shape at rest and 25 °C. Cells of one
/// make differ by some hundredths of a volt.
const LI_ION: [(f32, f32); 12] = [
    (0.0, 3.00),
    (0.05, 3.42),
    (0.1, 3.52),
    (0.2, 3.60),
    (0.3, 3.65),
    (0.4, 3.69),
    (0.5, 3.74),
    (0.6, 3.82),
    (0.7, 3.91),
    (0.8, 4.00),
    (0.9, 4.09),
    (1.0, 4.19),
];

impl OcvCurve {
    /// A curve from (state of charge, volts) points.
    ///
    /// # Errors
    /// [`OcvError`] unless both rise, the state of charge from 0 to 1.
    pub fn new(points: &[(f32, f32)]) -> Result<Self, OcvError> {
        let rises = points.windows(2).all(|w| matches!(w, [a, b] if a.0 < b.0 && a.1 < b.1 && b.1.is_finite()));
        let ends = points.len() >= 2
            && points.first().is_some_and(|first| first.0 == 0.0 && first.1 > 0.0)
            && points.last().is_some_and(|last| last.0 == 1.0);
        if !(rises && ends) {
            return Err(OcvError);
        }
        Ok(OcvCurve { points: Vec::from_slice(points).map_err(|_| OcvError)? })
    }

    /// `cells` lithium-ion cells in series.
    pub fn lithium_ion(cells: u8) -> Self {
        let cells = f32::from(cells.max(1));
        OcvCurve { points: LI_ION.iter().map(|&(soc, volts)| (soc, volts * cells)).collect() }
    }

    /// Volts at a state of charge; the ends of the curve beyond it.
    pub fn volts(&self, soc: f32) -> f32 {
        interpolate(self.points.iter().copied(), soc)
    }

    /// State of charge at an open-circuit voltage; 0 and 1 beyond the curve.
    pub fn soc(&self, volts: f32) -> f32 {
        interpolate(self.points.iter().map(|&(soc, volts)| (volts, soc)), volts)
    }

    /// How fast voltage rises with charge, in volts per whole charge: where it is flat, voltage says little.
    pub fn slope(&self, soc: f32) -> f32 {
        (self.volts((soc + 0.02).min(1.0)) - self.volts((soc - 0.02).max(0.0)))
            / ((soc + 0.02).min(1.0) - (soc - 0.02).max(0.0))
    }

    /// Mean of the voltage over the charge: joules per coulomb of a slow discharge.
    pub fn mean_volts(&self) -> f32 {
        let pairs = self.points.windows(2);
        pairs.map(|w| if let [a, b] = w { (b.0 - a.0) * (a.1 + b.1) / 2.0 } else { 0.0 }).sum()
    }
}

/// y at `x` of straight lines through points by rising x, flat beyond them.
fn interpolate(points: impl Iterator<Item = (f32, f32)>, x: f32) -> f32 {
    let mut before: Option<(f32, f32)> = None;
    for (px, py) in points {
        // NaN ends at the first point: the empty side.
        if x <= px || x.is_nan() {
            return match before {
                Some((bx, by)) => by + (py - by) * (x - bx) / (px - bx),
                None => py,
            };
        }
        before = Some((px, py));
    }
    before.map_or(0.0, |(_, y)| y)
}

impl<'de> Deserialize<'de> for OcvCurve {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Unchecked {
            points: Vec<(f32, f32), MAX_OCV_POINTS>,
        }
        OcvCurve::new(&Unchecked::deserialize(deserializer)?.points).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ends_and_refusals() {
        let curve = OcvCurve::lithium_ion(2);
        assert_eq!((curve.volts(-1.0), curve.volts(2.0)), (6.0, 8.38));
        assert_eq!((curve.soc(0.0), curve.soc(99.0), curve.soc(f32::NAN)), (0.0, 1.0, 0.0));
        assert!((OcvCurve::lithium_ion(1).mean_volts() - 3.77).abs() < 0.05);
        assert_eq!(OcvCurve::new(&[(0.0, 3.0)]), Err(OcvError));
        assert_eq!(OcvCurve::new(&[(0.0, 3.0), (1.0, 3.0)]), Err(OcvError));
        assert_eq!(OcvCurve::new(&[(0.1, 3.0), (1.0, 4.0)]), Err(OcvError));
        assert_eq!(OcvCurve::new(&[(0.0, 3.0), (1.0, f32::NAN)]), Err(OcvError));
    }

    proptest! {
        #[test]
        fn volts_and_charge_are_inverse(soc in 0f32..1.0, cells in 1u8..5) {
            let curve = OcvCurve::lithium_ion(cells);
            prop_assert!((curve.soc(curve.volts(soc)) - soc).abs() < 1e-4);
            prop_assert!(curve.slope(soc) > 0.0);
        }
    }
}
