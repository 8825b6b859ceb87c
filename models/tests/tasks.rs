//! Detectors and networks of videos beside the reference: keys, shapes, what a checkpoint is told to be, and the numbers of
//! seeded networks, computed by plain tract.

use std::collections::BTreeMap;
use std::path::Path;

use dyn_perceiver_models::{
    Action, Config, Detection, Error, Extra, Metadata, Network, Renamed, Seeded, Task, VideoMode, Weights,
};
use serde_json::Value;

type Shapes = BTreeMap<String, Vec<usize>>;

const DETECTORS: [&str; 3] =
    ["mobilenetV3_0x75_perceiver_t128", "reg800m_perceiver_t128", "resnet50_0375_perceiver_t128"];
const VIDEOS: [&str; 2] = ["mobilenetV3_0x5_perceiver_t128", "resnet50_0375_perceiver_t128"];

fn json(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name);
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn number(value: &Value) -> usize {
    value.as_u64().unwrap() as usize
}

fn numbers(value: &Value) -> Vec<usize> {
    value.as_array().unwrap().iter().map(number).collect()
}

fn base(name: &str, reference: &Value) -> Config {
    let [height, width] = numbers(&reference["input"]).try_into().unwrap();
    let depth_factor = numbers(&reference["depth_factor"]).try_into().unwrap();
    let config = Config::from_name(name).unwrap().with_depth_factor(depth_factor).with_input_shape(height, width);
    // The authors' other two backbones keep 1000 classes at exit `cnn` whatever the number of classes is.
    if name.starts_with("mobilenet") { config } else { config.with_cnn_classes(1000) }
}

fn detector(name: &str) -> (Config, Value) {
    let reference = json(&format!("detection_{name}.json"));
    let extra = match reference["neck"]["add_extra_convs"].as_str().unwrap() {
        "on_input" => Extra::OnInput,
        "on_lateral" => Extra::OnLateral,
        _ => Extra::OnOutput,
    };
    let head = &reference["head"];
    let detection = Detection::new(number(&reference["classes"]))
        .with_pyramid(number(&reference["neck"]["out_channels"]))
        .with_tower(number(&head["feat_channels"]), number(&head["stacked_convs"]))
        .with_extra(extra);
    let config = base(name, &reference).with_classes(number(&reference["exit_classes"]));
    (config.with_task(Task::Detection(detection)), reference)
}

fn video(name: &str, mode: VideoMode) -> (Config, Value) {
    let reference = json(&format!("action_{name}.json"));
    let config = base(name, &reference).with_classes(number(&reference["classes"]));
    (config.with_task(Task::Action(Action::new(number(&reference["frames"]), mode))), reference)
}

fn state_dict(file: &str) -> Shapes {
    json(file).as_object().unwrap().iter().map(|(key, shape)| (key.clone(), numbers(shape))).collect()
}

fn shapes(network: &Network) -> Shapes {
    network.parameters().iter().map(|(key, p)| (key.clone(), p.shape.clone())).collect()
}

#[test]
fn state_dicts_of_detectors_are_those_of_the_reference_and_recognised() {
    for name in DETECTORS {
        let (config, reference) = detector(name);
        let network = Network::new(&config).unwrap();
        let expected = state_dict(&format!("detection_{name}.state_dict.json"));
        assert_eq!(shapes(&network), expected, "{name}");
        assert_eq!(network.parameter_count(), number(&reference["params"]), "{name}");
        let recognised = Config::recognise(Path::new(name), &expected, None).unwrap();
        let [height, width] = config.input_size;
        assert_eq!(recognised.with_input_shape(height, width), config);
    }
}

#[test]
fn state_dicts_of_videos_are_those_of_the_reference_and_recognised() {
    for name in VIDEOS {
        for mode in [VideoMode::Online, VideoMode::Clip, VideoMode::ClipFromPast] {
            let (config, _) = video(name, mode);
            let network = Network::new(&config).unwrap();
            let expected = state_dict(&format!("action_{name}.state_dict.json"));
            assert_eq!(shapes(&network), expected, "{name}");
            let recognised = Config::recognise(Path::new(name), &expected, None).unwrap();
            assert_eq!(recognised.task, Task::Action(Action::new(8, VideoMode::Online)));
            assert_eq!(recognised.with_task(config.task.clone()), config);
        }
    }
}

/// Shapes without numbers, as a checkpoint of those keys.
struct Keys(Shapes);

impl Weights for Keys {
    fn shapes(&self) -> Option<&Shapes> {
        Some(&self.0)
    }

    fn read(&mut self, _: &str, shape: &[usize]) -> Result<Vec<f32>, Error> {
        Ok(vec![0.0; shape.iter().product()])
    }
}

