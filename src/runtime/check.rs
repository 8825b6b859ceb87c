//! Running a plan once before it is relied on.

use std::sync::Arc;

use super::{RunError, Runtime};
use crate::plan::Plan;

impl Plan {
    /// Runs two made-up images through every exit: what can be loaded can still hold an operator that fails when it runs.
    /// Gives what a user should be told of the logits, each a sentence without a full stop.
    ///
    /// # Errors
    /// [`RunError`] when an exit cannot be computed. Logits that are not finite are none: they may depend on the image.
    pub fn check(self: &Arc<Self>) -> Result<Vec<String>, RunError> {
        let info = self.info();
        let mut runtime = Runtime::new(self.clone())?;
        let mut sums_to_one = vec![true; info.exits.len()];
        for seed in [2_654_435_761_u32, 2_246_822_519] {
            let pixel = |place: usize| ((place as u32).wrapping_mul(seed) >> 16) as f32 / 65_536.0;
            let image: Vec<f32> = (0..info.input.len()).map(pixel).collect();
            for (sums_to_one, logits) in sums_to_one.iter_mut().zip(runtime.all_logits(&image)?) {
                let row = logits.get(..info.classes).unwrap_or_default();
                let share = row.iter().all(|value| (0.0..=1.0).contains(value));
                *sums_to_one &= share && (row.iter().sum::<f32>() - 1.0).abs() < 1e-3;
            }
        }
        let told = info.exits.iter().zip(sums_to_one).filter(|(_, sums_to_one)| *sums_to_one);
        Ok(told
            .map(|(exit, _)| format!("exit {exit:?} seems to give probabilities where logits are expected"))
            .collect())
    }
}
