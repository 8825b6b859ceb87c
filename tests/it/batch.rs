//! Several images at once: whoever computes them, each leaves where it would alone.

use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;

use dyn_perceiver::exit::{ExitPolicy, ExitRule, Measure};
use dyn_perceiver::model::{LoadOptions, Model};
use dyn_perceiver::plan::Plan;
use dyn_perceiver::runtime::{BatchRuntime, Device, DeviceRuntime, Outcome, RunError, Runtime, StageTime};

const EXITS: [&str; 3] = ["exit1", "exit2", "exit3"];

struct Setup {
    file: tempfile::NamedTempFile,
    plan: Arc<Plan>,
    images: Vec<f32>,
    /// One per image, from a runtime for one image at a time.
    expected: Vec<Outcome>,
    policy: ExitPolicy,
}

/// Images that leave at every exit, by thresholds between their confidences.
fn setup(images: usize, rules: impl Fn([f32; 2]) -> [ExitRule; 3]) -> Setup {
    let file = tempfile::Builder::new().suffix(".onnx").tempfile().unwrap();
    std::fs::write(file.path(), crate::graphs::three_exits(&EXITS).bytes()).unwrap();
    let plan = Arc::new(Plan::new(Model::load(file.path()).unwrap()).unwrap());
    let len = plan.info().input.len();
    let images: Vec<f32> = (0..images * len).map(|i| (((i * 37 + i / len * 11) % 101) as f32 - 50.0) / 20.0).collect();
    let mut runtime = Runtime::new(plan.clone()).unwrap();
    let middle = [0, 1].map(|exit| {
        let confidence = |image| {
            runtime.begin(image).unwrap();
            Measure::MaxSoftmax.read(runtime.advance(exit).unwrap()).unwrap().confidence
        };
        let mut seen: Vec<f32> = images.chunks_exact(len).map(confidence).collect();
        seen.sort_by(f32::total_cmp);
        // The threshold of the second exit lies among those of the images that reach it, half of all.
        seen[[seen.len() / 2, seen.len() / 4 * 3][exit]]
    });
    let policy = ExitPolicy::new(Measure::MaxSoftmax, &rules(middle)).unwrap();
    let expected = images.chunks_exact(len).map(|image| runtime.run(image, &policy).unwrap()).collect();
    Setup { file, plan, images, expected, policy }
}

fn middle([first, second]: [f32; 2]) -> [ExitRule; 3] {
    [ExitRule::Leave(first), ExitRule::Leave(second), ExitRule::Leave(0.0)]
}

fn same(found: &[Outcome], expected: &[Outcome]) {
    assert_eq!(found.len(), expected.len());
    for (image, (found, expected)) in found.iter().zip(expected).enumerate() {
        let of = |outcome: &Outcome| (outcome.class, outcome.exit, outcome.answered_by, outcome.exited_early);
        assert_eq!(of(found), of(expected), "image {image}");
        assert!((found.confidence - expected.confidence).abs() < 1e-5, "image {image}");
        assert_eq!(found.stages.len(), expected.stages.len(), "image {image}");
    }
}

#[test]
fn every_image_leaves_where_it_would_alone() {
    let Setup { plan, images, expected, policy, .. } = setup(23, middle);
    assert!((0..3).all(|exit| expected.iter().any(|outcome| outcome.exit == exit)), "{expected:?}");
    for threads in [1, 2, 5] {
        let mut batch =
            BatchRuntime::new(plan.clone()).unwrap().with_threads(NonZeroUsize::new(threads).unwrap()).unwrap();
        for _ in 0..2 {
            let found = batch.run(&images, &policy).unwrap();
            same(&found, &expected);
        }
        assert!(batch.run(&[], &policy).unwrap().is_empty());
    }
}

#[test]
fn images_computed_together_have_the_bits_of_each_alone() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/pretrained/fashion-mnist/model.onnx");
    let plan = Arc::new(Plan::load(path, &LoadOptions::default()).unwrap());
    let (len, exits) = (plan.info().input.len(), plan.info().exits.len());
    let images: Vec<f32> = (0..11 * len).map(|i| ((i * 37 + i / len * 11) % 101) as f32 / 50.0 - 1.0).collect();
    let mut alone = Runtime::new(plan.clone()).unwrap();
    let expected: Vec<_> = images.chunks_exact(len).map(|image| alone.all_logits(image).unwrap()).collect();
    for threads in [1, 2, 3] {
        let mut batch =
            BatchRuntime::new(plan.clone()).unwrap().with_threads(NonZeroUsize::new(threads).unwrap()).unwrap();
        // Each image leaves at an exit of its own, and exits may be left out.
        for wanted in [(0..exits).collect::<Vec<_>>(), vec![1, exits - 1], vec![]] {
            let mut seen: Vec<(usize, Vec<usize>)> = (0..11).map(|image| (image, vec![])).collect();
            let see = |(image, seen): &mut (usize, Vec<usize>), stage: StageTime, logits: &[f32]| {
                assert_eq!(logits, expected[*image][stage.exit], "image {image} at exit {}", stage.exit);
                seen.push(stage.exit);
                Ok(seen.len() <= *image % 5)
            };
            batch.walk(&images, &wanted, &mut seen, see).unwrap();
            for (image, seen) in seen {
                assert_eq!(seen, wanted[..wanted.len().min(image % 5 + 1)], "image {image}");
            }
        }
    }
}

