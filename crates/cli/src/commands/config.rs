//! `config`: what a settings file says, and whether it can.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use clap::parser::ValueSource;
use clap::{ArgMatches, Args as ClapArgs, Subcommand};
use serde::Serialize;
use serde_json::Value;

use crate::output::failure::{Failure, OrInput as _};
use crate::output::out::Out;
use crate::output::text;
use crate::settings::{self, DEFAULT_PATH, Kind, Setting, Settings};

/// Check and show the settings file of `run`
///
/// It is TOML; each key is an option of `run` without its dashes, such as fps = 2. See docs/settings.md.
#[derive(ClapArgs)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Say whether `run --config FILE` would take a file: exit code 2 where it would not
    Check(FileArgs),
    /// Show every setting, its value and where that comes from; what is printed is a settings file itself
    Show(FileArgs),
    /// Print a JSON schema of the file, for editors
    Schema(SchemaArgs),
}

#[derive(ClapArgs)]
struct FileArgs {
    /// The settings file
    #[arg(value_name = "FILE", default_value = DEFAULT_PATH)]
    file: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(ClapArgs)]
struct SchemaArgs {
    /// Print it in one line
    #[arg(long)]
    json: bool,
}

/// What `config check` found.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Checked<'a> {
    /// The file.
    file: &'a str,
    /// Its keys, in the order of the file.
    keys: Vec<&'a str>,
    ok: bool,
}

/// What `config show` tells.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Shown<'a> {
    /// The file.
    file: &'a str,
    settings: Vec<ShownSetting>,
}

/// A setting and its value.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct ShownSetting {
    key: String,
    /// Its value as text; several where it may have several; null where it is not set.
    value: Option<Value>,
    /// "file", "default" or "unset".
    source: &'static str,
    /// Where the file sets it.
    line: Option<usize>,
}

pub(crate) fn run(args: Args) -> Result<(), Failure> {
    let mut out = Out::stdout();
    match args.action {
        Action::Check(FileArgs { file, json }) => {
            let (settings, _) = read(&file)?;
            let keys: Vec<&str> = settings.keys().collect();
            if json {
                return Ok(out.json(&Checked { file: &text::path(&file), keys, ok: true })?);
            }
            writeln!(out, "{}: {} settings, all of them known and sound", text::shown(&file), keys.len())?;
        }
        Action::Show(FileArgs { file, json }) => {
            let (settings, matches) = read(&file)?;
            let shown = settings::settings().into_iter().filter(|setting| !setting.hidden);
            let shown: Vec<(Setting, ShownSetting)> =
                shown.map(|setting| (setting.clone(), value(&setting, &settings, &matches))).collect();
            if json {
                let settings = shown.into_iter().map(|(_, shown)| shown).collect();
                return Ok(out.json(&Shown { file: &text::path(&file), settings })?);
            }
            write!(out, "{}", as_toml(&file, &shown))?;
        }
        Action::Schema(SchemaArgs { json }) => {
            let schema = settings::schema();
            let text = if json { serde_json::to_string(&schema)? } else { serde_json::to_string_pretty(&schema)? };
            writeln!(out, "{text}")?;
        }
    }
    Ok(())
}

fn read(path: &Path) -> Result<(Settings, ArgMatches), Failure> {
    let settings = Settings::read(path).or_input()?;
    settings::check(&settings).or_input()?;
    let matches = settings::matches(&settings).or_input()?;
    Ok((settings, matches))
}

fn value(setting: &Setting, file: &Settings, matches: &ArgMatches) -> ShownSetting {
    let source = match matches.value_source(&setting.id) {
        Some(ValueSource::DefaultValue) => "default",
        Some(_) => "file",
        None => "unset",
    };
    let raw = matches.get_raw(&setting.id).into_iter().flatten();
    let mut raw: Vec<Value> = raw.map(|text| text.to_string_lossy().into_owned().into()).collect();
    let value = match (setting.kind, raw.len()) {
        (Kind::Flag, _) => Some(matches.get_flag(&setting.id).into()),
        (_, 0) => None,
        (Kind::One, _) => raw.pop(),
        (Kind::Many(_) | Kind::Repeated, _) => Some(raw.into()),
    };
    // A flag that is false by the file counts as set by it.
    let place = file.place(&setting.key);
    let source = if place.is_some() { "file" } else { source };
    ShownSetting { key: setting.key.clone(), value, source, line: place.map(|place| place.line) }
}

fn as_toml(file: &Path, shown: &[(Setting, ShownSetting)]) -> String {
    let mut all = String::new();
    let mut heading = "";
    for (setting, ShownSetting { key, value, source, line }) in shown {
        if setting.heading != heading {
            heading = &setting.heading;
            all += &format!("{}# {heading}\n", if all.is_empty() { "" } else { "\n" });
        }
        let origin = match line {
            Some(line) => format!("{}:{line}", text::shown(file)),
            None => (*source).to_owned(),
        };
        // What the file does not set stays a comment: some options are refused without others, whatever their value.
        let assigned = match value {
            None => format!("# {key} ="),
            Some(value) if line.is_none() => format!("# {key} = {}", toml_value(value)),
            Some(value) => format!("{key} = {}", toml_value(value)),
        };
        all += &format!("{assigned:<40} # {origin}\n");
    }
    all
}

fn toml_value(value: &Value) -> String {
    match value {
        Value::Array(values) => format!("[{}]", values.iter().map(toml_value).collect::<Vec<_>>().join(", ")),
        Value::String(text) if is_number(text) => text.clone(),
        Value::String(text) => toml::Value::from(text.as_str()).to_string(),
        other => other.to_string(),
    }
}

/// Whether a text is a number that TOML would read as the same text again.
fn is_number(text: &str) -> bool {
    text.parse::<toml::Value>().is_ok_and(|value| value.is_integer() || value.is_float())
        && text.starts_with(|first: char| first.is_ascii_digit() || first == '-')
        && text.chars().all(|c| c.is_ascii_digit() || matches!(c, '.' | '-' | 'e'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_written_as_toml_reads_them_again() {
        let of = |text: &str| toml_value(&text.into());
        assert_eq!((of("2.50"), of("10"), of("-3")), ("2.50".into(), "10".into(), "-3".into()));
        assert_eq!((of("92%"), of("nan"), of("007")), ("\"92%\"".into(), "\"nan\"".into(), "\"007\"".into()));
        assert_eq!(of("1_0"), "\"1_0\"");
        assert_eq!(toml_value(&serde_json::json!(["0.9", "a\"b"])), "[0.9, 'a\"b']");
    }
}
