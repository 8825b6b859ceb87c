//! `run` with a detector: boxes in the frame's pixels, tracks, the gate, and frames that cannot be read.

use dyn_perceiver::camera::{ImageLimits, decode_image};
use serde_json::Value;

use crate::cli::Folder;
use crate::program::{program, refuses, repository};

/// A small seeded detector; its scores are all near 1 %.
pub(crate) fn detector(folder: &Folder) -> String {
    let model = folder.path("detector.onnx");
    let build = ["models", "build", "mobilenetV3_0x05_perceiver_t8", "--seeded", "--detect", "--classes", "3"];
    let sizes = ["--pyramid", "8", "--tower", "8x1", "--input-size", "64x96", "-o", &model];
    assert!(program(&[&build[..], &sizes].concat()).status.success());
    model
}

/// The records of a run, which may have passed frames over.
pub(crate) fn run(args: &[&str]) -> (Vec<Value>, Option<i32>) {
    let output = program(&[&["run", "--json"], args].concat());
    let code = output.status.code();
    assert!(matches!(code, Some(0 | 1)), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    (text.lines().map(|line| serde_json::from_str(line).unwrap()).collect(), code)
}

pub(crate) fn frames(records: &[Value]) -> Vec<&Value> {
    records.iter().filter(|record| record["kind"] == "frame").collect()
}

fn pictures(folder: &Folder, count: usize) -> String {
    let images = folder.path("images");
    std::fs::create_dir(&images).unwrap();
    for number in 0..count {
        let picture = image::RgbImage::from_fn(200, 100, |x, y| image::Rgb([x as u8, y as u8, 90]));
        picture.save(format!("{images}/{number}.png")).unwrap();
    }
    images
}

fn boxes(frame: &Value) -> &Vec<Value> {
    frame["detection"]["boxes"].as_array().unwrap()
}

#[test]
fn frames_are_answered_with_boxes_in_their_pixels_and_objects_keep_their_number() {
    let folder = Folder::new();
    let (model, images) = (detector(&folder), pictures(&folder, 5));
    std::fs::write(format!("{images}/2.png"), b"no picture").unwrap();
    let (records, code) = run(&["--model", &model, "--frames", &images, "--score", "1%"]);
    assert_eq!(code, Some(1), "a file was passed over");
    assert_eq!(records.iter().filter(|record| record["kind"] == "skipped").count(), 1);
    let frames = frames(&records);
    assert_eq!(frames.len(), 4);
    for frame in &frames {
        assert_eq!((&frame["exit"], &frame["detection"]["level"]), (&"P3".into(), &"P3".into()));
        assert_eq!((&frame["label"], &frame["detection"]["gate"]), (&"something".into(), &Value::Null));
        assert!(!boxes(frame).is_empty() && frame["truth"].is_null());
        for found in boxes(frame) {
            let corners: Vec<f64> = serde_json::from_value(found["box"].clone()).unwrap();
            assert!(corners[0] >= 0.0 && corners[1] >= 0.0 && corners[2] <= 200.0 && corners[3] <= 100.0, "{found}");
        }
    }
    // All frames show the same: an object is believed at its second frame, and keeps its number.
    let tracks = |frame: &Value| -> Vec<Option<u64>> { boxes(frame).iter().map(|one| one["track"].as_u64()).collect() };
    assert!(tracks(frames[0]).iter().all(Option::is_none));
    assert!(tracks(frames[1]).iter().any(Option::is_some));
    assert_eq!(tracks(frames[2]), tracks(frames[1]));
    let summary = records.last().unwrap();
    let told: usize = frames.iter().map(|frame| boxes(frame).len()).sum();
    assert_eq!((&summary["boxes"], &summary["gated"]), (&told.into(), &0.into()));
    assert_eq!(summary["macs_mean"].as_f64(), frames[0]["macs"].as_f64());
}

#[test]
fn levels_and_the_gate_say_how_much_of_a_frame_is_computed() {
    let folder = Folder::new();
    let (model, images) = (detector(&folder), pictures(&folder, 2));
    let base = ["--model", &model, "--frames", &images, "--score", "1%"];
    let first = |more: &[&str]| {
        let (records, _) = run(&[&base[..], more].concat());
        (frames(&records)[0].clone(), records.last().unwrap().clone())
    };
    let (full, _) = first(&[]);
    let (coarse, _) = first(&["--level", "P5"]);
    assert!(coarse["macs"].as_u64() < full["macs"].as_u64());
    assert_eq!((&coarse["exit"], &coarse["exited_early"]), (&"P5".into(), &false.into()));
    // Any confidence will do, so the first exit decides: nothing is there, or boxes.
    let (gated, summary) = first(&["--presence", "0%"]);
    let exits = summary["exit_share"].as_object().unwrap();
    let names = ["early3", "att", "cnn", "merge", "P5", "P4", "P3"];
    assert!(exits.len() == names.len() && names.iter().all(|name| exits.contains_key(*name)), "{exits:?}");
    if gated["detection"]["gate"].is_null() {
        assert_eq!(gated["label"], "something");
    } else {
        assert_eq!((&gated["label"], &gated["exited_early"]), (&"nothing".into(), &true.into()));
        assert_eq!((boxes(&gated).len(), &summary["gated"]), (0, &2.into()));
        assert!(gated["macs"].as_u64() < coarse["macs"].as_u64());
    }
    refuses(&["run", "--model", &model, "--level", "P9"], &["P5, P4, P3"]);
    refuses(&["run", "--model", &model, "--exit", "early3"], &["--presence and --level"]);
    refuses(&["run", "--level", "P5"], &["for detectors"]);
}

/// The size of a camera's JPEG is known once it was decoded.
#[cfg(unix)]
#[test]
fn boxes_of_a_camera_with_compressed_frames_are_in_its_pixels() {
    let folder = Folder::new();
    let model = detector(&folder);
    let picture = repository().join("tests/fixtures/pictures/grey.jpg");
    let frame = decode_image(&picture, ImageLimits::default()).unwrap();
    let [width, height] = [frame.width, frame.height].map(f64::from);
    let camera = format!("command:while true; do cat {}; sleep 0.05; done", picture.display());
    let camera = ["--camera", &camera, "--camera-format", "mjpeg", "--limit", "3"];
    let (records, _) = run(&[&["--model", &model, "--score", "1%"], &camera[..]].concat());
    let farthest = frames(&records).into_iter().flat_map(boxes).fold([0.0f64; 2], |far, found| {
        let corners: Vec<f64> = serde_json::from_value(found["box"].clone()).unwrap();
        [far[0].max(corners[2]), far[1].max(corners[3])]
    });
    assert!(farthest[0] > 2.0 && farthest[0] <= width && farthest[1] <= height, "{farthest:?} of {width}x{height}");
}

#[test]
fn events_of_a_detector_are_about_its_boxes() {
    let folder = Folder::new();
    let (model, images) = (detector(&folder), pictures(&folder, 4));
    let base = ["--model", &model, "--frames", &images, "--score", "1%"];
    let events = ["--event-frames", "2/3", "--event-confidence", "0", "--events"];
    let (records, _) = run(&[&base[..], &events].concat());
    let first = &boxes(frames(&records)[0])[0];
    let mut told = records.iter().filter(|record| record["kind"] == "event");
    assert!(told.any(|event| event["event"] == "appeared" && event["label"] == first["label"]));
    // An answer that holds has its boxes, too.
    let (records, _) = run(&[&base[..], &["--gate", "pixel", "--fps", "200"]].concat());
    let frames = frames(&records);
    assert!(frames[1]["reused"] == true && frames[1]["macs"] == 0 && boxes(frames[1]).len() == boxes(frames[0]).len());
}

#[test]
fn codes_of_boxes_and_videos_are_not_compared() {
    let folder = Folder::new();
    let (model, images) = (detector(&folder), pictures(&folder, 1));
    let args = ["run", "--model", &model, "--frames", &images, "--gate", "latent", "--latent-threshold", "0.1"];
    refuses(&args, &["--gate latent and both are for classifiers"]);
}
