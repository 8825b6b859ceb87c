//! What dyn-perceiver loses at: computed from the results, so that nobody has to own up.

use serde::Serialize;

use super::contest::{
    Answer, Contest, OURS, answer_name, device_name, in_turns, is_ours, series_name, task_name, threads_name,
};
use super::document::{Document, Table};
use super::units::{bytes, ratio, ratio_spread, seconds};
use crate::result::{Load, Task};
use crate::rounds::{Spread, ratios};
use crate::runs::Measured;

/// A task in which another runtime is faster.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Loss {
    /// The model.
    pub model: String,
    /// What was asked for, where, with how many threads and frames per call.
    pub task: String,
    /// The other runtime, and how it computes it.
    pub runtime: String,
    /// Our seconds per frame.
    pub ours_s: f64,
    /// Its seconds per frame.
    pub theirs_s: f64,
    /// Ours over theirs, round by round; of the medians where the two were not taken in turns, with no quartiles.
    pub ratio: Spread,
    /// Whether round i of one ran beside round i of the other.
    pub in_turns: bool,
}

impl Loss {
    /// Whether three rounds of four say so.
    pub(super) fn clear(&self) -> bool {
        self.in_turns && self.ratio.q1 > 1.0
    }
}

/// Worst first.
pub(super) fn losses(contests: &[Contest<'_>]) -> Vec<Loss> {
    let mut losses = vec![];
    for contest in contests {
        let Some(ours) = contest.ours() else { continue };
        for theirs in contest.entrants.iter().filter(|entrant| !is_ours(&entrant.time.runtime)) {
            let in_turns = in_turns(ours.time, theirs.time);
            let spread = match in_turns {
                true => Spread::of(&ratios(&ours.time.rounds_s, &theirs.time.rounds_s)),
                false => Spread::of(&[ours.frame_s.median / theirs.frame_s.median]),
            };
            let Some(spread) = spread.filter(|spread| spread.median > 1.0) else { continue };
            let goal = &contest.goal;
            let full_instead = matches!(goal.answer, Answer::Adaptive(_)) && theirs.time.task == Task::Full;
            losses.push(Loss {
                model: goal.model.clone(),
                task: format!(
                    "{}, {}, {}, batch {}",
                    answer_name(&goal.answer),
                    device_name(goal.device),
                    threads_name(goal.threads),
                    goal.batch
                ),
                runtime: match full_instead {
                    true => format!("{}, {}", theirs.time.runtime, task_name(&Task::Full)),
                    false => series_name(theirs.time),
                },
                ours_s: ours.frame_s.median,
                theirs_s: theirs.frame_s.median,
                ratio: spread,
                in_turns,
            });
        }
    }
    losses.sort_by(|a, b| b.ratio.median.total_cmp(&a.ratio.median));
    losses
}

/// Tables of times, and of what is not time.
pub(super) fn add(document: &mut Document, measured: &Measured, losses: &[Loss]) {
    document.heading(4, "What we lose at");
    if measured.times.iter().all(|time| time.runtime != OURS) {
        document.text("dyn-perceiver was not timed in this run.");
    } else if losses.is_empty() {
        document.text("In no task of this run was another runtime faster than dyn-perceiver.");
    } else {
        document.text(
            "Every task in which another runtime is faster than dyn-perceiver, worst first: our time over its time, round against \
             round. Where the quartiles lie on both sides of 1, the rounds do not agree who is faster.",
        );
        let columns = ["task", "model", "faster runtime", "#its time", "#our time", "#ours to its", "clear"];
        let mut table = Table::new("Tasks in which another runtime is faster", &columns);
        for loss in losses {
            table.rows.push(vec![
                loss.task.clone(),
                loss.model.clone(),
                loss.runtime.clone(),
                seconds(loss.theirs_s),
                seconds(loss.ours_s),
                if loss.in_turns {
                    ratio_spread(loss.ratio)
                } else {
                    format!("{}, not in turns", ratio(loss.ratio.median))
                },
                if loss.clear() { "yes" } else { "no" }.into(),
            ]);
        }
        document.table(table);
    }
    document.table(loading(&measured.loads));
}

/// Ours and theirs, how to write it, and what it is called.
type Quantity = (&'static str, fn(&Load) -> Option<f64>, fn(f64) -> String);
const QUANTITIES: [Quantity; 5] = [
    ("load time", |load| Some(load.load_s), seconds),
    ("first result", |load| Some(load.first_result_s), seconds),
    ("peak memory", |load| Some(load.peak_rss_bytes as f64), |v| bytes(v as u64)),
    ("model on disk", |load| Some(load.model_bytes as f64), |v| bytes(v as u64)),
    ("program on disk", |load| load.program_bytes.map(|bytes| bytes as f64), |v| bytes(v as u64)),
];

/// Where another runtime needs less, beside the best of our formats with the same threads.
fn loading(loads: &[Load]) -> Table {
    let columns = ["what", "model", "runtime that needs less", "#its", "#ours", "#ours to its"];
    let mut table = Table::new("Loading, memory and size in which another runtime needs less", &columns);
    let mut found = vec![];
    for (name, of, write) in QUANTITIES {
        for theirs in loads.iter().filter(|load| !is_ours(&load.runtime)) {
            let beside =
                |load: &&Load| load.runtime == OURS && load.model == theirs.model && load.threads == theirs.threads;
            let ours = loads.iter().filter(beside).filter_map(of).min_by(f64::total_cmp);
            let (Some(ours), Some(value)) = (ours, of(theirs)) else { continue };
            if ours > value && value > 0.0 {
                let row = vec![
                    name.into(),
                    theirs.model.clone(),
                    theirs.runtime.clone(),
                    write(value),
                    write(ours),
                    ratio(ours / value),
                ];
                found.push((ours / value, row));
            }
        }
    }
    found.sort_by(|a, b| b.0.total_cmp(&a.0));
    table.rows = found.into_iter().map(|(_, row)| row).collect();
    table
}
