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
    /// answer otherwise than in float. Where a single image is more than that, one may be lost if
    /// [the probabilities](ExitCheck::lost_probability) say that it was near the edge.
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

    /// Whether all exits are within the tolerance, on so many images. An accuracy is a multiple of one image: where that is more
    /// than the tolerance, an exit that lost one is judged by its probabilities, which vary less than answers.
    fn allows(&self, exits: &[ExitCheck], images: usize) -> bool {
        let one = 1.0 / images.max(1) as f64;
        exits.iter().all(|exit| {
            // Differences of shares are off by rounding.
            let one_lost = exit.loss() <= one * 1.001;
            exit.loss() <= self.tolerance || one_lost && exit.lost_probability <= self.tolerance
        })
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
    /// By how much the mean probability fell, by the logits' soft-max, that int8 gives the right class; without labels, the answer of
    /// float.
    pub lost_probability: f64,
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

/// What an exit answers an image with.
#[derive(Clone, Copy)]
struct Answer {
    class: usize,
    /// Of the right class, or where that is not known of what float answers.
    probability: f64,
}

/// Of each image, what each exit answers.
type Answers = Vec<Vec<Answer>>;

/// An exit's answer, by logits of one row.
fn answer(logits: &[f32], right: Option<usize>) -> Answer {
    let best = logits.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1));
    let (class, largest) = best.map_or((0, 0.0), |(class, logit)| (class, f64::from(*logit)));
    let odds = |class: usize| logits.get(class).map_or(0.0, |logit| (f64::from(*logit) - largest).exp());
    let probability = odds(right.unwrap_or(class)) / (0..logits.len()).map(odds).sum::<f64>();
    Answer { class, probability }
}

/// The answers of a plan to images, whose right classes are `labels`, or taken to be what `float` answers.
fn answers(
    plan: &Arc<Plan>,
    images: &[Vec<f32>],
    labels: Option<&[u32]>,
    float: Option<&Answers>,
) -> Result<Answers, RunError> {
    let classes = plan.info().classes;
    let mut runtime = Runtime::new(plan.clone())?;
    let right = |at: usize, exit: usize| match labels {
        Some(labels) => Some(labels[at] as usize),
        None => float.map(|float| float[at][exit].class),
    };
    let mut image = |(at, image): (usize, &Vec<f32>)| {
        let logits = runtime.all_logits(image)?;
        let exits = logits.iter().enumerate();
        Ok(exits.map(|(exit, logits)| answer(&logits[..classes], right(at, exit))).collect())
    };
    images.iter().enumerate().map(&mut image).collect()
}

/// Compares the answers of every exit.
fn compare(float: &Answers, int8: &Answers, labels: Option<&[u32]>) -> Vec<ExitCheck> {
    let (images, exits) = (float.len().max(1) as f64, float.first().map_or(0, Vec::len));
    let share = |count: usize| count as f64 / images;
    let right = |answers: &Answers, exit: usize| {
        let labels = labels?;
        let pairs = answers.iter().zip(labels);
        Some(share(pairs.filter(|(answer, label)| answer[exit].class == **label as usize).count()))
    };
    let pairs = || float.iter().zip(int8);
    let check = |exit: usize| ExitCheck {
        float: right(float, exit),
        int8: right(int8, exit),
        changed: share(pairs().filter(|(a, b)| a[exit].class != b[exit].class).count()),
        lost_probability: pairs().map(|(a, b)| a[exit].probability - b[exit].probability).sum::<f64>() / images,
    };
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
        let float = answers(&self.float, images, labels, None)?;
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
            let int8 = answers(&self.plan_of(&tried)?, images, labels, Some(float))?;
            let exits = compare(float, &int8, labels);
            if options.allows(&exits, images.len()) {
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
            let int8 = answers(&self.plan_with(&taken)?, images, labels, Some(float))?;
            Ok(compare(float, &int8, labels))
        };
        let mut exits = check(0)?;
        if options.allows(&exits, images.len()) {
            return Ok((without(0), exits));
        }
        let (mut broken, mut kept) = (0, order.len());
        exits = compare(float, float, labels);
        while kept - broken > 1 {
            let middle = (broken + kept) / 2;
            let tried = check(middle)?;
            if options.allows(&tried, images.len()) { (kept, exits) = (middle, tried) } else { broken = middle }
        }
        Ok((without(kept), exits))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Answers that are these classes, with these probabilities of the right one.
    fn given(answers: &[&[(usize, f64)]]) -> Answers {
        let answer = |(class, probability)| Answer { class, probability };
        answers.iter().map(|exits| exits.iter().copied().map(answer).collect()).collect()
    }

    #[test]
    fn answers_are_compared_exit_by_exit() {
        let float = given(&[&[(1, 0.5), (2, 0.25)], &[(0, 0.25), (2, 0.5)]]);
        let int8 = given(&[&[(1, 0.25), (1, 0.125)], &[(2, 1.0), (2, 0.5)]]);
        let checks = compare(&float, &int8, Some(&[1, 2]));
        let check = |lost_probability| ExitCheck { float: Some(0.5), int8: Some(1.0), changed: 0.5, lost_probability };
        assert_eq!(checks[0], check(-0.25));
        assert_eq!(checks[1], check(0.0625));
        assert_eq!(checks[0].loss(), -0.5);
        let unlabelled = compare(&float, &int8, None);
        assert_eq!((unlabelled[1].float, unlabelled[1].loss()), (None, 0.5));
    }

    #[test]
    fn probabilities_are_of_the_right_class() {
        let logits = [0.0, 2.0_f32.ln(), f32::NEG_INFINITY, 0.0];
        let found = |right| answer(&logits, right);
        assert_eq!((found(None).class, found(Some(3)).class), (1, 1));
        for (right, expected) in [(None, 0.5), (Some(0), 0.25), (Some(2), 0.0), (Some(7), 0.0)] {
            assert!((found(right).probability - expected).abs() < 1e-6, "{right:?}");
        }
    }

    #[test]
    fn of_few_images_one_may_be_lost_that_was_near_the_edge() {
        let options = QuantiseOptions::default();
        let check = |lost: f64, lost_probability| {
            let float = 150.0 / 213.0;
            [ExitCheck { float: Some(float), int8: Some(float - lost / 213.0), changed: 0.02, lost_probability }]
        };
        assert!(options.allows(&check(0.0, 0.01), 213) && options.allows(&check(-3.0, 0.01), 213));
        assert!(options.allows(&check(1.0, 0.002), 213) && !options.allows(&check(1.0, 0.004), 213));
        assert!(!options.allows(&check(2.0, 0.0), 213));
        // Of many images, one is less than the tolerance, and more of them count as they are.
        let of_many = |lost: f64| {
            let (float, int8) = (Some(0.8), Some(0.8 - lost / 10_000.0));
            [ExitCheck { float, int8, changed: 0.02, lost_probability: 0.0 }]
        };
        assert!(options.allows(&of_many(29.0), 10_000) && !options.allows(&of_many(31.0), 10_000));
    }
}
