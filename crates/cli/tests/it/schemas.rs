//! What the program prints as JSON is what docs/schemas say.

use std::path::Path;
use std::process::Output;

use serde_json::Value;

use crate::calibration::Scene;
use crate::cli::Folder;
use crate::learn_command::photos;
use crate::models::three_exits;
use crate::program::{program, repository};

/// Checks each line, or the whole output, against a schema.
pub(crate) fn conforms(name: &str, args: &[&str]) -> Output {
    let output = program(args);
    check(name, args, &output);
    output
}

fn check(name: &str, args: &[&str], output: &Output) {
    let path = repository().join(format!("docs/schemas/{name}.json"));
    let schema: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    assert!(!text.is_empty(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    for line in text.lines() {
        let value: Value = serde_json::from_str(line).unwrap();
        let errors: Vec<String> =
            validator.iter_errors(&value).map(|error| format!("{}: {error}", error.instance_path())).collect();
        assert!(errors.is_empty(), "{name}: {errors:#?}\nin {line}");
        assert_eq!(value["schema"], 2, "{line}");
    }
}

#[test]
fn reports_conform_to_their_schemas() {
    let folder = Folder::new();
    let model = folder.file("three.onnx", &three_exits(&["exit1", "exit2", "exit3"]).bytes());
    let image = repository().join("tests/fixtures/ankle_boot.png");
    let image = image.to_str().unwrap();
    conforms("inspect", &["inspect", &model, "--json"]);
    conforms("classify", &["classify", image, "--model", &model, "--json"]);
    conforms("compile", &["compile", &model, "-o", &folder.path("model.dynp"), "--json"]);
    conforms("inspect", &["inspect", &folder.path("model.dynp"), "--json"]);
    conforms("doctor", &["doctor", "--json"]);
    conforms("doctor-list", &["doctor", "--list", "--json"]);
    conforms("models", &["models", "--json"]);
    let built_in = folder.path("clothes.dynp");
    conforms("models-built-in", &["models", "built-in", "--none-of-these", "-o", &built_in, "--json"]);
    conforms("simulate", &["simulate", "--seeds", "1", "--hours", "1", "--quiet", "50%", "--json"]);
    conforms("profile", &["profile", &model, "--rounds", "2", "--seconds", "0.01", "--json"]);
    let images = repository().join("tests/fixtures/pictures");
    conforms("gate", &["gate", "--model", &model, "--frames", images.to_str().unwrap(), "--json"]);
    let settings = folder.file("config.toml", b"fps = 2\n[[on]]\nsave = true\n");
    conforms("config-check", &["config", "check", &settings, "--json"]);
    conforms("config-show", &["config", "show", &settings, "--json"]);
    conforms("version", &["--version", "--json"]);
    let board = ["plan", "--board", "raspberry-pi-zero-2-w", "--battery-wh", "37", "--json", "--days"];
    for mission in [&["7"][..], &["1000"], &["7", "--solar-wp", "5"]] {
        conforms("plan", &[&board[..], mission].concat());
    }
}

#[test]
fn reports_of_calibration_conform_to_their_schemas() {
    let scene = Scene::new();
    let (model, data) = (scene.path("model.onnx"), scene.path("x-images-idx3-ubyte"));
    let (policy, records) = (scene.path("policy.json"), scene.path("records.csv"));
    let calibrate = ["calibrate", &model, "--data", &data, "-o", &policy, "--json"];
    conforms("calibrate", &calibrate);
    let limit = ["--max-loss", "20%", "--confidence", "60%"];
    conforms("calibrate", &[&calibrate[..], &limit].concat());
    let evaluate = ["evaluate", &model, "--policy", &policy, "--data", &data, "--json"];
    conforms("evaluate", &evaluate);
    conforms("evaluate", &[&evaluate[..], &["--calibration", &scene.path("policy.records.csv")]].concat());
    conforms("records", &["records", "collect", &model, "--data", &data, "-o", &records, "--json"]);
    let parts = ["1/2", "2/2"].map(|shard| {
        let part = scene.path(&format!("part{}.csv", &shard[..1]));
        let args = ["records", "collect", &model, "--data", &data, "-o", &part, "--shard", shard, "--json"];
        conforms("records", &args);
        part
    });
    conforms("records", &["records", "merge", &parts[0], &parts[1], "-o", &scene.path("whole.csv"), "--json"]);
}

#[test]
fn reports_on_networks_conform_to_their_schemas() {
    let folder = Folder::new();
    for name in ["mobilenetV3_0x05_perceiver_t8", "efficientnet_lite0_perceiver_t8"] {
        let output = folder.path("built.onnx");
        let args = ["models", "build", name, "--seeded", "--sa-widening", "1", "--input-size", "64", "-o", &output];
        conforms("network", &[&args[..], &["--json"]].concat());
    }
    let checkpoint = repository().join("models/tests/fixtures/tiny_plain.pth");
    let args =
        ["import", checkpoint.to_str().unwrap(), "--input-size", "32", "-o", &folder.path("tiny.onnx"), "--json"];
    conforms("network", &args);
}

#[test]
fn reports_of_learning_and_training_conform_to_their_schemas() {
    let folder = Folder::new();
    let data = folder.path("photos");
    photos(Path::new(&data), &[("leaf", [10, 160, 20]), ("sky", [30, 60, 200])], 10);
    conforms("learn", &["learn", "--data", &data, "-o", &folder.path("mine.dynp"), "--json"]);

    // In place of Python something that leaves what training does: trained weights, and which photos to test on.
    let shipped = repository().join("models/pretrained/fashion-mnist");
    let classes = std::fs::read_to_string(shipped.join("labels.txt")).unwrap();
    let classes: Vec<&str> = classes.lines().collect();
    let split = |range: std::ops::Range<usize>| -> Vec<Value> {
        let file = |(class, name): (usize, &str), i| serde_json::json!([format!("{data}/{name}/{i}.bmp"), class]);
        range.flat_map(|i| [(0, "leaf"), (1, "sky")].map(|class| file(class, i))).collect()
    };
    let report = serde_json::json!({
        "config": { "backbone": "mobilenetV3_0x3", "input_size": 56 },
        "classes": classes,
        "preprocessing": { "mean": [0.286, 0.286, 0.286], "std": [0.353, 0.353, 0.353], "crop": 1.0, "interpolation": "bilinear" },
    });
    let report = folder.file("report.json", report.to_string().as_bytes());
    for tested in [5..10, 0..0] {
        let splits = serde_json::json!({ "val": split(0..5), "test": split(tested) });
        let splits = folder.file("splits.json", splits.to_string().as_bytes());
        let weights = shipped.join("weights.safetensors");
        // What it is called with: -m MODULE DATA --out FOLDER and more.
        let script = format!("#!/bin/sh\ncp '{}' {report} {splits} \"$5\"\n", weights.display());
        let python = folder.file("python", script.as_bytes());
        std::fs::set_permissions(&python, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let args = ["train", &data, "-o", &folder.path("trained.dynp"), "--python", &python, "--json"];
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_dyn-perceiver"));
        let output = command.args(args).env("XDG_CACHE_HOME", folder.path("cache")).output().unwrap();
        check("train", &args, &output);
    }
}

#[test]
fn records_of_the_loop_conform_to_their_schema() {
    let folder = Folder::new();
    let model = folder.file("three.onnx", &three_exits(&["exit1", "exit2"]).bytes());
    let events = folder.path("events");
    let state = folder.path("state.json");
    let events =
        ["--event-frames", "1/1", "--event-confidence", "0", "--still-every", "0.01", "--event-folder", &events];
    let base = ["run", "--synthetic", "30", "--fps", "100", "--model", &model, "--battery-wh", "1", "--json"];
    let output = conforms("run", &[&base[..], &events, &["--state", &state, "--save-every", "0"]].concat());
    let text = String::from_utf8(output.stdout).unwrap();
    for kind in ["frame", "event", "state", "summary"] {
        assert!(text.contains(&format!("\"kind\":\"{kind}\"")), "no {kind}");
    }
    let images = folder.path("images");
    std::fs::create_dir(&images).unwrap();
    std::fs::write(format!("{images}/a.png"), b"no image").unwrap();
    conforms("run", &["run", "--model", &model, "--frames", &images, "--json"]);
}

/// The schema of settings is for editors: what the program takes, it takes.
#[test]
fn settings_that_are_taken_conform_to_their_schema() {
    let path = repository().join("docs/schemas/settings.json");
    let schema: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let valid = |value: Value| validator.is_valid(&value);
    assert!(valid(serde_json::json!({
        "fps": 2.5, "floor": "92%", "no-compare": true, "thresholds": [0.5, 0.9], "gate": "pixel",
        "on": [{ "event": ["appeared", "left"], "class": "person", "run": ["notify", "{label}"] }],
    })));
    assert!(!valid(serde_json::json!({ "fsp": 2 })));
    assert!(!valid(serde_json::json!({ "gate": "wide" })));
    assert!(!valid(serde_json::json!({ "on": [{ "svae": true }] })));
}
