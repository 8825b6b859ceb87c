//! The settings file as a JSON schema, for editors that complete and check it.
#![allow(clippy::disallowed_macros, reason = "no path is in a schema")]

use schemars::Schema;
use serde_json::{Map, Value, json};

use super::file::RULES;
use super::options::{Kind, Setting, settings};
use crate::events::Rule;

/// The schema of a settings file.
pub(crate) fn schema() -> Value {
    let mut properties: Map<String, Value> = settings()
        .into_iter()
        .filter(|setting| !setting.hidden)
        .map(|setting| (setting.key.clone(), of(&setting)))
        .collect();
    let mut rule = Schema::to_value(schemars::schema_for!(Rule));
    let definitions = rule.as_object_mut().and_then(|rule| rule.remove("$defs")).unwrap_or_default();
    rule.as_object_mut().map(|rule| rule.remove("$schema"));
    properties.insert(RULES.into(), json!({ "type": "array", "items": rule }));
    json!({
        "$defs": definitions,
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Settings of dyn-perceiver run",
        "description": "Each key is an option of `dyn-perceiver run` without its dashes.",
        "type": "object",
        "properties": properties,
        "additionalProperties": false,
    })
}

fn of(setting: &Setting) -> Value {
    let one = match setting.choices.as_slice() {
        [] => json!({ "type": ["string", "number"] }),
        choices => json!({ "enum": choices }),
    };
    let mut schema = match setting.kind {
        Kind::Flag => json!({ "type": "boolean" }),
        Kind::One => one,
        Kind::Many(_) | Kind::Repeated => json!({ "anyOf": [one, { "type": "array", "items": one }] }),
    };
    schema["description"] = setting.help.clone().into();
    if let Some(default) = &setting.default {
        schema["default"] = default.clone().into();
    } else if setting.kind == Kind::Flag {
        schema["default"] = false.into();
    }
    schema
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    /// Nobody has to remember the file when an option is added to `run`.
    #[test]
    fn every_option_of_run_is_a_setting() {
        let command = crate::Cli::command();
        let run = command.find_subcommand("run").unwrap();
        let options = run.get_arguments().filter(|arg| !arg.is_hide_set()).filter_map(clap::Arg::get_long);
        let mut options: Vec<&str> = options.filter(|option| *option != "config" && *option != "help").collect();
        options.sort_unstable();
        let schema = schema();
        let mut keys: Vec<&String> =
            schema["properties"].as_object().unwrap().keys().filter(|key| *key != RULES).collect();
        keys.sort_unstable();
        assert_eq!(keys, options);
        assert!(options.len() > 40, "{options:?}");
        let positional = run.get_arguments().filter(|arg| arg.is_positional()).count();
        assert_eq!(positional, 0, "what has no name cannot be a key");
    }

    #[test]
    fn values_are_described() {
        let schema = schema();
        let property = |key: &str| &schema["properties"][key];
        assert_eq!(property("no-compare")["type"], "boolean");
        assert_eq!(property("mode")["enum"][0], "steps");
        assert_eq!(property("thresholds")["anyOf"][1]["type"], "array");
        assert_eq!(property("reserve")["default"], "10%");
        assert!(property("fps")["description"].as_str().unwrap().contains("frames per second"));
    }
}
