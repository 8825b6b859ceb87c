//! Stage plans compute what the whole graph computes, and nothing that the exit does not need.

use std::sync::Arc;

use crate::graphs::Graph;
use dyn_perceiver::bundle::{self, Target};
use dyn_perceiver::exit::{ExitPolicy, ExitRule, Measure};
use dyn_perceiver::model::{LoadOptions, Model};
use dyn_perceiver::plan::Plan;
use dyn_perceiver::runtime::{RunError, Runtime};
use proptest::prelude::*;

/// A random directed acyclic graph of features, (1, 4, 6, 6) each, with exits hung on wherever it falls.
#[derive(Clone, Debug)]
struct Recipe {
    seed: u64,
    /// For each feature: what makes it, and which two earlier features it takes (the second one maybe unused).
    features: Vec<(u8, usize, usize)>,
    /// For each exit: the feature it reads, and an earlier exit whose logits it adds, if any.
    exits: Vec<(usize, Option<usize>)>,
}

fn recipe() -> impl Strategy<Value = Recipe> {
    let features = proptest::collection::vec((0u8..5, any::<usize>(), any::<usize>()), 2..14);
    let exits = proptest::collection::vec((any::<usize>(), proptest::option::weighted(0.3, any::<usize>())), 2..6);
    (any::<u64>(), features, exits).prop_map(|(seed, features, exits)| Recipe { seed, features, exits })
}

/// The model of a recipe, whole or cut at one exit: then the others are no outputs.
fn build(recipe: &Recipe, cut_at: Option<&str>) -> Vec<u8> {
    let mut graph = Graph::new(&[0, 3, 6, 6], recipe.seed);
    let mut features = vec![graph.conv("stem", "image", 3, 4)];
    for (n, &(kind, a, b)) in recipe.features.iter().enumerate() {
        let (a, b) = (features[a % features.len()].clone(), features[b % features.len()].clone());
        let name = format!("f{n}");
        features.push(match kind {
            0 | 1 => graph.conv(&name, &a, 4, 4),
            2 => graph.node(&name, "Relu", &[&a], &[]),
            3 => graph.node(&name, "Add", &[&a, &b], &[]),
            _ => graph.node(&name, "Sigmoid", &[&a], &[]),
        });
    }
    for (n, &(feature, earlier)) in recipe.exits.iter().enumerate() {
        let feature = features[feature % features.len()].clone();
        let name = format!("exit{n}");
        match earlier.filter(|_| n > 0) {
            Some(earlier) => {
                let own = graph.classifier(&format!("{name}.own"), &feature, 4, 5);
                graph.node(&name, "Add", &[&own, &format!("exit{}", earlier % n)], &[]);
            }
            None => {
                graph.classifier(&name, &feature, 4, 5);
            }
        }
        if cut_at.is_none_or(|exit| exit == name) {
            graph.output(&name);
        }
    }
    graph.bytes()
}

fn load(bytes: &[u8], exits: Option<Vec<String>>) -> Model {
    Model::from_bytes(bytes.to_vec(), "random.onnx", &LoadOptions::default().with_exits(exits)).unwrap()
}

fn image(len: usize) -> Vec<f32> {
    (0..len).map(|i| ((i * 37 % 101) as f32 - 50.0) / 40.0).collect()
}

/// The model compiled and loaded again.
fn bundled(bytes: &[u8]) -> Runtime {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("random.dynp");
    bundle::compile(load(bytes, None), None, Target::host(), &path).unwrap();
    Runtime::new(Arc::new(Plan::load(&path, &LoadOptions::default()).unwrap())).unwrap()
}

