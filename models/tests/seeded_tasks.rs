//! Seeded detectors and networks of videos held against figures of another implementation, computed by plain tract.

use std::collections::BTreeMap;
use std::path::Path;

use dyn_perceiver_models::{
    Action, Config, Detection, EXITS, Extra, LEVELS, Metadata, Network, Seeded, Task, VideoMode, seeded_frame,
    seeded_image,
};
use serde_json::Value;
use tract_onnx::prelude::{Framework, InferenceFact, InferenceModelExt};
use tract_onnx::tract_core::internal::*;

/// Relative L2 distance that two float32 implementations stay below.
const BOUND: f64 = 1e-4;

/// What the authors' RegNetY and ResNet-50 have at exit `cnn` whatever the number of classes is.
const AUTHORS_CNN_CLASSES: usize = 1000;

fn json(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name);
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn numbers(value: &Value) -> Vec<usize> {
    value.as_array().unwrap().iter().map(|n| n.as_u64().unwrap() as usize).collect()
}

fn config(name: &str, reference: &Value, classes: &str) -> Config {
    let [height, width] = numbers(&reference["input"]).try_into().unwrap();
    let config =
        Config::from_name(name).unwrap().with_depth_factor(numbers(&reference["depth_factor"]).try_into().unwrap());
    let config = config.with_input_shape(height, width).with_classes(reference[classes].as_u64().unwrap() as usize);
    if name.starts_with("mobilenet") { config } else { config.with_cnn_classes(AUTHORS_CNN_CLASSES) }
}

/// A network that runs, with some tensors as its outputs.
struct Runnable {
    plan: std::sync::Arc<TypedSimplePlan>,
    outputs: Vec<String>,
}

impl Runnable {
    fn new(config: &Config, inputs: &[Vec<usize>], outputs: Vec<String>) -> Runnable {
        let network = Network::new(config).unwrap();
        let bytes = network.to_bytes(&mut Seeded, &Metadata::imagenet(config.classes)).unwrap();
        let mut model = tract_onnx::onnx().model_for_read(&mut std::io::Cursor::new(bytes)).unwrap();
        for (input, shape) in inputs.iter().enumerate() {
            model.set_input_fact(input, InferenceFact::dt_shape(f32::datum_type(), shape)).unwrap();
        }
        let model = model.with_outputs_by_name(&outputs).unwrap();
        let plan = model.into_optimized().unwrap().into_runnable().unwrap();
        Runnable { plan, outputs }
    }

    fn run(&self, inputs: Vec<Tensor>) -> BTreeMap<String, Tensor> {
        let made = self.plan.run(inputs.into_iter().map(Tensor::into_tvalue).collect()).unwrap();
        self.outputs.iter().cloned().zip(made.into_iter().map(TValue::into_tensor)).collect()
    }
}

fn norm(values: impl IntoIterator<Item = f64>) -> f64 {
    values.into_iter().map(|v| v * v).sum::<f64>().sqrt()
}

/// L2 norm and first values of a tensor against the reference.
fn holds(what: &str, values: &[f32], expected: &Value) {
    let first: Vec<f64> = serde_json::from_value(expected["first"].clone()).unwrap();
    let apart = norm(first.iter().zip(values).map(|(e, &v)| e - f64::from(v))) / norm(first.iter().copied());
    assert!(apart < BOUND, "{what}: the first values are {apart:.1e} apart");
    let length = norm(values.iter().map(|&v| f64::from(v))) / expected["l2"].as_f64().unwrap();
    assert!((length - 1.0).abs() < BOUND, "{what}: the norm is off by {:.1e}", length - 1.0);
    if let Some(sum) = expected["sum"].as_f64() {
        let actual: f64 = values.iter().map(|&v| f64::from(v)).sum();
        // Sums cancel: what counts is the sum of magnitudes.
        let scale: f64 = values.iter().map(|&v| f64::from(v.abs())).sum();
        assert!((actual - sum).abs() < BOUND * scale, "{what}: the sum is {actual}, expected {sum}");
    }
}

