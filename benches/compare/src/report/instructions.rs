//! Executed instructions per inference: they repeat, and belong to a processor model and not to the machine that counted.

use std::collections::BTreeMap;

use super::contest::task_name;
use super::document::{Document, Table};
use super::units::count;
use crate::result::Instructions;
use crate::runs::Measured;

/// A table with a column per processor model, over all runs: the newest count of each, since `runs` come newest first.
pub(super) fn add(document: &mut Document, runs: &[Measured]) {
    let mut counts: Vec<&Instructions> = runs.iter().flat_map(|measured| &measured.instructions).collect();
    if counts.is_empty() {
        return;
    }
    document.heading(2, "Instructions per inference");
    document.text(
        "Counted in an emulator or by valgrind. Counts belong to a processor model and not to the machine that counted, so this \
         table alone spans runs: it has the newest count of each. Few instructions are not always little time.",
    );
    let cell = |instructions: &Instructions| {
        let total = count(instructions.instructions as f64);
        Some(instructions.vector_fma.map_or(total.clone(), |fma| format!("{total} ({})", count(fma as f64))))
    };
    document.table(table("Instructions per inference, and vector multiply-accumulates among them", &counts, cell));
    counts.retain(|count| count.misses.is_some());
    if counts.is_empty() {
        return;
    }
    document.text(
        "Misses of the data caches of one core, as modelled: lines of 64 bytes, the one used longest ago is replaced, nothing \
         is fetched ahead. A core fetches ahead, so that these are what it would have to hide.",
    );
    let cell = |instructions: &Instructions| {
        let [l1, l2] = instructions.misses?;
        Some(format!("{} / {}", count(l1 as f64), count(l2 as f64)))
    };
    document.table(table("Modelled misses per inference, first level / second level", &counts, cell));
}

/// A row per model, task and runtime, a column per processor.
fn table(caption: &str, counts: &[&Instructions], cell: impl Fn(&Instructions) -> Option<String>) -> Table {
    let mut cpus: Vec<&str> = counts.iter().map(|count| count.cpu.as_str()).collect();
    cpus.sort_unstable();
    cpus.dedup();
    let mut table = Table::new(caption, &["model", "task", "runtime", "counted by"]);
    for cpu in &cpus {
        table.column(*cpu, true);
    }
    let mut rows: BTreeMap<_, BTreeMap<&str, String>> = BTreeMap::new();
    for instructions in counts {
        let Instructions { model, runtime, task, cpu, counter, .. } = instructions;
        if let Some(cell) = cell(instructions) {
            rows.entry((model, task, runtime, counter)).or_default().entry(cpu).or_insert(cell);
        }
    }
    for ((model, task, runtime, counter), cells) in rows {
        let cells = cpus.iter().map(|cpu| cells.get(cpu).cloned().unwrap_or_else(|| "—".into()));
        let head = [model.clone(), task_name(task), runtime.clone(), counter.clone()];
        table.rows.push(head.into_iter().chain(cells).collect());
    }
    table
}
