//! The Dyn-Perceiver family through this project's own runtime: reference logits, every flag, any size, any batch.

use std::path::Path;
use std::sync::Arc;

use dyn_perceiver::model::{LoadOptions, Model};
use dyn_perceiver::plan::Plan;
use dyn_perceiver::runtime::Runtime;
use dyn_perceiver_models::{Config, EXITS, Metadata, Network, Seeded, seeded_image};
use serde_json::Value;

/// Logits of the four exits, in the order of `EXITS`.
fn logits(config: &Config) -> Vec<Vec<f32>> {
    let network = Network::new(config).unwrap();
    run(config, network.to_bytes(&mut Seeded, &Metadata::imagenet(config.classes)).unwrap())
}

fn run(config: &Config, bytes: Vec<u8>) -> Vec<Vec<f32>> {
    let model = Model::from_bytes(bytes, config.name(), &LoadOptions::default()).unwrap();
    let plan = Arc::new(Plan::new(model).unwrap());
    let order: Vec<String> = plan.stages().iter().map(|stage| stage.exit.clone()).collect();
    let mut all = Runtime::new(plan).unwrap().all_logits(&seeded_image(config.input_size)).unwrap();
    EXITS.iter().map(|exit| std::mem::take(&mut all[order.iter().position(|name| name == exit).unwrap()])).collect()
}

fn norm(values: impl IntoIterator<Item = f64>) -> f64 {
    values.into_iter().map(|v| v * v).sum::<f64>().sqrt()
}

/// First 16 logits, L2 norm over all and arg-max of every exit, against figures of another implementation in float32.
fn holds_to_the_reference(name: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/tests/fixtures").join(format!("{name}.json"));
    let reference: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let factors: Vec<usize> = serde_json::from_value(reference["depth_factor"].clone()).unwrap();
    let config = Config::from_name(name).unwrap().with_depth_factor(factors.try_into().unwrap());
    for (exit, logits) in EXITS.iter().zip(logits(&config)) {
        let expected: Vec<f64> = serde_json::from_value(reference["logits"][exit].clone()).unwrap();
        let apart = norm(expected.iter().zip(&logits).map(|(e, &l)| e - f64::from(l))) / norm(expected.iter().copied());
        assert!(apart < 1e-4, "{name} {exit}: relative error {apart:.1e}");
        let length = reference["logits_l2"][exit].as_f64().unwrap();
        let error = (norm(logits.iter().map(|&l| f64::from(l))) / length - 1.0).abs();
        assert!(error < 1e-4, "{name} {exit}: the norm is off by {error:.1e}");
        let best = (0..logits.len()).max_by(|&a, &b| logits[a].total_cmp(&logits[b])).unwrap();
        assert_eq!(best as u64, reference["argmax"][exit].as_u64().unwrap(), "{name} {exit}");
    }
}

#[test]
fn mobilenet_0x5_holds_to_the_reference() {
    holds_to_the_reference("mobilenetV3_0x5_perceiver_t128");
}

#[test]
fn mobilenet_0x75_holds_to_the_reference() {
    holds_to_the_reference("mobilenetV3_0x75_perceiver_t128");
}

#[test]
fn regnet_800m_holds_to_the_reference() {
    holds_to_the_reference("reg800m_perceiver_t128");
}

#[test]
fn resnet_0375_holds_to_the_reference() {
    holds_to_the_reference("resnet50_0375_perceiver_t128");
}

#[test]
fn efficientnet_lite0_holds_to_the_reference() {
    holds_to_the_reference("efficientnet_lite0_perceiver_t64");
}

#[test]
fn weights_in_half_precision_change_logits_by_their_rounding_only() {
    let config = Config::from_name("efficientnet_lite0_perceiver_t8").unwrap().with_input_size(64).with_classes(10);
    let network = Network::new(&config).unwrap();
    let whole = network.to_bytes(&mut Seeded, &Metadata::imagenet(10)).unwrap();
    let network = network.with_half_weights(true);
    let half = network.to_bytes(&mut Seeded, &Metadata::imagenet(10)).unwrap();
    assert!(half.len() < whole.len() * 11 / 20, "{} of {}", half.len(), whole.len());
    for (whole, half) in run(&config, whole).iter().zip(run(&config, half)) {
        let apart = norm(whole.iter().zip(half).map(|(&a, b)| f64::from(a - b)));
        let share = apart / norm(whole.iter().map(|&v| f64::from(v)));
        assert!(share > 0.0 && share < 1e-2, "relative difference {share:.1e}");
    }
}

#[test]
fn every_combination_of_flags_runs() {
    // All flags of the first; of the others each flag left out alone.
    runs_with_flags("mobilenetV3_0x05_perceiver_t8", 0..64);
    runs_with_flags("efficientnet_lite0_perceiver_t8", (0..6).map(|bit| 63 ^ (1 << bit)));
}

fn runs_with_flags(name: &str, combinations: impl Iterator<Item = u32>) {
    let base = Config::from_name(name).unwrap();
    let base = base.with_input_size(64).with_classes(10).with_sa_widening(1);
    let mut seen = Vec::new();
    for bits in combinations {
        let on = |bit: u32| bits >> bit & 1 == 1;
        let mut config = base.clone();
        config.with_x2z = on(0);
        config.with_z2x = on(1);
        config.with_dwc = on(2);
        config.with_last_ca = on(3);
        config.with_isc = on(4);
        config.spatial_reduction = on(5);
        let logits = logits(&config);
        assert!(logits.iter().all(|exit| exit.len() == 10 && exit.iter().all(|v| v.is_finite())), "{config:?}");
        seen.push(logits);
    }
    // A flag changes something: no two combinations give the same logits everywhere.
    for (i, a) in seen.iter().enumerate() {
        assert!(seen[i + 1..].iter().all(|b| a != b), "combination number {i} of {name} has a twin");
    }
}

#[test]
fn every_backbone_runs_at_any_input_size() {
    // Sizes whose features are smaller than 7x7, no multiple of it, and both.
    for (name, input_size) in [
        ("mobilenetV3_0x05_perceiver_t16", 56),
        ("reg400m_perceiver_t8", 40),
        ("resnet50_0375_perceiver_t12", 97),
        ("efficientnet_lite0_perceiver_t8", 75),
    ] {
        let config = Config::from_name(name).unwrap().with_input_size(input_size).with_classes(7);
        assert!(logits(&config).iter().all(|exit| exit.len() == 7 && exit.iter().all(|v| v.is_finite())), "{name}");
    }
}
