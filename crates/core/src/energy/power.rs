//! What running the network costs on a board: idle watts and joules per stage.

use core::fmt;

use serde::{Deserialize, Serialize};

use crate::exit::{ExitPolicy, MAX_EXITS, PerExit};

/// Where the joules of a [`PowerModel`] come from. Every joule figure shown says which.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[serde(rename_all = "kebab-case")]
pub enum JoulesSource {
    /// Read off a power monitor on the board.
    Measured,
    /// The board's published watts times a measured or estimated latency.
    Modelled,
}

impl JoulesSource {
    /// The name used in files and on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            JoulesSource::Measured => "measured",
            JoulesSource::Modelled => "modelled",
        }
    }
}

impl fmt::Display for JoulesSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Idle watts of a board, and the joules each stage of one network adds to them.
///
/// ```
/// use dyn_perceiver_core::energy::{JoulesSource, PowerModel};
/// let power = PowerModel::new(2.5, &[0.25, 0.5], JoulesSource::Measured)?.with_suspend(0.4)?;
/// assert_eq!((power.frame_joules(1), power.resting_watts()), (0.75, 0.4));
/// # Ok::<(), dyn_perceiver_core::energy::PowerModelError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct PowerModel {
    idle_watts: f32,
    suspend_watts: Option<f32>,
    stages: PerExit<f32>,
    exclusive: PerExit<f32>,
    source: JoulesSource,
}

impl PowerModel {
    /// A board that draws `idle_watts` all the time, and `stages[k]` joules more for every frame that runs stage k.
    ///
    /// # Errors
    /// [`PowerModelError`] without stages, with more than [`MAX_EXITS`], or with a figure that is negative or not finite.
    pub fn new(idle_watts: f32, stages: &[f32], source: JoulesSource) -> Result<Self, PowerModelError> {
        if !(idle_watts.is_finite() && idle_watts >= 0.0) {
            return Err(PowerModelError::Watts { watts: idle_watts });
        }
        let stages = Self::figures(stages)?;
        let mut exclusive = stages.clone();
        exclusive.iter_mut().for_each(|joules| *joules = 0.0);
        Ok(PowerModel { idle_watts, suspend_watts: None, stages, exclusive, source })
    }

    /// A board that draws `active_watts` while stage k runs for `seconds[k]`, and `idle_watts` otherwise: the stage adds
    /// the difference of the two times its latency. The result is [`JoulesSource::Modelled`].
    ///
    /// # Errors
    /// As [`PowerModel::new`], and when the board draws less when active than when idle.
    pub fn from_latency(idle_watts: f32, active_watts: f32, seconds: &[f32]) -> Result<Self, PowerModelError> {
        let added = active_watts - idle_watts;
        if !(added.is_finite() && added >= 0.0) {
            return Err(PowerModelError::Watts { watts: active_watts });
        }
        let mut model = Self::new(idle_watts, seconds, JoulesSource::Modelled)?;
        model.stages.iter_mut().for_each(|stage| *stage *= added);
        Ok(model)
    }

    /// The same model where leaving out exit k saves `exclusive[k]` joules of its stage: the work that no later exit needs.
    /// Without this a stage costs the same whether or not its exit is left out.
    ///
    /// # Errors
    /// [`PowerModelError`] when there is not one figure per stage or one is negative, not finite or above the stage's own.
    pub fn with_exclusive(mut self, exclusive: &[f32]) -> Result<Self, PowerModelError> {
        if exclusive.len() != self.stages.len() {
            return Err(PowerModelError::StageCount { stages: exclusive.len() });
        }
        for (stage, (&part, &whole)) in exclusive.iter().zip(&self.stages).enumerate() {
            if !(0.0..=whole).contains(&part) {
                return Err(PowerModelError::Joules { stage, joules: part });
            }
        }
        self.exclusive = Self::figures(exclusive)?;
        Ok(self)
    }

    /// The same model of a board that can be suspended between frames, drawing `watts` then.
    ///
    /// # Errors
    /// [`PowerModelError::Watts`] when that is negative, not finite or above the idle watts.
    pub fn with_suspend(mut self, watts: f32) -> Result<Self, PowerModelError> {
        if !(0.0..=self.idle_watts).contains(&watts) {
            return Err(PowerModelError::Watts { watts });
        }
        self.suspend_watts = Some(watts);
        Ok(self)
    }

