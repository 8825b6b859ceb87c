//! What the report says, for programs.

use std::path::PathBuf;

use serde::Serialize;

use super::contest::{Answer, contests};
use super::losses::{Loss, losses};
use crate::result::{Absent, Check, Device, Run, Task};
use crate::rounds::Spread;
use crate::runs::{Measured, Refused};

/// The report in figures.
#[derive(Debug, Serialize)]
pub(super) struct Summary<'a> {
    runs: Vec<RunSummary<'a>>,
    written: &'a [PathBuf],
}

#[derive(Debug, Serialize)]
struct RunSummary<'a> {
    run: &'a Run,
    checks: &'a [Check],
    refused: &'a [Refused],
    absent: &'a [Absent],
    /// Empty for an emulated machine.
    tasks: Vec<TaskSummary>,
    losses: Vec<Loss>,
}

#[derive(Debug, Serialize)]
struct TaskSummary {
    model: String,
    answer: Answer,
    device: Device,
    threads: usize,
    batch: usize,
    /// The runtime that ratios are to.
    fastest_peer: Option<String>,
    /// Fastest first.
    series: Vec<Series>,
}

#[derive(Debug, Serialize)]
struct Series {
    runtime: String,
    #[serde(flatten)]
    task: Task,
    frame_s: Spread,
    ratio: Option<Spread>,
}

/// Of the same runs as the page.
pub(super) fn summary<'a>(runs: &'a [Measured], written: &'a [PathBuf]) -> Summary<'a> {
    Summary { runs: runs.iter().map(run).collect(), written }
}

fn run(measured: &Measured) -> RunSummary<'_> {
    let contests = if measured.run.machine.emulated { vec![] } else { contests(&measured.times) };
    let tasks = contests.iter().map(|contest| TaskSummary {
        model: contest.goal.model.clone(),
        answer: contest.goal.answer.clone(),
        device: contest.goal.device,
        threads: contest.goal.threads,
        batch: contest.goal.batch,
        fastest_peer: contest.fastest_peer().map(|entrant| entrant.time.runtime.clone()),
        series: (contest.entrants.iter())
            .map(|entrant| Series {
                runtime: entrant.time.runtime.clone(),
                task: entrant.time.task.clone(),
                frame_s: entrant.frame_s,
                ratio: entrant.ratio,
            })
            .collect(),
    });
    RunSummary {
        run: &measured.run,
        checks: &measured.checks,
        refused: &measured.refused,
        absent: &measured.absent,
        tasks: tasks.collect(),
        losses: losses(&contests),
    }
}
