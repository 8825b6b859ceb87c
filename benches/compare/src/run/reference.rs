//! What every runtime has to compute.

use std::collections::BTreeMap;

use super::models::Model;
use crate::protocol::Load;
use crate::report::contest::is_ours;
use crate::result::{Device, Task};

/// Largest difference that passes as the same result, over the largest logit.
pub(super) const TOLERANCE: f64 = 1e-3;

/// The same for others, some of which approximate GELU and soft-max: MNN differs by 0.0014 on one of the networks.
pub(super) const APPROXIMATE: f64 = 2e-3;

/// Which of them holds for a runtime.
pub(super) fn tolerance(runtime: &str) -> f64 {
    if is_ours(runtime) { TOLERANCE } else { APPROXIMATE }
}

/// Logits of plain tract, which every runtime is held against.
pub(super) struct Reference(anyhow::Result<BTreeMap<String, Vec<f32>>>);

impl Reference {
    /// Computes them for the input of `load`, on the whole model.
    pub(super) fn of(model: &Model, load: &Load) -> Self {
        let whole = Load {
            model: model.whole.clone(),
            fetch: None,
            task: Task::Full,
            threads: 1,
            device: Device::Cpu,
            ..load.clone()
        };
        Reference(crate::worker::reference(&whole))
    }

    /// Largest difference over all exits, over the largest logit of the exit; infinite where an exit is missing or has
    /// another size.
    ///
    /// # Errors
    /// When tract could not run the model.
    pub(super) fn difference(&self, outputs: &BTreeMap<String, Vec<f32>>) -> anyhow::Result<f64> {
        let expected = self.0.as_ref().map_err(|error| anyhow::anyhow!("the reference failed: {error:#}"))?;
        let mut worst = if outputs.is_empty() { f64::INFINITY } else { 0.0 };
        for (name, values) in outputs {
            let Some(expected) = expected.get(name).filter(|expected| expected.len() == values.len()) else {
                return Ok(f64::INFINITY);
            };
            let largest = expected.iter().fold(0.0f32, |most, value| most.max(value.abs()));
            for (value, expected) in values.iter().zip(expected) {
                let difference = f64::from((value - expected).abs() / largest);
                // A comparison with what is no number is false, and must not pass for that.
                worst = if difference.is_nan() { f64::INFINITY } else { worst.max(difference) };
            }
        }
        Ok(worst)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_outputs_are_seen() {
        let outputs = |values: &[f32]| BTreeMap::from([("merge".to_owned(), values.to_vec())]);
        let reference = Reference(Ok(outputs(&[1.0, -4.0])));
        assert_eq!(reference.difference(&outputs(&[1.0, -4.0])).unwrap(), 0.0);
        assert_eq!(reference.difference(&outputs(&[1.0, -3.0])).unwrap(), 0.25);
        assert_eq!(reference.difference(&outputs(&[f32::NAN, -4.0])).unwrap(), f64::INFINITY);
        assert_eq!(reference.difference(&outputs(&[1.0])).unwrap(), f64::INFINITY);
        assert_eq!(reference.difference(&BTreeMap::new()).unwrap(), f64::INFINITY);
    }
}