    /// The same model of a board beside which something draws `watts` all the time, as a camera does that makes frames:
    /// whether the board idles, is suspended or works.
    ///
    /// # Errors
    /// [`PowerModelError::Watts`] when that is negative or not finite.
    pub fn with_load(mut self, watts: f32) -> Result<Self, PowerModelError> {
        if !(watts.is_finite() && watts >= 0.0) {
            return Err(PowerModelError::Watts { watts });
        }
        self.idle_watts += watts;
        self.suspend_watts = self.suspend_watts.map(|suspended| suspended + watts);
        Ok(self)
    }

    /// The same model where every frame takes `joules` besides, before its first stage: a board that sleeps between frames takes
    /// them to wake up.
    ///
    /// # Errors
    /// [`PowerModelError::Joules`] when they are negative or not finite.
    pub fn with_frame_joules(mut self, joules: f32) -> Result<Self, PowerModelError> {
        if !(joules.is_finite() && joules >= 0.0) {
            return Err(PowerModelError::Joules { stage: 0, joules });
        }
        self.stages.iter_mut().take(1).for_each(|first| *first += joules);
        Ok(self)
    }

    fn figures(stages: &[f32]) -> Result<PerExit<f32>, PowerModelError> {
        if stages.is_empty() {
            return Err(PowerModelError::StageCount { stages: 0 });
        }
        if let Some((stage, &joules)) = stages.iter().enumerate().find(|(_, j)| !(j.is_finite() && **j >= 0.0)) {
            return Err(PowerModelError::Joules { stage, joules });
        }
        PerExit::new(stages).map_err(|error| PowerModelError::StageCount { stages: error.count })
    }

    /// Watts drawn whether or not a frame is being worked on.
    pub fn idle_watts(&self) -> f32 {
        self.idle_watts
    }

    /// Watts drawn between frames: suspended where the board can, else idle.
    pub fn resting_watts(&self) -> f32 {
        self.suspend_watts.unwrap_or(self.idle_watts)
    }

    /// Joules that each stage adds, in the order of the exits.
    pub fn stages(&self) -> &[f32] {
        &self.stages
    }

    /// Where the joules come from.
    pub fn source(&self) -> JoulesSource {
        self.source
    }

    /// Joules that a frame adds which ran every stage up to and including that of `last_exit`.
    pub fn frame_joules(&self, last_exit: usize) -> f32 {
        self.stages.iter().take(last_exit.saturating_add(1)).sum()
    }

    /// Joules that a frame adds which left at `exit` under `policy`: exits left out save their exclusive work.
    pub fn policy_joules(&self, policy: &ExitPolicy, exit: usize) -> f32 {
        let stages = self.stages.iter().zip(&self.exclusive).enumerate().take(exit.saturating_add(1));
        stages.map(|(k, (whole, part))| if policy.evaluates(k) { *whole } else { whole - part }).sum()
    }
}

impl<'de> Deserialize<'de> for PowerModel {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Unchecked {
            idle_watts: f32,
            suspend_watts: Option<f32>,
            stages: PerExit<f32>,
            exclusive: PerExit<f32>,
            source: JoulesSource,
        }
        let raw = Unchecked::deserialize(deserializer)?;
        let model = PowerModel::new(raw.idle_watts, &raw.stages, raw.source)
            .and_then(|model| model.with_exclusive(&raw.exclusive))
            .and_then(|model| match raw.suspend_watts {
                Some(watts) => model.with_suspend(watts),
                None => Ok(model),
            });
        model.map_err(serde::de::Error::custom)
    }
}

/// Why a power model was refused.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum PowerModelError {
    /// There must be one figure per stage, and at least one and at most [`MAX_EXITS`] stages.
    StageCount {
        /// How many figures there are.
        stages: usize,
    },
    /// Joules must be finite, not negative, and the exclusive part at most the whole.
    Joules {
        /// The stage, from 0.
        stage: usize,
        /// What was given.
        joules: f32,
    },
    /// Watts must be finite and not negative, active at least idle, suspended at most idle.
    Watts {
        /// What was given.
        watts: f32,
    },
}

