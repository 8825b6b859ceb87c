//! What exporters and quantisers write, against ONNX Runtime's answers. The files and the answers are made by
//! `tests/fixtures/onnx/make.py`.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;

use dyn_perceiver::model::{LoadOptions, Model, ModelError, ModelInfo, PreprocessingSource};
use dyn_perceiver::plan::Plan;
use dyn_perceiver::runtime::Runtime;

type Rows = BTreeMap<String, Vec<f32>>;

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/onnx")
}

fn file(name: &str) -> PathBuf {
    folder().join(format!("{name}.onnx"))
}

fn reference(name: &str) -> Rows {
    let text = std::fs::read_to_string(folder().join("logits.json")).unwrap();
    let mut all: BTreeMap<String, Rows> = serde_json::from_str(&text).unwrap();
    all.remove(name).unwrap()
}

/// The image that the answers are for, in the units that the model takes.
fn image(info: &ModelInfo) -> Vec<f32> {
    let bytes = info.preprocessing_source == PreprocessingSource::Pixels;
    let pixel = |place: usize| (place * 37 % 101) as f32 / 100.0;
    (0..info.input.len())
        .map(|place| if bytes { (pixel(place) * 255.0).round_ties_even() } else { pixel(place) })
        .collect()
}

fn logits(name: &str, options: &LoadOptions) -> (ModelInfo, Rows) {
    let plan = Arc::new(Plan::new(Model::load_with(file(name), options).unwrap()).unwrap());
    let info = plan.info().clone();
    let mut runtime = Runtime::new(plan).unwrap();
    // Another image goes first, of which nothing may be left.
    let other: Vec<f32> = image(&info).into_iter().rev().collect();
    runtime.all_logits(&other).unwrap();
    let rows = runtime.all_logits(&image(&info)).unwrap();
    let rows = info.exits.iter().cloned().zip(rows).collect();
    (info, rows)
}

fn assert_close(name: &str, actual: &[f32], expected: &[f32], tolerance: f32) {
    assert_eq!(actual.len(), expected.len(), "{name}");
    for (actual, expected) in actual.iter().zip(expected) {
        assert!((actual - expected).abs() <= tolerance, "{name}: {actual} instead of {expected}");
    }
}

fn softmax(logits: &[f32]) -> Vec<f32> {
    let exp: Vec<f32> = logits.iter().map(|logit| logit.exp()).collect();
    let sum: f32 = exp.iter().sum();
    exp.iter().map(|value| value / sum).collect()
}

/// The whole message, causes and all.
fn refusal(name: &str, options: &LoadOptions) -> String {
    let error = Model::load_with(file(name), options).unwrap_err();
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text += &format!(": {error}");
        cause = error.source();
    }
    text.replace(&format!("{}: ", file(name).display()), "")
}

#[test]
fn exported_models_match_onnx_runtime() {
    for (name, tolerance) in [
        ("two_exits", 1e-5),
        ("external_data", 1e-5),
        ("half_inputs", 5e-3),
        ("half_weights", 5e-3),
        ("dynamic_batch_with_shapes", 1e-5),
        ("channels_last", 1e-5),
        ("channels_last_bytes", 1e-5),
        ("exits_with_trailing_axes", 1e-5),
        ("log_softmax", 1e-5),
        ("batch_norm", 1e-5),
        ("local_function", 1e-5),
        ("decided_branch", 1e-5),
        ("activations", 1e-5),
        ("quantised", 1e-4),
        ("quantised_qdq", 1e-4),
        ("quantised_qdq_signed", 1e-4),
        ("quantised_operators", 1e-4),
        ("fixed_batch", 1e-5),
        ("control_characters", 1e-5),
        ("einsum_ellipsis", 1e-5),
        ("float_range", 1e-5),
        ("cutting_pads", 1e-5),
        ("cutting_pads_attribute", 1e-5),
        ("upsample", 1e-5),
        ("winograd", 1e-5),
        ("lstm", 1e-5),
        ("gru", 1e-5),
        ("rnn", 1e-5),
        ("arithmetic", 1e-5),
    ] {
        let (_, rows) = logits(name, &LoadOptions::default());
        let expected = reference(name);
        assert!(rows.keys().eq(expected.keys()), "{name}: {:?}", rows.keys());
        for (exit, row) in &rows {
            assert_close(name, row, &expected[exit], tolerance);
        }
    }
}

#[test]
fn layers_of_quantised_networks_run_in_int8() {
    for (name, int8) in [("two_exits", 0), ("quantised", 1), ("quantised_qdq", 3), ("quantised_operators", 3)] {
        let plan = Plan::new(Model::load(file(name)).unwrap()).unwrap();
        // The first convolution reads an image of three channels; the rest fits, if what it reads is quantised.
        assert_eq!((plan.layers().int8, plan.layers().f32), (int8, 4 - int8), "{name}");
    }
}

