//! `calibrate` and `evaluate` for detectors and networks of videos, and the policies that come of them.

use serde_json::{Value, json};

use crate::cli::Folder;
use crate::program::{json, program, refuses};
use crate::run_detector::{detector, frames, run};
use crate::run_video::video;
use crate::schemas::conforms;

/// Pictures of which every third is empty, with boxes where the seeded detector finds some, so that there is something to
/// be right about.
fn labelled(folder: &Folder, model: &str, count: usize) -> (String, String) {
    let images = folder.path("pictures");
    std::fs::create_dir(&images).unwrap();
    let (mut listed, mut boxes) = (vec![], vec![]);
    for id in 0..count {
        let picture = image::RgbImage::from_fn(96, 64, |x, y| {
            image::Rgb([(x * 2 + 11 * id as u32) as u8, (y * 3) as u8, (17 * id) as u8])
        });
        let name = format!("{id}.png");
        picture.save(format!("{images}/{name}")).unwrap();
        listed.push(json!({ "id": id, "file_name": name }));
        if id % 3 != 0 {
            let found = json(&["detect", &format!("{images}/{name}"), "--model", model, "--score", "1%", "--json"]);
            let best = &found["boxes"][0];
            let corners: Vec<f64> = serde_json::from_value(best["box"].clone()).unwrap();
            let size = [corners[2] - corners[0], corners[3] - corners[1]];
            let category = best["class"].as_u64().unwrap() + 1;
            boxes.push(json!({ "id": id, "image_id": id, "category_id": category, "bbox": [corners[0], corners[1], size[0], size[1]] }));
        }
    }
    let categories: Vec<Value> = (1..=3).map(|id| json!({ "id": id, "name": format!("thing {id}") })).collect();
    let labels = json!({ "images": listed, "annotations": boxes, "categories": categories });
    let file = folder.file("instances.json", labels.to_string().as_bytes());
    (images, file)
}

