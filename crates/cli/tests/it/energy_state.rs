//! The program in a mission: its end, its reasons, and what survives when it is killed.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use dyn_perceiver::energy::estimator::CoulombState;
use dyn_perceiver::exit::{CalibratedPolicy, CostUnit, ExitPolicy, Frontier, Measure, OperatingPoint};
use dyn_perceiver::model::{LoadOptions, Model};
use dyn_perceiver::plan::Plan;
use dyn_perceiver::sensors::store::{MissionClock, StateFile, load};
use dyn_perceiver::{collect::digest, policy_file};
use serde_json::Value;

use crate::program::{program, refuses};

/// A model of three exits and a policy of three operating points for it, in `folder`.
fn mission_files(folder: &Path) -> (String, String) {
    let model = folder.join("model.onnx");
    std::fs::write(&model, crate::models::three_exits(&["exit1", "exit2", "exit3"]).bytes()).unwrap();
    let plan = Plan::new(Model::load_with(&model, &LoadOptions::default()).unwrap()).unwrap();
    let points = [0.0f32, 0.5, 1.0].map(|onwards| {
        let policy = ExitPolicy::with_thresholds(Measure::MaxSoftmax, 3, &[onwards, onwards]).unwrap();
        OperatingPoint::new(policy, 0.6 + 0.3 * onwards, 1.0 + onwards, &[1.0 - onwards, 0.0, onwards]).unwrap()
    });
    let frontier = Frontier::new(CostUnit::Macs, &points).unwrap();
    let exits = plan.info().exits.iter().map(String::as_str);
    let calibrated = CalibratedPolicy::new(digest(&plan), exits, 100, None, frontier).unwrap();
    let path = folder.join("policy.json");
    policy_file::save(&calibrated, &path).unwrap();
    (model.to_str().unwrap().into(), path.to_str().unwrap().into())
}

