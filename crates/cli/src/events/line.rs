//! GPIO lines that events set.

use std::time::Instant;

use crate::args::gpio::GpioLine;

/// A line that is held for as long as the program runs; inactive at first.
pub(super) struct OutputLine {
    name: GpioLine,
    #[cfg(all(target_os = "linux", feature = "gpio"))]
    request: gpiocdev::Request,
    /// When an active line becomes inactive again by itself.
    pub(super) until: Option<Instant>,
}

impl OutputLine {
    /// Whether this is the line of that name.
    pub(super) fn is(&self, name: &GpioLine) -> bool {
        self.name == *name
    }
}

#[cfg(all(target_os = "linux", feature = "gpio"))]
impl OutputLine {
    /// Takes the line.
    pub(super) fn open(name: &GpioLine) -> anyhow::Result<Self> {
        use anyhow::Context as _;
        let mut request = gpiocdev::Request::builder();
        request.on_chip(&name.chip).with_consumer("dyn-perceiver").with_line(name.line);
        if name.active_low {
            request.as_active_low();
        }
        let request = request.as_output(gpiocdev::line::Value::Inactive).request();
        let request = request.with_context(|| name.to_string())?;
        Ok(OutputLine { name: name.clone(), request, until: None })
    }

    /// Sets it.
    pub(super) fn set(&mut self, active: bool) -> anyhow::Result<()> {
        use anyhow::Context as _;
        use gpiocdev::line::Value;
        let value = if active { Value::Active } else { Value::Inactive };
        self.request.set_lone_value(value).with_context(|| self.name.to_string())
    }
}

#[cfg(not(all(target_os = "linux", feature = "gpio")))]
impl OutputLine {
    pub(super) fn open(name: &GpioLine) -> anyhow::Result<Self> {
        anyhow::bail!("{name}: GPIO lines are set on Linux, by a program built with the feature `gpio`")
    }

    pub(super) fn set(&mut self, _: bool) -> anyhow::Result<()> {
        anyhow::bail!("{}: no GPIO line", self.name)
    }
}
