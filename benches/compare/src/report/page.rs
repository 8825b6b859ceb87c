//! The page from top to bottom: machine by machine, run by run.

use super::contest::contests;
use super::document::Document;
use super::losses::{self, losses};
use super::styles::Styles;
use super::units::{date, percent};
use super::{accuracy, environment, instructions, load, scaling, times, verdict};
use crate::result::End;
use crate::runs::{Measured, machines};

/// Everything that the runs say.
///
/// # Errors
/// When a plot cannot be drawn.
pub(super) fn page(runs: &[Measured]) -> anyhow::Result<Document> {
    let mut document = Document::default();
    let styles = Styles::new(runs);
    let mut machines = machines(runs);
    machines.sort_by_key(|(machine, _)| machine.emulated);
    document.heading(1, "dyn-perceiver beside other runtimes");
    document.text(
        "Same models, inputs, threads and machine; runtimes took turns, so that round i of one ran right beside round i of the \
         others. Times are medians of rounds with quartiles in brackets. Ratios are taken round against round, then the median.",
    );
    if machines.len() > 1 {
        let names: Vec<&str> = machines.iter().map(|(machine, _)| machine.name.as_str()).collect();
        document.text(format!(
            "These results are of {} machines: {}. Each has its own section; times of different machines are neither averaged \
             nor compared.",
            machines.len(),
            names.join(", "),
        ));
    }
    for measured in runs.iter().filter(|measured| !measured.run.clock.is_wall()) {
        document.text(format!(
            "In the run of {} on {} times are those that a runtime's thread was on a core. What other programs took is not in \
             them, but what they did to the caches.",
            date(measured.run.started_s),
            measured.run.machine.name,
        ));
    }
    // An emulated run has no times.
    let is_busy =
        |measured: &&Measured| !measured.run.machine.emulated && measured.end.as_ref().is_some_and(End::is_busy);
    for measured in runs.iter().filter(is_busy) {
        let share = measured.end.as_ref().and_then(|end| end.others).unwrap_or_default();
        document.text(format!(
            "Measured on a busy machine: in the run of {} on {} other programs took {} of the cores' time. Its times are longer \
             than they need be; only its ratios mean anything, and they less than usual.",
            date(measured.run.started_s),
            measured.run.machine.name,
            percent(share),
        ));
    }
    for (machine, runs) in machines {
        document.heading(2, format!("{}{}", machine.name, if machine.emulated { " (emulated)" } else { "" }));
        if runs.len() > 1 {
            document.text(format!(
                "{} runs, newest first. Each stands for itself; none is averaged with another.",
                runs.len()
            ));
        }
        for measured in runs {
            document.heading(3, format!("Run of {}", date(measured.run.started_s)));
            run(&mut document, measured, &styles)?;
        }
    }
    instructions::add(&mut document, runs);
    Ok(document)
}

fn run(document: &mut Document, measured: &Measured, styles: &Styles) -> anyhow::Result<()> {
    if !measured.run.machine.emulated {
        verdict::add(document, &contests(&measured.times));
    }
    environment::add(document, measured);
    if !(measured.run.machine.emulated && measured.checks.is_empty()) {
        environment::checks(document, measured);
    }
    if measured.run.machine.emulated {
        document.text(
            "This run was emulated. Times under emulation say nothing about the processor, so none are reported; executed \
             instructions are, in the last section.",
        );
    } else if measured.times.is_empty() && measured.loads.is_empty() && measured.frontiers.is_empty() {
        document.text("Nothing was timed in this run.");
    } else {
        let contests = contests(&measured.times);
        times::full(document, measured, &contests, styles)?;
        times::exits(document, measured, &contests, styles)?;
        times::adaptive(document, measured, &contests, styles)?;
        scaling::add(document, measured, &contests, styles)?;
        load::add(document, measured)?;
        accuracy::add(document, measured, styles)?;
        losses::add(document, measured, &losses(&contests));
    }
    if !(measured.run.machine.emulated && measured.absent.is_empty()) {
        environment::absent(document, measured);
    }
    Ok(())
}
