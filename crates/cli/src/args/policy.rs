//! Which exit policy: spelled out, or an operating point from a policy file.

use std::path::{Path, PathBuf};

use clap::Args;
use dyn_perceiver::collect;
use dyn_perceiver::exit::{CalibratedPolicy, Calibration, ExitPolicy, Frontier, Measure, Mixer, PolicyError};
use dyn_perceiver::plan::Plan;
use dyn_perceiver::policy_file;

use super::cost;
use super::model;
use super::share::Share;
use crate::defaults;
use crate::output::failure::{Failure, OrInput as _, wrong};
use crate::output::{message, text};

/// The policy that a user spells out, or a policy file and what to choose from it.
#[derive(Args)]
#[command(next_help_heading = "Exit policy")]
pub(crate) struct PolicyArgs {
    /// Use this policy file, which `calibrate` wrote [default: the bundle's]
    #[arg(long, value_name = "FILE", conflicts_with_all = ["exit", "thresholds"])]
    policy: Option<PathBuf>,
    /// Meet this mean cost per frame with the policy: MACs such as 3.5M, or 20ms, or 5mJ, by its unit
    #[arg(long, value_name = "COST", conflicts_with_all = ["exit", "thresholds"])]
    budget: Option<String>,
    /// Reach this accuracy with the policy, such as 92% or 0.92
    #[arg(long, value_name = "SHARE", conflicts_with_all = ["exit", "thresholds", "budget"])]
    accuracy: Option<Share>,
    /// Leave at this exit, by name or else by number from 1, and evaluate no other
    #[arg(long, value_name = "EXIT")]
    exit: Option<String>,
    /// Leave an exit from this confidence on: one number in [0, 1] for each exit but the last
    #[arg(long, value_name = "NUMBERS", value_delimiter = ',', conflicts_with = "exit")]
    thresholds: Option<Vec<f32>>,
    /// Measure confidence by max-softmax, entropy or margin
    #[arg(long, value_name = "MEASURE", default_value_t = Measure::MaxSoftmax)]
    confidence: Measure,
}

/// Operating points from a policy file.
pub(crate) struct Points {
    pub frontier: Frontier,
    /// Expected accuracy of the most accurate point that the policy has, also where another was asked for.
    pub best: f32,
    /// What meets the budget, if one was asked for.
    pub mixer: Option<Mixer>,
    /// Images that the expected accuracies come from.
    pub samples: Option<u32>,
    /// How probably answers under these points are right, where that is known.
    pub calibration: Option<Calibration>,
}

impl Points {
    /// All points of a policy.
    fn of(policy: &CalibratedPolicy) -> Self {
        Points {
            frontier: policy.frontier().clone(),
            best: policy.frontier().points().last().map_or(0.0, |point| point.accuracy),
            mixer: None,
            samples: Some(policy.samples()),
            calibration: policy.calibration().cloned(),
        }
    }

    /// The policies, cheapest first.
    pub(crate) fn policies(&self) -> Vec<ExitPolicy> {
        self.frontier.points().iter().map(|point| point.policy.clone()).collect()
    }

    /// The policy for the next frame: as the budget wants it, else the most accurate.
    pub(crate) fn next_policy(&mut self) -> &ExitPolicy {
        let last = self.frontier.points().len() - 1;
        let point = self.mixer.as_mut().map_or(last, |mixer| mixer.next_point(&self.frontier));
        &self.frontier.points()[point].policy
    }
}

impl PolicyArgs {
    /// A policy file and what mean cost to meet, for a command without the other options.
    pub(crate) fn of_file(policy: Option<PathBuf>, budget: Option<String>) -> Self {
        let (accuracy, exit, thresholds) = (None, None, None);
        PolicyArgs { policy, budget, accuracy, exit, thresholds, confidence: Measure::default() }
    }

    /// The operating points of the policy file, if one was named, or of the bundle's policy, if nothing else was asked for;
    /// only the one that is wanted if an accuracy was.
    pub(crate) fn points(&self, plan: &Plan) -> Result<Option<Points>, Failure> {
        let of_bundle = plan.bundle().and_then(|bundle| bundle.policy.as_ref()).filter(|_| !self.is_spelled_out());
        let chooses = self.budget.is_some() || self.accuracy.is_some();
        let points = match (&self.policy, of_bundle) {
            (Some(path), _) => load(path, plan)?,
            (None, Some(policy)) => Points::of(policy),
            (None, None) if chooses => match built_in_points(plan)? {
                Some(found) => found,
                None => return wrong(format!("{}: brings no policy: name one with --policy", model::name(plan))),
            },
            (None, None) => return Ok(None),
        };
        let frontier = &points.frontier;
        if let Some(accuracy) = self.accuracy {
            let point = accuracy_point(frontier, accuracy)?;
            let frontier = Frontier::new(frontier.unit(), &frontier.points()[point..=point])?;
            return Ok(Some(Points { frontier, ..points }));
        }
        let mixer = self.budget.as_ref().map(|text| cost::budget(text, frontier).map(Mixer::new)).transpose()?;
        Ok(Some(Points { mixer, ..points }))
    }

