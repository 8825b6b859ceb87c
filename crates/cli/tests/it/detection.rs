//! `detect` and the networks behind it: built, seen by others of the program's commands, run, drawn.

use crate::cli::Folder;
use crate::program::{json, program, refuses, repository};

#[test]
fn a_seeded_detector_is_built_and_finds_boxes_in_pixels_of_the_image() {
    let folder = Folder::new();
    let (model, image, drawn) = (folder.path("detector.onnx"), folder.path("image.png"), folder.path("drawn.png"));
    let build = ["models", "build", "mobilenetV3_0x05_perceiver_t8", "--seeded", "--detect", "--classes", "3"];
    let sizes = ["--pyramid", "8", "--tower", "8x1", "--input-size", "64x96", "-o", &model, "--json"];
    let built = json(&[&build[..], &sizes].concat());
    assert_eq!(
        (&built["task"], &built["input_height"], &built["input_width"]),
        (&"detection".into(), &64.into(), &96.into())
    );
    assert_eq!((&built["classes"], &built["detection"]["classes"]), (&2.into(), &3.into()));
    image::RgbImage::from_fn(200, 100, |x, y| image::Rgb([x as u8, y as u8, 90])).save(&image).unwrap();
    let detect = |more: &[&str]| json(&[&["detect", &image, "--model", &model, "--json"], more].concat());
    let found = detect(&["--score", "1%", "--draw", &drawn]);
    let boxes = found["boxes"].as_array().unwrap();
    assert!(!boxes.is_empty());
    for found in boxes {
        let corners: Vec<f64> = found["box"].as_array().unwrap().iter().map(|c| c.as_f64().unwrap()).collect();
        assert!(corners[0] >= 0.0 && corners[1] >= 0.0 && corners[2] <= 200.0 && corners[3] <= 100.0, "{found}");
    }
    assert_eq!((&found["level"], &found["gate"]), (&"P3".into(), &serde_json::Value::Null));
    assert_eq!(image::open(&drawn).unwrap().to_rgb8().dimensions(), (200, 100));
    // Coarse levels alone cost less, and their boxes are from there.
    let coarse = detect(&["--score", "1%", "--level", "P5"]);
    assert!(coarse["macs"].as_u64() < found["macs"].as_u64());
    let levels = coarse["boxes"].as_array().unwrap().iter().map(|found| found["level"].as_str().unwrap());
    assert!(levels.into_iter().all(|level| ["P5", "P6", "P7"].contains(&level)));
    // Any confidence is enough: the first exit decides.
    let gated = detect(&["--gate", "0%"]);
    assert_eq!(gated["exits"].as_array().unwrap().len(), 1);
    assert!(gated["gate"].is_null() == (gated["exits"][0]["class"] != 0));

    refuses(&["detect", &image, "--model", &model, "--level", "P9"], &["P5, P4, P3"]);
    refuses(&["detect", &image, &image, "--model", &model, "--draw", &drawn], &["--draw takes one image"]);
    refuses(&["detect", &image], &["no detector"]);
    refuses(&[&build[..5], &["-o", &model]].concat(), &["--classes"]);
}

#[test]
fn a_seeded_network_of_videos_is_built_and_bundled() {
    let folder = Folder::new();
    let (model, bundle) = (folder.path("video.onnx"), folder.path("video.dynp"));
    let build = ["models", "build", "mobilenetV3_0x05_perceiver_t8", "--seeded", "--video", "online", "--frames", "8"];
    let built = json(&[&build[..], &["--classes", "12", "--input-size", "64", "-o", &model, "--json"]].concat());
    assert_eq!((&built["task"], &built["video"]["mode"]), (&"action".into(), &"online".into()));
    assert!(program(&["compile", &model, "-o", &bundle]).status.success());
    refuses(&[&build[..], &["--tower", "8x1", "-o", &model]].concat(), &["--tower", "--detect"]);
}

#[test]
fn boxes_are_told_from_a_score_that_is_worth_a_look() {
    let shipped = repository().join("models/pretrained/fashion-scenes");
    let (model, images) = (shipped.join("model.onnx"), shipped.join("samples"));
    let told = |more: &[&str]| -> Vec<f64> {
        let args = ["detect", images.to_str().unwrap(), "--model", model.to_str().unwrap(), "--json"];
        let output = program(&[&args[..], more].concat());
        let text = String::from_utf8(output.stdout).unwrap();
        let scores = text.lines().flat_map(|line| {
            let value: serde_json::Value = serde_json::from_str(line).unwrap();
            let boxes = value["boxes"].as_array().unwrap().clone();
            boxes.into_iter().map(|found| found["score"].as_f64().unwrap())
        });
        scores.collect()
    };
    let (by_default, low) = (told(&[]), told(&["--score", "5%"]));
    assert!(by_default.len() > 10 && low.len() > by_default.len());
    assert_eq!(by_default.len(), low.iter().filter(|score| **score > 0.25).count());
}
