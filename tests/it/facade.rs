//! The facade: a model file and an image to a label.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use dyn_perceiver::camera::{FrameSource as _, ImageSource};
use dyn_perceiver::exit::{ExitPolicy, Measure};
use dyn_perceiver::model::{LoadOptions, Model};
use dyn_perceiver::runtime::{RunError, Runtime};
use dyn_perceiver::{Classifier, ClassifierBuilder, Error, Plan, bundle, policy_file};

use crate::graphs::Graph;

fn repository() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn model() -> PathBuf {
    repository().join("models/pretrained/fashion-mnist/model.onnx")
}

fn boot() -> PathBuf {
    repository().join("tests/fixtures/ankle_boot.png")
}

#[test]
fn classifier_gives_label_and_exit_of_frame_image_and_tensor_alike() {
    let mut classifier = Classifier::builder(model()).thresholds([0.9, 0.9, 0.9]).threads(2).build().unwrap();
    let frame = ImageSource::open(boot()).unwrap().next().unwrap().unwrap();
    let of_frame = classifier.classify(&frame).unwrap();
    assert_eq!((&*of_frame.label, &*of_frame.exit, of_frame.exited_early), ("Ankle boot", "early3", true));
    let image = image::open(boot()).unwrap().into_rgb8();
    let of_image = classifier.classify(&image).unwrap();
    assert_eq!((of_image.class, of_image.confidence), (of_frame.class, of_frame.confidence));
    let tensor = classifier.tensor(&frame).unwrap().to_vec();
    let of_tensor = classifier.classify(&tensor).unwrap();
    assert_eq!((of_tensor.class, of_tensor.confidence), (of_frame.class, of_frame.confidence));
    assert!(of_frame.to_string().starts_with("Ankle boot ("), "{of_frame}");
}

#[test]
fn classifier_takes_a_bundle_and_its_policy() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.dynp");
    let policy = policy_file::load(&model().with_file_name("policy.json")).unwrap();
    let best = policy.frontier().points().last().unwrap().policy.clone();
    bundle::compile(Model::load(model()).unwrap(), Some(policy), bundle::Target::host(), &path).unwrap();
    let of_bundle = Classifier::builder(&path).build().unwrap();
    assert_eq!(*of_bundle.policy(), best);
    let of_file = Classifier::builder(model()).policy_file(model().with_file_name("policy.json")).build().unwrap();
    assert_eq!(*of_file.policy(), best);
}

#[test]
fn classifiers_share_a_plan() {
    let plan = Arc::new(Plan::load(model(), &LoadOptions::default()).unwrap());
    let mut first = Classifier::new(plan.clone()).unwrap();
    let only_last = ExitPolicy::only(3, 4).unwrap();
    let mut second = ClassifierBuilder::from(plan.clone()).policy(only_last).build().unwrap();
    let image = vec![0.25; plan.info().input.len()];
    assert!(!second.classify(&image).unwrap().exited_early);
    assert_eq!(&*second.classify(&image).unwrap().exit, "merge");
    assert_eq!(first.plan().info().exits.len(), 4);
    first.classify(&image).unwrap();
}

#[test]
fn errors_of_each_layer_become_one_and_say_each_cause_once() {
    let error = Classifier::builder("/no/such.onnx").build().unwrap_err();
    let mut causes = vec![error.to_string()];
    let mut cause: &dyn std::error::Error = &error;
    while let Some(next) = cause.source() {
        causes.push(next.to_string());
        cause = next;
    }
    assert_eq!(causes.len(), 2, "{causes:?}");
    assert!(causes[0].contains("/no/such.onnx"), "{causes:?}");
    assert!(!causes[0].contains(&causes[1]), "{causes:?}");

    let wrong = Classifier::builder(model()).thresholds([0.9]).build().unwrap_err();
    assert!(matches!(wrong, Error::Policy(_)), "{wrong:?}");
    let mut classifier = Classifier::builder(model()).build().unwrap();
    let short = classifier.classify(&vec![0.0; 3]).unwrap_err();
    assert!(matches!(short, Error::Run(RunError::InputLength { actual: 3, .. })), "{short:?}");
}

/// Two exits of four classes over an image of 8 x 8; `bad` says which of them make NaN of any image.
fn diverged(bad: [bool; 2]) -> Vec<u8> {
    let mut graph = Graph::new(&[1, 3, 8, 8], 7);
    let mut features = "image".to_string();
    for (k, bad) in [1, 2].into_iter().zip(bad) {
        features = graph.conv(&format!("conv{k}"), &features, if k == 1 { 3 } else { 4 }, 4);
        let exit = format!("exit{k}");
        let logits = graph.classifier(&if bad { format!("{exit}.sum") } else { exit.clone() }, &features, 4, 4);
        if bad {
            let magnitude = graph.node(&format!("{exit}.abs"), "Abs", &[&logits], &[]);
            let negative = graph.node(&format!("{exit}.neg"), "Neg", &[&magnitude], &[]);
            graph.node(&exit, "Log", &[&negative], &[]);
        }
        graph.output(&exit);
    }
    graph.bytes()
}

fn runtime(bad: [bool; 2]) -> Runtime {
    let model = Model::from_bytes(diverged(bad), Path::new("diverged.onnx"), &LoadOptions::default()).unwrap();
    Runtime::new(Arc::new(Plan::new(model).unwrap())).unwrap()
}

#[test]
fn an_exit_whose_logits_are_not_finite_is_passed_over() {
    let policy = ExitPolicy::with_thresholds(Measure::MaxSoftmax, 2, &[0.0]).unwrap();
    let image = vec![0.5; 3 * 64];
    let good = runtime([false, false]).run(&image, &policy).unwrap();
    assert!(good.exit == 0 && good.passed_over.is_empty());
    let outcome = runtime([true, false]).run(&image, &policy).unwrap();
    assert_eq!((outcome.exit, outcome.passed_over.contains(0)), (1, true));

    // The last one is no number: what an earlier exit said stands.
    let never = ExitPolicy::with_thresholds(Measure::MaxSoftmax, 2, &[1.0]).unwrap();
    let outcome = runtime([false, true]).run(&image, &never).unwrap();
    assert_eq!((outcome.exit, outcome.passed_over.contains(1)), (0, true));

    let error = runtime([true, true]).run(&image, &never).unwrap_err();
    assert!(error.to_string().contains("exit2"), "{error}");
}
