//! The settings file and the command line as one: what the command line says comes first.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::parser::ValueSource;
use clap::{ArgMatches, Command};

use super::file::{Entry, Settings, SettingsError};
use super::options::{COMMAND, command};
use crate::events::Rules;

/// The arguments of the process, with those of the settings file that `run` was given put in before them. Whatever the
/// command line says, or what cannot stand beside that, is left out of the file.
pub(crate) fn arguments(given: Vec<OsString>) -> Result<Vec<OsString>, SettingsError> {
    let Some((program, rest)) = given.split_first() else { return Ok(given) };
    let Some((name, options)) = rest.split_first().filter(|(name, _)| *name == COMMAND) else { return Ok(given) };
    let Some((path, explicit)) = named(options) else { return Ok(given) };
    let settings = Settings::read(&path)?;
    check(&settings)?;
    let mut all = vec![program.clone(), name.clone()];
    all.extend(kept(&settings, &explicit).flat_map(|entry| entry.tokens.iter().map(OsString::from)));
    all.extend(options.iter().cloned());
    Ok(all)
}

/// What `run` makes of a settings file and of options beside it.
pub(crate) fn matches(settings: &Settings) -> Result<ArgMatches, SettingsError> {
    let tokens: Vec<&String> = settings.entries.iter().flat_map(|entry| &entry.tokens).collect();
    command().try_get_matches_from(tokens).map_err(|error| SettingsError::new(&settings.path, None, message(&error)))
}

/// The settings file that options name, and all options that are on the command line. What is wrong with them otherwise is
/// said later.
fn named(options: &[OsString]) -> Option<(PathBuf, Vec<String>)> {
    let matches = command().ignore_errors(true).try_get_matches_from(options).ok()?;
    let path = matches.try_get_one::<PathBuf>("config").ok()??.clone();
    let ids = matches.ids().filter(|id| matches.value_source(id.as_str()) == Some(ValueSource::CommandLine));
    Some((path, ids.map(|id| id.as_str().to_owned()).collect()))
}

/// The entries that stand beside what is on the command line.
fn kept<'a>(settings: &'a Settings, explicit: &[String]) -> impl Iterator<Item = &'a Entry> {
    let command = command();
    let (kept, dropped): (Vec<_>, Vec<_>) =
        settings.entries.iter().partition(|entry| stands_beside(&command, &entry.setting.id, explicit));
    let gone: Vec<&str> = dropped.iter().map(|entry| entry.setting.key.as_str()).collect();
    // What is nothing without an option that was left out is left out, too: the size of a camera without the camera.
    kept.into_iter().filter(move |entry| !needs(&command, entry, &gone))
}

fn stands_beside(command: &Command, id: &str, explicit: &[String]) -> bool {
    let conflicts = |a: &str, b: &str| {
        let arg = command.get_arguments().find(|arg| arg.get_id() == a);
        arg.is_some_and(|arg| command.get_arg_conflicts_with(arg).iter().any(|other| other.get_id() == b))
    };
    explicit.iter().all(|given| given != id && !conflicts(id, given) && !conflicts(given, id))
}

/// Whether an entry by itself asks for one of these options.
fn needs(command: &Command, entry: &Entry, gone: &[&str]) -> bool {
    let Err(error) = command.clone().try_get_matches_from(&entry.tokens) else { return false };
    let Some(ContextValue::Strings(missing)) = error.get(ContextKind::InvalidArg) else { return false };
    let missing = missing.iter().filter_map(|arg| arg.strip_prefix("--")?.split([' ', '=']).next());
    error.kind() == ErrorKind::MissingRequiredArgument && missing.into_iter().any(|arg| gone.contains(&arg))
}

