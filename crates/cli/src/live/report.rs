//! The newest numbers as one line of JSON, alike on the live page and in messages.

use serde::Serialize;

use super::State;
use crate::output::json;

/// What does not change while the loop runs.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Facts {
    /// Version of the program.
    pub version: &'static str,
    /// Name of the device: the machine's, unless another was given.
    pub device: String,
    /// The model.
    pub model: String,
    /// The battery, in words.
    pub battery: String,
    /// Where joules come from, in words.
    pub joules_from: String,
    /// Whether there is a mission, whose mode can be changed; the state tells it by itself.
    #[serde(skip)]
    pub has_mission: bool,
    /// The plan of the mission as a line of JSON, for the page; none without a mission.
    #[serde(skip)]
    pub plan: Option<Vec<u8>>,
}

#[derive(Serialize)]
struct Report<'a> {
    kind: &'static str,
    #[serde(flatten)]
    facts: &'a Facts,
    #[serde(flatten)]
    state: &'a State,
}

impl Facts {
    /// Of this program on this machine.
    pub(crate) fn new(model: String, battery: String, joules_from: String) -> Self {
        let version = env!("CARGO_PKG_VERSION");
        Self { version, device: machine(), model, battery, joules_from, has_mission: false, plan: None }
    }

    /// The same with the plan of a mission.
    #[cfg(feature = "http")]
    pub(crate) fn with_plan(self, plan: Option<Vec<u8>>) -> Self {
        Self { plan, ..self }
    }

    /// The same of a loop with a mission, or without one.
    pub(crate) fn with_mission(self, has_mission: bool) -> Self {
        Self { has_mission, ..self }
    }

    /// These and a state as one line; none where that cannot be written, which no state makes happen.
    pub(crate) fn line(&self, state: &State) -> Option<Vec<u8>> {
        let report = Report { kind: "live", facts: self, state };
        json::line(&json::Versioned::new(&report)).ok()
    }
}

/// The name of this machine.
pub(crate) fn machine() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    name.trim().to_owned()
}
