//! What wakes the board and holds its switch, as the program is told of it.
#![cfg(unix)]

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use dyn_perceiver::energy::Reason;
use dyn_perceiver::energy::companion::{MAX_FRAME, Message, Wakes, encode};
use serde_json::Value;

use crate::cli::Folder;
use crate::models::three_exits;
use crate::program::refuses;

/// A companion on a line that is a pipe: it says ten times a second what it says once a second.
struct Companion {
    line: String,
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Companion {
    fn start(folder: &Folder, wakes: Option<Wakes>) -> Self {
        let line = folder.path("line");
        assert!(Command::new("mkfifo").arg(&line).status().unwrap().success());
        // Also for reading: else opening waits for the program, and its end would be an error here.
        let mut pipe = std::fs::File::options().read(true).write(true).open(&line).unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            for sequence in 0.. {
                if stopped.load(Ordering::Relaxed) {
                    return;
                }
                let mut message = Message::new(sequence, 1, Reason::Budget).with_period_ms(20).with_soc(0.5);
                message.wakes = wakes;
                let mut frame = [0; MAX_FRAME];
                let used = encode(&message, &mut frame);
                pipe.write_all(&frame[..used]).unwrap();
                std::thread::sleep(Duration::from_millis(100));
            }
        });
        Companion { line, stop, thread: Some(thread) }
    }

    /// What the program prints that is governed by it.
    fn run(&self, model: &str, more: &[&str]) -> String {
        let gauge = format!("companion:{}", self.line);
        let output = Command::new(env!("CARGO_BIN_EXE_dyn-perceiver"))
            .args(["run", "--model", model, "--synthetic", "40", "--fps", "20", "--no-compare", "--gauge", &gauge])
            .args(["--mode", "companion"])
            .args(more)
            .stderr(Stdio::inherit())
            .output()
            .unwrap();
        assert!(output.status.success());
        String::from_utf8(output.stdout).unwrap()
    }
}

impl Drop for Companion {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(std::thread::JoinHandle::join);
    }
}

#[test]
fn a_companion_that_holds_the_switch_is_told_of_at_the_end() {
    let folder = Folder::new();
    let model = folder.file("three.onnx", &three_exits(&["exit1", "exit2"]).bytes());
    let wakes = Wakes::new(12, 5, 1, 2).with_next(Some(600));
    let companion = Companion::start(&folder, Some(wakes));
    let lines = companion.run(&model, &["--json"]);
    let summary: Value = serde_json::from_str(lines.lines().last().unwrap()).unwrap();
    let expected = serde_json::json!({"boots": 12, "by_motion": 5, "cuts": 1, "missed": 2, "next_s": 600});
    assert_eq!(summary["wakes"], expected, "{summary}");
    // It governs, too: the point that it says.
    assert!(
        lines.lines().any(|line| line.contains("\"point\":1") && line.contains("\"reason\":\"budget\"")),
        "{lines}"
    );
    let text = companion.run(&model, &[]);
    let told = "woken    12 times, 5 by motion; cut off 1 times, 2 wakes missed; the clock wakes it next in 600 s";
    assert!(text.contains(told), "{text}");
}

#[test]
fn a_companion_without_a_switch_says_nothing_of_wakes() {
    let folder = Folder::new();
    let model = folder.file("three.onnx", &three_exits(&["exit1", "exit2"]).bytes());
    let companion = Companion::start(&folder, None);
    let lines = companion.run(&model, &["--json"]);
    let summary: Value = serde_json::from_str(lines.lines().last().unwrap()).unwrap();
    assert!(summary["kind"] == "summary" && summary["wakes"].is_null(), "{summary}");
    assert!(!companion.run(&model, &[]).contains("woken"));
}

/// Nothing runs where nothing would wake the board afterwards.
#[test]
fn a_switch_that_cannot_wake_the_board_is_refused_before_the_first_frame() {
    let run = ["run", "--synthetic", "2", "--no-compare"];
    let with = |more: &[&str], parts: &[&str]| refuses(&[&run[..], more].concat(), parts);
    with(&["--switch", "witty-pi-4:/dev/i2c-1"], &["--wake-after"]);
    with(&["--wake-after", "600", "--switch", "toaster:/dev/i2c-1"], &["--switch", "pijuice:BUS or witty-pi-4:BUS"]);
    for name in ["witty-pi-4", "pijuice"] {
        let missing = format!("{name}:/dev/i2c-none");
        with(&["--wake-after", "600", "--switch", &missing], &["--switch", "/dev/i2c-none"]);
        // No time to halt in, and a month, which alarms do not have.
        for seconds in ["60", "2678400"] {
            with(&["--wake-after", seconds, "--switch", &missing], &["expected 120 to 2332800 seconds"]);
        }
    }
    // A file that is no bus.
    let folder = Folder::new();
    let file = format!("witty-pi-4:{}", folder.file("bus", b""));
    with(&["--wake-after", "600", "--switch", &file], &["--switch"]);
}
