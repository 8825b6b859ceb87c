//! Writes the shipped model's card: accuracy per exit as this runtime measures it, costs, and how it was made.
//!
//! `cargo run --release -p compare --example model_card -- FOLDER-WITH-THE-TEST-SET`, run from the repository's root, writes
//! `accuracy.json` and `README.md` beside the model. The folder holds `t10k-images-idx3-ubyte.gz` and its labels.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use dyn_perceiver::camera::{Frame, FrameSource, IdxSource};
use dyn_perceiver::exit::Measure;
use dyn_perceiver::{Classifier, Model, Plan};
use serde_json::{Value, json};

const FOLDER: &str = "models/pretrained/fashion-mnist";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let data = std::env::args().nth(1).ok_or("usage: model_card FOLDER-WITH-THE-TEST-SET")?;
    let folder = Path::new(FOLDER);
    let plan = Arc::new(Plan::new(Model::load(folder.join("model.onnx"))?)?);
    let mut classifier = Classifier::new(plan.clone())?;
    let frames = measure(&mut classifier, folder, "frames")?;
    let test = measure(&mut classifier, Path::new(&data), "t10k")?;
    let training: Value = serde_json::from_slice(&std::fs::read(folder.join("training.json"))?)?;
    let accuracy = json!({"frames": frames, "test": test});
    std::fs::write(folder.join("accuracy.json"), format!("{accuracy:#}\n"))?;
    std::fs::write(folder.join("README.md"), card(&plan, &accuracy, &training)?)?;
    Ok(())
}

/// Accuracy of each exit over one IDX pair.
fn measure(classifier: &mut Classifier, folder: &Path, name: &str) -> Result<Value, Box<dyn std::error::Error>> {
    let labels = folder.join(format!("{name}-labels-idx1-ubyte.gz"));
    let mut source = IdxSource::open(folder.join(format!("{name}-images-idx3-ubyte.gz")), Some(&labels))?;
    let exits = classifier.runtime().plan().info().exits.clone();
    let mut right = vec![0u32; exits.len()];
    let mut count = 0u32;
    let mut frame = Frame::default();
    while source.read(&mut frame)? {
        let image = classifier.tensor(&frame)?.to_vec();
        for (right, logits) in right.iter_mut().zip(classifier.runtime().all_logits(&image)?) {
            let class = Measure::MaxSoftmax.read(&logits)?.class;
            *right += u32::from(Some(class as u32) == frame.label);
        }
        count += 1;
    }
    let share = |right: u32| f64::from(right) / f64::from(count);
    let accuracy: serde_json::Map<_, _> =
        exits.into_iter().zip(right).map(|(exit, right)| (exit, json!(share(right)))).collect();
    Ok(json!({"images": count, "accuracy": accuracy}))
}

fn card(plan: &Plan, accuracy: &Value, training: &Value) -> Result<String, std::fmt::Error> {
    let info = plan.info();
    let argument = |name: &str| training["arguments"][name].as_str().unwrap_or_default().to_string();
    let mut text = String::new();
    writeln!(text, "# Fashion-MNIST, Dyn-Perceiver with a narrow MobileNetV3\n")?;
    writeln!(
        text,
        "This page is written by `cargo run --release -p compare --example model_card -- DATA`; do not edit it.\n"
    )?;
    let parameters: u64 = plan.stages().iter().map(|stage| stage.parameters).sum();
    writeln!(
        text,
        "{} classes, input {}x{}, {parameters} parameters,",
        info.classes, info.input.height, info.input.width
    )?;
    writeln!(text, "{} bytes of ONNX, sha256 {}.\n", info.file_bytes, info.digest.hex())?;
    writeln!(
        text,
        "| exit | MACs to it | share of all | test accuracy ({} images) | on the shipped frames ({}) |",
        accuracy["test"]["images"], accuracy["frames"]["images"]
    )?;
    writeln!(text, "| --- | --- | --- | --- | --- |")?;
    let total = plan.stages().last().map_or(1, |stage| stage.cumulative_macs) as f64;
    for stage in plan.stages() {
        let percent = |part: &str| 100.0 * accuracy[part]["accuracy"][&stage.exit].as_f64().unwrap_or(f64::NAN);
        let (macs, share) = (stage.exit_alone_macs, 100.0 * stage.exit_alone_macs as f64 / total);
        writeln!(
            text,
            "| {} | {macs} | {share:.1} % | {:.2} % | {:.1} % |",
            stage.exit,
            percent("test"),
            percent("frames")
        )?;
    }
    let minutes = training["seconds"].as_f64().unwrap_or(f64::NAN) / 60.0;
    writeln!(
        text,
        "\nMACs of an exit are those it needs when no other is evaluated; accuracy is measured by this runtime.\n"
    )?;
    writeln!(text, "## How it was made\n")?;
    writeln!(
        text,
        "Trained on the first 55,000 training images for {} epochs in {minutes:.0} minutes on a shared 2-core x86-64",
        training["epochs"]
    )?;
    writeln!(
        text,
        "machine with PyTorch {}, seed {}; the last 5,000 training images are held out for calibration.",
        training["torch"].as_str().unwrap_or_default(),
        training["seed"]
    )?;
    writeln!(text, "The data is Fashion-MNIST (MIT licence), as in Debian's package dataset-fashion-mnist.\n")?;
    writeln!(text, "```sh")?;
    writeln!(text, "cd models/training && pip install -r requirements.txt")?;
    writeln!(text, "python -m dyn_perceiver_training.train --out trained --compile --threads 1 \\")?;
    writeln!(
        text,
        "  --width {} --latents {} --sa-widening {} --size {} --epochs {} --seed {}",
        argument("width"),
        argument("latents"),
        argument("sa_widening"),
        argument("size"),
        training["epochs"],
        training["seed"]
    )?;
    writeln!(text, "python -m dyn_perceiver_training.release --trained trained --out ../pretrained/fashion-mnist \\")?;
    writeln!(text, "  --logits ../../tests/fixtures/pytorch_logits.json")?;
    writeln!(text, "cd ../.. && cargo run --release -- import models/pretrained/fashion-mnist/weights.safetensors \\")?;
    writeln!(
        text,
        "  --input-size {} --mean 0.2860 --std 0.3530 --crop 1 --interpolation bilinear \\",
        argument("size")
    )?;
    writeln!(
        text,
        "  --labels models/pretrained/fashion-mnist/labels.txt -o models/pretrained/fashion-mnist/model.onnx"
    )?;
    writeln!(text, "cargo run --release -p compare --example model_card -- /usr/share/datasets/fashion-mnist")?;
    writeln!(text, "```")?;
    Ok(text)
}