/// Joules that do not depend on how fast this machine is: 1, 2 and 4 mJ, and 0.1 W idle.
fn profile(folder: &Path) -> String {
    let stage = |exit: &str, joules: f64| {
        format!(
            r#"{{"exit":"{exit}","joules":{joules},"standard_error":null,"seconds":0.001,"cumulative_joules":0.0}}"#
        )
    };
    let stages = [stage("exit1", 0.001), stage("exit2", 0.001), stage("exit3", 0.002)].join(",");
    let path = folder.join("profile.json");
    let text = format!(r#"{{"source":"measured","method":"a test","idle_watts":0.1,"stages":[{stages}]}}"#);
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().into()
}

#[test]
fn a_mission_ends_at_its_reserve_and_gives_a_reason_for_every_decision() {
    let folder = tempfile::tempdir().unwrap();
    let ((model, policy), profile) = (mission_files(folder.path()), profile(folder.path()));
    // Six seconds at 50 frames a second: 0.6 J of idling, and 0.3 to 1.2 J of frames. 80 % of 1.5 J is 1.2 J.
    let state = folder.path().join("state.json");
    let mission = |more: &[&str]| {
        let mut args = vec!["run", "--model", &model, "--policy", &policy, "--profile", &profile, "--no-compare"];
        args.extend(["--synthetic", "100000", "--json", "--fps", "50", "--dwell", "0.1", "--reserve", "20%"]);
        args.extend_from_slice(more);
        let output = program(&args);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let lines = String::from_utf8(output.stdout).unwrap();
        lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect::<Vec<Value>>()
    };
    let hours = (6.0 / 3600.0).to_string();
    let state_path = state.to_str().unwrap();
    let lines = mission(&["--mode", "mission", "--hours", &hours, "--battery-mwh", "0.41667", "--state", state_path]);
    let summary = lines.last().unwrap();
    assert_eq!(summary["ended"], "mission over");
    let soc = summary["soc"].as_f64().unwrap();
    assert!((soc - 0.2).abs() < 0.02, "ends at {soc}, a reserve of 0.2 was asked for");
    let frames: Vec<&Value> = lines.iter().filter(|line| line["kind"] == "frame").collect();
    let reasons: std::collections::BTreeSet<&str> = frames.iter().map(|f| f["reason"].as_str().unwrap()).collect();
    assert!(reasons.contains("budget") && reasons.contains("hold"), "{reasons:?}");
    let points: std::collections::BTreeSet<u64> = frames.iter().map(|f| f["point"].as_u64().unwrap()).collect();
    assert!(points.len() > 1, "the budget lies between operating points: {points:?}");
    let stored = load(&state).unwrap().unwrap();
    assert!(stored.learned.is_some() && stored.power.is_some(), "{stored:?}");

    // A battery that cannot last at the accuracy asked for: it is kept, and said.
    let lines = mission(&["--mode", "floor", "--floor", "80%", "--hours", &hours, "--battery-mwh", "0.3"]);
    let frames = lines.iter().filter(|line| line["kind"] == "frame");
    assert!(frames.clone().any(|frame| frame["reason"] == "floor-cannot-last"));
    assert!(frames.filter(|frame| frame["reason"] == "floor-cannot-last").all(|frame| frame["point"] == 2));

    // The governor chooses the period where it may.
    let lines = mission_between(&model, &policy, &profile, &hours);
    let frame = lines.iter().find(|line| line["kind"] == "frame").unwrap();
    let period = frame["period_ms"].as_u64().unwrap();
    assert!((20..=500).contains(&period), "{frame}");
}

fn mission_between(model: &str, policy: &str, profile: &str, hours: &str) -> Vec<Value> {
    let mut args = vec!["run", "--model", model, "--policy", policy, "--profile", profile, "--no-compare", "--json"];
    args.extend(["--synthetic", "3", "--mode", "mission", "--hours", hours, "--between-ms", "20,500"]);
    args.extend(["--battery-mwh", "0.41667"]);
    let output = program(&args);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_mission_that_is_not_said_in_full_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (model, policy) = mission_files(folder.path());
    let with = |more: &[&str], parts: &[&str]| {
        let mut args = vec!["run", "--model", &model, "--synthetic", "5", "--mode", "mission"];
        args.extend_from_slice(more);
        refuses(&args, parts);
    };
    with(&["--policy", &policy], &["--hours"]);
    with(&["--policy", &policy, "--hours", "1"], &["--fps", "--between-ms"]);
    with(&["--hours", "1", "--fps", "4"], &["--policy"]);
    with(&["--policy", &policy, "--hours", "1", "--fps", "4", "--reserve", "120"], &["--reserve", "'120'"]);
    with(&["--policy", &policy, "--hours", "1", "--fps", "4", "--gauge", "power-supply"], &["--battery-wh"]);
    refuses(&["run", "--model", &model, "--synthetic", "5", "--mode", "companion"], &["companion:DEVICE"]);
    refuses(&["run", "--model", &model, "--synthetic", "5", "--board", "toaster"], &["toaster", "raspberry-pi-4"]);
}

/// A few frames with this state file; the output of the program.
fn with_state(model: &str, state: &Path) -> std::process::Output {
    program(&[
        "run",
        "--model",
        model,
        "--synthetic",
        "2",
        "--no-compare",
        "--json",
        "--state",
        state.to_str().unwrap(),
    ])
}

#[test]
fn state_that_is_damaged_is_put_aside_with_a_warning_and_the_run_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let (model, _) = mission_files(folder.path());
    let state = folder.path().join("state.json");
    let newer = r#"{"generation":1,"learned":null,"coulomb":null,"power":null,"mission":null,"of_the_future":1}"#;
    for damaged in ["", "\0\0\0\0", r#"{"periods":1,"lear"#, newer] {
        std::fs::write(&state, damaged).unwrap();
        let output = with_state(&model, &state);
        let told = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success() && told.contains("put aside as"), "{damaged:?}: {told}");
        assert_eq!(std::fs::read_to_string(folder.path().join("state.json.bad")).unwrap(), damaged);
        assert!(load(&state).unwrap().unwrap().generation > 0);
    }
    let again = with_state(&model, &state);
    assert!(again.status.success() && !String::from_utf8(again.stderr).unwrap().contains("put aside"));
}

#[test]
fn state_file_of_a_running_program_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (model, _) = mission_files(folder.path());
    let state = folder.path().join("state.json");
    let keeper = StateFile::open(&state).unwrap();
    let refused = with_state(&model, &state);
    assert_eq!(refused.status.code(), Some(2));
    assert!(String::from_utf8(refused.stderr).unwrap().contains("another program keeps its state in this file"));
    drop(keeper);
    assert!(with_state(&model, &state).status.success());
}

#[test]
fn mission_that_is_over_stays_over_until_a_new_one_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let ((model, policy), profile) = (mission_files(folder.path()), profile(folder.path()));
    let state = folder.path().join("state.json");
    let over = r#"{"duration_ms":3600000,"elapsed_ms":3600000,"stored_at":1800000000}"#;
    let text = format!(r#"{{"periods":1,"learned":null,"coulomb":null,"power":null,"mission":{over}}}"#);
    std::fs::write(&state, text).unwrap();
    let ended = |more: &[&str]| {
        let mut args = vec!["run", "--model", &model, "--policy", &policy, "--profile", &profile, "--no-compare"];
        args.extend(["--synthetic", "3", "--json", "--fps", "50", "--mode", "mission", "--hours", "1"]);
        args.extend(["--battery-mwh", "100", "--state", state.to_str().unwrap()]);
        args.extend_from_slice(more);
        let output = program(&args);
        let lines = String::from_utf8(output.stdout).unwrap();
        let last: Value = serde_json::from_str(lines.lines().last().unwrap()).unwrap();
        last["ended"].as_str().unwrap().to_owned()
    };
    assert_eq!(ended(&[]), "mission over");
    assert_eq!(ended(&[]), "mission over", "not again from the beginning");
    assert_eq!(ended(&["--new-mission"]), "end of frames");
    assert_eq!(ended(&[]), "end of frames", "the new one goes on");
}

