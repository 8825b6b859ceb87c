//! Policies whose accuracy loss is limited with a stated confidence: Learn-then-Test (Angelopoulos et al., 2021).

mod evidence;

use dyn_perceiver_core::exit::{
    ExitPolicy, ExitRule, Frontier, FrontierError, Guarantee, Measure, OperatingPoint, PolicyError,
};
use thiserror::Error;

use crate::evaluate::{PolicySummary, ReplayError, SampleOutcome, replay};
use crate::random::split;
use crate::records::Records;
use crate::solver::{SolveError, SolveOptions, Solved, increasing, solve};
use crate::{betting, binomial};

pub use evidence::CertifiableCost;

/// What is counted to certify a limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum LossTest {
    /// Frames that the whole network answers rightly and the policy does not, by the exact binomial test. Their share bounds the
    /// loss of accuracy, and is a limit on changed answers, too.
    #[default]
    Lost,
    /// Those less the frames that only the policy answers rightly, by a betting test: the loss of accuracy itself.
    Paired,
}

impl LossTest {
    /// The name used on the command line and in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            LossTest::Lost => "lost",
            LossTest::Paired => "paired",
        }
    }
}

/// A limit on the accuracy that may be lost against the whole network, and with what confidence it is kept.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limit {
    max_loss: f64,
    confidence: f64,
    test: LossTest,
}

impl Limit {
    /// At most `max_loss` of accuracy lost, with this confidence; both are shares strictly between 0 and 1.
    ///
    /// # Errors
    /// [`GuaranteeError::Limit`].
    pub fn new(max_loss: f64, confidence: f64) -> Result<Self, GuaranteeError> {
        let open = |x: f64| x > 0.0 && x < 1.0;
        if !open(max_loss) || !open(confidence) {
            return Err(GuaranteeError::Limit { max_loss, confidence });
        }
        Ok(Limit { max_loss, confidence, test: LossTest::Lost })
    }

    /// The same limit, certified by another test.
    #[must_use]
    pub const fn by(self, test: LossTest) -> Self {
        Limit { test, ..self }
    }

    /// What is counted.
    pub const fn test(&self) -> LossTest {
        self.test
    }

    /// Accuracy that may be lost against the whole network on its own, in (0, 1).
    pub fn max_loss(&self) -> f64 {
        self.max_loss
    }

    /// With what confidence, in (0, 1).
    pub fn confidence(&self) -> f64 {
        self.confidence
    }

    /// Samples without which nothing at all can be certified: the least n for which n samples without a loss are
    /// unlikely enough; for the exact test (1 - max_loss)^n <= 1 - confidence.
    pub fn samples_needed(&self) -> usize {
        let exact = ((1.0 - self.confidence).ln() / (1.0 - self.max_loss).ln()).ceil() as usize;
        match self.test {
            LossTest::Lost => exact,
            // More than the exact test needs, by what the bets other than the largest cost.
            LossTest::Paired => {
                let (mut low, mut high) = (0, exact.max(1));
                while !self.certifies(0, high) {
                    (low, high) = (high, 2 * high);
                }
                while low + 1 < high {
                    let middle = low.midpoint(high);
                    if self.certifies(0, middle) { high = middle } else { low = middle }
                }
                high
            }
        }
    }

    /// Samples with which a policy that really loses at a rate of `rate` can be expected to be certified; none when the
    /// rate is not below the limit.
    pub fn samples_needed_at(&self, rate: f64) -> Option<usize> {
        if rate >= self.max_loss {
            return None;
        }
        let certified = |n: usize| self.certifies((rate * n as f64).ceil() as usize, n);
        let mut high = self.samples_needed();
        while !certified(high) {
            high = high.checked_mul(2).filter(|&n| n < 1 << 40)?;
        }
        let mut low = high / 2;
        while low + 1 < high {
            let middle = low.midpoint(high);
            if certified(middle) { high = middle } else { low = middle }
        }
        Some(high)
    }

    /// Whether so few losses among so many samples let one say, with this confidence, that the limit is kept.
    pub fn certifies(&self, losses: usize, samples: usize) -> bool {
        self.certifies_pairs(losses, 0, samples)
    }

    /// The same with so many samples that only the policy answers rightly, which the paired test counts against the losses.
    pub fn certifies_pairs(&self, losses: usize, gains: usize, samples: usize) -> bool {
        let left = 1.0 - self.confidence;
        match self.test {
            LossTest::Lost => binomial::tail(losses, samples, self.max_loss) <= left,
            LossTest::Paired => betting::log_fortune(losses, gains, samples, self.max_loss) >= -left.ln(),
        }
    }

