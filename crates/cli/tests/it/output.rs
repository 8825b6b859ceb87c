//! Where the program's output goes, and what becomes of it when that place is closed, full or no terminal.

use std::io::Read as _;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use crate::cli::Folder;
use crate::graphs::Graph;
use crate::models::three_exits;
use crate::program::{program, repository};

fn dyn_perceiver(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dyn-perceiver"));
    command.args(args);
    command
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The commands that print, on a model in `folder`.
fn commands(folder: &Folder) -> Vec<Vec<String>> {
    let model = folder.file("three.onnx", &three_exits(&["exit1", "exit2", "exit3"]).bytes());
    let image = repository().join("tests/fixtures/ankle_boot.png").to_str().unwrap().to_owned();
    let commands: [&[&str]; 7] = [
        &["run", "--synthetic", "200", "--model", &model],
        &["run", "--synthetic", "200", "--model", &model, "--json"],
        &["inspect", &model],
        &["inspect", &model, "--json"],
        &["classify", &image, "--model", &model],
        &["models"],
        &["doctor", "--list"],
    ];
    commands.iter().map(|args| args.iter().map(|&arg| arg.to_owned()).collect()).collect()
}

/// What `head -1` does: reads a little and goes away.
#[test]
fn a_closed_pipe_ends_the_program_quietly() {
    let folder = Folder::new();
    for args in commands(&folder) {
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let mut child = dyn_perceiver(&args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut first = [0];
        let mut stdout = child.stdout.take().unwrap();
        stdout.read_exact(&mut first).unwrap();
        drop(stdout);
        let output = child.wait_with_output().unwrap();
        assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), String::new()), "{args:?}");
    }
}

