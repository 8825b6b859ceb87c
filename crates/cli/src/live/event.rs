//! Events: a class appeared, is still there or left; the newest of them with their snapshots, in bounded memory.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub(crate) use dyn_perceiver::events::EventKind;
use serde::Serialize;

use crate::output::time;

/// Events that are kept.
const EVENTS: usize = 64;
/// Bytes of all snapshots that are kept; the oldest go first.
const SNAPSHOT_BYTES: usize = 4 << 20;

/// Something that happened in front of the camera.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Event {
    /// Number in this run, from 1 on.
    pub id: u64,
    /// What happened.
    #[cfg_attr(test, schemars(with = "String"))]
    pub event: EventKind,
    /// Index of the class.
    pub class: usize,
    /// Name of the class.
    pub label: String,
    /// Confidence in [0, 1] of the frame that decided it.
    pub confidence: f32,
    /// Number of that frame in its stream.
    pub frame: u64,
    /// Time of day in UTC; none while the clock is not set.
    pub time: Option<String>,
    /// The snapshot's number, if one was taken: the picture may be gone again.
    pub snapshot: Option<u64>,
}

/// An event before it has a number and a time.
#[derive(Clone, Debug)]
pub(crate) struct NewEvent {
    pub event: EventKind,
    pub class: usize,
    pub label: String,
    pub confidence: f32,
    pub frame: u64,
    /// The frame as a JPEG file.
    pub jpeg: Option<Arc<[u8]>>,
}

/// A message that a rule publishes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Publication {
    pub topic: String,
    pub text: String,
}

/// The newest events of a run, shared between the loop that adds them and whoever reads them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Events(Arc<Mutex<Ring>>);

/// Somebody who wants to know at once.
type Listener = Box<dyn Fn() + Send>;

#[derive(Default)]
struct Ring {
    last: u64,
    events: VecDeque<Event>,
    /// Snapshots by the number of their event, oldest first.
    snapshots: VecDeque<(u64, Arc<[u8]>)>,
    snapshot_bytes: usize,
    listeners: Vec<Listener>,
    /// What rules publish and nobody has taken yet, oldest first.
    publications: VecDeque<Publication>,
}

impl fmt::Debug for Ring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ring").field("last", &self.last).field("events", &self.events).finish_non_exhaustive()
    }
}

impl Events {
    /// Has `listener` called after each event, in the thread of the loop: it must not wait.
    pub(crate) fn listen(&self, listener: impl Fn() + Send + 'static) {
        self.lock().listeners.push(Box::new(listener));
    }

    /// Adds an event that happens now and returns it with its number.
    pub(crate) fn push(&self, new: NewEvent) -> Event {
        let time = time::now();
        let mut ring = self.lock();
        ring.last += 1;
        let id = ring.last;
        let jpeg = new.jpeg.filter(|jpeg| jpeg.len() <= SNAPSHOT_BYTES);
        let event = Event {
            id,
            event: new.event,
            class: new.class,
            label: new.label,
            confidence: new.confidence,
            frame: new.frame,
            time,
            snapshot: jpeg.as_ref().map(|_| id),
        };
        if let Some(jpeg) = jpeg {
            ring.snapshot_bytes += jpeg.len();
            ring.snapshots.push_back((id, jpeg));
            while ring.snapshot_bytes > SNAPSHOT_BYTES || ring.snapshots.len() > EVENTS {
                let gone = ring.snapshots.pop_front().map_or(0, |(_, jpeg)| jpeg.len());
                ring.snapshot_bytes -= gone;
            }
        }
        ring.events.push_back(event.clone());
        if ring.events.len() > EVENTS {
            ring.events.pop_front();
        }
        ring.listeners.iter().for_each(|listener| listener());
        event
    }

    /// Hands a message to whoever publishes it. At most as many as events are kept.
    pub(crate) fn publish(&self, publication: Publication) {
        let mut ring = self.lock();
        ring.publications.push_back(publication);
        if ring.publications.len() > EVENTS {
            ring.publications.pop_front();
        }
        ring.listeners.iter().for_each(|listener| listener());
    }

    /// The messages to publish, oldest first; they are not given again.
    pub(crate) fn take_publications(&self) -> Vec<Publication> {
        self.lock().publications.drain(..).collect()
    }

    /// The number of the newest event, 0 before the first.
    pub(crate) fn last(&self) -> u64 {
        self.lock().last
    }

    /// The events after number `id` that are still kept, oldest first.
    pub(crate) fn after(&self, id: u64) -> Vec<Event> {
        self.lock().events.iter().filter(|event| event.id > id).cloned().collect()
    }

    /// A snapshot as a JPEG file, if it is still kept.
    pub(crate) fn snapshot(&self, id: u64) -> Option<Arc<[u8]>> {
        self.lock().snapshots.iter().find(|(of, _)| *of == id).map(|(_, jpeg)| jpeg.clone())
    }

    fn lock(&self) -> MutexGuard<'_, Ring> {
        // Nothing panics while it holds the lock; were it so, the ring would still be whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(bytes: usize) -> NewEvent {
        let jpeg = (bytes > 0).then(|| vec![0; bytes].into());
        NewEvent { event: EventKind::Appeared, class: 3, label: "cat".into(), confidence: 0.9, frame: 7, jpeg }
    }

    #[test]
    fn the_newest_events_are_kept_and_numbered() {
        let events = Events::default();
        assert_eq!((events.last(), events.after(0).len()), (0, 0));
        for _ in 0..EVENTS + 10 {
            events.push(event(0));
        }
        let kept = events.after(0);
        assert_eq!((kept.len(), kept[0].id, events.last()), (EVENTS, 11, EVENTS as u64 + 10));
        assert_eq!(events.after(events.last() - 2).len(), 2);
        assert_eq!(kept[0].snapshot, None);
    }

    #[test]
    fn snapshots_take_bounded_memory_and_the_oldest_go_first() {
        let events = Events::default();
        for _ in 0..5 {
            events.push(event(SNAPSHOT_BYTES / 4));
        }
        assert_eq!(events.snapshot(1), None);
        assert_eq!(events.snapshot(5).map(|jpeg| jpeg.len()), Some(SNAPSHOT_BYTES / 4));
        let large = events.push(event(SNAPSHOT_BYTES + 1));
        assert_eq!((large.snapshot, events.snapshot(2).is_some()), (None, true), "too large to be kept at all");
    }

    #[test]
    fn kinds_are_written_as_they_are_shown() {
        for kind in [EventKind::Appeared, EventKind::StillHere, EventKind::Left] {
            assert_eq!(serde_json::to_string(&kind).unwrap(), format!("\"{kind}\""));
        }
    }
}
