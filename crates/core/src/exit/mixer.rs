//! Error-diffusion dithering between two neighbouring operating points, so that mean cost meets a budget.

use super::{Frontier, Mix};

/// Frames over which a difference between budget and real cost is made up for.
const HORIZON: f32 = 64.0;

/// Chooses the operating point of every frame so that mean cost meets a budget.
///
/// The two points around the budget alternate by error diffusion, the same sequence every time. What frames really cost,
/// told by [`Mixer::spent`], is compared with the budget, and the difference is made up for over the next frames, so that
/// the mean is right even where frames are harder than those calibrated on. When nothing is told, expected costs count.
///
/// ```
/// # use dyn_perceiver_core::exit::{CostUnit, ExitPolicy, Frontier, Measure, Mixer, OperatingPoint};
/// # let policy = |threshold| ExitPolicy::with_thresholds(Measure::MaxSoftmax, 2, &[threshold]).unwrap();
/// # let point = |threshold, accuracy, cost| OperatingPoint::new(policy(threshold), accuracy, cost, &[0.5, 0.5]).unwrap();
/// # let frontier = Frontier::new(CostUnit::Joules, &[point(0.2, 0.8, 1.0), point(0.9, 0.9, 2.0)]).unwrap();
/// let mut mixer = Mixer::new(1.25);
/// let points: Vec<usize> = (0..8).map(|_| mixer.next_point(&frontier)).collect();
/// assert_eq!(points.iter().filter(|&&point| point == 1).count(), 2);
/// ```
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Mixer {
    budget: f32,
    debt: f32,
    carry: f32,
}

impl Mixer {
    /// A mixer for a budget per frame, in the frontier's unit.
    pub fn new(budget: f32) -> Self {
        Mixer { budget, debt: 0.0, carry: 0.0 }
    }

    /// The budget in force.
    pub fn budget(&self) -> f32 {
        self.budget
    }

    /// Aims at another budget from the next frame on; what was over- or underspent before is forgotten.
    pub fn set_budget(&mut self, budget: f32) {
        *self = Mixer { carry: self.carry, ..Mixer::new(budget) };
    }

    /// Index of the operating point for the next frame.
    pub fn next_point(&mut self, frontier: &Frontier) -> usize {
        let Mix { low, high, share_of_high } = frontier.mix(self.budget - self.debt / HORIZON);
        self.carry += share_of_high;
        // Half, so that the first frame already takes the nearer point.
        if self.carry >= 0.5 && high != low {
            self.carry -= 1.0;
            high
        } else {
            low
        }
    }

    /// Takes in what a frame really cost. Anything but a finite number is ignored.
    pub fn spent(&mut self, cost: f32) {
        if cost.is_finite() && self.budget.is_finite() {
            // A budget outside the frontier cannot be met: its debt must not grow without bound.
            let limit = HORIZON * self.budget.abs();
            self.debt = (self.debt + cost - self.budget).clamp(-limit, limit);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::frontier::tests::three;
    use super::*;

    #[test]
    fn expected_cost_meets_the_budget() {
        let frontier = three();
        for budget in [10.0, 11.0, 17.3, 20.0, 29.9, 40.0] {
            let mut mixer = Mixer::new(budget);
            let total: f32 = (0..1000).map(|_| frontier.points()[mixer.next_point(&frontier)].cost).sum();
            assert!((total / 1000.0 - budget).abs() < 0.05, "{budget}: {}", total / 1000.0);
        }
    }

    #[test]
    fn real_cost_meets_the_budget_when_frames_are_harder_than_expected() {
        let frontier = three();
        let mut mixer = Mixer::new(25.0);
        let mut total = 0.0;
        for frame in 0..5000 {
            let noise = if frame % 3 == 0 { 1.6 } else { 1.1 };
            let cost = frontier.points()[mixer.next_point(&frontier)].cost * noise;
            mixer.spent(cost);
            total += cost;
        }
        assert!((total / 5000.0 - 25.0).abs() < 0.25, "{}", total / 5000.0);
    }

    #[test]
    fn senseless_numbers_keep_to_the_frontier() {
        let frontier = three();
        for budget in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -1.0, 0.0, f32::MAX] {
            let mut mixer = Mixer::new(budget);
            for cost in [f32::NAN, f32::INFINITY, -1.0, f32::MAX, 0.0] {
                assert!(mixer.next_point(&frontier) < 3);
                mixer.spent(cost);
            }
        }
    }
}