/// Checks every value of a file by itself, so that the place can be named, and then all of them together.
pub(crate) fn check(settings: &Settings) -> Result<(), SettingsError> {
    let command = command();
    for entry in &settings.entries {
        let Err(error) = command.clone().try_get_matches_from(&entry.tokens) else { continue };
        // What it needs beside it is asked for below.
        if error.kind() != ErrorKind::MissingRequiredArgument {
            return Err(SettingsError::new(&settings.path, Some(entry.place), message(&error)));
        }
    }
    if let Err(error) = Rules::new(settings.rules.clone()) {
        let place = settings.rule_places.get(error.number - 1).copied();
        return Err(SettingsError::new(&settings.path, place, error.to_string()));
    }
    matches(settings).map(drop)
}

/// The first paragraph of what clap says, in one line, options as keys.
fn message(error: &clap::Error) -> String {
    let text = error.render().to_string();
    let text = text.strip_prefix("error: ").unwrap_or(&text);
    let text = text.split("\n\nUsage:").next().unwrap_or(text).split("\n\nFor more").next().unwrap_or(text);
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn merged(text: &str, options: &[&str]) -> Result<Vec<String>, String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        let path = file.path().to_str().unwrap();
        let given = ["dyn-perceiver", "run", "--config", path].iter().chain(options).map(OsString::from).collect();
        let all = arguments(given).map_err(|error| error.to_string().replace(path, "FILE"))?;
        let text = all.into_iter().map(|arg| arg.into_string().unwrap()).collect::<Vec<_>>();
        Ok(text.into_iter().filter(|arg| arg != "--config" && arg != path).skip(2).collect())
    }

    #[test]
    fn what_is_on_the_command_line_comes_first() {
        let file = "fps = 2\nbattery-wh = 5\nno-compare = true\n";
        assert_eq!(merged(file, &[]).unwrap(), ["--fps=2", "--battery-wh=5", "--no-compare"]);
        assert_eq!(
            merged(file, &["--fps", "3", "--no-compare"]).unwrap(),
            ["--battery-wh=5", "--fps", "3", "--no-compare"]
        );
    }

    #[test]
    fn what_cannot_stand_beside_the_command_line_gives_way_with_all_that_needs_it() {
        let file = "camera = \"/dev/video0\"\ncamera-size = \"640x480\"\nfps = 2\nthresholds = [0.5]\n";
        assert_eq!(
            merged(file, &["--frames", "images"]).unwrap(),
            ["--fps=2", "--thresholds=0.5", "--frames", "images"]
        );
        assert_eq!(
            merged(file, &["--exit", "1"]).unwrap(),
            ["--camera=/dev/video0", "--camera-size=640x480", "--fps=2", "--exit", "1"]
        );
    }

    #[test]
    fn a_value_that_is_none_is_told_with_its_place() {
        let error = merged("fps = 2\n\nfloor = 85\n", &[]).unwrap_err();
        assert_eq!(
            error,
            "FILE:3:1: invalid value '85' for '--floor <SHARE>': 85 is no share: write 85% for percent, or a number up to 1.0"
        );
        let error = merged("camera-size = \"640x480\"\n", &[]).unwrap_err();
        assert!(error.starts_with("FILE: ") && error.contains("--camera <NAME>"), "{error}");
        let error = merged("camera = \"a\"\nframes = \"b\"\n", &[]).unwrap_err();
        assert!(error.contains("cannot be used with"), "{error}");
        let error = merged("fps = 2\n[[on]]\nsave = true\n[[on]]\nclass = \"cat\"\n", &[]).unwrap_err();
        assert!(error.starts_with("FILE:4:1: rule 2 of [[on]]: does nothing"), "{error}");
    }

    #[test]
    fn without_a_file_nothing_is_changed() {
        let given = |args: &[&str]| args.iter().map(OsString::from).collect::<Vec<_>>();
        for args in [&["p", "run", "--fps", "x"][..], &["p", "classify", "--config", "x"], &["p"], &[]] {
            assert_eq!(arguments(given(args)).unwrap(), given(args));
        }
        assert!(arguments(given(&["p", "run", "--config", "/no/such.toml"])).is_err());
    }
}
