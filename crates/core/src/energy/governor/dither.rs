//! Error-diffusion dithering between two neighbouring rungs of the ladder, with hysteresis and a rate limit.

use super::ladder::Ladder;

/// Alternates between a pair of neighbouring rungs, so that the mean of what frames cost meets a target between them.
#[derive(Clone, Debug, Default)]
pub(super) struct Dither {
    /// The lower rung of the pair.
    pair: usize,
    /// Joules that the mix of the pair has overspent so far.
    debt: f32,
}

/// How a target may be approached.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// The most rungs to move at once; none at the first decision, which goes where it wants.
    pub(super) max_rungs: Option<usize>,
    /// How far, in rungs, the target must leave the present pair before another one is mixed.
    pub(super) hysteresis: f32,
    /// Frames until the next decision.
    pub(super) frames: f32,
}

/// The rung to run until the next decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) rung: usize,
    /// Whether the target is further away than one step may go.
    pub(super) limited: bool,
}

impl Dither {
    /// Takes in that frames cost so many joules more than the mix was to spend.
    pub(super) fn overspent(&mut self, joules: f32) {
        self.debt += joules;
    }

    /// Goes to a rung at once and forgets what was overspent.
    pub(super) fn jump_to(&mut self, rung: usize) {
        *self = Dither { pair: rung, debt: 0.0 };
    }

    /// Moves towards `target`, a position on the ladder, as fast as `pace` allows and picks one rung of the pair.
    pub(super) fn move_to(&mut self, target: f32, ladder: &Ladder, pace: Pace) -> Step {
        let wanted = (target as usize).min(ladder.top().saturating_sub(1));
        let pair = self.pair as f32;
        let outside = target < pair - pace.hysteresis || target > pair + 1.0 + pace.hysteresis;
        let mut limited = false;
        match pace.max_rungs {
            None => self.pair = wanted,
            Some(most) if outside => {
                let low = self.pair.saturating_sub(most);
                let next = wanted.max(low).min(self.pair.saturating_add(most));
                limited = next != wanted;
                self.jump_to(next);
            }
            Some(_) => {}
        }
        // Error diffusion: the dear rung whenever the cheap one has saved enough. The debt is bounded so that a long time
        // at one end of the pair is not paid back later.
        let (low, high) = (ladder.rung(self.pair), ladder.rung(self.pair.saturating_add(1)));
        let share = target - self.pair as f32;
        let dear = if share >= 1.0 {
            true
        } else if share <= 0.0 {
            false
        } else {
            let aim = low.joules + share * (high.joules - low.joules);
            let bound = (high.joules - low.joules) * pace.frames;
            self.debt = self.debt.max(-bound).min(bound);
            // What the next dwell would add: whichever rung leaves the smaller debt.
            let after = |joules: f32| (self.debt + (joules - aim) * pace.frames).abs();
            after(high.joules) < after(low.joules)
        };
        if share >= 1.0 || share <= 0.0 {
            self.debt = 0.0;
        }
        let rung = if dear { self.pair.saturating_add(1).min(ladder.top()) } else { self.pair };
        Step { rung, limited }
    }
}

#[cfg(test)]
mod tests {
    use super::super::ladder::tests::{frontier, power};
    use super::*;

    /// Rungs of 1, 5.5 and 10 J.
    fn ladder() -> Ladder {
        Ladder::new(&frontier(&[(0.0, 0.5), (0.5, 0.8), (1.0, 0.9)]), &power()).unwrap()
    }

    const PACE: Pace = Pace { max_rungs: Some(1), hysteresis: 0.25, frames: 10.0 };

    #[test]
    fn dither_meets_a_target_between_two_rungs() {
        let (ladder, mut dither) = (ladder(), Dither::default());
        let mut joules = 0.0;
        for _ in 0..400 {
            let cost = ladder.rung(dither.move_to(0.25, &ladder, PACE).rung).joules;
            joules += cost * PACE.frames;
            dither.overspent((cost - ladder.joules_at(0.25)) * PACE.frames);
        }
        assert!((joules / 4000.0 - ladder.joules_at(0.25)).abs() < 0.02, "{}", joules / 4000.0);
    }

    #[test]
    fn dither_moves_as_fast_as_allowed_but_at_once_at_the_first_decision() {
        let (ladder, mut dither) = (ladder(), Dither::default());
        let first = Pace { max_rungs: None, ..PACE };
        assert_eq!(dither.clone().move_to(2.0, &ladder, first), Step { rung: 2, limited: false });
        assert!(!dither.move_to(1.2, &ladder, PACE).limited, "within the hysteresis of the pair");
        let mut wide = Dither::default();
        assert_eq!(wide.move_to(2.0, &ladder, Pace { max_rungs: Some(0), ..PACE }), Step { rung: 1, limited: true });
        wide.jump_to(1);
        assert_eq!(wide.move_to(2.0, &ladder, PACE), Step { rung: 2, limited: false });
    }
}
