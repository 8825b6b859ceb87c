//! What a run came to: accuracy, exit shares, latencies, joules, beside the full network.

use std::time::Duration;

use super::Step;

/// Adds up the steps of a run.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    exits: Vec<String>,
    latencies: Vec<Vec<Duration>>,
    full_latencies: Vec<Duration>,
    labelled: u64,
    right: u64,
    full_right: u64,
    joules: f64,
    joules_full: f64,
    switches: u64,
    point: Option<usize>,
}

/// One exit's part in a run.
#[derive(Clone, Debug, PartialEq)]
pub struct ExitSummary {
    /// Its name.
    pub exit: String,
    /// Frames that left there.
    pub frames: u64,
    /// Share of all frames, in [0, 1].
    pub share: f64,
    /// Mean latency in milliseconds; `None` when no frame left there.
    pub mean_ms: Option<f64>,
    /// 95th percentile of latency in milliseconds.
    pub p95_ms: Option<f64>,
}

impl Summary {
    /// Nothing yet, for a network with these exits in order of cost.
    pub fn new(exits: &[String]) -> Self {
        Summary { exits: exits.to_vec(), latencies: vec![vec![]; exits.len()], ..Summary::default() }
    }

    /// Takes one step in.
    pub fn add(&mut self, step: &Step) {
        if let Some(latencies) = self.latencies.get_mut(step.outcome.exit) {
            latencies.push(step.outcome.latency());
        }
        if let Some(truth) = step.truth {
            self.labelled += 1;
            self.right += u64::from(step.outcome.class == truth);
            self.full_right += u64::from(step.full.as_ref().is_some_and(|full| full.class == truth));
        }
        if let Some(full) = &step.full {
            self.full_latencies.push(full.latency());
        }
        self.joules += f64::from(step.joules);
        self.joules_full += f64::from(step.joules_full);
        self.switches += u64::from(self.point.is_some_and(|point| point != step.choice.point));
        self.point = Some(step.choice.point);
    }

    /// Frames so far.
    pub fn frames(&self) -> u64 {
        self.latencies.iter().map(|l| l.len() as u64).sum()
    }

    /// Share of labelled frames answered rightly; `None` without labels.
    pub fn accuracy(&self) -> Option<f64> {
        (self.labelled > 0).then(|| self.right as f64 / self.labelled as f64)
    }

    /// The same for the full network, where it was compared.
    pub fn accuracy_full(&self) -> Option<f64> {
        (self.labelled > 0 && !self.full_latencies.is_empty()).then(|| self.full_right as f64 / self.labelled as f64)
    }

    /// Joules added to idle consumption, modelled.
    pub fn joules(&self) -> f64 {
        self.joules
    }

    /// Joules that the full network would have added, modelled.
    pub fn joules_full(&self) -> f64 {
        self.joules_full
    }

    /// How often the operating point changed.
    pub fn switches(&self) -> u64 {
        self.switches
    }

    /// Mean and 95th percentile of the latency of all frames, in milliseconds.
    pub fn latency_ms(&self) -> Option<(f64, f64)> {
        mean_and_p95(self.latencies.concat())
    }

    /// The same for the full network, where it was compared.
    pub fn latency_full_ms(&self) -> Option<(f64, f64)> {
        mean_and_p95(self.full_latencies.clone())
    }

    /// Each exit's part, in order of cost.
    pub fn exits(&self) -> Vec<ExitSummary> {
        let frames = self.frames();
        let one = |(exit, latencies): (&String, &Vec<Duration>)| {
            let times = mean_and_p95(latencies.clone());
            ExitSummary {
                exit: exit.clone(),
                frames: latencies.len() as u64,
                share: if frames > 0 { latencies.len() as f64 / frames as f64 } else { 0.0 },
                mean_ms: times.map(|(mean, _)| mean),
                p95_ms: times.map(|(_, p95)| p95),
            }
        };
        self.exits.iter().zip(&self.latencies).map(one).collect()
    }
}

/// The smallest value that at least 95 % of values do not exceed, beside the mean.
fn mean_and_p95(mut times: Vec<Duration>) -> Option<(f64, f64)> {
    times.sort_unstable();
    let rank = (times.len() * 95).div_ceil(100);
    let p95 = times.get(rank.checked_sub(1)?)?.as_secs_f64();
    // Durations add up exactly; seconds as floats do not.
    let sum = times.iter().sum::<Duration>().as_secs_f64();
    Some((1e3 * sum / times.len() as f64, 1e3 * p95))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles() {
        let times: Vec<Duration> = (1..=100).rev().map(Duration::from_millis).collect();
        let (mean, p95) = mean_and_p95(times).unwrap();
        assert!((mean - 50.5).abs() < 1e-9 && p95 == 95.0);
        assert_eq!(mean_and_p95(vec![Duration::from_millis(3)]), Some((3.0, 3.0)));
        assert_eq!(mean_and_p95(vec![]), None);
    }
}
