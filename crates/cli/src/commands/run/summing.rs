//! What a run came to.

use dyn_perceiver::pipeline::Summary;

use crate::output::json::Pairs;
use crate::output::records::WakeCounts;
use crate::output::{records, table, text};

/// Exits, and the run beside the full network, for people.
pub(super) fn tables(summary: &Summary) -> String {
    let ms = |value: Option<f64>| value.map_or("-".to_string(), |ms| format!("{ms:.2}"));
    let share = |value: Option<f64>| value.map_or("-".to_string(), table::percent);
    let exits: Vec<Vec<String>> = summary
        .exits()
        .into_iter()
        .map(|e| {
            let exit = text::name(&e.exit).into_owned();
            vec![exit, e.frames.to_string(), table::percent(e.share), ms(e.mean_ms), ms(e.p95_ms)]
        })
        .collect();
    let row = |name: &str, times: Option<(f64, f64)>, accuracy: Option<f64>, joules: f64| {
        let (mean, p95) = (ms(times.map(|t| t.0)), ms(times.map(|t| t.1)));
        vec![name.to_string(), summary.frames().to_string(), share(accuracy), mean, p95, format!("{joules:.3}")]
    };
    let (joules, full) = (summary.joules(), summary.joules_full());
    let rows = [
        row("this run", summary.latency_ms(), summary.accuracy(), joules),
        row("full network", summary.latency_full_ms(), summary.accuracy_full(), full),
    ];
    let mut text = table::render(&["exit", "frames", "share", "mean ms", "p95 ms"], &exits);
    text += "\n";
    text += &table::render(&["", "frames", "accuracy", "mean ms", "p95 ms", "joules"], &rows);
    if full > 0.0 {
        let saved = table::percent(1.0 - joules / full);
        text += &format!("\nsaved {saved} of the joules that inference adds to idling\n");
    }
    text
}

/// What the board was switched on and off for, for people.
pub(super) fn wakes(counts: &WakeCounts) -> String {
    let WakeCounts { boots, by_motion, cuts, missed, next_s } = counts;
    let next = next_s.map_or(String::new(), |seconds| format!("; the clock wakes it next in {seconds} s"));
    format!("woken    {boots} times, {by_motion} by motion; cut off {cuts} times, {missed} wakes missed{next}")
}

/// The same for programs.
pub(super) fn record<'a>(
    summary: &Summary,
    (soc, threads): (Option<f32>, usize),
    (dropped, damaged, skipped): (u64, u64, u64),
    ended: &'a str,
) -> records::Summary<'a> {
    let exits = summary.exits();
    let ran = summary.frames() - summary.reused() + summary.reused_by_code();
    let mut latency_ms: Pairs<_> =
        exits.iter().map(|exit| (exit.exit.clone(), exit.mean_ms.zip(exit.p95_ms).map(Into::into))).collect();
    latency_ms.push("all", summary.latency_ms().map(Into::into));
    latency_ms.push("full", summary.latency_full_ms().map(Into::into));
    records::Summary {
        frames: summary.frames(),
        reused: summary.reused(),
        reused_by_code: summary.reused_by_code(),
        accuracy: summary.accuracy(),
        accuracy_full: summary.accuracy_full(),
        exit_share: exits.into_iter().map(|exit| (exit.exit, exit.share)).collect(),
        latency_ms,
        macs_mean: (ran > 0).then(|| summary.macs() as f64 / ran as f64),
        gated: None,
        boxes: None,
        changes: None,
        resets: None,
        joules: summary.joules(),
        joules_full: summary.joules_full(),
        switches: summary.switches(),
        soc,
        dropped,
        damaged,
        skipped,
        threads,
        first_answer_ms: None,
        wakes: None,
        ended,
    }
}
