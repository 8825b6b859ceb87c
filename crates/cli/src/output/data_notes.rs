//! What a person should know of labelled data: what was left out of them, and what looks wrong.

use dyn_perceiver::calibrate::evaluate::NearChance;
use dyn_perceiver::collect::LabelledData;
use dyn_perceiver::dataset::Skipped;
use serde::Serialize;

use super::failure::Failure;
use super::{json, message};

/// Things left out that are named one by one; of more, the number is told.
const NAMED: usize = 20;

/// Warnings about labelled data, and what was left out of them.
#[derive(Debug, Default)]
pub(crate) struct DataNotes {
    warnings: Vec<String>,
    skipped: Vec<Skipped>,
}

/// One thing left out, as JSON.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct SkippedReport<'a> {
    path: std::borrow::Cow<'a, str>,
    reason: String,
    /// Whether it should have been there.
    fault: bool,
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

    /// Tells all of it on stderr.
    pub(crate) fn tell(&self) {
        let faults_first = |wanted: bool| self.skipped.iter().filter(move |skipped| skipped.is_fault() == wanted);
        for skipped in faults_first(true).chain(faults_first(false)).take(NAMED) {
            message::tell("left out: ", &skipped.to_string());
        }
        if let Some(more) = self.skipped.len().checked_sub(NAMED).filter(|more| *more > 0) {
            message::tell("left out: ", &format!("{more} more"));
        }
        for warning in &self.warnings {
            message::warning(warning);
        }
    }

    /// The key `skipped` of a JSON object.
    pub(crate) fn skipped(&self) -> Vec<SkippedReport<'_>> {
        let report = |skipped: &Skipped| SkippedReport {
            path: json::path(&skipped.path).into_owned().into(),
            reason: skipped.reason.to_string(),
            fault: skipped.is_fault(),
        };
        self.skipped.iter().map(report).collect()
    }

    /// The key `warnings` of a JSON object.
    pub(crate) fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Exit code 1 at the end, if samples could not be used.
    pub(crate) fn end(&self) -> Result<(), Failure> {
        match self.skipped.iter().filter(|skipped| skipped.is_fault()).count() {
            0 => Ok(()),
            1 => Err(anyhow::anyhow!("1 sample could not be used").into()),
            count => Err(anyhow::anyhow!("{count} samples could not be used").into()),
        }
    }
}
