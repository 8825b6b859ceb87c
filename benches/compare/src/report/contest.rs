//! Who computes the same answer, on the same model with the same threads and batch, and how they compare.

use serde::Serialize;

use crate::result::{Device, How, Task, Time};
use crate::rounds::{Spread, ratios};

/// The runtime that the others are peers of.
pub(crate) const OURS: &str = "dyn-perceiver";

/// Whether a runtime is this project's in any form, as `dyn-perceiver-unstaged`, or an older version taken in turns under
/// a name of its own. Peers are the others: beside our own code a ratio says nothing about theirs.
pub(crate) fn is_ours(runtime: &str) -> bool {
    runtime.starts_with(OURS)
}

/// What is asked for, however it is computed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Answer {
    /// Every exit.
    Full,
    /// One exit.
    Exit(String),
    /// Frames that leave at these shares, per mille. A full network answers this too: it is what one runs instead.
    Adaptive(Vec<u32>),
}

/// An answer under the same conditions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Goal {
    /// The model.
    pub model: String,
    /// Where.
    pub device: Device,
    /// Threads.
    pub threads: usize,
    /// Frames per call.
    pub batch: usize,
    /// What is asked for.
    pub answer: Answer,
}

/// One series that reaches the goal.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entrant<'a> {
    /// The series.
    pub time: &'a Time,
    /// Seconds per frame.
    pub frame_s: Spread,
    /// Time over that of the fastest peer, round by round; none where the two were not taken in turns.
    pub ratio: Option<Spread>,
}

/// Everyone who reaches one goal.
#[derive(Clone, Debug)]
pub(crate) struct Contest<'a> {
    /// The goal.
    pub goal: Goal,
    /// Fastest first.
    pub entrants: Vec<Entrant<'a>>,
}

impl<'a> Contest<'a> {
    /// The fastest runtime that is not ours.
    pub(crate) fn fastest_peer(&self) -> Option<&Entrant<'a>> {
        self.entrants.iter().find(|entrant| !is_ours(&entrant.time.runtime))
    }

    /// Our own series.
    pub(crate) fn ours(&self) -> Option<&Entrant<'a>> {
        self.entrants.iter().find(|entrant| entrant.time.runtime == OURS)
    }
}

impl Goal {
    fn of(time: &Time) -> Self {
        let answer = match &time.task {
            Task::Full => Answer::Full,
            Task::Exit { exit, .. } => Answer::Exit(exit.clone()),
            Task::Adaptive { shares } => Answer::Adaptive(shares.clone()),
        };
        Self { model: time.model.clone(), device: time.device, threads: time.threads, batch: time.batch, answer }
    }

    fn reached_by(&self, time: &Time) -> bool {
        let goal = Goal::of(time);
        let instead = goal.answer == Answer::Full && matches!(self.answer, Answer::Adaptive(_));
        goal == Goal { answer: if instead { Answer::Full } else { self.answer.clone() }, ..self.clone() }
    }
}

/// Whether round i of one ran right beside round i of the other.
pub(crate) fn in_turns(a: &Time, b: &Time) -> bool {
    let group =
        |time: &Time| (time.run.clone(), time.model.clone(), time.group.clone(), time.device, time.threads, time.batch);
    group(a) == group(b)
}

/// Goals in the order in which one run first came to them.
pub(crate) fn contests(times: &[Time]) -> Vec<Contest<'_>> {
    let mut goals: Vec<Goal> = vec![];
    for goal in times.iter().map(Goal::of) {
        if !goals.contains(&goal) {
            goals.push(goal);
        }
    }
    goals.into_iter().map(|goal| contest(goal, times)).collect()
}

fn contest(goal: Goal, times: &[Time]) -> Contest<'_> {
    let exact = |time: &Time| Goal::of(time) == goal;
    // A full network of ours is no alternative to our adaptive one.
    let all: Vec<&Time> =
        times.iter().filter(|time| exact(time) || !is_ours(&time.runtime) && goal.reached_by(time)).collect();
    // A task may have been timed in several groups: of those with the very task, the one that most took part in is compared;
    // others fill gaps.
    let size = |time: &Time| all.iter().filter(|other| in_turns(time, other)).count();
    let most = all.iter().rev().filter(|time| exact(time)).max_by_key(|time| size(time));
    let beside = |time: &Time| most.is_some_and(|most| in_turns(most, time));
    let (main, rest): (Vec<&Time>, Vec<&Time>) = all.iter().partition(|time| beside(time));
    let mut chosen: Vec<&Time> = vec![];
    for time in main.into_iter().chain(rest) {
        if !chosen.iter().any(|other| other.runtime == time.runtime && other.task == time.task) {
            chosen.push(time);
        }
    }
    let mut entrants: Vec<Entrant<'_>> = (chosen.into_iter())
        .filter_map(|time| {
            let frame_s = Spread::of(&time.rounds_s)?.times(1.0 / time.batch as f64);
            Some(Entrant { time, frame_s, ratio: None })
        })
        .collect();
    entrants.sort_by(|a, b| a.frame_s.median.total_cmp(&b.frame_s.median));
    let fastest = entrants.iter().find(|entrant| !is_ours(&entrant.time.runtime)).map(|entrant| entrant.time);
    for entrant in &mut entrants {
        entrant.ratio = (fastest.filter(|fastest| in_turns(fastest, entrant.time)))
            .and_then(|fastest| Spread::of(&ratios(&entrant.time.rounds_s, &fastest.rounds_s)));
    }
    Contest { goal, entrants }
}

