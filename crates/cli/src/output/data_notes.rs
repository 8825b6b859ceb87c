//! What a person should know of labelled data: what was left out of them, and what looks wrong.

use std::io::Write as _;

use dyn_perceiver::calibrate::evaluate::NearChance;
use dyn_perceiver::collect::LabelledData;
use dyn_perceiver::dataset::Skipped;
use serde_json::{Value, json};

use crate::output::failure::Failure;

/// Things left out that are named one by one; of more, the number is told.
const NAMED: usize = 20;

/// Warnings about labelled data, and what was left out of them.
#[derive(Debug, Default)]
pub(crate) struct DataNotes {
    warnings: Vec<String>,
    skipped: Vec<Skipped>,
}

impl DataNotes {
    /// What opening the data brought to light.
    pub(crate) fn of(data: &LabelledData) -> Self {
        let doubt = data.class_order().filter(|order| order.is_doubtful());
        let warnings = doubt.map(|order| format!("{}: {order}", data.path().display())).into_iter().collect();
        DataNotes { warnings, skipped: data.skipped().to_vec() }
    }

    /// Adds samples that could not be used.
    pub(crate) fn skip(&mut self, skipped: Vec<Skipped>) {
        self.skipped.extend(skipped);
    }

    /// Adds a warning where accuracy is near chance.
    pub(crate) fn near_chance(&mut self, near_chance: Option<NearChance>) {
        self.warnings.extend(near_chance.map(|found| found.to_string()));
    }

    /// Samples that should have been there and could not be used.
    fn faults(&self) -> usize {
        self.skipped.iter().filter(|skipped| skipped.is_fault()).count()
    }

    /// Tells all of it on stderr.
    pub(crate) fn tell(&self) {
        let mut err = std::io::stderr().lock();
        let faults_first = |wanted: bool| self.skipped.iter().filter(move |skipped| skipped.is_fault() == wanted);
        for skipped in faults_first(true).chain(faults_first(false)).take(NAMED) {
            // Who cannot be told is not told.
            let _ = writeln!(err, "left out: {}", quoted(&skipped.to_string()));
        }
        if let Some(more) = self.skipped.len().checked_sub(NAMED).filter(|more| *more > 0) {
            let _ = writeln!(err, "left out: {more} more");
        }
        for warning in &self.warnings {
            let _ = writeln!(err, "warning: {}", quoted(warning));
        }
    }

    /// The keys `skipped` and `warnings` of a JSON object.
    pub(crate) fn json(&self) -> (Value, Value) {
        let skipped = self.skipped.iter();
        let each = skipped.map(|skipped| {
            json!({"path": skipped.path.to_string_lossy(), "reason": skipped.reason.to_string(),
                   "fault": skipped.is_fault()})
        });
        (each.collect(), json!(self.warnings))
    }

    /// Exit code 1 at the end, where samples could not be used.
    pub(crate) fn end(&self) -> Result<(), Failure> {
        match self.faults() {
            0 => Ok(()),
            1 => Err(anyhow::anyhow!("1 sample could not be used").into()),
            count => Err(anyhow::anyhow!("{count} samples could not be used").into()),
        }
    }
}

/// Names come from outside: control characters in them must not reach a terminal.
fn quoted(text: &str) -> String {
    text.chars().flat_map(|c| if c.is_control() { c.escape_default().collect::<Vec<_>>() } else { vec![c] }).collect()
}
