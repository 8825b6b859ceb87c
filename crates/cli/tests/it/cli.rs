//! The program as a user meets it: what it prints, and what it says to wrong input.

use std::path::PathBuf;
use std::process::{Command, Output};

use crate::graphs::Graph;
use crate::models::three_exits;
use crate::program::{json, program, refuses};
use tempfile::TempDir;

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// A folder of files.
pub(crate) struct Folder(TempDir);

impl Folder {
    pub(crate) fn new() -> Self {
        Folder(TempDir::new().unwrap())
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.0.path().join(name).to_str().unwrap().to_owned()
    }

    pub(crate) fn file(&self, name: &str, bytes: &[u8]) -> String {
        let path = self.0.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path.to_str().unwrap().to_string()
    }
}

fn model(folder: &Folder) -> String {
    folder.file("three.onnx", &three_exits(&["exit1", "exit2", "exit3"]).bytes())
}

fn fixture_image() -> PathBuf {
    crate::program::repository().join("tests/fixtures/ankle_boot.png")
}

#[test]
fn inspect_reports_stages_and_their_costs() {
    let folder = Folder::new();
    let output = program(&["inspect", &model(&folder), "--json"]);
    assert!(output.status.success());
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let stages = report["stages"].as_array().unwrap();
    assert_eq!(stages.len(), 3);
    assert_eq!(stages[0]["exit"], "exit1");
    assert_eq!(stages[1]["macs"], 64 * 9 * 4 * 4 + 20);
    assert_eq!(stages[0]["carry_bytes"], 4 * 4 * 64);
    assert_eq!(report["input"]["shape"], serde_json::json!([1, 3, 8, 8]));
    assert_eq!(report["total"]["parameters"], 9 * 3 * 4 + 2 * 9 * 4 * 4 + 3 * 20);
    let text = stdout(&program(&["inspect", &model(&folder)]));
    assert!(text.contains("exit2") && text.contains("carry") && text.contains("total:"), "{text}");
}

#[test]
fn an_exit_called_like_a_number_is_taken_by_name_and_told() {
    let folder = Folder::new();
    let mut graph = Graph::new(&[1, 3, 8, 8], 5);
    let mut features = graph.conv("conv1", "image", 3, 4);
    graph.classifier("2", &features, 4, 5);
    features = graph.conv("conv2", &features, 4, 4);
    graph.classifier("1", &features, 4, 5);
    ["2", "1"].iter().for_each(|exit| graph.output(exit));
    let model = folder.file("numbers.onnx", &graph.bytes());
    let image = fixture_image();
    let output = program(&["classify", image.to_str().unwrap(), "--model", &model, "--exit", "1", "--json"]);
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["exit"], "1");
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(told.contains("the exit of that name, number 2 of 2"), "{told}");
}

#[test]
fn one_file_that_is_no_image_is_wrong_input_to_run_and_classify() {
    let folder = Folder::new();
    let empty = folder.file("empty.png", b"");
    refuses(&["classify", &empty], &["empty.png", "it is empty"]);
    refuses(&["run", "--frames", &empty], &["empty.png", "it is empty"]);
}

#[test]
fn classify_answers_alike_on_any_number_of_threads_and_says_how_many() {
    let image = fixture_image();
    let image = image.to_str().unwrap();
    let answer = |threads: &str| {
        // The built-in model, whose products are large enough to be split.
        let mut answer = json(&["classify", image, "--threads", threads, "--json"]);
        let used = answer["threads"].take().as_u64().unwrap();
        for changing in ["latency_ms", "stages_ms"] {
            answer[changing].take();
        }
        (used, answer)
    };
    let (one, expected) = answer("1");
    assert_eq!(one, 1);
    for threads in ["2", "3", "4", "auto"] {
        let (used, found) = answer(threads);
        assert!(threads == "auto" || used.to_string() == threads);
        assert_eq!(found, expected, "{threads} threads");
    }
}

