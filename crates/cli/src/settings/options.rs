//! The options of `run` as settings.

use clap::{Arg, ArgAction, Args as _, Command};

use crate::commands::run;

/// The command whose options are settings.
pub(crate) const COMMAND: &str = "run";

/// Options that say something of the command line itself.
const NOT_SETTINGS: [&str; 2] = ["config", "help"];

/// What the value of a setting is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `true` for an option that has no value.
    Flag,
    /// A string or a number.
    One,
    /// Several of them, which the command line separates by this.
    Many(char),
    /// Several of them, for each of which the option is given once.
    Repeated,
}

/// An option of `run` as a setting.
#[derive(Clone, Debug)]
pub(crate) struct Setting {
    /// Its key: the option without its dashes.
    pub key: String,
    /// clap's name.
    pub id: String,
    pub kind: Kind,
    pub heading: String,
    /// The first paragraph of its help.
    pub help: String,
    /// Its values, if they are a closed set.
    pub choices: Vec<String>,
    pub default: Option<String>,
    /// Whether it is there only for those who have always used it.
    pub hidden: bool,
}

/// `run` by itself.
pub(super) fn command() -> Command {
    let mut command = run::Args::augment_args(Command::new(COMMAND).no_binary_name(true));
    command.build();
    command
}

/// All settings, in the order of `run --help`.
pub(crate) fn settings() -> Vec<Setting> {
    command().get_arguments().filter_map(setting).collect()
}

fn setting(arg: &Arg) -> Option<Setting> {
    let key = arg.get_long().filter(|key| !NOT_SETTINGS.contains(key))?;
    let kind = match arg.get_action() {
        ArgAction::SetTrue => Kind::Flag,
        ArgAction::Append => arg.get_value_delimiter().map_or(Kind::Repeated, Kind::Many),
        _ => arg.get_value_delimiter().map_or(Kind::One, Kind::Many),
    };
    let choices = if kind == Kind::Flag { vec![] } else { arg.get_possible_values() };
    let default = arg.get_default_values().first().map(|value| value.to_string_lossy().into_owned());
    Some(Setting {
        key: key.to_owned(),
        id: arg.get_id().to_string(),
        kind,
        heading: arg.get_help_heading().unwrap_or_default().to_owned(),
        help: arg.get_help().map(|help| help.to_string().replace('\n', " ")).unwrap_or_default(),
        choices: choices.iter().map(|value| value.get_name().to_owned()).collect(),
        default: default.filter(|_| kind != Kind::Flag),
        hidden: arg.is_hide_set(),
    })
}
