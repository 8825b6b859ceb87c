//! What a detector's gate and levels leave out, counted.

use std::sync::Arc;

use dyn_perceiver::detector::{Detector, DetectorSettings};
use dyn_perceiver::exit::{ExitPolicy, ExitRule, Measure};
use dyn_perceiver::frame::{Frame, PixelFormat};
use dyn_perceiver::model::{LoadOptions, Model};
use dyn_perceiver::plan::Plan;
use dyn_perceiver::runtime::{ExitSet, RunError};
use dyn_perceiver_models::{Config, Detection, Metadata, Network, Seeded, Task};

const SIZE: [usize; 2] = [64, 96];
const CHANNELS: u64 = 8;
const CLASSES: usize = 3;

fn config() -> Config {
    Config::from_name("mobilenetV3_0x5_perceiver_t64").unwrap().with_input_shape(SIZE[0], SIZE[1]).with_classes(2)
}

fn plan(config: &Config, options: &LoadOptions) -> Arc<Plan> {
    let bytes = Network::new(config).unwrap().to_bytes(&mut Seeded, &Metadata::imagenet(2)).unwrap();
    Arc::new(Plan::new(Model::from_bytes(bytes, "seeded", options).unwrap()).unwrap())
}

fn detector() -> Arc<Plan> {
    let channels = CHANNELS as usize;
    let task = Detection::new(CLASSES).with_pyramid(channels).with_tower(channels, 2);
    plan(&config().with_task(Task::Detection(task)), &LoadOptions::default())
}

#[test]
fn a_frame_that_ends_at_the_first_exit_costs_what_the_model_cut_there_costs() {
    let detector = detector();
    let cut = plan(&config(), &LoadOptions::default().with_exits(Some(vec!["early3".into()])));
    let cut: u64 = cut.stages().iter().map(|stage| stage.macs).sum();
    let gated = detector.macs_with_boxes(ExitSet::of([0]), 0);
    assert_eq!(detector.info().exits[0], "early3");
    assert!(gated as f64 <= 1.02 * cut as f64, "{gated} of {cut}");

    // And that is what is run: any confidence ends the frame, where the exit says that nothing is there.
    let frame = Frame::new(vec![90; 96 * 64], PixelFormat::Grey, 96, 64);
    let mut found = Detector::new(detector.clone(), DetectorSettings::default().with_gate(0.0)).unwrap();
    let said = found.detect(&frame).unwrap();
    match said.gated_at {
        Some(exit) => assert_eq!((exit, said.macs(&detector), said.outcome(&detector)), (0, gated, 0)),
        None => assert!(said.exits[0].1 != 0 && said.goals == 3),
    }
}

#[test]
fn boxes_of_coarse_levels_compute_nothing_of_the_towers_of_fine_ones() {
    let plan = detector();
    let macs: Vec<u64> = (0..=3).map(|goals| plan.macs_with_boxes(ExitSet::default(), goals)).collect();
    let nodes: Vec<usize> = (0..=3).map(|goals| plan.nodes_with_boxes(ExitSet::default(), goals)).collect();
    // Two towers of two 3x3 convolutions, and the two that make nine anchors' scores and deltas.
    let tower = |stride: usize| {
        let places = (SIZE[0] / stride * SIZE[1] / stride) as u64;
        places * 9 * (4 * CHANNELS * CHANNELS + CHANNELS * 9 * (CLASSES as u64 + 4))
    };
    for (goal, stride) in [(2, 16), (3, 8)] {
        assert!(macs[goal] - macs[goal - 1] >= tower(stride), "{macs:?}");
        assert!(nodes[goal] - nodes[goal - 1] >= 6, "{nodes:?}");
    }
    assert!(plan.outcome_costs().iter().skip(4).map(|cost| cost.0).sum::<u64>() <= macs[3]);
}

