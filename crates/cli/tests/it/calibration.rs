//! Calibration as a user meets it: images to a policy file, and the policy file in use.

use std::path::Path;

use crate::models::three_exits;
use crate::program::{json, refuses};
use serde_json::Value;
use tempfile::TempDir;

const IMAGES: u32 = 60;

/// A folder with a model, and an IDX pair of images made of noise with labels that the model cannot know.
pub(crate) struct Scene {
    folder: TempDir,
}

impl Scene {
    pub(crate) fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let mut state = 1u32;
        let mut noise = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        };
        let head = |kind: u8, sizes: &[u32]| {
            let mut bytes = vec![0, 0, 8, kind];
            sizes.iter().for_each(|size| bytes.extend(size.to_be_bytes()));
            bytes
        };
        let mut images = head(3, &[IMAGES, 8, 8]);
        images.extend((0..IMAGES * 64).map(|_| noise()));
        let mut labels = head(1, &[IMAGES]);
        labels.extend((0..IMAGES).map(|_| noise() % 5));
        std::fs::write(folder.path().join("x-images-idx3-ubyte"), images).unwrap();
        std::fs::write(folder.path().join("x-labels-idx1-ubyte"), labels).unwrap();
        std::fs::write(folder.path().join("model.onnx"), three_exits(&["exit1", "exit2", "exit3"]).bytes()).unwrap();
        Scene { folder }
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_string()
    }

    fn calibrate(&self, more: &[&str]) -> Value {
        let (model, data, policy) =
            (self.path("model.onnx"), self.path("x-images-idx3-ubyte"), self.path("policy.json"));
        json(&[&["calibrate", &model, "--data", &data, "-o", &policy, "--json"], more].concat())
    }
}

#[test]
fn answers_have_a_probability_by_a_calibrated_policy_and_a_softmax_without() {
    let scene = Scene::new();
    scene.calibrate(&["--measures", "margin"]);
    let (model, policy, bundle) = (scene.path("model.onnx"), scene.path("policy.json"), scene.path("model.dynp"));
    let image = crate::program::repository().join("tests/fixtures/ankle_boot.png").to_str().unwrap().to_owned();
    let classify = |more: &[&str]| json(&[&["classify", &image, "--json"], more].concat());
    let calibrated = classify(&["--model", &model, "--policy", &policy]);
    let probability = calibrated["probability"].as_f64().unwrap();
    assert!((0.0..=1.0).contains(&probability) && calibrated["softmax"].is_number(), "{calibrated}");
    assert_ne!(calibrated["probability"], calibrated["confidence"]);
    assert_eq!(calibrated["calibrated"], true);
    let plain = classify(&["--model", &model]);
    assert_eq!(plain["probability"], plain["softmax"]);
    assert_eq!(plain["calibrated"], false);

    // The same in a bundle, and in each frame of a run.
    json(&["compile", &model, "--policy", &policy, "-o", &bundle, "--json"]);
    assert_eq!(classify(&["--model", &bundle])["probability"], calibrated["probability"]);
    assert_eq!(json(&["inspect", &bundle, "--json"])["bundle"]["probability"], true);
    let run = |model: &str, more: &[&str]| {
        let output =
            crate::program::program(&[&["run", "--model", model, "--frames", &image, "--json"], more].concat());
        let text = String::from_utf8(output.stdout).unwrap();
        let mut lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        lines.rfind(|line| line["kind"] == "frame").unwrap()["probability"].clone()
    };
    assert!(run(&bundle, &[]).is_number() && run(&model, &["--policy", &policy]).is_number());
    assert!(run(&model, &[]).is_null(), "thresholds of nobody have no probability");

    // A policy of the version before, which knows of none.
    let mut old: Value = serde_json::from_str(&std::fs::read_to_string(&policy).unwrap()).unwrap();
    old["version"] = 1.into();
    old["policy"].as_object_mut().unwrap().remove("calibration").unwrap();
    let text = old["policy"].to_string();
    let bare: dyn_perceiver::exit::CalibratedPolicy = serde_json::from_str(&text).unwrap();
    std::fs::write(&policy, dyn_perceiver::policy_file::to_json(&bare).replace("\"version\": 2", "\"version\": 1"))
        .unwrap();
    assert_eq!(classify(&["--model", &model, "--policy", &policy])["calibrated"], false);
}

