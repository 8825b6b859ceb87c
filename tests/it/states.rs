//! Boxes and states beside exits: staged plans compute what the whole graph computes, frame after frame.

use std::sync::Arc;

use dyn_perceiver::bundle::{self, Target};
use dyn_perceiver::exit::ExitPolicy;
use dyn_perceiver::model::{LoadOptions, Model};
use dyn_perceiver::plan::Plan;
use dyn_perceiver::runtime::{BatchRuntime, ExitSet, RunError, Runtime};
use proptest::prelude::*;

use crate::graphs::Graph;

/// A random graph of features, (1, 4, 6, 6) each, with exits, maps of two levels and states hung on.
#[derive(Clone, Debug)]
struct Recipe {
    seed: u64,
    /// For each feature: what makes it, and which two earlier features it takes (the second one maybe unused).
    features: Vec<(u8, usize, usize)>,
    exits: Vec<usize>,
    /// The features that the maps of the coarse and of the fine level read.
    levels: [usize; 2],
    /// For each state: the feature that it is added to and the one that becomes it, and how.
    states: Vec<(usize, usize, u8)>,
}

fn recipe() -> impl Strategy<Value = Recipe> {
    let features = proptest::collection::vec((0u8..4, any::<usize>(), any::<usize>()), 3..12);
    let exits = proptest::collection::vec(any::<usize>(), 1..4);
    let states = proptest::collection::vec((any::<usize>(), any::<usize>(), 0u8..3), 0..4);
    (any::<u64>(), features, exits, any::<[usize; 2]>(), states)
        .prop_map(|(seed, features, exits, levels, states)| Recipe { seed, features, exits, levels, states })
}

const BOXES: &str = r#"{"classes": 2, "levels": [
    {"name": "P3", "stride": 8, "classes": "cls.P3", "boxes": "box.P3"},
    {"name": "P5", "stride": 32, "classes": "cls.P5", "boxes": "box.P5"}],
    "anchors": {"ratios": [1], "scales": [4]}, "code": {"means": [0, 0, 0, 0], "deviations": [1, 1, 1, 1], "clamp": 4},
    "score": 0.05, "overlap": 0.5, "candidates": 100, "boxes": 10}"#;

fn build(recipe: &Recipe) -> Vec<u8> {
    let mut graph = Graph::new(&[0, 3, 6, 6], recipe.seed).metadata("dyn_perceiver.boxes", BOXES);
    let mut features = vec![graph.conv("stem", "image", 3, 4)];
    let (mut next, mut made) = (vec![], std::collections::HashSet::new());
    for (n, &(kind, a, b)) in recipe.features.iter().enumerate() {
        let (a, b) = (features[a % features.len()].clone(), features[b % features.len()].clone());
        let name = format!("f{n}");
        // tract makes one of two equal nodes, and loses a third that reads them: no exporter writes the same twice.
        let is_new = match kind {
            0 => true,
            2 => made.insert((kind, a.clone().min(b.clone()), a.clone().max(b.clone()))),
            _ => made.insert((kind, a.clone(), String::new())),
        };
        features.push(match if is_new { kind } else { 0 } {
            0 => graph.conv(&name, &a, 4, 4),
            1 => graph.node(&name, "Relu", &[&a], &[]),
            2 => graph.node(&name, "Add", &[&a, &b], &[]),
            _ => graph.node(&name, "Sigmoid", &[&a], &[]),
        });
    }
    for (k, &(to, from, kind)) in recipe.states.iter().enumerate() {
        let (input, output) = (format!("state{k}"), format!("next{k}"));
        graph.input(&input, &[0, 4, 6, 6]);
        let to = features[to % features.len()].clone();
        features.push(graph.node(&format!("with{k}"), "Add", &[&to, &input], &[]));
        // Maybe of a feature that a state was added to.
        let from = features[from % features.len()].clone();
        match kind {
            0 => graph.conv(&output, &from, 4, 4),
            1 => graph.node(&output, "Tanh", &[&from], &[]),
            _ => graph.node(&output, "Identity", &[&from], &[]),
        };
        next.push([input, output]);
    }
    for (n, &feature) in recipe.exits.iter().enumerate() {
        let feature = features[feature % features.len()].clone();
        graph.classifier(&format!("exit{n}"), &feature, 4, 5);
        graph.output(&format!("exit{n}"));
    }
    for (level, &feature) in ["P5", "P3"].iter().zip(&recipe.levels) {
        let feature = features[feature % features.len()].clone();
        graph.conv(&format!("cls.{level}"), &feature, 4, 2);
        graph.conv(&format!("box.{level}"), &feature, 4, 4);
        graph.output(&format!("cls.{level}"));
        graph.output(&format!("box.{level}"));
    }
    // All features are needed by somebody, so that no state is made of what nobody needs.
    let mut all = features[0].clone();
    for (n, feature) in features.clone().iter().enumerate().skip(1) {
        // No addition: two equal ones would be one.
        all = graph.node(&format!("all{n}"), "Sub", &[&all, feature], &[]);
    }
    graph.classifier("last", &all, 4, 5);
    graph.output("last");
    next.iter().for_each(|[_, output]| graph.output(output));
    let exits: Vec<String> = (0..recipe.exits.len()).map(|n| format!("exit{n}")).chain(["last".to_owned()]).collect();
    let graph = graph.metadata("dyn_perceiver.exits", &exits.join(","));
    let pairs: Vec<String> = next.iter().map(|[a, b]| format!("[\"{a}\", \"{b}\"]")).collect();
    graph.metadata("dyn_perceiver.states", &format!("[{}]", pairs.join(","))).bytes()
}

