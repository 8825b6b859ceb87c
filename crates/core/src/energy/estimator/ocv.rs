//! Open-circuit voltage (OCV) of a battery over its state of charge, by chemistry.

use core::fmt;

use serde::{Deserialize, Serialize};

use crate::inline::InlineVec;

/// The most points a curve may have.
pub const MAX_OCV_POINTS: usize = 16;

/// What a cell is made of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Chemistry {
    /// Lithium ion with an oxide cathode, also as a polymer pouch: 3.7 V nominal.
    #[default]
    #[serde(rename = "liion", alias = "lipo")]
    LithiumIon,
    /// Lithium iron phosphate, LiFePO4: 3.2 V nominal, with a very flat curve.
    #[serde(rename = "lifepo4")]
    LithiumIronPhosphate,
    /// Nickel metal hydride: 1.2 V nominal.
    #[serde(rename = "nimh")]
    NickelMetalHydride,
}

impl Chemistry {
    /// Every chemistry.
    pub const ALL: [Chemistry; 3] =
        [Chemistry::LithiumIon, Chemistry::LithiumIronPhosphate, Chemistry::NickelMetalHydride];

    /// The name used on the command line and in files.
    pub const fn name(self) -> &'static str {
        match self {
            Chemistry::LithiumIon => "liion",
            Chemistry::LithiumIronPhosphate => "lifepo4",
            Chemistry::NickelMetalHydride => "nimh",
        }
    }

    /// (state of charge, volts) of one cell at rest and 25 °C.
    const fn cell(self) -> &'static [(f32, f32)] {
        match self {
            Chemistry::LithiumIon => &LITHIUM_ION,
            Chemistry::LithiumIronPhosphate => &LITHIUM_IRON_PHOSPHATE,
            Chemistry::NickelMetalHydride => &NICKEL_METAL_HYDRIDE,
        }
    }

    /// By how much of its mean the voltage falls from full to empty, its steep ends left out: the slope of the curve between
    /// a fifth and nine tenths of the charge.
    pub(crate) const fn voltage_fall(self) -> f32 {
        match self {
            Chemistry::LithiumIon => 0.19,
            Chemistry::LithiumIronPhosphate => 0.07,
            Chemistry::NickelMetalHydride => 0.12,
        }
    }

    /// Internal resistance of a usual cell of some ampere-hours, in ohms.
    pub(super) const fn cell_ohms(self) -> f32 {
        match self {
            Chemistry::LithiumIon => 0.05,
            Chemistry::LithiumIronPhosphate => 0.02,
            Chemistry::NickelMetalHydride => 0.03,
        }
    }
}

impl fmt::Display for Chemistry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl core::str::FromStr for Chemistry {
    type Err = UnknownChemistry;

    fn from_str(name: &str) -> Result<Self, UnknownChemistry> {
        match name {
            "lipo" => Ok(Chemistry::LithiumIon),
            _ => Chemistry::ALL.into_iter().find(|chemistry| chemistry.name() == name).ok_or(UnknownChemistry),
        }
    }
}

/// The name is none of a [`Chemistry`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub struct UnknownChemistry;

impl fmt::Display for UnknownChemistry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("expected liion, lipo, lifepo4 or nimh")
    }
}

impl core::error::Error for UnknownChemistry {}

/// Open-circuit voltage over state of charge, straight between points.
///
/// ```
/// use dyn_perceiver_core::energy::Chemistry;
/// use dyn_perceiver_core::energy::estimator::OcvCurve;
/// let curve = OcvCurve::of("lifepo4".parse()?, 4);
/// assert_eq!(curve.soc(4.0 * 3.40), 1.0);
/// assert_eq!(OcvCurve::of(Chemistry::LithiumIon, 1).volts(0.5), 3.74);
/// # Ok::<(), dyn_perceiver_core::energy::estimator::UnknownChemistry>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct OcvCurve {
    /// (state of charge, volts), both rising.
    points: InlineVec<(f32, f32), MAX_OCV_POINTS>,
}

