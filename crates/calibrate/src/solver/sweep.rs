//! The sweep of the Dynamic Perceiver authors, as the baseline to beat.

use dyn_perceiver_core::exit::{ExitPolicy, Measure, PolicyError};

use crate::records::Records;

/// How many ratios between the shares of successive exits are tried.
const RATIOS: usize = 40;
/// What the authors scale the shares of the first three of four exits by.
const SCALES: [f64; 3] = [0.85, 1.0, 0.5];

/// The policies of the authors' sweep: confidence is the largest soft-max probability, every exit is evaluated, and the
/// threshold of an exit is the quantile of confidence among the samples that have not left yet at which a wanted share of
/// all samples leaves. Shares are proportional to `ratio^exit` for 40 ratios from 0.05 to 2, those of the first three of
/// four exits scaled by 0.85, 1 and 0.5; what is left goes to the last exit.
///
/// # Errors
/// [`PolicyError`] when the records have no exits or too many.
pub fn quantile_sweep(records: &Records, rows: &[u32]) -> Result<Vec<ExitPolicy>, PolicyError> {
    (1..=RATIOS).map(|step| with_shares(records, rows, &shares(records.exits().len(), step as f64 / 20.0))).collect()
}

/// Shares for one ratio, summing to at most 1; the last exit takes the rest.
fn shares(exits: usize, ratio: f64) -> Vec<f64> {
    let raw: Vec<f64> = (1..=exits as i32).map(|exit| ratio.powi(exit)).collect();
    let total: f64 = raw.iter().sum();
    let scale = |exit: usize| if exits == 4 { SCALES.get(exit).copied().unwrap_or(1.0) } else { 1.0 };
    raw.iter().enumerate().map(|(exit, share)| share / total * scale(exit)).collect()
}

fn with_shares(records: &Records, rows: &[u32], shares: &[f64]) -> Result<ExitPolicy, PolicyError> {
    let exits = records.exits().len();
    let mut left = rows.to_vec();
    let mut thresholds = Vec::with_capacity(exits);
    for (exit, share) in shares.iter().enumerate().take(exits.saturating_sub(1)) {
        let confidence = |row: u32| records.readings(row)[exit].confidence[Measure::MaxSoftmax as usize];
        let mut sorted: Vec<f32> = left.iter().map(|&row| confidence(row)).collect();
        sorted.sort_unstable_by(|a, b| b.total_cmp(a));
        let wanted = (share * rows.len() as f64) as usize;
        // With nothing wanted, only what nothing can be surer than leaves.
        let threshold = wanted.checked_sub(1).and_then(|i| sorted.get(i.min(sorted.len().saturating_sub(1))));
        let threshold = threshold.copied().unwrap_or(1.0);
        left.retain(|&row| confidence(row) < threshold);
        thresholds.push(threshold);
    }
    ExitPolicy::with_thresholds(Measure::MaxSoftmax, exits, &thresholds)
}
