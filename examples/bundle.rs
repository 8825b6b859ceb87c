//! Compiling a model ahead of time, with its policy, and starting from the bundle: `cargo run --release -p dyn-perceiver --example bundle`.

use std::path::Path;
use std::time::Instant;

use dyn_perceiver::bundle::{self, Target};
use dyn_perceiver::{Classifier, Model, Result, policy_file};

const FOLDER: &str = "models/pretrained/fashion-mnist";

/// Runs the example.
#[allow(unreachable_pub, reason = "a test runs it too")]
pub fn main() -> Result<()> {
    let model = Model::load(format!("{FOLDER}/model.onnx"))?;
    let policy = policy_file::load(Path::new(FOLDER).join("policy.json").as_path())?;
    let path = std::env::temp_dir().join(format!("example-{}.dynp", std::process::id()));
    let compiled = bundle::compile(model, Some(policy), Target::host(), &path)?;
    println!("{} bytes, {} of them packed weights", compiled.bytes, compiled.weight_bytes);

    // On the board: no ONNX, no optimisation; the weights stay in the mapped file.
    let began = Instant::now();
    let mut classifier = Classifier::builder(&path).build()?;
    println!("ready after {:.1} ms", 1e3 * began.elapsed().as_secs_f64());
    let image = vec![0.5; classifier.plan().info().input.len()];
    println!("{}", classifier.classify(&image)?);
    // A temporary file that stays behind does no harm.
    let _ = std::fs::remove_file(path);
    Ok(())
}
