//! Events: options, and what they ask for.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use dyn_perceiver::events::{Confidences, Debouncer, EventSettings};

use crate::args::number;
use crate::args::share::Share;
use crate::events::{CLASSES, Folder, Plan, Rule, Rules};
use crate::output::failure::{Failure, OrInput as _, wrong};

/// What makes an event, and what is kept of it.
#[derive(Args)]
#[command(next_help_heading = "Events")]
pub(super) struct EventArgs {
    /// Tell when a class appears, stays and leaves. Rules of the settings file ([[on]]), --event-folder and the other options
    /// here tell it, too
    #[arg(long)]
    events: bool,
    /// Take a class as here when N of the last M frames show it, and as gone when as many do not
    #[arg(long, value_name = "N/M", default_value = "3/5", value_parser = frames)]
    event_frames: (u8, u8),
    /// Count frames of at least this confidence, such as 60% or 0.6
    #[arg(long, value_name = "SHARE", default_value_t = Share::new(0.6))]
    event_confidence: Share,
    /// Make events of these classes only, by label or number, each with a confidence of its own if it needs one:
    /// person=80%,cat
    #[arg(long, value_name = "CLASSES", value_delimiter = ',', value_parser = class)]
    event_classes: Option<Vec<EventClass>>,
    /// Do not tell a class to appear again before so many seconds have passed
    #[arg(long, value_name = "SECONDS", default_value = "0", value_parser = number::seconds_or_none)]
    cool_down: Duration,
    /// Tell every so many seconds that a class is still here
    #[arg(long, value_name = "SECONDS", value_parser = number::seconds)]
    still_every: Option<Duration>,
    /// Save events with a snapshot in this folder
    #[arg(long, value_name = "FOLDER")]
    event_folder: Option<PathBuf>,
    /// Let events take at most so many MiB of the folder; the oldest go first
    #[arg(long, value_name = "MIB", default_value_t = 256, value_parser = clap::value_parser!(u64).range(1..=1 << 24))]
    event_mib: u64,
    /// Save the pictures of so many seconds before and after an event, too, as MJPEG
    #[arg(long, value_name = "SECONDS", requires = "event_folder", value_parser = number::seconds)]
    event_clip: Option<Duration>,
}

/// A class and its confidence.
#[derive(Clone, Debug, PartialEq)]
struct EventClass {
    name: String,
    confidence: Option<Share>,
}

fn class(text: &str) -> Result<EventClass, String> {
    let (name, confidence) = match text.rsplit_once('=') {
        Some((name, share)) => (name, Some(share.parse()?)),
        None => (text, None),
    };
    let name = name.trim();
    if name.is_empty() { Err("expected a class".into()) } else { Ok(EventClass { name: name.into(), confidence }) }
}

fn frames(text: &str) -> Result<(u8, u8), String> {
    let parsed = text.split_once('/').and_then(|(n, m)| Some((n.trim().parse().ok()?, m.trim().parse().ok()?)));
    let (needed, of) = parsed.ok_or("expected two numbers of frames such as 3/5")?;
    EventSettings::new(needed, of).map_err(|error| error.to_string())?;
    Ok((needed, of))
}

impl EventArgs {
    /// What is done about events, if anybody wants any.
    pub(super) fn plan(
        &self,
        rules: Vec<Rule>,
        labels: Option<&[String]>,
        classes: usize,
    ) -> Result<Option<Plan>, Failure> {
        let rules = Rules::new(rules).or_input()?;
        let asked =
            self.events || self.event_folder.is_some() || self.event_classes.is_some() || self.still_every.is_some();
        if !asked && rules.is_empty() {
            return Ok(None);
        }
        let (needed, of) = self.event_frames;
        let settings = EventSettings::new(needed, of).or_input()?;
        let settings = settings.with_cool_down(self.cool_down).with_still_every(self.still_every);
        let mut confidences = Confidences::<CLASSES>::new(self.event_confidence.get());
        let mut wanted = vec![];
        for EventClass { name, confidence } in self.event_classes.iter().flatten() {
            let class = number_of(name, labels, classes)?;
            wanted.push(class);
            if let Some(confidence) = confidence
                && !confidences.set(class, confidence.get())
            {
                return wrong(format!("--event-classes: at most {CLASSES} classes have a confidence of their own"));
            }
        }
        let folder = match &self.event_folder {
            Some(path) => Some(Folder::open(path, self.event_mib << 20).or_input()?),
            None => None,
        };
        let debouncer = Debouncer::new(settings).with_confidences(confidences);
        Ok(Some(Plan { debouncer, classes: wanted, rules, folder, clip: self.event_clip }))
    }
}

/// The number of a class by its label, or else by that number.
fn number_of(name: &str, labels: Option<&[String]>, classes: usize) -> Result<u16, Failure> {
    let labels = labels.unwrap_or_default();
    let found = labels.iter().position(|label| label == name).or_else(|| name.parse().ok().filter(|&n| n < classes));
    if let Some(class) = found.and_then(|class| u16::try_from(class).ok()) {
        return Ok(class);
    }
    let near = |label: &&String| strsim::jaro_winkler(label, name);
    let nearest = labels.iter().max_by(|a, b| near(a).total_cmp(&near(b)));
    match nearest {
        Some(label) => wrong(format!("no class {name:?}; the nearest one is {label:?}")),
        None => wrong(format!("no class {name:?}: the model has {classes} without names, counted from 0")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_labels_or_numbers_with_or_without_a_confidence() {
        assert_eq!(class("cat"), Ok(EventClass { name: "cat".into(), confidence: None }));
        assert_eq!(class("T-shirt=80%").unwrap().confidence, Some(Share::new(0.8)));
        assert!(class("").is_err() && class("=80%").is_err() && class("cat=80").is_err());
        let labels = ["cat".to_owned(), "dog".to_owned()];
        let number = |name: &str| number_of(name, Some(&labels), 2).map_err(|_| ());
        assert_eq!((number("dog"), number("0"), number("2"), number("dgo")), (Ok(1), Ok(0), Err(()), Err(())));
    }

    #[test]
    fn frames_are_n_of_m() {
        assert_eq!(frames("3/5"), Ok((3, 5)));
        assert!(frames("3").is_err() && frames("6/5").is_err() && frames("0/5").is_err() && frames("1/64").is_err());
    }
}
