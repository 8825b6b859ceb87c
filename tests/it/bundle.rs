//! A bundle computes what the model computes, and a file that is not one is refused.

use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;

use crate::graphs::{Graph, three_exits};
use dyn_perceiver::bundle::{self, Target};
use dyn_perceiver::exit::{
    CalibratedPolicy, Calibration, CostUnit, Curve, EnsembleKind, ExitPolicy, Frontier, Measure, ModelDigest,
    OperatingPoint,
};
use dyn_perceiver::machine::MachineTimes;
use dyn_perceiver::model::{LoadOptions, Model};
use dyn_perceiver::plan::{Plan, PlanError};
use dyn_perceiver::runtime::{Runtime, ThreadChoice};
use proptest::prelude::*;

fn image(len: usize) -> Vec<f32> {
    (0..len).map(|i| ((i * 37 % 101) as f32 - 50.0) / 40.0).collect()
}

fn from_bytes(bytes: &[u8]) -> Model {
    Model::from_bytes(bytes.to_vec(), "test.onnx", &LoadOptions::default()).unwrap()
}

fn logits(plan: Plan) -> Vec<Vec<f32>> {
    let image = image(plan.info().input.len());
    Runtime::new(Arc::new(plan)).unwrap().all_logits(&image).unwrap()
}

fn load(path: &Path) -> Result<Plan, PlanError> {
    Plan::load(path, &LoadOptions::default())
}

/// Compiles the model twice and asserts that the bundle says and computes what the model does, bit for bit.
fn same_as_the_model(model: impl Fn() -> Model) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.dynp");
    bundle::compile(model(), None, Target::host(), &path).unwrap();
    let (expected, found) = (Plan::new(model()).unwrap(), load(&path).unwrap());
    let (e, f) = (expected.info(), found.info());
    assert_eq!(
        (e.digest, &e.input, e.classes, &e.exits, &e.labels),
        (f.digest, &f.input, f.classes, &f.exits, &f.labels)
    );
    assert_eq!(expected.stages(), found.stages());
    let exits = e.exits.len();
    for exit in 0..exits {
        let only = ExitPolicy::only(exit, exits).unwrap();
        assert_eq!(expected.macs(&only, exit), found.macs(&only, exit));
        assert_eq!(expected.nodes(&only, exit), found.nodes(&only, exit));
    }
    assert_eq!(logits(expected), logits(found));
}

#[test]
fn the_shipped_model_gives_the_same_bits() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/pretrained/fashion-mnist/model.onnx");
    same_as_the_model(|| Model::load(&path).unwrap());
}

#[test]
fn a_family_model_of_each_backbone_gives_the_same_bits() {
    use dyn_perceiver_models::{Config, Metadata, Network, Seeded};
    for name in ["mobilenetV3_0x5_perceiver_t128", "reg400m_perceiver_t128", "resnet50_0375_perceiver_t128"] {
        let config = Config::from_name(name).unwrap().with_input_size(64).with_classes(10);
        let network = Network::new(&config).unwrap();
        let bytes = network.to_bytes(&mut Seeded, &Metadata::imagenet(10)).unwrap();
        same_as_the_model(|| from_bytes(&bytes));
    }
}

/// Average pooling that leaves padding out of the count and dilated convolutions are not rewritten: tract's operators,
/// whose weights are copied out of the bundle.
#[test]
fn operators_that_stay_tracts_give_the_same_bits() {
    let mut graph = Graph::new(&[0, 3, 9, 9], 5);
    let stem = graph.conv("stem", "image", 3, 4);
    let pooled = graph.node("pooled", "AveragePool", &[&stem], &[("kernel_shape", &[3, 3]), ("pads", &[1, 1, 1, 1])]);
    let weight = graph.weight("dilated.weight", &[4, 4, 3, 3]);
    let sizes: [(&str, &[i64]); 3] = [("pads", &[2, 2, 2, 2]), ("kernel_shape", &[3, 3]), ("dilations", &[2, 2])];
    let dilated = graph.node("dilated", "Conv", &[&pooled, &weight], &sizes);
    let tanh = graph.node("tanh", "Tanh", &[&dilated], &[]);
    let sum = graph.node("sum", "Add", &[&tanh, &pooled], &[]);
    graph.classifier("early", &pooled, 4, 5);
    graph.classifier("late", &sum, 4, 5);
    graph.output("early");
    graph.output("late");
    same_as_the_model(|| from_bytes(&graph.bytes()));
}

