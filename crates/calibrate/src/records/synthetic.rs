//! Synthetic records whose best policies are known exactly.

use dyn_perceiver_core::exit::{CostUnit, ModelDigest};

use super::costs::{CostError, Costs};
use super::samples::{ExitReading, Records};
use crate::random::Random;

/// Classes of synthetic records.
const CLASSES: u32 = 10;

/// A network whose exits are surer or less sure at random: confidence c_k at exit k is uniform in [0, 1], independent
/// between exits, and P(right at k | c_k) = `floors[k]` + (1 - `floors[k]`) c_k. One number per sample, uniform in
/// [0, 1], is compared with these probabilities, so that exits tend to be right about the same samples.
#[derive(Clone, Debug, PartialEq)]
pub struct Synthetic {
    /// Cost of leaving at each exit, increasing; exits are nested.
    cumulative: Vec<f64>,
    /// Probability that an exit is right when it is least sure, in [0, 1].
    floors: Vec<f64>,
}

/// What the best policy of all gives at some price.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Optimum {
    /// Expected accuracy.
    pub accuracy: f64,
    /// Expected cost.
    pub cost: f64,
    /// Confidence from which to leave at each exit.
    pub thresholds: Vec<f64>,
}

impl Synthetic {
    /// A network with an exit at each cumulative cost; `floors` has one entry for each.
    #[cfg(test)]
    pub(crate) fn new(cumulative: Vec<f64>, floors: Vec<f64>) -> Self {
        Synthetic { cumulative, floors }
    }

    /// Four exits, each better than the one before.
    pub fn four_exits() -> Self {
        Synthetic { cumulative: vec![10.0, 17.0, 25.0, 40.0], floors: vec![0.35, 0.55, 0.7, 0.85] }
    }

    /// Draws records. Maximum soft-max is 0.1 + 0.9 c, margin c and entropy c squared: they order samples alike.
    ///
    /// # Errors
    /// [`CostError`] when costs decrease or are no numbers.
    pub fn records(&self, samples: usize, seed: u64) -> Result<Records, CostError> {
        let costs = Costs::cumulative(CostUnit::Macs, &self.cumulative)?;
        let names = (1..=self.floors.len()).map(|k| format!("exit{k}")).collect();
        let mut records = Records::new(ModelDigest([0; 32]), names, CLASSES as usize, costs);
        let mut random = Random::new(seed);
        for sample in 0..samples {
            let label = random.below(CLASSES as usize) as u32;
            let luck = random.uniform();
            let reading = |&floor: &f64| {
                let c = random.uniform();
                let right = luck < floor + (1.0 - floor) * c;
                let class = if right { label } else { (label + 1) % CLASSES };
                ExitReading::new(class, [(0.1 + 0.9 * c) as f32, (c * c) as f32, c as f32])
            };
            let readings: Vec<ExitReading> = self.floors.iter().map(reading).collect();
            records.append(sample.to_string(), label, &readings);
        }
        Ok(records)
    }

    /// The best that any policy can do at a price, from first principles: at the last exit V = P(right) - price x cost,
    /// before it V_k = E max(P(right | c_k) - price x cost_k, V_k+1).
    pub fn optimum(&self, price: f64) -> Optimum {
        let mut best: Option<Optimum> = None;
        // Leaving exits out saves nothing here, but stopping the network at an earlier exit may.
        for last in 0..self.floors.len() {
            let floor = self.floors[last];
            let mut at = Optimum { accuracy: (1.0 + floor) / 2.0, cost: self.cumulative[last], thresholds: vec![0.0] };
            for exit in (0..last).rev() {
                let (floor, cost) = (self.floors[exit], self.cumulative[exit]);
                let value = at.accuracy - price * at.cost;
                let slope = 1.0 - floor;
                let threshold =
                    if slope > 0.0 { ((value + price * cost - floor) / slope).clamp(0.0, 1.0) } else { 0.0 };
                let leaves = 1.0 - threshold;
                let right = floor * leaves + slope * (1.0 - threshold * threshold) / 2.0;
                at.accuracy = right + threshold * at.accuracy;
                at.cost = leaves * cost + threshold * at.cost;
                at.thresholds.insert(0, threshold);
            }
            let value = |o: &Optimum| o.accuracy - price * o.cost;
            if best.as_ref().is_none_or(|best| value(&at) > value(best)) {
                best = Some(at);
            }
        }
        best.unwrap_or(Optimum { accuracy: 0.0, cost: 0.0, thresholds: vec![] })
    }

    /// The best accuracy that any policy, or mix of policies, can have at a mean cost: the lowest, over prices, of what
    /// the best policy at that price says is possible.
    pub fn best_accuracy(&self, cost: f64) -> f64 {
        let scale = self.cumulative.last().copied().unwrap_or(1.0);
        (0..4000)
            .map(|i| 1e-6 * 1.005f64.powi(i) / scale)
            .map(|price| {
                let at = self.optimum(price);
                at.accuracy + price * (cost - at.cost)
            })
            .fold(f64::INFINITY, f64::min)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluate::{PolicySummary, replay};
    use dyn_perceiver_core::exit::{ExitPolicy, Measure};

    #[test]
    fn synthetic_optimum_is_what_its_thresholds_give() {
        let network = Synthetic::four_exits();
        let records = network.records(200_000, 1).unwrap();
        for price in [0.0, 0.002, 0.005, 0.01, 0.02] {
            let best = network.optimum(price);
            let thresholds: Vec<f32> = best.thresholds.iter().take(3).map(|&t| t as f32).collect();
            if best.thresholds.len() < 4 {
                continue;
            }
            let policy = ExitPolicy::with_thresholds(Measure::Margin, 4, &thresholds).unwrap();
            let summary =
                PolicySummary::of(&policy, records.costs(), &replay(&policy, &records, &records.rows()).unwrap());
            assert!((summary.accuracy - best.accuracy).abs() < 0.003, "{summary:?} {best:?}");
            assert!((summary.cost - best.cost).abs() < 0.1, "{summary:?} {best:?}");
        }
    }
}
