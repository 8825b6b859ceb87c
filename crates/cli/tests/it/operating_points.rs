//! Operating points in the loop: a mean cost that is kept, and steps by the level of the battery.

use std::path::Path;

use dyn_perceiver::exit::{CalibratedPolicy, Frontier, OperatingPoint};
use dyn_perceiver::model::Model;
use dyn_perceiver::plan::Plan;
use dyn_perceiver::policy_file;
use dyn_perceiver_models::pretrained;
use serde_json::Value;

use crate::program::{program, refuses};

fn lines(args: &[&str]) -> Vec<Value> {
    let output = program(args);
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn frames(lines: &[Value]) -> impl Iterator<Item = &Value> {
    lines.iter().filter(|line| line["kind"] == "frame")
}

fn shipped() -> CalibratedPolicy {
    policy_file::parse(pretrained::POLICY, Path::new("policy")).unwrap()
}

/// By how much less every point cost on the frames calibrated on. The points are close together: their cheapest
/// must stay below the budget.
const EASIER: f32 = 0.96;

/// A file of the small model, which has more frames than the built-in one.
fn small(name: &str) -> String {
    let path = crate::program::repository().join("models/pretrained/fashion-mnist").join(name);
    path.to_str().unwrap().to_owned()
}

/// A policy that was calibrated on easier frames.
fn calibrated_on_easier_frames() -> CalibratedPolicy {
    let policy = policy_file::load(Path::new(&small("policy.json"))).unwrap();
    let easier = |point: &OperatingPoint| {
        OperatingPoint::new(point.policy.clone(), point.accuracy, EASIER * point.cost, &point.shares).unwrap()
    };
    let points: Vec<OperatingPoint> = policy.frontier().points().iter().map(easier).collect();
    let frontier = Frontier::new(policy.frontier().unit(), &points).unwrap();
    CalibratedPolicy::new(policy.model(), policy.exits(), policy.samples(), None, frontier).unwrap()
}

#[test]
fn a_mean_cost_is_kept_on_frames_that_are_harder_than_those_calibrated_on() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("policy.json");
    let policy = calibrated_on_easier_frames();
    policy_file::save(&policy, &path).unwrap();
    let points = policy.frontier().points();
    let budget = f64::from(points[0].cost + points[points.len() - 1].cost) / f64::from(2.0 * EASIER);
    let asked = budget.to_string();
    let (model, images) = (small("model.onnx"), small("frames-images-idx3-ubyte.gz"));
    let args = ["run", "--model", &model, "--frames", &images, "--policy", path.to_str().unwrap(), "--budget", &asked];
    let lines = lines(&[&args[..], &["--no-compare", "--json"]].concat());
    let plan = Plan::new(Model::load(&model).unwrap()).unwrap();
    let cost = |frame: &Value| {
        let exit = plan.info().find_exit(frame["exit"].as_str().unwrap()).unwrap();
        plan.macs(&points[frame["point"].as_u64().unwrap() as usize].policy, exit) as f64
    };
    let costs: Vec<f64> = frames(&lines).map(cost).collect();
    let mean = costs.iter().sum::<f64>() / costs.len() as f64;
    assert!(costs.len() > 500, "{}", costs.len());
    // Without making up for what frames really cost it would be 4 % too high.
    assert!((mean / budget - 1.0).abs() < 0.01, "{mean} of a budget of {budget}");
}

#[test]
fn steps_are_told_with_what_is_expected_of_them_and_followed() {
    let best = shipped().frontier().points().len() as u64 - 1;
    let args = ["run", "--steps", "60:92.5%,30:cheapest", "--no-compare", "--json", "--soc", "0.9"];
    let lines = lines(&args);
    let steps = lines[0]["steps"].as_array().unwrap();
    assert_eq!(lines[0]["kind"], "steps");
    assert_eq!(steps.iter().map(|step| step["from"].as_f64().unwrap()).collect::<Vec<_>>(), [0.6, 0.3, 0.0]);
    assert_eq!((steps[0]["point"].as_u64(), steps[2]["point"].as_u64()), (Some(best), Some(0)));
    assert!(steps[1]["accuracy"].as_f64().unwrap() >= 0.925);
    assert!(steps.iter().all(|step| step["hours"].as_f64().unwrap() > 0.0 && step["accuracy_error"].is_number()));
    // A step up needs more charge than one down; here there are only steps down.
    for frame in frames(&lines) {
        let (soc, point) = (frame["soc"].as_f64().unwrap(), &frame["point"]);
        let step = steps.iter().find(|step| soc >= step["from"].as_f64().unwrap() + 0.01);
        let above = steps.iter().find(|step| soc >= step["from"].as_f64().unwrap() - 0.01);
        assert!(
            step.is_none_or(|step| &step["point"] == point) || above.is_some_and(|s| &s["point"] == point),
            "{frame}"
        );
    }
    let taken: std::collections::BTreeSet<u64> = frames(&lines).map(|frame| frame["point"].as_u64().unwrap()).collect();
    assert_eq!(taken.len(), 3, "{taken:?}");
}

