//! What a model makes beside the logits of its exits: boxes at several levels, or states that go from frame to frame.

use serde::{Deserialize, Serialize};

use crate::detect::{Anchors, BoxCode, Limits};

/// Boxes of levels with strides from this on are one goal: they cost little, and are wanted together.
const COARSE: u32 = 32;

/// How the maps of a detector become boxes, as its file says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct BoxSpec {
    /// Classes of boxes.
    pub classes: usize,
    /// Their names, if they have any.
    #[serde(default)]
    pub labels: Vec<String>,
    /// The levels, finest first.
    pub levels: Vec<BoxLevel>,
    /// Anchors at every place.
    pub anchors: AnchorSpec,
    /// How deltas are read.
    pub code: CodeSpec,
    /// Scores above this count, in (0, 1).
    pub score: f32,
    /// Of boxes of a class that overlap (IoU) by more the best stays.
    pub overlap: f32,
    /// Of each level the best so many pairs of anchor and class are looked at.
    pub candidates: usize,
    /// So many boxes stay at most.
    pub boxes: usize,
}

/// One level of a detector.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct BoxLevel {
    /// Its name.
    pub name: String,
    /// Pixels of the input per place.
    pub stride: u32,
    /// The output with class scores.
    pub classes: String,
    /// The output with deltas of boxes.
    pub boxes: String,
}

/// Anchors at every place of every level.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct AnchorSpec {
    /// Height over width.
    pub ratios: Vec<f32>,
    /// Side at ratio 1, in strides.
    pub scales: Vec<f32>,
}

/// How deltas are read.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct CodeSpec {
    /// Means of the four deltas.
    pub means: [f32; 4],
    /// Deviations of the four deltas.
    pub deviations: [f32; 4],
    /// Sizes are kept within plus and minus this, as a logarithm.
    pub clamp: f32,
}

/// Which exits tell an empty image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Presence {
    /// Names of the exits.
    pub exits: Vec<String>,
    /// The class that means nothing is there.
    pub nothing: usize,
}

/// What a network of videos carries from frame to frame.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct VideoSpec {
    /// States, in running order.
    pub states: Vec<StateSpec>,
    /// Frames over which answers are summed, if the file says.
    pub window: Option<usize>,
    /// Seconds between the frames that it was trained on, if the file says.
    pub frame_period: Option<f32>,
    /// Equal answers in a row after which the answer changes, if calibration said.
    pub repeats: Option<u32>,
}

/// A tensor of one frame that the next one reads; zeros for the first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct StateSpec {
    /// The input that takes it.
    pub input: String,
    /// The output that makes it.
    pub output: String,
    /// Its shape, the batch first.
    pub shape: Vec<usize>,
}

/// Something a run can be asked for beside its exits: the boxes of some levels.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LevelGoal {
    /// The name of the finest of its levels.
    pub name: String,
    /// Its levels, as places in [`BoxSpec::levels`].
    pub levels: Vec<usize>,
}

impl BoxSpec {
    /// What can be asked for, coarse to fine: all levels at stride 32 and above together, then one by one.
    pub fn goals(&self) -> Vec<LevelGoal> {
        let mut order: Vec<usize> = (0..self.levels.len()).collect();
        order.sort_by_key(|&level| std::cmp::Reverse(self.levels[level].stride));
        let (coarse, fine): (Vec<usize>, Vec<usize>) =
            order.into_iter().partition(|&level| self.levels[level].stride >= COARSE);
        let together = Some(coarse).filter(|levels| !levels.is_empty());
        let goals = together.into_iter().chain(fine.into_iter().map(|level| vec![level]));
        let named = |levels: Vec<usize>| {
            let name = levels.last().map_or_else(String::new, |&level| self.levels[level].name.clone());
            LevelGoal { name, levels }
        };
        goals.map(named).collect()
    }

    /// Outputs of all levels: class scores and deltas of each, level by level.
    pub(crate) fn outputs(&self) -> Vec<String> {
        self.levels.iter().flat_map(|level| [level.classes.clone(), level.boxes.clone()]).collect()
    }

