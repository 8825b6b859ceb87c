//! Which series of the results belongs to which of the baseline, and the peer that both are held against.

use anyhow::bail;
use serde::Serialize;

use super::noise::{Judgement, judge, judge_counts};
use crate::report::contest::{OURS, in_turns};
use crate::result::{Device, How, Instructions, Task, Time};
use crate::rounds::{Spread, ratios};
use crate::runs::{Measured, machines};

/// Peers that serve as yardstick, best first: both are pinned, and always there.
const YARDSTICKS: [&str; 2] = ["onnxruntime", "tract"];

/// What the gate found.
#[derive(Debug, Default, Serialize)]
pub(super) struct Findings {
    /// Which machine was held against which.
    pub machines: Vec<MachinePair>,
    /// Series on both sides.
    pub series: Vec<Judged>,
    /// Instruction counts on both sides.
    pub instructions: Vec<JudgedCount>,
    /// Series on both sides without a peer that was timed in turns with them on both.
    pub without_peer: Vec<Key>,
    /// Only in the baseline.
    pub missing: Vec<Key>,
    /// Only in the results.
    pub new: Vec<Key>,
}

/// A machine of the results, and the one of the baseline.
#[derive(Debug, Serialize)]
pub(super) struct MachinePair {
    /// Of the results.
    pub now: String,
    /// Of the baseline.
    pub then: String,
    /// Yardsticks whose version changed: name, then, now.
    pub changed: Vec<(String, String, String)>,
}

/// A series of ours on one machine; of instructions where there is no place.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Key {
    /// The machine of the results, or the processor model of a count.
    pub machine: String,
    /// The model.
    pub model: String,
    /// The task.
    #[serde(flatten)]
    pub task: Task,
    /// Device, threads and batch of a time; how a count was counted.
    pub place: Place,
}

/// Under which conditions.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Place {
    /// Of a time.
    Timed {
        /// Where.
        device: Device,
        /// Threads.
        threads: usize,
        /// Frames per call.
        batch: usize,
    },
    /// Of instructions.
    Counted(String),
}

/// One series on both sides.
#[derive(Debug, Serialize)]
pub(super) struct Judged {
    /// Which.
    #[serde(flatten)]
    pub key: Key,
    /// The peer.
    pub yardstick: String,
    /// What the peer computes.
    pub yardstick_task: Task,
    /// Our time over the peer's in the baseline.
    pub then: Spread,
    /// And now.
    pub now: Spread,
    /// The outcome.
    #[serde(flatten)]
    pub judgement: Judgement,
}

/// One count on both sides.
#[derive(Debug, Serialize)]
pub(super) struct JudgedCount {
    /// Which.
    #[serde(flatten)]
    pub key: Key,
    /// In the baseline.
    pub then: u64,
    /// And now.
    pub now: u64,
    /// The outcome.
    #[serde(flatten)]
    pub judgement: Judgement,
}

/// Holds results against a baseline; both newest run first.
///
/// # Errors
/// A machine of the results of which the baseline, having several, does not say which to take; nothing in common.
pub(super) fn compare(baseline: &[Measured], results: &[Measured]) -> anyhow::Result<Findings> {
    let mut findings = Findings::default();
    times(baseline, results, &mut findings)?;
    counts(baseline, results, &mut findings);
    if findings.series.is_empty() && findings.instructions.is_empty() {
        bail!(
            "baseline and results have no series of {OURS} in common that a peer ({}) was timed in turns with",
            YARDSTICKS.join(" or ")
        );
    }
    // Worst first among equals.
    let order = |j: &Judgement| (j.verdict, -j.change);
    let compare = |a: &Judgement, b: &Judgement| {
        let ((verdict_a, change_a), (verdict_b, change_b)) = (order(a), order(b));
        verdict_a.cmp(&verdict_b).then(change_a.total_cmp(&change_b))
    };
    findings.series.sort_by(|a, b| compare(&a.judgement, &b.judgement));
    findings.instructions.sort_by(|a, b| compare(&a.judgement, &b.judgement));
    Ok(findings)
}

fn timed(runs: &[Measured]) -> Vec<(String, Vec<&Measured>)> {
    let machines = machines(runs).into_iter().filter(|(machine, runs)| {
        let timed = runs.iter().any(|measured| !measured.times.is_empty());
        timed && !machine.emulated
    });
    machines.map(|(machine, runs)| (machine.name.clone(), runs)).collect()
}