#[test]
fn exits_that_end_in_softmax_are_read_before_it() {
    for name in ["softmax", "softmax_shaped", "softmax_written_out"] {
        let (info, rows) = logits(name, &LoadOptions::default());
        let (plain, expected) = (reference("two_exits"), reference(name));
        for (exit, row) in &rows {
            assert_close(name, &softmax(row), &expected[exit], 1e-5);
            if name != "softmax_written_out" {
                assert_close(name, row, &plain[exit], 1e-5);
            }
        }
        assert!(info.notes[0].contains("soft-max"), "{:?}", info.notes);
    }
}

#[test]
fn one_output_is_a_binary_classifier() {
    for (name, sigmoid) in [("binary_sigmoid", true), ("binary_logit", false)] {
        let (info, rows) = logits(name, &LoadOptions::default());
        assert_eq!(info.classes, 2);
        for (exit, expected) in reference(name) {
            let probability = softmax(&rows[&exit])[1];
            let expected = if sigmoid { expected[0] } else { 1.0 / (1.0 + (-expected[0]).exp()) };
            assert!((probability - expected).abs() < 1e-5, "{name}: {probability} instead of {expected}");
            assert_eq!(rows[&exit][0], 0.0);
        }
    }
}

#[test]
fn exits_that_give_several_labels_are_refused() {
    let text = refusal("sigmoid_multi_label", &LoadOptions::default());
    assert_eq!(
        text,
        "exit \"exit1\" ends in a sigmoid over 3 outputs: it gives several labels at once, and confidence is defined for \
         one; leave it out with --exits, or export one label per image with a soft-max"
    );
}

#[test]
fn dropout_in_training_mode_is_left_out_and_told() {
    let (info, rows) = logits("dropout_training", &LoadOptions::default());
    assert_close("dropout", &rows["exit1"], &reference("two_exits")["exit1"], 1e-5);
    assert!(info.warnings[0].contains("\"drop\"") && info.warnings[0].contains("model.eval()"), "{:?}", info.warnings);
}

#[test]
fn batch_normalisation_in_training_mode_is_refused_with_the_cure() {
    let text = refusal("batch_norm_training", &LoadOptions::default());
    assert_eq!(
        text,
        "node \"norm\" (BatchNormalization): it was exported in training mode, where it normalises by the batch: call \
         model.eval() before exporting"
    );
}

#[test]
fn an_open_size_is_named_by_an_option() {
    let text = refusal("open_size", &LoadOptions::default());
    assert!(text.contains("--size") && text.contains("dyn_perceiver.size"), "{text}");
    let (info, rows) = logits("open_size", &LoadOptions::default().with_size([8, 8]));
    assert_eq!([info.input.height, info.input.width], [8, 8]);
    assert_close("open size", &rows["exit2"], &reference("two_exits")["exit2"], 1e-5);
    let text = refusal("two_exits", &LoadOptions::default().with_size([16, 16]));
    assert!(text.contains("where 16x16 is asked for"), "{text}");
}

#[test]
fn a_fixed_batch_is_changed_or_refused() {
    for batch in [1, 2, 4] {
        let (info, rows) = logits("fixed_batch", &LoadOptions::default().with_batch(batch));
        assert_eq!(info.input.batch, batch);
        assert_eq!(rows["exit1"].len(), 3 * batch);
    }
    let text = refusal("fixed_batch_mixed", &LoadOptions::default());
    assert!(text.starts_with("the file is fixed to a batch of 4, and its graph does not allow one of 1"), "{text}");
}

#[test]
fn outputs_that_are_no_exits_are_told_apart() {
    let text = refusal("coarse_and_fine", &LoadOptions::default());
    assert!(text.contains("\"exit1\" (1, 2), \"exit2\" (1, 3)") && text.contains("--exits"), "{text}");
    let exits = Some(vec!["exit2".to_string()]);
    let (info, _) = logits("coarse_and_fine", &LoadOptions::default().with_exits(exits));
    assert_eq!(info.exits, ["exit2"]);
    assert!(refusal("features_among_outputs", &LoadOptions::default()).contains("--exits"));
    let (info, _) = logits("same_output_twice", &LoadOptions::default());
    assert_eq!(info.exits.len(), 2);
    assert_eq!(info.warnings, ["output \"exit1\" is listed twice and counts as one exit"]);
    let exits = Some(vec!["exit1".to_string(), "exit1".to_string()]);
    let (info, _) = logits("two_exits", &LoadOptions::default().with_exits(exits));
    assert_eq!(info.exits, ["exit1"]);
}

#[test]
fn recurrent_operators_that_tract_computes_otherwise_are_refused() {
    for (name, expected) in [
        ("lstm_reverse", "node \"loop\" (LSTM): direction is \"reverse\", expected forward, bidirectional"),
        ("gru_relu", "node \"loop\" (GRU): activations other than Sigmoid, Tanh"),
    ] {
        assert_eq!(refusal(name, &LoadOptions::default()), expected);
    }
}

