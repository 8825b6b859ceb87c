//! Policies of detectors: which exits may end a frame, and to which level boxes are computed.

use dyn_perceiver::exit::{ExitPolicy, ExitRule, Measure};
use dyn_perceiver::model::ModelInfo;
use dyn_perceiver::plan::Plan;

use super::share::Share;
use crate::output::failure::{Failure, OrInput as _, wrong};

/// Score from which on boxes are worth a look. A model's own is that of average precision, far below.
const SHOWN: f32 = 0.25;

/// The score above which boxes are told: the one asked for, else what is worth a look.
pub(crate) fn shown_score(asked: Option<Share>, info: &ModelInfo) -> Option<f32> {
    let boxes = info.boxes.as_ref()?;
    Some(asked.map_or(boxes.score.max(SHOWN), Share::get))
}

/// How many goals there are up to the level's.
pub(crate) fn goals_to(plan: &Plan, level: &str) -> Result<usize, Failure> {
    let names: Vec<&str> = plan.goals().iter().map(|goal| goal.name.as_str()).collect();
    match names.iter().position(|name| *name == level) {
        Some(place) => Ok(place + 1),
        None => wrong(format!("--level {level}: the model has {}", names.join(", "))),
    }
}

/// The exits of a detector that tell an empty frame, as places among its exits.
pub(crate) fn presence_exits(info: &ModelInfo) -> Vec<usize> {
    let names = info.presence.as_ref().map_or(&[][..], |presence| &presence.exits);
    (0..info.exits.len()).filter(|&exit| names.contains(&info.exits[exit])).collect()
}

/// A policy over a detector's outcomes: `exits`, each with its rule, and boxes of the first `goals` goals but for those
/// that `unless` leaves out, each with its rule.
pub(crate) fn policy(
    plan: &Plan,
    exits: &[(usize, ExitRule)],
    goals: usize,
    unless: &[(usize, ExitRule)],
) -> Result<ExitPolicy, Failure> {
    let of = |rules: &[(usize, ExitRule)], place: usize, other: ExitRule| {
        rules.iter().find(|(ruled, _)| *ruled == place).map_or(other, |(_, rule)| *rule)
    };
    let rule = |outcome: usize| match outcome.checked_sub(plan.info().exits.len()) {
        Some(goal) if goal < goals => of(unless, goal, ExitRule::Leave(0.0)),
        Some(_) => ExitRule::Skip,
        None => of(exits, outcome, ExitRule::Skip),
    };
    let rules: Vec<ExitRule> = (0..plan.outcomes()).map(rule).collect();
    ExitPolicy::new(Measure::MaxSoftmax, &rules).or_input()
}

/// The gate at one confidence for all exits that tell an empty frame, and boxes up to a level; all without one.
pub(crate) fn spelled_out(plan: &Plan, presence: Option<f32>, level: Option<&str>) -> Result<ExitPolicy, Failure> {
    if presence.is_some() && plan.info().presence.is_none() {
        return wrong("the model does not say which exits tell an empty image: dyn_perceiver.presence");
    }
    let goals = level.map_or(Ok(plan.goals().len()), |level| goals_to(plan, level))?;
    let gates = presence_exits(plan.info()).into_iter().filter_map(|exit| Some((exit, ExitRule::Leave(presence?))));
    policy(plan, &gates.collect::<Vec<_>>(), goals, &[])
}

/// The name of a class of the exits.
pub(crate) fn frame_label(info: &ModelInfo, class: usize) -> String {
    let named = frame_labels(info).and_then(|labels| labels.get(class).cloned());
    named.unwrap_or_else(|| format!("class {class}"))
}

/// Names of the classes of a frame. Those of a detector's exits are told where it has no names for them.
pub(crate) fn frame_labels(info: &ModelInfo) -> Option<Vec<String>> {
    let nothing = info.presence.as_ref().map(|presence| presence.nothing).filter(|_| info.boxes.is_some());
    match (&info.labels, nothing) {
        (None, Some(nothing)) if info.classes == 2 => {
            Some((0..2).map(|class| if class == nothing { "nothing" } else { "something" }.to_owned()).collect())
        }
        (labels, _) => labels.clone(),
    }
}

/// Names and number of the classes that events are about: those of boxes, or of frames.
pub(crate) fn event_classes(info: &ModelInfo) -> (Option<Vec<String>>, usize) {
    match &info.boxes {
        Some(boxes) => (Some(boxes.labels.clone()).filter(|labels| !labels.is_empty()), boxes.classes),
        None => (info.labels.clone(), info.classes),
    }
}
