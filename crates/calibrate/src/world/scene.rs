//! What the camera sees: hard and easy spells, and what each policy makes of a frame of either.

use dyn_perceiver_core::energy::{Ladder, PowerModel};
use dyn_perceiver_core::exit::Frontier;

use crate::evaluate::{ReplayError, replay};
use crate::records::Records;

/// What one operating point makes of a frame.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Made {
    /// Mean joules by the power model, and their standard deviation.
    pub(super) joules: f64,
    pub(super) spread: f64,
    /// Share answered rightly.
    pub(super) right: f64,
}

/// Operating points by kind of spell: hard, easy.
#[derive(Clone, Debug)]
pub(super) struct Scene {
    pub(super) points: Vec<[Made; 2]>,
    /// Points on the ladder.
    pub(super) rungs: Vec<usize>,
}

/// Share of a spell's frames that are of its kind.
const PURITY: f64 = 0.8;

impl Scene {
    /// Replays every point on `rows` of the records, which are sorted. The half of which the first exit is less sure is the
    /// hard one.
    pub(super) fn new(
        records: &Records,
        rows: &[u32],
        frontier: &Frontier,
        power: &PowerModel,
        ladder: &Ladder,
    ) -> Result<Self, ReplayError> {
        let sure = |row: &u32| records.readings(*row).iter().filter_map(|r| r.confidence.first()).sum::<f32>();
        let mut order: Vec<usize> = (0..rows.len()).collect();
        order.sort_by(|a, b| sure(&rows[*a]).total_cmp(&sure(&rows[*b])));
        let (hard, easy) = order.split_at(rows.len() / 2);
        let mut points = Vec::new();
        for point in frontier.points() {
            let outcomes = replay(&point.policy, records, rows)?;
            let half = |part: &[usize]| {
                let n = part.len().max(1) as f64;
                let joules = |i: &usize| f64::from(power.policy_joules(&point.policy, outcomes[*i].exit.into()));
                let mean = part.iter().map(joules).sum::<f64>() / n;
                let square = part.iter().map(|i| joules(i).powi(2)).sum::<f64>() / n;
                let right = part.iter().filter(|i| outcomes[**i].right).count() as f64 / n;
                Made { joules: mean, spread: (square - mean * mean).max(0.0).sqrt(), right }
            };
            let (hard, easy) = (half(hard), half(easy));
            let mix = |a: Made, b: Made| Made {
                joules: PURITY * a.joules + (1.0 - PURITY) * b.joules,
                spread: PURITY * a.spread + (1.0 - PURITY) * b.spread,
                right: PURITY * a.right + (1.0 - PURITY) * b.right,
            };
            points.push([mix(hard, easy), mix(easy, hard)]);
        }
        Ok(Scene { points, rungs: ladder.rungs().iter().map(|rung| rung.point).collect() })
    }

    /// What a point makes of a frame of a spell.
    pub(super) fn made(&self, point: usize, easy: bool) -> Made {
        self.points.get(point).map_or(Made::default(), |kinds| kinds[usize::from(easy)])
    }

    /// What a point makes of a frame on average.
    pub(super) fn mean(&self, point: usize) -> Made {
        let (hard, easy) = (self.made(point, false), self.made(point, true));
        let middle = |a: f64, b: f64| (a + b) / 2.0;
        Made {
            joules: middle(hard.joules, easy.joules),
            spread: middle(hard.spread, easy.spread),
            right: middle(hard.right, easy.right),
        }
    }
}
