//! The data of a board.

use serde::{Deserialize, Serialize};

/// Why board data was refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BoardError {
    /// It is no TOML, or a key is missing, unknown or of another type.
    #[error("{file}: {reason}")]
    Toml {
        /// The file.
        file: String,
        /// Place and reason, in the parser's words.
        reason: String,
    },
    /// A value no board can have.
    #[error("{file}: {key} is {actual}, {expected} expected")]
    Value {
        /// The file.
        file: String,
        /// The key.
        key: &'static str,
        /// Its value.
        actual: String,
        /// What would be accepted.
        expected: &'static str,
    },
}

/// How far a figure can be trusted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Basis {
    /// The maker's data sheet or documentation says so.
    DataSheet,
    /// Somebody published a measurement.
    #[default]
    Published,
    /// Measured by whoever wrote the file.
    Measured,
    /// Nobody measured it: it follows from other figures, as the source says.
    NotMeasured,
}

impl Basis {
    /// In words.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Basis::DataSheet => "data sheet",
            Basis::Published => "published measurement",
            Basis::Measured => "measured",
            Basis::NotMeasured => "not measured",
        }
    }
}

/// A number and where it comes from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Figure {
    /// The number, in the unit that its key names.
    pub value: f64,
    /// Who measured or published it, and under which conditions.
    pub source: String,
    /// How far it can be trusted.
    #[serde(default)]
    pub basis: Basis,
}

impl Figure {
    /// A number and where it comes from.
    pub fn new(value: f64, source: impl Into<String>) -> Self {
        Self { value, source: source.into(), basis: Basis::default() }
    }

    /// The same on another basis than a published measurement.
    #[must_use]
    pub fn on(mut self, basis: Basis) -> Self {
        self.basis = basis;
        self
    }
}

/// The processor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Cpu {
    /// Name of the cores as compilers know it, for instance `cortex-a72`.
    pub core: String,
    /// Number of cores.
    pub cores: u32,
    /// Highest clock of the stock board.
    pub max_mhz: Figure,
    /// Multiply-accumulates of a network per second on one core.
    pub macs_per_second: Option<Figure>,
    /// Whether the cores have half-precision arithmetic and dot products (Armv8.2).
    pub fp16_dotprod: bool,
}

/// What the whole board draws, at its input.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Power {
    /// Booted and idle, in watts.
    pub idle_watts: Option<Figure>,
    /// All cores busy, in watts.
    pub active_watts: Option<Figure>,
    /// One core busy, two, and so on, in watts, as far as they are known.
    #[serde(default)]
    pub busy_watts: Vec<Figure>,
    /// Booted and idle with all switched off that a camera loop does not need, in watts.
    pub tuned_watts: Option<Figure>,
    /// Halted and its supply cut by a switch, in watts: what the switch and what holds it draw.
    pub off_watts: Option<Figure>,
    /// Suspended between frames, in watts, where it can be.
    pub suspend_watts: Option<Figure>,
    /// The power budget of its default mode, in watts: a limit, not a measurement.
    pub budget_watts: Option<Figure>,
}

/// What parts of the board and beside it add to what it draws, in watts.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Loads {
    /// A camera that makes frames.
    pub camera_watts: Option<Figure>,
    /// The radio while it is connected and little is sent.
    pub radio_watts: Option<Figure>,
}

/// From power to a program that runs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Boot {
    /// Seconds of a system as it is shipped.
    pub seconds: Option<Figure>,
    /// Joules of the same.
    pub joules: Option<Figure>,
    /// Seconds of a system made to boot fast.
    pub fast_seconds: Option<Figure>,
    /// Joules of the same.
    pub fast_joules: Option<Figure>,
}

/// How its camera is usually read.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Camera {
    /// Device file of a USB camera.
    pub device: String,
    /// Command that writes frames of a CSI camera to its output.
    pub command: Option<String>,
    /// Pixel format that the command writes.
    pub command_format: Option<String>,
}

/// The I2C bus on the board's header.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct I2c {
    /// Its device file.
    pub bus: String,
    /// What to do where the device file is missing.
    pub enable: String,
}

/// Where its temperature is read, and what it may be.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Thermal {
    /// `type` of the thermal zone of the processor.
    pub zone: String,
    /// Temperature from which the clock is lowered, in degrees Celsius.
    pub throttle_celsius: Option<Figure>,
}

/// A rail with a power monitor on the board.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Rail {
    /// Its label in the kernel's hwmon files.
    pub label: String,
    /// What it feeds.
    pub feeds: String,
}

/// One board.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Board {
    /// Short name used on the command line.
    pub id: String,
    /// Name as on the box.
    pub name: String,
    /// Names in the device tree's `compatible`; empty for the generic board.
    pub compatible: Vec<String>,
    /// The processor; `None` where it is not known.
    pub cpu: Option<Cpu>,
    /// What it draws.
    #[serde(default)]
    pub power: Power,
    /// What parts add.
    #[serde(default)]
    pub loads: Loads,
    /// What booting takes.
    #[serde(default)]
    pub boot: Boot,
    /// Its camera.
    pub camera: Camera,
    /// Its I2C bus.
    pub i2c: I2c,
    /// Its temperature.
    pub thermal: Thermal,
    /// Its power monitors.
    #[serde(default)]
    pub rails: Vec<Rail>,
}

