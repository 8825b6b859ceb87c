//! What a sensor says by way of a broker.

use serde::Deserialize;

/// As motion sensors behind Zigbee2MQTT say it.
#[derive(Deserialize)]
struct Occupied {
    occupancy: bool,
}

/// Whether there may be something to see: not where a message says 0, off or false, or that nobody is there. What is not
/// understood counts as active.
pub(super) fn is_active(payload: &[u8]) -> bool {
    let payload = payload.trim_ascii();
    if let Ok(Occupied { occupancy }) = serde_json::from_slice(payload) {
        return occupancy;
    }
    !["0", "off", "false"].iter().any(|word| payload.eq_ignore_ascii_case(word.as_bytes()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_sensor_is_quiet_only_where_it_says_so() {
        for quiet in ["0", "OFF", " false\n", "{\"battery\":90,\"occupancy\":false}"] {
            assert!(!is_active(quiet.as_bytes()), "{quiet}");
        }
        for active in
            ["1", "ON", "true", "{\"occupancy\":true}", "{\"occupancy\":0}", "{\"battery\":90}", "", "unavailable"]
        {
            assert!(is_active(active.as_bytes()), "{active}");
        }
    }

    proptest! {
        #[test]
        fn whatever_comes_there_is_an_answer(payload in prop::collection::vec(any::<u8>(), 0..64)) {
            is_active(&payload);
        }
    }
}
