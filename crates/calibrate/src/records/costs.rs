//! What it costs to evaluate a set of exits.

use thiserror::Error;

use dyn_perceiver_core::exit::{CostUnit, ExitPolicy, MAX_EXITS};

use super::exit_set::ExitSet;

/// Cost per frame of every set of exits: work that several exits share is counted once.
///
/// # Examples
/// ```
/// use dyn_perceiver_calibrate::records::{Costs, ExitSet};
/// use dyn_perceiver_core::exit::CostUnit;
///
/// // Two exits: the second costs 6 MACs alone, and 8 where the first is evaluated on the way.
/// let sets = [(ExitSet::only(0), 4.0), (ExitSet::only(1), 6.0), (ExitSet::first(2), 8.0)];
/// let costs = Costs::from_sets(CostUnit::Macs, 2, sets)?;
/// assert_eq!(costs.of(ExitSet::only(1)), 6.0);
/// assert_eq!(costs.full(), 8.0);
/// # Ok::<(), dyn_perceiver_calibrate::records::CostError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Costs {
    unit: CostUnit,
    exits: usize,
    /// By the index of the set; the cost of the empty set is 0.
    of: Vec<f64>,
}

/// Why numbers cannot be the costs of a network's exits. Exits are counted from 1 in the text.
#[derive(Clone, Debug, PartialEq, Error)]
#[non_exhaustive]
pub enum CostError {
    /// A network has between 1 and [`MAX_EXITS`] exits.
    #[error("costs for {exits} exits, expected 1 to {MAX_EXITS}")]
    Exits {
        /// How many there are.
        exits: usize,
    },
    /// The costs are of a network with another number of exits than the records.
    #[error("costs for {costs} exits, but the records have {records}")]
    OtherExits {
        /// Exits of the costs.
        costs: usize,
        /// Exits of the records.
        records: usize,
    },
    /// A cost is negative or not finite.
    #[error("the cost of exits {set} is {cost}, expected a number not below 0")]
    Number {
        /// The exits.
        set: ExitSet,
        /// What was given.
        cost: f64,
    },
    /// The cost of an exit on its own is missing.
    #[error("the cost of exit {} is missing", exit + 1)]
    Missing {
        /// The exit, from 0.
        exit: usize,
    },
    /// A set of exits costs more than the same exits with another one.
    #[error("exits {set} cost {cost}, more than exits {with} with {cost_with}")]
    NotMonotone {
        /// The smaller set.
        set: ExitSet,
        /// Its cost.
        cost: f64,
        /// The larger set.
        with: ExitSet,
        /// Its cost.
        cost_with: f64,
    },
}

impl Costs {
    /// Costs of nested exits: to answer at exit k costs `cumulative[k]`, whichever earlier exits are evaluated.
    ///
    /// # Errors
    /// [`CostError`] when a cost is no number, or less than that of the exit before.
    pub fn cumulative(unit: CostUnit, cumulative: &[f64]) -> Result<Self, CostError> {
        let sets = cumulative.iter().enumerate().map(|(exit, &cost)| (ExitSet::only(exit), cost));
        Self::from_sets(unit, cumulative.len(), sets)
    }

    /// Costs of sets of exits. Every exit on its own must be given; a set that is not given costs as much as the
    /// dearest set given that it contains.
    ///
    /// # Errors
    /// [`CostError`] when a cost is no number, that of an exit is missing, or a set costs more than one that contains it.
    pub fn from_sets(
        unit: CostUnit,
        exits: usize,
        sets: impl IntoIterator<Item = (ExitSet, f64)>,
    ) -> Result<Self, CostError> {
        let costs = Self::filled(unit, exits, sets)?;
        for (set, cost) in costs.sets() {
            for exit in (0..exits).filter(|&exit| !set.contains(exit)) {
                let with = set.with(exit);
                let cost_with = costs.of(with);
                if cost_with < cost {
                    return Err(CostError::NotMonotone { set, cost, with, cost_with });
                }
            }
        }
        Ok(costs)
    }

    /// As [`Costs::from_sets`], for costs that were measured: where noise makes a set cheaper than a part of it, it
    /// counts as dear as that part.
    ///
    /// # Errors
    /// [`CostError`] when a cost is no number, or that of an exit is missing.
    pub fn measured(
        unit: CostUnit,
        exits: usize,
        sets: impl IntoIterator<Item = (ExitSet, f64)>,
    ) -> Result<Self, CostError> {
        let mut costs = Self::filled(unit, exits, sets)?;
        for set in ExitSet::every(exits) {
            let parts = dearest_part(&costs.of, set);
            let cost = &mut costs.of[set.index()];
            *cost = cost.max(parts);
        }
        Ok(costs)
    }

