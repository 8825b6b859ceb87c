//! Writes the card of the shipped detector: average precision as this runtime measures it, and what gate and levels save.
//!
//! `cargo run --release -p compare --example scenes_card -- TEST VAL`, run from the repository's root, writes
//! `accuracy.json` and `README.md` beside the model. Both folders are made by `python -m dyn_perceiver_training.scenes`.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use dyn_perceiver::Plan;
use dyn_perceiver::camera::{ImageLimits, decode_image};
use dyn_perceiver::detector::{Detection, Detector, DetectorSettings};
use dyn_perceiver::model::LoadOptions;
use dyn_perceiver::runtime::ExitSet;
use dyn_perceiver_calibrate::certify::Limit;
use dyn_perceiver_calibrate::detection::{Detected, GateSample, Truth, average_precision, gate};
use serde_json::{Value, json};

const FOLDER: &str = "models/pretrained/fashion-scenes";
/// At most this share of the scenes with an object may be called empty, with this confidence.
const MISSED: f64 = 0.02;
const CONFIDENCE: f64 = 0.95;
/// From this score on a box counts as an alarm; only frame recall depends on it.
const ALARM: f64 = 0.3;
/// The class of the exits that means that all there is is large.
const LARGE: usize = 1;

type Fallible<T> = Result<T, Box<dyn Error>>;

/// One scene: what is in it, what the exits say, and what is found with each number of goals.
struct Scene {
    truths: Vec<Truth>,
    /// Class and confidence of each exit of the gate.
    exits: Vec<(usize, f64)>,
    found: Vec<Vec<Detected>>,
}

/// How far a scene goes: how many exits are asked, and how many goals are computed.
type Way = (usize, usize);

fn main() -> Fallible<()> {
    let folders: Vec<String> = std::env::args().skip(1).collect();
    let [test, val] = folders.as_slice() else { return Err("usage: scenes_card TEST VAL".into()) };
    let folder = Path::new(FOLDER);
    let plan = Arc::new(Plan::load(folder.join("model.onnx"), &LoadOptions::default())?);
    let mut detector = Detector::new(plan.clone(), DetectorSettings::default())?;
    let val = scenes(&mut detector, Path::new(val))?;
    let samples: Vec<GateSample> =
        val.iter().map(|scene| GateSample::new(nothing(scene), scene.truths.is_empty())).collect();
    let threshold = gate(&samples, &Limit::new(MISSED, CONFIDENCE)?).map(|gate| gate.threshold);
    let test = scenes(&mut detector, Path::new(test))?;
    let samples = scenes(&mut detector, &folder.join("samples"))?;
    let training: Value = serde_json::from_slice(&std::fs::read(folder.join("training.json"))?)?;
    let mut figures = figures(&plan, &test, &samples, threshold);
    figures["calibration_images"] = json!(val.len());
    std::fs::write(folder.join("accuracy.json"), format!("{figures:#}\n"))?;
    std::fs::write(folder.join("README.md"), card(&plan, &figures, &training)?)?;
    Ok(())
}

/// Runs every scene of a folder with each number of goals.
fn scenes(detector: &mut Detector, folder: &Path) -> Fallible<Vec<Scene>> {
    let labels: Value = serde_json::from_slice(&std::fs::read(folder.join("labels.json"))?)?;
    let mut truths: BTreeMap<u64, Vec<Truth>> = BTreeMap::new();
    for annotation in labels["annotations"].as_array().ok_or("labels without annotations")? {
        let bounds: [f64; 4] = serde_json::from_value(annotation["bbox"].clone())?;
        let image = annotation["image_id"].as_u64().ok_or("an annotation without an image")?;
        let class = annotation["category_id"].as_u64().ok_or("an annotation without a class")?;
        truths.entry(image).or_default().push(Truth::new(image, class - 1, bounds));
    }
    let goals = detector.plan().goals().len();
    let mut scenes = vec![];
    for image in labels["images"].as_array().ok_or("labels without images")? {
        let (id, name) = (image["id"].as_u64().ok_or("no number")?, image["file_name"].as_str().ok_or("no name")?);
        let frame = decode_image(&folder.join(name), ImageLimits::default())?;
        let mut scene = Scene { truths: truths.remove(&id).unwrap_or_default(), exits: vec![], found: vec![] };
        for goals in 1..=goals {
            // No confidence reaches this: both exits are asked, and none ends the scene.
            detector.set_settings(DetectorSettings::default().with_gate(2.0).with_goals(goals));
            let found = detector.detect(&frame)?;
            scene.exits = found.exits.iter().map(|&(_, class, p)| (class, f64::from(p))).collect();
            scene.found.push(found.boxes.iter().map(|found| detected(id, found)).collect());
        }
        scenes.push(scene);
    }
    Ok(scenes)
}

