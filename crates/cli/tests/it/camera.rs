//! Cameras behind a command, as they misbehave.
#![cfg(unix)]

use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::cli::Folder;
use crate::models::three_exits;
use crate::program::{program, repository};

fn model(folder: &Folder) -> String {
    folder.file("three.onnx", &three_exits(&["exit1", "exit2"]).bytes())
}

fn records(output: &Output) -> Vec<Value> {
    String::from_utf8_lossy(&output.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Waits for the program, but not for ever.
fn wait(mut child: std::process::Child, limit: Duration) -> Output {
    let begun = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if begun.elapsed() > limit {
            child.kill().unwrap();
            panic!("still running after {limit:?}");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    child.wait_with_output().unwrap()
}

fn terminate(child: &std::process::Child) {
    let done = Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
    assert!(done.success());
}

#[test]
fn a_camera_that_never_came_is_a_failure_and_no_empty_battery() {
    let folder = Folder::new();
    let model = model(&folder);
    let camera = ["--camera", "command:no-such-program-here", "--camera-format", "grey", "--camera-size", "8x8"];
    let child = Command::new(env!("CARGO_BIN_EXE_dyn-perceiver"))
        .args(["run", "--model", &model, "--json"])
        .args(camera)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let output = wait(child, Duration::from_secs(120));
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{message}");
    assert!(message.contains("no frame ever came"), "{message}");
    assert!(records(&output).iter().all(|record| !record.to_string().contains("battery")), "{output:?}");
}

/// Whatever the camera does: here its command hangs, and a child of it keeps the pipe.
#[test]
fn a_signal_ends_a_run_whose_camera_hangs() {
    let folder = Folder::new();
    let model = model(&folder);
    for (number, command) in ["sleep 600", "sh -c 'trap : TERM INT; sleep 600 & wait'"].into_iter().enumerate() {
        let began = folder.path(&format!("began{number}"));
        let command = format!("command:touch {began}; {command}");
        let camera = ["--camera", &command, "--camera-format", "grey", "--camera-size", "8x8"];
        let child = Command::new(env!("CARGO_BIN_EXE_dyn-perceiver"))
            .args(["run", "--model", &model, "--json"])
            .args(camera)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        while !std::path::Path::new(&began).exists() {
            std::thread::sleep(Duration::from_millis(5));
        }
        terminate(&child);
        // That it takes less than two seconds follows from the waits in the library, which are held together there; here
        // only that it ends, on however busy a machine.
        let output = wait(child, Duration::from_secs(120));
        let records = records(&output);
        assert_eq!(records.last().unwrap()["ended"], "interrupted", "{output:?}");
    }
}

#[test]
fn a_camera_runs_on_mains_and_counts_damaged_frames() {
    let folder = Folder::new();
    let model = model(&folder);
    let picture = std::fs::read(repository().join("tests/fixtures/pictures/baseline-420.jpg")).unwrap();
    let mut cut = picture[..picture.len() * 2 / 3].to_vec();
    cut.extend([0xff, 0xd9]);
    // Not all at once: of a camera only the newest frame is taken.
    let [first, cut, last] = [("first.jpg", &picture), ("cut.jpg", &cut), ("last.jpg", &picture)]
        .map(|(name, bytes)| folder.file(name, bytes));
    let command = format!("command:cat {first}; sleep 1; cat {cut}; sleep 1; cat {last}; sleep 60");
    let output = program(&[
        "run",
        "--model",
        &model,
        "--camera",
        &command,
        "--camera-format",
        "mjpeg",
        "--limit",
        "2",
        "--json",
    ]);
    let records = records(&output);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let frames: Vec<_> = records.iter().filter(|record| record["kind"] == "frame").collect();
    assert!(
        frames.iter().all(|frame| frame["soc"] == Value::Null && frame["reason"] == "external-power"),
        "{frames:?}"
    );
    assert_eq!(records.last().unwrap()["damaged"], 1, "{records:?}");
}

#[test]
fn a_damaged_frame_of_a_camera_ends_no_strict_run_but_a_damaged_file_does() {
    let folder = Folder::new();
    let model = model(&folder);
    let picture = std::fs::read(repository().join("tests/fixtures/pictures/baseline-420.jpg")).unwrap();
    let mut cut = picture[..picture.len() * 2 / 3].to_vec();
    cut.extend([0xff, 0xd9]);
    std::fs::create_dir(folder.path("frames")).unwrap();
    let [whole, cut] =
        [("frames/a.jpg", &picture), ("frames/b.jpg", &cut)].map(|(name, bytes)| folder.file(name, bytes));
    let command = format!("command:cat {whole}; sleep 1; cat {cut}; sleep 1; cat {whole}; sleep 60");
    let camera = ["--camera", &command, "--camera-format", "mjpeg", "--limit", "3"];
    let output = program(&[&["run", "--model", &model, "--json", "--strict"][..], &camera].concat());
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let last = records(&output).pop().unwrap();
    assert_eq!((&last["damaged"], &last["ended"]), (&1.into(), &"limit reached".into()), "{last}");

    let frames = folder.path("frames");
    let output = program(&["run", "--model", &model, "--json", "--strict", "--frames", &frames]);
    assert_ne!(output.status.code(), Some(0), "{output:?}");
}
