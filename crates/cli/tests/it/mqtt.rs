//! Events for a broker that is away, over a kill of the program.
#![cfg(feature = "mqtt")]

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::cli::Folder;
use crate::models::three_exits;

/// Numbers of the events that wait in a spool: lines of JSON, the last maybe cut.
fn waiting(spool: &str) -> Vec<u64> {
    let text = std::fs::read_to_string(spool).unwrap_or_default();
    let number = |line: &str| serde_json::from_str::<Value>(line).ok().and_then(|event| event["id"].as_u64());
    text.lines().filter_map(number).collect()
}

#[test]
fn mqtt_events_outlive_a_kill_in_order() {
    let folder = Folder::new();
    let model = folder.file("three.onnx", &three_exits(&["exit1", "exit2"]).bytes());
    let spool = folder.path("events.spool");
    let until_killed = |enough: usize| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dyn-perceiver"));
        command.args(["run", "--model", &model, "--synthetic", "100000", "--fps", "50", "--json", "--no-compare"]);
        command.args(["--event-frames", "1/1", "--event-confidence", "0", "--still-every", "0.2"]);
        // Nobody listens there.
        command.args(["--mqtt", "mqtt://127.0.0.1:9", "--mqtt-spool", &spool]);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let patience = Instant::now() + Duration::from_secs(120);
        while waiting(&spool).len() < enough && Instant::now() < patience {
            std::thread::sleep(Duration::from_millis(20));
        }
        let before = waiting(&spool);
        // SIGKILL, as `kill -9` sends it.
        child.kill().unwrap();
        child.wait().unwrap();
        before
    };
    let first = until_killed(8);
    assert_eq!(first, (1..=first.len() as u64).collect::<Vec<_>>());
    let kept = waiting(&spool);
    assert!(kept.starts_with(&first), "{first:?} were kept before the kill, {kept:?} after it");
    // The next run goes on behind them.
    until_killed(kept.len() + 4);
    let all = waiting(&spool);
    assert!(all.starts_with(&kept) && all[kept.len()..].starts_with(&[1, 2, 3, 4]), "{kept:?} {all:?}");
}
