//! Exit policy: which exits are evaluated, and the confidence thresholds at which inference stops early.

use core::fmt;

use serde::{Deserialize, Serialize};

use super::{Ensemble, EnsembleError, ExitCountError, MAX_EXITS, Measure, PerExit};

/// What a policy does with one exit.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[serde(rename_all = "kebab-case")]
pub enum ExitRule {
    /// The exit is left out: neither it nor what only it needs is computed.
    Skip,
    /// The exit is evaluated, and left at when confidence reaches this threshold, in [0, 1].
    Leave(f32),
    /// The exit is evaluated and not left at unless it is the last one: what it says decides how far a detector's boxes
    /// are computed.
    Ask,
    /// Of a detector's level: neither it nor a finer one is computed where the exit that was asked last says this class
    /// with this confidence or more, in [0, 1].
    Unless {
        /// The class of the exits.
        class: u8,
        /// From which confidence on.
        confidence: f32,
    },
}

impl ExitRule {
    /// The confidence that it is about.
    fn threshold(&self) -> Option<f32> {
        match *self {
            ExitRule::Leave(threshold) | ExitRule::Unless { confidence: threshold, .. } => Some(threshold),
            ExitRule::Skip | ExitRule::Ask => None,
        }
    }
}

/// Exit rules for every exit of one network, in order of cost.
///
/// The last exit that is not skipped always answers, whatever its threshold.
///
/// ```
/// use dyn_perceiver_core::exit::{Decision, ExitPolicy, Measure};
/// let policy = ExitPolicy::with_thresholds(Measure::MaxSoftmax, 3, &[0.9, 0.8])?;
/// assert_eq!(policy.decide(0, 0.95), Decision::Leave);
/// assert_eq!(policy.decide(1, 0.7), Decision::Continue);
/// assert_eq!(policy.decide(2, 0.1), Decision::Leave);
/// # Ok::<(), dyn_perceiver_core::exit::PolicyError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct ExitPolicy {
    measure: Measure,
    rules: PerExit<ExitRule>,
    // The name in files.
    #[serde(rename = "evidence")]
    ensemble: Ensemble,
}

/// Whether to answer with the exit just evaluated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Decision {
    /// Answer now.
    Leave,
    /// Go on to the next exit.
    Continue,
}

impl ExitPolicy {
    /// A policy from one rule per exit.
    ///
    /// # Errors
    /// [`PolicyError`] without rules, with more than [`MAX_EXITS`], with a threshold outside [0, 1], or when every exit
    /// is skipped.
    pub fn new(measure: Measure, rules: &[ExitRule]) -> Result<Self, PolicyError> {
        let rules = PerExit::new(rules)?;
        for (exit, rule) in rules.iter().enumerate() {
            if let Some(threshold) = rule.threshold()
                && !(0.0..=1.0).contains(&threshold)
            {
                return Err(PolicyError::Threshold { exit, threshold });
            }
        }
        if rules.iter().all(|rule| *rule == ExitRule::Skip) {
            return Err(PolicyError::AllSkipped);
        }
        Ok(ExitPolicy { measure, rules, ensemble: Ensemble::Own })
    }

    /// Evaluates every one of `exits` exits but the last at the given thresholds; the last exit takes what is left.
    ///
    /// # Errors
    /// [`PolicyError::ThresholdCount`] when there is not one threshold for each exit but the last, and as
    /// [`ExitPolicy::new`].
    pub fn with_thresholds(measure: Measure, exits: usize, thresholds: &[f32]) -> Result<Self, PolicyError> {
        if exits == 0 {
            return Err(PolicyError::NoExits);
        }
        if exits > MAX_EXITS {
            return Err(PolicyError::TooManyExits { exits });
        }
        if thresholds.len() + 1 != exits {
            return Err(PolicyError::ThresholdCount { exits, thresholds: thresholds.len() });
        }
        let mut rules = [ExitRule::Leave(0.0); MAX_EXITS];
        for (rule, &threshold) in rules.iter_mut().zip(thresholds) {
            *rule = ExitRule::Leave(threshold);
        }
        Self::new(measure, rules.get(..exits).unwrap_or(&[]))
    }

    /// Goes straight to exit `exit` of `exits` and evaluates no other.
    ///
    /// # Errors
    /// [`PolicyError::AllSkipped`] when there is no such exit, and as [`ExitPolicy::new`].
    pub fn only(exit: usize, exits: usize) -> Result<Self, PolicyError> {
        if exits > MAX_EXITS {
            return Err(PolicyError::TooManyExits { exits });
        }
        let mut rules = [ExitRule::Skip; MAX_EXITS];
        let rules = rules.get_mut(..exits).unwrap_or(&mut []);
        if let Some(rule) = rules.get_mut(exit) {
            *rule = ExitRule::Leave(0.0);
        }
        Self::new(Measure::default(), rules)
    }