#[test]
fn keys_of_other_programs_are_taken() {
    let (config, _) = video(VIDEOS[0], VideoMode::Online);
    let network = Network::new(&config).unwrap();
    let rename = |rename: &dyn Fn(&str) -> String| -> Shapes {
        shapes(&network).into_iter().map(|(key, shape)| (rename(&key), shape)).collect()
    };
    let tsm = rename(&|key| format!("module.base_model.{key}"));
    let plain = rename(&|key| key.replace(".net.weight", ".weight"));
    for keys in [tsm, plain.clone()] {
        assert!(network.check(&Keys(keys.clone())).is_err());
        network.check(&Renamed::new(&network, &mut Keys(keys))).unwrap();
    }
    // Without `.net.` nothing in a checkpoint says that it is of videos.
    assert_eq!(Config::recognise(Path::new("plain"), &plain, None).unwrap().task, Task::Classification);
    let (config, _) = detector(DETECTORS[0]);
    let network = Network::new(&config).unwrap();
    let mmdetection: Shapes =
        shapes(&network).into_iter().map(|(key, s)| (key.replace("dyn_perceiver.", ""), s)).collect();
    network.check(&Renamed::new(&network, &mut Keys(mmdetection.clone()))).unwrap();
    assert!(matches!(Config::recognise(Path::new("mm"), &mmdetection, None).unwrap().task, Task::Detection(_)));
    let mut surplus = mmdetection;
    surplus.insert("new_fc.weight".to_owned(), vec![12, 64]);
    let error = network.check(&Renamed::new(&network, &mut Keys(surplus))).unwrap_err();
    assert!(error.to_string().contains("new_fc.weight"), "{error}");
}

#[test]
fn the_three_sources_of_p6_differ_in_one_shape_alone() {
    let (config, _) = detector(DETECTORS[1]);
    let of = |extra| {
        let Task::Detection(detection) = config.task.clone() else { unreachable!() };
        let config = config.clone().with_task(Task::Detection(detection.with_extra(extra)));
        shapes(&Network::new(&config).unwrap())
    };
    let (input, lateral, output) = (of(Extra::OnInput), of(Extra::OnLateral), of(Extra::OnOutput));
    assert_eq!(lateral, output);
    let differ: Vec<&String> =
        input.iter().filter(|(key, shape)| output[*key] != **shape).map(|(key, _)| key).collect();
    assert_eq!(differ, ["neck.fpn_convs.3.conv.weight"]);
}

#[test]
fn a_frame_with_state_costs_what_a_frame_costs() {
    for name in VIDEOS {
        let (config, reference) = video(name, VideoMode::Online);
        let online = Network::new(&config).unwrap();
        let plain = Network::new(&config.clone().with_task(Task::Classification)).unwrap();
        assert_eq!(online.macs_per_exit(), plain.macs_per_exit());
        let frames = number(&reference["frames"]) as u64;
        let clip = Network::new(&video(name, VideoMode::Clip).0).unwrap();
        assert_eq!(clip.macs_per_exit(), plain.macs_per_exit().map(|macs| macs * frames));
    }
}

#[test]
fn coarse_levels_need_nothing_of_fine_ones() {
    let network = Network::new(&detector(DETECTORS[0]).0).unwrap();
    let to = |levels: &[&str]| {
        let maps: Vec<String> = levels.iter().flat_map(|l| [format!("cls.{l}"), format!("box.{l}")]).collect();
        network.macs_to(&maps.iter().map(String::as_str).collect::<Vec<_>>())
    };
    let (coarse, middle, all) =
        (to(&["P5", "P6", "P7"]), to(&["P4", "P5", "P6", "P7"]), to(&["P3", "P4", "P5", "P6", "P7"]));
    assert!(coarse < middle && middle < all);
    // P3 is the larger part of what pyramid and head need.
    assert!(2 * (all - middle) > all - network.macs_per_exit()[3]);
}

#[test]
fn sizes_that_no_detector_has_are_refused() {
    let (config, _) = detector(DETECTORS[0]);
    assert!(Network::new(&config.clone().with_input_shape(96, 128)).is_ok());
    for (height, width) in [(96, 120), (80, 96)] {
        let error = Network::new(&config.clone().with_input_shape(height, width)).unwrap_err();
        assert!(error.to_string().contains("multiple of 32"), "{error}");
    }
}

#[test]
fn files_say_how_boxes_and_states_are_read() {
    let contains = |bytes: &[u8], text: &str| bytes.windows(text.len()).any(|window| window == text.as_bytes());
    let tiny = Config::from_name("mobilenetV3_0x05_perceiver_t8").unwrap().with_input_shape(32, 64).with_classes(2);
    let task = Task::Detection(Detection::new(3).with_pyramid(8).with_tower(8, 1));
    let network = Network::new(&tiny.clone().with_task(task)).unwrap();
    let mut metadata = Metadata::imagenet(2);
    metadata.box_labels = ["a", "b", "c"].map(str::to_owned).to_vec();
    let bytes = network.to_bytes(&mut Seeded, &metadata).unwrap();
    for text in ["dyn_perceiver.boxes", "\"labels\":[\"a\",\"b\",\"c\"]", "dyn_perceiver.presence", "32x64", "box.P7"] {
        assert!(contains(&bytes, text), "{text}");
    }
    metadata.box_labels.pop();
    assert!(network.to_bytes(&mut Seeded, &metadata).is_err());
    let network = Network::new(&tiny.with_task(Task::Action(Action::new(8, VideoMode::Online)))).unwrap();
    let mut metadata = Metadata::imagenet(2);
    metadata.frame_period = Some(0.25);
    let bytes = network.to_bytes(&mut Seeded, &metadata).unwrap();
    for text in ["dyn_perceiver.states", "[\"state.0\",\"state.0.next\"]", "dyn_perceiver.frame_period", "0.25"] {
        assert!(contains(&bytes, text), "{text}");
    }
    metadata.frame_period = Some(0.0);
    assert!(network.to_bytes(&mut Seeded, &metadata).is_err());
}