#[test]
fn steps_by_default_are_calibrated_points_of_the_shipped_policy() {
    let lines = lines(&["run", "--no-compare", "--json"]);
    let steps = lines[0]["steps"].as_array().unwrap();
    let policy = shipped();
    assert!((2..=6).contains(&steps.len()), "{steps:?}");
    let accuracy = |step: &Value| step["accuracy"].as_f64().unwrap();
    assert!(steps.windows(2).all(|pair| accuracy(&pair[0]) > accuracy(&pair[1])), "{steps:?}");
    for step in steps {
        let point = &policy.frontier().points()[step["point"].as_u64().unwrap() as usize];
        assert!((f64::from(point.accuracy) - accuracy(step)).abs() < 1e-6);
    }
    // It says how probably its answers are right, too.
    assert!(frames(&lines).all(|frame| frame["probability"].as_f64().is_some_and(|p| (0.0..=1.0).contains(&p))));
}

#[test]
fn steps_that_cannot_be_are_refused() {
    refuses(&["run", "--steps", "20:best,80:best"], &["--steps", "falling levels"]);
    refuses(&["run", "--steps", "50:99.9%"], &["no policy is expected to reach"]);
    refuses(&["run", "--steps", "50:best", "--thresholds", "0.5,0.5,0.5"], &["--steps needs calibrated"]);
    refuses(&["run", "--steps", "50:best", "--mode", "mission", "--hours", "1", "--fps", "1"], &["mode steps"]);
}

#[test]
fn nights_can_be_told_to_be_quiet() {
    let mission = ["run", "--mode", "mission", "--hours", "24", "--battery-wh", "50", "--limit", "3", "--json"];
    let lines = lines(&[&mission[..], &["--day-night", "100,10", "--begins", "18:30"]].concat());
    assert_eq!(frames(&lines).count(), 3);
    refuses(&[&mission[..], &["--day-night", "100"]].concat(), &["--day-night"]);
    refuses(&[&mission[..], &["--day-night", "100,10", "--fps", "1"]].concat(), &["--fps"]);
}

#[test]
fn a_mission_tells_once_that_more_frames_come_than_planned() {
    let (model, images) = (small("model.onnx"), small("frames-images-idx3-ubyte.gz"));
    let policy = small("policy.json");
    let mission = ["run", "--mode", "mission", "--hours", "24", "--battery-wh", "50", "--per-hour", "10"];
    let frames =
        ["--model", &model, "--policy", &policy, "--frames", &images, "--limit", "60", "--no-compare", "--json"];
    let lines = lines(&[&mission[..], &frames].concat());
    let told: Vec<&Value> = lines.iter().filter(|line| line["kind"] == "plan").collect();
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!((&told[0]["cause"], &told[0]["holds"]), (&"demand".into(), &false.into()));
    assert!(told[0]["ratio"].as_f64().unwrap() > 1.3);
    assert!(told[0]["message"].as_str().unwrap().contains("more than planned"), "{told:?}");
}

#[test]
fn a_burst_ends_when_the_scene_is_still() {
    let folder = tempfile::tempdir().unwrap();
    let picture = crate::program::repository().join("tests/fixtures/pictures/baseline-420.jpg");
    for number in 0..9 {
        std::fs::copy(&picture, folder.path().join(format!("{number}.jpg"))).unwrap();
    }
    let lines = lines(&["run", "--frames", folder.path().to_str().unwrap(), "--burst", "4", "--no-compare", "--json"]);
    assert_eq!(frames(&lines).count(), 4);
    assert_eq!(lines.last().unwrap()["ended"], "the scene is still");
}