    /// The same rules, with thresholds that act on an ensemble of the exits evaluated so far.
    ///
    /// # Errors
    /// [`PolicyError::Ensemble`] when it does not fit the number of exits or is out of range.
    pub fn with_ensemble(self, ensemble: Ensemble) -> Result<Self, PolicyError> {
        ensemble.check(self.rules.len()).map_err(PolicyError::Ensemble)?;
        Ok(ExitPolicy { ensemble, ..self })
    }

    /// How the exits evaluated so far are combined.
    pub fn ensemble(&self) -> &Ensemble {
        &self.ensemble
    }

    /// The confidence measure the thresholds are for.
    pub fn measure(&self) -> Measure {
        self.measure
    }

    /// One rule per exit.
    pub fn rules(&self) -> &[ExitRule] {
        &self.rules
    }

    /// Whether exit `exit` is evaluated.
    pub fn evaluates(&self, exit: usize) -> bool {
        self.rules.get(exit).is_some_and(|rule| *rule != ExitRule::Skip)
    }

    /// The exit that always answers: the last one that is not skipped.
    pub fn last_exit(&self) -> usize {
        self.rules.iter().rposition(|rule| *rule != ExitRule::Skip).unwrap_or(0)
    }

    /// The first outcome whose rule is about a class, [`ExitRule::Unless`]. Only levels of a detector after its coarsest
    /// can have one.
    pub fn first_conditional(&self) -> Option<usize> {
        self.rules.iter().position(|rule| matches!(rule, ExitRule::Unless { .. }))
    }

    /// Whether to leave at `exit`, given its confidence. A confidence that is NaN never leaves early.
    pub fn decide(&self, exit: usize, confidence: f32) -> Decision {
        match self.rules.get(exit) {
            _ if exit >= self.last_exit() => Decision::Leave,
            Some(ExitRule::Leave(threshold)) if confidence >= *threshold => Decision::Leave,
            _ => Decision::Continue,
        }
    }
}

impl<'de> Deserialize<'de> for ExitPolicy {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Unchecked {
            measure: Measure,
            rules: PerExit<ExitRule>,
            #[serde(rename = "evidence", alias = "ensemble")]
            ensemble: Ensemble,
        }
        let policy = Unchecked::deserialize(deserializer)?;
        ExitPolicy::new(policy.measure, &policy.rules)
            .and_then(|checked| checked.with_ensemble(policy.ensemble))
            .map_err(serde::de::Error::custom)
    }
}

/// Why a policy was refused.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum PolicyError {
    /// A network has at least one exit.
    NoExits,
    /// More exits than [`MAX_EXITS`].
    TooManyExits {
        /// How many there are.
        exits: usize,
    },
    /// There must be one threshold for each exit but the last.
    ThresholdCount {
        /// Exits of the network.
        exits: usize,
        /// Thresholds given.
        thresholds: usize,
    },
    /// A threshold is not a number in [0, 1].
    Threshold {
        /// Its exit, from 0.
        exit: usize,
        /// What was given.
        threshold: f32,
    },
    /// No exit is left that could answer.
    AllSkipped,
    /// The ensemble does not fit the exits.
    Ensemble(EnsembleError),
}

impl fmt::Display for PolicyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            PolicyError::NoExits => f.write_str("a policy needs at least one exit"),
            PolicyError::TooManyExits { exits } => write!(f, "{exits} exits, at most {MAX_EXITS} are supported"),
            PolicyError::ThresholdCount { exits, thresholds } => write!(
                f,
                "expected {} thresholds (one for each of {exits} exits but the last), got {thresholds}",
                exits.saturating_sub(1)
            ),
            PolicyError::Threshold { exit, threshold } => {
                write!(f, "the threshold of exit {} is {threshold}, expected a number in [0, 1]", exit + 1)
            }
            PolicyError::AllSkipped => f.write_str("every exit is skipped, so none could answer"),
            PolicyError::Ensemble(error) => error.fmt(f),
        }
    }
}

// The cause of `Ensemble` is in the text, and so is no source.
impl core::error::Error for PolicyError {}

impl From<ExitCountError> for PolicyError {
    fn from(error: ExitCountError) -> Self {
        match error.count {
            0 => PolicyError::NoExits,
            exits => PolicyError::TooManyExits { exits },
        }
    }
}