/// The points are no rising curve from an empty to a full battery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
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
const LITHIUM_ION: [(f32, f32); 12] = [
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

/// One lithium-iron-phosphate cell at rest: between a fifth and nine tenths of the charge lie 0.15 V.
const LITHIUM_IRON_PHOSPHATE: [(f32, f32); 11] = [
    (0.0, 2.50),
    (0.1, 3.00),
    (0.2, 3.20),
    (0.3, 3.22),
    (0.4, 3.25),
    (0.5, 3.26),
    (0.6, 3.27),
    (0.7, 3.30),
    (0.8, 3.32),
    (0.9, 3.35),
    (1.0, 3.40),
];

/// One nickel-metal-hydride cell at rest.
const NICKEL_METAL_HYDRIDE: [(f32, f32); 11] = [
    (0.0, 1.00),
    (0.1, 1.20),
    (0.2, 1.235),
    (0.3, 1.25),
    (0.4, 1.26),
    (0.5, 1.27),
    (0.6, 1.28),
    (0.7, 1.29),
    (0.8, 1.31),
    (0.9, 1.34),
    (1.0, 1.40),
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
        Ok(OcvCurve { points: InlineVec::from_slice(points).map_err(|_| OcvError)? })
    }

    /// `cells` cells of a chemistry in series; at least one.
    pub fn of(chemistry: Chemistry, cells: u8) -> Self {
        let cells = f32::from(cells.max(1));
        // No chemistry has more points than fit, nor none.
        let mut points = InlineVec::from_slice(chemistry.cell()).unwrap_or(InlineVec::one((0.0, 0.0)));
        points.as_mut_slice().iter_mut().for_each(|(_, volts)| *volts *= cells);
        OcvCurve { points }
    }

    /// `cells` lithium-ion cells in series.
    pub fn lithium_ion(cells: u8) -> Self {
        OcvCurve::of(Chemistry::LithiumIon, cells)
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
            points: InlineVec<(f32, f32), MAX_OCV_POINTS>,
        }
        OcvCurve::new(&Unchecked::deserialize(deserializer)?.points).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn chemistries_have_names_and_curves_of_their_own() {
        for chemistry in Chemistry::ALL {
            assert_eq!(chemistry.name().parse(), Ok(chemistry));
            assert_eq!(serde_json::to_string(&chemistry).unwrap(), std::format!("\"{chemistry}\""));
            assert_eq!(OcvCurve::new(chemistry.cell()).unwrap(), OcvCurve::of(chemistry, 1));
        }
        assert_eq!("lipo".parse(), Ok(Chemistry::LithiumIon));
        assert_eq!("lead".parse::<Chemistry>(), Err(UnknownChemistry));
        // A full cell of one chemistry is nearly empty by the curve of another.
        assert_eq!(OcvCurve::of(Chemistry::LithiumIronPhosphate, 1).soc(3.40), 1.0);
        assert!(OcvCurve::of(Chemistry::LithiumIon, 1).soc(3.40) < 0.05);
        assert!((OcvCurve::of(Chemistry::LithiumIronPhosphate, 4).mean_volts() - 12.8).abs() < 0.2);
        assert!((OcvCurve::of(Chemistry::NickelMetalHydride, 4).mean_volts() - 5.0).abs() < 0.2);
    }

    #[test]
    fn ocv_ends_and_refusals() {
        let curve = OcvCurve::lithium_ion(2);
        assert_eq!((curve.volts(-1.0), curve.volts(2.0)), (6.0, 8.38));
        assert_eq!((curve.soc(0.0), curve.soc(99.0), curve.soc(f32::NAN)), (0.0, 1.0, 0.0));
        assert!((OcvCurve::lithium_ion(1).mean_volts() - 3.77).abs() < 0.05);
        assert_eq!(OcvCurve::new(&[(0.0, 3.0)]), Err(OcvError));
        assert_eq!(OcvCurve::new(&[(0.0, 3.0), (1.0, 3.0)]), Err(OcvError));
        assert_eq!(OcvCurve::new(&[(0.1, 3.0), (1.0, 4.0)]), Err(OcvError));
        assert_eq!(OcvCurve::new(&[(0.0, 3.0), (1.0, f32::NAN)]), Err(OcvError));
    }

    #[test]
    fn ocv_fall_of_the_voltage_is_that_of_the_curve_without_its_ends() {
        for chemistry in Chemistry::ALL {
            let curve = OcvCurve::of(chemistry, 1);
            let fall = (curve.volts(0.9) - curve.volts(0.2)) / 0.7 / curve.mean_volts();
            assert!((chemistry.voltage_fall() - fall).abs() < 0.005, "{chemistry}: {fall}");
        }
    }

    proptest! {
        #[test]
        fn ocv_volts_and_charge_are_inverse(soc in 0f32..1.0, cells in 1u8..5, which in 0usize..3) {
            let curve = OcvCurve::of(Chemistry::ALL[which], cells);
            prop_assert!((curve.soc(curve.volts(soc)) - soc).abs() < 1e-3);
            prop_assert!(curve.slope(soc) > 0.0);
        }
    }
}
