//! Bundles as the program makes and takes them.

use std::num::NonZeroUsize;
use std::path::Path;

use dyn_perceiver::exit::{CalibratedPolicy, CostUnit, ExitPolicy, Frontier, Measure, ModelDigest, OperatingPoint};
use dyn_perceiver::machine::MachineTimes;
use dyn_perceiver::model::Model;

use crate::cli::Folder;
use crate::models::three_exits;
use crate::program::{json, program, refuses};

/// A policy of one point for a model, by the model's digest.
fn policy(digest: [u8; 32], exits: &[&str]) -> CalibratedPolicy {
    let thresholds = vec![0.0; exits.len() - 1];
    let shares: Vec<f32> = (0..exits.len()).map(|exit| f32::from(u8::from(exit == 0))).collect();
    let policy = ExitPolicy::with_thresholds(Measure::MaxSoftmax, exits.len(), &thresholds).unwrap();
    let point = OperatingPoint::new(policy, 0.5, 100.0, &shares).unwrap();
    let frontier = Frontier::new(CostUnit::Macs, &[point]).unwrap();
    CalibratedPolicy::new(ModelDigest(digest), exits.iter().copied(), 10, None, frontier).unwrap()
}

const EXITS: [&str; 3] = ["exit1", "exit2", "exit3"];

fn written(folder: &Path, name: &str, bytes: &[u8]) -> String {
    let path = folder.join(name);
    std::fs::write(&path, bytes).unwrap();
    path.to_str().unwrap().to_owned()
}

/// The program's report without the figures that differ from run to run, and without the model's path.
fn stable(mut report: serde_json::Value) -> serde_json::Value {
    let object = report.as_object_mut().unwrap();
    for key in ["latency_ms", "stages_ms", "model", "file_bytes", "bundle"] {
        object.remove(key);
    }
    report
}

#[test]
fn every_command_takes_a_bundle_in_place_of_the_model() {
    let folder = tempfile::tempdir().unwrap();
    let onnx = written(folder.path(), "three.onnx", &three_exits(&EXITS).bytes());
    let digest = Model::load(&onnx).unwrap().info().digest.0;
    let policy_file = folder.path().join("policy.json");
    dyn_perceiver::policy_file::save(&policy(digest, &EXITS), &policy_file).unwrap();
    let policy_file = policy_file.to_str().unwrap();
    let bundle = folder.path().join("three.dynp").to_str().unwrap().to_owned();
    let compile = ["compile", &onnx, "--policy", policy_file, "--target", "cortex-a76", "-o", &bundle];
    let report = json(&[&compile[..], &["--json"]].concat());
    assert_eq!(report["bytes"], std::fs::metadata(&bundle).unwrap().len());
    assert_eq!((&report["target"], &report["arch"]), (&"cortex-a76".into(), &"aarch64".into()));
    assert!(report["weight_bytes"].as_u64().unwrap() > 0);
    let text = program(&compile);
    assert!(String::from_utf8_lossy(&text.stdout).contains("a policy of 1 operating points"), "{text:?}");

    assert_eq!(stable(json(&["inspect", &onnx, "--json"])), stable(json(&["inspect", &bundle, "--json"])));
    assert_eq!(json(&["inspect", &bundle, "--json"])["bundle"]["points"], 1);
    let image = crate::program::repository().join("tests/fixtures/ankle_boot.png");
    let classify = |model: &str, more: &[&str]| {
        stable(json(&[&["classify", image.to_str().unwrap(), "--model", model, "--json"], more].concat()))
    };
    assert_eq!(classify(&onnx, &["--exit", "exit2"]), classify(&bundle, &["--exit", "exit2"]));
    // The bundle's own policy leaves at the first exit, which a model by itself does not.
    assert_eq!(classify(&onnx, &["--policy", policy_file]), classify(&bundle, &[]));
    assert_eq!(classify(&bundle, &["--budget", "100"])["exit"], "exit1");
    assert_eq!(classify(&bundle, &["--thresholds", "1,1"])["exit"], "exit3");
    refuses(&["classify", image.to_str().unwrap(), "--model", &onnx, "--budget", "100"], &["three.onnx", "--policy"]);
    let run = json(&["profile", &bundle, "--seconds", "0.01", "--rounds", "1", "--json"]);
    assert_eq!(run["stages"].as_array().unwrap().len(), 3);

    refuses(&["compile", &bundle, "-o", &onnx], &["three.dynp", "a bundle already"]);
    refuses(&["compile", &onnx, "-o", &onnx], &["three.onnx", "the model's place"]);
    refuses(&["compile", &onnx, "--target", "z80", "-o", &bundle], &["z80", "cortex-a72"]);
    let mut broken = std::fs::read(&bundle).unwrap();
    *broken.last_mut().unwrap() ^= 1;
    let broken = written(folder.path(), "broken.dynp", &broken);
    refuses(&["inspect", &broken], &["broken.dynp", "weights: checksum"]);
    let version = dyn_perceiver::bundle::VERSION + 1;
    let newer = [&std::fs::read(&bundle).unwrap()[..8], &version.to_le_bytes(), &[0; 100]].concat();
    let newer = written(folder.path(), "newer.dynp", &newer);
    let (found, expected) = (format!("version {version}"), format!("expected {}", version - 1));
    refuses(&["inspect", &newer], &["newer.dynp", &found, &expected]);
}

