//! The library in a dozen lines: `cargo run --release --example classify -- IMAGE`.

use std::sync::Arc;

use dyn_perceiver::camera::{FrameSource as _, ImageSource};
use dyn_perceiver::exit::{ExitPolicy, Measure};
use dyn_perceiver::{Classifier, Model, Plan};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args().nth(1).ok_or("usage: classify IMAGE")?;
    let plan = Arc::new(Plan::new(Model::load("models/pretrained/fashion-mnist/model.onnx")?)?);
    let policy = ExitPolicy::with_thresholds(Measure::MaxSoftmax, plan.stages().len(), &[0.9, 0.9, 0.9])?;
    let frame = ImageSource::open(&path)?.next()?.ok_or("no image")?;
    let outcome = Classifier::new(plan.clone())?.classify(&frame, &policy)?;
    let label = plan.info().labels.as_ref().and_then(|labels| labels.get(outcome.class));
    println!("{path}: {label:?} at exit {}", plan.info().exits[outcome.exit]);
    Ok(())
}
