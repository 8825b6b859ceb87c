//! Writes the card of the shipped network of videos: accuracy of single frames, of clips, online, and online with exits.
//!
//! `cargo run --release -p compare --example motions_card -- TEST VAL`, run from the repository's root, writes
//! `accuracy.json` and `README.md` beside the model. Both folders are made by `python -m dyn_perceiver_training.motions`.

use std::error::Error;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use dyn_perceiver::camera::{ImageLimits, decode_image};
use dyn_perceiver::exit::{Decision, ExitPolicy, ExitRule, Measure, OverTime, OverTimeSettings};
use dyn_perceiver::model::LoadOptions;
use dyn_perceiver::{Classifier, Plan};
use serde_json::{Value, json};

const FOLDER: &str = "models/pretrained/moving-fashion";
/// Accuracy on the validation clips that a policy may cost against whole clips.
const LOSS: f64 = 0.0025;
/// Confidences that are tried as thresholds.
const THRESHOLDS: [f32; 8] = [0.0, 0.3, 0.5, 0.7, 0.85, 0.95, 0.98, 0.995];
/// Equal answers in a row before the answer changes.
const REPEATS: u32 = 1;

type Fallible<T> = Result<T, Box<dyn Error>>;

/// The frames of a clip as the network takes them, and what is to be seen in them.
struct Clip {
    frames: Vec<Vec<f32>>,
    class: usize,
}

/// What one policy makes of clips.
struct Judged {
    accuracy: f64,
    /// Mean MACs of a frame.
    macs: f64,
    /// Share of the frames that left at each exit.
    shares: Vec<f64>,
    /// Mean number of frames until the answer is the one that stands at the end, of clips that end right.
    delay: f64,
}

fn main() -> Fallible<()> {
    let folders: Vec<String> = std::env::args().skip(1).collect();
    let [test, val] = folders.as_slice() else { return Err("usage: motions_card TEST VAL".into()) };
    let folder = Path::new(FOLDER);
    let plan = Arc::new(Plan::load(folder.join("model.onnx"), &LoadOptions::default())?);
    let mut classifier = Classifier::new(plan.clone())?;
    let val = clips(&mut classifier, Path::new(val))?;
    let policy = choose(&mut classifier, &val)?;
    let test = clips(&mut classifier, Path::new(test))?;
    let samples = clips(&mut classifier, &folder.join("samples"))?;
    let figures = figures(&mut classifier, &test, &samples, &policy)?;
    let training: Value = serde_json::from_slice(&std::fs::read(folder.join("training.json"))?)?;
    std::fs::write(folder.join("accuracy.json"), format!("{figures:#}\n"))?;
    std::fs::write(folder.join("README.md"), card(&plan, &figures, &training)?)?;
    Ok(())
}

fn clips(classifier: &mut Classifier, folder: &Path) -> Fallible<Vec<Clip>> {
    let labels: Value = serde_json::from_slice(&std::fs::read(folder.join("labels.json"))?)?;
    let classes: Vec<String> = serde_json::from_value(labels["classes"].clone())?;
    let mut clips = vec![];
    for clip in labels["clips"].as_array().ok_or("labels without clips")? {
        let class = classes.iter().position(|class| *class == clip["class"]).ok_or("a clip of no class")?;
        let path = folder.join(clip["clip"].as_str().ok_or("a clip without a folder")?);
        let mut frames = vec![];
        let entries = std::fs::read_dir(path)?.map(|entry| Ok(entry?.path()));
        let mut files = entries.collect::<std::io::Result<Vec<_>>>()?;
        files.sort();
        for file in files {
            let frame = decode_image(&file, ImageLimits::default())?;
            frames.push(classifier.tensor(&frame)?.to_vec());
        }
        clips.push(Clip { frames, class });
    }
    Ok(clips)
}

fn window(plan: &Plan) -> usize {
    plan.info().video.as_ref().and_then(|video| video.window).unwrap_or(1)
}

