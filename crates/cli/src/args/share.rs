//! Shares of a whole, such as an accuracy or a state of charge: one notation on every option.

use std::fmt;
use std::str::FromStr;

/// A share in [0, 1], written `92%` or `0.92`.
///
/// Whole numbers from 1 on are refused: 92 could only mean percent, but 1 may mean either, and a rule with an exception
/// would be misread.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub(crate) struct Share(f32);

impl Share {
    /// `value` as a share in [0, 1].
    pub(crate) const fn new(value: f32) -> Self {
        Self(value)
    }

    /// The share in [0, 1].
    pub(crate) fn get(self) -> f32 {
        self.0
    }
}

impl FromStr for Share {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const EXPECTED: &str = "expected a share such as 92% or 0.92";
        let text = text.trim();
        let (number, percent) = match text.strip_suffix('%') {
            Some(number) => (number.trim_end(), true),
            None => (text, false),
        };
        let value: f64 = number.parse().map_err(|_| EXPECTED.to_owned())?;
        if percent {
            return match (0.0..=100.0).contains(&value) {
                true => Ok(Share((value / 100.0) as f32)),
                false => Err("expected 0% to 100%".to_owned()),
            };
        }
        match value {
            0.0..1.0 => Ok(Share(value as f32)),
            1.0 if number.contains('.') => Ok(Share(1.0)),
            1.0 => Err(format!("{number} may be a share or percent: write {number}% or 1.0")),
            1.0..=100.0 => Err(format!("{number} is no share: write {number}% for percent, or a number up to 1.0")),
            _ => Err(EXPECTED.to_owned()),
        }
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // As many digits as an f32 holds for certain.
        let percent = (f64::from(self.0) * 1e7).round() / 1e5;
        write!(f, "{percent}%")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn share(text: &str) -> Result<f32, String> {
        text.parse().map(Share::get)
    }

    #[test]
    fn shares_are_read_as_percent_or_numbers() {
        for (text, expected) in
            [("92%", 0.92), ("92 %", 0.92), ("0.92", 0.92), ("0", 0.0), ("0.5%", 0.005), ("1.0", 1.0), ("100%", 1.0)]
        {
            assert_eq!(share(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn ambiguous_numbers_are_refused_with_both_readings() {
        assert_eq!(share("92").unwrap_err(), "92 is no share: write 92% for percent, or a number up to 1.0");
        assert_eq!(share("1").unwrap_err(), "1 may be a share or percent: write 1% or 1.0");
        for text in ["", "%", "abc", "-0.1", "nan", "inf", "1e9", "101%", "-1%", "nan%"] {
            assert!(share(text).unwrap_err().contains("expected"), "{text}");
        }
    }

    #[test]
    fn a_share_is_shown_in_percent() {
        assert_eq!(Share::new(0.1).to_string(), "10%");
        assert_eq!(Share::new(0.928).to_string(), "92.8%");
    }
}