#[test]
fn a_detector_is_calibrated_and_its_policy_is_what_other_commands_run() {
    let folder = Folder::new();
    let model = low_score(&folder);
    let (images, labels) = labelled(&folder, &model, 18);
    let policy = folder.path("policy.json");
    let data = ["--data", &images, "--labels", &labels];
    let calibrate = [&["calibrate", &model, "-o", &policy], &data[..], &["--max-loss", "60%", "--json"]].concat();
    let output = conforms("calibrate-detection", &calibrate);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&report["pictures"], &report["with_object"]), (&18.into(), &12.into()));
    let points = report["points"].as_array().unwrap();
    assert!(!points.is_empty());
    let of = |point: &Value, key: &str| point[key].as_f64().unwrap();
    for pair in points.windows(2) {
        assert!(of(&pair[0], "cost") < of(&pair[1], "cost") && of(&pair[0], "ap50") < of(&pair[1], "ap50"));
    }
    // Where the exit's class pays, the policy has rules about levels; they come back from the file.
    let unless = |point: &Value| point["unless"].as_array().unwrap().len();
    let text = std::fs::read_to_string(&policy).unwrap();
    assert_eq!(text.matches("\"unless\"").count(), points.iter().map(unless).sum::<usize>());
    // The true boxes are the best of what is found with all levels: computing everything is right at least in part.
    let (best, full) = (points.last().unwrap(), &report["full"]);
    assert!(of(full, "ap50") > 0.0 && of(full, "frame_recall") == 1.0, "{full}");
    assert!(of(best, "ap50") >= of(full, "ap50") && of(best, "cost") <= of(full, "cost"));

    // What was promised is what comes: budgets, then everything of every picture.
    let evaluate = [&["evaluate", &model, "--policy", &policy], &data[..], &["--json"]].concat();
    let output = conforms("evaluate-detection", &evaluate);
    let evaluated: Value = serde_json::from_slice(&output.stdout).unwrap();
    let runs = evaluated["runs"].as_array().unwrap();
    let (always, dearest) = (runs.last().unwrap(), &runs[runs.len() - 2]);
    assert!((of(always, "ap50") - of(full, "ap50")).abs() < 1e-9 && of(always, "cost") == of(full, "cost"));
    assert!(of(dearest, "cost") <= 1.1 * of(best, "cost"), "{dearest} for {best}");

    // The loop, single images and a bundle take it.
    let (records, _) = run(&["--model", &model, "--frames", &images, "--policy", &policy]);
    assert_eq!(frames(&records).len(), 18);
    assert!(records.last().unwrap()["macs_mean"].as_f64().unwrap() <= of(full, "cost"));
    let one = format!("{images}/1.png");
    let found = json(&["detect", &one, "--model", &model, "--policy", &policy, "--json"]);
    let bundle = folder.path("detector.dynp");
    let output = program(&["compile", &model, "--policy", &policy, "-o", &bundle]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let bundled = json(&["detect", &one, "--model", &bundle, "--json"]);
    assert_eq!((&bundled["boxes"], &bundled["macs"]), (&found["boxes"], &found["macs"]));
    let (records, _) = run(&["--model", &bundle, "--frames", &images, "--level", "P5"]);
    assert!(frames(&records).iter().all(|frame| frame["exit"] == "P5"), "what is spelled out comes first");

    // A mission is planned with what its exits and each level of boxes were measured to take.
    let profile = folder.path("profile.json");
    let shortly = ["--seconds", "0.02", "--rounds", "1", "--board", "raspberry-pi-4"];
    let output = program(&[&["profile", &model, "-o", &profile][..], &shortly].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mission = ["plan", "--board", "raspberry-pi-4", "--battery-wh", "20", "--days", "1", "--json"];
    let network = ["--model", &model, "--policy", &policy, "--profile", &profile];
    let planned = json(&[&mission[..], &network].concat());
    let whole = planned["facts"].as_array().unwrap().iter().find(|fact| fact["name"] == "the whole network").unwrap();
    assert_eq!(whole["source"], "by the profile");
    let stages: Value = serde_json::from_str(&std::fs::read_to_string(&profile).unwrap()).unwrap();
    let seconds: f64 = stages["stages"].as_array().unwrap().iter().map(|stage| of(stage, "seconds")).sum();
    assert!((of(whole, "value") / seconds - 1.0).abs() < 1e-6, "{whole}, measured {seconds}");
    let others = ["plan", "--battery-wh", "20", "--days", "1", "--profile", &profile];
    refuses(&others, &["the profile is of another network", "this one 4"]);

    refuses(&[&["calibrate", &model, "--data", &images][..]].concat(), &["instances.json"]);
    refuses(&[&["evaluate", &model], &data[..], &["--plot", "x.svg"]].concat(), &["--plot"]);
    let damaged = folder.file("damaged.json", b"{\"images\": 3}");
    refuses(&["evaluate", &model, "--data", &images, "--labels", &damaged], &["damaged.json", "as COCO has them"]);
}

/// The seeded detector with a threshold for scores that its own reach.
fn low_score(folder: &Folder) -> String {
    let model = detector(folder);
    let bytes = std::fs::read(&model).unwrap();
    // The metadata is JSON text in the file; a number of the same length keeps the file whole.
    let (from, to) = (b"\"score\":0.05".as_slice(), b"\"score\":0.01".as_slice());
    let at = bytes.windows(from.len()).position(|window| window == from).unwrap();
    let mut changed = bytes;
    changed[at..at + from.len()].copy_from_slice(to);
    std::fs::write(&model, changed).unwrap();
    model
}

/// A detector and its policy.
#[cfg(feature = "http")]
pub(crate) fn calibrated_detector(folder: &Folder) -> (String, String) {
    let (model, policy) = (low_score(folder), folder.path("policy.json"));
    let (images, labels) = labelled(folder, &model, 6);
    let output = program(&["calibrate", &model, "-o", &policy, "--data", &images, "--labels", &labels]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    (model, policy)
}

/// Clips of two classes that differ in which way they grow brighter.
fn labelled_clips(folder: &Folder) -> String {
    let root = folder.path("labelled");
    for class in 0..2u32 {
        for clip in 0..3u32 {
            let path = format!("{root}/{class}/{clip}");
            std::fs::create_dir_all(&path).unwrap();
            for t in 0..5u32 {
                let bright = if class == 0 { 40 * t } else { 200 - 40 * t };
                let picture =
                    image::RgbImage::from_fn(64, 48, |x, y| image::Rgb([(x + 9 * clip) as u8, y as u8, bright as u8]));
                picture.save(format!("{path}/{t}.png")).unwrap();
            }
        }
    }
    root
}

#[test]
fn a_network_of_videos_is_calibrated_and_its_policy_is_what_other_commands_run() {
    let folder = Folder::new();
    let (model, clips, policy) = (video(&folder), labelled_clips(&folder), folder.path("policy.json"));
    let output = conforms("calibrate-video", &["calibrate", &model, "--data", &clips, "-o", &policy, "--json"]);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["clips"], 6);
    let points = report["points"].as_array().unwrap();
    let of = |point: &Value, key: &str| point[key].as_f64().unwrap();
    for pair in points.windows(2) {
        assert!(of(&pair[0], "cost") < of(&pair[1], "cost") && of(&pair[0], "accuracy") < of(&pair[1], "accuracy"));
    }
    let evaluate = ["evaluate", &model, "--data", &clips, "--policy", &policy, "--json"];
    let evaluated: Value = serde_json::from_slice(&conforms("evaluate-video", &evaluate).stdout).unwrap();
    assert_eq!((&evaluated["window"], &evaluated["repeats"]), (&report["window"], &report["repeats"]));
    assert_eq!(evaluated["accuracy_clip"], report["accuracy_clip"]);
    let (ran, promised) = (evaluated["runs"].as_array().unwrap().last().unwrap(), points.last().unwrap());
    for key in ["accuracy", "cost", "delay_frames"] {
        assert_eq!(ran[key], promised[key], "{key}");
    }
    let online = &evaluated["online"];
    assert!(of(online, "cost") >= of(ran, "cost"));

    // A clip by itself is answered as in the evaluation, and the loop says the same at its last frame.
    let clip = format!("{clips}/1/2");
    let classify = ["classify", &clip, "--model", &model, "--policy", &policy, "--json"];
    let answer: Value = serde_json::from_slice(&conforms("classify-clip", &classify).stdout).unwrap();
    assert_eq!(answer["frames"], 5);
    let (records, _) = run(&["--model", &model, "--frames", &clip, "--policy", &policy]);
    let dearest = points.len() - 1;
    let last = frames(&records)[4];
    if last["point"] == dearest {
        assert_eq!(last["video"]["answer"], answer["class"]);
    }
    refuses(&["classify", &format!("{clip}/0.png"), "--model", &model], &["folders of frames"]);
    refuses(&["calibrate", &model, "--data", &folder.path(""), "--cost", "latency"], &["multiply-accumulates"]);
}
