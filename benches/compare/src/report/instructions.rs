//! Executed instructions per inference: they repeat, and belong to a processor model and not to the machine that counted.

use std::collections::BTreeMap;

use super::contest::task_name;
use super::document::{Document, Table};
use super::units::count;
use crate::result::Instructions;
use crate::runs::Measured;

/// A table with a column per processor model, over all runs: the newest count of each, since `runs` come newest first.
pub fn add(document: &mut Document, runs: &[Measured]) {
    let counts: Vec<&Instructions> = runs.iter().flat_map(|measured| &measured.instructions).collect();
    if counts.is_empty() {
        return;
    }
    document.heading(2, "Instructions per inference");
    document.text(
        "Counted in an emulator or by valgrind. Counts belong to a processor model and not to the machine that counted, so this \
         table alone spans runs: it has the newest count of each. Few instructions are not always little time.",
    );
    let mut cpus: Vec<&str> = counts.iter().map(|count| count.cpu.as_str()).collect();
    cpus.sort_unstable();
    cpus.dedup();
    let mut table = Table::new(
        "Instructions per inference, and vector multiply-accumulates among them",
        &["model", "task", "runtime", "counted by"],
    );
    for cpu in &cpus {
        table.column(*cpu, true);
    }
    let mut rows: BTreeMap<_, BTreeMap<&str, String>> = BTreeMap::new();
    for instructions in counts {
        let Instructions { model, runtime, task, cpu, counter, vector_fma, .. } = instructions;
        let total = count(instructions.instructions as f64);
        let cell = vector_fma.map_or(total.clone(), |fma| format!("{total} ({})", count(fma as f64)));
        rows.entry((model, task, runtime, counter)).or_default().entry(cpu).or_insert(cell);
    }
    for ((model, task, runtime, counter), cells) in rows {
        let cells = cpus.iter().map(|cpu| cells.get(cpu).cloned().unwrap_or_else(|| "—".into()));
        let head = [model.clone(), task_name(task), runtime.clone(), counter.clone()];
        table.rows.push(head.into_iter().chain(cells).collect());
    }
    document.table(table);
}
