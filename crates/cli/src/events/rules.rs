//! `[[on]]` rules of the settings file: which events, and what is done.
#![allow(clippy::disallowed_macros, reason = "the derive of a schema has them")]

use dyn_perceiver::events::EventKind;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::action::Template;
use crate::args::gpio::GpioLine;
use crate::live::Event;

/// Keys of a rule.
pub(crate) const KEYS: [&str; 9] =
    ["event", "class", "confidence", "run", "gpio", "seconds", "publish", "message", "save"];

/// One of several things or a list of them.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(untagged)]
pub(crate) enum OneOrMany<T> {
    One(T),
    Many(Vec<T>),
}

impl<T> OneOrMany<T> {
    fn as_slice(&self) -> &[T] {
        match self {
            OneOrMany::One(one) => std::slice::from_ref(one),
            OneOrMany::Many(many) => many,
        }
    }
}

/// The kinds of events by their names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum KindName {
    Appeared,
    StillHere,
    Left,
}

/// What to do when something happens.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rule {
    /// The kinds of events; all of them where it is left out.
    pub event: Option<OneOrMany<KindName>>,
    /// The classes, by label or number; all where it is left out.
    pub class: Option<OneOrMany<String>>,
    /// Least confidence in [0, 1].
    pub confidence: Option<f32>,
    /// A program and its arguments, in which {event}, {label}, {class}, {confidence}, {frame}, {id}, {time}, {lasted},
    /// {snapshot} and {clip} stand for what happened. No shell reads them.
    pub run: Option<Vec<String>>,
    /// A GPIO line, such as gpio:/dev/gpiochip0:18: active from appeared to left, or for `seconds`.
    pub gpio: Option<String>,
    /// How long the line stays active.
    pub seconds: Option<f64>,
    /// An MQTT topic, under which a message is published: needs --mqtt.
    pub publish: Option<String>,
    /// What the message says, with the same names as in `run`; the event as JSON where it is left out.
    pub message: Option<String>,
    /// Whether the event is saved in the folder of --event-folder. Where no rule says so, all are.
    pub save: Option<bool>,
}

/// A rule that makes no sense.
#[derive(Debug, thiserror::Error)]
#[error("rule {number} of [[on]]: {message}")]
pub(crate) struct RulesError {
    /// From 1 on.
    pub number: usize,
    message: String,
}

/// Rules, checked.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rules(Vec<Checked>);

/// A rule whose parts have been read.
#[derive(Clone, Debug)]
pub(super) struct Checked {
    pub(super) rule: Rule,
    pub(super) run: Option<Template>,
    pub(super) gpio: Option<GpioLine>,
    pub(super) message: Option<Template>,
}

impl Rule {
    /// Whether it publishes something.
    pub(crate) fn publishes(&self) -> bool {
        self.publish.is_some()
    }
}