/// Runs clips online, each from the beginning, by a policy over time.
fn online(classifier: &mut Classifier, clips: &[Clip], policy: &ExitPolicy) -> Fallible<Judged> {
    let plan = classifier.plan().clone();
    let (exits, classes, window) = (plan.info().exits.len(), plan.info().classes, window(&plan));
    let settings = OverTimeSettings::new(policy.clone(), window, REPEATS)?;
    let storage = vec![0.0; OverTime::<Vec<f32>>::storage_len(exits, classes, window)];
    let mut video = OverTime::new(settings, classes, storage)?;
    let (mut right, mut macs, mut delay, mut left) = (0usize, 0.0, 0usize, vec![0usize; exits]);
    let frames: usize = clips.iter().map(|clip| clip.frames.len()).sum();
    for clip in clips {
        classifier.runtime().reset();
        video.reset();
        let mut since = 0;
        for (t, frame) in clip.frames.iter().enumerate() {
            classifier.runtime().begin(frame)?;
            video.begin();
            for exit in (0..exits).filter(|&exit| policy.evaluates(exit)) {
                if video.observe(exit, classifier.runtime().advance(exit)?)? == Decision::Leave {
                    macs += plan.macs(policy, exit) as f64;
                    left[exit] += 1;
                    break;
                }
            }
            if video.finish().changed {
                since = t + 1;
            }
        }
        if video.answer() == Some(clip.class) {
            right += 1;
            delay += since;
        }
    }
    Ok(Judged {
        accuracy: right as f64 / clips.len().max(1) as f64,
        macs: macs / frames.max(1) as f64,
        shares: left.iter().map(|&n| n as f64 / frames.max(1) as f64).collect(),
        delay: delay as f64 / right.max(1) as f64,
    })
}

/// The cheapest policy that costs at most [`LOSS`] of accuracy on these clips.
fn choose(classifier: &mut Classifier, clips: &[Clip]) -> Fallible<ExitPolicy> {
    let exits = classifier.plan().info().exits.len();
    let whole = ExitPolicy::only(exits - 1, exits)?;
    let full = online(classifier, clips, &whole)?;
    let mut best = (full.macs, whole);
    // The first exit and the second as the last; the first and the last; the first, the second and the last.
    for (second, last) in [(true, 1), (false, exits - 1), (true, exits - 1)] {
        for threshold in THRESHOLDS {
            let rule = |exit: usize| match exit {
                0 => ExitRule::Leave(threshold),
                1 if second => ExitRule::Leave(threshold),
                _ if exit == last => ExitRule::Leave(0.0),
                _ => ExitRule::Skip,
            };
            let policy = ExitPolicy::new(Measure::MaxSoftmax, &(0..exits).map(rule).collect::<Vec<_>>())?;
            let judged = online(classifier, clips, &policy)?;
            if judged.accuracy >= full.accuracy - LOSS && judged.macs < best.0 {
                best = (judged.macs, policy);
            }
        }
    }
    Ok(best.1)
}

fn figures(classifier: &mut Classifier, test: &[Clip], samples: &[Clip], policy: &ExitPolicy) -> Fallible<Value> {
    let plan = classifier.plan().clone();
    let exits = plan.info().exits.len();
    let of = |judged: &Judged| json!({"accuracy": judged.accuracy, "macs_a_frame": judged.macs, "shares": judged.shares, "delay": judged.delay});
    let mut whole = vec![];
    for exit in 0..exits {
        let judged = online(classifier, test, &ExitPolicy::only(exit, exits)?)?;
        whole.push(json!({"exit": plan.info().exits[exit], "figures": of(&judged)}));
    }
    let last = ExitPolicy::only(exits - 1, exits)?;
    let early = online(classifier, test, policy)?;
    let right = |judged: &Judged| (judged.accuracy * samples.len() as f64).round() as u64;
    Ok(json!({
        "clips": test.len(),
        "frames": window(&plan),
        "one_frame": one_frame(classifier, test)?,
        "whole_clips": whole,
        "policy": policy,
        "with_exits": of(&early),
        "samples": {
            "clips": samples.len(),
            "right": right(&online(classifier, samples, &last)?),
            "right_with_exits": right(&online(classifier, samples, policy)?),
        },
    }))
}

/// Accuracy of the last exit on one frame of each clip, the first in the first clip, the second in the second, and so on.
fn one_frame(classifier: &mut Classifier, clips: &[Clip]) -> Fallible<f64> {
    let last = classifier.plan().info().exits.len() - 1;
    let mut right = 0;
    for (number, clip) in clips.iter().enumerate() {
        classifier.runtime().reset();
        classifier.runtime().begin(&clip.frames[number % clip.frames.len()])?;
        let reading = Measure::MaxSoftmax.read(classifier.runtime().advance(last)?)?;
        right += usize::from(reading.class == clip.class);
    }
    Ok(right as f64 / clips.len().max(1) as f64)
}