    /// Anchors at every place. None where they are no anchors, which a file that was loaded does not have.
    pub fn anchors(&self) -> Option<Anchors> {
        Anchors::new(&self.anchors.ratios, &self.anchors.scales)
    }

    /// How deltas are read.
    pub fn code(&self) -> BoxCode {
        BoxCode::new(self.code.means, self.code.deviations, self.code.clamp)
    }

    /// What is taken of a level.
    pub fn limits(&self) -> Limits {
        Limits::new(self.score, self.candidates)
    }

    /// What is wrong with it, in words.
    pub(crate) fn check(&self) -> Result<(), String> {
        let finite = |values: &[f32]| values.iter().all(|value| value.is_finite());
        if self.classes == 0 || self.classes > 1 << 12 {
            return Err(format!("{} classes of boxes", self.classes));
        }
        if !self.labels.is_empty() && self.labels.len() != self.classes {
            return Err(format!("{} labels for {} classes of boxes", self.labels.len(), self.classes));
        }
        if self.levels.is_empty() || self.levels.len() > 8 {
            return Err(format!("{} levels, expected 1 to 8", self.levels.len()));
        }
        if let Some(level) = self.levels.iter().find(|level| level.stride == 0 || level.stride > 1 << 12) {
            return Err(format!("level {:?} has stride {}", level.name, level.stride));
        }
        if self.goals().len() > 8 {
            return Err("more than 8 groups of levels".into());
        }
        if self.anchors().is_none() {
            return Err("anchors are 1 to 8 ratios and 1 to 8 scales above 0".into());
        }
        let CodeSpec { means, deviations, clamp } = self.code;
        if !(finite(&means) && finite(&deviations) && clamp.is_finite() && clamp > 0.0) {
            return Err("the code of boxes is not of finite numbers".into());
        }
        let share = |value: f32| value > 0.0 && value < 1.0;
        if !(share(self.score) && share(self.overlap)) {
            return Err("score and overlap are not between 0 and 1".into());
        }
        if self.candidates == 0 || self.candidates > 1 << 16 || self.boxes == 0 || self.boxes > 1 << 16 {
            return Err(format!("{} candidates and {} boxes, expected 1 to 65536", self.candidates, self.boxes));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(crate) fn spec() -> BoxSpec {
        let level = |(name, stride): (&str, u32)| serde_json::json!({ "name": name, "stride": stride, "classes": format!("cls.{name}"), "boxes": format!("box.{name}") });
        let levels: Vec<_> = [("P3", 8), ("P4", 16), ("P5", 32), ("P6", 64)].map(level).to_vec();
        serde_json::from_value(serde_json::json!({
            "classes": 3, "levels": levels, "anchors": { "ratios": [0.5, 1, 2], "scales": [4] },
            "code": { "means": [0, 0, 0, 0], "deviations": [1, 1, 1, 1], "clamp": 4.1 },
            "score": 0.05, "overlap": 0.5, "candidates": 1000, "boxes": 100,
        }))
        .unwrap()
    }

    #[test]
    fn goals_go_from_coarse_to_fine() {
        let goals = spec().goals();
        let shown: Vec<(&str, &[usize])> = goals.iter().map(|g| (g.name.as_str(), g.levels.as_slice())).collect();
        assert_eq!(shown, [("P5", &[3usize, 2][..]), ("P4", &[1]), ("P3", &[0])]);
        assert_eq!(spec().outputs().len(), 8);
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        assert_eq!(spec().check(), Ok(()));
        for change in [
            (|spec| spec.classes = 0) as fn(&mut BoxSpec),
            |spec| spec.levels.clear(),
            |spec| spec.levels[0].stride = 0,
            |spec| spec.anchors.ratios.clear(),
            |spec| spec.anchors.scales[0] = f32::NAN,
            |spec| spec.code.clamp = f32::INFINITY,
            |spec| spec.score = 1.0,
            |spec| spec.candidates = 0,
            |spec| spec.labels.push("one".into()),
        ] {
            let mut spec = spec();
            change(&mut spec);
            assert!(spec.check().is_err(), "{spec:?}");
        }
    }
}
