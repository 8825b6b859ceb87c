//! Ratios of series that were taken in turns.

/// Median and quartiles of the ratios of round i to round i.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ratio {
    pub low: f64,
    pub median: f64,
    pub high: f64,
}

/// Round by round `a` over `b`; none where either has no rounds.
pub fn pairwise(a: &[f64], b: &[f64]) -> Option<Ratio> {
    let ratios: Vec<f64> = a.iter().zip(b).map(|(a, b)| a / b).collect();
    let [low, median, high] = quartiles(&ratios)?;
    Some(Ratio { low, median, high })
}

/// Lower quartile, median and upper quartile, between neighbours in proportion; none of nothing.
pub fn quartiles(values: &[f64]) -> Option<[f64; 3]> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let last = sorted.len().checked_sub(1)?;
    Some([0.25, 0.5, 0.75].map(|share| {
        let place = share * last as f64;
        let (below, above) = (place.floor() as usize, place.ceil() as usize);
        sorted[below] + (sorted[above] - sorted[below]) * (place - below as f64)
    }))
}