#[test]
fn an_operator_that_fails_over_integers_is_refused_before_the_first_frame() {
    let text = refusal("signs_of_integers", &LoadOptions::default());
    assert!(text.starts_with("node \"sign\" (Sign): over integers computed from the image: "), "{text}");
}

#[test]
fn operators_that_cannot_run_are_refused_by_name() {
    assert_eq!(refusal("loop", &LoadOptions::default()), "node \"repeat\" (Loop): the operator is not supported");
}

#[test]
fn names_with_control_characters_are_written_out() {
    let text = refusal("control_characters", &LoadOptions::default().with_exits(Some(vec!["none".into()])));
    assert!(text.contains(r#""exit\u{1b}[31m""#) && !text.contains('\u{1b}'), "{text}");
    assert_eq!(dyn_perceiver::model::display_name("a\u{1b}[31m b\nö"), r"a\u{1b}[31m b\nö");
}

#[test]
fn a_model_without_normalisation_says_so() {
    let bytes = std::fs::read(file("two_exits")).unwrap();
    // The keys are as long as before, so that the file stays sound.
    let keys = [("dyn_perceiver.mean", "dyn_perceiver.xean"), ("dyn_perceiver.std", "dyn_perceiver.xtd")];
    let mut bytes = bytes;
    for (from, to) in keys {
        let at = bytes.windows(from.len()).position(|window| window == from.as_bytes()).unwrap();
        bytes[at..at + to.len()].copy_from_slice(to.as_bytes());
    }
    let load = |options: &LoadOptions| Model::from_bytes(bytes.clone(), "silent.onnx", options).unwrap().info().clone();
    let info = load(&LoadOptions::default());
    assert_eq!(info.preprocessing_source, PreprocessingSource::Assumed);
    assert!(info.warnings[0].contains("dyn_perceiver.mean") && info.warnings[0].contains("--mean"));
    let info = load(&LoadOptions::default().with_range([-1.0, 1.0]));
    assert_eq!(info.preprocessing_source, PreprocessingSource::Options);
    assert!(info.warnings.is_empty());
    assert_eq!(info.input.preprocessing.mean, [0.5; 3]);
    assert_eq!(info.input.preprocessing.std, [0.5; 3]);
}

#[test]
fn external_weights_have_to_be_beside_the_model() {
    let folder = tempfile::tempdir().unwrap();
    let alone = folder.path().join("alone.onnx");
    let bytes = std::fs::read(file("external_data")).unwrap();
    std::fs::write(&alone, &bytes).unwrap();
    let missing = Model::load(&alone).unwrap_err().to_string();
    assert!(missing.contains("external_data.bin") && missing.contains("beside the model"), "{missing}");
    let data = std::fs::read(self::folder().join("external_data.bin")).unwrap();
    std::fs::write(folder.path().join("external_data.bin"), &data[..data.len() / 2]).unwrap();
    let short = Model::load(&alone).unwrap_err().to_string();
    assert!(short.contains("cut short"), "{short}");
    // A path of the same length that leaves the folder.
    let at = bytes.windows(17).position(|window| window == b"external_data.bin").unwrap();
    let mut outside = bytes;
    while let Some(at) = outside.windows(17).position(|window| window == b"external_data.bin") {
        outside[at..at + 17].copy_from_slice(b"../../etc/passwds");
    }
    assert!(at > 0);
    let outside = Model::from_bytes(outside, &alone, &LoadOptions::default()).unwrap_err().to_string();
    assert!(outside.contains("outside the model's folder"), "{outside}");
}

#[test]
fn exits_are_found_by_name_before_number() {
    let (mut info, _) = logits("two_exits", &LoadOptions::default());
    assert_eq!([info.find_exit("exit2"), info.find_exit("2"), info.find_exit("3")], [Some(1), Some(1), None]);
    info.exits = vec!["35".into(), "1".into()];
    assert_eq!([info.find_exit("1"), info.find_exit("2"), info.find_exit("0")], [Some(1), Some(1), None]);
}

#[test]
fn what_is_loaded_can_be_checked() {
    let check = |name: &str| Arc::new(Plan::load(file(name), &LoadOptions::default()).unwrap()).check().unwrap();
    assert!(check("two_exits").is_empty());
    assert!(check("softmax").is_empty());
}

#[test]
fn loading_is_given_up_at_the_deadline() {
    let mut options = LoadOptions::default();
    options.limits = options.limits.with_deadline(Some(std::time::Duration::ZERO));
    let error = Model::load_with(file("two_exits"), &options).unwrap_err();
    assert!(matches!(error, ModelError::Deadline { .. }), "{error}");
    options.limits = options.limits.with_deadline(None);
    assert!(Model::load_with(file("two_exits"), &options).is_ok());
}
