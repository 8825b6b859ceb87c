//! A fuel gauge of one's own, watched by the plausibility monitor, and a governor that steps through operating points:
//! `cargo run --release -p dyn-perceiver --example own_gauge`.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use dyn_perceiver::camera::SyntheticSource;
use dyn_perceiver::energy::{Battery, FuelGauge, GaugeReading, JoulesSource, PowerModel, SocSteps};
use dyn_perceiver::model::LoadOptions;
use dyn_perceiver::pipeline::{BatteryCapacity, PipelineConfig};
use dyn_perceiver::sensors::{AnySensorError, any_gauge};
use dyn_perceiver::{Pipeline, Plan, policy_file};

const FOLDER: &str = "models/pretrained/fashion-mnist";

/// A battery behind a sensor of one's own: here it loses a thousandth of its charge at each reading.
struct OwnGauge {
    soc: f32,
}

impl FuelGauge for OwnGauge {
    type Error = AnySensorError;

    fn read(&mut self) -> Result<GaugeReading, AnySensorError> {
        self.soc = (self.soc - 0.001).max(0.0);
        Ok(GaugeReading::new(self.soc).with_volts(3.3 + 0.9 * self.soc))
    }
}

/// Runs the example.
#[allow(unreachable_pub, reason = "a test runs it too")]
pub fn main() -> Result<(), Box<dyn std::error::Error>> {
    let plan = Arc::new(Plan::load(format!("{FOLDER}/model.onnx"), &LoadOptions::default())?);
    let policy = policy_file::load(&Path::new(FOLDER).join("policy.json"))?;
    let points: Vec<_> = policy.frontier().points().iter().map(|point| point.policy.clone()).collect();
    let power = PowerModel::new(2.5, &vec![0.004; plan.stages().len()], JoulesSource::Modelled)?;

    let governor = SocSteps::even(points.len());
    let config = PipelineConfig::new(points, power, Battery::new(1000.0)).with_period(Duration::from_millis(1));
    let source = SyntheticSource::new(64, 64).with_count(100);
    let gauge = any_gauge(OwnGauge { soc: 0.8 });
    let mut pipeline = Pipeline::new(source, governor, plan, config)?.with_gauge(gauge, BatteryCapacity::Unknown);
    let mut last = None;
    while let Some(step) = pipeline.step()? {
        last = Some(step);
    }
    if let Some(step) = last {
        println!("state of charge {:?}, operating point {}: {}", step.soc, step.choice.point, step.choice.reason);
    }
    Ok(())
}
