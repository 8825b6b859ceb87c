//! What the program prints as JSON is what docs/schemas say.

use std::process::Output;

use serde_json::Value;

use crate::cli::Folder;
use crate::models::three_exits;
use crate::program::{program, repository};

/// Checks each line, or the whole output, against a schema.
fn conforms(name: &str, args: &[&str]) -> Output {
    let path = repository().join(format!("docs/schemas/{name}.json"));
    let schema: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let output = program(args);
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    assert!(!text.is_empty(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    for line in text.lines() {
        let value: Value = serde_json::from_str(line).unwrap();
        let errors: Vec<String> =
            validator.iter_errors(&value).map(|error| format!("{}: {error}", error.instance_path())).collect();
        assert!(errors.is_empty(), "{name}: {errors:#?}\nin {line}");
        assert_eq!(value["schema"], 1, "{line}");
    }
    output
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
    conforms("simulate", &["simulate", "--seeds", "1", "--hours", "1", "--quiet", "50%", "--json"]);
    conforms("profile", &["profile", &model, "--rounds", "2", "--seconds", "0.01", "--json"]);
    let images = repository().join("tests/fixtures/pictures");
    conforms("gate", &["gate", "--model", &model, "--frames", images.to_str().unwrap(), "--json"]);
    let settings = folder.file("config.toml", b"fps = 2\n[[on]]\nsave = true\n");
    conforms("config-check", &["config", "check", &settings, "--json"]);
    conforms("config-show", &["config", "show", &settings, "--json"]);
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
