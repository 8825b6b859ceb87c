//! The thread that acts on events. Nothing that goes wrong here ends the loop: it is told, and the next event is acted on.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use dyn_perceiver::camera::Frame;
use dyn_perceiver::events::EventKind;

use super::action::End;
use super::clip::Ring;
use super::folder::Folder;
use super::job::{Files, Job};
use super::line::OutputLine;
use super::rules::{Checked, Rules};
use crate::live::{self, Events, Publication};
use crate::output::failure::{Failure, OrInput as _};
use crate::output::json;
use crate::output::message;

/// A wait for the next message, within which lines are set back in time.
const NAP: Duration = Duration::from_millis(100);

/// What the loop hands over.
pub(super) enum Message {
    /// A frame, for clips, and the loop's time.
    Frame(Box<Frame>, Duration),
    /// Something that happened.
    Event(Box<Job>),
}

/// An event whose clip is not complete yet, and what is known of it.
struct Pending {
    job: Job,
    snapshot: Option<PathBuf>,
    /// By the loop's clock and by that of the wall, whichever comes first: a loop may stand still.
    complete: Duration,
    latest: Instant,
}

/// Acts on events.
pub(super) struct Worker {
    rules: Rules,
    folder: Option<Folder>,
    ring: Option<Ring>,
    lines: Vec<OutputLine>,
    pending: VecDeque<Pending>,
    /// Where messages go that rules publish.
    events: Events,
    frames_waiting: Arc<AtomicUsize>,
    end: End,
    /// Whether the last file did not reach the disk.
    disk_failed: bool,
}

impl Worker {
    /// Takes the GPIO lines of the rules.
    pub(super) fn new(
        rules: Rules,
        folder: Option<Folder>,
        clip: Option<Duration>,
        (events, frames_waiting, end): (Events, Arc<AtomicUsize>, End),
    ) -> Result<Self, Failure> {
        let mut lines: Vec<OutputLine> = vec![];
        for name in rules.all().iter().filter_map(|checked| checked.gpio.as_ref()) {
            if !lines.iter().any(|line| line.is(name)) {
                lines.push(OutputLine::open(name).or_input()?);
            }
        }
        let ring = clip.filter(|_| folder.is_some()).map(Ring::new);
        let (pending, disk_failed) = (VecDeque::new(), false);
        Ok(Worker { rules, folder, ring, lines, pending, events, frames_waiting, end, disk_failed })
    }

