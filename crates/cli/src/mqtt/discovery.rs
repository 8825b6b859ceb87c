//! What Home Assistant is told of a board: one message for the device and all that it has.

use serde_json::{Map, Value};

use super::Topics;
use crate::live::{EventKind, Facts};

/// An object of texts.
fn object<const N: usize>(pairs: [(&str, &str); N]) -> Value {
    pairs.into_iter().map(|(key, value)| (key.to_owned(), Value::from(value))).collect::<Map<_, _>>().into()
}

/// The payload of the discovery message.
pub(super) fn message(facts: &Facts, topics: &Topics, commands: bool) -> Value {
    let has_mission = facts.has_mission;
    let mut parts = Map::new();
    let mut add = |name: &str, platform: &str, title: &str, mut part: Value| {
        part["p"] = platform.into();
        part["name"] = title.into();
        part["unique_id"] = format!("{}-{name}", topics.id).into();
        parts.insert(name.to_owned(), part);
    };
    let text = |template: &str| object([("state_topic", &topics.state), ("value_template", template)]);
    let number = |template: &str, unit: &str, class: Option<&str>| {
        let mut part = text(template);
        part["state_class"] = "measurement".into();
        part["unit_of_measurement"] = unit.into();
        if let Some(class) = class {
            part["device_class"] = class.into();
        }
        part
    };
    add("class", "sensor", "Class", text("{{ value_json.answer.label if value_json.answer else None }}"));
    let confidence = "{{ (100 * value_json.answer.confidence) | round(1) if value_json.answer else None }}";
    add("confidence", "sensor", "Confidence", number(confidence, "%", None));
    let probability = "{{ (100 * value_json.answer.probability) | round(1) if value_json.answer and \
                       value_json.answer.probability is not none else None }}";
    add("probability", "sensor", "Probability", number(probability, "%", None));
    add("exit", "sensor", "Exit", text("{{ value_json.answer.exit if value_json.answer else None }}"));
    add("reason", "sensor", "Decision", text("{{ value_json.answer.reason if value_json.answer else None }}"));
    let soc = "{{ (100 * value_json.charge.soc) | round(1) if value_json.charge.soc is not none else None }}";
    add("soc", "sensor", "State of charge", number(soc, "%", Some("battery")));
    let watts = "{{ value_json.charge.watts | round(2) if value_json.charge.watts is not none else None }}";
    add("power", "sensor", "Power, modelled", number(watts, "W", Some("power")));
    let forecast = "{{ (100 * value_json.mission.forecast_soc) | round(1) if value_json.mission and \
                    value_json.mission.forecast_soc is not none else None }}";
    add("forecast", "sensor", "Charge at the end", number(forecast, "%", None));
    add("latency", "sensor", "Latency", number("{{ value_json.latency_mean_ms }}", "ms", Some("duration")));
    let mut camera = text("{{ 'ON' if value_json.camera.connected else 'OFF' }}");
    camera["device_class"] = "connectivity".into();
    add("camera", "binary_sensor", "Camera", camera);
    let template = "{{ {'event_type': value_json.event, 'label': value_json.label, 'confidence': \
                    value_json.confidence, 'time': value_json.time} | tojson }}";
    let mut seen = object([("state_topic", &topics.event), ("value_template", template)]);
    let kinds = [EventKind::Appeared, EventKind::StillHere, EventKind::Left];
    seen["event_types"] = kinds.map(|kind| kind.to_string()).to_vec().into();
    add("seen", "event", "Seen", seen);
    let snapshot = object([("image_topic", &topics.snapshot), ("content_type", "image/jpeg")]);
    add("snapshot", "image", "Snapshot", snapshot);
    if commands {
        let mut pause = text("{{ 'ON' if value_json.paused else 'OFF' }}");
        pause["command_topic"] = topics.command("pause").into();
        add("pause", "switch", "Pause", pause);
        let take = object([("command_topic", &topics.command("snapshot")), ("payload_press", "NOW")]);
        add("take", "button", "Take a snapshot", take);
    }
    if commands && has_mission {
        let mode = "{{ 'floor' if value_json.mission and value_json.mission.floor is not none else 'mission' }}";
        let mut mode = text(mode);
        mode["command_topic"] = topics.command("mode").into();
        mode["options"] = vec![Value::from("mission"), Value::from("floor")].into();
        add("mode", "select", "Mode", mode);
        let floor = "{{ (100 * value_json.mission.floor) | round(1) if value_json.mission and \
                     value_json.mission.floor is not none else None }}";
        let mut floor = text(floor);
        floor["command_topic"] = topics.command("floor").into();
        floor["command_template"] = "{{ value }}%".into();
        floor["unit_of_measurement"] = "%".into();
        (floor["min"], floor["max"], floor["step"]) = (0.into(), 100.into(), Value::from(0.5));
        add("floor", "number", "Accuracy never below", floor);
    }
    let mut about = object([]);
    about["dev"] = object([
        ("ids", &topics.id),
        ("name", &facts.device),
        ("sw", facts.version),
        ("mdl", &facts.model),
        ("mf", "dyn-perceiver"),
    ]);
    about["o"] = object([("name", "dyn-perceiver"), ("sw", facts.version)]);
    about["cmps"] = parts.into();
    about["avty"] = vec![object([("topic", &topics.availability)])].into();
    about
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By platform: the keys that it needs and those that it takes beside these, as Home Assistant documents them.
    const PLATFORMS: [(&str, &[&str], &[&str]); 8] = [
        ("sensor", &["state_topic"], &["value_template", "device_class", "state_class", "unit_of_measurement"]),
        ("binary_sensor", &["state_topic"], &["value_template", "device_class"]),
        ("event", &["state_topic", "event_types"], &["value_template"]),
        ("image", &["image_topic"], &["content_type"]),
        ("switch", &["command_topic"], &["state_topic", "value_template"]),
        ("button", &["command_topic"], &["payload_press"]),
        ("select", &["command_topic", "options"], &["state_topic", "value_template"]),
        (
            "number",
            &["command_topic"],
            &["state_topic", "value_template", "command_template", "min", "max", "step", "unit_of_measurement"],
        ),
    ];

    #[test]
    fn discovery_says_what_home_assistant_documents() {
        let topics = Topics::new("dyn-perceiver", "tree 7");
        let facts = Facts { device: "tree 7".into(), ..Facts::default() }.with_mission(true);
        let about = message(&facts, &topics, true);
        let commands = ["pause", "snapshot", "mode", "floor"].map(|name| topics.command(name));
        let known: Vec<&str> =
            [&topics.state, &topics.event, &topics.snapshot].into_iter().chain(&commands).map(String::as_str).collect();
        let parts = about["cmps"].as_object().unwrap();
        let mut ids: Vec<&str> = vec![];
        for (name, part) in parts {
            let platform = part["p"].as_str().unwrap();
            let (_, needed, taken) = PLATFORMS.into_iter().find(|(known, ..)| *known == platform).unwrap();
            assert!(needed.iter().all(|key| !part[key].is_null()), "{name}: {part}");
            for (key, value) in part.as_object().unwrap() {
                let known_key = ["p", "name", "unique_id"].contains(&key.as_str())
                    || needed.contains(&key.as_str())
                    || taken.contains(&key.as_str());
                assert!(known_key, "{name} has {key}, which {platform} does not");
                assert!(!key.ends_with("_topic") || known.contains(&value.as_str().unwrap()), "{name}: {value}");
            }
            ids.push(part["unique_id"].as_str().unwrap());
        }
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), parts.len());
        let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        assert_eq!(keys(&about), ["avty", "cmps", "dev", "o"]);
        assert_eq!(keys(&about["dev"]), ["ids", "mdl", "mf", "name", "sw"]);
        // What cannot be changed has no switch.
        let without = message(&facts.clone().with_mission(false), &topics, true);
        assert!(without["cmps"]["mode"].is_null() && !without["cmps"]["pause"].is_null());
        let silent = message(&facts, &topics, false);
        assert!(["mode", "floor", "pause", "take"].iter().all(|name| silent["cmps"][name].is_null()));
    }
}
