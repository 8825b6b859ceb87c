//! Where a run took place, whose outputs were right, and what is missing.

use super::contest::device_name;
use super::document::{Document, Table};
use super::units::{bytes, date, percent};
use crate::result::{Absent, Check, Device};
use crate::runs::Measured;

/// A table of the machine, the code and the versions.
pub(super) fn add(document: &mut Document, measured: &Measured) {
    let (run, machine) = (&measured.run, &measured.run.machine);
    document.heading(4, "Environment");
    let unknown = || "unknown".to_string();
    let clock = machine.clock_mhz.map_or_else(unknown, |(least, most)| match least == most {
        true => format!("{most} MHz"),
        false => format!("{least} to {most} MHz"),
    });
    let others = match measured.end.as_ref().map(|end| end.others) {
        None => "not recorded".into(),
        Some(None) => "the machine does not tell".into(),
        Some(Some(share)) => format!("took {} of the cores' time", percent(share)),
    };
    let at_end = measured.end.as_ref().and_then(|end| end.throttled);
    let throttled = match at_end.or(machine.throttled) {
        None => "the machine does not tell",
        Some(false) => "no",
        Some(true) => "yes: times are longer than they need be",
    };
    let flags = if machine.flags.is_empty() { "none".into() } else { machine.flags.join(", ") };
    let mut table = Table::new("Machine, code and versions", &["what", "value"]);
    let mut row = |name: &str, value: String| table.rows.push(vec![name.into(), value]);
    row("processor", machine.cpu.clone());
    row("architecture", machine.architecture.clone());
    row("cores", machine.cores.to_string());
    row("vector extensions", flags);
    row("memory", bytes(machine.memory_bytes));
    row("frequency governor", machine.governor.clone().unwrap_or_else(unknown));
    row("clock", clock);
    if !run.clock.is_wall() {
        row("times", "of the runtime's threads on a core, not that passed".into());
    }
    row("throttled", throttled.into());
    row("other programs", others);
    row("GPU", machine.gpu.clone().unwrap_or_else(|| "none found".into()));
    row("system", machine.system.clone());
    row("started", date(run.started_s));
    row("commit", run.commit.clone().unwrap_or_else(unknown));
    row("set", if run.quick { "short: fewer models, tasks and rounds" } else { "whole" }.into());
    for (runtime, version) in &run.versions {
        row(runtime, version.clone());
    }
    document.table(table);
}

/// A table of the differences from the reference.
pub(super) fn checks(document: &mut Document, measured: &Measured) {
    document.heading(4, "Outputs checked");
    if measured.checks.is_empty() {
        document.text("No outputs were compared in this run.");
        return;
    }
    document.text(
        "Before a time counts, the outputs of all exits are compared with the reference's: the largest difference of a logit, over \
         the largest logit of the reference. A runtime that computes something else is refused.",
    );
    let mut table = Table::new(
        "Differences from the reference",
        &["model", "runtime", "device", "#difference", "#let pass", "verdict"],
    );
    for check in &measured.checks {
        let Check { model, runtime, device, difference, tolerance, .. } = check;
        table.rows.push(vec![
            model.clone(),
            runtime.clone(),
            device_name(*device).into(),
            format!("{difference:.1e}"),
            format!("{tolerance:.0e}"),
            if check.passed() { "same" } else { "refused: wrong outputs" }.into(),
        ]);
    }
    document.table(table);
    for refused in measured.refused.iter().filter(|refused| refused.results > 0) {
        document.text(format!(
            "Left out: results of {} for {} on {} (lines: {}), since its outputs are wrong.",
            refused.runtime,
            refused.model,
            device_name(refused.device),
            refused.results,
        ));
    }
}

/// A table of what could not take part.
pub(super) fn absent(document: &mut Document, measured: &Measured) {
    document.heading(4, "What is absent, and why");
    if measured.absent.is_empty() {
        document.text("The run names nothing that was absent.");
        return;
    }
    let mut table = Table::new("Runtimes that did not take part", &["runtime", "model", "device", "reason"]);
    for Absent { runtime, model, device, reason, .. } in &measured.absent {
        let model = model.clone().unwrap_or_else(|| "all".into());
        table.rows.push(vec![runtime.clone(), model, device_name(*device).into(), reason.clone()]);
    }
    document.table(table);
}

/// Why a runtime has no time for a model on a device, as far as the run knows.
pub(super) fn reason<'a>(measured: &'a Measured, runtime: &str, model: &str, device: Device) -> Option<&'a str> {
    let of_model = |absent: &Absent| absent.model.as_deref().is_none_or(|only| only == model);
    let found = measured.absent.iter().find(|a| a.runtime == runtime && a.device == device && of_model(a));
    let refused = measured.refused.iter().any(|r| r.runtime == runtime && r.model == model && r.device == device);
    found.map(|absent| absent.reason.as_str()).or(refused.then_some("refused: wrong outputs"))
}
