//! A GPIO line as options name it: `gpio:/dev/gpiochip0:17`, with `:low` behind it where low is active.

use std::path::PathBuf;

/// A line of a GPIO chip.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(not(all(target_os = "linux", feature = "gpio")), allow(dead_code, reason = "only named, to be refused"))]
pub(crate) struct GpioLine {
    pub chip: PathBuf,
    pub line: u32,
    /// Whether the line is active when it is low.
    pub active_low: bool,
}

impl GpioLine {
    /// What stands behind `gpio:`.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let expected = || "expected a GPIO line such as gpio:/dev/gpiochip0:17, or ...:17:low".to_owned();
        let (text, active_low) = match text.strip_suffix(":low") {
            Some(text) => (text, true),
            None => (text, false),
        };
        let (chip, line) = text.rsplit_once(':').ok_or_else(expected)?;
        match (chip.is_empty(), line.parse()) {
            (false, Ok(line)) => Ok(GpioLine { chip: chip.into(), line, active_low }),
            _ => Err(expected()),
        }
    }
}

impl std::fmt::Display for GpioLine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let low = if self.active_low { ":low" } else { "" };
        write!(f, "gpio:{}:{}{low}", self.chip.display(), self.line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_named_by_chip_and_number() {
        let line = GpioLine::parse("/dev/gpiochip0:17").unwrap();
        assert_eq!((line.chip.to_str(), line.line, line.active_low), (Some("/dev/gpiochip0"), 17, false));
        assert!(GpioLine::parse("/dev/gpiochip0:4:low").unwrap().active_low);
        assert_eq!(GpioLine::parse("/dev/gpiochip0:4:low").unwrap().to_string(), "gpio:/dev/gpiochip0:4:low");
        for text in ["", ":3", "17", "/dev/gpiochip0:x", "/dev/gpiochip0:-1", "/dev/gpiochip0"] {
            assert!(GpioLine::parse(text).is_err(), "{text}");
        }
    }
}