/// A simulated battery goes on while nobody runs, as the board does: here since the system was started.
#[cfg(target_os = "linux")]
#[test]
fn a_simulated_battery_is_drained_by_what_the_board_drew_in_between() {
    let folder = tempfile::tempdir().unwrap();
    let ((model, policy), profile) = (mission_files(folder.path()), profile(folder.path()));
    let path = folder.path().join("state.json");
    let uptime: f64 =
        std::fs::read_to_string("/proc/uptime").unwrap().split_whitespace().next().unwrap().parse().unwrap();
    let hours = 10 * (uptime / 3600.0).ceil() as u64;
    // At 0.1 W a tenth of the battery.
    let capacity = (uptime / 3.6).to_string();
    let first_soc = |more: &[&str]| {
        let opened = StateFile::open(&path).unwrap();
        let (mut file, mut stored) = (opened.file, opened.stored);
        let mut clock = MissionClock::new(Duration::from_secs(3600 * hours), Duration::ZERO);
        clock.boot.as_mut().unwrap().uptime_ms = 0;
        (stored.coulomb, stored.mission) = (Some(CoulombState::new(0.8)), Some(clock));
        file.save(&mut stored).unwrap();
        drop(file);
        let mut args = vec!["run", "--model", &model, "--policy", &policy, "--profile", &profile, "--no-compare"];
        let hours = hours.to_string();
        args.extend(["--synthetic", "1", "--json", "--fps", "50", "--mode", "mission", "--hours", &hours]);
        args.extend(["--battery-mwh", &capacity, "--state", path.to_str().unwrap()]);
        args.extend_from_slice(more);
        let output = program(&args);
        let lines = String::from_utf8(output.stdout).unwrap();
        let frame = lines.lines().find(|line| line.contains("\"kind\":\"frame\"")).unwrap();
        serde_json::from_str::<Value>(frame).unwrap()["soc"].as_f64().unwrap()
    };
    let soc = first_soc(&[]);
    assert!((soc - 0.7).abs() < 0.02, "{soc}");
    // What is said of it now is not what was stored then.
    let soc = first_soc(&["--soc", "80%"]);
    assert!((soc - 0.8).abs() < 0.02, "{soc}");
}

#[test]
fn a_hundred_kills_lose_at_most_one_period() {
    let folder = tempfile::tempdir().unwrap();
    let ((model, policy), profile) = (mission_files(folder.path()), profile(folder.path()));
    let path = folder.path().join("state.json");
    let (mut periods, mut soc, mut elapsed) = (0, 1.0, 0);
    for kill in 0..100u64 {
        let mut child = Command::new(env!("CARGO_BIN_EXE_dyn-perceiver"))
            .args(["run", "--model", &model, "--policy", &policy, "--profile", &profile, "--no-compare", "--json"])
            .args(["--synthetic", "1000000", "--mode", "mission", "--hours", "1", "--fps", "1000", "--dwell", "0.01"])
            .args(["--battery-mwh", "100", "--save-every", "0", "--state", path.to_str().unwrap()])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let (teller, told) = channel();
        let reader = thread::spawn(move || {
            // A line cut off by the kill is none.
            let values = lines.map_while(Result::ok).filter_map(|line| serde_json::from_str::<Value>(&line).ok());
            values.filter_map(|line| line["periods"].as_u64()).for_each(|period| teller.send(period).unwrap());
        });
        // After the first save any moment will do: opening, writing, flushing, renaming.
        let first = told.recv_timeout(Duration::from_secs(60)).unwrap();
        assert_eq!(first, periods + 1, "kill {kill}: goes on from what was stored");
        thread::sleep(Duration::from_micros(307 * (kill % 50)));
        child.kill().unwrap();
        child.wait().unwrap();
        reader.join().unwrap();
        let told = told.try_iter().last().unwrap_or(first);
        let state = load(&path).unwrap().unwrap();
        assert!(
            state.generation >= told && state.generation <= told + 1,
            "kill {kill}: told {told}, found {}",
            state.generation
        );
        let (counted, clock) = (state.coulomb.unwrap().soc, state.mission.unwrap().elapsed_ms);
        assert!(counted < soc && clock >= elapsed, "kill {kill}: {counted} after {soc}, {clock} ms after {elapsed}");
        assert!(state.learned.is_some_and(|learned| learned.soc().is_some()) && state.power.is_some());
        (periods, soc, elapsed) = (state.generation, counted, clock);
    }
    assert!(periods >= 100 && elapsed > 0);
}
