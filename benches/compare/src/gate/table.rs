//! What the gate found, for people.

use super::noise::{DEVIATIONS, FLOOR, INSTRUCTIONS, ROUNDS, Verdict};
use super::pairs::{Findings, Judged, JudgedCount, Key, Place};
use crate::report::contest::{device_name, task_name, threads_name};
use crate::report::document::{Document, Table};
use crate::report::units::{change, count, ratio_spread};

/// As a page.
pub(super) fn document(findings: &Findings) -> Document {
    let mut document = Document::default();
    document.heading(1, "Regression gate");
    let verdicts = (findings.series.iter().map(|judged| judged.judgement.verdict))
        .chain(findings.instructions.iter().map(|judged| judged.judgement.verdict));
    let verdicts: Vec<Verdict> = verdicts.collect();
    let with = |verdict| verdicts.iter().filter(|&&other| other == verdict).count();
    document.text(format!(
        "{} series: {} worse, {} better, {} the same, {} with too few rounds to judge; {} missing, {} new, {} without a peer.",
        verdicts.len(),
        with(Verdict::Worse),
        with(Verdict::Better),
        with(Verdict::Same),
        with(Verdict::TooFewRounds),
        findings.missing.len(),
        findings.new.len(),
        findings.without_peer.len(),
    ));
    for pair in &findings.machines {
        if pair.now != pair.then {
            document.text(format!(
                "{} is held against a baseline of another machine, {}: ratios to a peer carry over only as far as both runtimes \
                 gain alike from a machine.",
                pair.now, pair.then,
            ));
        }
        for (runtime, then, now) in &pair.changed {
            document.text(format!("{}: the peer {runtime} changed from version {then} to {now}.", pair.now));
        }
    }
    document.table(times(&findings.series));
    document.table(instructions(&findings.instructions));
    document.table(keys("Without a peer timed in turns on both sides: not judged", &findings.without_peer));
    document.table(keys("Missing: only in the baseline", &findings.missing));
    document.table(keys("New: only in the results", &findings.new));
    document
}

const KEY: [&str; 3] = ["series", "model", "machine"];

fn key_cells(key: &Key) -> [String; 3] {
    let series = match &key.place {
        Place::Timed { device, threads, batch } => {
            let place = format!("{}, {}, batch {batch}", device_name(*device), threads_name(*threads));
            format!("{}, {place}", task_name(&key.task))
        }
        Place::Counted(counter) => format!("{}, instructions by {counter}", task_name(&key.task)),
    };
    [series, key.model.clone(), key.machine.clone()]
}

fn times(series: &[Judged]) -> Table {
    let caption = format!(
        "Times, as ratios to a peer of the same run; a change counts beyond {DEVIATIONS} deviations of noise and {} %, with {ROUNDS} \
         rounds or more",
        100.0 * FLOOR,
    );
    let mut table = Table::new(caption, &KEY);
    for (name, figures) in
        [("peer", false), ("then", true), ("now", true), ("change", true), ("limit", true), ("verdict", false)]
    {
        table.column(name, figures);
    }
    for judged in series {
        let peer = format!("{}, {}", judged.yardstick, task_name(&judged.yardstick_task));
        let rest = [
            peer,
            ratio_spread(judged.then),
            ratio_spread(judged.now),
            change(judged.judgement.change),
            change(judged.judgement.limit),
            judged.judgement.verdict.name().into(),
        ];
        table.rows.push(key_cells(&judged.key).into_iter().chain(rest).collect());
    }
    table
}

fn instructions(counts: &[JudgedCount]) -> Table {
    let caption = format!("Instructions per inference; a change counts beyond {} %", 100.0 * INSTRUCTIONS);
    let mut table = Table::new(caption, &KEY);
    for (name, figures) in [("then", true), ("now", true), ("change", true), ("verdict", false)] {
        table.column(name, figures);
    }
    for judged in counts {
        let rest = [
            count(judged.then as f64),
            count(judged.now as f64),
            change(judged.judgement.change),
            judged.judgement.verdict.name().into(),
        ];
        table.rows.push(key_cells(&judged.key).into_iter().chain(rest).collect());
    }
    table
}

fn keys(caption: &str, keys: &[Key]) -> Table {
    let mut table = Table::new(caption, &KEY);
    table.rows = keys.iter().map(|key| key_cells(key).to_vec()).collect();
    table
}
