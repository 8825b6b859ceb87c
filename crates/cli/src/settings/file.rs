//! Reading a settings file: each key an option, each value text for the option's parser.

use std::fmt;
use std::io::Read as _;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::options::{Kind, Setting, settings};
use crate::events::{KEYS, Rule};

/// The key of rules for events.
pub(super) const RULES: &str = "on";

/// Largest file that is read.
const LARGEST: u64 = 1 << 20;

/// A line and column of a file, both from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub line: usize,
    pub column: usize,
}

impl Place {
    fn of(text: &str, at: usize) -> Self {
        let before = text.get(..at).unwrap_or(text);
        let column = before.rsplit('\n').next().map_or(0, |line| line.chars().count());
        Place { line: before.matches('\n').count() + 1, column: column + 1 }
    }
}

/// What is wrong with a settings file, and where.
#[derive(Debug, thiserror::Error)]
pub(crate) struct SettingsError {
    path: PathBuf,
    place: Option<Place>,
    message: String,
}

impl fmt::Display for SettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path.display())?;
        if let Some(Place { line, column }) = self.place {
            write!(f, ":{line}:{column}")?;
        }
        write!(f, ": {}", self.message)
    }
}

impl SettingsError {
    pub(super) fn new(path: &Path, place: Option<Place>, message: impl Into<String>) -> Self {
        SettingsError { path: path.to_owned(), place, message: message.into() }
    }
}

/// One key of a file.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) setting: Setting,
    pub(super) place: Place,
    /// The option as the command line has it; none for a flag that is false.
    pub(super) tokens: Vec<String>,
}

/// A settings file.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(super) path: PathBuf,
    pub(super) entries: Vec<Entry>,
    /// Rules of `[[on]]`, and where they are.
    pub(super) rules: Vec<Rule>,
    pub(super) rule_places: Vec<Place>,
}

/// The part of a file that is no option.
#[derive(Deserialize)]
struct RulesOnly {
    #[serde(default)]
    on: Vec<Rule>,
}

impl Settings {
    /// Reads a file; what its values mean is not yet checked.
    ///
    /// # Errors
    /// [`SettingsError`] where it cannot be read, is no TOML, or has a key that is no option of `run`.
    pub(crate) fn read(path: &Path) -> Result<Self, SettingsError> {
        let wrong = |message: String| SettingsError::new(path, None, message);
        let mut text = String::new();
        let read = std::fs::File::open(path).and_then(|file| file.take(LARGEST + 1).read_to_string(&mut text));
        read.map_err(|error| wrong(error.to_string()))?;
        if text.len() as u64 > LARGEST {
            return Err(wrong("more than a megabyte, which no settings are".into()));
        }
        Self::parse(path, text)
    }

    pub(super) fn parse(path: &Path, text: String) -> Result<Self, SettingsError> {
        let at = |span: &Range<usize>| Some(Place::of(&text, span.start));
        let table = DeTable::parse(&text).map_err(|error| {
            let place = error.span().and_then(|span| at(&span));
            SettingsError::new(path, place, error.message())
        })?;
        let known = settings();
        let mut entries: Vec<Entry> = vec![];
        let mut rule_places = vec![];
        for (key, value) in table.get_ref() {
            let (name, span) = (key.get_ref().as_ref(), key.span());
            let wrong = |message: String| SettingsError::new(path, at(&span), message);
            // Options are written with dashes; whoever is used to underscores may keep them.
            if name == RULES {
                rule_places = check_rules(path, &text, value)?;
                continue;
            }
            let option = name.replace('_', "-");
            let setting =
                known.iter().find(|setting| setting.key == option).ok_or_else(|| wrong(unknown(name, &known)))?;
            if entries.iter().any(|entry| entry.setting.key == option) {
                return Err(wrong(format!("{option} is set twice")));
            }
            let tokens = tokens(setting, value.get_ref())
                .map_err(|expected| SettingsError::new(path, at(&value.span()), format!("{option}: {expected}")))?;
            entries.push(Entry { setting: setting.clone(), place: Place::of(&text, span.start), tokens });
        }
        entries.sort_by_key(|entry| (entry.place.line, entry.place.column));
        let rules = toml::from_str::<RulesOnly>(&text).map_err(|error| {
            let place = error.span().and_then(|span| at(&span));
            SettingsError::new(path, place, error.message())
        })?;
        Ok(Settings { path: path.to_owned(), entries, rules: rules.on, rule_places })
    }

    /// Where a key is set.
    pub(crate) fn place(&self, key: &str) -> Option<Place> {
        self.entries.iter().find(|entry| entry.setting.key == key).map(|entry| entry.place)
    }

    /// The rules for events.
    pub(crate) fn into_rules(self) -> Vec<Rule> {
        self.rules
    }

    /// Its keys, in the order of the file.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().map(|entry| entry.setting.key.as_str())
    }
}

fn unknown(name: &str, known: &[Setting]) -> String {
    let known = known.iter().filter(|setting| !setting.hidden).map(|setting| setting.key.as_str());
    match nearest(&name.replace('_', "-"), known.chain([RULES])) {
        Some(key) => format!("unknown key {name:?}; the nearest one known is {key:?}"),
        None => format!("unknown key {name:?}: keys are the options of `run` without their dashes, and [[{RULES}]]"),
    }
}