#[test]
fn classify_forces_exits_and_prints_json() {
    let folder = Folder::new();
    let model = model(&folder);
    let image = fixture_image();
    let image = image.to_str().unwrap();
    for (exit, expected) in [("exit2", "exit2"), ("3", "exit3")] {
        let output = program(&["classify", image, "--model", &model, "--exit", exit, "--json"]);
        let answer: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(answer["exit"], expected);
        assert_eq!(answer["stages_ms"].as_array().unwrap().len(), 1);
        assert!(answer["class"].as_u64().unwrap() < 5);
    }
    let output = program(&["classify", image, image, "--model", &model, "--thresholds", "1,1", "--json"]);
    let lines: Vec<serde_json::Value> =
        stdout(&output).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 2);
    assert_eq!((&lines[0]["exit"], &lines[0]["cut"]), (&"exit3".into(), &false.into()));
}

#[test]
fn run_ends_with_a_summary_that_adds_up() {
    let folder = Folder::new();
    let output = program(&["run", "--model", &model(&folder), "--synthetic", "40", "--json"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines: Vec<serde_json::Value> =
        stdout(&output).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let (summary, frames) = lines.split_last().unwrap();
    assert!(frames.iter().all(|frame| frame["kind"] == "frame"));
    assert_eq!(summary["kind"], "summary");
    assert_eq!(summary["frames"], frames.len());
    let shares: f64 = summary["exit_share"].as_object().unwrap().values().map(|share| share.as_f64().unwrap()).sum();
    assert!((shares - 1.0).abs() < 1e-9);
    let joules: f64 = frames.iter().map(|frame| frame["joules"].as_f64().unwrap()).sum();
    assert!((summary["joules"].as_f64().unwrap() / joules - 1.0).abs() < 1e-6);
    assert!(summary["joules"].as_f64().unwrap() <= summary["joules_full"].as_f64().unwrap());
    let socs: Vec<f64> = frames.iter().map(|frame| frame["soc"].as_f64().unwrap()).collect();
    assert!(socs.windows(2).all(|pair| pair[1] < pair[0]), "the battery drains");
}

#[cfg(unix)]
#[test]
fn an_interrupt_ends_a_run_with_its_summary() {
    use std::io::{BufRead as _, BufReader};
    use std::process::Stdio;

    let folder = Folder::new();
    let model = model(&folder);
    let mut child = Command::new(env!("CARGO_BIN_EXE_dyn-perceiver"))
        .args(["run", "--model", &model, "--synthetic", "100000", "--fps", "20", "--battery-mwh", "100000", "--json"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    lines.next().unwrap().unwrap();
    Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    let last: serde_json::Value = serde_json::from_str(&lines.last().unwrap().unwrap()).unwrap();
    assert_eq!((&last["kind"], &last["ended"]), (&"summary".into(), &"interrupted".into()));
    assert!(child.wait().unwrap().success());
}

#[test]
fn wrong_models_are_refused_by_name() {
    let folder = Folder::new();
    let inspect = |name: &str, bytes: &[u8], parts: &[&str]| {
        let path = folder.file(name, bytes);
        let parts: Vec<&str> = parts.iter().copied().chain([name]).collect();
        refuses(&["inspect", &path], &parts);
    };
    refuses(&["inspect", "/no/such/model.onnx"], &["/no/such/model.onnx", "cannot be read"]);
    inspect("empty.onnx", b"", &["empty"]);
    inspect("text.onnx", b"this is not a model", &["not an ONNX model"]);
    let mut no_exit = Graph::new(&[0, 3, 8, 8], 1);
    no_exit.conv("features", "image", 3, 4);
    no_exit.output("features");
    inspect("features.onnx", &no_exit.bytes(), &["no exit found", "features"]);
    let mut unequal = Graph::new(&[0, 3, 8, 8], 1);
    unequal.classifier("a", "image", 3, 5);
    unequal.classifier("b", "image", 3, 6);
    unequal.output("a");
    unequal.output("b");
    inspect("unequal.onnx", &unequal.bytes(), &["\"b\"", "(1, 6)", "(1, 5)"]);
    let labels = three_exits(&["exit1"]).metadata("dyn_perceiver.labels", "[\"cat\"]");
    inspect("labels.onnx", &labels.bytes(), &["dyn_perceiver.labels", "1 labels for 5 classes"]);
    let mut two = Graph::new(&[0, 2, 8, 8], 1);
    two.classifier("a", "image", 2, 5);
    two.output("a");
    inspect("channels.onnx", &two.bytes(), &["image", "(?, 2, 8, 8)"]);
}

#[test]
fn a_truncated_model_is_refused_wherever_it_was_cut() {
    let folder = Folder::new();
    let bytes = three_exits(&["exit1", "exit2", "exit3"]).bytes();
    for cut in (1..bytes.len()).step_by(bytes.len() / 40) {
        refuses(&["inspect", &folder.file("cut.onnx", &bytes[..cut])], &["cut.onnx"]);
    }
}

#[test]
fn wrong_policies_and_images_are_refused() {
    let folder = Folder::new();
    let model = model(&folder);
    let image = fixture_image();
    let image = image.to_str().unwrap();
    let classify = |args: &[&str], parts: &[&str]| {
        let all: Vec<&str> = ["classify", "--model", &model].iter().chain(args).copied().collect();
        refuses(&all, parts);
    };
    classify(&[image, "--exit", "late9"], &["late9", "exit1, exit2, exit3"]);
    classify(&[image, "--exit", "0"], &["\"0\""]);
    classify(&[image, "--exits", "exit1,exit9"], &["exit9", "three.onnx"]);
    classify(&[image, "--thresholds", "0.5,1.5"], &["exit 2", "1.5", "[0, 1]"]);
    classify(&[image, "--thresholds", "0.5,nan"], &["exit 2", "NaN"]);
    classify(&[image, "--thresholds", "0.5"], &["expected 2 thresholds", "got 1"]);
    classify(&[image, "--confidence", "luck"], &["luck", "max-softmax"]);
    classify(&["/no/such.png"], &["/no/such.png"]);
    classify(&[&folder.file("text.png", b"hello")], &["text.png"]);
    classify(&[&folder.file("empty.png", b"")], &["empty.png"]);
    let png = std::fs::read(image).unwrap();
    classify(&[&folder.file("cut.png", &png[..png.len() / 2])], &["cut.png"]);
    refuses(&["run", "--model", &model, "--frames", "/no/such"], &["/no/such"]);
    refuses(&["run", "--model", &model, "--synthetic", "5", "--soc", "2"], &["--soc", "'2'", "2% for percent"]);
    refuses(&["run", "--model", &model, "--synthetic", "5", "--fps", "0"], &["--fps", "'0'"]);
    refuses(&["run", "--model", &model, "--synthetic", "5", "--active-watts", "1"], &["1 W", "active at least idle"]);
}

/// What a model says of its preprocessing, or does not, is shown and told; options come before it.
#[test]
fn a_model_that_does_not_tell_its_normalisation_is_told_once() {
    let folder = Folder::new();
    let model = folder.file("silent.onnx", &crate::graphs::three_exits(&["exit1", "exit2"]).bytes());
    let inspect = |args: &[&str]| {
        let output = program(&[&["inspect", &model, "--json"], args].concat());
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        (report, String::from_utf8(output.stderr).unwrap())
    };
    let (report, told) = inspect(&[]);
    assert_eq!(report["input"]["source"], "assumed");
    assert_eq!(told.matches("dyn_perceiver.mean").count(), 1, "{told}");
    for option in ["--mean", "--std", "--range"] {
        assert!(told.contains(option), "{told}");
    }
    let (report, told) = inspect(&["--mean", "0.5", "--std", "0.25", "--crop", "1"]);
    assert_eq!((&report["input"]["source"], told.as_str()), (&"options".into(), ""));
    assert_eq!(report["input"]["mean"], serde_json::json!([0.5, 0.5, 0.5]));
    assert_eq!(report["input"]["crop"], 1.0);
    let (_, told) = inspect(&["--range=-1,1"]);
    assert_eq!(told, "");
    let labels = folder.file("labels.txt", b"a\nb\nc\nd\ne\n");
    let (report, _) = inspect(&["--labels", &labels]);
    assert_eq!(report["labels"], serde_json::json!(["a", "b", "c", "d", "e"]));
    let labels = folder.file("few.txt", b"a\nb\n");
    refuses(&["inspect", &model, "--labels", &labels], &["2 labels for 5 classes"]);
    refuses(&["inspect", &model, "--std", "0"], &["--std", "above 0"]);
    let bundle = folder.path("model.dynp");
    assert!(program(&["compile", &model, "--mean", "0.5", "--std", "0.5", "-o", &bundle]).status.success());
    refuses(&["inspect", &bundle, "--mean", "0.5"], &["model.dynp", "--mean", "compile"]);
}

#[cfg(unix)]
#[test]
fn models_and_images_come_from_pipes() {
    use std::io::Write as _;
    use std::process::Stdio;

    let folder = Folder::new();
    let model = model(&folder);
    let piped = |args: &[&str], bytes: &[u8]| {
        let mut child = Command::new(env!("CARGO_BIN_EXE_dyn-perceiver"))
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // A program that refuses what it reads may close the pipe before all is written.
        let _ = child.stdin.take().unwrap().write_all(bytes);
        child.wait_with_output().unwrap()
    };
    let image = std::fs::read(fixture_image()).unwrap();
    for name in ["-", "/dev/stdin"] {
        let output = piped(&["classify", "--model", &model, name, "--json"], &image);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    let output = piped(&["inspect", "/dev/stdin", "--json"], &std::fs::read(&model).unwrap());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(piped(&["inspect", "/dev/stdin"], b"<!DOCTYPE html>").status.code(), Some(2));
}

#[test]
fn a_folder_is_classified_and_bad_files_are_named_at_the_end() {
    let folder = Folder::new();
    let model = model(&folder);
    let images = folder.path("images");
    std::fs::create_dir(&images).unwrap();
    for name in ["a.png", "c.png"] {
        std::fs::copy(fixture_image(), format!("{images}/{name}")).unwrap();
    }
    std::fs::write(format!("{images}/b.png"), b"no picture").unwrap();
    let output = program(&["classify", &images, "--model", &model, "--json"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(stdout(&output).lines().count(), 2);
    let told = String::from_utf8(output.stderr.clone()).unwrap();
    assert!(told.contains("1 files skipped") && told.matches("b.png").count() == 2, "{told}");
    let output = program(&["classify", &images, "--model", &model, "--json", "--strict"]);
    assert_eq!((output.status.code(), stdout(&output).lines().count()), (Some(2), 1));
}

/// Modelled time: a busy machine changes nothing but the latencies.
#[test]
fn the_demonstration_comes_out_the_same_at_every_load() {
    let run = || {
        let output = program(&["run", "--no-compare", "--json"]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let text = stdout(&output);
        let frames = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        frames
            .filter(|record| record["kind"] == "frame")
            .map(|f| format!("{} {} {}", f["class"], f["soc"], f["point"]))
            .collect()
    };
    let busy = std::thread::spawn(|| (0..60_000_000_u64).fold(0, |sum, n| std::hint::black_box(sum ^ n)));
    let (first, second): (Vec<String>, Vec<String>) = (run(), run());
    busy.join().unwrap();
    assert!(first.len() > 50);
    assert_eq!(first, second);
}

#[test]
fn numbers_that_make_no_sense_are_wrong_input() {
    for (option, value) in [
        ("--fps", "1e-30"),
        ("--fps", "1e300"),
        ("--fps", "nan"),
        ("--hours", "1e30"),
        ("--dwell", "-1"),
        ("--between-ms", "0,0"),
        ("--between-ms", "500,100"),
        ("--per-hour", "0"),
        ("--battery-wh", "0"),
        ("--battery-mwh", "inf"),
        ("--cells", "0"),
        ("--floor", "92"),
        ("--reserve", "10"),
        ("--accuracy", "1"),
        ("--threads", "0"),
        ("--chemistry", "lead"),
    ] {
        refuses(&["run", "--synthetic", "3", &format!("{option}={value}")], &[option, value]);
    }
    refuses(&["simulate", "--floor", "85"], &["--floor", "85% for percent"]);
    refuses(&["run", "--battery", "mains", "--battery-wh", "1"], &["mains has no capacity"]);
    refuses(
        &["run", "--synthetic", "3", "--battery", "mains", "--mode", "mission", "--hours", "1", "--fps", "1"],
        &["needs a battery"],
    );
}
