//! Which runtime has which colour and shape: the same on the whole page.

use super::contest::OURS;
use super::plot::Style;
use crate::runs::Measured;

/// Runtimes in a fixed order, ours first.
#[derive(Clone, Debug)]
pub(super) struct Styles {
    runtimes: Vec<String>,
}

impl Styles {
    /// For all runtimes of some runs.
    pub(super) fn new(runs: &[Measured]) -> Self {
        let named = runs.iter().flat_map(|measured| {
            (measured.times.iter().map(|time| &time.runtime))
                .chain(measured.loads.iter().map(|load| &load.runtime))
                .chain(measured.frontiers.iter().flat_map(|f| f.points.iter().map(|point| &point.runtime)))
        });
        let mut runtimes: Vec<String> = named.cloned().collect();
        runtimes.sort_by_key(|runtime| (runtime != OURS, runtime.clone()));
        runtimes.dedup();
        Self { runtimes }
    }

    /// Of one runtime.
    pub(super) fn of(&self, runtime: &str) -> Style {
        Style::of(self.runtimes.iter().position(|other| other == runtime).unwrap_or(self.runtimes.len()))
    }
}
