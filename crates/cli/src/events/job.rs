//! An event to act on, and the files that were made of it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::live::Event;

/// An event to act on.
#[derive(Clone, Debug)]
pub(super) struct Job {
    pub(super) event: Event,
    pub(super) lasted: Duration,
    /// The loop's time.
    pub(super) time: Duration,
    pub(super) jpeg: Option<Arc<[u8]>>,
}

/// Files that were made of an event.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Files<'a> {
    pub(super) snapshot: Option<&'a Path>,
    pub(super) clip: Option<&'a Path>,
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use dyn_perceiver::events::EventKind;

    pub(in super::super) fn job(label: &str) -> Job {
        let event = Event {
            id: 12,
            event: EventKind::Appeared,
            class: 3,
            label: label.into(),
            confidence: 0.875,
            frame: 77,
            time: Some("2026-11-27T12:00:00.000Z".into()),
            snapshot: Some(12),
        };
        Job { event, lasted: Duration::from_millis(1500), time: Duration::from_secs(9), jpeg: None }
    }
}