fn detector_holds(name: &str) {
    let reference = json(&format!("detection_{name}.json"));
    let head = &reference["head"];
    let of = |value: &Value| value.as_u64().unwrap() as usize;
    let extra = match reference["neck"]["add_extra_convs"].as_str().unwrap() {
        "on_input" => Extra::OnInput,
        _ => Extra::OnOutput,
    };
    let detection = Detection::new(of(&reference["classes"]))
        .with_pyramid(of(&reference["neck"]["out_channels"]))
        .with_tower(of(&head["feat_channels"]), of(&head["stacked_convs"]))
        .with_extra(extra);
    let config = config(name, &reference, "exit_classes").with_task(Task::Detection(detection));
    let mut outputs: Vec<String> = EXITS.map(str::to_owned).to_vec();
    outputs.extend(LEVELS.iter().flat_map(|level| [format!("cls.{level}"), format!("box.{level}")]));
    // The pyramid on its way: outputs of nodes inside the network.
    outputs.extend((0..5).map(|i| format!("neck/out{i}")));
    let [height, width] = config.input_size;
    let network = Runnable::new(&config, &[vec![1, 3, height, width]], outputs);
    let image =
        Tensor::from_shape(&[1, 3, config.input_size[0], config.input_size[1]], &seeded_image(config.input_size));
    let made = network.run(vec![image.unwrap()]);
    let floats = |output: &str| made[output].try_as_plain_ram().unwrap().as_slice::<f32>().unwrap().to_vec();
    for exit in EXITS {
        holds(exit, &floats(exit), &reference["exits"][exit]);
    }
    for (i, level) in LEVELS.iter().enumerate() {
        for (output, part) in
            [(format!("neck/out{i}"), "pyramid"), (format!("cls.{level}"), "cls"), (format!("box.{level}"), "reg")]
        {
            assert_eq!(made[&output].shape(), numbers(&reference[part][level]["shape"]), "{name} {output}");
            holds(&output, &floats(&output), &reference[part][level]);
        }
    }
}

#[test]
fn rectangular_mobilenet_detector_holds_to_the_reference() {
    detector_holds("mobilenetV3_0x75_perceiver_t128");
}

#[test]
fn regnet_detector_holds_to_the_reference() {
    detector_holds("reg800m_perceiver_t128");
}

#[test]
fn resnet_detector_holds_to_the_reference() {
    detector_holds("resnet50_0375_perceiver_t128");
}

fn video(name: &str, mode: VideoMode) -> (Config, Value) {
    let reference = json(&format!("action_{name}.json"));
    let frames = reference["frames"].as_u64().unwrap() as usize;
    (config(name, &reference, "classes").with_task(Task::Action(Action::new(frames, mode))), reference)
}

/// Logits of each frame and of the clip, at each exit.
fn clip_holds(name: &str, mode: VideoMode, part: &str) {
    let (config, reference) = video(name, mode);
    // What is averaged over frames: the last layer of each exit.
    let per_frame = ["classification/early3", "classification/att", "feature/cnn", "merge"];
    let per_frame = per_frame.map(|exit| format!("{exit}/classifier"));
    let outputs = EXITS.map(str::to_owned).into_iter().chain(per_frame.clone()).collect();
    let frames = reference["frames"].as_u64().unwrap() as usize;
    let [height, width] = config.input_size;
    let network = Runnable::new(&config, &[vec![frames, 3, height, width]], outputs);
    let clip: Vec<f32> = (0..frames).flat_map(|t| seeded_frame(t, config.input_size)).collect();
    let shape = [frames, 3, config.input_size[0], config.input_size[1]];
    let made = network.run(vec![Tensor::from_shape(&shape, &clip).unwrap()]);
    let floats = |output: &str| made[output].try_as_plain_ram().unwrap().as_slice::<f32>().unwrap().to_vec();
    for (exit, inner) in EXITS.iter().zip(&per_frame) {
        let expected = &reference[part][exit];
        let classes = made[*exit].shape()[1];
        assert_eq!(made[*exit].shape(), [1, classes]);
        holds(&format!("{name} {part} {exit}, mean"), &floats(exit), &expected["mean"]);
        for (t, frame) in floats(inner).chunks_exact(classes).enumerate() {
            holds(&format!("{name} {part} {exit}, frame {t}"), frame, &expected["frames"][t]);
        }
    }
}