fn detected(image: u64, found: &Detection) -> Detected {
    let [left, top, right, bottom] = found.area.corners().map(f64::from);
    Detected::new(image, found.class as u64, [left, top, right - left, bottom - top], f64::from(found.score))
}

/// The highest confidence with which an exit of the gate says that nothing is there.
fn nothing(scene: &Scene) -> Option<f64> {
    scene.exits.iter().filter(|(class, _)| *class == 0).map(|(_, p)| *p).max_by(f64::total_cmp)
}

/// How far the gate lets a scene go, and which exit and class decided.
fn gated(scene: &Scene, threshold: Option<f64>) -> (usize, Option<usize>) {
    let Some(threshold) = threshold else { return (0, None) };
    let sure = scene.exits.iter().position(|(_, p)| *p >= threshold);
    sure.map_or((scene.exits.len(), None), |exit| (exit + 1, Some(scene.exits[exit].0)))
}

fn figures(plan: &Plan, test: &[Scene], samples: &[Scene], threshold: Option<f64>) -> Value {
    let all = plan.goals().len();
    let with_gate = |scene: &Scene, goals: usize| match gated(scene, threshold) {
        (asked, Some(0)) => (asked, 0),
        (asked, _) => (asked, goals),
    };
    let mut policies = vec![("always full".to_owned(), judge(plan, test, |_| (0, all)))];
    for goals in 1..all {
        let name = format!("always to {}", plan.goals()[goals - 1].name);
        policies.push((name, judge(plan, test, |_| (0, goals))));
    }
    policies.push(("gate, then full".into(), judge(plan, test, |scene| with_gate(scene, all))));
    policies.push((
        "gate, large to P4, else full".into(),
        judge(plan, test, |scene| match gated(scene, threshold) {
            (asked, Some(LARGE)) => (asked, all - 1),
            _ => with_gate(scene, all),
        }),
    ));
    for goals in (1..all).rev() {
        let name = format!("gate, then to {}", plan.goals()[goals - 1].name);
        policies.push((name, judge(plan, test, |scene| with_gate(scene, goals))));
    }
    let classes = plan.info().boxes.as_ref().map(|spec| spec.labels.clone()).unwrap_or_default();
    let of_full = precision(test, |_| (0, all));
    let per_class: Vec<Value> = of_full
        .classes
        .iter()
        .map(|of| json!({"class": classes.get(of.class as usize), "ap50": of.ap50, "ap": of.ap}))
        .collect();
    json!({
        "images": test.len(),
        "threshold": threshold,
        "exits": exits(plan, test),
        "policies": policies.into_iter().map(|(name, figures)| json!({"policy": name, "figures": figures})).collect::<Vec<_>>(),
        "classes": per_class,
        "samples": {"images": samples.len(), "boxes": samples.iter().map(|scene| scene.truths.len()).sum::<usize>(), "found": found_boxes(samples, all)},
    })
}

fn precision(scenes: &[Scene], way: impl Fn(&Scene) -> Way) -> dyn_perceiver_calibrate::detection::AveragePrecision {
    let truths: Vec<Truth> = scenes.iter().flat_map(|scene| scene.truths.clone()).collect();
    average_precision(&truths, &found(scenes, way))
}

fn found(scenes: &[Scene], way: impl Fn(&Scene) -> Way) -> Vec<Detected> {
    let of = |scene: &Scene| match way(scene) {
        (_, 0) => vec![],
        (_, goals) => scene.found[goals - 1].clone(),
    };
    scenes.iter().flat_map(of).collect()
}

/// True boxes that a box of their class with a score of [`ALARM`] covers by half or more.
fn found_boxes(scenes: &[Scene], goals: usize) -> usize {
    let covers = |truth: &Truth, found: &Detected| {
        let ([x, y, width, height], [left, top, across, down]) = (truth.bounds, found.area);
        let wide = ((x + width).min(left + across) - x.max(left)).max(0.0);
        let high = ((y + height).min(top + down) - y.max(top)).max(0.0);
        let shared = wide * high;
        found.class == truth.class && found.score >= ALARM && shared >= 0.5 * (width * height + across * down - shared)
    };
    let of = |scene: &Scene| {
        let found = &scene.found[goals - 1];
        scene.truths.iter().filter(|truth| found.iter().any(|found| covers(truth, found))).count()
    };
    scenes.iter().map(of).sum()
}

