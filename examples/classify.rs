//! The library in a dozen lines: `cargo run --release -p dyn-perceiver --example classify -- IMAGE...`.

use dyn_perceiver::camera::{FrameSource as _, ImageSource};
use dyn_perceiver::{Classifier, Result};

const MODEL: &str = "models/pretrained/fashion-mnist/model.onnx";

/// Runs the example.
fn main() -> Result<()> {
    let mut classifier = Classifier::builder(MODEL).thresholds([0.9, 0.9, 0.9]).threads(2).build()?;
    let mut images: Vec<_> = std::env::args_os().skip(1).collect();
    if images.is_empty() {
        images.push("tests/fixtures/ankle_boot.png".into());
    }
    for path in images {
        let Some(frame) = ImageSource::open(&path)?.next()? else { continue };
        println!("{}: {}", path.to_string_lossy(), classifier.classify(&frame)?);
    }
    Ok(())
}
