//! The tables of `docs/events.md` on gates: sequences of frames, what a gate skips of them, and which events it misses.

mod latent;
mod sequences;
mod watch;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use clap::Args as ClapArgs;
use dyn_perceiver_core::file::atomic_write;

use crate::energy_tables::{Markers, TABLES, replaced};
use sequences::SEQUENCES;
use watch::{Seen, watch};

/// Seeds from 1 on, of which each sequence is made.
const SEEDS: u64 = 10;
/// Thresholds of the table, in levels of luminance; the default is among them.
const THRESHOLDS: [f32; 5] = [4.0, 6.0, 8.0, 12.0, 20.0];

/// Where the table of the gate behind the first exit is.
const LATENT: Markers = Markers { begin: "<!-- latent: begin -->", end: "<!-- latent: end -->" };

/// Write the tables of gates into docs/events.md
///
/// Frames are made by a seeded script; the network is taken to answer every frame rightly, so that what is missed is the
/// gate's fault alone.
#[derive(ClapArgs)]
pub(crate) struct Args {
    /// Write the table of the gate behind the first exit, too, whose codes this program computes
    #[arg(long, value_name = "FILE")]
    program: Option<PathBuf>,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let path = crate::root().join("docs/events.md");
    let page = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let page = replaced(&page, TABLES, &table())?;
    let page = match &args.program {
        Some(program) => replaced(&page, LATENT, &latent::table(program)?)?,
        None => page,
    };
    write(&path, &page)
}

fn write(path: &Path, page: &str) -> Result<()> {
    atomic_write(path, page.as_bytes()).with_context(|| path.display().to_string())
}

fn table() -> String {
    let mut text = format!(
        "Frames of {}x{} pixels in YUYV, 10 a second, {SEEDS} seeds of each sequence; 3 of 5 frames make an event, refresh \
         10 s. The network is taken to answer every frame rightly. In each cell: share of frames that did not go through it, \
         events missed of all, and by how many seconds the latest event came later. Made by `cargo xtask gate-table`.\n\n",
        sequences::WIDTH,
        sequences::HEIGHT
    );
    text += &head(&THRESHOLDS.map(|levels| format!("{levels} levels")));
    for sequence in SEQUENCES {
        text += &row(sequence.title, &total(sequence.name, SEEDS, THRESHOLDS));
    }
    text
}

fn head(columns: &[String]) -> String {
    format!("| sequence | frames | {} |\n| --- | ---: |{}", columns.join(" | "), " ---: |".repeat(columns.len()))
}

fn row(title: &str, all: &[Seen]) -> String {
    let mut text = format!("\n| {title} | {} |", all.first().map_or(0, |seen| seen.frames));
    for Seen { frames, skipped, events, missed, latest } in all {
        let share = 100.0 * f64::from(*skipped) / f64::from(*frames);
        text += &format!(" {share:.1} %, {missed} of {events}, {latest:.1} s |");
    }
    text
}

/// What gates make of a sequence, over the seeds from 1 on.
fn total<const N: usize>(sequence: &'static str, seeds: u64, thresholds: [f32; N]) -> [Seen; N] {
    let mut sums = [Seen::default(); N];
    for seed in 1..=seeds {
        for (sum, one) in sums.iter_mut().zip(watch(sequence, seed, thresholds)) {
            sum.add(one);
        }
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;
    use dyn_perceiver_core::gate::GateSettings;

    /// Sequences in which little happens, so that most frames should be skipped.
    const QUIET: [&str; 4] = ["still", "light", "stops", "small"];

    #[test]
    fn no_event_is_missed_at_the_default_and_a_gate_set_too_high_is_seen_to_miss_some() {
        assert!(THRESHOLDS.contains(&GateSettings::THRESHOLD));
        let mut missed = 0;
        for sequence in SEQUENCES {
            let [seen, high] = total(sequence.name, 2, [GateSettings::THRESHOLD, 250.0]);
            assert!(seen.events > 0 && seen.missed == 0, "{}: {seen:?}", sequence.name);
            assert!(seen.latest <= 1.0, "{}: {seen:?}", sequence.name);
            if QUIET.contains(&sequence.name) {
                assert!(seen.skipped * 10 > seen.frames * 7, "{}: {seen:?}", sequence.name);
            }
            missed += high.missed;
        }
        assert!(missed > 0);
    }
}