impl Board {
    /// Reads the contents of a `board.toml`; `file` names it in errors.
    ///
    /// # Errors
    /// [`BoardError`] with the key and what was expected.
    pub fn parse(file: &str, text: &str) -> Result<Self, BoardError> {
        let board: Self = toml::from_str(text)
            .map_err(|error| BoardError::Toml { file: file.into(), reason: error.to_string().trim_end().to_owned() })?;
        let wrong = |key, actual: String, expected| Err(BoardError::Value { file: file.into(), key, actual, expected });
        let name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if board.id.is_empty() || !board.id.chars().all(name) {
            return wrong("id", format!("`{}`", board.id), "small letters, digits and hyphens");
        }
        let Power { idle_watts, active_watts, suspend_watts, budget_watts, tuned_watts, off_watts, busy_watts } =
            &board.power;
        let cpu = board.cpu.as_ref();
        let (loads, boot) = (&board.loads, &board.boot);
        let named = [
            ("power.idle_watts", idle_watts.as_ref()),
            ("power.active_watts", active_watts.as_ref()),
            ("power.suspend_watts", suspend_watts.as_ref()),
            ("power.budget_watts", budget_watts.as_ref()),
            ("thermal.throttle_celsius", board.thermal.throttle_celsius.as_ref()),
            ("cpu.max_mhz", cpu.map(|cpu| &cpu.max_mhz)),
            ("cpu.macs_per_second", cpu.and_then(|cpu| cpu.macs_per_second.as_ref())),
            ("power.tuned_watts", tuned_watts.as_ref()),
            ("power.off_watts", off_watts.as_ref()),
            ("loads.camera_watts", loads.camera_watts.as_ref()),
            ("loads.radio_watts", loads.radio_watts.as_ref()),
            ("boot.seconds", boot.seconds.as_ref()),
            ("boot.joules", boot.joules.as_ref()),
            ("boot.fast_seconds", boot.fast_seconds.as_ref()),
            ("boot.fast_joules", boot.fast_joules.as_ref()),
        ];
        let busy = busy_watts.iter().map(|figure| ("power.busy_watts", Some(figure)));
        for (key, figure) in named.into_iter().chain(busy) {
            let Some(figure) = figure else { continue };
            if !(figure.value.is_finite() && figure.value > 0.0) {
                return wrong(key, figure.value.to_string(), "a number above 0");
            }
            if figure.source.trim().is_empty() {
                return wrong(key, "without a source".into(), "where the figure comes from");
            }
        }
        if let (Some(idle), Some(active)) = (idle_watts, active_watts)
            && active.value < idle.value
        {
            return wrong("power.active_watts", active.value.to_string(), "no less than power.idle_watts");
        }
        if let (Some(suspended), Some(idle)) = (suspend_watts, idle_watts)
            && suspended.value > idle.value
        {
            return wrong("power.suspend_watts", suspended.value.to_string(), "no more than power.idle_watts");
        }
        let rising = idle_watts.iter().chain(busy_watts).collect::<Vec<_>>();
        if let Some(pair) = rising.windows(2).find(|pair| pair[1].value < pair[0].value) {
            return wrong("power.busy_watts", pair[1].value.to_string(), "no less than with one core fewer");
        }
        if cpu.is_some_and(|cpu| busy_watts.len() > cpu.cores as usize) {
            return wrong("power.busy_watts", format!("{} figures", busy_watts.len()), "one per core at most");
        }
        Ok(board)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_data_is_refused_with_its_key() {
        let error = |change: (&str, &str)| {
            let text = crate::GENERIC.replace(change.0, change.1);
            assert_ne!(text, crate::GENERIC);
            Board::parse("x.toml", &text).unwrap_err().to_string()
        };
        assert!(error(("generic-linux", "Generic Linux")).contains("x.toml: id is `Generic Linux`"));
        assert!(error(("[i2c]", "[i3c]")).contains("i3c"));
        assert!(
            error(("[camera]", "[power]\nidle_watts = { value = -1, source = \"x\" }\n[camera]"))
                .contains("idle_watts is -1")
        );
        assert!(
            error(("[camera]", "[power]\nidle_watts = { value = 2, source = \" \" }\n[camera]")).contains("source")
        );
        let both = "[power]\nidle_watts = { value = 2, source = \"x\" }\nactive_watts = { value = 1, source = \"x\" }\n[camera]";
        assert!(error(("[camera]", both)).contains("no less than"));
        let asleep = both.replace("active_watts = { value = 1", "suspend_watts = { value = 3");
        assert!(error(("[camera]", asleep.as_str())).contains("no more than"));
        let busy = "[power]\nidle_watts = { value = 2, source = \"x\" }\nbusy_watts = [{ value = 1, source = \"x\" }]\n[camera]";
        assert!(error(("[camera]", busy)).contains("one core fewer"));
        let guess = busy.replace("value = 1,", "value = 3, basis = \"guess\",");
        assert!(error(("[camera]", guess.as_str())).contains("guess"));
        assert!(Board::parse("x.toml", "id = ").unwrap_err().to_string().starts_with("x.toml: "));
    }
}
