//! A camera loop on a modelled battery, with operating points that follow the state of charge:
//! `cargo run --release -p dyn-perceiver --example camera_loop`.

use std::sync::Arc;
use std::time::Duration;

use dyn_perceiver::camera::SyntheticSource;
use dyn_perceiver::energy::{Battery, JoulesSource, PowerModel, SocSteps};
use dyn_perceiver::exit::Measure;
use dyn_perceiver::model::LoadOptions;
use dyn_perceiver::pipeline::{PipelineConfig, Summary};
use dyn_perceiver::{ExitPolicy, Pipeline, Plan};

const MODEL: &str = "models/pretrained/fashion-mnist/model.onnx";

/// Runs the example.
#[allow(unreachable_pub, reason = "a test runs it too")]
pub fn main() -> Result<(), Box<dyn std::error::Error>> {
    let plan = Arc::new(Plan::load(MODEL, &LoadOptions::default())?);
    let exits = plan.stages().len();
    // Cheapest first: leave at once, then only when sure.
    let points = [0.0, 0.7, 0.95].map(|t| ExitPolicy::with_thresholds(Measure::MaxSoftmax, exits, &vec![t; exits - 1]));
    let points: Vec<ExitPolicy> = points.into_iter().collect::<Result<_, _>>()?;

    // Joules of each stage, as `dyn-perceiver profile` measures them on a board; 2.5 W idle.
    let power = PowerModel::new(2.5, &vec![0.004; exits], JoulesSource::Modelled)?;
    let governor = SocSteps::even(points.len());
    let config = PipelineConfig::new(points, power, Battery::new(0.2)).with_period(Duration::from_millis(2));

    // In place of a device: `camera::open("/dev/video0", CameraRequest::default())?`.
    let source = SyntheticSource::new(64, 64).with_count(200);
    let names = plan.info().exits.clone();
    let mut pipeline = Pipeline::new(source, governor, plan, config)?;
    let mut summary = Summary::new(&names);
    while let Some(step) = pipeline.step()? {
        summary.add(&step);
    }
    let charge = pipeline.battery().map_or(1.0, Battery::soc);
    println!("{} frames until {:.0} % charge", summary.frames(), 100.0 * charge);
    for exit in summary.exits() {
        println!("{:>4} frames left at {}", exit.frames, exit.exit);
    }
    Ok(())
}
