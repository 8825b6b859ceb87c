//! The described networks beside the reference: state-dict keys, parameter counts, and what a checkpoint is told to be.

use std::collections::BTreeMap;
use std::path::Path;

use dyn_perceiver_models::{Config, Metadata, Network, ParameterKind, Seeded, family};
use serde_json::Value;

const REFERENCES: [&str; 5] = [
    "efficientnet_lite0_perceiver_t64",
    "mobilenetV3_0x5_perceiver_t128",
    "mobilenetV3_0x75_perceiver_t128",
    "reg800m_perceiver_t128",
    "resnet50_0375_perceiver_t128",
];

fn json(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name);
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn numbers(value: &Value) -> Vec<usize> {
    value.as_array().unwrap().iter().map(|n| n.as_u64().unwrap() as usize).collect()
}

fn reference(name: &str) -> (Config, Value) {
    let reference = json(&format!("{name}.json"));
    let depth_factor = numbers(&reference["depth_factor"]).try_into().unwrap();
    (Config::from_name(name).unwrap().with_depth_factor(depth_factor), reference)
}

fn state_dict(name: &str) -> BTreeMap<String, Vec<usize>> {
    let state = json(&format!("{name}.state_dict.json"));
    state.as_object().unwrap().iter().map(|(key, shape)| (key.clone(), numbers(shape))).collect()
}

#[test]
fn state_dicts_are_those_of_the_reference_key_by_key() {
    for name in REFERENCES {
        let (config, reference) = reference(name);
        let network = Network::new(&config).unwrap();
        let shapes: BTreeMap<String, Vec<usize>> =
            network.parameters().iter().map(|(key, p)| (key.clone(), p.shape.clone())).collect();
        assert_eq!(shapes, state_dict(name), "{name}");
        assert_eq!(network.parameter_count() as u64, reference["params"].as_u64().unwrap(), "{name}");
    }
}

#[test]
fn macs_are_near_the_authors_estimate() {
    for name in REFERENCES {
        let (config, reference) = reference(name);
        let [early3, att, _, merge] = Network::new(&config).unwrap().macs_per_exit();
        // The authors estimate cumulatively; exit cnn alone needs less than att and cnn together.
        let Some(estimate) = reference["gmacs_per_exit"].as_array() else { continue };
        for (macs, index) in [(early3, 0), (att, 1), (merge, 3)] {
            let estimate = estimate[index].as_f64().unwrap();
            assert!((macs as f64 / 1e9 / estimate - 1.0).abs() < 0.011, "{name}: {macs} against {estimate} G");
        }
    }
}

#[test]
fn checkpoints_are_recognised_from_keys_and_shapes() {
    for name in REFERENCES {
        let (config, _) = reference(name);
        assert_eq!(Config::recognise(Path::new(name), &state_dict(name), None).unwrap(), config);
    }
    for config in family() {
        assert_eq!(recognised(&config), config);
    }
}

fn recognised(config: &Config) -> Config {
    let network = Network::new(config).unwrap();
    let shapes = network.parameters().iter().map(|(key, p)| (key.clone(), p.shape.clone())).collect();
    Config::recognise(Path::new("test"), &shapes, None).unwrap()
}

/// All 64 combinations of the flags.
fn combinations(base: &Config) -> impl Iterator<Item = Config> {
    (0..64).map(|bits: u32| {
        let on = |bit: u32| bits >> bit & 1 == 1;
        let mut config = base.clone();
        config.with_x2z = on(0);
        config.with_z2x = on(1);
        config.with_dwc = on(2);
        config.with_last_ca = on(3);
        config.with_isc = on(4);
        config.spatial_reduction = on(5);
        config
    })
}

#[test]
fn all_flags_are_recognised_too() {
    let base = Config::from_name("mobilenetV3_0x3_perceiver_t16").unwrap();
    let mut base = base.with_depth_factor([1, 2, 1, 3]).with_sa_widening(2).with_classes(10);
    for config in combinations(&base) {
        assert_eq!(recognised(&config), config);
    }
    // Without pooling the number of positions tells the input size.
    base.spatial_reduction = false;
    base.input_size = [96, 96];
    assert_eq!(recognised(&base).input_size, [96, 96]);
    base.backbone = "reg400m".to_owned();
    assert_eq!(recognised(&base).input_size, [96, 96]);
}

#[test]
fn labels_stand_in_the_file_for_1000_classes_only() {
    let config = Config::from_name("mobilenetV3_0x05_perceiver_t8").unwrap().with_input_size(32);
    let bytes = |classes: usize| {
        let network = Network::new(&config.clone().with_classes(classes)).unwrap();
        network.to_bytes(&mut Seeded, &Metadata::imagenet(classes)).unwrap()
    };
    let contains = |bytes: &[u8], text: &[u8]| bytes.windows(text.len()).any(|window| window == text);
    assert!(contains(&bytes(1000), b"\"tench\",\"goldfish\""));
    assert!(!contains(&bytes(10), b"dyn_perceiver.labels"));
    assert!(contains(&bytes(10), b"dyn_perceiver.mean"));
    let network = Network::new(&config.with_classes(10)).unwrap();
    let mut wrong = Metadata::imagenet(10);
    wrong.labels = vec!["one".to_owned()];
    assert!(network.to_bytes(&mut Seeded, &wrong).is_err());
}

#[test]
fn counters_are_no_parameters() {
    let network = Network::new(&Config::from_name("reg400m_perceiver_t32").unwrap()).unwrap();
    for (key, parameter) in network.parameters() {
        let kind = match key.rsplit('.').next() {
            Some("num_batches_tracked") => ParameterKind::Counter,
            Some("running_mean" | "running_var") => ParameterKind::Statistic,
            _ => ParameterKind::Learned,
        };
        assert_eq!(parameter.kind, kind, "{key}");
    }
}