/// Logits of each frame and its states, first with all exits, then leaving where the reference does.
fn online_holds(name: &str) {
    let (config, reference) = video(name, VideoMode::Online);
    let shifts = reference["shifts"].as_array().unwrap();
    let mut outputs: Vec<String> = EXITS.map(str::to_owned).to_vec();
    outputs.extend((0..shifts.len()).map(|k| format!("state.{k}.next")));
    let [height, width] = config.input_size;
    let states = shifts.iter().map(|shift| numbers(&shift["state"]));
    let inputs: Vec<Vec<usize>> = std::iter::once(vec![1, 3, height, width]).chain(states).collect();
    let network = Runnable::new(&config, &inputs, outputs);
    let zeros = || -> Vec<Tensor> {
        shifts.iter().map(|shift| Tensor::zero::<f32>(&numbers(&shift["state"])).unwrap()).collect()
    };
    let frames = reference["frames"].as_u64().unwrap() as usize;
    let image = |t| {
        Tensor::from_shape(&[1, 3, config.input_size[0], config.input_size[1]], &seeded_frame(t, config.input_size))
            .unwrap()
    };
    let floats = |tensor: &Tensor| tensor.try_as_plain_ram().unwrap().as_slice::<f32>().unwrap().to_vec();
    let step = |t, states: &[Tensor]| network.run([image(t)].into_iter().chain(states.iter().cloned()).collect());

    let mut states = zeros();
    for t in 0..frames {
        let made = step(t, &states);
        for exit in EXITS {
            let expected = &reference["clip_from_past"][exit]["frames"][t];
            holds(&format!("{name} online {exit}, frame {t}"), &floats(&made[exit]), expected);
        }
        for (k, state) in states.iter_mut().enumerate() {
            *state = made[&format!("state.{k}.next")].clone();
            let length = norm(floats(state).iter().map(|&v| f64::from(v)));
            let expected = reference["state_l2_after_frame"][t][k].as_f64().unwrap();
            assert!((length / expected - 1.0).abs() < BOUND, "{name} frame {t} state {k}: {length} for {expected}");
        }
    }
    // A frame that leaves early leaves the states of later stages as they were.
    let mut states = zeros();
    let early = &reference["online_with_early_exits"];
    for (t, exit) in early["exits"].as_array().unwrap().iter().enumerate() {
        let made = step(t, &states);
        for (exit, expected) in early["logits"][t].as_object().unwrap() {
            holds(&format!("{name} leaving {exit}, frame {t}"), &floats(&made[exit]), expected);
        }
        let last_stage = match exit.as_str().unwrap() {
            "early3" => 2,
            "att" => 3,
            _ => 4,
        };
        for (k, state) in states.iter_mut().enumerate() {
            if shifts[k]["stage"].as_u64().unwrap() <= last_stage {
                *state = made[&format!("state.{k}.next")].clone();
            }
        }
    }
}

#[test]
fn mobilenet_video_holds_to_the_reference_frame_by_frame() {
    online_holds("mobilenetV3_0x5_perceiver_t128");
}

#[test]
fn mobilenet_video_holds_to_the_reference_in_clips() {
    clip_holds("mobilenetV3_0x5_perceiver_t128", VideoMode::Clip, "clip_both_ways");
    clip_holds("mobilenetV3_0x5_perceiver_t128", VideoMode::ClipFromPast, "clip_from_past");
}

#[test]
fn resnet_video_holds_to_the_reference_frame_by_frame() {
    online_holds("resnet50_0375_perceiver_t128");
}

#[test]
fn resnet_video_holds_to_the_reference_in_clips() {
    clip_holds("resnet50_0375_perceiver_t128", VideoMode::Clip, "clip_both_ways");
    clip_holds("resnet50_0375_perceiver_t128", VideoMode::ClipFromPast, "clip_from_past");
}