/// Average precision, frame recall and mean cost when every scene goes its way.
fn judge(plan: &Plan, scenes: &[Scene], way: impl Fn(&Scene) -> Way) -> Value {
    let result = precision(scenes, &way);
    let with_object: Vec<&Scene> = scenes.iter().filter(|scene| !scene.truths.is_empty()).collect();
    let alarms = |scene: &Scene| match way(scene) {
        (_, 0) => false,
        (_, goals) => scene.found[goals - 1].iter().any(|found| found.score >= ALARM),
    };
    let recall = with_object.iter().filter(|scene| alarms(scene)).count() as f64 / with_object.len().max(1) as f64;
    let ended = scenes.iter().filter(|scene| way(scene).1 == 0).count() as f64 / scenes.len().max(1) as f64;
    let macs: f64 = scenes.iter().map(|scene| macs(plan, way(scene)) as f64).sum::<f64>() / scenes.len().max(1) as f64;
    json!({"ap50": result.ap50, "ap": result.ap, "frame_recall": recall, "ended_by_gate": ended, "mean_macs": macs})
}

fn macs(plan: &Plan, (asked, goals): Way) -> u64 {
    let presence = plan.info().presence.as_ref();
    let of_gate = |exit: &usize| presence.is_some_and(|gate| gate.exits.contains(&plan.info().exits[*exit]));
    let asked = (0..plan.info().exits.len()).filter(of_gate).take(asked);
    plan.macs_with_boxes(ExitSet::of(asked), goals)
}

/// How often each exit of the gate is right about nothing, large and small.
fn exits(plan: &Plan, scenes: &[Scene]) -> Value {
    let truth = |scene: &Scene| {
        let small = |truth: &Truth| truth.bounds[2] * truth.bounds[3] < SMALL;
        match (scene.truths.is_empty(), scene.truths.iter().any(small)) {
            (true, _) => 0,
            (false, false) => LARGE,
            (false, true) => 2,
        }
    };
    let asked = scenes.first().map_or(0, |scene| scene.exits.len());
    let right = |exit: usize| scenes.iter().filter(|scene| scene.exits[exit].0 == truth(scene)).count();
    (0..asked)
        .map(|exit| {
            let set = ExitSet::of([exit]);
            let share = right(exit) as f64 / scenes.len().max(1) as f64;
            json!({"exit": plan.info().exits[exit], "accuracy": share, "macs": plan.macs_with_boxes(set, 0)})
        })
        .collect()
}

/// Square pixels from which a box is large, as the generator has it: 4 x 2^(2/3) x 8 by 4 x 16.
const SMALL: f64 = 3250.9973;

/// Why there are fewer classes of boxes than of items.
const GROUPS: &str = "\
Fashion-MNIST's ten classes are grouped: t-shirt, pullover, coat and shirt are tops, sandal, sneaker and boot are shoes.
What tells these apart is a few grey pixels in 28x28, and less in an item of 20 pixels that is turned and partly hidden;
ten classes were not trained.
";

