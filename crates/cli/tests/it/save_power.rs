//! What a run changes on the system for as long as it lasts, on a system made of files.
#![cfg(unix)]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::program::repository;

/// A program that has not come so far by then hangs.
const HANGS: Duration = Duration::from_secs(120);

/// A board with an LED, an HDMI output and two clocks.
struct Board(tempfile::TempDir);

const FILES: [(&str, &str); 7] = [
    ("sys/class/leds/ACT/trigger", "none [mmc0] timer\n"),
    ("sys/class/leds/ACT/brightness", "255\n"),
    ("sys/class/drm/card1-HDMI-A-1/status", "connected\n"),
    ("sys/devices/system/cpu/cpufreq/policy0/scaling_max_freq", "1800000\n"),
    ("sys/devices/system/cpu/cpufreq/policy0/scaling_available_frequencies", "600000 1800000\n"),
    ("sys/class/rfkill/rfkill0/soft", "0\n"),
    ("sys/class/rfkill/rfkill0/type", "wlan\n"),
];

impl Board {
    fn new() -> Self {
        let board = Board(tempfile::tempdir().unwrap());
        for (path, content) in FILES {
            std::fs::create_dir_all(board.path(path).parent().unwrap()).unwrap();
            std::fs::write(board.path(path), content).unwrap();
        }
        board
    }

    fn path(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }

    /// The LED's trigger, what is looked for at the output, and the limit of the clock.
    fn state(&self) -> [String; 3] {
        [0, 2, 3].map(|i| std::fs::read_to_string(self.path(FILES[i].0)).unwrap().trim().to_owned())
    }

    fn run(&self, args: &[&str]) -> Child {
        Command::new(env!("CARGO_BIN_EXE_dyn-perceiver"))
            .env("DYN_PERCEIVER_SYSTEM", self.0.path())
            .args(["run", "--save-power", "--no-compare", "--json"])
            .args(args)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }

    /// Waits until the run has switched the LED off.
    fn wait_until_saving(&self, child: &mut Child) {
        let begun = Instant::now();
        while self.state()[0] != "none" {
            assert!(child.try_wait().unwrap().is_none(), "ended before anything was switched off");
            assert!(begun.elapsed() < HANGS, "nothing was switched off: {:?}", self.state());
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// As a shell or systemd does it.
fn terminate(child: Child, signal: &str) -> Output {
    let told = Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap();
    assert!(told.success());
    child.wait_with_output().unwrap()
}

fn frames() -> String {
    let small = repository().join("models/pretrained/fashion-mnist/frames-images-idx3-ubyte.gz");
    small.to_str().unwrap().to_owned()
}

fn model() -> String {
    repository().join("models/pretrained/fashion-mnist/model.onnx").to_str().unwrap().to_owned()
}

const BACK: [&str; 3] = ["mmc0", "detect", "1800000"];

#[test]
fn what_was_switched_off_is_put_back_after_a_signal() {
    for signal in ["-TERM", "-INT", "-HUP"] {
        let board = Board::new();
        let mut child = board.run(&["--model", &model(), "--frames", &frames(), "--fps", "1"]);
        board.wait_until_saving(&mut child);
        assert_eq!(board.state()[1], "off");
        let output = terminate(child, signal);
        assert_eq!(board.state(), BACK, "{signal}: {}", String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{signal}: {output:?}");
        assert!(String::from_utf8_lossy(&output.stdout).contains("\"ended\":\"interrupted\""), "{signal}");
    }
}

#[test]
fn what_was_switched_off_is_put_back_after_a_failure_and_at_the_end() {
    let pictures = tempfile::tempdir().unwrap();
    let picture = repository().join("tests/fixtures/pictures/baseline-420.jpg");
    std::fs::copy(picture, pictures.path().join("0.jpg")).unwrap();
    let folder = pictures.path().to_str().unwrap();
    let ended = |args: &[&str], code: i32| {
        let board = Board::new();
        let output =
            board.run(&[&["--model", &model(), "--frames", folder], args].concat()).wait_with_output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{error}");
        assert!(error.contains("LED ACT"), "{error}");
        assert_eq!(board.state(), BACK, "{error}");
    };
    ended(&[], 0);
    std::fs::write(pictures.path().join("1.jpg"), b"no picture").unwrap();
    ended(&["--strict"], 1);
    // What is only skipped is told at the end.
    ended(&[], 1);
}

#[test]
fn radios_are_off_while_the_run_lasts_and_only_where_that_was_asked_for() {
    let (model, frames) = (model(), frames());
    let radio =
        |board: &Board| std::fs::read_to_string(board.path("sys/class/rfkill/rfkill0/soft")).unwrap().trim().to_owned();
    for (options, while_running) in [(&["--radio-off"][..], "1"), (&[][..], "0")] {
        let board = Board::new();
        let args = ["--model", &model, "--frames", &frames, "--fps", "1"];
        let mut child = board.run(&[&args[..], options].concat());
        board.wait_until_saving(&mut child);
        // Radios are switched off after everything else.
        let begun = Instant::now();
        while radio(&board) != while_running {
            assert!(child.try_wait().unwrap().is_none() && begun.elapsed() < HANGS);
            std::thread::sleep(Duration::from_millis(10));
        }
        terminate(child, "-TERM");
        assert_eq!((board.state(), radio(&board)), (BACK.map(str::to_owned), "0".to_owned()));
    }
}

/// A profile of two clocks, of which the slower one takes less.
fn profile(folder: &Path) -> String {
    let plan = dyn_perceiver::Plan::load(model(), &dyn_perceiver::LoadOptions::default()).unwrap();
    let names = plan.info().outcome_names();
    let stages: Vec<_> = names
        .iter()
        .enumerate()
        .map(|(i, exit)| {
            let total = 0.001 * (i + 1) as f64;
            serde_json::json!({"exit": exit, "joules": 0.001, "standard_error": 0.0, "seconds": 0.001,
                "cumulative_joules": total})
        })
        .collect();
    let variant = |megahertz: f64, seconds: f64, joules: f64| {
        serde_json::json!({"threads": 1, "megahertz": megahertz, "seconds": seconds, "joules": joules,
            "standard_error": 0.0})
    };
    let profile = serde_json::json!({"source": "measured", "method": "a meter", "idle_watts": 0.5, "stages": stages,
        "threads": 1, "variants": [variant(600.0, 0.012, 0.0025), variant(1800.0, 0.004, 0.004)]});
    let path = folder.join("profile.json");
    std::fs::write(&path, profile.to_string()).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn the_clock_that_costs_least_is_held_while_the_run_lasts() {
    let folder = tempfile::tempdir().unwrap();
    let (profile, model, frames) = (profile(folder.path()), model(), frames());
    let args = ["--model", &model, "--frames", &frames, "--profile", &profile, "--set-clock"];
    let board = Board::new();
    let mut child = board.run(&[&args[..], &["--fps", "1"]].concat());
    let begun = Instant::now();
    while board.state()[2] != "600000" {
        assert!(child.try_wait().unwrap().is_none() && begun.elapsed() < HANGS, "{:?}", board.state());
        std::thread::sleep(Duration::from_millis(10));
    }
    terminate(child, "-TERM");
    assert_eq!(board.state(), BACK);

    // Half a watt of idling makes haste pay where the next frame begins when one is done.
    let told = Command::new(env!("CARGO_BIN_EXE_dyn-perceiver"))
        .env("DYN_PERCEIVER_SYSTEM", board.0.path())
        .args(["run", "--no-compare", "--limit", "3"])
        .args(args)
        .output()
        .unwrap();
    let text = String::from_utf8(told.stdout).unwrap();
    assert!(text.contains("1 thread at 1800 MHz, 4.000 mJ a whole frame: the least of 2 measured"), "{text}");
    assert_eq!(board.state()[2], "1800000");
    crate::program::refuses(&["run", "--set-clock"], &["--profile"]);
}

/// What stands beside the board is counted whether its watts were measured or taken from its data.
#[test]
fn a_camera_and_a_radio_count_beside_a_profile() {
    let folder = tempfile::tempdir().unwrap();
    let (profile, model) = (profile(folder.path()), model());
    let board = folder.path().join("board.toml");
    let data =
        std::fs::read_to_string(repository().join("boards/raspberry-pi/boards/raspberry-pi-zero-2-w.toml")).unwrap();
    let radio = "[loads]\nradio_watts = { value = 0.25, source = \"a meter\" }\n";
    std::fs::write(&board, data.replace("[loads]\n", radio)).unwrap();
    let camera = "command:while true; do head -c 3072 /dev/zero; done";
    let camera = ["--camera", camera, "--camera-format", "rgb", "--camera-size", "32x32"];
    let origin = |more: &[&str]| {
        let base = ["run", "--no-compare", "--limit", "2", "--model", &model, "--board", board.to_str().unwrap()];
        let output = Command::new(env!("CARGO_BIN_EXE_dyn-perceiver"))
            .env("DYN_PERCEIVER_SYSTEM", folder.path())
            .args([&base[..], &["--profile", &profile], more].concat())
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
        text
    };
    let frames = frames();
    let alone = origin(&["--frames", &frames]);
    assert!(!alone.contains("camera (") && !alone.contains("of the radio"), "{alone}");
    let both = origin(&[&camera[..], &["--radio"]].concat());
    assert!(both.contains("0.13 W of the camera (data sheet") && both.contains("0.25 W of the radio"), "{both}");
    let camera_alone = origin(&[&camera[..], &["--radio-off"]].concat());
    assert!(camera_alone.contains("of the camera") && !camera_alone.contains("of the radio"), "{camera_alone}");
    crate::program::refuses(&["run", "--radio", "--radio-off"], &["--radio-off"]);
    crate::program::refuses(&["run", "--suspend-watts", "0.1"], &["--suspend-watts", "without --suspend"]);
}

#[test]
fn a_board_is_suspended_between_frames_that_are_far_apart() {
    let folder = tempfile::tempdir().unwrap();
    let write = |path: &str, text: &str| {
        let path = folder.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    write("sys/power/state", "freeze mem\n");
    write("sys/class/rtc/rtc0/wakealarm", "");
    write("proc/uptime", "100.00 400.00\n");
    let read = |path: &str| std::fs::read_to_string(folder.path().join(path)).unwrap();
    let (model, frames) = (model(), frames());
    let args = ["run", "--no-compare", "--model", &model, "--frames", &frames, "--suspend"];
    let program = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dyn-perceiver"));
        command.env("DYN_PERCEIVER_SYSTEM", folder.path()).args(args).stdout(Stdio::null());
        command
    };
    let known = ["--suspend-watts", "0.1"];
    let mut child = program().args(["--fps", "0.1"]).args(known).stderr(Stdio::piped()).spawn().unwrap();
    let begun = Instant::now();
    while read("sys/power/state") != "mem" || read("sys/class/rtc/rtc0/wakealarm") != "0" {
        assert!(child.try_wait().unwrap().is_none() && begun.elapsed() < HANGS);
        std::thread::sleep(Duration::from_millis(10));
    }
    let output = terminate(child, "-TERM");
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!told.contains("suspended is not known"), "{told}");

    // Nobody knows what it draws then: that is said at the start, once.
    for json in [&[][..], &["--json"]] {
        let output = program().args(["--fps", "0.1", "--limit", "1"]).args(json).output().unwrap();
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        let notes: Vec<_> = told.lines().filter(|line| line.contains("suspended is not known")).collect();
        assert_eq!(notes.len(), 1, "{told}");
        assert!(notes[0].contains("--suspend-watts") && notes[0].contains("power.suspend_watts"), "{told}");
    }

    let hasty = program().args(["--fps", "1"]).output().unwrap();
    let told = String::from_utf8_lossy(&hasty.stderr).into_owned();
    assert!(hasty.status.code() == Some(2) && told.contains("frames are 1.0 s apart"), "{told}");
    std::fs::remove_dir_all(folder.path().join("sys/power")).unwrap();
    let unable = program().args(["--fps", "0.1"]).output().unwrap();
    let told = String::from_utf8_lossy(&unable.stderr).into_owned();
    assert!(unable.status.code() == Some(2) && told.contains("/sys/power/state"), "{told}");
}
