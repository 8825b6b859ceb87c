//! The slots between the loop and its readers.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use dyn_perceiver::camera::Frame;

use super::{Events, State, Wish};

/// Somebody who looked so lately is taken to look still.
const ATTENTION: Duration = Duration::from_secs(10);
/// Time between publications while somebody looks, and while nobody does.
const LOOKED_AT: Duration = Duration::from_millis(200);
const ALONE: Duration = Duration::from_secs(1);
/// A loop this slow keeps every frame: whoever comes need not wait for the next, and a copy is nothing beside the pause.
const SLOW: Duration = Duration::from_secs(1);

/// Wishes that wait for the loop.
#[cfg(feature = "mqtt")]
const WISHES: usize = 8;

/// What a loop shows. Readers hold it in any number of threads.
#[derive(Debug)]
pub(crate) struct Live {
    begun: Instant,
    /// Milliseconds after `begun` until which somebody looks; 0 before the first look.
    looked_until: AtomicU64,
    state: Mutex<Option<Arc<State>>>,
    /// Milliseconds after `begun` at which a frame was classified last.
    classified: AtomicU64,
    picture: Mutex<Option<Arc<Picture>>>,
    events: Events,
    /// Whether the loop shall take no frames.
    paused: AtomicBool,
    /// What the loop has not looked at yet, oldest first.
    wishes: Mutex<Vec<Wish>>,
    /// The loop's flag to keep frames; set once there is a loop.
    keep: OnceLock<Arc<AtomicBool>>,
}

/// A frame, and its JPEG file once somebody has asked for it.
#[derive(Debug)]
pub(crate) struct Picture {
    frame: Frame,
    jpeg: OnceLock<Option<Arc<[u8]>>>,
}

impl Picture {
    /// Number of the frame in its stream.
    pub(crate) fn sequence(&self) -> u64 {
        self.frame.sequence
    }

    /// The frame as a JPEG file, encoded by whoever asks first; none where that cannot be.
    pub(crate) fn jpeg(&self) -> Option<Arc<[u8]>> {
        self.jpeg.get_or_init(|| super::encode(&self.frame).map(Into::into)).clone()
    }
}

impl Live {
    /// Of a loop whose events are these.
    pub(crate) fn new(events: Events) -> Arc<Self> {
        Arc::new(Self {
            begun: Instant::now(),
            looked_until: AtomicU64::new(0),
            state: Mutex::new(None),
            classified: AtomicU64::new(0),
            picture: Mutex::new(None),
            events,
            paused: AtomicBool::new(false),
            wishes: Mutex::default(),
            keep: OnceLock::new(),
        })
    }

    /// Says that somebody looks: numbers come more often from now on, and pictures at all.
    pub(crate) fn look(&self) {
        self.looked_until.store(self.millis() + ATTENTION.as_millis() as u64, Ordering::Relaxed);
        if let Some(keep) = self.keep.get() {
            keep.store(true, Ordering::Relaxed);
        }
    }

    /// The newest numbers; none before the first frame.
    pub(crate) fn state(&self) -> Option<Arc<State>> {
        lock(&self.state).clone()
    }

    /// Time since a frame was classified, to within a publication.
    pub(crate) fn age(&self) -> Duration {
        Duration::from_millis(self.millis().saturating_sub(self.classified.load(Ordering::Relaxed)))
    }

    /// The newest picture; none while nobody has looked.
    pub(crate) fn picture(&self) -> Option<Arc<Picture>> {
        lock(&self.picture).clone()
    }

    /// The newest events.
    pub(crate) fn events(&self) -> &Events {
        &self.events
    }

    /// Has the loop take no frames, or take them again.
    #[cfg(feature = "mqtt")]
    pub(crate) fn pause(&self, paused: bool) {
        self.paused.store(paused, Ordering::Relaxed);
    }

    /// Whether the loop shall take no frames.
    pub(crate) fn is_paused(&self) -> bool {
        self.paused.load(Ordering::Relaxed)
    }

    /// Has the loop do something otherwise. Only the newest wishes are kept, should it never look.
    #[cfg(feature = "mqtt")]
    pub(crate) fn wish(&self, wish: Wish) {
        let mut wishes = lock(&self.wishes);
        if wishes.len() >= WISHES {
            wishes.remove(0);
        }
        wishes.push(wish);
    }

    /// What the loop is to do otherwise.
    pub(crate) fn take_wishes(&self) -> Vec<Wish> {
        std::mem::take(&mut *lock(&self.wishes))
    }

    fn is_looked_at(&self) -> bool {
        match self.looked_until.load(Ordering::Relaxed) {
            0 => false,
            until => self.millis() < until,
        }
    }