#[test]
fn a_graph_that_cannot_be_stored_is_refused_by_its_operator() {
    let mut graph = Graph::new(&[0, 3, 8, 8], 5);
    let stem = graph.conv("stem", "image", 3, 4);
    let rounded = graph.node("rounded", "Round", &[&stem], &[]);
    graph.classifier("exit", &rounded, 4, 5);
    graph.output("exit");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.dynp");
    let error = bundle::compile(from_bytes(&graph.bytes()), None, Target::host(), &path).unwrap_err().to_string();
    assert!(error.contains("test.onnx") && error.contains("Round"), "{error}");
    assert!(!path.exists());
}

/// A policy of one point for a model, by the model's digest.
fn policy(digest: [u8; 32], exits: &[&str]) -> CalibratedPolicy {
    let thresholds = vec![0.0; exits.len() - 1];
    let shares: Vec<f32> = (0..exits.len()).map(|exit| f32::from(u8::from(exit == 0))).collect();
    let policy = ExitPolicy::with_thresholds(Measure::MaxSoftmax, exits.len(), &thresholds).unwrap();
    let point = OperatingPoint::new(policy, 0.5, 100.0, &shares).unwrap();
    let frontier = Frontier::new(CostUnit::Macs, &[point]).unwrap();
    CalibratedPolicy::new(ModelDigest(digest), exits.iter().copied(), 10, None, frontier).unwrap()
}

const EXITS: [&str; 3] = ["exit1", "exit2", "exit3"];

fn small() -> Model {
    from_bytes(&three_exits(&EXITS).bytes())
}

#[test]
fn a_policy_goes_along_if_it_is_the_models() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.dynp");
    let digest = small().info().digest.0;
    let own = policy(digest, &EXITS);
    bundle::compile(small(), Some(own.clone()), "cortex-a72".parse().unwrap(), &path).unwrap();
    let plan = load(&path).unwrap();
    let info = plan.bundle().unwrap();
    assert_eq!(info.policy.as_ref(), Some(&own));
    assert_eq!((info.source.as_str(), info.target.name(), info.target.arch()), ("test.onnx", "cortex-a72", "aarch64"));
    assert_eq!(info.program, env!("CARGO_PKG_VERSION"));

    let refused = |policy| bundle::compile(small(), Some(policy), Target::host(), &path).unwrap_err().to_string();
    let other = refused(policy([7; 32], &EXITS));
    assert!(other.contains("calibrated for model sha256:0707") && other.contains("test.onnx"), "{other}");
    let order = refused(policy(digest, &["exit2", "exit1", "exit3"]));
    assert!(order.contains("exit2, exit1, exit3"), "{order}");
    // What was there is still there.
    assert_eq!(load(&path).unwrap().bundle().unwrap().policy.as_ref(), Some(&own));
}

/// Probabilities for the policies of [`policy`].
fn calibration() -> Calibration {
    let curves = [Curve::new(0.5, 1.0); 3];
    Calibration::new(Measure::MaxSoftmax, EnsembleKind::Own, &curves, &curves).unwrap()
}

#[test]
fn probabilities_and_times_go_along() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.dynp");
    let own = policy(small().info().digest.0, &EXITS);
    let run = |plan: Plan| {
        let (image, policy) = (image(plan.info().input.len()), own.frontier().points()[0].policy.clone());
        Runtime::new(Arc::new(plan)).unwrap().run(&image, &policy).unwrap()
    };
    bundle::compile(small(), Some(own.clone().with_calibration(calibration()).unwrap()), Target::host(), &path)
        .unwrap();
    let outcome = run(load(&path).unwrap());
    assert_eq!(outcome.probability, Some(Curve::new(0.5, 1.0).probability(outcome.confidence)));

    let times = |machine: &str, threads: usize, second: f32| {
        MachineTimes::new(machine, NonZeroUsize::new(threads).unwrap(), [0.25, second, 0.125])
    };
    let here = dyn_perceiver::machine::name();
    bundle::keep_times(&path, [times(&here, 1, 0.5), times("another machine", 2, 0.5)]).unwrap();
    bundle::keep_times(&path, [times(&here, 1, 0.75), times(&here, 2, 0.125)]).unwrap();
    let kept = load(&path).unwrap();
    let info = kept.bundle().unwrap();
    assert_eq!((info.times.len(), info.policy.as_ref().unwrap().calibration()), (3, Some(&calibration())));
    let on = |threads: usize| info.times_here(NonZeroUsize::new(threads).unwrap()).map(|times| times.seconds[1]);
    assert_eq!((on(1), on(2), on(3)), (Some(0.75), Some(0.125), None));
    assert_eq!(ThreadChoice::known(&info.times).unwrap().threads.get(), 2);
    assert_eq!(run(load(&path).unwrap()).class, outcome.class);
    let two_stages = MachineTimes::new("another machine", NonZeroUsize::MIN, [0.25, 0.5]);
    let error = bundle::keep_times(&path, [two_stages]).unwrap_err().to_string();
    assert!(error.contains("model.dynp") && error.contains("2 stages, expected 3"), "{error}");

    // Without a calibration there is no probability.
    bundle::compile(small(), Some(own.clone()), Target::host(), &path).unwrap();
    let plan = load(&path).unwrap();
    assert_eq!(plan.bundle().unwrap().policy.as_ref(), Some(&own));
    assert!(plan.bundle().unwrap().times.is_empty() && run(plan).probability.is_none());
}

