//! `learn`: own classes from photos, as a user runs it.

use std::path::Path;

use serde_json::Value;
use tempfile::TempDir;

use crate::program::{program, refuses};

/// Photos of classes that differ in colour, as bitmaps.
pub(crate) fn photos(folder: &Path, classes: &[(&str, [u8; 3])], count: usize) {
    const SIDE: usize = 48;
    for (class, [red, green, blue]) in classes {
        std::fs::create_dir_all(folder.join(class)).unwrap();
        for number in 0..count {
            let noise = |i: usize| ((i * 7 + i / SIDE * 3 + number * 13) % 40) as u8;
            let pixels = (0..SIDE * SIDE).flat_map(|i| [blue, green, red].map(|c| c.saturating_add(noise(i))));
            let mut file = b"BM".to_vec();
            let words = [54 + 3 * SIDE * SIDE, 0, 54, 40, SIDE, SIDE, 1 | 24 << 16, 0, 3 * SIDE * SIDE, 0, 0, 0, 0];
            file.extend(words.iter().flat_map(|&word| (word as u32).to_le_bytes()));
            file.extend(pixels);
            std::fs::write(folder.join(class).join(format!("{number}.bmp")), file).unwrap();
        }
    }
}

const CLASSES: [(&str, [u8; 3]); 2] = [("leaf", [10, 160, 20]), ("sky", [30, 60, 200])];

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn ten_photos_a_class_become_a_bundle_that_runs() {
    let folder = TempDir::new().unwrap();
    let (data, bundle) = (folder.path().join("photos"), folder.path().join("mine.dynp"));
    photos(&data, &CLASSES, 10);
    std::fs::write(data.join("sky/broken.jpg"), b"no photo").unwrap();
    let output = program(&["learn", "--data", text(&data), "-o", text(&bundle), "--json"]);
    // One photo could not be used: told, and exit code 1.
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(String::from_utf8_lossy(&output.stderr).contains("broken.jpg"));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((report["samples"].as_u64(), report["skipped"].as_u64()), (Some(20), Some(1)));
    assert_eq!(report["views"], 8, "few photos are seen in all ways there are");
    let exits = report["exits"].as_array().unwrap();
    assert_eq!(exits.len(), 4);
    for exit in exits {
        let of = |key: &str| exit[key].as_f64().unwrap();
        assert!(of("low") <= of("accuracy") && of("accuracy") <= of("high") && of("accuracy") > 0.8, "{exit}");
        // Twenty photos do not tell more than this.
        assert!(of("high") - of("low") > 0.1, "{exit}");
    }
    std::fs::remove_file(data.join("sky/broken.jpg")).unwrap();
    let photo = data.join("leaf/0.bmp");
    let output = program(&["classify", text(&photo), "--model", text(&bundle), "--json"]);
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(answer["label"], "leaf", "{answer}");

    // A class is added, and a photo moved to another one.
    let more = folder.path().join("more");
    photos(&more, &[("sand", [200, 180, 90])], 3);
    let additions: Vec<String> =
        (0..3).map(|i| format!("sand={}", text(&more.join(format!("sand/{i}.bmp"))))).collect();
    let mut args = vec!["learn", "--data", text(&data), "-o", text(&bundle), "--views", "3", "--json"];
    additions.iter().for_each(|addition| args.extend(["--add", addition]));
    let report: Value = serde_json::from_slice(&program(&args).stdout).unwrap();
    assert_eq!((&report["classes"]["sand"], &report["views"]), (&3.into(), &3.into()), "{report}");
    refuses(&["learn", "--data", text(&data), "-o", text(&bundle), "--views", "9"], &["--views", "1..=8"]);
}