/// The policy of `run` and `evaluate` is the bundle's, too.
#[test]
fn the_bundles_policy_is_the_default() {
    let root = crate::program::repository().join("models/pretrained/fashion-mnist");
    let path = |name: &str| root.join(name).to_str().unwrap().to_owned();
    let folder = tempfile::tempdir().unwrap();
    let bundle = folder.path().join("model.dynp").to_str().unwrap().to_owned();
    let (model, policy_file) = (path("model.onnx"), path("policy.json"));
    json(&["compile", &model, "--policy", &policy_file, "-o", &bundle, "--json"]);
    let points = dyn_perceiver::policy_file::load(Path::new(&policy_file)).unwrap().frontier().points().len();
    let text = program(&["run", "--model", &bundle, "--limit", "5", "--no-compare"]);
    let text = String::from_utf8(text.stdout).unwrap();
    assert!(text.contains(&format!("{points} operating points")), "{text}");
    let frames = path("frames-images-idx3-ubyte.gz");
    let evaluate = |model: &str, more: &[&str]| {
        let fixed = ["evaluate", model, "--data", &frames, "--range", "0..20", "--json"];
        let mut report = json(&[&fixed, more].concat());
        report.as_object_mut().unwrap().remove("policy");
        report["runs"].as_array_mut().unwrap().iter_mut().for_each(|run| {
            run.as_object_mut().unwrap().retain(|key, _| key != "latency_ms" && key != "milliseconds");
        });
        report
    };
    assert_eq!(evaluate(&model, &["--policy", &policy_file]), evaluate(&bundle, &[]));
    refuses(&["evaluate", &model, "--data", &frames], &["model.onnx", "--policy"]);
}