#[test]
fn other_options_than_it_was_compiled_with_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.dynp");
    bundle::compile(small(), None, Target::host(), &path).unwrap();
    let with = |exits: Option<&[&str]>, batch| {
        let exits = exits.map(|exits| exits.iter().map(|exit| exit.to_string()).collect());
        Plan::load(&path, &LoadOptions::default().with_exits(exits).with_batch(batch))
            .map(|_| ())
            .map_err(|error| error.to_string())
    };
    with(Some(&["exit3", "exit1", "exit2"]), 1).unwrap();
    let exits = with(Some(&["exit1"]), 1).unwrap_err();
    assert!(exits.contains("model.dynp") && exits.contains("exit1, exit2, exit3, asked for exit1"), "{exits}");
    let batch = with(None, 2).unwrap_err();
    assert!(batch.contains("batch of 1, asked for 2"), "{batch}");
}

/// The bytes of a small bundle.
fn bytes() -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.dynp");
    bundle::compile(small(), None, Target::host(), &path).unwrap();
    std::fs::read(path).unwrap()
}

proptest! {
    #[test]
    fn damage_is_always_noticed(flips in prop::collection::vec((any::<prop::sample::Index>(), 1_u8..), 1..4), cut in any::<prop::sample::Index>()) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.dynp");
        let whole = bytes();
        std::fs::write(&path, &whole[..cut.index(whole.len())]).unwrap();
        let error = load(&path).unwrap_err().to_string();
        prop_assert!(error.contains("model.dynp"), "{}", error);
        let mut changed = whole.clone();
        for (at, flip) in flips {
            changed[at.index(whole.len())] ^= flip;
        }
        prop_assume!(changed != whole);
        std::fs::write(&path, &changed).unwrap();
        let error = load(&path).unwrap_err().to_string();
        prop_assert!(error.contains("model.dynp"), "{}", error);
    }
}

/// Halves of one row change little, and all of them no more than halves are apart.
#[test]
fn bundles_of_halves_are_smaller_and_answer_alike() {
    use dyn_perceiver::bundle::{Precision, Target, compile_with};
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("models/pretrained/fashion-mnist/model.onnx");
    let model = Model::load(&path).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let compiled = |name: &str, target: &str, precision: Precision| {
        let bundle = folder.path().join(name);
        let target: Target = target.parse().unwrap();
        let compiled = compile_with(model.clone(), None, target, precision, &bundle).unwrap();
        let plan = std::sync::Arc::new(Plan::load(&bundle, &LoadOptions::default()).unwrap());
        let image: Vec<f32> = (0..plan.info().input.len()).map(|i| (i % 97) as f32 / 97.0).collect();
        let large: Vec<f32> = image.iter().map(|value| 1000.0 * value).collect();
        let mut runtime = Runtime::new(plan.clone()).unwrap();
        assert!(runtime.all_logits(&large).unwrap().iter().flatten().all(|logit| logit.is_finite()));
        (compiled.weight_bytes, plan.info().digest, runtime.all_logits(&image).unwrap())
    };
    let (float_bytes, digest, float) = compiled("f32.dynp", "cortex-a76", Precision::F32);
    let largest = float.iter().flatten().fold(0.0_f32, |m, logit| m.max(logit.abs()));
    let (row_bytes, row_digest, rows) = compiled("rows.dynp", "cortex-a72", Precision::F16);
    let (all_bytes, all_digest, all) = compiled("all.dynp", "cortex-a76", Precision::F16);
    assert!(all_bytes < row_bytes && row_bytes < float_bytes, "{all_bytes}, {row_bytes}, {float_bytes}");
    assert!(digest != row_digest && digest != all_digest && row_digest != all_digest);
    for (halves, tolerance) in [(rows, 1e-3), (all, 1e-2)] {
        for (half, float) in halves.iter().flatten().zip(float.iter().flatten()) {
            assert!((half - float).abs() <= tolerance * largest, "{half} instead of {float}");
        }
    }
}
