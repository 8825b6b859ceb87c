//! The gate before the network, as a user meets it.

use serde_json::Value;

use crate::cli::Folder;
use crate::models::three_exits;
use crate::program::{program, refuses, repository};

fn run(args: &[&str]) -> Vec<Value> {
    let output = program(&[&["run", "--json", "--battery", "simulated", "--battery-wh", "1"], args].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The same picture five times, another one three times, and the first again; as camera files or decoded.
fn pictures(folder: &Folder, other: &str) -> String {
    let images = folder.path("images");
    std::fs::create_dir(&images).unwrap();
    let fixture = |name: &str| repository().join("tests/fixtures/pictures").join(name);
    for (number, name) in ["grey.jpg"; 5].into_iter().chain([other; 3]).chain(["grey.jpg"]).enumerate() {
        std::fs::copy(fixture(name), format!("{images}/{number}.jpg")).unwrap();
    }
    images
}

#[test]
fn frames_like_the_last_one_have_its_answer_without_the_network() {
    let folder = Folder::new();
    let model = folder.file("three.onnx", &three_exits(&["exit1", "exit2"]).bytes());
    let images = pictures(&folder, "orientation-6.jpg");
    // A frame costs 3 J, beside which a picture that is read, on however busy a machine, is nothing.
    let stage = |exit: &str, joules: f64| {
        format!(
            r#"{{"exit":"{exit}","joules":{joules},"standard_error":null,"seconds":0.001,"cumulative_joules":0.0}}"#
        )
    };
    let stages = [stage("exit1", 1.0), stage("exit2", 2.0)].join(",");
    let profile = format!(r#"{{"source":"measured","method":"a test","idle_watts":0.1,"stages":[{stages}]}}"#);
    let profile = folder.file("profile.json", profile.as_bytes());
    let base = ["--model", &model, "--frames", &images, "--exit", "exit2", "--fps", "200", "--profile", &profile];
    let lines = run(&[&base[..], &["--gate", "pixel", "--refresh", "3600"]].concat());
    let frames: Vec<&Value> = lines.iter().filter(|line| line["kind"] == "frame").collect();
    let reused: Vec<bool> = frames.iter().map(|frame| frame["reused"].as_bool().unwrap()).collect();
    assert_eq!(reused, [false, true, true, true, true, false, true, true, false]);
    for pair in frames.windows(2).filter(|pair| pair[1]["reused"] == true) {
        assert_eq!((&pair[1]["class"], &pair[1]["confidence"]), (&pair[0]["class"], &pair[0]["confidence"]));
        assert_eq!(pair[1]["latency_ms"], 0.0);
    }
    for frame in &frames {
        let joules = frame["joules"].as_f64().unwrap();
        assert!(if frame["reused"] == true { joules < 1.0 } else { joules >= 3.0 }, "{frame}");
    }
    let summary = lines.last().unwrap();
    assert_eq!((&summary["frames"], &summary["reused"]), (&9.into(), &6.into()));
    let full = run(&base);
    let (gated, always) = (summary["joules"].as_f64().unwrap(), full.last().unwrap()["joules"].as_f64().unwrap());
    let spent: f64 = frames.iter().map(|frame| frame["joules"].as_f64().unwrap()).sum();
    assert!(gated < always && (gated / spent - 1.0).abs() < 1e-3, "{gated} J of {always} J");

    // At 200 frames a second an answer that holds for 10 ms holds for one more frame.
    let lines = run(&[&base[..], &["--gate", "pixel", "--refresh", "0.01"]].concat());
    let reused: Vec<bool> = lines.iter().filter_map(|line| line["reused"].as_bool()).collect();
    assert_eq!(reused, [false, true, false, true, false, false, true, false, false]);
    // Nothing differs by more than all levels there are, but pictures of another size always do.
    let lines = run(&[&base[..], &["--gate", "pixel", "--refresh", "3600", "--gate-threshold", "256"]].concat());
    assert!(lines.last().unwrap()["reused"].as_u64().unwrap() >= 6);
}

#[test]
fn frames_whose_code_is_that_of_the_last_one_stop_at_the_first_exit() {
    let folder = Folder::new();
    let model = folder.file("three.onnx", &three_exits(&["exit1", "exit2"]).bytes());
    let images = pictures(&folder, "orientation-6.jpg");
    let stage = |exit: &str, joules: f64| {
        format!(
            r#"{{"exit":"{exit}","joules":{joules},"standard_error":null,"seconds":0.001,"cumulative_joules":0.0}}"#
        )
    };
    let stages = [stage("exit1", 1.0), stage("exit2", 20.0)].join(",");
    let profile = format!(r#"{{"source":"measured","method":"a test","idle_watts":0.1,"stages":[{stages}]}}"#);
    let profile = folder.file("profile.json", profile.as_bytes());
    let base = ["--model", &model, "--frames", &images, "--exit", "exit2", "--fps", "200", "--profile", &profile];
    let latent = ["--latent-threshold", "0.000001", "--refresh", "3600", "--gate"];
    for (kind, gate, joules) in [("latent", "code", 1.0..5.0), ("both", "frame", 0.0..1.0)] {
        let lines = run(&[&base[..], &latent, &[kind]].concat());
        let frames: Vec<&Value> = lines.iter().filter(|line| line["kind"] == "frame").collect();
        let reused: Vec<bool> = frames.iter().map(|frame| frame["reused"].as_bool().unwrap()).collect();
        assert_eq!(reused, [false, true, true, true, true, false, true, true, false]);
        for pair in frames.windows(2).filter(|pair| pair[1]["reused"] == true) {
            assert_eq!((&pair[1]["class"], &pair[1]["confidence"]), (&pair[0]["class"], &pair[0]["confidence"]));
            assert_eq!(pair[1]["gate"], gate);
            assert_eq!(pair[1]["latency_ms"].as_f64().unwrap() > 0.0, gate == "code");
            assert!(joules.contains(&pair[1]["joules"].as_f64().unwrap()), "{}", pair[1]);
        }
        assert!(frames.iter().all(|frame| frame["reused"] == true || frame["gate"].is_null()));
        let summary = lines.last().unwrap();
        let by_code = if gate == "code" { 6 } else { 0 };
        assert_eq!((&summary["reused"], &summary["reused_by_code"]), (&6.into(), &by_code.into()));
    }
    // Nothing lies farther than 2 apart, and an answer that holds for 10 ms holds for one more frame.
    let lines = run(&[&base[..], &["--gate", "latent", "--latent-threshold", "2", "--refresh", "0.01"]].concat());
    let reused: Vec<bool> = lines.iter().filter_map(|line| line["reused"].as_bool()).collect();
    assert_eq!(reused, [false, true, false, true, false, true, false, true, false]);
    refuses(&["run", "--model", &model, "--synthetic", "3", "--gate", "latent"], &["--latent-threshold"]);
}

#[test]
fn the_threshold_of_codes_is_found_in_frames_and_is_a_setting() {
    let folder = Folder::new();
    let model = folder.file("three.onnx", &three_exits(&["exit1", "exit2"]).bytes());
    let images = pictures(&folder, "grey.jpg");
    let settings = folder.path("gate.toml");
    let base = ["gate", "--model", &model, "--frames", &images, "--output", &settings, "--json"];
    let report = |args: &[&str]| {
        let output = program(&[&base[..], args].concat());
        (output.status.code(), serde_json::from_slice::<Value>(&output.stdout).unwrap())
    };
    // Nine frames make 8 + 7 + 5 + 1 pairs, of which 299 would be needed.
    let (code, few) = report(&[]);
    assert_eq!((code, &few["pairs"], &few["threshold"]), (Some(1), &21.into(), &Value::Null));
    assert!(!std::path::Path::new(&settings).exists());
    let (code, found) = report(&["--max-loss", "20%"]);
    assert_eq!((code, &found["held"], &found["wrong"]), (Some(0), &21.into(), &0.into()), "{found}");
    let lines =
        run(&["--config", &settings, "--model", &model, "--frames", &images, "--fps", "200", "--exit", "exit2"]);
    assert_eq!(lines.last().unwrap()["reused_by_code"], 8);
}

#[test]
fn a_gate_needs_a_sensor_that_is_one() {
    let folder = Folder::new();
    let model = folder.file("three.onnx", &three_exits(&["exit1", "exit2"]).bytes());
    let base = ["run", "--model", &model, "--synthetic", "3"];
    let refuses = |args: &[&str], parts: &[&str]| refuses(&[&base[..], args].concat(), parts);
    refuses(&["--gate-sensor", "pir"], &["gpio:CHIP:LINE", "command:COMMAND"]);
    refuses(&["--gate-sensor", "mqtt:house/+"], &["mqtt:TOPIC"]);
    refuses(&["--gate-sensor", "mqtt:house/pir"], &["--mqtt"]);
    refuses(&["--gate-sensor", "gpio:17"], &["gpio:/dev/gpiochip0:17"]);
    refuses(&["--gate-sensor", "gpio:/no/such/chip:1"], &["gpio:/no/such/chip:1"]);
    refuses(&["--gate", "motion"], &["possible values"]);
}

/// Until the sensor has said that all is quiet, and again when its command has ended, every frame runs.
#[test]
fn a_quiet_sensor_lets_the_answer_hold_and_one_that_ends_does_not() {
    let folder = Folder::new();
    let model = folder.file("three.onnx", &three_exits(&["exit1", "exit2"]).bytes());
    let (quiet, over) = (folder.path("quiet"), folder.path("over"));
    let sensor = format!("command:echo 0; touch {quiet}; while [ ! -e {over} ]; do sleep 0.02; done");
    // The camera paces the frames by the sensor: some before it speaks, some while it is quiet, some after its end.
    let wait = |file: &str| format!("while [ ! -e {file} ]; do sleep 0.02; done; sleep 0.3");
    let frames =
        |count: usize| format!("i=0; while [ $i -lt {count} ]; do head -c 64 /dev/zero; sleep 0.1; i=$((i+1)); done");
    let camera = format!("command:{}; {}; touch {over}; sleep 1; {}; sleep 60", wait(&quiet), frames(6), frames(20));
    let lines = run(&[
        "--model",
        &model,
        "--camera",
        &camera,
        "--camera-format",
        "grey",
        "--camera-size",
        "8x8",
        "--gate-sensor",
        &sensor,
        "--limit",
        "8",
    ]);
    let reused: Vec<bool> = lines.iter().filter_map(|line| line["reused"].as_bool()).collect();
    assert_eq!((reused[0], reused[2]), (false, true), "{reused:?}");
    assert_eq!(reused.last(), Some(&false), "{reused:?}");
}
