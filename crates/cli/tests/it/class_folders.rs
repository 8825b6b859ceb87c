//! Folders with a folder per class, as people have them: named, nested, with other things beside, and damaged.

use std::fs;
use std::path::Path;

use serde_json::Value;
use tempfile::TempDir;

use crate::models::three_exits;
use crate::program::{program, refuses, repository};

/// A model of five classes, and a folder with images in these places; names that end in `/` are folders, `!` begins those
/// of damaged images.
struct Scene {
    folder: TempDir,
}

impl Scene {
    fn new(labels: Option<&str>, files: &[&str]) -> Self {
        let folder = TempDir::new().unwrap();
        let mut model = three_exits(&["exit1", "exit2", "exit3"]);
        if let Some(labels) = labels {
            model = model.metadata("dyn_perceiver.labels", labels);
        }
        fs::write(folder.path().join("model.onnx"), model.bytes()).unwrap();
        let image = repository().join("tests/fixtures/ankle_boot.png");
        for file in files {
            let path = folder.path().join("data").join(file);
            fs::create_dir_all(if file.ends_with('/') { &path } else { path.parent().unwrap() }).unwrap();
            if file.ends_with('/') {
                continue;
            }
            match path.file_name().unwrap().to_str().unwrap() {
                name if name.starts_with('!') => fs::write(path, b"\x89PNG\r\n\x1a\n, but no more of it").unwrap(),
                _ => drop(fs::copy(&image, path).unwrap()),
            }
        }
        Scene { folder }
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    /// The exit code, the report, and what was said on stderr.
    fn calibrate(&self, more: &[&str]) -> (Option<i32>, Value, String) {
        let (model, data, policy) = (self.path("model.onnx"), self.path("data"), self.path("policy.json"));
        let output = program(&[&["calibrate", &model, "--data", &data, "-o", &policy, "--json"], more].concat());
        let report = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
        (output.status.code(), report, String::from_utf8_lossy(&output.stderr).into_owned())
    }

    /// Every sample recorded, with its label.
    fn recorded(&self) -> Vec<(String, String)> {
        let text = fs::read_to_string(self.path("policy.records.csv")).unwrap();
        let rows = text.lines().filter(|line| !line.starts_with('#') && !line.starts_with("sample,"));
        let cell = |row: &str, at: usize| row.split(',').nth(at).unwrap().to_owned();
        rows.map(|row| (cell(row, 0), cell(row, 1))).collect()
    }
}

fn pairs(of: &[(&str, &str)]) -> Vec<(String, String)> {
    of.iter().map(|&(name, label)| (name.to_owned(), label.to_owned())).collect()
}

const LABELS: &str = r#"["wasp", "ant", "Honey bee", "fly", "beetle"]"#;

#[test]
fn class_folders_are_matched_by_name_with_the_model() {
    let scene = Scene::new(Some(LABELS), &["ant/a.png", "beetle/2024/b.png", "honey_bee/c.png"]);
    let (code, report, said) = scene.calibrate(&[]);
    assert_eq!((code, said.as_str()), (Some(0), ""));
    assert_eq!(report["samples"], 3);
    let expected = [("ant/a.png", "1"), ("beetle/2024/b.png", "4"), ("honey_bee/c.png", "2")];
    assert_eq!(scene.recorded(), pairs(&expected));
}

#[test]
fn class_folders_that_differ_from_the_model_are_told() {
    let scene = Scene::new(Some(LABELS), &["ant/a.png", "spider/b.png"]);
    let (model, data) = (scene.path("model.onnx"), scene.path("data"));
    let output = scene.path("policy.json");
    refuses(
        &["calibrate", &model, "--data", &data, "-o", &output],
        &["1 of 2 folders", "\"spider\"", "\"wasp\", \"ant\", \"Honey bee\""],
    );
    let scene = Scene::new(Some(LABELS), &["cat/a.png", "dog/b.png"]);
    let (code, report, said) = scene.calibrate(&[]);
    assert_eq!(code, Some(0));
    let warning = "folder \"cat\" is taken for class \"wasp\"";
    assert!(said.contains(warning) && report["warnings"][0].as_str().unwrap().contains(warning), "{said}");
}

#[test]
fn class_labels_do_not_shift_for_what_lies_beside() {
    let files = ["b/x.png", "a/", "c/notes.txt", "c/y.png", "sheet.png", "__MACOSX/a.png", "b/._x.png"];
    let scene = Scene::new(None, &files);
    let (code, report, said) = scene.calibrate(&[]);
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(scene.recorded(), pairs(&[("b/x.png", "0"), ("c/y.png", "1")]));
    let skipped = report["skipped"].as_array().unwrap();
    assert_eq!(skipped.len(), 5, "{skipped:?}");
    for name in
        ["/a: no image", "notes.txt: not called .png", "sheet.png: beside", "__MACOSX: hidden", "._x.png: hidden"]
    {
        assert!(said.contains(name), "{name}: {said}");
    }
}

#[test]
fn parts_of_a_data_set_are_no_classes() {
    let scene = Scene::new(None, &["train/cat/a.png", "val/cat/a.png"]);
    let (model, data) = (scene.path("model.onnx"), scene.path("data"));
    let output = scene.path("policy.json");
    refuses(
        &["calibrate", &model, "--data", &data, "-o", &output],
        &["train and val", "parts of a data set", &format!("{data}/val")],
    );
}

#[test]
fn a_damaged_image_is_named_and_left_out() {
    let scene = Scene::new(None, &["a/0.png", "a/!1.png", "a/2.png", "b/3.png"]);
    let (code, report, said) = scene.calibrate(&[]);
    assert_eq!(code, Some(1));
    assert!(said.contains("/data/a/!1.png: ") && said.ends_with("error: 1 sample could not be used\n"), "{said}");
    assert_eq!(report["samples"], 3);
    assert_eq!(report["skipped"][0]["fault"], true);
    assert!(report["skipped"][0]["path"].as_str().unwrap().ends_with("/data/a/!1.png"));
    // The policy is there, and can be evaluated on the same.
    let (model, data, policy) = (scene.path("model.onnx"), scene.path("data"), scene.path("policy.json"));
    let evaluate = |more: &[&str]| {
        program(&[&["evaluate", &model, "--policy", &policy, "--data", &data, "--json"], more].concat())
    };
    let output = evaluate(&[]);
    assert_eq!(output.status.code(), Some(1));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&report["images"], report["skipped"].as_array().unwrap().len()), (&Value::from(3), 1));
    assert_eq!(evaluate(&["--strict"]).status.code(), Some(2));
}

#[test]
fn strict_calibration_stops_and_leaves_no_files() {
    let scene = Scene::new(None, &["a/!0.png", "a/1.png", "b/2.png"]);
    let (code, _, said) = scene.calibrate(&["--strict"]);
    assert_eq!(code, Some(2));
    assert!(said.contains("!0.png"), "{said}");
    let left: Vec<_> = fs::read_dir(scene.folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left.len(), 2, "{left:?}");
    let all_bad = Scene::new(None, &["a/!0.png", "b/!1.png"]);
    let (code, _, said) = all_bad.calibrate(&[]);
    assert_eq!(code, Some(2));
    assert!(said.contains("none of 2 samples could be used; the first: ") && said.contains("!0.png"), "{said}");
    assert!(!Path::new(&all_bad.path("policy.records.csv.part")).exists());
}