    /// How much a policy loses by what is counted.
    fn counted(&self, (lost, gained): (usize, usize)) -> i64 {
        match self.test {
            LossTest::Lost => lost as i64,
            LossTest::Paired => lost as i64 - gained as i64,
        }
    }
}

/// Why nothing can be guaranteed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum GuaranteeError {
    /// A limit must lie strictly between 0 and 1, and so must the confidence.
    #[error("maximum loss {max_loss} and confidence {confidence} must lie between 0 and 1")]
    Limit {
        /// The loss asked for.
        max_loss: f64,
        /// The confidence asked for.
        confidence: f64,
    },
    /// With so few samples nothing can be certified.
    #[error(
        "no policy can be certified with {samples} samples: at least {needed} are needed, half of them to find policies and half to test them"
    )]
    TooFewSamples {
        /// Samples given.
        samples: usize,
        /// Samples needed, at least.
        needed: usize,
    },
    /// Solving failed.
    #[error(transparent)]
    Solve(#[from] SolveError),
    /// A policy cannot be replayed on the records.
    #[error(transparent)]
    Replay(#[from] ReplayError),
    /// A policy that was found is not valid.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// The certified points are not a valid frontier.
    #[error(transparent)]
    Frontier(#[from] FrontierError),
}

/// A frontier of certified points.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Certified {
    /// The points; the cheapest of them is the cheapest policy that could be certified.
    pub frontier: Frontier,
    /// What holds for all of them together.
    pub guarantee: Guarantee,
    /// The frontier they were chosen from, found on the other half of the samples.
    pub solved: Solved,
    /// The kinds of evidence compared, where there was a choice; the chosen one's are `solved`'s.
    pub evidence: Vec<CertifiableCost>,
    /// For the cheapest policy that was not certified: samples with which it could be, if its losses stay as they are.
    pub more_samples: Option<usize>,
}

/// Finds policies on one half of `rows` and certifies on the other half those whose accuracy is at most
/// `limit.max_loss` below that of the whole network, the last exit on its own.
///
/// A sample counts as lost when the whole network is right and the policy wrong, so the rate of losses bounds the loss
/// of accuracy; with [`LossTest::Paired`] those gained are counted against them. Policies are tested from the safest on the
/// first half to the loosest, each at the full level, and testing stops at the first that fails (fixed-sequence testing): with the stated confidence, all
/// that passed keep the limit, and so does any mix of them.
///
/// Which confidence measure and ensemble the policies use is chosen by what can be expected to be certified at the least cost, on the
/// half that they are found on. The half that tests them has no part in the choice, so that the confidence is what it is without one.
///
/// # Errors
/// [`GuaranteeError`]; when there are too few samples to certify anything, how many are needed.
///
/// # Examples
/// ```
/// use dyn_perceiver_calibrate::certify::{Limit, certify};
/// use dyn_perceiver_calibrate::records::Synthetic;
/// use dyn_perceiver_calibrate::solver::{EnsembleKind, SolveOptions};
///
/// let records = Synthetic::four_exits().records(2000, 1)?;
/// let limit = Limit::new(0.05, 0.9)?;
/// let options = SolveOptions::default().with_ensembles([EnsembleKind::Own]);
/// let certified = certify(&records, &records.rows(), limit, &options)?;
/// let cheapest = &certified.frontier.points()[0];
/// println!("{:.0} MACs lose at most 5 % of accuracy, with 90 % confidence", cheapest.cost);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn certify(
    records: &Records,
    rows: &[u32],
    limit: Limit,
    options: &SolveOptions,
) -> Result<Certified, GuaranteeError> {
    let (fit, test) = split(rows, 0.5, options.seed);
    let needed = limit.samples_needed();
    if test.len() < needed || fit.is_empty() {
        return Err(GuaranteeError::TooFewSamples { samples: rows.len(), needed: 2 * needed });
    }
    let evidence = evidence::compare(records, &fit, test.len(), limit, options)?;
    let options = evidence::options_of(evidence::best(&evidence), options);
    let solved = solve(records, &fit, &options)?;
    let sequence = Sequence::new(records, &fit, &solved, limit)?;
    let (passed, failed) = sequence.test(records, &test, test.len(), limit)?;
    let more_samples = failed.and_then(|counts| {
        let rate = limit.counted(counts).max(0) as f64 / fit.len() as f64;
        limit.samples_needed_at(rate).map(|n| 2 * n)
    });
    let frontier = Frontier::new(records.costs().unit(), &increasing(passed))?;
    let guarantee = Guarantee::new(limit.max_loss as f32, limit.confidence as f32, test.len() as u32);
    Ok(Certified { frontier, guarantee, solved, evidence, more_samples })
}

/// Samples lost and gained against the whole network.
type Counts = (usize, usize);

