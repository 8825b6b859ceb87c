//! tract by itself on the whole graph: what a user of tract would write.

use std::collections::BTreeMap;

use anyhow::Context as _;
use tract_onnx::prelude::*;

use super::Engine;
use crate::protocol::Load;
use crate::result::Device;

/// The version that the workspace pins.
pub(super) const VERSION: &str = "0.23.9";

/// One plan for the whole graph.
pub(super) struct Whole {
    plan: Arc<TypedSimplePlan>,
    names: Vec<String>,
    input: TValue,
}

impl Whole {
    pub(super) fn load(request: &Load, input: Vec<f32>) -> anyhow::Result<Self> {
        anyhow::ensure!(request.device == Device::Cpu, "tract is compared on the processor");
        anyhow::ensure!(request.threads == 1, "plain tract computes on one thread");
        let mut model = tract_onnx::onnx()
            .with_ignore_output_shapes(true)
            .model_for_path(&request.model)?
            .with_input_fact(0, f32::fact(request.shape).into())?;
        if let Some(name) = &request.fetch {
            let outputs = model.outputs.iter().copied();
            let wanted = outputs.filter(|&outlet| name_of(&model, outlet) == *name).collect::<Vec<_>>();
            model.select_output_outlets(&wanted)?;
        }
        let names = model.outputs.iter().map(|&outlet| name_of(&model, outlet)).collect();
        let plan = model.into_optimized()?.into_runnable()?;
        let input = Tensor::from_shape(&request.shape, &input)?.into_tvalue();
        Ok(Whole { plan, names, input })
    }
}

fn name_of(model: &InferenceModel, outlet: OutletId) -> String {
    model.outlet_label(outlet).unwrap_or(&model.nodes[outlet.node].name).to_owned()
}

impl Engine for Whole {
    fn run(&mut self) -> anyhow::Result<()> {
        self.plan.run(tvec!(self.input.clone()))?;
        Ok(())
    }

    fn outputs(&mut self) -> anyhow::Result<BTreeMap<String, Vec<f32>>> {
        let outputs = self.plan.run(tvec!(self.input.clone()))?;
        let values = |value: TValue| -> anyhow::Result<Vec<f32>> {
            Ok(value.try_as_plain_ram().context("an output in memory")?.as_slice::<f32>()?.to_vec())
        };
        self.names.iter().cloned().zip(outputs).map(|(name, value)| Ok((name, values(value)?))).collect()
    }
}