    /// Acts until the loop has ended.
    pub(super) fn run(mut self, messages: &Receiver<Message>) {
        loop {
            match messages.recv_timeout(NAP) {
                Ok(Message::Frame(frame, time)) => {
                    self.frames_waiting.fetch_sub(1, Ordering::Relaxed);
                    self.frame(&frame, time);
                }
                Ok(Message::Event(job)) => self.event(*job),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            self.set_lines_back();
            self.finish_clips(None);
        }
        while let Some(pending) = self.pending.pop_front() {
            self.finish(pending);
        }
        for line in &mut self.lines {
            // Whatever the line drives is not left on.
            let _ = line.set(false);
        }
    }

    fn frame(&mut self, frame: &Frame, time: Duration) {
        if let Some(ring) = self.ring.as_mut().filter(|ring| ring.wants(time))
            && let Some(jpeg) = live::encode(frame)
        {
            ring.push(time, jpeg);
        }
        self.finish_clips(Some(time));
    }

    fn event(&mut self, job: Job) {
        let snapshot = self.save(&job);
        self.set_lines(&job);
        match &self.ring {
            // Commands are told of the clip, so they wait for it.
            Some(ring) if self.rules.save(&job.event) => {
                let complete = job.time + ring.around();
                let latest = Instant::now() + ring.around() + NAP;
                self.pending.push_back(Pending { job, snapshot, complete, latest });
            }
            _ => self.run_commands(&job, Files { snapshot: snapshot.as_deref(), clip: None }),
        }
    }

    /// Writes what happened and how it looked.
    fn save(&mut self, job: &Job) -> Option<PathBuf> {
        if self.folder.is_none() || !self.rules.save(&job.event) {
            return None;
        }
        let name = Folder::name(&job.event);
        if let Ok(line) = json::line(&json::Versioned::new(&job.event)) {
            self.write(&name, "json", &line);
        }
        let jpeg = job.jpeg.as_ref()?;
        self.write(&name, "jpg", jpeg)
    }

    fn write(&mut self, name: &str, extension: &str, bytes: &[u8]) -> Option<PathBuf> {
        match self.folder.as_mut()?.write(name, extension, bytes) {
            Ok(path) => {
                if std::mem::take(&mut self.disk_failed) {
                    message::note("events are saved again");
                }
                Some(path)
            }
            Err(error) => {
                if !std::mem::replace(&mut self.disk_failed, true) {
                    message::warning(&format!("an event is not saved: {error}"));
                }
                None
            }
        }
    }

    fn finish_clips(&mut self, time: Option<Duration>) {
        let now = Instant::now();
        while let Some(pending) = self.pending.front() {
            let is_complete = time.is_some_and(|time| time >= pending.complete) || now >= pending.latest;
            if !is_complete {
                return;
            }
            if let Some(pending) = self.pending.pop_front() {
                self.finish(pending);
            }
        }
    }

    fn finish(&mut self, Pending { job, snapshot, .. }: Pending) {
        let clip = self.ring.as_ref().and_then(|ring| ring.clip(job.time));
        let clip = clip.and_then(|clip| self.write(&Folder::name(&job.event), "mjpeg", &clip));
        self.run_commands(&job, Files { snapshot: snapshot.as_deref(), clip: clip.as_deref() });
    }

    fn run_commands(&self, job: &Job, files: Files<'_>) {
        for Checked { rule, message, .. } in self.rules.of(&job.event) {
            let Some(topic) = &rule.publish else { continue };
            let text = match message {
                Some(template) => template.filled(job, files).concat(),
                None => match json::line(&json::Versioned::new(&job.event)) {
                    Ok(line) => String::from_utf8_lossy(line.trim_ascii_end()).into_owned(),
                    Err(_) => continue,
                },
            };
            self.events.publish(Publication { topic: topic.clone(), text });
        }
        for template in self.rules.of(&job.event).filter_map(|checked| checked.run.as_ref()) {
            if let Err(error) = template.run(job, files, &self.end) {
                message::warning(&format!("event {}: {error}", job.event.id));
            }
        }
    }

    fn set_lines(&mut self, job: &Job) {
        for Checked { rule, gpio, .. } in self.rules.of(&job.event) {
            let Some(name) = gpio else { continue };
            let Some(line) = self.lines.iter_mut().find(|line| line.is(name)) else { continue };
            // With a time of its own a line is a pulse, whatever happened; without one it follows who is here.
            let active = rule.seconds.is_some() || job.event.event != EventKind::Left;
            line.until = rule.seconds.map(|seconds| Instant::now() + Duration::from_secs_f64(seconds));
            if let Err(error) = line.set(active) {
                message::warning(&format!("event {}: {error:#}", job.event.id));
            }
        }
    }

    fn set_lines_back(&mut self) {
        let now = Instant::now();
        for line in self.lines.iter_mut().filter(|line| line.until.is_some_and(|until| now >= until)) {
            line.until = None;
            if let Err(error) = line.set(false) {
                message::warning(&format!("{error:#}"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::job::tests::job;
    use super::super::rules::Rule;
    use super::*;
    use std::sync::mpsc::sync_channel;

    fn act(folder: &std::path::Path, limit: u64, clip: Option<Duration>, messages: Vec<Message>) -> Vec<String> {
        let out = folder.join("told");
        let run = ["sh", "-c", "echo \"$@\" >> \"$0\"", out.to_str().unwrap(), "{label}", "{snapshot}", "{clip}"];
        let rule = Rule { run: Some(run.map(String::from).to_vec()), ..Rule::default() };
        let events = Folder::open(&folder.join("events"), limit).unwrap();
        let worker = Worker::new(Rules::new(vec![rule]).unwrap(), Some(events), clip, Default::default()).unwrap();
        worker.frames_waiting.store(messages.len(), Ordering::Relaxed);
        let (sender, receiver) = sync_channel(messages.len());
        messages.into_iter().for_each(|message| sender.send(message).unwrap());
        drop(sender);
        worker.run(&receiver);
        let told = std::fs::read_to_string(out).unwrap_or_default();
        let folder = folder.join("events").display().to_string() + "/";
        told.lines().map(|line| line.replace(&folder, "")).collect()
    }

    fn with_picture(label: &str, bytes: usize) -> Message {
        Message::Event(Box::new(Job { jpeg: Some(vec![0; bytes].into()), ..job(label) }))
    }

    #[test]
    fn an_event_is_saved_and_its_command_is_told_where() {
        let folder = tempfile::tempdir().unwrap();
        let told = act(folder.path(), 1 << 20, None, vec![with_picture("cat", 10)]);
        let name = "event-20261127T120000.000Z-000012-appeared-cat";
        assert_eq!(told, [format!("cat {name}.jpg ")]);
        let text = std::fs::read_to_string(folder.path().join(format!("events/{name}.json"))).unwrap();
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(
            (&value["event"], &value["label"], &value["schema"]),
            (&"appeared".into(), &"cat".into(), &2.into())
        );
    }

    #[test]
    fn the_pictures_before_and_after_make_a_clip() {
        let folder = tempfile::tempdir().unwrap();
        let frame = |second| {
            let pixels = vec![second as u8; 64];
            let frame = Frame::new(pixels, dyn_perceiver::camera::PixelFormat::Grey, 8, 8);
            Message::Frame(Box::new(frame), Duration::from_secs(second))
        };
        // The event is of second 9; of its clip second 6 is the first and second 12 the last.
        let mut messages: Vec<Message> = (0..10).map(frame).collect();
        messages.push(with_picture("cat", 10));
        messages.extend((10..16).map(frame));
        let told = act(folder.path(), 1 << 20, Some(Duration::from_secs(3)), messages);
        assert!(told[0].ends_with("-cat.mjpeg"), "{told:?}");
        let clip = told[0].split(' ').next_back().unwrap();
        let clip = std::fs::read(folder.path().join("events").join(clip)).unwrap();
        assert_eq!(clip.windows(3).filter(|bytes| *bytes == [0xff, 0xd8, 0xff]).count(), 7);
    }

    #[test]
    fn a_rule_publishes_what_it_says_or_the_event() {
        let rule = |message: Option<&str>| Rule {
            publish: Some("alarms/door".into()),
            message: message.map(str::to_owned),
            ..Rule::default()
        };
        let rules = Rules::new(vec![rule(Some("{label} at {confidence}")), rule(None)]).unwrap();
        let events = Events::default();
        let worker = Worker::new(rules, None, None, (events.clone(), Arc::default(), End::default())).unwrap();
        let (sender, receiver) = sync_channel(1);
        sender.send(with_picture("cat", 10)).unwrap();
        drop(sender);
        worker.run(&receiver);
        let published = events.take_publications();
        assert_eq!(published[0], Publication { topic: "alarms/door".into(), text: "cat at 0.875".into() });
        let event: serde_json::Value = serde_json::from_str(&published[1].text).unwrap();
        assert_eq!((&event["label"], &event["schema"]), (&"cat".into(), &2.into()));
        assert!(events.take_publications().is_empty());
    }

    #[test]
    fn a_disk_that_is_full_loses_files_but_no_command() {
        let folder = tempfile::tempdir().unwrap();
        let told = act(folder.path(), 100, None, vec![with_picture("cat", 200), with_picture("dog", 300)]);
        assert_eq!(told, ["cat  ", "dog  "]);
    }
}