#[test]
fn times_in_a_bundle_spare_a_measurement_on_the_machine_they_are_of() {
    let folder = tempfile::tempdir().unwrap();
    let onnx = written(folder.path(), "three.onnx", &three_exits(&EXITS).bytes());
    let bundle = folder.path().join("three.dynp").to_str().unwrap().to_owned();
    let image = crate::program::repository().join("tests/fixtures/ankle_boot.png").to_str().unwrap().to_owned();
    let run = |more: &[&str]| {
        let output = program(&[&["run", "--model", &bundle, "--frames", &image, "--no-compare"], more].concat());
        assert!(output.status.success(), "{output:?}");
        String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
    };
    json(&["compile", &onnx, "-o", &bundle, "--json"]);
    assert!(run(&[]).contains("latency measured here"), "{}", run(&[]));
    dyn_perceiver::bundle::keep_times(&bundle, [MachineTimes::new("another board", NonZeroUsize::MIN, [1.0; 3])])
        .unwrap();
    let other = run(&[]);
    assert!(other.contains("latency measured here") && other.contains("1 threads on another board"), "{other}");

    let report = json(&["compile", &onnx, "-o", &bundle, "--keep-times", "--json"]);
    let threads = report["times"].as_array().unwrap();
    assert_eq!(threads[0], 1);
    assert!(run(&[]).contains("that the bundle has for this machine"), "{}", run(&[]));
    assert_eq!(run(&["--threads", "auto"]).contains("as measured before"), threads.len() > 1);
    let told = json(&["inspect", &bundle, "--json"]);
    let times = told["bundle"]["times"].as_array().unwrap();
    assert!(times.len() == threads.len() && times.iter().all(|times| times["here"] == true), "{told}");
    json(&["profile", &bundle, "--seconds", "0.01", "--rounds", "1", "--keep-times", "--json"]);
    assert_eq!(json(&["inspect", &bundle, "--json"])["bundle"]["times"].as_array().unwrap().len(), threads.len());

    // An ONNX file has no place for them, but a state file has.
    refuses(&["profile", &onnx, "--keep-times"], &["--keep-times", "three.onnx"]);
    let foreign = if cfg!(target_arch = "x86_64") { "cortex-a72" } else { "x86-64" };
    refuses(&["compile", &onnx, "-o", &bundle, "--keep-times", "--target", foreign], &["--keep-times", "profile"]);
    let state = folder.path().join("state.json").to_str().unwrap().to_owned();
    let stateful = || {
        let output = program(&["run", "--model", &onnx, "--frames", &image, "--no-compare", "--state", &state]);
        String::from_utf8(output.stdout).unwrap()
    };
    assert!(stateful().contains("latency measured here"));
    assert!(stateful().contains("that an earlier run measured"));
}

#[test]
fn the_time_to_the_first_answer_is_told() {
    let output = program(&["run", "--limit", "2", "--no-compare", "--json"]);
    let text = String::from_utf8(output.stdout).unwrap();
    let summary: serde_json::Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    assert!(summary["first_answer_ms"].as_f64().is_some_and(|ms| ms > 0.0), "{summary}");
}

/// Whether int8 pays is a measurement, so that both ends are right: a bundle, or nothing and exit code 1.
#[test]
fn quantize_writes_a_bundle_that_answers_or_says_that_int8_does_not_pay() {
    let folder = Folder::new();
    let pretrained = crate::program::repository().join("models/pretrained/fashion-mnist");
    let at = |name: &str| pretrained.join(name).to_str().unwrap().to_owned();
    let (model, data, bundle) = (at("model.onnx"), at("frames-images-idx3-ubyte.gz"), folder.path("int8.dynp"));
    let counts = ["--calibrate", "8", "--check", "24", "--range", "0..200"];
    let mut command = vec!["quantize", &model, "--data", &data, "-o", &bundle, "--tolerance", "10%", "--json"];
    command.extend(counts);
    let output = program(&command);
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let layers = report["layers"].as_array().unwrap();
    assert!(layers.len() > 20 && layers.iter().all(|layer| layer["verdict"] != "no range"), "{report}");
    assert_eq!(report["exits"].as_array().unwrap().len(), 4);
    if report["pays"] == true {
        assert_eq!(output.status.code(), Some(0), "{error}");
        // Which layers pay is a question of times: on so few images their policy may be a single point.
        assert!(report["points"].as_u64().unwrap() > 0 && report["frontier_area"].as_f64().unwrap() > 0.9, "{report}");
        let told = json(&["inspect", &bundle, "--json"]);
        assert_eq!(told["digest"], report["digest"]);
        assert!(program(&["run", "--model", &bundle, "--limit", "3", "--json"]).status.success());
        refuses(&["quantize", &bundle, "--data", &data, "-o", &bundle], &["a bundle already"]);
    } else {
        assert_eq!(output.status.code(), Some(1), "{error}");
        assert!(error.contains("int8 does not pay here") && !std::path::Path::new(&bundle).exists(), "{error}");
    }
    refuses(&["quantize", &model, "--data", &data, "-o", &model], &["the model's place"]);
}
