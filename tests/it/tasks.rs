//! Detectors and networks of videos of the family through this project's own runtime, held against figures of another
//! implementation.

use std::path::Path;
use std::sync::Arc;

use dyn_perceiver::detect::{Candidates, LevelMaps, Limits};
use dyn_perceiver::model::{LoadOptions, Model};
use dyn_perceiver::plan::Plan;
use dyn_perceiver::runtime::{ExitSet, Runtime};
use dyn_perceiver_models::{
    Action, Config, Detection, EXITS, Extra, Metadata, Network, Seeded, Task, VideoMode, seeded_frame, seeded_image,
};
use serde_json::Value;

/// Relative L2 distance that two float32 implementations stay below.
const BOUND: f64 = 1e-4;

fn reference(kind: &str, name: &str) -> Value {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/tests/fixtures");
    serde_json::from_slice(&std::fs::read(folder.join(format!("{kind}_{name}.json"))).unwrap()).unwrap()
}

fn numbers(value: &Value) -> Vec<usize> {
    serde_json::from_value(value.clone()).unwrap()
}

fn config(name: &str, reference: &Value, classes: &str) -> Config {
    let [height, width] = numbers(&reference["input"]).try_into().unwrap();
    let depth_factor = numbers(&reference["depth_factor"]).try_into().unwrap();
    let config = Config::from_name(name).unwrap().with_depth_factor(depth_factor).with_input_shape(height, width);
    let config = config.with_classes(reference[classes].as_u64().unwrap() as usize);
    // The authors' other two backbones keep 1000 classes at exit `cnn` whatever the number of classes is.
    if name.starts_with("mobilenet") { config } else { config.with_cnn_classes(1000) }
}

fn plan(config: &Config) -> Arc<Plan> {
    let network = Network::new(config).unwrap();
    let bytes = network.to_bytes(&mut Seeded, &Metadata::imagenet(config.classes)).unwrap();
    let model = Model::from_bytes(bytes, config.name(), &LoadOptions::default()).unwrap();
    Arc::new(Plan::new(model).unwrap())
}

fn norm(values: impl IntoIterator<Item = f64>) -> f64 {
    values.into_iter().map(|v| v * v).sum::<f64>().sqrt()
}

fn holds(what: &str, values: &[f32], expected: &Value) {
    let first: Vec<f64> = serde_json::from_value(expected["first"].clone()).unwrap();
    let apart = norm(first.iter().zip(values).map(|(e, &v)| e - f64::from(v))) / norm(first.iter().copied());
    assert!(apart < BOUND, "{what}: the first values are {apart:.1e} apart");
    let length = norm(values.iter().map(|&v| f64::from(v))) / expected["l2"].as_f64().unwrap();
    assert!((length - 1.0).abs() < BOUND, "{what}: the norm is off by {:.1e}", length - 1.0);
}