    fn filled(unit: CostUnit, exits: usize, sets: impl IntoIterator<Item = (ExitSet, f64)>) -> Result<Self, CostError> {
        if exits == 0 || exits > MAX_EXITS {
            return Err(CostError::Exits { exits });
        }
        let mut given = vec![None; 1 << exits];
        for (set, cost) in sets {
            if !cost.is_finite() || cost < 0.0 {
                return Err(CostError::Number { set, cost });
            }
            if let Some(slot) = given.get_mut(set.index()).filter(|_| !set.is_empty()) {
                *slot = Some(cost);
            }
        }
        if let Some(exit) = (0..exits).find(|&exit| given[ExitSet::only(exit).index()].is_none()) {
            return Err(CostError::Missing { exit });
        }
        let mut of = vec![0.0f64; 1 << exits];
        for set in ExitSet::every(exits) {
            of[set.index()] = given[set.index()].unwrap_or_else(|| dearest_part(&of, set));
        }
        Ok(Costs { unit, exits, of })
    }

    /// What costs are counted in.
    pub fn unit(&self) -> CostUnit {
        self.unit
    }

    /// Number of exits.
    pub fn exits(&self) -> usize {
        self.exits
    }

    /// Cost of evaluating these exits. Exits that the network does not have cost nothing.
    pub fn of(&self, set: ExitSet) -> f64 {
        self.of[set.index() & (self.of.len() - 1)]
    }

    /// Cost of evaluating every exit.
    pub fn full(&self) -> f64 {
        self.of(ExitSet::first(self.exits))
    }

    /// Cost of a frame for which `policy` left at `exit`.
    pub fn of_policy(&self, policy: &ExitPolicy, exit: usize) -> f64 {
        self.of(ExitSet::evaluated_by(policy).up_to(exit))
    }

    /// Every set of exits with its cost.
    pub fn sets(&self) -> impl Iterator<Item = (ExitSet, f64)> + '_ {
        ExitSet::every(self.exits).map(|set| (set, self.of(set)))
    }

    /// The share that each stage has of the cost of the whole network, and the share that leaving its exit out saves.
    pub fn stage_shares(&self) -> Vec<(f64, f64)> {
        let full = if self.full() > 0.0 { self.full() } else { 1.0 };
        (0..self.exits)
            .map(|exit| {
                let stage = (self.of(ExitSet::first(exit + 1)) - self.of(ExitSet::first(exit))) / full;
                // The last exit cannot be left out in favour of a later one.
                let last = exit + 1 == self.exits;
                let saved = (self.full() - self.of(ExitSet::first(self.exits).without(exit))) / full;
                let exclusive = if last { 0.0 } else { saved.clamp(0.0, stage.max(0.0)) };
                (stage.max(0.0), exclusive)
            })
            .collect()
    }
}

/// The cost of the dearest set that lacks one exit of `set`.
fn dearest_part(of: &[f64], set: ExitSet) -> f64 {
    set.iter().map(|exit| of[set.without(exit).index()]).fold(0.0, f64::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sets(sets: &[(&[usize], f64)]) -> Vec<(ExitSet, f64)> {
        sets.iter().map(|(exits, cost)| (exits.iter().copied().collect(), *cost)).collect()
    }

    #[test]
    fn costs_of_sets_not_given_are_those_of_what_they_contain() {
        let given = sets(&[(&[0], 2.0), (&[1], 3.0), (&[2], 5.0), (&[0, 1], 4.0), (&[1, 2], 7.0)]);
        let costs = Costs::from_sets(CostUnit::Macs, 3, given).unwrap();
        let of = |exits: &[usize]| costs.of(exits.iter().copied().collect());
        assert_eq!((of(&[0]), of(&[0, 1]), of(&[0, 2]), of(&[0, 1, 2])), (2.0, 4.0, 5.0, 7.0));
        assert_eq!(costs.full(), 7.0);
        let nested = Costs::cumulative(CostUnit::Macs, &[1.0, 2.0]).unwrap();
        assert_eq!(nested.full(), 2.0);
    }

    #[test]
    fn costs_that_are_none_are_refused() {
        let joules = |given: &[(&[usize], f64)]| Costs::from_sets(CostUnit::Joules, 2, sets(given));
        assert_eq!(joules(&[(&[0], 1.0)]), Err(CostError::Missing { exit: 1 }));
        let first = ExitSet::only(0);
        assert!(matches!(joules(&[(&[0], f64::NAN), (&[1], 1.0)]), Err(CostError::Number { set, .. }) if set == first));
        let noisy: &[(&[usize], f64)] = &[(&[0], 1.0), (&[1], 3.0), (&[0, 1], 2.0)];
        assert_eq!(joules(noisy).unwrap_err().to_string(), "exits 2 cost 3, more than exits 1+2 with 2");
        assert_eq!(Costs::measured(CostUnit::Joules, 2, sets(noisy)).unwrap().full(), 3.0);
        assert_eq!(Costs::cumulative(CostUnit::Macs, &[]), Err(CostError::Exits { exits: 0 }));
    }

    #[test]
    fn stage_shares_add_up_even_where_nothing_costs() {
        let given = sets(&[(&[0], 4.0), (&[1], 6.0), (&[0, 1], 8.0)]);
        let shares = Costs::from_sets(CostUnit::Macs, 2, given).unwrap().stage_shares();
        assert_eq!(shares, [(0.5, 0.25), (0.5, 0.0)]);
        assert_eq!(Costs::cumulative(CostUnit::Macs, &[0.0]).unwrap().stage_shares(), [(0.0, 0.0)]);
    }
}
