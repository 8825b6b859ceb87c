//! Many images at once, each wholly on one thread: `cargo run --release -p dyn-perceiver --example batch`.

use std::num::NonZeroUsize;
use std::sync::Arc;

use dyn_perceiver::camera::{FrameSource as _, IdxSource};
use dyn_perceiver::exit::Measure;
use dyn_perceiver::model::LoadOptions;
use dyn_perceiver::runtime::BatchRuntime;
use dyn_perceiver::{Classifier, ExitPolicy, Plan, Result};

const FOLDER: &str = "models/pretrained/fashion-mnist";
const IMAGES: usize = 64;

/// Runs the example.
#[allow(unreachable_pub, reason = "a test runs it too")]
pub fn main() -> Result<()> {
    let plan = Arc::new(Plan::load(format!("{FOLDER}/model.onnx"), &LoadOptions::default())?);
    let policy = ExitPolicy::with_thresholds(Measure::MaxSoftmax, plan.stages().len(), &[0.9, 0.9, 0.9])?;

    // One tensor after another, NCHW.
    let mut classifier = Classifier::new(plan.clone())?;
    let mut frames = IdxSource::open(format!("{FOLDER}/frames-images-idx3-ubyte.gz"), None)?;
    let mut images = vec![];
    for _ in 0..IMAGES {
        let Some(frame) = frames.next()? else { break };
        images.extend_from_slice(classifier.tensor(&frame)?);
    }

    let threads = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    let mut runtime = BatchRuntime::new(plan.clone())?.with_threads(threads)?;
    let outcomes = runtime.run(&images, &policy)?;
    for (exit, name) in plan.info().exits.iter().enumerate() {
        let left = outcomes.iter().filter(|outcome| outcome.exit == exit).count();
        println!("{left:>3} of {} images left at {name}", outcomes.len());
    }
    Ok(())
}
