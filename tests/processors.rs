//! The shipped model answers alike on every processor: the same exits, and logits within 1e-4 of those that an x86-64
//! processor gave. `cargo xtask emulated-tests` runs this for the processors of boards.
//!
//! The answers are in `tests/fixtures/shipped_logits.json`; `WRITE_FIXTURES=1 cargo test -p dyn-perceiver --test processors` on x86-64 writes
//! them anew after the shipped model has changed.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use dyn_perceiver::Classifier;
use dyn_perceiver::camera::{Frame, FrameSource as _, IdxSource};
use dyn_perceiver::exit::{ExitPolicy, Measure};
use dyn_perceiver::model::Model;
use dyn_perceiver::plan::Plan;
use serde::{Deserialize, Serialize};

const FRAMES: usize = 64;
const THRESHOLDS: [f32; 3] = [0.9; 3];
const TOLERANCE: f32 = 1e-4;

#[derive(Deserialize, Serialize)]
struct Answer {
    /// Index of the exit at which the policy leaves.
    exit: usize,
    class: usize,
    /// Per exit.
    logits: Vec<Vec<f32>>,
}

fn at(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn answers() -> Vec<Answer> {
    let folder = at("models/pretrained/fashion-mnist");
    let plan = Arc::new(Plan::new(Model::load(folder.join("model.onnx")).unwrap()).unwrap());
    let policy = ExitPolicy::with_thresholds(Measure::MaxSoftmax, plan.stages().len(), &THRESHOLDS).unwrap();
    let mut classifier = Classifier::new(plan).unwrap();
    let mut source = IdxSource::open(folder.join("frames-images-idx3-ubyte.gz"), None).unwrap();
    let mut frame = Frame::default();
    (0..FRAMES)
        .map(|_| {
            assert!(source.read(&mut frame).unwrap());
            let outcome = classifier.classify_with(&frame, &policy).unwrap();
            let image = classifier.tensor(&frame).unwrap().to_vec();
            let logits = classifier.runtime().all_logits(&image).unwrap();
            Answer { exit: outcome.exit, class: outcome.class, logits }
        })
        .collect()
}

#[test]
fn exits_and_logits_are_those_of_x86() {
    let path = at("tests/fixtures/shipped_logits.json");
    let found = answers();
    if std::env::var_os("WRITE_FIXTURES").is_some() && cfg!(target_arch = "x86_64") {
        std::fs::write(&path, serde_json::to_string(&found).unwrap() + "\n").unwrap();
    }
    let expected: Vec<Answer> = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    assert_eq!(expected.len(), FRAMES);
    let exits: std::collections::BTreeSet<usize> = expected.iter().map(|answer| answer.exit).collect();
    assert!(exits.len() > 1, "frames that all leave at one exit show nothing");
    let mut largest = 0f32;
    for (frame, (found, expected)) in found.iter().zip(&expected).enumerate() {
        assert_eq!((found.exit, found.class), (expected.exit, expected.class), "frame {frame}");
        assert_eq!(found.logits.len(), expected.logits.len());
        for (found, expected) in found.logits.iter().zip(&expected.logits) {
            assert_eq!(found.len(), expected.len());
            largest = found.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(largest, f32::max);
        }
    }
    println!("largest difference of a logit: {largest:e}");
    assert!(largest <= TOLERANCE, "a logit differs by {largest:e}");
}