fn card(plan: &Plan, figures: &Value, training: &Value) -> Result<String, std::fmt::Error> {
    let info = plan.info();
    let argument = |name: &str| training["arguments"][name].as_str().unwrap_or_default().to_owned();
    let percent = |value: &Value| value.as_f64().map_or("-".to_owned(), |share| format!("{:.1} %", 100.0 * share));
    let whole = figures["whole_clips"].as_array().cloned().unwrap_or_default();
    let full = whole.last().and_then(|row| row["figures"]["macs_a_frame"].as_f64()).unwrap_or(1.0);
    let parameters: u64 = plan.stages().iter().map(|stage| stage.parameters).sum();
    let mut text = String::new();
    writeln!(text, "# Moving fashion, a network of videos with a narrow MobileNetV3\n")?;
    writeln!(
        text,
        "This page is written by `cargo run --release -p compare --example motions_card -- TEST VAL`; do not edit it.\n"
    )?;
    writeln!(
        text,
        "The clips are synthetic: a piece of clothing from Fashion-MNIST moves to one of four sides, grows, shrinks, turns"
    )?;
    writeln!(
        text,
        "one way or the other, shakes or stands still, on a textured ground among clutter, some of which moves. A single"
    )?;
    writeln!(
        text,
        "frame does not tell which, so that accuracy above chance is the states' doing. Test clips are made from the test"
    )?;
    writeln!(text, "images: no item of theirs was trained on.\n")?;
    writeln!(text, "Classes: {}.", info.labels.as_deref().unwrap_or_default().join(", "))?;
    writeln!(
        text,
        "Frames of {}x{}, clips of {}, {parameters} parameters,\n{} bytes of ONNX, sha256 {}.\n",
        info.input.height,
        info.input.width,
        figures["frames"],
        info.file_bytes,
        info.digest.hex()
    )?;
    writeln!(text, "{} test clips, frame by frame; the answer is that after the last one.\n", figures["clips"])?;
    writeln!(
        text,
        "| what is seen | accuracy | million MACs a frame | of the whole | frames to the answer |\n| --- | --- | --- | --- | --- |"
    )?;
    writeln!(
        text,
        "| one frame, exit {} (chance: 10 %) | {} | {:.2} | 100.0 % | |",
        info.exits.last().map_or("", |e| e),
        percent(&figures["one_frame"]),
        full / 1e6
    )?;
    let mut row = |name: &str, f: &Value| {
        let macs = f["macs_a_frame"].as_f64().unwrap_or(f64::NAN);
        let delay = f["delay"].as_f64().unwrap_or(f64::NAN);
        writeln!(
            text,
            "| {name} | {} | {:.2} | {:.1} % | {delay:.1} |",
            percent(&f["accuracy"]),
            macs / 1e6,
            100.0 * macs / full
        )
    };
    for of_exit in &whole {
        row(&format!("every frame to {}", of_exit["exit"].as_str().unwrap_or_default()), &of_exit["figures"])?;
    }
    row("with exits over time", &figures["with_exits"])?;
    let shares: Vec<String> = info
        .exits
        .iter()
        .zip(figures["with_exits"]["shares"].as_array().into_iter().flatten())
        .map(|(exit, share)| format!("{} at {exit}", percent(share)))
        .collect();
    writeln!(
        text,
        "\nOnline, every frame to the last exit gives what the whole clip gives at once. With exits over time frames left:"
    )?;
    writeln!(text, "{}. Thresholds, chosen on clips of other items as the cheapest", shares.join(", "))?;
    writeln!(text, "that lose at most {:.2} points there: `{}`.\n", 100.0 * LOSS, figures["policy"]["rules"])?;
    let minutes = training["cpu_seconds"].as_f64().unwrap_or(f64::NAN) / 60.0;
    writeln!(text, "`samples/` has the first {} of the test clips, as JPEG.\n", figures["samples"]["clips"])?;
    writeln!(text, "## How it was made\n")?;
    writeln!(
        text,
        "Trained from nothing for {} steps of {} clips in {minutes:.0} minutes of one x86-64 core with PyTorch {}. The data is\nFashion-MNIST (MIT licence), as in Debian's package dataset-fashion-mnist.\n",
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
        "python -m dyn_perceiver_training.fit_motions --out trained --arch {} --clips {} \\",
        argument("arch"),
        argument("clips")
    )?;
    writeln!(
        text,
        "  --early {} --halves {} --teaching {} --steps {} --batch {} --lr {} --seed {}",
        argument("early"),
        argument("halves"),
        argument("teaching"),
        argument("steps"),
        argument("batch"),
        argument("lr"),
        argument("seed")
    )?;
    writeln!(text, "python -m dyn_perceiver_training.motions --out test --split test --count {}", figures["clips"])?;
    writeln!(text, "python -m dyn_perceiver_training.motions --out val --split val --count 400")?;
    writeln!(
        text,
        "cd ../.. && cargo run --release -- import models/training/trained/weights.safetensors --half --video online \\"
    )?;
    writeln!(
        text,
        "  --input-size {} --mean 0.45 --std 0.25 --crop 1 --interpolation bilinear --frame-period 0.1 \\",
        info.input.height
    )?;
    writeln!(text, "  --labels {FOLDER}/labels.txt -o {FOLDER}/model.onnx")?;
    writeln!(
        text,
        "cargo run --release -p compare --example motions_card -- models/training/test models/training/val\n```"
    )?;
    Ok(text)
}