fn detector_holds(name: &str) {
    let reference = reference("detection", name);
    let of = |value: &Value| value.as_u64().unwrap() as usize;
    let extra = match reference["neck"]["add_extra_convs"].as_str().unwrap() {
        "on_input" => Extra::OnInput,
        _ => Extra::OnOutput,
    };
    let (head, neck) = (&reference["head"], &reference["neck"]);
    let detection = Detection::new(of(&reference["classes"]))
        .with_pyramid(of(&neck["out_channels"]))
        .with_tower(of(&head["feat_channels"]), of(&head["stacked_convs"]))
        .with_extra(extra);
    let config = config(name, &reference, "exit_classes").with_task(Task::Detection(detection));
    let plan = plan(&config);
    let spec = plan.info().boxes.clone().unwrap();
    let names: Vec<&str> = plan.goals().iter().map(|goal| goal.name.as_str()).collect();
    assert_eq!(names, ["P5", "P4", "P3"]);
    // Coarse to fine, each costs more, and P3 costs most.
    let macs: Vec<u64> = (0..=3).map(|goals| plan.macs_with_boxes(ExitSet::default(), goals)).collect();
    assert!(macs[0] == 0 && macs[3] - macs[2] > macs[2] - macs[1]);

    let mut runtime = Runtime::new(plan.clone()).unwrap();
    let image = seeded_image(config.input_size);
    runtime.begin(&image).unwrap();
    let [height, width] = config.input_size;
    let expected = &reference["detections"];
    let limits = Limits::new(expected["score_thr"].as_f64().unwrap() as f32, of(&expected["nms_pre"]));
    let mut candidates = Box::new(Candidates::<5000>::new());
    for (goal, levels) in plan.goals().iter().enumerate() {
        let maps = runtime.advance_to_boxes(goal).unwrap();
        assert_eq!(maps.iter().map(|maps| maps.level).collect::<Vec<_>>(), levels.levels);
        for maps in maps {
            let level = &spec.levels[maps.level];
            holds(&level.classes, maps.scores, &reference["cls"][&level.name]);
            holds(&level.boxes, maps.deltas, &reference["reg"][&level.name]);
            assert_eq!(maps.shape, numbers(&reference["cls"][&level.name]["shape"])[2..]);
            let of_level = LevelMaps::new(level.stride, maps.shape, spec.classes, maps.scores, maps.deltas).unwrap();
            let (anchors, size) = (spec.anchors().unwrap(), [width as f32, height as f32]);
            candidates.add_level(maps.level as u8, &of_level, &anchors, &spec.code(), size, &limits);
        }
    }
    let found = candidates.suppress(expected["nms_iou"].as_f64().unwrap() as f32, of(&expected["max"]));
    let boxes = expected["boxes"].as_array().unwrap();
    assert_eq!(found.len(), boxes.len());
    for (found, expected) in found.iter().zip(boxes) {
        let given =
            (spec.levels[usize::from(found.level)].name.as_str(), u64::from(found.label), u64::from(found.anchor));
        let wanted = (&expected["level"], &expected["label"], &expected["anchor"]);
        assert_eq!(given, (wanted.0.as_str().unwrap(), wanted.1.as_u64().unwrap(), wanted.2.as_u64().unwrap()));
        for (corner, expected) in found.area.corners().iter().zip(expected["box"].as_array().unwrap()) {
            assert!((f64::from(*corner) - expected.as_f64().unwrap()).abs() < 0.01, "{found:?} for {expected}");
        }
        assert!((f64::from(found.score) - expected["score"].as_f64().unwrap()).abs() < 1e-4);
    }
    for (exit, name) in plan.info().exits.iter().enumerate() {
        holds(name, runtime.advance(exit).unwrap(), &reference["exits"][name]);
    }
}

#[test]
fn mobilenet_detector_finds_the_boxes_of_the_reference() {
    detector_holds("mobilenetV3_0x75_perceiver_t128");
}

#[test]
fn regnet_detector_finds_the_boxes_of_the_reference() {
    detector_holds("reg800m_perceiver_t128");
}

#[test]
fn resnet_detector_finds_the_boxes_of_the_reference() {
    detector_holds("resnet50_0375_perceiver_t128");
}

/// All exits in every frame, then frames that leave where the reference's do and hold the states behind.
fn video_holds(name: &str) {
    let reference = reference("action", name);
    let frames = reference["frames"].as_u64().unwrap() as usize;
    let config = config(name, &reference, "classes").with_task(Task::Action(Action::new(frames, VideoMode::Online)));
    let plan = plan(&config);
    let exit_of = |name: &str| plan.info().exits.iter().position(|exit| exit == name);
    let mut runtime = Runtime::new(plan.clone()).unwrap();
    for t in 0..frames {
        runtime.begin(&seeded_frame(t, config.input_size)).unwrap();
        for exit in EXITS {
            let Some(place) = exit_of(exit) else { continue };
            let expected = &reference["clip_from_past"][exit]["frames"][t];
            holds(&format!("{name} {exit}, frame {t}"), runtime.advance(place).unwrap(), expected);
        }
        for (k, state) in runtime.next_states().unwrap().iter().enumerate() {
            let length = norm(state.iter().map(|&v| f64::from(v)));
            let expected = reference["state_l2_after_frame"][t][k].as_f64().unwrap();
            assert!((length / expected - 1.0).abs() < BOUND, "{name} frame {t} state {k}: {length} for {expected}");
        }
    }
    runtime.reset();
    let early = &reference["online_with_early_exits"];
    for (t, logits) in early["logits"].as_array().unwrap().iter().enumerate() {
        runtime.begin(&seeded_frame(t, config.input_size)).unwrap();
        let logits = logits.as_object().unwrap();
        for exit in EXITS.iter().filter(|exit| logits.contains_key(**exit)) {
            let Some(place) = exit_of(exit) else { continue };
            holds(&format!("{name} {exit}, frame {t}"), runtime.advance(place).unwrap(), &logits[*exit]);
        }
    }
}

#[test]
fn mobilenet_video_holds_to_the_reference_with_held_states() {
    video_holds("mobilenetV3_0x5_perceiver_t128");
}

#[test]
fn resnet_video_holds_to_the_reference_with_held_states() {
    video_holds("resnet50_0375_perceiver_t128");
}
