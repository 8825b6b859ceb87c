//! Records as lines of JSON.

use std::io;

use serde::Serialize;

use super::Record;
use crate::output::json::{self, SCHEMA};
use crate::output::time;

/// A record with the version of its keys and the time of day.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Stamped<'a> {
    schema: u32,
    /// Null while the clock is not set, which `clock` then says.
    time: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    clock: Option<&'static str>,
    #[serde(flatten)]
    record: &'a Record<'a>,
}

/// A record as one line, stamped with the present time.
///
/// # Errors
/// What serialising says; no record makes it fail.
pub(crate) fn line(record: &Record<'_>) -> io::Result<Vec<u8>> {
    at(time::now().as_deref(), record)
}

fn at(time: Option<&str>, record: &Record<'_>) -> io::Result<Vec<u8>> {
    let clock = time.is_none().then_some("not set");
    json::line(&Stamped { schema: SCHEMA, time, clock, record })
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;

    fn text(time: Option<&str>, record: &Record<'_>) -> String {
        String::from_utf8(at(time, record).unwrap()).unwrap()
    }

    #[test]
    fn records_are_lines_with_stable_keys() {
        assert_eq!(
            text(Some("2026-11-27T12:00:00.000Z"), &sample()),
            "{\"schema\":2,\"time\":\"2026-11-27T12:00:00.000Z\",\"kind\":\"frame\",\"frame\":7,\
             \"source\":\"boot.png\",\"class\":9,\"label\":\"Ankle boot\",\"truth\":9,\"exit\":\"exit1\",\
             \"confidence\":0.875,\"probability\":0.9375,\"reused\":false,\"gate\":null,\"exited_early\":true,\"cut\":true,\"latency_ms\":3.25,\"age_ms\":4.5,\"soc\":0.1,\
             \"point\":2,\"reason\":\"hold\",\"period_ms\":null,\"macs\":1200,\"joules\":0.125}\n"
        );
    }

    #[test]
    fn a_clock_that_is_not_set_is_told() {
        assert_eq!(
            text(None, &Record::Camera { connected: false, message: "unplugged" }),
            "{\"schema\":2,\"time\":null,\"clock\":\"not set\",\"kind\":\"camera\",\"connected\":false,\
             \"message\":\"unplugged\"}\n"
        );
    }
}
