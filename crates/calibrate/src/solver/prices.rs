//! Prices of cost, in accuracy: the multipliers of the Lagrangian.

use crate::records::Costs;

/// Prices at which measures, ensembles and sets of exits are compared.
pub(super) const COMPARED_PRICES: usize = 12;
/// Prices at which the frontier is first sought.
const SWEPT_PRICES: usize = 64;

/// From `dear` to `cheap` in equal ratios, per unit of cost.
fn prices(costs: &Costs, count: usize, dear: f64, cheap: f64) -> impl Iterator<Item = f64> + use<> {
    let full = if costs.full() > 0.0 { costs.full() } else { 1.0 };
    (0..count).map(move |i| dear * (cheap / dear).powf(i as f64 / (count - 1).max(1) as f64) / full)
}

/// From dear to cheap; the last one is 0.
pub(super) fn compared_prices(costs: &Costs) -> impl Iterator<Item = f64> + use<> {
    prices(costs, COMPARED_PRICES - 1, 2.0, 0.02).chain([0.0])
}

/// The prices of the first sweep over the frontier, from dear to cheap; the last one is 0.
pub(super) fn swept_prices(costs: &Costs) -> impl Iterator<Item = f64> + use<> {
    prices(costs, SWEPT_PRICES, 20.0, 2e-4).chain([0.0])
}
