//! Ships what lets the built-in model answer "none of these", and writes what that costs and gains.
//!
//! Run from the repository's root on what `learn --keep` wrote:
//! `cargo run --release -p compare --example clothing_none -- BUNDLE ONNX TEST-PHOTOS OTHER-PHOTOS...` writes `none.onnx`,
//! `none.policy.json` and `NONE.md` beside the model. `TEST-PHOTOS` holds a folder per class; of the others all photos are read.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use dyn_perceiver::camera::{ImageLimits, decode_image};
use dyn_perceiver::collect;
use dyn_perceiver::dataset::ImageFolder;
use dyn_perceiver::exit::CalibratedPolicy;
use dyn_perceiver::model::LoadOptions;
use dyn_perceiver::{Classifier, Model, Plan, policy_file};
use dyn_perceiver_calibrate::evaluate::{PolicySummary, replay};
use dyn_perceiver_calibrate::learn::Estimate;
use dyn_perceiver_calibrate::records::Records;
use dyn_perceiver_models::pretrained;

const FOLDER: &str = "models/pretrained/clothing";
/// Accuracy that an operating point in the middle may lose on the images it is chosen by.
const LOSS: f32 = 0.005;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [bundle, onnx, test, others @ ..] = &arguments[..] else {
        return Err("usage: clothing_none BUNDLE ONNX TEST-PHOTOS OTHER-PHOTOS...".into());
    };
    let folder = Path::new(FOLDER);
    let bytes = std::fs::read(onnx)?;
    let rest = pretrained::without_weights_of(pretrained::MODEL, &bytes)?;
    let written = Plan::load(bundle, &LoadOptions::default())?;
    let policy = written.bundle().and_then(|bundle| bundle.policy.clone()).ok_or("the bundle has no policy")?;
    let plan = Arc::new(Plan::new(Model::from_bytes(bytes, onnx, &LoadOptions::default())?)?);
    policy.for_model(collect::digest(&plan))?;
    let labels = plan.info().labels.clone().ok_or("classes without names")?;
    let mut classifier = Classifier::new(plan.clone())?;
    let own = |name: &str| labels.iter().position(|label| label == name);
    let right = records(&plan, &mut classifier, Path::new(test), own)?;
    let none = labels.len() - 1;
    let mut shown =
        vec![("clothes of other homes".to_owned(), records(&plan, &mut classifier, Path::new(test), |_| Some(none))?)];
    for other in others {
        let path = Path::new(other);
        let name = path.components().rev().map(|part| part.as_os_str().to_string_lossy().into_owned());
        let name: Vec<String> = name.take(2).collect();
        let name: Vec<&str> = name.iter().rev().map(String::as_str).collect();
        shown.push((name.join("/"), records(&plan, &mut classifier, path, |_| Some(none))?));
    }
    std::fs::write(folder.join("none.onnx"), &rest)?;
    policy_file::save(&policy, &folder.join("none.policy.json"))?;
    std::fs::write(folder.join("NONE.md"), page(&policy, rest.len(), &right, &shown)?)?;
    Ok(())
}

/// What all exits say of the photos of a folder, whose class is found by the name of their folder.
fn records(
    plan: &Arc<Plan>,
    classifier: &mut Classifier,
    folder: &Path,
    class: impl Fn(&str) -> Option<usize>,
) -> Outcome<Records> {
    let photos = ImageFolder::read(folder)?;
    let folders: Vec<&str> = photos.folders().collect();
    let mut records = collect::header(plan, collect::mac_costs(plan)?);
    for photo in photos.images() {
        let name = photo.folder.and_then(|place| folders.get(place)).copied().unwrap_or_default();
        let class = class(name).ok_or_else(|| format!("{}: no class of the model", photo.path.display()))?;
        let frame = decode_image(&photo.path, ImageLimits::default())?;
        let input = classifier.tensor(&frame)?.to_vec();
        let logits = classifier.runtime().all_logits(&input)?;
        records.push_logits_of(photo.path.display().to_string(), class as u32, &logits)?;
    }
    Ok(records)
}

fn page(policy: &CalibratedPolicy, bytes: usize, own: &Records, shown: &[(String, Records)]) -> Outcome<String> {
    let mut text = String::new();
    writeln!(text, "# \"None of these\" of the built-in model\n")?;
    writeln!(
        text,
        "This page is written by `cargo run --release -p compare --example clothing_none`; do not edit it.\n\n\
         `none.onnx` ({bytes} bytes) and the weights of `model.onnx` make a network that answers \"none of these\" beside its ten\n\
         classes; `none.policy.json` is its policy, calibrated on {} photos that neither it nor the classes were trained on. How far a\n\
         photo may be from all classes was set by the exact binomial test: with a confidence of 95 % at most one of twenty photos of\n\
         clothes like those is withheld at the last exit.\n",
        policy.samples()
    )?;
    let points = policy.frontier().points();
    let best = points.last().map_or(1.0, |point| point.accuracy);
    let middle = points.iter().position(|point| point.accuracy >= best - LOSS).unwrap_or(0);
    let chosen = [("cheapest", 0), ("within 0.5 points of the best", middle), ("the whole network", points.len() - 1)];
    write!(text, "| operating point | MMACs, clothes | accuracy, clothes")?;
    let heads = shown.iter().enumerate().map(|(place, (name, records))| {
        let what = if place == 0 { "called none" } else { "answered" };
        format!(" | {what}: {name} ({})", records.len())
    });
    writeln!(text, "{} |", heads.collect::<String>())?;
    writeln!(text, "{}|", "| --- ".repeat(3 + shown.len()))?;
    for (name, point) in chosen {
        let policy = &points[point].policy;
        let outcomes = replay(policy, own, &own.rows())?;
        let summary = PolicySummary::of(policy, own.costs(), &outcomes);
        write!(
            text,
            "| {name} | {:.1} | {}",
            summary.cost / 1e6,
            share(outcomes.iter().filter(|o| o.right).count(), own.len())
        )?;
        for (place, (_, records)) in shown.iter().enumerate() {
            // Their class is "none of these", so that being right is to say so.
            let none = replay(policy, records, &records.rows())?.iter().filter(|outcome| outcome.right).count();
            let counted = if place == 0 { none } else { records.len() - none };
            write!(text, " | {}", share(counted, records.len()))?;
        }
        writeln!(text, " |")?;
    }
    writeln!(
        text,
        "\nIn brackets the 95 % interval. Which exits take the calibrated share and which features tell was decided with tables of these\n\
         photos in view, so that others may fare a little worse. Made by\n\n```sh"
    )?;
    writeln!(text, "dyn-perceiver learn --keep --reject 5 --data clothing/val -o none.dynp --onnx none-whole.onnx")?;
    let others: Vec<&str> = shown.iter().skip(1).map(|(name, _)| name.as_str()).collect();
    writeln!(
        text,
        "cargo run --release -p compare --example clothing_none -- none.dynp none-whole.onnx clothing/test {}\n```",
        others.join(" ")
    )?;
    Ok(text)
}

fn share(count: usize, of: usize) -> String {
    let found = Estimate::new(count, of, 0.95);
    format!("{:.1} % ({:.1} to {:.1})", 100.0 * found.accuracy, 100.0 * found.low, 100.0 * found.high)
}