#[test]
fn a_guarantee_tells_what_evidence_certifies_at_which_cost() {
    let scene = Scene::new();
    let report = scene.calibrate(&["--max-loss", "0.5", "--confidence", "0.6"]);
    let evidence = report["guarantee"]["evidence"].as_array().unwrap();
    assert_eq!(evidence.len(), 9, "{report}");
    assert!(evidence.iter().all(|found| found["cost"].as_f64().unwrap() > 0.0));
    let chosen = &report["chosen"];
    let own = |found: &&Value| found["confidence"] == chosen["confidence"] && found["evidence"] == chosen["evidence"];
    let cost = evidence.iter().find(own).unwrap()["cost"].as_f64().unwrap();
    assert!(evidence.iter().all(|found| 0.99 * cost <= found["cost"].as_f64().unwrap() + 1e-9), "{report}");
}

#[test]
fn images_become_a_policy_that_commands_follow() {
    let scene = Scene::new();
    let report = scene.calibrate(&[]);
    assert_eq!(report["samples"], IMAGES);
    assert_eq!(report["unit"], "macs");
    // Noise with labels at random: nobody can be better than chance.
    let warnings = report["warnings"].as_array().unwrap();
    assert!(warnings.iter().any(|warning| warning.as_str().unwrap().contains("no better than chance")), "{report}");
    let points = report["points"].as_array().unwrap();
    let cost = |i: usize| points[i]["cost"].as_f64().unwrap();
    assert!((1..points.len()).all(|i| cost(i) > cost(i - 1)));

    let (model, data, policy) =
        (scene.path("model.onnx"), scene.path("x-images-idx3-ubyte"), scene.path("policy.json"));
    let plot = scene.path("plot.svg");
    let records = scene.path("policy.records.csv");
    let report = json(&[
        "evaluate",
        &model,
        "--policy",
        &policy,
        "--data",
        &data,
        "--calibration",
        &records,
        "--plot",
        &plot,
        "--json",
    ]);
    assert_eq!(report["images"], IMAGES);
    assert!(report["warnings"][0].as_str().unwrap().contains("no better than chance"), "{report}");
    for run in report["runs"].as_array().unwrap() {
        let shares: f64 = run["shares"].as_object().unwrap().values().map(|share| share.as_f64().unwrap()).sum();
        assert!((shares - 1.0).abs() < 1e-9);
        // So few images allow no more than a frame's difference.
        assert!(run["deviation"].as_f64().unwrap().abs() < 0.1, "{run}");
    }
    let svg = std::fs::read_to_string(&plot).unwrap();
    for part in ["accuracy, %", "MAC per frame", "exit1", "this frontier", "quantile sweep", "best in hindsight"] {
        assert!(svg.contains(part), "{part}");
    }

    // Solved again from the records, in binary: the same content.
    let binary = scene.path("policy.postcard");
    json(&["calibrate", &model, "--data", &records, "-o", &binary, "--json"]);
    let read = |path: &str| dyn_perceiver::policy_file::load(Path::new(path)).unwrap();
    assert_eq!(read(&binary), read(&policy));

    let image = crate::program::repository().join("tests/fixtures/ankle_boot.png");
    let image = image.to_str().unwrap();
    let dearest = format!("{}", 2.0 * cost(points.len() - 1));
    for choice in [&["--budget", &*dearest][..], &["--accuracy", "0.01"], &[], &["--deadline", "10s"]] {
        let answer = json(&[&["classify", image, "--model", &model, "--policy", &policy, "--json"], choice].concat());
        assert!(answer["class"].as_u64().unwrap() < 5, "{answer}");
    }
    refuses(&["classify", image, "--model", &model, "--policy", &policy, "--accuracy", "1.0"], &["accuracy of 1"]);
    refuses(&["classify", image, "--model", &model, "--policy", &policy, "--budget", "1"], &["below the cheapest"]);
    refuses(&["classify", image, "--model", &model, "--policy", &policy, "--budget", "5mJ"], &["macs", "5mJ"]);
    refuses(&["classify", image, "--model", &model, "--deadline", "1us"], &["within 1µs"]);
}

#[test]
fn a_stopped_run_goes_on_and_finds_the_same() {
    let scene = Scene::new();
    scene.calibrate(&[]);
    let files = ["policy.json", "policy.records.csv", "policy.records.csv.logits"];
    let whole = files.map(|name| std::fs::read(scene.path(name)).unwrap());
    // As if it had been killed in the middle of a row.
    for (name, bytes) in files.iter().zip(&whole) {
        std::fs::remove_file(scene.path(name)).unwrap();
        if *name != "policy.json" {
            std::fs::write(scene.path(&format!("{name}.part")), &bytes[..bytes.len() * 2 / 3]).unwrap();
        }
    }
    let jobs = scene.calibrate(&["--jobs", "1"]);
    assert_eq!(jobs["samples"], IMAGES);
    for (name, bytes) in files.iter().zip(&whole) {
        assert!(&std::fs::read(scene.path(name)).unwrap() == bytes, "{name}");
    }
}

