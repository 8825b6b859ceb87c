//! The gate behind the first exit: what the network has made of an image so far, and going no further.

use std::sync::Arc;

use dyn_perceiver::bundle::{self, Target};
use dyn_perceiver::exit::{ExitPolicy, ExitRule, Measure};
use dyn_perceiver::model::{LoadOptions, Model};
use dyn_perceiver::plan::Plan;
use dyn_perceiver::runtime::{Gated, RunError, Runtime};

fn bytes() -> Vec<u8> {
    crate::graphs::three_exits(&["exit1", "exit2", "exit3"]).bytes()
}

fn model() -> Model {
    Model::from_bytes(bytes(), "three.onnx", &LoadOptions::default()).unwrap()
}

fn image(runtime: &Runtime, seed: usize) -> Vec<f32> {
    (0..runtime.plan().info().input.len()).map(|i| ((i * 37 + seed * 11) % 101) as f32 / 40.0 - 1.2).collect()
}

#[test]
fn the_code_is_what_the_first_classifier_reads_and_stays_while_later_stages_run() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("three.dynp");
    bundle::compile(model(), None, Target::host(), &path).unwrap();
    let plans = [
        Plan::new(model()).unwrap(),
        Plan::unstaged(model()).unwrap(),
        Plan::load(&path, &LoadOptions::default()).unwrap(),
    ];
    let mut codes = vec![];
    for plan in plans {
        // Four channels, pooled, in front of five classes.
        assert_eq!(plan.code_len(), 4);
        let mut runtime = Runtime::new(Arc::new(plan)).unwrap();
        assert!(matches!(runtime.code(), Err(RunError::NoImage)));
        let image = image(&runtime, 0);
        runtime.begin(&image).unwrap();
        assert!(matches!(runtime.code(), Err(RunError::NoImage)));
        runtime.advance(0).unwrap();
        let code = runtime.code().unwrap().to_vec();
        runtime.advance(2).unwrap();
        assert_eq!(runtime.code().unwrap(), code);
        codes.push(code);
    }
    assert!(codes.iter().all(|code| *code == codes[0] && code.len() == 4), "{codes:?}");
}

#[test]
fn an_image_that_is_held_goes_no_further_than_the_first_exit() {
    let mut runtime = Runtime::new(Arc::new(Plan::new(model()).unwrap())).unwrap();
    let image = image(&runtime, 1);
    let never = ExitPolicy::with_thresholds(Measure::MaxSoftmax, 3, &[1.0, 1.0]).unwrap();
    let last = ExitPolicy::only(2, 3).unwrap();
    for policy in [&never, &last] {
        let mut asked = vec![];
        let held = runtime.run_unless(&image, policy, |code| {
            asked = code.to_vec();
            true
        });
        let Gated::Held(stages) = held.unwrap() else { panic!("it was not held") };
        assert_eq!(stages.iter().map(|stage| stage.exit).collect::<Vec<_>>(), [0]);
        assert_eq!(asked, runtime.code().unwrap());
        let plain = runtime.run(&image, policy).unwrap();
        let Gated::Answered(outcome) = runtime.run_unless(&image, policy, |_| false).unwrap() else {
            panic!("it was held")
        };
        assert_eq!((outcome.class, outcome.confidence, outcome.exit), (plain.class, plain.confidence, plain.exit));
    }
}

#[test]
fn a_policy_that_leaves_at_the_first_exit_is_not_kept_from_it() {
    let mut runtime = Runtime::new(Arc::new(Plan::new(model()).unwrap())).unwrap();
    let image = image(&runtime, 2);
    let leaves = ExitPolicy::new(Measure::MaxSoftmax, &[ExitRule::Leave(0.0), ExitRule::Skip, ExitRule::Leave(0.0)]);
    let gated = runtime.run_unless(&image, &leaves.unwrap(), |_| panic!("the gate was asked")).unwrap();
    assert!(matches!(gated, Gated::Answered(outcome) if outcome.exit == 0));
    assert_eq!(runtime.code().unwrap().len(), 4);
}
