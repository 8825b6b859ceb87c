//! The model that the program carries: what its card says, and what is promised of its exits.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use dyn_perceiver::camera::{FrameSource as _, MemoryImage, MemorySource};
use dyn_perceiver::exit::Measure;
use dyn_perceiver::frame::PixelFormat;
use dyn_perceiver::learn::NONE_OF_THESE;
use dyn_perceiver::{Classifier, Frame, LoadOptions, Model, Plan, collect, policy_file};
use dyn_perceiver_models::pretrained;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("models/pretrained/clothing")
}

#[test]
fn the_built_in_model_keeps_its_promises() {
    let model = std::fs::metadata(folder().join("model.onnx")).unwrap().len();
    let all: u64 = std::fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len()).sum();
    assert!(model < 12_000_000 && all <= 14_000_000, "{model} and {all} bytes");
    let plan = Arc::new(Plan::new(Model::load(folder().join("model.onnx")).unwrap()).unwrap());
    let stages = plan.stages();
    assert_eq!(plan.info().exits, ["early3", "att", "cnn", "merge"]);
    assert!(stages[0].exit_alone_macs as f64 <= 0.4 * stages[3].cumulative_macs as f64);
    let names = plan.info().labels.clone().unwrap();
    assert_eq!(names, pretrained::LABELS.lines().collect::<Vec<_>>());

    // What the card says of the test photos was measured by this runtime; of the photos that are shipped it is here again.
    let card: serde_json::Value =
        serde_json::from_slice(&std::fs::read(folder().join("accuracy.json")).unwrap()).unwrap();
    let test = |exit: &str| card["test"]["accuracy"][exit].as_f64().unwrap();
    assert!(test("merge") >= 0.915 && test("merge") - test("early3") >= 0.08);
    let adaptive = &card["adaptive"];
    assert!(adaptive["accuracy"].as_f64().unwrap() >= test("merge") - 0.005);
    assert!(adaptive["macs"].as_f64().unwrap() <= 0.75 * stages[3].exit_alone_macs as f64);

    let mut classifier = Classifier::new(plan.clone()).unwrap();
    let photos = pretrained::photos();
    let count = photos.len();
    let images = photos.into_iter().map(|photo| MemoryImage::new("photo", photo.jpeg, Some(photo.label)));
    let mut source = MemorySource::new(images.collect());
    let mut frame = Frame::default();
    let mut right = [0; 4];
    while source.read(&mut frame).unwrap() {
        let image = classifier.tensor(&frame).unwrap().to_vec();
        for (right, logits) in right.iter_mut().zip(classifier.runtime().all_logits(&image).unwrap()) {
            right_if(right, &logits, frame.label);
        }
    }
    assert_eq!(card["frames"]["images"], count);
    for (exit, right) in plan.info().exits.iter().zip(right) {
        assert_eq!(f64::from(right) / count as f64, card["frames"]["accuracy"][exit].as_f64().unwrap(), "{exit}");
    }
}

#[test]
fn the_built_in_model_says_none_of_these_where_it_is_asked_to() {
    let bytes = pretrained::model_with_none().unwrap();
    let plan = Arc::new(Plan::new(Model::from_bytes(bytes, "clothes", &LoadOptions::default()).unwrap()).unwrap());
    let labels = plan.info().labels.clone().unwrap();
    assert_eq!(labels[..10], pretrained::LABELS.lines().collect::<Vec<_>>());
    assert_eq!(labels[10], NONE_OF_THESE);
    let policy = policy_file::parse(pretrained::NONE_POLICY, Path::new("clothes")).unwrap();
    let points = policy.for_model(collect::digest(&plan)).unwrap().points();
    let whole = &points.last().unwrap().policy;

    let mut classifier = Classifier::new(plan.clone()).unwrap();
    let photos = pretrained::photos();
    let count = photos.len();
    let images = photos.into_iter().map(|photo| MemoryImage::new("photo", photo.jpeg, Some(photo.label)));
    let mut source = MemorySource::new(images.collect());
    let (mut frame, mut withheld) = (Frame::default(), 0);
    while source.read(&mut frame).unwrap() {
        withheld += usize::from(classifier.classify_with(&frame, whole).unwrap().class == 10);
    }
    assert!(withheld * 20 <= count, "{withheld} of {count} clothes are called none of these");
    let stripes = |i: usize| if (i / 7).is_multiple_of(2) { 250 } else { 10 };
    let other = Frame::new((0..200 * 200 * 3).map(stripes).collect(), PixelFormat::Rgb, 200, 200);
    assert_eq!(classifier.classify_with(&other, whole).unwrap().class, 10);
}

fn right_if(right: &mut u32, logits: &[f32], label: Option<u32>) {
    let class = Measure::MaxSoftmax.read(logits).unwrap().class;
    *right += u32::from(Some(class as u32) == label);
}
