//! Table governor: from state of charge to operating point, with hysteresis.

use core::fmt;

use serde::{Deserialize, Serialize};

use super::{Choice, GaugeState, Governor, GovernorInput, Reason};
use crate::inline::InlineVec;

/// The most steps a table may have.
pub const MAX_STEPS: usize = 8;

/// One row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub struct SocStep {
    /// The row holds from this state of charge, in [0, 1], upwards.
    pub from: f32,
    /// Index of the operating point.
    pub point: usize,
}

impl SocStep {
    /// Operating point `point` from the state of charge `from`, in [0, 1], upwards.
    pub const fn new(from: f32, point: usize) -> Self {
        SocStep { from, point }
    }
}

/// A table from state of charge to operating point.
///
/// A step down is taken as soon as the state of charge falls below the row's bound, a step up only when it has risen
/// above the bound by the hysteresis. Without a believable gauge the last row holds, on external power the most accurate
/// point.
///
/// ```
/// use core::time::Duration;
/// use dyn_perceiver_core::energy::{GaugeReading, GaugeState, Governor, GovernorInput, SocStep, SocSteps};
/// let rows = [SocStep::new(0.5, 3), SocStep::new(0.2, 1), SocStep::new(0.0, 0)];
/// let mut steps = SocSteps::new(&rows, 0.02)?;
/// let input = GovernorInput::new(Duration::ZERO, GaugeState::Good(GaugeReading::new(0.4)));
/// assert_eq!(steps.choose(&input).point, 1);
/// # Ok::<(), dyn_perceiver_core::energy::StepsError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct SocSteps {
    rows: InlineVec<SocStep, MAX_STEPS>,
    hysteresis: f32,
    row: Option<usize>,
}

impl SocSteps {
    /// A table of rows by falling state of charge; the last row must start at 0. `hysteresis` is in units of SoC.
    ///
    /// # Errors
    /// [`StepsError`] without rows, with more than [`MAX_STEPS`], when bounds are outside [0, 1] or do not fall, when the
    /// last one is not 0, or when the hysteresis is outside [0, 1].
    pub fn new(rows: &[SocStep], hysteresis: f32) -> Result<Self, StepsError> {
        if !(0.0..=1.0).contains(&hysteresis) {
            return Err(StepsError::Hysteresis { hysteresis });
        }
        let mut above = f32::INFINITY;
        for (row, step) in rows.iter().enumerate() {
            if !(0.0..=1.0).contains(&step.from) || step.from >= above {
                return Err(StepsError::Bound { row, from: step.from });
            }
            above = step.from;
        }
        if above != 0.0 {
            return Err(StepsError::LastRow);
        }
        let rows = InlineVec::from_slice(rows).map_err(|_| StepsError::TooMany { rows: rows.len() })?;
        Ok(SocSteps { rows, hysteresis, row: None })
    }

    /// As many rows of equal width as there are operating points (at most [`MAX_STEPS`]), from the dearest when full to
    /// the cheapest when empty, with 2 % hysteresis.
    pub fn even(points: usize) -> Self {
        let count = points.clamp(1, MAX_STEPS);
        let row = |row: usize| {
            let left = count - 1 - row;
            // Spreads the rows over the points when there are more points than rows.
            let point = if count > 1 { left * (points - 1) / (count - 1) } else { 0 };
            SocStep { from: left as f32 / count as f32, point }
        };
        let mut rows = InlineVec::one(row(0));
        for index in 1..count {
            // Cannot fail: count is at most MAX_STEPS.
            let _ = rows.push(row(index));
        }
        SocSteps { rows, hysteresis: 0.02, row: None }
    }

    /// The rows, by falling state of charge.
    pub fn rows(&self) -> &[SocStep] {
        &self.rows
    }

    fn row_at(&self, soc: f32) -> usize {
        let holds = |(row, step): (usize, &SocStep)| {
            // A row above the present one must be entered with a margin.
            let margin = if self.row.is_some_and(|present| row < present) { self.hysteresis } else { 0.0 };
            soc >= step.from + margin
        };
        self.rows.iter().enumerate().position(holds).unwrap_or(self.last_row())
    }

    /// The row of the most accurate point.
    fn best_row(&self) -> usize {
        let rows = self.rows.iter().enumerate();
        rows.fold((0, 0), |best, (row, step)| if step.point > best.1 { (row, step.point) } else { best }).0
    }

    fn last_row(&self) -> usize {
        self.rows.len().saturating_sub(1)
    }
}

impl Governor for SocSteps {
    fn choose(&mut self, input: &GovernorInput) -> Choice {
        let (row, reason) = match input.gauge {
            GaugeState::Good(reading) => {
                let row = self.row_at(reading.soc);
                let reason = match self.row {
                    None => Reason::Start,
                    Some(present) if present == row => Reason::Hold,
                    Some(_) => Reason::Step,
                };
                (row, reason)
            }
            GaugeState::ExternalPower(_) => (self.best_row(), Reason::ExternalPower),
            GaugeState::Stale { last, .. } => (self.row.unwrap_or(self.row_at(last.soc)), Reason::StaleHold),
            GaugeState::Failed { .. } => (self.last_row(), Reason::GaugeFailed),
        };
        self.row = Some(row);
        Choice { point: self.rows.get(row).map_or(0, |step| step.point), period: None, reason }
    }
}

