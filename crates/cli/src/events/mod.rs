//! Events of a running loop and what is done about them.
//!
//! The loop debounces answers and numbers events; everything that may take time (commands, files, GPIO lines) happens in a
//! thread of its own. Between the two is a queue of bounded length: the loop never waits, and what does not fit is counted.

mod action;
mod clip;
mod folder;
mod job;
mod line;
mod rules;
mod worker;

use std::sync::Arc;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use dyn_perceiver::camera::Frame;
use dyn_perceiver::events::{Debouncer, Sighting};
use dyn_perceiver::pipeline::Step;

use crate::args::model::class_name;
use crate::live::{self, Events, NewEvent};
use crate::output::failure::Failure;
use action::End;
pub(crate) use folder::Folder;
use job::Job;
pub(crate) use rules::{KEYS, Rule, Rules};
use worker::{Message, Worker};

/// Messages that wait for the worker.
const WAITING: usize = 32;
/// Frames that wait to be encoded for a clip: more would only take memory.
const FRAMES_WAITING: usize = 4;
/// Classes that are followed at a time.
pub(crate) const CLASSES: usize = 32;

/// What is done about events.
pub(crate) struct Plan {
    pub debouncer: Debouncer<CLASSES>,
    /// The classes that make events; all where there is none.
    pub classes: Vec<u16>,
    pub rules: Rules,
    pub folder: Option<Folder>,
    /// Time before and after an event that is kept as pictures.
    pub clip: Option<Duration>,
}

/// The loop's side of events.
pub(crate) struct Tap {
    debouncer: Debouncer<CLASSES>,
    classes: Vec<u16>,
    labels: Option<Vec<String>>,
    events: Events,
    /// Whether somebody wants pictures.
    pictures: bool,
    clips: bool,
    sender: Option<SyncSender<Message>>,
    thread: Option<JoinHandle<()>>,
    end: End,
    /// Frames that the worker has not taken yet.
    frames_waiting: Arc<std::sync::atomic::AtomicUsize>,
    lost: u64,
}

/// An event as the loop tells it.
pub(crate) struct Told {
    pub event: live::Event,
    /// How long the class has been here.
    pub lasted: Duration,
}

impl Tap {
    /// Starts the thread that acts, where there is anything to do.
    pub(crate) fn new(plan: Plan, labels: Option<Vec<String>>, events: Events) -> Result<Self, Failure> {
        let Plan { debouncer, classes, rules, folder, clip } = plan;
        let has_folder = folder.is_some();
        let pictures = has_folder || rules.want_pictures();
        let (frames_waiting, end) = (Arc::default(), End::default());
        let acts = has_folder || !rules.is_empty();
        let (sender, thread) = if acts {
            let (sender, receiver) = sync_channel(WAITING);
            let worker = Worker::new(rules, folder, clip, (events.clone(), Arc::clone(&frames_waiting), end.clone()))?;
            let thread = std::thread::Builder::new().name("events".into()).spawn(move || worker.run(&receiver))?;
            (Some(sender), Some(thread))
        } else {
            (None, None)
        };
        let clips = clip.is_some() && has_folder;
        Ok(Tap { debouncer, classes, labels, events, pictures, clips, sender, thread, end, frames_waiting, lost: 0 })
    }

    /// Whether frames should be kept for it.
    pub(crate) fn wants_frames(&self) -> bool {
        self.pictures || self.clips
    }

    /// Events for which nothing was done, because too many came at once.
    pub(crate) fn lost(&self) -> u64 {
        self.lost
    }

    fn wants(&self, class: u16) -> bool {
        self.classes.is_empty() || self.classes.contains(&class)
    }

    /// Takes in the answer to a frame, at a time of the loop's clock, and returns what happened.
    pub(crate) fn step(&mut self, step: &Step, time: Duration, frame: Option<&Frame>) -> Vec<Told> {
        let sightings: Vec<Sighting> = sightings(step).filter(|seen| self.wants(seen.class)).collect();
        let mut happened = vec![];
        self.debouncer.observe(time, &sightings, |event| happened.push(event));
        if let Some(frame) = frame.filter(|_| self.clips) {
            self.send_frame(frame, time);
        }
        if happened.is_empty() {
            return vec![];
        }
        // Of several events of one frame, all have its picture.
        let jpeg: Option<Arc<[u8]>> = frame.and_then(live::encode).map(Into::into);
        let mut told = vec![];
        for event in happened {
            let class = usize::from(event.class);
            let event_with_id = self.events.push(NewEvent {
                event: event.kind,
                class,
                label: class_name(self.labels.as_ref(), class),
                confidence: event.confidence,
                frame: step.sequence,
                jpeg: jpeg.clone(),
            });
            let job = Job { event: event_with_id.clone(), lasted: event.lasted, time, jpeg: jpeg.clone() };
            self.send(Message::Event(Box::new(job)));
            told.push(Told { event: event_with_id, lasted: event.lasted });
        }
        told
    }

    fn send_frame(&mut self, frame: &Frame, time: Duration) {
        use std::sync::atomic::Ordering;
        if self.frames_waiting.load(Ordering::Relaxed) >= FRAMES_WAITING {
            return;
        }
        let Some(sender) = &self.sender else { return };
        self.frames_waiting.fetch_add(1, Ordering::Relaxed);
        if sender.try_send(Message::Frame(Box::new(frame.clone()), time)).is_err() {
            self.frames_waiting.fetch_sub(1, Ordering::Relaxed);
        }
    }

    fn send(&mut self, message: Message) {
        if let Some(sender) = &self.sender
            && let Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) = sender.try_send(message)
        {
            self.lost += 1;
        }
    }
}

/// What a frame shows: its class, or of a detector the classes of its boxes, each with its best score.
fn sightings(step: &Step) -> impl Iterator<Item = Sighting> {
    let number = |class: usize| u16::try_from(class).unwrap_or(u16::MAX);
    let of_boxes = step.found.iter().flat_map(|found| &found.boxes).enumerate().filter(|(place, one)| {
        // Best first: of a class the first one counts.
        let before = step.found.iter().flat_map(|found| &found.boxes).take(*place);
        before.into_iter().all(|before| before.class != one.class)
    });
    let of_frame = step.found.is_none().then(|| Sighting::new(number(step.outcome.class), step.outcome.confidence));
    of_frame.into_iter().chain(of_boxes.map(move |(_, found)| Sighting::new(number(found.class), found.score)))
}

impl Drop for Tap {
    /// What has been begun is done, as far as a few seconds suffice.
    fn drop(&mut self) {
        self.end.begin();
        self.sender = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