fn times(baseline: &[Measured], results: &[Measured], findings: &mut Findings) -> anyhow::Result<()> {
    let then = timed(baseline);
    for (name, runs) in timed(results) {
        let other = match (then.iter().find(|(other, _)| *other == name), &then[..]) {
            (Some(other), _) | (None, [other]) => other,
            (None, []) => continue,
            (None, several) => {
                let names: Vec<&str> = several.iter().map(|(name, _)| name.as_str()).collect();
                bail!(
                    "the baseline is of {}, the results are of {name}: which to compare with is not plain",
                    names.join(", ")
                );
            }
        };
        let (before, after) = (newest(&name, &other.1), newest(&name, &runs));
        let mut changed = vec![];
        for (key, measured, time) in &after {
            let Some((_, was_measured, was)) = before.iter().find(|(other, ..)| other == key) else {
                findings.new.push(key.clone());
                continue;
            };
            let Some((was_peer, peer)) = yardstick((was_measured, was), (measured, time)) else {
                findings.without_peer.push(key.clone());
                continue;
            };
            let then = ratios(&was.rounds_s, &was_peer.rounds_s);
            let now = ratios(&time.rounds_s, &peer.rounds_s);
            let judged = (judge(&then, &now), Spread::of(&then), Spread::of(&now));
            let (Some(judgement), Some(then), Some(now)) = judged else { continue };
            findings.series.push(Judged {
                key: key.clone(),
                yardstick: peer.runtime.clone(),
                yardstick_task: peer.task.clone(),
                then,
                now,
                judgement,
            });
            let version = |measured: &Measured| measured.run.versions.get(&peer.runtime).cloned().unwrap_or_default();
            let versions = (peer.runtime.clone(), version(was_measured), version(measured));
            if versions.1 != versions.2 && !changed.contains(&versions) {
                changed.push(versions);
            }
        }
        let gone = before.iter().filter(|(key, ..)| !after.iter().any(|(other, ..)| other == key));
        findings.missing.extend(gone.map(|(key, ..)| key.clone()));
        findings.machines.push(MachinePair { now: name, then: other.0.clone(), changed });
    }
    Ok(())
}

/// Every series of ours, from the newest run that has it.
fn newest<'a>(machine: &str, runs: &[&'a Measured]) -> Vec<(Key, &'a Measured, &'a Time)> {
    let mut newest: Vec<(Key, &Measured, &Time)> = vec![];
    for &measured in runs {
        for time in measured.times.iter().filter(|time| time.runtime == OURS) {
            let place = Place::Timed { device: time.device, threads: time.threads, batch: time.batch };
            let key = Key { machine: machine.into(), model: time.model.clone(), task: time.task.clone(), place };
            if !newest.iter().any(|(other, ..)| *other == key) {
                newest.push((key, measured, time));
            }
        }
    }
    newest
}

/// The same task of the same peer, timed in turns with ours on both sides.
fn yardstick<'a>(then: (&'a Measured, &Time), now: (&'a Measured, &Time)) -> Option<(&'a Time, &'a Time)> {
    let tasks = match &now.1.task {
        Task::Full => vec![Task::Full],
        Task::Exit { exit, .. } => {
            let exit = |how| Task::Exit { exit: exit.clone(), how };
            vec![exit(How::Cut), exit(How::Fetch), Task::Full]
        }
        Task::Adaptive { .. } => vec![now.1.task.clone(), Task::Full],
    };
    let beside = |(measured, time): (&'a Measured, &Time), runtime: &str, task: &Task| {
        measured.times.iter().find(|peer| peer.runtime == runtime && peer.task == *task && in_turns(peer, time))
    };
    YARDSTICKS.iter().find_map(|runtime| {
        tasks.iter().find_map(|task| Some((beside(then, runtime, task)?, beside(now, runtime, task)?)))
    })
}

fn counts(baseline: &[Measured], results: &[Measured], findings: &mut Findings) {
    let newest = |runs: &[Measured]| {
        let mut newest: Vec<(Key, u64)> = vec![];
        for count in runs.iter().flat_map(|measured| &measured.instructions).filter(|count| count.runtime == OURS) {
            let Instructions { model, task, cpu, counter, instructions, .. } = count;
            let place = Place::Counted(counter.clone());
            let key = Key { machine: cpu.clone(), model: model.clone(), task: task.clone(), place };
            if !newest.iter().any(|(other, _)| *other == key) {
                newest.push((key, *instructions));
            }
        }
        newest
    };
    let (before, after) = (newest(baseline), newest(results));
    for (key, now) in &after {
        match before.iter().find(|(other, _)| other == key) {
            Some((_, then)) => {
                let judgement = judge_counts(*then, *now);
                findings.instructions.push(JudgedCount { key: key.clone(), then: *then, now: *now, judgement });
            }
            None => findings.new.push(key.clone()),
        }
    }
    let gone = before.into_iter().filter(|(key, _)| !after.iter().any(|(other, _)| other == key));
    findings.missing.extend(gone.map(|(key, _)| key));
}
