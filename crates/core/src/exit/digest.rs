//! Identity of a model file: its SHA-256.

use core::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use crate::inline::InlineStr;

/// The SHA-256 of a model file, which policies, records and bundles are tied to.
///
/// Text and JSON have `sha256:` and 64 hexadecimal digits, binary formats 32 bytes.
///
/// ```
/// use dyn_perceiver_core::exit::ModelDigest;
/// let digest = ModelDigest([0xAB; 32]);
/// assert_eq!(digest.to_string().parse(), Ok(digest));
/// assert!(digest.hex().to_string().starts_with("abab"));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct ModelDigest(pub [u8; 32]);

const PREFIX: &str = "sha256:";
/// Bytes of the text.
const TEXT: usize = 71;

impl ModelDigest {
    /// The digest as 64 hexadecimal digits, without what comes before them in [`Display`](fmt::Display).
    pub const fn hex(&self) -> impl fmt::Display {
        Hex(self.0)
    }
}

#[derive(Clone, Copy)]
struct Hex([u8; 32]);

impl fmt::Display for Hex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl From<[u8; 32]> for ModelDigest {
    fn from(sha256: [u8; 32]) -> Self {
        ModelDigest(sha256)
    }
}

impl fmt::Display for ModelDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(PREFIX)?;
        Hex(self.0).fmt(f)
    }
}

impl fmt::Debug for ModelDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for ModelDigest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        let digits = text.strip_prefix(PREFIX).ok_or(DigestError)?.as_bytes();
        let mut digest = [0; 32];
        if digits.len() != 2 * digest.len() {
            return Err(DigestError);
        }
        let value = |digit: &u8| (*digit as char).to_digit(16).map(|v| v as u8).ok_or(DigestError);
        for (byte, pair) in digest.iter_mut().zip(digits.chunks_exact(2)) {
            let [high, low] = pair else { return Err(DigestError) };
            *byte = value(high)? << 4 | value(low)?;
        }
        Ok(ModelDigest(digest))
    }
}

/// The text is not `sha256:` and 64 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub struct DigestError;

impl fmt::Display for DigestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("expected `sha256:` and 64 hexadecimal digits")
    }
}

impl core::error::Error for DigestError {}

impl Serialize for ModelDigest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() { serializer.collect_str(self) } else { self.0.serialize(serializer) }
    }
}

impl<'de> Deserialize<'de> for ModelDigest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            let text = InlineStr::<TEXT>::deserialize(deserializer)?;
            text.as_str().parse().map_err(D::Error::custom)
        } else {
            <[u8; 32]>::deserialize(deserializer).map(ModelDigest)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::string::ToString as _;

    use super::*;

    #[test]
    fn digest_is_prefixed_hexadecimal_in_text_and_32_bytes_in_binary() {
        let digest = ModelDigest(core::array::from_fn(|index| index as u8));
        let text = digest.to_string();
        assert!(text.starts_with("sha256:000102") && text.len() == TEXT, "{text}");
        assert_eq!(text.strip_prefix(PREFIX), Some(digest.hex().to_string().as_str()));
        assert_eq!(text.parse(), Ok(digest));
        assert_eq!(serde_json::from_str::<ModelDigest>(&std::format!("{text:?}")).unwrap(), digest);
        assert_eq!(postcard::to_allocvec(&digest).unwrap(), digest.0);
        for bad in ["", "sha256:", "00", &text[..70], &text.replace("01", "0x")] {
            assert_eq!(bad.parse::<ModelDigest>(), Err(DigestError), "{bad}");
        }
    }
}