#[test]
fn a_policy_says_which_exits_are_asked_and_to_which_level_boxes_are_computed() {
    let plan = detector();
    let names = plan.info().outcome_names();
    assert_eq!(names[plan.info().exits.len()..], ["P5", "P4", "P3"]);
    let frame = Frame::new(vec![90; 96 * 64], PixelFormat::Grey, 96, 64);
    let mut detector = Detector::new(plan.clone(), DetectorSettings::default().with_score(0.01)).unwrap();
    let policy = |gate: Option<f32>, goals: usize| {
        let rule = |outcome: usize| match outcome.checked_sub(plan.info().exits.len()) {
            None if outcome == 0 => gate.map_or(ExitRule::Skip, ExitRule::Leave),
            Some(goal) if goal < goals => ExitRule::Leave(0.0),
            _ => ExitRule::Skip,
        };
        ExitPolicy::new(Measure::MaxSoftmax, &(0..plan.outcomes()).map(rule).collect::<Vec<_>>()).unwrap()
    };
    for goals in 1..=3 {
        let found = detector.detect_with(&frame, &policy(None, goals)).unwrap();
        assert_eq!((found.goals, found.exits.len(), found.gated_at), (goals, 0, None));
        detector.set_settings(DetectorSettings::default().with_score(0.01).with_goals(goals));
        assert_eq!(detector.detect(&frame).unwrap().boxes, found.boxes);
        assert_eq!(detector.examine(&frame).unwrap().levels[goals - 1], found.boxes);
        assert_eq!(plan.macs(&policy(None, goals), found.outcome(&plan)), found.macs(&plan));
    }
    let asked = detector.detect_with(&frame, &policy(Some(1.0), 1)).unwrap();
    assert_eq!((asked.exits.len(), asked.goals), (1, 1));
    let wrong = ExitPolicy::only(0, 4).unwrap();
    let error = detector.detect_with(&frame, &wrong).unwrap_err();
    assert!(matches!(error, dyn_perceiver::Error::Run(RunError::PolicyExits { expected: 7, actual: 4 })), "{error}");
}

#[test]
fn a_level_is_left_out_for_what_the_exit_asked_last_says() {
    let plan = detector();
    let exits = plan.info().exits.len();
    let frame = Frame::new(vec![90; 96 * 64], PixelFormat::Grey, 96, 64);
    let mut detector = Detector::new(plan.clone(), DetectorSettings::default().with_score(0.01)).unwrap();
    let policy = |ruled: &[(usize, ExitRule)]| {
        let mut rules = vec![ExitRule::Skip; exits];
        rules.extend([ExitRule::Leave(0.0); 3]);
        ruled.iter().for_each(|(outcome, rule)| rules[*outcome] = *rule);
        ExitPolicy::new(Measure::MaxSoftmax, &rules).unwrap()
    };
    let all = detector.detect_with(&frame, &policy(&[(0, ExitRule::Ask)])).unwrap();
    let (_, class, sure) = all.exits[0];
    // Whatever the exit says, it ends no frame that it is only asked about.
    assert_eq!((all.exits.len(), all.gated_at, all.goals), (1, None, 3));
    let unless = |class: usize, confidence: f32| ExitRule::Unless { class: class as u8, confidence };
    let run = |detector: &mut Detector, goal: usize, rule| {
        detector.detect_with(&frame, &policy(&[(0, ExitRule::Ask), (exits + goal, rule)])).unwrap()
    };
    for goal in [1, 2] {
        let found = run(&mut detector, goal, unless(class, sure));
        assert_eq!((found.goals, found.outcome(&plan)), (goal, exits + goal - 1));
        assert_eq!(found.macs(&plan), plan.macs_with_boxes(ExitSet::of([0]), goal));
        let plain = policy(&[(0, ExitRule::Ask), (exits + 1, ExitRule::Skip), (exits + 2, ExitRule::Skip)]);
        if goal == 1 {
            assert_eq!(detector.detect_with(&frame, &plain).unwrap().boxes, found.boxes);
        }
        assert_eq!(run(&mut detector, goal, unless(1 - class, 0.0)).goals, 3);
        assert_eq!(run(&mut detector, goal, unless(class, 1.0)).goals, if sure < 1.0 { 3 } else { goal });
    }
    // Without an exit that was asked there is nothing to go by.
    let blind = detector.detect_with(&frame, &policy(&[(exits + 2, unless(class, 0.0))])).unwrap();
    assert_eq!((blind.exits.len(), blind.goals), (0, 3));
    for outcome in [0, exits] {
        let error = detector.detect_with(&frame, &policy(&[(outcome, unless(class, 0.5))])).unwrap_err();
        assert!(matches!(error, dyn_perceiver::Error::Run(RunError::PolicyRule { .. })), "{error}");
    }
}