impl From<EnsembleError> for PolicyError {
    fn from(error: EnsembleError) -> Self {
        PolicyError::Ensemble(error)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn policy_file_keeps_the_key_evidence_and_reads_ensemble_too() {
        let policy = ExitPolicy::with_thresholds(Measure::Entropy, 2, &[0.5]).unwrap();
        let json = serde_json::to_string(&policy).unwrap();
        assert_eq!(json, r#"{"measure":"entropy","rules":[{"leave":0.5},{"leave":0.0}],"evidence":"own"}"#);
        for text in [json.clone(), json.replace("evidence", "ensemble")] {
            assert_eq!(serde_json::from_str::<ExitPolicy>(&text).unwrap(), policy);
        }
    }

    #[test]
    fn policy_asks_an_exit_and_has_levels_that_depend_on_what_it_says() {
        let rules = [ExitRule::Ask, ExitRule::Leave(0.0), ExitRule::Unless { class: 1, confidence: 0.75 }];
        let policy = ExitPolicy::new(Measure::MaxSoftmax, &rules).unwrap();
        assert!(policy.evaluates(0) && policy.last_exit() == 2 && policy.first_conditional() == Some(2));
        assert_eq!(policy.decide(0, 1.0), Decision::Continue);
        let json = serde_json::to_string(&policy).unwrap();
        assert!(json.contains(r#"["ask",{"leave":0.0},{"unless":{"class":1,"confidence":0.75}}]"#), "{json}");
        assert_eq!(serde_json::from_str::<ExitPolicy>(&json).unwrap(), policy);
        let bytes = postcard::to_allocvec(&policy).unwrap();
        assert_eq!(postcard::from_bytes::<ExitPolicy>(&bytes).unwrap(), policy);
        let out = ExitPolicy::new(Measure::MaxSoftmax, &[ExitRule::Unless { class: 1, confidence: 1.5 }]);
        assert_eq!(out, Err(PolicyError::Threshold { exit: 0, threshold: 1.5 }));
    }

    #[test]
    fn policy_leaves_at_the_threshold_and_always_at_the_last() {
        let policy = ExitPolicy::with_thresholds(Measure::MaxSoftmax, 3, &[0.5, 1.0]).unwrap();
        assert_eq!(policy.decide(0, 0.5), Decision::Leave);
        assert_eq!(policy.decide(0, 0.499), Decision::Continue);
        assert_eq!(policy.decide(0, f32::NAN), Decision::Continue);
        assert_eq!(policy.decide(2, 0.0), Decision::Leave);
        assert_eq!(policy.decide(2, f32::NAN), Decision::Leave);
    }

    #[test]
    fn policy_never_answers_with_a_skipped_exit() {
        let policy = ExitPolicy::only(1, 3).unwrap();
        assert!(!policy.evaluates(0) && policy.evaluates(1) && !policy.evaluates(2));
        assert_eq!(policy.last_exit(), 1);
        assert_eq!(policy.decide(0, 1.0), Decision::Continue);
        assert_eq!(policy.decide(1, 0.0), Decision::Leave);
        assert_eq!(ExitPolicy::only(3, 3), Err(PolicyError::AllSkipped));
    }

    #[test]
    fn policy_refuses_what_is_none() {
        let with = |exits, thresholds: &[f32]| ExitPolicy::with_thresholds(Measure::MaxSoftmax, exits, thresholds);
        assert_eq!(with(0, &[]), Err(PolicyError::NoExits));
        assert_eq!(with(MAX_EXITS + 1, &[0.5; MAX_EXITS]), Err(PolicyError::TooManyExits { exits: MAX_EXITS + 1 }));
        assert_eq!(with(3, &[0.5]), Err(PolicyError::ThresholdCount { exits: 3, thresholds: 1 }));
        assert_eq!(with(2, &[1.5]), Err(PolicyError::Threshold { exit: 0, threshold: 1.5 }));
        assert!(matches!(with(2, &[f32::NAN]), Err(PolicyError::Threshold { exit: 0, .. })));
    }

    proptest! {
        #[test]
        fn bytes_from_outside_never_make_a_bad_policy(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            if let Ok(policy) = postcard::from_bytes::<ExitPolicy>(&bytes) {
                prop_assert!(policy.evaluates(policy.last_exit()));
                let again = ExitPolicy::new(policy.measure(), policy.rules()).unwrap();
                prop_assert_eq!(again.with_ensemble(policy.ensemble().clone()), Ok(policy));
            }
        }
    }
}
