//! The verdict on top of a run: how many times faster than the fastest other runtime, task by task.

use super::contest::{Contest, answer_name, device_name, series_name, threads_name};
use super::document::{Document, Table};
use super::units::{ratio, ratio_spread};
use crate::result::{Device, Task};
use crate::rounds::Spread;

/// A row per model, task and threads, one image at a time; silent where nothing is to be compared.
pub(super) fn add(document: &mut Document, contests: &[Contest<'_>]) {
    let columns = ["model", "task", "where", "fastest other runtime", "#dyn-perceiver is faster by", "rounds"];
    let mut table = Table::new("Times faster than the fastest other runtime", &columns);
    let mut faster = 0;
    for contest in contests.iter().filter(|contest| contest.goal.batch == 1) {
        let (Some(ours), Some(theirs)) = (contest.ours(), contest.fastest_peer()) else { continue };
        let (goal, spread) = (&contest.goal, ours.ratio);
        let speed = spread.map_or(theirs.frame_s.median / ours.frame_s.median, |spread| 1.0 / spread.median);
        faster += usize::from(speed > 1.0);
        let place = match goal.device {
            Device::Cpu => threads_name(goal.threads),
            device => device_name(device).to_owned(),
        };
        let instead = theirs.time.task == Task::Full && ours.time.task != Task::Full;
        table.rows.push(vec![
            goal.model.clone(),
            answer_name(&goal.answer),
            place,
            if instead { format!("{}, full network", theirs.time.runtime) } else { series_name(theirs.time) },
            spread.map_or_else(|| ratio(speed), |spread| ratio_spread(inverse(spread))),
            match spread {
                Some(spread) if spread.agrees() => "agree",
                Some(_) => "disagree",
                None => "not in turns",
            }
            .to_owned(),
        ]);
    }
    if table.rows.is_empty() {
        return;
    }
    document.heading(4, "Verdict");
    document.text(format!(
        "One image at a time, dyn-perceiver is faster than every other runtime in {faster} of {} tasks. Rounds disagree where the \
         quartiles of their ratios lie further apart than 15 % of the median: the machine was too busy to tell.",
        table.rows.len(),
    ));
    document.table(table);
}

/// How many times faster, from the ratio of times.
fn inverse(spread: Spread) -> Spread {
    Spread { median: 1.0 / spread.median, q1: 1.0 / spread.q3, q3: 1.0 / spread.q1, ..spread }
}
