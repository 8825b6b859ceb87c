//! What the repository ships: the trained model and its frames, used where no others are named.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use dyn_perceiver::camera::IdxSource;
use dyn_perceiver::exit::{ExitPolicy, Frontier, Measure, Mixer};
use dyn_perceiver::model::{LoadOptions, Model};
use dyn_perceiver::plan::Plan;
use dyn_perceiver_models::pretrained;

use crate::commands::evaluate;
use crate::output::failure::{Failure, OrInput as _};

/// The frames used where no others are named.
pub(crate) fn frames() -> Result<IdxSource, Failure> {
    Ok(IdxSource::from_bytes(pretrained::NAME, pretrained::FRAMES, Some(pretrained::FRAME_LABELS))?)
}

/// Which model, and which of its outputs are exits.
#[derive(Args)]
pub(crate) struct ModelArgs {
    /// ONNX file, or a bundle that `compile` wrote [default: the shipped Fashion-MNIST model]
    #[arg(long, value_name = "FILE")]
    model: Option<PathBuf>,
    /// Exits by output name [default: the model's metadata, else every output of shape (N, classes)]
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    exits: Option<Vec<String>>,
}

impl ModelArgs {
    /// The model's stage plans.
    pub(crate) fn plan(&self) -> Result<Arc<Plan>, Failure> {
        match &self.model {
            Some(path) => plan(path, self.exits.clone()),
            None => {
                let options = LoadOptions::default().with_exits(self.exits.clone());
                let model = Model::from_bytes(pretrained::MODEL.to_vec(), pretrained::NAME, &options).or_input()?;
                Ok(Arc::new(Plan::new(model)?))
            }
        }
    }
}

/// Stage plans of the model or bundle at `path`.
pub(crate) fn plan(path: &Path, exits: Option<Vec<String>>) -> Result<Arc<Plan>, Failure> {
    Ok(Arc::new(Plan::load(path, &LoadOptions::default().with_exits(exits)).or_input()?))
}

/// The operating points of the shipped policy, which are those of the shipped model.
pub(crate) fn points(plan: &Plan) -> Result<Points, Failure> {
    let path = Path::new(pretrained::NAME);
    let calibrated = dyn_perceiver::policy_file::parse(pretrained::POLICY, path).or_input()?;
    let frontier = evaluate::for_plan(&calibrated, plan, path).map_err(|failure| match failure {
        Failure::Input(_) => Failure::Input(anyhow::anyhow!("a mission with this model needs --policy FILE")),
        other => other,
    })?;
    Ok(Points { frontier: frontier.clone(), mixer: None })
}

/// The policy that a user spells out, or a policy file and what to choose from it.
#[derive(Args)]
pub(crate) struct PolicyArgs {
    /// Policy file that `calibrate` wrote [default: the bundle's]
    #[arg(long, value_name = "FILE", conflicts_with_all = ["exit", "thresholds"])]
    policy: Option<PathBuf>,
    /// Mean cost per frame to meet with the policy: MACs such as 3.5M, or 20ms, or 5mJ, by its unit
    #[arg(long, value_name = "COST", conflicts_with_all = ["exit", "thresholds"])]
    budget: Option<String>,
    /// Accuracy to reach with the policy, such as 0.92
    #[arg(long, value_name = "SHARE", conflicts_with_all = ["exit", "thresholds", "budget"])]
    accuracy: Option<f32>,
    /// Leave at this exit, by name or number from 1, and evaluate no other
    #[arg(long, value_name = "EXIT")]
    exit: Option<String>,
    /// One threshold in [0, 1] for each exit but the last
    #[arg(long, value_name = "NUMBERS", value_delimiter = ',', conflicts_with = "exit")]
    thresholds: Option<Vec<f32>>,
    /// How confidence is read off an exit: max-softmax, entropy or margin
    #[arg(long, default_value_t = Measure::MaxSoftmax)]
    confidence: Measure,
}

/// Operating points from a policy file.
pub(crate) struct Points {
    pub frontier: Frontier,
    /// What meets the budget, where one was asked for.
    pub mixer: Option<Mixer>,
}

impl Points {
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
    /// The points of the policy file, if one was named, or of the bundle's policy, where nothing else was asked for; only
    /// the one that is wanted where an accuracy was.
    pub(crate) fn points(&self, plan: &Plan) -> Result<Option<Points>, Failure> {
        let spelled_out = self.exit.is_some() || self.thresholds.is_some();
        let of_bundle = plan.bundle().and_then(|bundle| bundle.policy.as_ref()).filter(|_| !spelled_out);
        let loaded;
        let frontier = match (&self.policy, of_bundle) {
            (Some(path), _) => {
                loaded = dyn_perceiver::policy_file::load(path).or_input()?;
                evaluate::for_plan(&loaded, plan, path)?
            }
            (None, Some(policy)) => policy.frontier(),
            (None, None) if self.budget.is_some() || self.accuracy.is_some() => {
                let model = plan.info().path.display();
                return Err(anyhow::anyhow!("{model}: brings no policy: name one with --policy")).or_input();
            }
            (None, None) => return Ok(None),
        };
        if let Some(accuracy) = self.accuracy {
            let point = evaluate::accuracy_point(frontier, accuracy)?;
            let frontier = Frontier::new(frontier.unit(), &frontier.points()[point..=point])?;
            return Ok(Some(Points { frontier, mixer: None }));
        }
        let mixer = self.budget.as_ref().map(|text| evaluate::budget(text, frontier).map(Mixer::new)).transpose()?;
        Ok(Some(Points { frontier: frontier.clone(), mixer }))
    }

    /// The policy asked for, if one was.
    pub(crate) fn policy(&self, plan: &Plan) -> Result<Option<ExitPolicy>, Failure> {
        let names = &plan.info().exits;
        if let Some(exit) = &self.exit {
            let number = exit.parse::<usize>().ok().and_then(|k| k.checked_sub(1)).filter(|&k| k < names.len());
            let Some(exit) = names.iter().position(|name| name == exit).or(number) else {
                let known = names.join(", ");
                return Err(anyhow::anyhow!("no exit {exit:?}: the model has {known} (1 to {})", names.len()))
                    .or_input();
            };
            return Ok(Some(ExitPolicy::only(exit, names.len()).or_input()?));
        }
        match &self.thresholds {
            Some(thresholds) => Ok(Some(self.with_thresholds(plan, thresholds).or_input()?)),
            None => Ok(None),
        }
    }

    /// A policy of the measure asked for that leaves at `thresholds`.
    pub(crate) fn with_thresholds(
        &self,
        plan: &Plan,
        thresholds: &[f32],
    ) -> Result<ExitPolicy, dyn_perceiver::exit::PolicyError> {
        ExitPolicy::with_thresholds(self.confidence, plan.stages().len(), thresholds)
    }
}