    /// The policy file, if one was named.
    pub(crate) fn file(&self) -> Option<&Path> {
        self.policy.as_deref()
    }

    /// Whether nothing was said about when to leave, so that calibrated points may be taken.
    pub(crate) fn is_open(&self) -> bool {
        !self.is_spelled_out() && self.confidence == Measure::MaxSoftmax
    }

    /// Whether the exits to leave at were spelled out.
    pub(crate) fn is_spelled_out(&self) -> bool {
        self.exit.is_some() || self.thresholds.is_some()
    }

    /// The policy spelled out, if one was.
    pub(crate) fn policy(&self, plan: &Plan) -> Result<Option<ExitPolicy>, Failure> {
        let names = &plan.info().exits;
        if let Some(exit) = &self.exit {
            let Some(found) = plan.info().find_exit(exit) else {
                return wrong(format!("no exit {exit:?}: the model has {} (1 to {})", text::names(names), names.len()));
            };
            // A name comes before a number: an exit may be called "1", and be another than the first.
            if exit.parse().is_ok_and(|number: usize| number != found + 1) {
                message::note(&format!(
                    "--exit {exit} is the exit of that name, number {} of {}",
                    found + 1,
                    names.len()
                ));
            }
            return Ok(Some(ExitPolicy::only(found, names.len()).or_input()?));
        }
        match &self.thresholds {
            Some(thresholds) => Ok(Some(self.with_thresholds(plan, thresholds).or_input()?)),
            None => Ok(None),
        }
    }

    /// A policy of the measure asked for that leaves at `thresholds`.
    pub(crate) fn with_thresholds(&self, plan: &Plan, thresholds: &[f32]) -> Result<ExitPolicy, PolicyError> {
        ExitPolicy::with_thresholds(self.confidence, plan.stages().len(), thresholds)
    }
}

/// The operating points of a mission for which no policy was named: those of the built-in model.
pub(crate) fn mission_points(plan: &Plan) -> Result<Points, Failure> {
    match built_in_points(plan)? {
        Some(points) => Ok(points),
        None => wrong("a mission with this model needs --policy FILE"),
    }
}

/// The operating points of a built-in policy, if `plan` is of a model that one was calibrated for.
pub(crate) fn built_in_points(plan: &Plan) -> Result<Option<Points>, Failure> {
    for none_of_these in [false, true] {
        let calibrated = defaults::policy(none_of_these)?;
        if calibrated.for_model(collect::digest(plan)).is_ok() && has_exits(&calibrated, plan) {
            return Ok(Some(Points::of(&calibrated)));
        }
    }
    Ok(None)
}

fn load(path: &Path, plan: &Plan) -> Result<Points, Failure> {
    let calibrated = policy_file::load(path).or_input()?;
    for_plan(&calibrated, plan, path)?;
    Ok(Points::of(&calibrated))
}

/// The frontier of a policy file, if it is for this model and these exits.
pub(crate) fn for_plan<'a>(
    calibrated: &'a CalibratedPolicy,
    plan: &Plan,
    path: &Path,
) -> Result<&'a Frontier, Failure> {
    let frontier = match calibrated.for_model(collect::digest(plan)) {
        Ok(frontier) => frontier,
        Err(error) => return wrong(format!("{}: {error}", path.display())),
    };
    if !has_exits(calibrated, plan) {
        let (found, expected) = (text::names(calibrated.exits()), text::names(plan.info().outcome_names()));
        return wrong(format!("{}: calibrated for exits {found}, but the model's are {expected}", path.display()));
    }
    let first = plan.info().exits.len() + 1;
    if frontier.points().iter().any(|point| point.policy.first_conditional().is_some_and(|outcome| outcome < first)) {
        return wrong(format!("{}: only levels after the coarsest can have rules about classes", path.display()));
    }
    Ok(frontier)
}

fn has_exits(calibrated: &CalibratedPolicy, plan: &Plan) -> bool {
    calibrated.exits().eq(plan.info().outcome_names().iter().map(String::as_str))
}

/// The cheapest operating point expected to be so accurate.
pub(crate) fn accuracy_point(frontier: &Frontier, accuracy: Share) -> Result<usize, Failure> {
    if let Some(point) = frontier.by_accuracy(accuracy.get()) {
        return Ok(point);
    }
    let best = frontier.points().last().map_or(0.0, |point| point.accuracy);
    wrong(format!("no policy is expected to reach an accuracy of {accuracy}; the best one {:.2}%", 100.0 * best))
}