#[test]
fn a_batch_has_the_error_of_its_first_image_that_has_one() {
    let Setup { plan, images, .. } = setup(12, middle);
    let len = plan.info().input.len();
    let mut batch = BatchRuntime::new(plan).unwrap().with_threads(NonZeroUsize::new(2).unwrap()).unwrap();
    let mut bad = images.clone();
    (bad[5 * len + 3], bad[9 * len + 1]) = (f32::NAN, f32::INFINITY);
    let mut states = vec![0; 12];
    let error = batch.walk(&bad, &[0], &mut states, |_, _, _| Ok(true)).unwrap_err();
    assert!(matches!(error, RunError::InputNotFinite { index: 3, value } if value.is_nan()), "{error}");
    let error = batch.walk(&images, &[0, 3], &mut states, |_, _, _| Ok(true)).unwrap_err();
    assert!(matches!(error, RunError::NoSuchExit { exit: 3, exits: 3 }), "{error}");
    let see = |_: &mut usize, stage: StageTime, _: &[f32]| Err(RunError::NoSuchGoal { goal: stage.exit, goals: 0 });
    let error = batch.walk(&images, &[1, 2], &mut states, see).unwrap_err();
    assert!(matches!(error, RunError::NoSuchGoal { goal: 1, .. }), "{error}");
    batch.walk(&images, &[2], &mut states, |count, _, _| Ok(std::mem::replace(count, 1) == 0)).unwrap();
    assert_eq!(states, [1; 12]);
}

#[test]
fn stages_of_a_device_are_computed_for_those_that_stay() {
    let rules: [fn([f32; 2]) -> [ExitRule; 3]; 3] = [
        middle,
        |[_, second]| [ExitRule::Skip, ExitRule::Leave(second), ExitRule::Leave(0.0)],
        |[first, _]| [ExitRule::Leave(first), ExitRule::Leave(0.0), ExitRule::Skip],
    ];
    for rules in rules {
        let Setup { file, images, expected, policy, .. } = setup(9, rules);
        let mut runtime = DeviceRuntime::new(Model::load(file.path()).unwrap(), Device::Processor).unwrap();
        assert_eq!(runtime.info().exits, EXITS);
        for _ in 0..2 {
            same(&runtime.run(&images, &policy).unwrap(), &expected);
        }
        // A batch of another size in the same runtime.
        let len = runtime.info().input.len();
        same(&runtime.run(&images[..2 * len], &policy).unwrap(), &expected[..2]);
    }
}

#[test]
fn images_taken_out_leave_the_others_logits_as_they_were() {
    let Setup { file, plan, images, .. } = setup(6, middle);
    let mut runtime = DeviceRuntime::new(Model::load(file.path()).unwrap(), Device::Processor).unwrap();
    runtime.begin(&images).unwrap();
    let first = runtime.advance(0).unwrap().to_vec();
    let classes = plan.info().classes;
    assert_eq!(first.len(), 6 * classes);
    runtime.retain(&[1, 4, 5]).unwrap();
    runtime.retain(&[0, 2]).unwrap();
    let last = runtime.advance(2).unwrap().to_vec();
    let mut alone = Runtime::new(plan.clone()).unwrap();
    for (image, logits) in [1, 5].into_iter().zip(last.chunks_exact(classes)) {
        let len = plan.info().input.len();
        let expected = alone.all_logits(&images[image * len..][..len]).unwrap();
        assert!(logits.iter().zip(&expected[2]).all(|(a, b)| (a - b).abs() < 1e-4), "image {image}");
    }
    assert!(runtime.retain(&[7]).is_err());
}

#[test]
fn what_is_no_batch_is_refused() {
    let Setup { file, plan, images, policy, .. } = setup(2, middle);
    let mut batch = BatchRuntime::new(plan).unwrap();
    assert!(matches!(batch.run(&images[1..], &policy), Err(RunError::InputLength { .. })));
    let options = LoadOptions::default().with_batch(2);
    let two = Plan::load(file.path(), &options).unwrap();
    assert!(matches!(BatchRuntime::new(Arc::new(two)), Err(RunError::Batch { batch: 2 })));
    let mut device = DeviceRuntime::new(Model::load(file.path()).unwrap(), Device::Processor).unwrap();
    assert!(matches!(device.advance(0), Err(RunError::NoImage)));
    assert!(matches!(device.run(&images[1..], &policy), Err(RunError::InputLength { .. })));
    assert!(matches!(device.run(&images, &ExitPolicy::only(0, 2).unwrap()), Err(RunError::PolicyExits { .. })));
}

#[test]
fn a_device_that_is_not_there_is_named() {
    let Setup { file, .. } = setup(1, middle);
    let error = match DeviceRuntime::new(Model::load(file.path()).unwrap(), Device::Cuda) {
        Ok(_) => return, // This machine has one.
        Err(error) => error.to_string(),
    };
    assert!(error.contains("cuda"), "{error}");
}