    fn millis(&self) -> u64 {
        self.begun.elapsed().as_millis() as u64
    }
}

/// The loop's end: puts things into the slots, at most so often as somebody could see.
#[derive(Debug)]
pub(crate) struct Publisher {
    live: Arc<Live>,
    last: Option<Instant>,
    /// Frames of the last publication.
    frames: u64,
    /// Whether frames are kept whoever looks, as events need them.
    always_keeps: bool,
}

impl Publisher {
    /// Of a loop that keeps frames while the flag `keep` is set.
    pub(crate) fn new(live: Arc<Live>, keep: &Arc<AtomicBool>) -> Self {
        let keep = live.keep.get_or_init(|| keep.clone());
        let always_keeps = keep.load(Ordering::Relaxed);
        Self { live, last: None, frames: 0, always_keeps }
    }

    /// What it is published to.
    pub(crate) fn live(&self) -> &Arc<Live> {
        &self.live
    }

    /// Whether numbers should be published: the loop gathers them only then.
    pub(crate) fn is_due(&self) -> bool {
        let least = if self.live.is_looked_at() { LOOKED_AT } else { ALONE };
        self.last.is_none_or(|last| last.elapsed() >= least)
    }

    /// Publishes numbers and the frame that they belong to, where it was kept.
    pub(crate) fn publish(&mut self, state: State, frame: Option<&Frame>, period: Duration) {
        self.last = Some(Instant::now());
        if state.frames > self.frames {
            self.frames = state.frames;
            self.live.classified.store(self.live.millis(), Ordering::Relaxed);
        }
        *lock(&self.live.state) = Some(Arc::new(state));
        let wanted = self.live.is_looked_at() || period >= SLOW;
        if let Some(keep) = self.live.keep.get() {
            keep.store(self.always_keeps || wanted, Ordering::Relaxed);
        }
        let picture = frame.filter(|_| wanted).map(|frame| {
            let frame = frame.clone();
            Arc::new(Picture { frame, jpeg: OnceLock::new() })
        });
        // An old picture goes with the attention it was made for.
        if picture.is_some() || !wanted {
            *lock(&self.live.picture) = picture;
        }
    }
}

fn lock<T>(slot: &Mutex<T>) -> MutexGuard<'_, T> {
    // Held for as long as a pointer takes to be copied; nothing panics meanwhile.
    slot.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use dyn_perceiver::camera::PixelFormat;

    fn frame(sequence: u64) -> Frame {
        Frame::new(vec![sequence as u8; 64], PixelFormat::Grey, 8, 8).with_sequence(sequence)
    }

    fn state(frames: u64) -> State {
        State { frames, ..State::default() }
    }

    #[test]
    fn numbers_are_always_there_and_pictures_only_while_somebody_looks() {
        let (live, keep) = (Live::new(Events::default()), Arc::default());
        let mut publisher = Publisher::new(live.clone(), &keep);
        assert!(publisher.is_due() && live.state().is_none());
        publisher.publish(state(1), Some(&frame(0)), Duration::ZERO);
        assert_eq!(live.state().map(|state| state.frames), Some(1));
        assert!(live.picture().is_none() && !keep.load(Ordering::Relaxed));
        assert!(!publisher.is_due(), "a second has not passed");
        live.look();
        assert!(keep.load(Ordering::Relaxed));
        publisher.publish(state(2), Some(&frame(1)), Duration::ZERO);
        let first = live.picture().unwrap();
        publisher.publish(state(3), Some(&frame(2)), Duration::ZERO);
        assert_eq!(live.picture().map(|picture| picture.sequence()), Some(2), "the newest, whoever holds an older one");
        assert_eq!(first.sequence(), 1);
        assert_eq!(first.jpeg().unwrap()[..2], [0xff, 0xd8]);
        publisher.publish(state(4), None, Duration::ZERO);
        assert_eq!(live.picture().map(|picture| picture.sequence()), Some(2), "a frame that was not kept hides none");
    }

    #[test]
    fn a_slow_loop_and_one_with_events_keep_frames_whoever_looks() {
        let (live, keep) = (Live::new(Events::default()), Arc::default());
        Publisher::new(live.clone(), &keep).publish(state(1), Some(&frame(0)), SLOW);
        assert!(live.picture().is_some() && keep.load(Ordering::Relaxed));
        let (live, keep) = (Live::new(Events::default()), Arc::new(AtomicBool::new(true)));
        Publisher::new(live.clone(), &keep).publish(state(1), Some(&frame(0)), Duration::ZERO);
        assert!(live.picture().is_none() && keep.load(Ordering::Relaxed));
    }
}