fn load(bytes: &[u8]) -> Model {
    Model::from_bytes(bytes.to_vec(), "random.onnx", &LoadOptions::default()).unwrap()
}

fn image(t: usize, len: usize) -> Vec<f32> {
    (0..len).map(|i| (((i + 11 * t) * 37 % 101) as f32 - 50.0) / 60.0).collect()
}

/// Logits of the exits, maps of the goals, and states of a frame.
type Frame = (Vec<Vec<f32>>, Vec<Vec<f32>>, Vec<Vec<f32>>);

fn frame(runtime: &mut Runtime, image: &[f32], backwards: bool) -> Frame {
    runtime.begin(image).unwrap();
    let (exits, goals) = (runtime.plan().info().exits.len(), runtime.plan().goals().len());
    let mut logits = vec![vec![]; exits];
    let mut maps = vec![vec![]; goals];
    let order: Vec<usize> = if backwards { (0..exits + goals).rev().collect() } else { (0..exits + goals).collect() };
    for goal in order {
        if goal < exits {
            logits[goal] = runtime.advance(goal).unwrap().to_vec();
        } else {
            let of_goal = runtime.advance_to_boxes(goal - exits).unwrap();
            maps[goal - exits] = of_goal.iter().flat_map(|maps| [maps.scores, maps.deltas].concat()).collect();
        }
    }
    (logits, maps, runtime.next_states().unwrap())
}

fn runtime(plan: Plan) -> Runtime {
    Runtime::new(Arc::new(plan)).unwrap()
}

fn check(bytes: &[u8]) {
    let mut staged = runtime(Plan::new(load(bytes)).unwrap());
    let mut whole = runtime(Plan::unstaged(load(bytes)).unwrap());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("random.dynp");
    bundle::compile(load(bytes), None, Target::host(), &path).unwrap();
    let mut bundled = runtime(Plan::load(&path, &LoadOptions::default()).unwrap());
    let len = staged.plan().info().input.len();
    let mut first = None;
    for t in 0..4 {
        let image = image(t, len);
        let expected = frame(&mut whole, &image, false);
        assert_eq!(frame(&mut staged, &image, t % 2 == 1), expected, "frame {t}");
        assert_eq!(frame(&mut bundled, &image, false), expected, "frame {t} from a bundle");
        first.get_or_insert(expected);
    }
    // After a reset, as if nothing had been.
    staged.reset();
    assert_eq!(Some(frame(&mut staged, &image(0, len), false)), first);
    // A frame that computes nothing leaves all states as they were.
    let states = staged.next_states().unwrap();
    staged.begin(&image(1, len)).unwrap();
    assert_eq!(staged.next_states().unwrap(), states);
    let everything = ExitSet::of(0..staged.plan().info().exits.len());
    let (plan, goals) = (staged.plan().clone(), staged.plan().goals().len());
    assert_eq!(plan.macs_with_boxes(everything, goals), whole.plan().macs_with_boxes(ExitSet::of([0]), 0));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 30, ..ProptestConfig::default() })]

    #[test]
    fn staged_frames_equal_the_whole_graph_bit_for_bit(recipe in recipe()) {
        check(&build(&recipe));
    }
}

