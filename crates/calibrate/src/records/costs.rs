//! What it costs to evaluate a set of exits.

use thiserror::Error;

use dyn_perceiver_core::exit::{CostUnit, MAX_EXITS};

/// A set of exits: bit k is exit k, exits in order of cost.
pub type ExitMask = usize;

/// Cost per frame of every set of exits, each counted once however many of the set need it.
#[derive(Clone, Debug, PartialEq)]
pub struct Costs {
    unit: CostUnit,
    exits: usize,
    /// By mask; the cost of the empty set is 0.
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
    /// A cost is negative or not finite.
    #[error("the cost of exits {} is {cost}, expected a number not below 0", exit_numbers(.mask))]
    Number {
        /// The exits.
        mask: ExitMask,
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
    #[error("exits {} cost {cost}, more than exits {} with {}", exit_numbers(.mask), exit_numbers(.with), .cost_with)]
    NotMonotone {
        /// The smaller set.
        mask: ExitMask,
        /// Its cost.
        cost: f64,
        /// The larger set.
        with: ExitMask,
        /// Its cost.
        cost_with: f64,
    },
}

fn exit_numbers(mask: &ExitMask) -> String {
    let numbers: Vec<String> = exits_of(*mask).map(|exit| (exit + 1).to_string()).collect();
    numbers.join("+")
}

/// The exits of a set, in order.
pub fn exits_of(mask: ExitMask) -> impl DoubleEndedIterator<Item = usize> {
    (0..usize::BITS as usize).filter(move |exit| mask >> exit & 1 == 1)
}

impl Costs {
    /// Costs of nested exits: to answer at exit k costs `cumulative[k]`, whichever earlier exits are evaluated.
    ///
    /// # Errors
    /// [`CostError`] when a cost is no number, or less than that of the exit before.
    pub fn cumulative(unit: CostUnit, cumulative: &[f64]) -> Result<Self, CostError> {
        Self::from_sets(unit, cumulative.len(), cumulative.iter().enumerate().map(|(exit, &cost)| (1 << exit, cost)))
    }

    /// Costs of sets of exits. Every exit on its own must be given; a set that is not given costs as much as the
    /// dearest set given that it contains.
    ///
    /// # Errors
    /// [`CostError`] when a cost is no number, that of an exit is missing, or a set costs more than one that contains it.
    pub fn from_sets(
        unit: CostUnit,
        exits: usize,
        sets: impl IntoIterator<Item = (ExitMask, f64)>,
    ) -> Result<Self, CostError> {
        let costs = Self::filled(unit, exits, sets)?;
        for mask in 1..costs.of.len() {
            for exit in (0..exits).filter(|exit| mask >> exit & 1 == 0) {
                let (cost, with) = (costs.of[mask], mask | 1 << exit);
                if costs.of[with] < cost {
                    return Err(CostError::NotMonotone { mask, cost, with, cost_with: costs.of[with] });
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
        sets: impl IntoIterator<Item = (ExitMask, f64)>,
    ) -> Result<Self, CostError> {
        let mut costs = Self::filled(unit, exits, sets)?;
        for mask in 1..costs.of.len() {
            for exit in exits_of(mask) {
                costs.of[mask] = costs.of[mask].max(costs.of[mask & !(1 << exit)]);
            }
        }
        Ok(costs)
    }

    fn filled(
        unit: CostUnit,
        exits: usize,
        sets: impl IntoIterator<Item = (ExitMask, f64)>,
    ) -> Result<Self, CostError> {
        if exits == 0 || exits > MAX_EXITS {
            return Err(CostError::Exits { exits });
        }
        let mut given = vec![None; 1 << exits];
        for (mask, cost) in sets {
            if !cost.is_finite() || cost < 0.0 {
                return Err(CostError::Number { mask, cost });
            }
            if let Some(slot) = given.get_mut(mask).filter(|_| mask != 0) {
                *slot = Some(cost);
            }
        }
        if let Some(exit) = (0..exits).find(|exit| given[1 << exit].is_none()) {
            return Err(CostError::Missing { exit });
        }
        let mut of = vec![0.0f64; 1 << exits];
        for mask in 1..of.len() {
            let parts = exits_of(mask).map(|exit| of[mask & !(1 << exit)]).fold(0.0, f64::max);
            of[mask] = given[mask].unwrap_or(parts);
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

    /// Cost of evaluating these exits. Bits beyond the last exit are ignored.
    pub fn of(&self, mask: ExitMask) -> f64 {
        self.of[mask & (self.of.len() - 1)]
    }

    /// Cost of evaluating every exit.
    pub fn full(&self) -> f64 {
        self.of(usize::MAX)
    }

    /// Every set of exits with its cost.
    pub fn sets(&self) -> impl Iterator<Item = (ExitMask, f64)> + '_ {
        self.of.iter().copied().enumerate().skip(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_not_given_cost_what_they_contain() {
        let costs = Costs::from_sets(CostUnit::Macs, 3, [(1, 2.0), (2, 3.0), (4, 5.0), (3, 4.0), (6, 7.0)]).unwrap();
        assert_eq!((costs.of(1), costs.of(3), costs.of(5), costs.of(7), costs.full()), (2.0, 4.0, 5.0, 7.0, 7.0));
        let nested = Costs::cumulative(CostUnit::Macs, &[1.0, 2.0]).unwrap();
        assert_eq!(nested.of(3), 2.0);
    }

    #[test]
    fn refuses_what_is_no_cost() {
        let sets = |sets: &[(usize, f64)]| Costs::from_sets(CostUnit::Joules, 2, sets.iter().copied());
        assert_eq!(sets(&[(1, 1.0)]), Err(CostError::Missing { exit: 1 }));
        assert!(matches!(sets(&[(1, f64::NAN), (2, 1.0)]), Err(CostError::Number { mask: 1, .. })));
        let error = sets(&[(1, 1.0), (2, 3.0), (3, 2.0)]).unwrap_err();
        assert_eq!(error.to_string(), "exits 2 cost 3, more than exits 1+2 with 2");
        assert_eq!(Costs::measured(CostUnit::Joules, 2, [(1, 1.0), (2, 3.0), (3, 2.0)]).unwrap().of(3), 3.0);
        assert_eq!(Costs::cumulative(CostUnit::Macs, &[]), Err(CostError::Exits { exits: 0 }));
    }
}