/// Why a table was refused.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum StepsError {
    /// More rows than [`MAX_STEPS`].
    TooMany {
        /// How many there are.
        rows: usize,
    },
    /// A bound is outside [0, 1] or not below that of the row before.
    Bound {
        /// The row, from 0.
        row: usize,
        /// What was given.
        from: f32,
    },
    /// The last row does not start at 0, or there is none.
    LastRow,
    /// The hysteresis is outside [0, 1].
    Hysteresis {
        /// What was given.
        hysteresis: f32,
    },
}

impl fmt::Display for StepsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            StepsError::TooMany { rows } => write!(f, "{rows} steps, at most {MAX_STEPS} are supported"),
            StepsError::Bound { row, from } => {
                write!(
                    f,
                    "step {row} starts at a state of charge of {from}, expected one in [0, 1] below the step before"
                )
            }
            StepsError::LastRow => f.write_str("the last step must start at a state of charge of 0"),
            StepsError::Hysteresis { hysteresis } => write!(f, "hysteresis of {hysteresis}, expected one in [0, 1]"),
        }
    }
}

impl core::error::Error for StepsError {}

#[cfg(test)]
mod tests {
    use core::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::energy::gauge::{Fault, GaugeReading};

    fn at(soc: f32) -> GovernorInput {
        GovernorInput::new(Duration::ZERO, GaugeState::Good(GaugeReading::new(soc)))
    }

    #[test]
    fn steps_hysteresis_holds_against_noise() {
        let rows = [SocStep::new(0.5, 2), SocStep::new(0.0, 0)];
        let mut steps = SocSteps::new(&rows, 0.05).unwrap();
        let points = [0.6, 0.49, 0.51, 0.54, 0.56, 0.5].map(|soc| steps.choose(&at(soc)).point);
        assert_eq!(points, [2, 0, 0, 0, 2, 2]);
        assert_eq!(steps.choose(&at(0.2)).reason, Reason::Step);
        assert_eq!(steps.choose(&at(0.2)).reason, Reason::Hold);
    }

    #[test]
    fn steps_fall_back_when_the_gauge_fails() {
        let mut steps = SocSteps::even(3);
        assert_eq!(steps.choose(&at(0.9)), Choice { point: 2, period: None, reason: Reason::Start });
        let stale =
            GaugeState::Stale { last: GaugeReading::new(0.9), age: Duration::from_secs(60), fault: Fault::Nack };
        assert_eq!(steps.choose(&GovernorInput::new(Duration::ZERO, stale)).reason, Reason::StaleHold);
        let failed = GovernorInput::new(Duration::ZERO, GaugeState::Failed { fault: Fault::Nack });
        assert_eq!(steps.choose(&failed), Choice { point: 0, period: None, reason: Reason::GaugeFailed });
    }

    #[test]
    fn steps_choose_the_most_accurate_point_on_external_power() {
        let mut steps =
            SocSteps::new(&[SocStep::new(0.5, 1), SocStep::new(0.2, 2), SocStep::new(0.0, 0)], 0.0).unwrap();
        assert_eq!(steps.choose(&at(0.1)).point, 0);
        let mains = GovernorInput::new(Duration::ZERO, GaugeState::ExternalPower(GaugeReading::new(0.1)));
        assert_eq!(steps.choose(&mains), Choice::new(2, Reason::ExternalPower));
        assert_eq!(steps.choose(&at(0.1)), Choice::new(0, Reason::Step));
    }

    #[test]
    fn steps_refuse_tables_with_holes() {
        let row = |from| SocStep { from, point: 0 };
        assert_eq!(SocSteps::new(&[], 0.0), Err(StepsError::LastRow));
        assert_eq!(SocSteps::new(&[row(0.5)], 0.0), Err(StepsError::LastRow));
        assert_eq!(SocSteps::new(&[row(0.0), row(0.0)], 0.0), Err(StepsError::Bound { row: 1, from: 0.0 }));
        assert!(SocSteps::new(&[row(f32::NAN)], 0.0).is_err());
        assert!(SocSteps::new(&[row(0.0)], f32::NAN).is_err());
    }

    proptest! {
        #[test]
        fn steps_of_even_tables_cover_all_points(points in 1usize..100, soc in -1f32..2.0) {
            let mut steps = SocSteps::even(points);
            prop_assert_eq!(SocSteps::new(steps.rows(), 0.02), Ok(steps.clone()));
            prop_assert!(steps.choose(&at(soc)).point < points);
            prop_assert_eq!(steps.choose(&at(1.0)).point, points - 1);
            prop_assert_eq!(steps.choose(&at(0.0)).point, 0);
        }
    }
}