/// `cut_at` gives the model with one exit only.
fn check(bytes: &[u8], cut_at: impl Fn(&str) -> Vec<u8>) {
    let plan = Arc::new(Plan::new(load(bytes, None)).unwrap());
    let names = plan.info().exits.clone();
    let exits = names.len();
    let image = image(plan.info().input.len());
    // On two threads segments that run together share buffers.
    let mut staged = Runtime::new(plan.clone()).unwrap().with_threads(2.try_into().unwrap()).unwrap();
    let mut whole = Runtime::new(Arc::new(Plan::unstaged(load(bytes, None)).unwrap())).unwrap();
    assert_eq!(whole.plan().info().exits, names);
    let expected = whole.all_logits(&image).unwrap();
    assert_eq!(staged.all_logits(&image).unwrap(), expected, "all exits in order");
    assert_eq!(bundled(bytes).all_logits(&image).unwrap(), expected, "from a bundle");

    let code = staged.code().unwrap().to_vec();
    staged.begin(&image).unwrap();
    staged.advance(0).unwrap();
    assert_eq!(staged.code().unwrap(), code, "later stages leave the code as it is");

    for exit in 0..exits {
        // Straight to this exit, in a runtime that has run something else before.
        staged.begin(&image).unwrap();
        assert_eq!(staged.advance(exit).unwrap(), expected[exit], "exit {} alone", names[exit]);

        let cut = Plan::new(load(&cut_at(&names[exit]), None)).unwrap();
        let (alone, only) = (ExitPolicy::only(0, 1).unwrap(), ExitPolicy::only(exit, exits).unwrap());
        assert_eq!(plan.macs(&only, exit), cut.macs(&alone, 0), "MACs to {}", names[exit]);
        assert_eq!(plan.nodes(&only, exit), cut.nodes(&alone, 0), "nodes to {}", names[exit]);
        assert_eq!(plan.stages()[exit].exit_alone_macs, cut.stages()[0].macs);

        // With a random-looking subset of the exits before it.
        let rules: Vec<ExitRule> = (0..exits)
            .map(|k| if k == exit || (k < exit && k % 2 == 0) { ExitRule::Leave(1.0) } else { ExitRule::Skip })
            .collect();
        let policy = ExitPolicy::new(Measure::MaxSoftmax, &rules).unwrap();
        let outcome = staged.run(&image, &policy).unwrap();
        let reading = Measure::MaxSoftmax.read(&expected[outcome.exit]).unwrap();
        assert_eq!((outcome.class, outcome.confidence), (reading.class, reading.confidence));
        assert!(outcome.exit == exit || reading.confidence == 1.0);
        let evaluated: Vec<String> = (0..=exit).filter(|&k| policy.evaluates(k)).map(|k| names[k].clone()).collect();
        let cut = Plan::new(load(bytes, Some(evaluated))).unwrap();
        let all =
            ExitPolicy::with_thresholds(Measure::MaxSoftmax, cut.stages().len(), &vec![1.0; cut.stages().len() - 1]);
        assert_eq!(plan.macs(&policy, exit), cut.macs(&all.unwrap(), cut.stages().len() - 1));
    }
    let total: u64 = plan.stages().iter().map(|stage| stage.macs).sum();
    assert_eq!(plan.stages()[exits - 1].cumulative_macs, total);
    assert_eq!(whole.plan().stages()[0].macs, total);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn staged_plans_equal_the_whole_graph_bit_for_bit(recipe in recipe()) {
        check(&build(&recipe, None), |exit| build(&recipe, Some(exit)));
    }
}

#[test]
fn a_chain_of_exits() {
    let bytes = crate::graphs::three_exits(&["exit1", "exit2", "exit3"]).bytes();
    check(&bytes, |exit| crate::graphs::three_exits(&[exit]).bytes());
    let plan = Plan::new(load(&bytes, None)).unwrap();
    let macs: Vec<u64> = plan.stages().iter().map(|stage| stage.macs).collect();
    // 3x3 convolutions 3 -> 4 and 4 -> 4 on 8x8, and a linear layer 4 -> 5.
    assert_eq!(macs, [64 * 9 * 3 * 4 + 20, 64 * 9 * 4 * 4 + 20, 64 * 9 * 4 * 4 + 20]);
    let parameters: Vec<u64> = plan.stages().iter().map(|stage| stage.parameters).collect();
    assert_eq!(parameters, [9 * 3 * 4 + 20, 9 * 4 * 4 + 20, 9 * 4 * 4 + 20]);
    assert_eq!(plan.stages()[0].carry_bytes, 4 * 64 * 4);
    assert_eq!(plan.stages()[2].carry_bytes, 0);
}

#[test]
fn two_exits_of_the_same_tensor() {
    let mut graph = Graph::new(&[0, 3, 6, 6], 3);
    let features = graph.conv("stem", "image", 3, 4);
    let logits = graph.classifier("a", &features, 4, 5);
    graph.node("b", "Identity", &[&logits], &[]);
    graph.output("a");
    graph.output("b");
    let plan = Arc::new(Plan::new(load(&graph.bytes(), None)).unwrap());
    let mut runtime = Runtime::new(plan.clone()).unwrap();
    let logits = runtime.all_logits(&image(plan.info().input.len())).unwrap();
    assert_eq!(logits[0], logits[1]);
    assert_eq!(plan.stages()[1].macs, 0);
}

#[test]
fn input_that_is_no_image_is_refused_and_the_runtime_goes_on() {
    let plan = Arc::new(Plan::new(load(&crate::graphs::three_exits(&["exit1", "exit2"]).bytes(), None)).unwrap());
    let mut runtime = Runtime::new(plan.clone()).unwrap();
    let policy = ExitPolicy::with_thresholds(Measure::MaxSoftmax, 2, &[0.5]).unwrap();
    let image = image(plan.info().input.len());
    assert!(matches!(runtime.advance(0), Err(RunError::NoImage)));
    let mut broken = image.clone();
    broken[7] = f32::NAN;
    assert!(matches!(runtime.run(&broken, &policy), Err(RunError::InputNotFinite { index: 7, .. })));
    broken[7] = f32::INFINITY;
    assert!(matches!(runtime.run(&broken, &policy), Err(RunError::InputNotFinite { index: 7, .. })));
    assert!(matches!(runtime.run(&image[1..], &policy), Err(RunError::InputLength { .. })));
    let three = ExitPolicy::only(0, 3).unwrap();
    assert!(matches!(runtime.run(&image, &three), Err(RunError::PolicyExits { expected: 2, actual: 3 })));
    assert!(runtime.run(&image, &policy).is_ok());
}