/// Runtime, and how it computes the task where that is not plain.
pub(crate) fn series_name(time: &Time) -> String {
    match &time.task {
        Task::Full => time.runtime.clone(),
        Task::Adaptive { .. } => format!("{}, adaptive", time.runtime),
        Task::Exit { how, .. } => format!("{}, {}", time.runtime, how_name(*how)),
    }
}

/// Whether a [`series_name`] is of our own runtime as it is used: the row or column that a reader looks for.
pub(crate) fn is_our_series(name: &str) -> bool {
    name.split(',').next() == Some(OURS)
}

/// How one exit alone is had, in a word.
pub(crate) fn how_name(how: How) -> &'static str {
    match how {
        How::Staged => "staged",
        How::Cut => "cut",
        How::Fetch => "fetched",
    }
}

/// A task in words.
pub(crate) fn task_name(task: &Task) -> String {
    match task {
        Task::Full => "full network".into(),
        Task::Exit { exit, how } => format!("{exit} alone, {}", how_name(*how)),
        Task::Adaptive { shares } => format!("adaptive {}", shares_name(shares)),
    }
}

/// An answer in words.
pub(crate) fn answer_name(answer: &Answer) -> String {
    match answer {
        Answer::Full => "full network".into(),
        Answer::Exit(exit) => format!("{exit} alone"),
        Answer::Adaptive(shares) => format!("adaptive {}", shares_name(shares)),
    }
}

/// Shares in percent: `40/30/20/10 %`.
pub(crate) fn shares_name(shares: &[u32]) -> String {
    let percent: Vec<String> = shares.iter().map(|&share| (f64::from(share) / 10.0).to_string()).collect();
    format!("{} %", percent.join("/"))
}

/// Threads in words.
pub(crate) fn threads_name(threads: usize) -> String {
    if threads == 1 { "1 thread".into() } else { format!("{threads} threads") }
}

/// A device in words.
pub(crate) fn device_name(device: Device) -> &'static str {
    match device {
        Device::Cpu => "CPU",
        Device::Cuda => "CUDA",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(runtime: &str, task: Task, frame_s: f64) -> Time {
        Time {
            run: "r".to_owned(),
            model: "m".to_owned(),
            runtime: runtime.to_owned(),
            task,
            device: Device::Cpu,
            threads: 1,
            batch: 1,
            group: "g".to_owned(),
            calls: 1,
            rounds_s: vec![frame_s; 3],
        }
    }

    #[test]
    fn fastest_peer_is_never_one_of_ours() {
        let times = [
            time(OURS, Task::Full, 0.9),
            time("dyn-perceiver-unstaged", Task::Full, 0.8),
            time("dyn-perceiver-2", Task::Full, 0.7),
            time("mnn", Task::Full, 2.0),
            time("tract", Task::Full, 1.0),
        ];
        let contests = contests(&times);
        assert_eq!(contests[0].fastest_peer().unwrap().time.runtime, "tract");
        // Ratios are to that peer, also those of our other forms.
        let ratios: Vec<f64> = contests[0].entrants.iter().map(|entrant| entrant.ratio.unwrap().median).collect();
        assert_eq!(ratios, [0.7, 0.8, 0.9, 1.0, 2.0]);
    }

    #[test]
    fn without_a_peer_there_is_no_ratio() {
        let times = [time(OURS, Task::Full, 0.9), time("dyn-perceiver-unstaged", Task::Full, 0.8)];
        let contests = contests(&times);
        assert!(contests[0].fastest_peer().is_none());
        assert!(contests[0].entrants.iter().all(|entrant| entrant.ratio.is_none()));
    }

    #[test]
    fn full_networks_of_ours_do_not_stand_in_for_our_adaptive_one() {
        let shares = || Task::Adaptive { shares: vec![500, 500] };
        let times = [
            time(OURS, shares(), 0.5),
            time("dyn-perceiver-unstaged", Task::Full, 0.4),
            time("tract", Task::Full, 1.0),
        ];
        let contests = contests(&times);
        let adaptive = contests.iter().find(|contest| matches!(contest.goal.answer, Answer::Adaptive(_))).unwrap();
        let names: Vec<&str> = adaptive.entrants.iter().map(|entrant| entrant.time.runtime.as_str()).collect();
        assert_eq!(names, [OURS, "tract"]);
    }
}