/// Three convolutions with an exit after each; with states, the third reads the second's result of the frame before.
fn chain(with_state: bool) -> Vec<u8> {
    let mut graph = Graph::new(&[0, 3, 8, 8], 1);
    let mut features = "image".to_string();
    for k in 1..=3 {
        if k == 3 && with_state {
            graph.input("state", &[0, 4, 8, 8]);
            graph.conv("next", &features, 4, 4);
            features = graph.node("sum", "Add", &[&features, "state"], &[]);
        }
        features = graph.conv(&format!("conv{k}"), &features, if k == 1 { 3 } else { 4 }, 4);
        features = graph.node(&format!("relu{k}"), "Relu", &[&features], &[]);
        graph.classifier(&format!("exit{k}"), &features, 4, 5);
        graph.output(&format!("exit{k}"));
    }
    if with_state {
        graph.output("next");
        graph = graph.metadata("dyn_perceiver.exits", "exit1,exit2,exit3");
        graph = graph.metadata("dyn_perceiver.states", r#"[["state", "next"]]"#);
    }
    graph.bytes()
}

#[test]
fn what_becomes_a_state_makes_nothing_run() {
    let (with, without) = (Plan::new(load(&chain(true))).unwrap(), Plan::new(load(&chain(false))).unwrap());
    let only = |exit| ExitPolicy::only(exit, 3).unwrap();
    assert_eq!(with.macs(&only(0), 0), without.macs(&only(0), 0));
    assert_eq!(with.nodes(&only(0), 0), without.nodes(&only(0), 0));
    assert_eq!(with.macs(&only(1), 1), without.macs(&only(1), 1));
    // It is made by the frames that read it.
    assert_eq!(with.macs(&only(2), 2), without.macs(&only(2), 2) + 64 * 9 * 4 * 4);
    let mut runtime = runtime(with);
    let image = image(0, runtime.plan().info().input.len());
    let zeros = runtime.next_states().unwrap();
    assert!(zeros[0].iter().all(|value| *value == 0.0));
    runtime.begin(&image).unwrap();
    runtime.advance(1).unwrap();
    assert_eq!(runtime.next_states().unwrap(), zeros);
    runtime.advance(2).unwrap();
    let made = runtime.next_states().unwrap();
    assert_ne!(made, zeros);
    // The next frame leaves at the second exit: the state is held.
    runtime.begin(&image).unwrap();
    runtime.advance(1).unwrap();
    assert_eq!(runtime.next_states().unwrap(), made);
    // An image that is refused changes nothing.
    assert!(matches!(runtime.begin(&[f32::NAN; 192]), Err(RunError::InputNotFinite { .. })));
    runtime.begin(&image).unwrap();
    assert_eq!(runtime.next_states().unwrap(), made);
}

#[test]
fn states_that_do_not_fit_are_refused() {
    let refused = |change: &dyn Fn(Graph) -> Graph| {
        let mut graph = Graph::new(&[0, 3, 8, 8], 1);
        graph.input("state", &[0, 4, 8, 8]);
        let features = graph.conv("conv", "image", 3, 4);
        let sum = graph.node("sum", "Add", &[&features, "state"], &[]);
        graph.classifier("exit", &sum, 4, 5);
        graph.node("next", "Relu", &[&sum], &[]);
        graph.node("small", "GlobalAveragePool", &[&sum], &[]);
        for output in ["exit", "next", "small"] {
            graph.output(output);
        }
        let bytes = change(graph.metadata("dyn_perceiver.exits", "exit")).bytes();
        Model::from_bytes(bytes, "states.onnx", &LoadOptions::default()).unwrap_err().to_string()
    };
    let states = |pairs: &'static str| move |graph: Graph| graph.metadata("dyn_perceiver.states", pairs);
    for (change, message) in [
        (&states("[]") as &dyn Fn(Graph) -> Graph, "2 inputs"),
        (&states(r#"[["other", "next"]]"#), "no input of the graph"),
        (&states(r#"[["state", "small"]]"#), "has not the shape"),
        (&states(r#"[["state", "nothing"]]"#), "has not the shape"),
        (&states(r#"[["state"]]"#), "expected pairs of names"),
    ] {
        let error = refused(change);
        assert!(error.contains(message) && error.contains("states.onnx"), "{error}");
    }
}

#[test]
fn images_of_a_batch_have_no_states() {
    let plan = Arc::new(Plan::new(load(&chain(true))).unwrap());
    assert!(matches!(BatchRuntime::new(plan), Err(RunError::States)));
}
