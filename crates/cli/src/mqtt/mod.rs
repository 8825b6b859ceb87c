//! State and events of a running loop to an MQTT broker, and commands from it where that is allowed.
//!
//! A thread of its own holds the connection. Events wait in a spool until the broker has confirmed them, one after the other, so
//! that they arrive in order and none is lost below the spool's bound. State is sent while there is a connection and not kept.

mod client;
mod command;
mod discovery;
mod sensor;
mod settings;
mod spool;
#[cfg(test)]
mod tests;

pub(crate) use client::Client;
pub(crate) use settings::{MqttArgs, Settings};

/// Where things are published.
#[derive(Clone, Debug)]
struct Topics {
    /// The device's name as part of topics and of Home Assistant's identities.
    id: String,
    /// `online`, or `offline` by last will; retained.
    availability: String,
    /// The newest numbers; retained.
    state: String,
    /// Events, confirmed one by one.
    event: String,
    /// The picture of the newest event, or the one that was asked for; retained.
    snapshot: String,
    commands: String,
}

impl Topics {
    /// Below `prefix`, of a device of this name.
    fn new(prefix: &str, device: &str) -> Self {
        let plain = |letter: char| if letter.is_ascii_alphanumeric() || letter == '-' { letter } else { '_' };
        let id: String = device.chars().map(plain).collect();
        let id = if id.is_empty() { "board".to_owned() } else { id };
        let topic = |name: &str| format!("{prefix}/{id}/{name}");
        Self {
            availability: topic("availability"),
            state: topic("state"),
            event: topic("event"),
            snapshot: topic("snapshot"),
            commands: topic("command"),
            id,
        }
    }

    fn command(&self, name: &str) -> String {
        format!("{}/{name}", self.commands)
    }
}