/// The known name that a wrong one is most like, if it is like any.
fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let near = known.map(|known| (strsim::normalized_damerau_levenshtein(known, name), known));
    near.filter(|(alike, _)| *alike > 0.6).max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, known)| known)
}

/// Checks the keys of rules, and returns where each rule is.
fn check_rules(path: &Path, text: &str, value: &Spanned<DeValue<'_>>) -> Result<Vec<Place>, SettingsError> {
    let wrong = |at: usize, message: String| SettingsError::new(path, Some(Place::of(text, at)), message);
    let expected = || wrong(value.span().start, format!("expected rules, each below a line [[{RULES}]]"));
    let rules = value.get_ref().as_array().ok_or_else(expected)?;
    let mut places = vec![];
    for rule in rules.iter() {
        places.push(Place::of(text, rule.span().start));
        for key in rule.get_ref().as_table().ok_or_else(expected)?.keys() {
            let name = key.get_ref().as_ref();
            if KEYS.contains(&name) {
                continue;
            }
            let known = format!("known are {}", KEYS.join(", "));
            let hint = nearest(name, KEYS.into_iter()).map_or(known, |key| format!("the nearest one known is {key:?}"));
            return Err(wrong(key.span().start, format!("unknown key {name:?} of a rule; {hint}")));
        }
    }
    Ok(places)
}

/// A value as the command line would have it, or what was expected.
fn tokens(setting: &Setting, value: &DeValue<'_>) -> Result<Vec<String>, String> {
    let option = |value: &str| format!("--{}={value}", setting.key);
    match (setting.kind, value) {
        (Kind::Flag, DeValue::Boolean(true)) => Ok(vec![format!("--{}", setting.key)]),
        (Kind::Flag, DeValue::Boolean(false)) => Ok(vec![]),
        (Kind::Flag, _) => Err("expected true or false".into()),
        (Kind::Many(separator), DeValue::Array(values)) => {
            let values: Vec<String> = values.iter().map(|value| scalar(value.get_ref())).collect::<Result<_, _>>()?;
            Ok(vec![option(&values.join(&separator.to_string()))])
        }
        (Kind::Repeated, DeValue::Array(values)) => {
            values.iter().map(|value| Ok(option(&scalar(value.get_ref())?))).collect()
        }
        (Kind::One, DeValue::Array(_)) => Err("expected one value, not several".into()),
        (_, value) => Ok(vec![option(&scalar(value)?)]),
    }
}

/// A string or a number as text: numbers as they are written, so that 1.0 stays different from 1.
fn scalar(value: &DeValue<'_>) -> Result<String, String> {
    match value {
        DeValue::String(text) => Ok(text.to_string()),
        DeValue::Float(number) => Ok(number.as_str().replace('_', "")),
        DeValue::Integer(number) => {
            let value = i64::from_str_radix(number.as_str(), number.radix());
            value.map(|value| value.to_string()).map_err(|error| error.to_string())
        }
        _ => Err("expected a string or a number".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens_of(text: &str) -> Result<Vec<String>, String> {
        let settings = Settings::parse(Path::new("config.toml"), text.into()).map_err(|error| error.to_string())?;
        Ok(settings.entries.into_iter().flat_map(|entry| entry.tokens).collect())
    }

    #[test]
    fn keys_are_options_and_values_what_their_parsers_read() {
        let text = "camera = \"/dev/video0\"\nfps = 2.50\nno-compare = true\nstrict = false\nthresholds = [0.9, 0.80]\n\
                    floor = \"92%\"\nlimit = 0x10\ncamera_size = \"640x480\"\nrange = [\"0,1\", \"5..9\"]\n";
        assert_eq!(
            tokens_of(text).unwrap(),
            [
                "--camera=/dev/video0",
                "--fps=2.50",
                "--no-compare",
                "--thresholds=0.9,0.80",
                "--floor=92%",
                "--limit=16",
                "--camera-size=640x480",
                "--range=0,1",
                "--range=5..9"
            ]
        );
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        for (text, expected) in [
            ("# comment\n  fsp = 2\n", "config.toml:2:3: unknown key \"fsp\"; the nearest one known is \"fps\""),
            ("wibblewobble = 1", "config.toml:1:1: unknown key \"wibblewobble\": keys are the options of `run`"),
            ("config = \"other.toml\"", "config.toml:1:1: unknown key \"config\""),
            ("fps = 2\nfps = 3\n", "config.toml:2:1: duplicate key"),
            ("camera-size = \"1x1\"\ncamera_size = \"2x2\"\n", "camera-size is set twice"),
            ("no-compare = \"yes\"", "config.toml:1:14: no-compare: expected true or false"),
            ("fps = [1, 2]", "config.toml:1:7: fps: expected one value, not several"),
            ("fps = { a = 1 }", "config.toml:1:7: fps: expected a string or a number"),
            ("fps = \n", "config.toml:1:7: "),
            (
                "fps = 2\n[[on]]\nsave = true\nevnt = \"left\"\n",
                "config.toml:4:1: unknown key \"evnt\" of a rule; the nearest one known is \"event\"",
            ),
            ("on = 3", "config.toml:1:6: expected rules"),
            ("[[on]]\nsave = \"yes\"\n", "config.toml:2:8: "),
            ("[camera]\nname = 1\n", "expected a string or a number"),
        ] {
            let error = tokens_of(text).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
