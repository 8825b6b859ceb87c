//! The shipped detector: on its samples it does what its card says.

use dyn_perceiver::camera::{ImageLimits, decode_image};
use dyn_perceiver::detector::{Detections, Detector, DetectorSettings};
use serde_json::Value;

use crate::shipped::{folder, json, plan};

/// Whether a box of the right class covers this one by half or more.
fn is_found(found: &Detections, truth: &Value) -> bool {
    let bounds: [f32; 4] = serde_json::from_value(truth["bbox"].clone()).unwrap();
    let truth_class = truth["category_id"].as_u64().unwrap() as usize - 1;
    found.boxes.iter().filter(|found| found.class == truth_class && found.score >= 0.3).any(|found| {
        let [left, top, right, bottom] = found.area.corners();
        let [x, y, width, height] = bounds;
        let across = (right.min(x + width) - left.max(x)).max(0.0);
        let down = (bottom.min(y + height) - top.max(y)).max(0.0);
        let shared = across * down;
        shared >= 0.5 * ((right - left) * (bottom - top) + width * height - shared)
    })
}

#[test]
fn the_shipped_detector_does_on_its_samples_what_its_card_says() {
    let (plan, card) = (plan("fashion-scenes"), json(folder("fashion-scenes").join("accuracy.json")));
    let names: Vec<&str> = plan.goals().iter().map(|goal| goal.name.as_str()).collect();
    assert_eq!(names, ["P5", "P4", "P3"]);
    let samples = folder("fashion-scenes").join("samples");
    let labels = json(samples.join("labels.json"));
    let mut detector = Detector::new(plan, DetectorSettings::default()).unwrap();
    let mut found = 0;
    let images = labels["images"].as_array().unwrap();
    for image in images {
        let frame = decode_image(&samples.join(image["file_name"].as_str().unwrap()), ImageLimits::default()).unwrap();
        let boxes = detector.detect(&frame).unwrap();
        let annotations = labels["annotations"].as_array().unwrap().iter();
        found += annotations.filter(|truth| truth["image_id"] == image["id"] && is_found(&boxes, truth)).count();
    }
    assert_eq!(card["samples"]["images"], images.len());
    let expected = card["samples"]["found"].as_u64().unwrap() as usize;
    // Another instruction set rounds otherwise: a box at the edge of what counts may change sides.
    assert!(found.abs_diff(expected) <= 1, "{found} boxes found, the card says {expected}");
}