impl Rules {
    /// Checks what rules say.
    ///
    /// # Errors
    /// [`RulesError`] with the number of the first rule that makes no sense.
    pub(crate) fn new(rules: Vec<Rule>) -> Result<Self, RulesError> {
        let checked = rules
            .into_iter()
            .enumerate()
            .map(|(at, rule)| check(rule).map_err(|message| RulesError { number: at + 1, message }));
        Ok(Rules(checked.collect::<Result<_, _>>()?))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a rule has a use for snapshots.
    pub(super) fn want_pictures(&self) -> bool {
        self.0.iter().any(|checked| checked.rule.save == Some(true))
    }

    /// Whether an event is to be saved: as rules say, or always where none says.
    pub(super) fn save(&self, event: &Event) -> bool {
        let mut saving = self.0.iter().filter(|checked| checked.rule.save == Some(true)).peekable();
        saving.peek().is_none() || saving.any(|checked| checked.fits(event))
    }

    /// The rules that an event calls.
    pub(super) fn of<'a>(&'a self, event: &'a Event) -> impl Iterator<Item = &'a Checked> {
        self.0.iter().filter(move |checked| checked.fits(event))
    }

    pub(super) fn all(&self) -> &[Checked] {
        &self.0
    }
}

impl Checked {
    fn fits(&self, event: &Event) -> bool {
        let Rule { event: kinds, class, confidence, .. } = &self.rule;
        let kind = match event.event {
            EventKind::Appeared => KindName::Appeared,
            EventKind::Left => KindName::Left,
            _ => KindName::StillHere,
        };
        let fits_kind = kinds.as_ref().is_none_or(|kinds| kinds.as_slice().contains(&kind));
        let number = event.class.to_string();
        let fits_class = class
            .as_ref()
            .is_none_or(|classes| classes.as_slice().iter().any(|name| *name == event.label || *name == number));
        fits_kind && fits_class && confidence.is_none_or(|least| event.confidence >= least)
    }
}

fn check(rule: Rule) -> Result<Checked, String> {
    if rule.confidence.is_some_and(|confidence| !(0.0..=1.0).contains(&confidence)) {
        return Err("confidence: expected a number in [0, 1]".into());
    }
    let run = rule.run.as_deref().map(Template::parse).transpose()?;
    let gpio = match rule.gpio.as_deref() {
        Some(name) => {
            let line = name.strip_prefix("gpio:").unwrap_or(name);
            Some(GpioLine::parse(line).map_err(|expected| format!("gpio: {expected}"))?)
        }
        None => None,
    };
    match rule.seconds {
        Some(_) if gpio.is_none() => {
            return Err("seconds: says how long a GPIO line is active, and there is none".into());
        }
        Some(seconds) if !(seconds > 0.0 && seconds <= 86_400.0) => {
            return Err("seconds: expected more than 0 and at most a day".into());
        }
        _ => {}
    }
    let message = rule.message.as_deref().map(Template::text).transpose()?;
    match rule.publish.as_deref() {
        None if message.is_some() => return Err("message: says what is published, and nothing is".into()),
        // As MQTT has it: patterns are for those who listen.
        Some(topic) if topic.is_empty() || topic.len() > 200 || topic.contains(['+', '#', '\0']) => {
            return Err("publish: expected a topic without + and #".into());
        }
        _ => {}
    }
    if run.is_none() && gpio.is_none() && rule.publish.is_none() && rule.save != Some(true) {
        return Err("does nothing: expected run, gpio, publish or save = true".into());
    }
    Ok(Checked { rule, run, gpio, message })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(text: &str) -> Result<Rules, String> {
        #[derive(Deserialize)]
        struct File {
            on: Vec<Rule>,
        }
        let file: File = toml::from_str(text).map_err(|error| error.message().to_owned())?;
        Rules::new(file.on).map_err(|error| error.to_string())
    }

    fn event(kind: EventKind, label: &str, confidence: f32) -> Event {
        let (id, class, frame, time, snapshot) = (1, 3, 9, None, None);
        Event { id, event: kind, class, label: label.into(), confidence, frame, time, snapshot }
    }

    #[test]
    fn rules_name_events_classes_and_confidences() {
        let rules = rules(
            "[[on]]\nevent = \"appeared\"\nclass = [\"person\", \"cat\"]\nconfidence = 0.8\nsave = true\n\
             [[on]]\nclass = \"3\"\nevent = [\"left\", \"still-here\"]\nrun = [\"true\"]\n",
        )
        .unwrap();
        let fitting = |event: &Event| rules.of(event).map(|checked| checked.run.is_some()).collect::<Vec<_>>();
        assert_eq!(fitting(&event(EventKind::Appeared, "cat", 0.9)), [false]);
        assert!(fitting(&event(EventKind::Appeared, "cat", 0.7)).is_empty());
        assert!(fitting(&event(EventKind::Appeared, "dog", 0.9)).is_empty());
        assert_eq!(fitting(&event(EventKind::Left, "dog", 0.1)), [true]);
        assert!(rules.save(&event(EventKind::Appeared, "cat", 0.9)));
        assert!(!rules.save(&event(EventKind::Appeared, "dog", 0.9)));
        assert!(Rules::default().save(&event(EventKind::Left, "dog", 0.1)), "without rules everything is saved");
    }

    #[test]
    fn rules_that_make_no_sense_are_refused() {
        for (text, expected) in [
            ("class = \"a\"", "rule 1 of [[on]]: does nothing"),
            ("run = []", "run: expected a program"),
            ("run = [\"notify\", \"{lable}\"]", "{lable}"),
            ("gpio = \"18\"", "gpio: expected a GPIO line"),
            ("save = true\nseconds = 2", "there is none"),
            ("publish = \"door/#\"", "publish: expected a topic"),
            ("publish = \"door\"\nmessage = \"{lable}\"", "message: {lable} is no name"),
            ("save = true\nmessage = \"x\"", "nothing is"),
            ("gpio = \"/dev/gpiochip0:18\"\nseconds = 0", "more than 0"),
            ("save = true\nconfidence = 80", "expected a number in [0, 1]"),
            ("event = \"arrived\"\nsave = true", "data did not match"),
            ("svae = true", "unknown field"),
        ] {
            let error = rules(&format!("[[on]]\n{text}\n")).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn the_known_keys_are_those_of_the_type() {
        let schema = schemars::schema_for!(Rule);
        let properties = schema.get("properties").and_then(|value| value.as_object()).unwrap();
        let mut keys: Vec<&str> = properties.keys().map(String::as_str).collect();
        let mut known = KEYS.to_vec();
        keys.sort_unstable();
        known.sort_unstable();
        assert_eq!(keys, known);
    }
}