impl fmt::Display for PowerModelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            PowerModelError::StageCount { stages } => {
                write!(f, "{stages} figures of joules, expected one per stage and 1 to {MAX_EXITS} stages")
            }
            PowerModelError::Joules { stage, joules } => {
                write!(
                    f,
                    "stage {stage}: {joules} J, expected a finite figure >= 0, the exclusive part at most the whole"
                )
            }
            PowerModelError::Watts { watts } => {
                write!(f, "{watts} W, expected a finite figure >= 0, active at least idle and suspended at most idle")
            }
        }
    }
}

impl core::error::Error for PowerModelError {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::{ExitRule, Measure};

    #[test]
    fn power_model_stages_add_up_and_skipped_exits_save_their_own_work() {
        let model = PowerModel::new(2.5, &[1.0, 2.0, 4.0], JoulesSource::Measured).unwrap();
        assert_eq!(model.frame_joules(0), 1.0);
        assert_eq!(model.frame_joules(2), 7.0);
        assert_eq!(model.frame_joules(usize::MAX), 7.0);
        let policy = ExitPolicy::new(Measure::default(), &[ExitRule::Skip, ExitRule::Leave(0.5), ExitRule::Leave(0.0)]);
        let policy = policy.unwrap();
        assert_eq!(model.policy_joules(&policy, 1), 3.0);
        let model = model.with_exclusive(&[0.25, 0.5, 4.0]).unwrap();
        assert_eq!(model.policy_joules(&policy, 1), 2.75);
        assert_eq!(model.policy_joules(&policy, 2), 6.75);
    }

    #[test]
    fn power_model_from_latency_gives_modelled_joules() {
        let model = PowerModel::from_latency(2.5, 6.5, &[0.01, 0.02]).unwrap();
        assert_eq!(model.source(), JoulesSource::Modelled);
        assert!((model.frame_joules(1) - 0.12).abs() < 1e-6);
        assert!(PowerModel::from_latency(2.5, 2.0, &[0.01]).is_err());
    }

    #[test]
    fn power_model_counts_a_load_while_it_rests_too() {
        let model = PowerModel::new(2.5, &[1.0], JoulesSource::Measured).unwrap().with_suspend(0.5).unwrap();
        let camera = model.clone().with_load(0.25).unwrap();
        assert_eq!((camera.idle_watts(), camera.resting_watts(), camera.stages()), (2.75, 0.75, model.stages()));
        assert_eq!(model.clone().with_load(-1.0), Err(PowerModelError::Watts { watts: -1.0 }));
        assert!(model.with_load(f32::NAN).is_err());
    }

    #[test]
    fn power_model_refuses_impossible_figures() {
        let new = |idle, stages: &[f32]| PowerModel::new(idle, stages, JoulesSource::Measured);
        assert_eq!(new(1.0, &[]), Err(PowerModelError::StageCount { stages: 0 }));
        assert_eq!(new(1.0, &[0.0; MAX_EXITS + 1]), Err(PowerModelError::StageCount { stages: MAX_EXITS + 1 }));
        assert_eq!(new(1.0, &[1.0, -1.0]), Err(PowerModelError::Joules { stage: 1, joules: -1.0 }));
        assert!(new(f32::NAN, &[1.0]).is_err());
        let model = new(1.0, &[1.0]).unwrap();
        assert!(model.clone().with_exclusive(&[1.1]).is_err());
        assert!(model.clone().with_suspend(1.1).is_err());
        let waking = model.clone().with_frame_joules(2.0).unwrap();
        assert_eq!(waking.frame_joules(0) - model.frame_joules(0), 2.0);
        assert_eq!(waking.stages().len(), model.stages().len());
        assert!(model.clone().with_frame_joules(-1.0).is_err() && model.clone().with_frame_joules(f32::NAN).is_err());
        let mut buffer = [0; 128];
        let bytes = postcard::to_slice(&model.with_suspend(0.1).unwrap(), &mut buffer).unwrap();
        assert_eq!(postcard::from_bytes::<PowerModel>(bytes).unwrap().resting_watts(), 0.1);
    }
}
