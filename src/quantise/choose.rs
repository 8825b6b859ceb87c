//! Which layers are int8 in the end, and whether that is worth it.

use std::sync::Arc;
use std::time::Duration;

use super::{QuantiseError, Quantiser, timing};
use crate::plan::Plan;
use crate::runtime::{RunError, Runtime};

/// What a choice of layers must meet.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct QuantiseOptions {
    /// Share of the images by which an exit may be right less often than in float; without labels, by which an exit may
    /// answer otherwise than in float.
    pub tolerance: f64,
    /// A layer stays float unless int8 takes at most this part of its float time.
    pub layer_time: f64,
    /// int8 as a whole pays only if a frame takes at most this part of its float time.
    pub frame_time: f64,
}

impl Default for QuantiseOptions {
    fn default() -> Self {
        QuantiseOptions { tolerance: 0.003, layer_time: 0.9, frame_time: 0.98 }
    }
}

impl QuantiseOptions {
    /// The same with another tolerance.
    #[must_use]
    pub fn with_tolerance(self, tolerance: f64) -> Self {
        QuantiseOptions { tolerance, ..self }
    }

    /// Whether all exits are within the tolerance.
    fn allows(&self, exits: &[ExitCheck]) -> bool {
        exits.iter().all(|exit| exit.loss() <= self.tolerance)
    }
}

/// What becomes of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verdict {
    /// It is int8.
    Int8,
    /// It stays float: its input was no finite number, or constant.
    NoRange,
    /// It stays float: int8 is not faster here.
    NotFaster,
    /// It stays float: with it the tolerance is not met.
    Accuracy,
}

impl Verdict {
    /// In words.
    pub fn name(self) -> &'static str {
        match self {
            Verdict::Int8 => "int8",
            Verdict::NoRange => "no range",
            Verdict::NotFaster => "not faster",
            Verdict::Accuracy => "accuracy",
        }
    }
}

/// What an exit says in float and in int8.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct ExitCheck {
    /// Share of the images that float answers rightly; none without labels.
    pub float: Option<f64>,
    /// The same in int8.
    pub int8: Option<f64>,
    /// Share of the images whose answer is another than in float.
    pub changed: f64,
}

impl ExitCheck {
    /// What the tolerance is held against.
    fn loss(&self) -> f64 {
        self.float.zip(self.int8).map_or(self.changed, |(float, int8)| float - int8)
    }
}

/// A choice of layers and what it gives.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Chosen {
    /// For each of [`Quantiser::layers`].
    pub verdicts: Vec<Verdict>,
    /// For each exit, cheapest first.
    pub exits: Vec<ExitCheck>,
    /// Median time of a whole frame in float.
    pub float_time: Duration,
    /// Median time of a whole frame with the chosen layers in int8.
    pub int8_time: Duration,
    /// The second to the first, as the median over rounds of one frame each.
    pub ratio: f64,
    /// Those of [`Quantiser::filters`] whose weights are rounded to int8, too: multiplied in float, stored in a quarter of the bytes.
    pub filters: Vec<String>,
    /// Whether a frame is faster by enough. Otherwise nothing should be made of it.
    pub pays: bool,
}

impl Chosen {
    /// For each layer, whether it is int8.
    pub(super) fn taken(&self) -> Vec<bool> {
        self.verdicts.iter().map(|verdict| *verdict == Verdict::Int8).collect()
    }

    /// How many layers are int8.
    pub fn layers(&self) -> usize {
        self.taken().into_iter().filter(|taken| *taken).count()
    }
}

/// The class that each exit answers each image with.
type Answers = Vec<Vec<usize>>;

fn answers(plan: &Arc<Plan>, images: &[Vec<f32>]) -> Result<Answers, RunError> {
    let classes = plan.info().classes;
    let mut runtime = Runtime::new(plan.clone())?;
    let best = |logits: &[f32]| {
        let row = logits[..classes].iter().enumerate();
        row.max_by(|a, b| a.1.total_cmp(b.1)).map_or(0, |(class, _)| class)
    };
    let image = |image: &Vec<f32>| Ok(runtime.all_logits(image)?.iter().map(|logits| best(logits)).collect());
    images.iter().map(image).collect()
}

/// Compares the answers of every exit.
fn compare(float: &Answers, int8: &Answers, labels: Option<&[u32]>) -> Vec<ExitCheck> {
    let (images, exits) = (float.len().max(1) as f64, float.first().map_or(0, Vec::len));
    let share = |count: usize| count as f64 / images;
    let right = |answers: &Answers, exit: usize| {
        let labels = labels?;
        let pairs = answers.iter().zip(labels);
        Some(share(pairs.filter(|(answer, label)| answer[exit] == **label as usize).count()))
    };
    let changed = |exit: usize| share(float.iter().zip(int8).filter(|(a, b)| a[exit] != b[exit]).count());
    let check = |exit: usize| ExitCheck { float: right(float, exit), int8: right(int8, exit), changed: changed(exit) };
    (0..exits).map(check).collect()
}

