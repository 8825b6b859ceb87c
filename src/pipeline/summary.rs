//! What a run came to: accuracy, exit shares, latencies, joules, beside the full network.

use super::latencies::Latencies;
use super::{HeldBy, Step};

/// Adds up the steps of a run, in memory that does not grow with them.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    exits: Vec<String>,
    latencies: Vec<Latencies>,
    full_latencies: Latencies,
    reused: u64,
    gated: u64,
    boxes: u64,
    changes: u64,
    resets: u64,
    macs: u64,
    reused_by_code: u64,
    labelled: u64,
    full_labelled: u64,
    right: u64,
    full_right: u64,
    joules: f64,
    joules_full: f64,
    switches: u64,
    point: Option<usize>,
}

/// One exit's part in a run.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct ExitSummary {
    /// Its name.
    pub exit: String,
    /// Frames that left there.
    pub frames: u64,
    /// Share of the frames that went through the network, in [0, 1].
    pub share: f64,
    /// Mean latency in milliseconds; `None` when no frame left there.
    pub mean_ms: Option<f64>,
    /// 95th percentile of latency in milliseconds, to within 1 %.
    pub p95_ms: Option<f64>,
}

impl Summary {
    /// Nothing yet, for a network with these exits in order of cost.
    pub fn new(exits: &[String]) -> Self {
        Summary { exits: exits.to_vec(), latencies: vec![Latencies::default(); exits.len()], ..Summary::default() }
    }

    /// Takes one step in.
    pub fn add(&mut self, step: &Step) {
        if let Some(held_by) = step.held_by {
            self.reused += 1;
            self.reused_by_code += u64::from(held_by == HeldBy::Code);
        } else if let Some(latencies) = self.latencies.get_mut(step.outcome.exit) {
            latencies.add(step.outcome.latency());
        }
        if let Some(found) = &step.found {
            self.gated += u64::from(found.gated_at.is_some() && step.held_by.is_none());
            self.boxes += found.boxes.len() as u64;
        }
        if let Some(video) = &step.video {
            self.changes += u64::from(video.frame.changed);
            self.resets += u64::from(video.reset.is_some());
        }
        if let Some(truth) = step.truth {
            self.labelled += 1;
            self.right += u64::from(step.outcome.class == truth);
            if let Some(full) = &step.full {
                self.full_labelled += 1;
                self.full_right += u64::from(full.class == truth);
            }
        }
        if let Some(full) = &step.full {
            self.full_latencies.add(full.latency());
        }
        self.macs = self.macs.saturating_add(step.macs);
        self.joules += f64::from(step.joules);
        self.joules_full += f64::from(step.joules_full);
        self.switches += u64::from(self.point.is_some_and(|point| point != step.choice.point));
        self.point = Some(step.choice.point);
    }

    /// Frames so far.
    pub fn frames(&self) -> u64 {
        self.ran() + self.reused
    }

    /// Frames of those for which a gate let the last answer hold, so that the network did not run, or not beyond its first
    /// exit.
    pub fn reused(&self) -> u64 {
        self.reused
    }

    /// Frames of a detector that an exit ended, because nothing is there.
    pub fn gated(&self) -> u64 {
        self.gated
    }

    /// Boxes of a detector in all frames.
    pub fn boxes(&self) -> u64 {
        self.boxes
    }

    /// How often the answer of a network of videos changed.
    pub fn changes(&self) -> u64 {
        self.changes
    }

    /// How often a network of videos forgot what came before.
    pub fn resets(&self) -> u64 {
        self.resets
    }

    /// Frames of those that the gate behind the first exit held back: so much of the network did run.
    pub fn reused_by_code(&self) -> u64 {
        self.reused_by_code
    }

    /// Frames that the network answered.
    fn ran(&self) -> u64 {
        self.latencies.iter().map(Latencies::count).sum()
    }

    /// Share of labelled frames answered rightly; `None` without labels.
    pub fn accuracy(&self) -> Option<f64> {
        (self.labelled > 0).then(|| self.right as f64 / self.labelled as f64)
    }

    /// The same for the full network, of the frames for which it was compared.
    pub fn accuracy_full(&self) -> Option<f64> {
        (self.full_labelled > 0).then(|| self.full_right as f64 / self.full_labelled as f64)
    }

    /// Multiply-accumulates of all frames together.
    pub fn macs(&self) -> u64 {
        self.macs
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

    /// Mean and 95th percentile (to within 1 %) of the latency of the frames that went through the network, in
    /// milliseconds.
    pub fn latency_ms(&self) -> Option<(f64, f64)> {
        let mut all = Latencies::default();
        self.latencies.iter().for_each(|latencies| all.merge(latencies));
        all.mean_and_p95()
    }

    /// The same for the full network, where it was compared.
    pub fn latency_full_ms(&self) -> Option<(f64, f64)> {
        self.full_latencies.mean_and_p95()
    }

    /// Each exit's part, in order of cost.
    pub fn exits(&self) -> Vec<ExitSummary> {
        let frames = self.ran();
        let one = |(exit, latencies): (&String, &Latencies)| {
            let times = latencies.mean_and_p95();
            ExitSummary {
                exit: exit.clone(),
                frames: latencies.count(),
                share: if frames > 0 { latencies.count() as f64 / frames as f64 } else { 0.0 },
                mean_ms: times.map(|(mean, _)| mean),
                p95_ms: times.map(|(_, p95)| p95),
            }
        };
        self.exits.iter().zip(&self.latencies).map(one).collect()
    }
}
