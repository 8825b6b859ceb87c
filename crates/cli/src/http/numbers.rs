//! The loop's numbers, written once for all readers.

use std::sync::{Arc, Mutex, PoisonError};

use hyper::body::Bytes;

use crate::live::{Facts, Live, State};

/// What readers are told of the loop.
#[derive(Debug)]
pub(super) struct Numbers {
    pub live: Arc<Live>,
    pub facts: Facts,
    /// The last state that was written, and how: a hundred readers cost one serialisation.
    written: Mutex<Option<(Arc<State>, Bytes)>>,
}

impl Numbers {
    pub(super) fn new(live: Arc<Live>, facts: Facts) -> Self {
        Self { live, facts, written: Mutex::default() }
    }

    /// The newest state as a line of JSON.
    pub(super) fn line(&self) -> Option<(Arc<State>, Bytes)> {
        let state = self.live.state()?;
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((of, line)) = written.as_ref().filter(|(of, _)| Arc::ptr_eq(of, &state)) {
            return Some((of.clone(), line.clone()));
        }
        let line = Bytes::from(self.facts.line(&state)?);
        *written = Some((state.clone(), line.clone()));
        Some((state, line))
    }
}