#[test]
fn what_does_not_belong_together_is_refused() {
    let scene = Scene::new();
    scene.calibrate(&[]);
    let (model, policy) = (scene.path("model.onnx"), scene.path("policy.json"));
    let (data, records) = (scene.path("x-images-idx3-ubyte"), scene.path("policy.records.csv"));
    let other = scene.path("other.onnx");
    std::fs::write(&other, three_exits(&["exit1", "exit2"]).bytes()).unwrap();
    refuses(&["evaluate", &other, "--policy", &policy, "--data", &data], &["policy.json", "sha256:"]);
    refuses(&["calibrate", &other, "--data", &records], &["policy.records.csv", "records of model sha256:"]);

    let text = std::fs::read_to_string(&policy).unwrap();
    std::fs::write(&policy, text.replace("\"samples\": 60", "\"samples\": 61")).unwrap();
    refuses(&["evaluate", &model, "--policy", &policy, "--data", &data], &["policy.json", "checksum"]);

    let damaged = scene.path("damaged.csv");
    let rows = std::fs::read_to_string(&records).unwrap();
    let row = rows.lines().find(|line| line.starts_with("4,")).unwrap();
    let mut cells: Vec<&str> = row.split(',').collect();
    cells[3] = "NaN";
    std::fs::write(&damaged, rows.replace(row, &cells.join(","))).unwrap();
    refuses(&["calibrate", &model, "--data", &damaged], &["damaged.csv, row 5", "exit1.max-softmax", "NaN"]);

    let unlabelled = scene.path("y-images-idx3-ubyte");
    std::fs::copy(&data, &unlabelled).unwrap();
    let output = scene.path("p.json");
    refuses(&["calibrate", &model, "--data", &unlabelled, "-o", &output], &["no label"]);
    refuses(&["calibrate", &model, "--data", &data, "--range", "50..90", "-o", &output], &["60 samples", "50 to 90"]);
    let limit = ["--max-loss", "0.01", "--confidence", "0.95"];
    let args = ["calibrate", &model, "--data", &records, "-o", &output];
    refuses(&[&args[..], &limit].concat(), &["60 samples", "598"]);
    assert!(!Path::new(&output).exists());
}

#[test]
fn a_sample_without_finite_logits_is_left_out_of_calibration() {
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    // The square root of a logit below zero is no number; a black image has all logits zero.
    let mut graph = three_exits(&["exit1"]);
    let root = graph.node("root", "Sqrt", &["exit2"], &[]);
    graph.output(&root);
    let graph = graph.metadata("dyn_perceiver.mean", "0,0,0").metadata("dyn_perceiver.std", "1,1,1");
    std::fs::write(path("model.onnx"), graph.bytes()).unwrap();
    let head =
        |kind: u8, sizes: &[u8]| [vec![0, 0, 8, kind], sizes.iter().flat_map(|&n| [0, 0, 0, n]).collect()].concat();
    let images = [vec![0; 64], (0..64).map(|i| i * 4).collect(), vec![0; 64]].concat();
    std::fs::write(path("x-images-idx3-ubyte"), [head(3, &[3, 8, 8]), images].concat()).unwrap();
    std::fs::write(path("x-labels-idx1-ubyte"), [head(1, &[3]), vec![0, 1, 2]].concat()).unwrap();

    let (model, data, policy) = (path("model.onnx"), path("x-images-idx3-ubyte"), path("policy.json"));
    let args = ["calibrate", &model, "--data", &data, "-o", &policy, "--json"];
    let output = crate::program::program(&args);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["samples"], 2);
    let skipped = report["skipped"].as_array().unwrap();
    assert_eq!(skipped.len(), 1);
    assert!(skipped[0]["path"].as_str().unwrap().ends_with("x-images-idx3-ubyte, sample 1"), "{skipped:?}");
    assert!(skipped[0]["reason"].as_str().unwrap().contains("not a finite number"), "{skipped:?}");
    let output = crate::program::program(&[&args[..], &["--strict"]].concat());
    assert!(!output.status.success());
}