/// Policies in the order in which they are tested: the whole network first, then the safest on the samples they were found on, the
/// dearer on a tie.
struct Sequence {
    whole: ExitPolicy,
    /// Each with what it lost and gained there.
    points: Vec<(Counts, OperatingPoint)>,
}

impl Sequence {
    /// The points that were found on `fit`, in order.
    fn new(records: &Records, fit: &[u32], solved: &Solved, limit: Limit) -> Result<Self, GuaranteeError> {
        let exits = records.exits().len();
        let last = exits.saturating_sub(1);
        let is_last = |exit| exit == last;
        // Of the frontier's measure, whose confidence its calibration is of.
        let measure = solved.frontier.points().first().map_or(Measure::default(), |point| point.policy.measure());
        let alone = (0..exits).map(|exit| if is_last(exit) { ExitRule::Leave(0.0) } else { ExitRule::Skip });
        let whole = ExitPolicy::new(measure, &alone.collect::<Vec<_>>())?;

        let on_fit = PolicySummary::of(&whole, records.costs(), &replay(&whole, records, fit)?);
        let shares: Vec<f32> = (0..exits).map(|exit| if is_last(exit) { 1.0 } else { 0.0 }).collect();
        let whole_point = OperatingPoint::new(whole.clone(), on_fit.accuracy as f32, on_fit.cost as f32, &shares)
            .map_err(PolicyError::from)?;
        // The whole network itself loses nothing.
        let mut sequence = Sequence { whole, points: vec![((0, 0), whole_point)] };
        let reference = replay(&sequence.whole, records, fit)?;
        for point in solved.frontier.points() {
            let counts = pairs(&reference, &replay(&point.policy, records, fit)?);
            sequence.points.push((counts, point.clone()));
        }
        sequence.points[1..]
            .sort_by(|(a, p), (b, q)| limit.counted(*a).cmp(&limit.counted(*b)).then(q.cost.total_cmp(&p.cost)));
        Ok(sequence)
    }

    /// The points that pass on `rows`, until the first that does not, and what that one came to where it was found. Where there are
    /// not `samples` of them, what is counted is taken for so many.
    fn test(
        &self,
        records: &Records,
        rows: &[u32],
        samples: usize,
        limit: Limit,
    ) -> Result<(Vec<OperatingPoint>, Option<Counts>), GuaranteeError> {
        let scaled = |count: usize| (count as f64 * samples as f64 / rows.len().max(1) as f64).round() as usize;
        let reference = replay(&self.whole, records, rows)?;
        let mut passed = vec![];
        for (on_fit, point) in &self.points {
            let (losses, gains) = pairs(&reference, &replay(&point.policy, records, rows)?);
            if !limit.certifies_pairs(scaled(losses), scaled(gains), samples) {
                return Ok((passed, Some(*on_fit)));
            }
            passed.push(point.clone());
        }
        Ok((passed, None))
    }
}

/// What a policy lost and gained against the reference.
fn pairs(reference: &[SampleOutcome], other: &[SampleOutcome]) -> Counts {
    (lost(reference, other), lost(other, reference))
}

/// Samples about which the reference is right and the other wrong.
fn lost(reference: &[SampleOutcome], other: &[SampleOutcome]) -> usize {
    reference.iter().zip(other).filter(|(r, o)| r.right && !o.right).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::records::Synthetic;

    #[test]
    fn certify_tells_how_many_samples_are_needed() {
        let limit = Limit::new(0.01, 0.95).unwrap();
        assert_eq!(limit.samples_needed(), 299);
        assert!(limit.certifies(0, 299) && !limit.certifies(0, 298));
        assert_eq!(limit.samples_needed_at(0.0), Some(299));
        assert_eq!(limit.samples_needed_at(0.01), None);
        let n = limit.samples_needed_at(0.005).unwrap();
        assert!((500..2000).contains(&n), "{n}");
        let records = Synthetic::four_exits().records(500, 1).unwrap();
        let error = certify(&records, &records.rows(), limit, &SolveOptions::default()).unwrap_err();
        assert!(error.to_string().contains("500") && error.to_string().contains("598"), "{error}");
        let paired = limit.by(LossTest::Paired);
        let needed = paired.samples_needed();
        assert!(needed > 299 && paired.certifies(0, needed) && !paired.certifies(0, needed - 1), "{needed}");
        assert!(paired.certifies_pairs(60, 60, 5000) && !limit.certifies_pairs(60, 60, 5000));
        for (max_loss, confidence) in [(0.0, 0.9), (1.0, 0.9), (0.1, 0.0), (0.1, f64::NAN)] {
            assert!(matches!(Limit::new(max_loss, confidence), Err(GuaranteeError::Limit { .. })));
        }
    }
}