#[cfg(target_os = "linux")]
fn full() -> std::fs::File {
    std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap()
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_standard_output_is_reported_once() {
    let folder = Folder::new();
    for args in commands(&folder) {
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let output = dyn_perceiver(&args).stdout(full()).output().unwrap();
        let message = text(&output.stderr);
        assert_eq!(message, "error: standard output: No space left on device (os error 28)\n", "{args:?}");
        assert_eq!(output.status.code(), Some(1), "{args:?}");
    }
}

/// Neither a message nor its lack may change how the program ends.
#[cfg(target_os = "linux")]
#[test]
fn a_stderr_that_cannot_be_written_changes_nothing() {
    let folder = Folder::new();
    let code = |command: &mut Command| command.stdout(Stdio::null()).status().unwrap().code();
    assert_eq!(code(dyn_perceiver(&["inspect", "nosuch.onnx"]).stderr(full())), Some(2));
    assert_eq!(code(dyn_perceiver(&["no-such-command"]).stderr(full())), Some(2));
    assert_eq!(code(dyn_perceiver(&["run", "--synthetic", "3"]).stdout(full()).stderr(full())), Some(0));
    let both = dyn_perceiver(&["run", "--synthetic", "3"]).stdout(full()).stderr(full()).status().unwrap();
    assert_eq!(both.code(), Some(1));
    // State and log that cannot be kept are told, which fails, too; the loop goes on.
    let model = folder.file("three.onnx", &three_exits(&["exit1", "exit2"]).bytes());
    let args = ["run", "--synthetic", "50", "--battery", "mains", "--model", &model, "--log", "/dev/full", "--json"];
    let output = dyn_perceiver(&args).stderr(full()).output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    let frames = text(&output.stdout).lines().filter(|line| line.contains(r#""kind":"frame""#)).count();
    assert_eq!(frames, 50);
}

#[cfg(target_os = "linux")]
#[test]
fn the_state_is_saved_however_the_loop_ends() {
    let folder = Folder::new();
    let model = folder.file("three.onnx", &three_exits(&["exit1", "exit2"]).bytes());
    let state = folder.path("state.json");
    let args = ["run", "--synthetic", "100000", "--model", &model, "--battery-wh", "10", "--state", &state, "--json"];
    let output = dyn_perceiver(&args).stdout(full()).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let stored: Value = serde_json::from_slice(&std::fs::read(&state).unwrap()).unwrap();
    assert_eq!(stored["generation"], 1, "{stored}");
}

#[test]
fn no_colour_and_no_live_line_reach_a_file() {
    let folder = Folder::new();
    let model = folder.file("three.onnx", &three_exits(&["exit1", "exit2"]).bytes());
    for args in [&["run", "--synthetic", "50", "--model", &model][..], &["run", "--nonsense"], &["--help"]] {
        let output = dyn_perceiver(args).env("DYN_PERCEIVER_LOG", "trace").output().unwrap();
        let all = text(&output.stdout) + &text(&output.stderr);
        assert!(!all.contains('\x1b') && !all.contains('\r'), "{all}");
    }
}

/// A name in Latin-1, as old cameras and disks have them.
#[cfg(target_os = "linux")]
#[test]
fn names_that_are_not_utf_8_are_taken_and_told() {
    use std::os::unix::ffi::OsStringExt as _;

    let folder = Folder::new();
    let named = |name: &[u8]| std::path::Path::new(&folder.path("")).join(std::ffi::OsString::from_vec(name.to_vec()));
    let (model, image, bundle) = (named(b"mod\xe8le.onnx"), named(b"caf\xe9.png"), named(b"mod\xe8le.dynp"));
    std::fs::write(&model, three_exits(&["exit1", "exit2"]).bytes()).unwrap();
    std::fs::copy(repository().join("tests/fixtures/ankle_boot.png"), &image).unwrap();
    let json = |command: &mut Command| -> Vec<Value> {
        let output: Output = command.arg("--json").output().unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
        text(&output.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let told = json(dyn_perceiver(&["classify", "--model"]).arg(&model).arg(&image));
    assert!(told[0]["image"].as_str().unwrap().ends_with("caf\u{fffd}.png"), "{told:?}");
    let told = json(dyn_perceiver(&["inspect"]).arg(&model));
    assert!(told[0]["model"].as_str().unwrap().ends_with("mod\u{fffd}le.onnx"), "{told:?}");
    let told = json(dyn_perceiver(&["compile"]).arg(&model).arg("-o").arg(&bundle));
    assert!(told[0]["bundle"].as_str().unwrap().ends_with("mod\u{fffd}le.dynp"), "{told:?}");
    let told = json(dyn_perceiver(&["run", "--model"]).arg(&bundle).arg("--frames").arg(&image));
    assert!(told[0]["source"].as_str().unwrap().ends_with("caf\u{fffd}.png"), "{told:?}");
    assert_eq!(told[0]["soc"], Value::Null, "a file of one's own drains no battery: {told:?}");
    let missing = dyn_perceiver(&["inspect"]).arg(named(b"no\xe8.onnx")).output().unwrap();
    assert_eq!(missing.status.code(), Some(2));
}

#[test]
fn names_with_control_characters_are_quoted_and_forge_no_line() {
    let folder = Folder::new();
    let mut graph = Graph::new(&[0, 3, 8, 8], 1);
    graph.classifier("early\x1b[31m", "image", 3, 5);
    graph.output("early\x1b[31m");
    let model = folder.file("names.onnx", &graph.bytes());
    let printed = text(&program(&["inspect", &model]).stdout);
    assert!(!printed.contains('\x1b') && printed.contains(r#""early\u{1b}[31m""#), "{printed}");
    let output = program(&["inspect", &folder.path("no\nerror: forged\x1b[2J.onnx")]);
    let message = text(&output.stderr);
    assert!(!message.contains('\x1b') && message.lines().filter(|line| line.starts_with("error:")).count() == 1);
    let printed = program(&["run", "--model", &model, "--synthetic", "3", "--exit", "early\x1b[31m"]);
    assert!(!text(&printed.stdout).contains('\x1b'), "{printed:?}");
}

/// Both carry the same records, which say when, from where, and by which version of the keys.
#[test]
fn log_and_json_are_the_same_records() {
    let folder = Folder::new();
    let model = folder.file("three.onnx", &three_exits(&["exit1", "exit2"]).bytes());
    let (log, images) = (folder.path("log.jsonl"), folder.path("images"));
    std::fs::create_dir(&images).unwrap();
    for name in ["a.png", "b.png"] {
        std::fs::copy(repository().join("tests/fixtures/ankle_boot.png"), format!("{images}/{name}")).unwrap();
    }
    std::fs::write(format!("{images}/c.png"), b"no image").unwrap();
    // As if the power had gone within a line.
    std::fs::write(&log, "{\"kind\":\"fra").unwrap();
    let output = program(&["run", "--model", &model, "--frames", &images, "--json", "--log", &log]);
    assert_eq!(output.status.code(), Some(1), "one of three cannot be read");
    let printed = text(&output.stdout);
    let logged = std::fs::read_to_string(&log).unwrap();
    assert_eq!(logged, format!("{{\"kind\":\"fra\n{printed}"));
    let records: Vec<Value> = printed.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let kinds: Vec<&str> = records.iter().map(|record| record["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["frame", "frame", "skipped", "summary"]);
    for record in &records {
        assert_eq!(record["schema"], 2);
        assert!(record["time"].as_str().is_some_and(|time| time.ends_with('Z')) || record["clock"] == "not set");
    }
    assert!(records[0]["source"].as_str().unwrap().ends_with("a.png"));
    assert!(records[2]["message"].as_str().unwrap().contains("c.png"));
    assert_eq!((&records[3]["frames"], &records[3]["skipped"]), (&2.into(), &1.into()));
    let strict = program(&["run", "--model", &model, "--frames", &images, "--strict"]);
    assert_eq!(strict.status.code(), Some(1));
    assert!(text(&strict.stderr).starts_with("error: "), "{strict:?}");
}