#[test]
fn what_is_no_class_is_told_as_none_of_these() {
    let folder = TempDir::new().unwrap();
    let (data, bundle) = (folder.path().join("photos"), folder.path().join("mine.dynp"));
    photos(&data, &CLASSES, 15);
    let args = ["learn", "--data", text(&data), "-o", text(&bundle), "--reject"];
    let report: Value = serde_json::from_slice(&program(&[&args[..], &["10", "--json"]].concat()).stdout).unwrap();
    let merge = report["exits"].as_array().unwrap().iter().find(|exit| exit["exit"] == "merge").unwrap();
    assert!(merge["withheld"].as_u64() <= Some(3), "{report}");
    let of = |photo: &Path| -> Value {
        let output = program(&["classify", text(photo), "--model", text(&bundle), "--json"]);
        serde_json::from_slice(&output.stdout).unwrap()
    };
    assert_eq!(of(&data.join("leaf/3.bmp"))["label"], "leaf");
    let other = folder.path().join("other");
    photos(&other, &[("lava", [250, 40, 0])], 2);
    assert_eq!(of(&other.join("lava/0.bmp"))["label"], "none of these");
    // Thirty photos cannot promise one in a hundred.
    refuses(&[&args[..], &["1"]].concat(), &["none of these", "299 are needed"]);
    refuses(&[&args[..], &["0"]].concat(), &["per cent"]);
}

#[test]
fn a_network_of_own_classes_learns_only_what_is_none_of_them() {
    let folder = TempDir::new().unwrap();
    let (data, first, bundle) =
        (folder.path().join("photos"), folder.path().join("a.dynp"), folder.path().join("b.dynp"));
    let onnx = folder.path().join("a.onnx");
    photos(&data, &CLASSES, 15);
    let policy = folder.path().join("a.json");
    let outputs = ["-o", text(&first), "--onnx", text(&onnx), "--policy", text(&policy)];
    let learned = program(&[&["learn", "--data", text(&data)], &outputs[..]].concat());
    assert!(learned.status.success(), "{}", String::from_utf8_lossy(&learned.stderr));
    // The network and its policy do together what the bundle does.
    let answer =
        program(&["classify", text(&data.join("sky/3.bmp")), "--model", text(&onnx), "--policy", text(&policy)]);
    assert!(answer.status.success(), "{}", String::from_utf8_lossy(&answer.stderr));
    let args = ["learn", text(&onnx), "--data", text(&data), "-o", text(&bundle), "--keep"];
    refuses(&args, &["--reject"]);
    let report: Value =
        serde_json::from_slice(&program(&[&args[..], &["--reject", "10", "--json"]].concat()).stdout).unwrap();
    let merge = report["exits"].as_array().unwrap().iter().find(|exit| exit["exit"] == "merge").unwrap();
    assert!(merge["withheld"].as_u64() <= Some(3), "{report}");
    let other = folder.path().join("other");
    photos(&other, &[("lava", [250, 40, 0])], 1);
    for (photo, expected) in [(data.join("sky/3.bmp"), "sky"), (other.join("lava/0.bmp"), "none of these")] {
        let output = program(&["classify", text(&photo), "--model", text(&bundle), "--json"]);
        let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(answer["label"], expected, "{answer}");
    }
    // Classes that the network does not have, or has and there are no photos of.
    let args = ["learn", text(&onnx), "--data", text(&other), "-o", text(&bundle), "--keep", "--reject", "10"];
    refuses(&args, &["each of the network's classes"]);
}

#[test]
fn what_cannot_be_learned_from_is_wrong_input() {
    let folder = TempDir::new().unwrap();
    let (data, bundle) = (folder.path().join("photos"), folder.path().join("mine.dynp"));
    let args = ["learn", "--data", text(&data), "-o", text(&bundle)];
    refuses(&args, &["photos"]);
    photos(&data, &CLASSES[..1], 3);
    refuses(&args, &["at least 2 classes", "found 1"]);
    photos(&data, &CLASSES[1..], 1);
    refuses(&args, &["class sky has 1 photos", "at least 2"]);
    refuses(&[&args[..], &["--add", "sky"]].concat(), &["CLASS=IMAGE"]);
    refuses(&[&args[..], &["--add", "sky=nowhere.jpg"]].concat(), &["nowhere.jpg"]);
    assert!(!bundle.exists());
}