fn card(plan: &Plan, figures: &Value, training: &Value) -> Result<String, std::fmt::Error> {
    let info = plan.info();
    let argument = |name: &str| training["arguments"][name].as_str().unwrap_or_default().to_owned();
    let percent = |value: &Value| value.as_f64().map_or("-".to_owned(), |share| format!("{:.1} %", 100.0 * share));
    let full = figures["policies"][0]["figures"]["mean_macs"].as_f64().unwrap_or(1.0);
    let parameters: u64 = plan.stages().iter().map(|stage| stage.parameters).sum();
    let mut text = String::new();
    writeln!(text, "# Fashion scenes, a detector with a narrow MobileNetV3\n")?;
    writeln!(
        text,
        "This page is written by `cargo run --release -p compare --example scenes_card -- TEST VAL`; do not edit it.\n"
    )?;
    writeln!(
        text,
        "The pictures are synthetic: pieces of clothing from Fashion-MNIST, scaled, turned and partly hidden, on textured"
    )?;
    writeln!(
        text,
        "grounds among clutter, none to six in a scene, a third of the scenes empty. What is learned from them is of no"
    )?;
    writeln!(
        text,
        "use for photos; it shows boxes, gate and levels on data whose truth is known. Test scenes are made from the test"
    )?;
    writeln!(text, "images: no item of theirs was trained on.\n")?;
    let labels = info.boxes.as_ref().map(|spec| spec.labels.join(", ")).unwrap_or_default();
    writeln!(
        text,
        "Classes of boxes: {labels}. Classes of the exits: {}.",
        info.labels.as_deref().unwrap_or_default().join(", ")
    )?;
    text += GROUPS;
    writeln!(
        text,
        "Input {}x{} (height x width), {parameters} parameters up to the exits,\n{} bytes of ONNX, sha256 {}.\n",
        info.input.height,
        info.input.width,
        info.file_bytes,
        info.digest.hex()
    )?;
    writeln!(text, "{} test scenes; MACs are the mean of a scene.\n", figures["images"])?;
    writeln!(text, "| policy | AP50 | AP50:95 | frame recall | ended by the gate | million MACs | of full |")?;
    writeln!(text, "| --- | --- | --- | --- | --- | --- | --- |")?;
    for row in figures["policies"].as_array().into_iter().flatten() {
        let f = &row["figures"];
        let macs = f["mean_macs"].as_f64().unwrap_or(f64::NAN);
        let (name, recall, ended) =
            (row["policy"].as_str().unwrap_or_default(), percent(&f["frame_recall"]), percent(&f["ended_by_gate"]));
        let (ap50, ap, share) = (percent(&f["ap50"]), percent(&f["ap"]), 100.0 * macs / full);
        writeln!(text, "| {name} | {ap50} | {ap} | {recall} | {ended} | {:.1} | {share:.1} % |", macs / 1e6)?;
    }
    let threshold = figures["threshold"].as_f64().map_or("none could be found".to_owned(), |t| format!("{t:.4}"));
    writeln!(
        text,
        "\nFrame recall is the share of scenes with an object in which a box scores {ALARM} or more. The gate's threshold,"
    )?;
    writeln!(
        text,
        "{threshold}, is chosen on scenes of other items: at most {:.0} % of the scenes with an object are called empty, with\nconfidence {:.0} %.\n",
        100.0 * MISSED,
        100.0 * CONFIDENCE
    )?;
    writeln!(text, "| exit | right about nothing, large, small | million MACs |\n| --- | --- | --- |")?;
    for row in figures["exits"].as_array().into_iter().flatten() {
        let macs = row["macs"].as_f64().unwrap_or(f64::NAN) / 1e6;
        writeln!(text, "| {} | {} | {macs:.1} |", row["exit"].as_str().unwrap_or_default(), percent(&row["accuracy"]))?;
    }
    writeln!(text, "\n| class | AP50 | AP50:95 |\n| --- | --- | --- |")?;
    for row in figures["classes"].as_array().into_iter().flatten() {
        let class = row["class"].as_str().unwrap_or_default();
        writeln!(text, "| {class} | {} | {} |", percent(&row["ap50"]), percent(&row["ap"]))?;
    }
    let minutes = training["cpu_seconds"].as_f64().unwrap_or(f64::NAN) / 60.0;
    writeln!(
        text,
        "\n`samples/` has the first {} of the test scenes, as JPEG, with their labels.\n",
        figures["samples"]["images"]
    )?;
    writeln!(text, "## How it was made\n")?;
    writeln!(
        text,
        "Trained from nothing for {} steps of {} scenes in {minutes:.0} minutes of one x86-64 core with PyTorch {}. The data is\nFashion-MNIST (MIT licence), as in Debian's package dataset-fashion-mnist.\n",
        training["steps"],
        argument("batch"),
        training["torch"].as_str().unwrap_or_default()
    )?;
    if let Some(note) = training["note"].as_str() {
        writeln!(text, "The run was {note}.\n")?;
    }
    writeln!(text, "```sh\ncd models/training && pip install -r requirements.txt")?;
    writeln!(
        text,
        "python -m dyn_perceiver_training.fit_scenes --out trained --arch {} --pyramid {} \\",
        argument("arch"),
        argument("pyramid")
    )?;
    writeln!(
        text,
        "  --tower {} --scenes {} --steps {} --batch {} --lr {} --seed {}",
        argument("tower").trim_matches(['(', ')']).replace(", ", "x"),
        argument("scenes"),
        argument("steps"),
        argument("batch"),
        argument("lr"),
        argument("seed")
    )?;
    writeln!(text, "python -m dyn_perceiver_training.scenes --out test --split test --count {}", figures["images"])?;
    writeln!(
        text,
        "python -m dyn_perceiver_training.scenes --out val --split val --count {}",
        figures["calibration_images"]
    )?;
    writeln!(text, "cd ../.. && cargo run --release -- import models/training/trained/weights.safetensors --half \\")?;
    writeln!(
        text,
        "  --input-size {}x{} --mean 0.45 --std 0.25 --crop 1 --interpolation bilinear \\",
        info.input.height, info.input.width
    )?;
    writeln!(text, "  --labels {FOLDER}/labels.txt --box-labels {FOLDER}/box-labels.txt -o {FOLDER}/model.onnx")?;
    writeln!(
        text,
        "cargo run --release -p compare --example scenes_card -- models/training/test models/training/val\n```"
    )?;
    Ok(text)
}
