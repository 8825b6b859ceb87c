//! A day on the bench: a bus with a simulated MAX17048 behind it, its battery draining and its faults.

use core::cell::Cell;
use core::convert::Infallible;
use core::time::Duration;

use dyn_perceiver_core::energy::companion::Message;
use dyn_perceiver_core::energy::drivers::Max17048;
use embedded_hal::i2c::{ErrorKind, ErrorType, I2c, NoAcknowledgeSource, Operation};
use embedded_io::Write;

use crate::wake::{Board, Clock, Counts, Event, WakePlan, Waker};
use crate::{Companion, Config, ConfigError};

/// Seconds from one step of the companion to the next.
pub const STEP_SECONDS: u64 = 60;
/// Steps of the day: eight hours and ten minutes, ten minutes more than the mission.
pub const STEPS: u32 = 490;

/// Plays the whole day: the messages go to `line`, and to `each` with the number of the step.
///
/// # Errors
/// [`ConfigError`] when the parts of the configuration do not fit together.
pub fn play<U: Write<Error = Infallible>>(
    config: &Config,
    line: U,
    mut each: impl FnMut(u32, &Message),
) -> Result<(), ConfigError> {
    let bench = Cell::new(Bench::default());
    let mut companion = Companion::new(config, Max17048::new(Wire(&bench)), line)?;
    let per_charge = config.settings.joules_per_charge();
    for step in 0..STEPS {
        let spent = companion.spending() * STEP_SECONDS as f32;
        bench.set(bench.get().at(step, spent, per_charge));
        let Ok(message) = companion.step(Duration::from_secs(STEP_SECONDS * u64::from(step)));
        each(step, &message);
    }
    Ok(())
}

/// A day of wakes on the bench: by the clock every half hour but at night, and by motion now and then. The board halts of
/// itself after eight seconds, at noon it hangs. What happens goes to `each` with the second of the day.
pub fn wakes(mut each: impl FnMut(u32, Event)) -> Counts {
    let hours = |hours: u64| Duration::from_secs(3600 * hours);
    let plan = WakePlan::by_motion().and_every(Duration::from_secs(1800)).quiet_between(hours(20), hours(6));
    let lines = Cell::new(Lines::default());
    let mut waker = Waker::new(plan, Second(&lines), Wired(&lines));
    for second in 1..=86_400 {
        let before = lines.get();
        lines.set(Lines { second, ..before });
        if let Some(event) = waker.step(Some(0.8)) {
            each(second, event);
        }
    }
    waker.counts()
}

/// The lines to the board on the bench, and what its clock shows.
#[derive(Clone, Copy, Debug, Default)]
struct Lines {
    second: u32,
    on: bool,
    since: u32,
    asked: bool,
}

#[derive(Debug)]
struct Second<'a>(&'a Cell<Lines>);

impl Clock for Second<'_> {
    fn now(&self) -> Duration {
        Duration::from_secs(self.0.get().second.into())
    }
}

#[derive(Debug)]
struct Wired<'a>(&'a Cell<Lines>);

impl Board for Wired<'_> {
    fn supply(&mut self, on: bool) {
        let lines = self.0.get();
        self.0.set(Lines { on, since: lines.second, ..lines });
    }

    fn ask_to_halt(&mut self, asked: bool) {
        self.0.set(Lines { asked, ..self.0.get() });
    }

    fn has_halted(&self) -> bool {
        const NOON: core::ops::Range<u32> = 43_200..43_260;
        let Lines { second, on, since, asked } = self.0.get();
        on && !NOON.contains(&since) && (asked || second.wrapping_sub(since) >= 8)
    }

    fn sees_motion(&self) -> bool {
        // Half a minute of motion every two and three quarter hours.
        self.0.get().second % 9900 < 30 && self.0.get().second > 30
    }
}

/// The bus as the driver holds it.
#[derive(Clone, Copy, Debug)]
struct Wire<'a>(&'a Cell<Bench>);

/// A bus with one chip at address 0x36, which tells the truth except during its faults.
#[derive(Clone, Copy, Debug)]
struct Bench {
    soc: f32,
    volts: f32,
    fault: Fault,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    None,
    Nack,
    Ones,
}

/// The bus failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BenchError(ErrorKind);

impl embedded_hal::i2c::Error for BenchError {
    fn kind(&self) -> ErrorKind {
        self.0
    }
}

impl Default for Bench {
    fn default() -> Self {
        Bench { soc: 1.0, volts: 4.1, fault: Fault::None }
    }
}

impl Bench {
    /// The bench at a step of the day: the battery drains, and at set times the chip fails.
    fn at(mut self, step: u32, joules: f32, joules_per_charge: f32) -> Self {
        self.soc = (self.soc - joules / joules_per_charge).max(0.0);
        self.volts = 3.3 + 0.8 * self.soc;
        self.fault = match step {
            // Half an hour without an answer: held, degraded, failed.
            120..150 => Fault::Nack,
            // Three minutes of a bus that reads all ones.
            240..243 => Fault::Ones,
            _ => Fault::None,
        };
        // A glitch of the supply near the end.
        if (400..404).contains(&step) {
            self.volts = 3.0;
        }
        self
    }

    fn register(&self, register: u8) -> u16 {
        match register {
            _ if self.fault == Fault::Ones => 0xFFFF,
            0x02 => (self.volts / 78.125e-6) as u16,
            0x04 => (self.soc * 25_600.0) as u16,
            _ => 0,
        }
    }
}

impl ErrorType for Wire<'_> {
    type Error = BenchError;
}

impl I2c for Wire<'_> {
    fn transaction(&mut self, address: u8, operations: &mut [Operation<'_>]) -> Result<(), BenchError> {
        let bench = self.0.get();
        if address != 0x36 || bench.fault == Fault::Nack {
            return Err(BenchError(ErrorKind::NoAcknowledge(NoAcknowledgeSource::Address)));
        }
        let mut register = 0;
        for operation in operations {
            match operation {
                Operation::Write(bytes) => register = bytes.first().copied().unwrap_or(0),
                Operation::Read(bytes) => {
                    for (slot, byte) in bytes.iter_mut().zip(bench.register(register).to_be_bytes()) {
                        *slot = byte;
                    }
                }
            }
        }
        Ok(())
    }
}
