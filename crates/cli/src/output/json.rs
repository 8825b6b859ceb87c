//! JSON: one object per line, with a version of its keys and numbers as short as they are exact.

use std::borrow::Cow;
use std::io;
use std::path::Path;

use serde::ser::SerializeMap as _;
use serde::{Serialize, Serializer};

/// Version of the keys: raised when a key changes its meaning or goes, not when one is added.
pub(crate) const SCHEMA: u32 = 2;

/// Significant digits of a computed number; more would show how it was rounded, not what it is.
const DIGITS: i32 = 10;

/// A report with the version of its keys.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Versioned<'a, T: Serialize> {
    schema: u32,
    #[serde(flatten)]
    report: &'a T,
}

impl<'a, T: Serialize> Versioned<'a, T> {
    pub(crate) fn new(report: &'a T) -> Self {
        Self { schema: SCHEMA, report }
    }
}

/// A path as text, lossy where it is not UTF-8: a name that JSON cannot hold is no reason to fail.
pub(crate) fn path(path: &Path) -> Cow<'_, str> {
    super::text::path(path)
}

/// Keys with values in the order given, such as one figure per exit.
#[derive(Clone, Debug)]
pub(crate) struct Pairs<V>(Vec<(String, V)>);

impl<V> Pairs<V> {
    /// The values, in their order.
    pub(crate) fn values(&self) -> impl Iterator<Item = &V> {
        self.0.iter().map(|(_, value)| value)
    }

    /// A key and its value.
    pub(crate) fn push(&mut self, key: impl Into<String>, value: V) {
        self.0.push((key.into(), value));
    }
}

impl<K: Into<String>, V> FromIterator<(K, V)> for Pairs<V> {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(pairs: I) -> Self {
        Self(pairs.into_iter().map(|(key, value)| (key.into(), value)).collect())
    }
}

impl<V: Serialize> Serialize for Pairs<V> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (key, value) in &self.0 {
            map.serialize_entry(key, value)?;
        }
        map.end()
    }
}

#[cfg(test)]
impl<V: schemars::JsonSchema> schemars::JsonSchema for Pairs<V> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("PairsOf{}", V::schema_name()).into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let value = generator.subschema_for::<V>();
        schemars::json_schema!({ "type": "object", "additionalProperties": value })
    }
}

/// `value` as one line of JSON.
///
/// # Errors
/// What serialising says; no value of this program makes it fail.
pub(crate) fn line(value: &impl Serialize) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    value.serialize(&mut serde_json::Serializer::with_formatter(&mut line, Rounded))?;
    line.push(b'\n');
    Ok(line)
}

/// Compact JSON, computed numbers rounded.
struct Rounded;

impl serde_json::ser::Formatter for Rounded {
    fn write_f64<W: io::Write + ?Sized>(&mut self, writer: &mut W, value: f64) -> io::Result<()> {
        // The default writes the shortest text that reads as the same number.
        serde_json::ser::CompactFormatter.write_f64(writer, rounded(value))
    }
}

/// To [`DIGITS`] significant digits.
fn rounded(value: f64) -> f64 {
    if value == 0.0 || !value.is_finite() {
        return value;
    }
    let precision = DIGITS as usize - 1;
    format!("{value:.precision$e}").parse().unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_as_short_as_they_are_exact() {
        let text = |value: f64| String::from_utf8(line(&value).unwrap()).unwrap();
        assert_eq!(text(1.5438830000000001), "1.543883\n");
        assert_eq!(text(0.1 + 0.2), "0.3\n");
        assert_eq!(text(f64::NAN), "null\n");
        assert_eq!(text(2e-300), "2e-300\n");
        assert_eq!(line(&0.1_f32).unwrap(), b"0.1\n");
    }

    #[test]
    fn pairs_keep_their_order_and_reports_carry_the_version() {
        #[derive(Serialize)]
        struct Report {
            share: Pairs<f32>,
        }
        let report = Report { share: [("late", 0.25), ("early", 0.75)].into_iter().collect() };
        let text = String::from_utf8(line(&Versioned::new(&report)).unwrap()).unwrap();
        assert_eq!(text, "{\"schema\":2,\"share\":{\"late\":0.25,\"early\":0.75}}\n");
    }
}