impl Quantiser {
    /// Measures every layer's time, and chooses layers on `images`, whose classes are `labels` if known. Times are those of
    /// this machine, on one thread.
    ///
    /// # Errors
    /// [`QuantiseError`] when a plan cannot be made or run.
    ///
    /// # Panics
    /// There are fewer labels than images.
    pub fn choose(
        &mut self,
        images: &[Vec<f32>],
        labels: Option<&[u32]>,
        options: &QuantiseOptions,
    ) -> Result<Chosen, QuantiseError> {
        let Some(image) = images.first() else {
            return Err(QuantiseError::NoImages { path: self.plan().info().path.clone() });
        };
        assert!(labels.is_none_or(|labels| labels.len() >= images.len()), "a label for each image");
        let ranged: Vec<bool> = self.layers.iter().map(|layer| layer.range.is_some()).collect();
        let all = self.plan_with(&ranged)?;
        let names = self.layers.iter().map(|layer| layer.name.as_str());
        let times = timing::operators([&self.float, &all], image, names)?;
        for (layer, [float, int8]) in self.layers.iter_mut().zip(times) {
            (layer.float_time, layer.int8_time) = (float, int8);
        }
        let first = |layer: &super::Layer| match layer.range {
            None => Verdict::NoRange,
            Some(_) if layer.int8_time.as_secs_f64() > layer.float_time.as_secs_f64() * options.layer_time => {
                Verdict::NotFaster
            }
            Some(_) => Verdict::Int8,
        };
        let verdicts: Vec<Verdict> = self.layers.iter().map(first).collect();
        let float = answers(&self.float, images)?;
        let (verdicts, exits) = self.within_tolerance(verdicts, &float, images, labels, options)?;
        let (float_time, int8_time) = (Duration::ZERO, Duration::ZERO);
        let mut chosen = Chosen { verdicts, exits, float_time, int8_time, ratio: 1.0, filters: vec![], pays: false };
        if chosen.layers() > 0 {
            chosen = self.with_filters(chosen, &float, images, labels, options)?;
            let plan = self.plan_of(&chosen)?;
            let (times, ratio) = timing::frames([&self.float, &plan], image)?;
            ([chosen.float_time, chosen.int8_time], chosen.ratio) = (times, ratio);
            chosen.pays = ratio <= options.frame_time;
        }
        Ok(chosen)
    }

    /// The same with as many rounded filters as the tolerance allows, the least harmful ones. They come last: int8 layers save time, and
    /// no layer stays float for the sake of bytes.
    fn with_filters(
        &self,
        chosen: Chosen,
        float: &Answers,
        images: &[Vec<f32>],
        labels: Option<&[u32]>,
        options: &QuantiseOptions,
    ) -> Result<Chosen, QuantiseError> {
        let (mut best, mut broken, mut kept) = (chosen, -1, self.filters.len() as isize);
        // All of them are tried first, then halves of those left.
        let mut without = 0;
        while kept - broken > 1 {
            let tried = Chosen { filters: self.filters[without as usize..].to_vec(), ..best.clone() };
            let exits = compare(float, &answers(&self.plan_of(&tried)?, images)?, labels);
            if options.allows(&exits) {
                (kept, best) = (without, Chosen { exits, ..tried });
            } else {
                broken = without;
            }
            without = (broken + kept) / 2;
        }
        Ok(best)
    }

    /// Leaves as few of the most harmful layers float as the tolerance needs: by halving, since leaving more of them is
    /// taken to be no worse.
    fn within_tolerance(
        &self,
        verdicts: Vec<Verdict>,
        float: &Answers,
        images: &[Vec<f32>],
        labels: Option<&[u32]>,
        options: &QuantiseOptions,
    ) -> Result<(Vec<Verdict>, Vec<ExitCheck>), QuantiseError> {
        let mut order: Vec<usize> = (0..verdicts.len()).filter(|at| verdicts[*at] == Verdict::Int8).collect();
        order.sort_by(|a, b| self.layers[*b].error.total_cmp(&self.layers[*a].error));
        let without = |worst: usize| {
            let mut verdicts = verdicts.clone();
            order[..worst].iter().for_each(|at| verdicts[*at] = Verdict::Accuracy);
            verdicts
        };
        let check = |worst: usize| -> Result<Vec<ExitCheck>, QuantiseError> {
            let taken: Vec<bool> = without(worst).iter().map(|verdict| *verdict == Verdict::Int8).collect();
            Ok(compare(float, &answers(&self.plan_with(&taken)?, images)?, labels))
        };
        let mut exits = check(0)?;
        if options.allows(&exits) {
            return Ok((without(0), exits));
        }
        let (mut broken, mut kept) = (0, order.len());
        exits = compare(float, float, labels);
        while kept - broken > 1 {
            let middle = (broken + kept) / 2;
            let tried = check(middle)?;
            if options.allows(&tried) { (kept, exits) = (middle, tried) } else { broken = middle }
        }
        Ok((without(kept), exits))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_compared_exit_by_exit() {
        let (float, int8) = (vec![vec![1, 2], vec![0, 2]], vec![vec![1, 1], vec![2, 2]]);
        let checks = compare(&float, &int8, Some(&[1, 2]));
        assert_eq!(checks[0], ExitCheck { float: Some(0.5), int8: Some(1.0), changed: 0.5 });
        assert_eq!(checks[1], ExitCheck { float: Some(0.5), int8: Some(1.0), changed: 0.5 });
        assert_eq!(checks[0].loss(), -0.5);
        let unlabelled = compare(&float, &int8, None);
        assert_eq!((unlabelled[1].float, unlabelled[1].loss()), (None, 0.5));
    }
}
