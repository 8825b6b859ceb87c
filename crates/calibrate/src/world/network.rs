//! The networks of the world: what each exit makes of easy and hard samples, as records to calibrate on.

use dyn_perceiver_core::exit::{CostUnit, ModelDigest};

use super::chance::gauss;
use crate::records::{CostError, Costs, ExitReading, Records};

/// A network of four exits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Network {
    /// Exits that are right nearly equally often, 76 to 79 %, the first for 45 % of the work: a small task.
    Even,
    /// Exits that are right 62 to 88 % of the time, the first for 25 % of the work.
    Steep,
}

const CLASSES: u32 = 10;

impl Network {
    /// (cost, share that is wrong of the hardest samples), exit by exit.
    const fn exits(self) -> [(f64, f64); 4] {
        match self {
            Network::Even => [(18.0, 0.70), (25.0, 0.66), (31.0, 0.645), (40.0, 0.62)],
            Network::Steep => [(10.0, 1.1), (17.0, 0.75), (25.0, 0.52), (40.0, 0.33)],
        }
    }

    /// Draws records of samples whose hardness is uniform: what is hard is hard for every exit, and makes it less sure.
    ///
    /// # Errors
    /// [`CostError`] when costs decrease or are no numbers.
    pub fn records(self, samples: usize, seed: u64) -> Result<Records, CostError> {
        let exits = self.exits();
        let costs = Costs::cumulative(CostUnit::Macs, &exits.map(|exit| exit.0))?;
        let names = (1..=exits.len()).map(|k| format!("exit{k}")).collect();
        let mut records = Records::new(ModelDigest([0; 32]), names, CLASSES as usize, costs);
        let mut rng = fastrand::Rng::with_seed(seed);
        for sample in 0..samples {
            let (label, hardness, luck) = (rng.u32(..CLASSES), rng.f64(), rng.f64());
            let readings = exits.map(|(_, wrong)| {
                // Half of the luck is the sample's, half the exit's.
                let luck = if rng.bool() { luck } else { rng.f64() };
                let right = luck < 0.99 - wrong * hardness * hardness;
                let class = if right { label } else { (label + 1) % CLASSES };
                let sure =
                    1.0 - wrong * hardness.powf(1.5) * 0.8 + 0.12 * gauss(&mut rng) + if right { 0.05 } else { -0.1 };
                let sure = sure.clamp(0.0, 1.0);
                ExitReading::new(class, [(0.1 + 0.9 * sure) as f32, (sure * sure) as f32, sure as f32])
            });
            records.append(sample.to_string(), label, &readings);
        }
        Ok(records)
    }
}
