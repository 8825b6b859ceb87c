//! A day on the bench: a bus with a simulated MAX17048 behind it, its battery draining and its faults.

use core::cell::Cell;
use core::convert::Infallible;
use core::time::Duration;

use dyn_perceiver_core::energy::companion::Message;
use dyn_perceiver_core::energy::drivers::Max17048;
use embedded_hal::i2c::{ErrorKind, ErrorType, I2c, NoAcknowledgeSource, Operation};
use embedded_io::Write;

use crate::wake::{Board, Clock, Counts};
use crate::{Companion, Config, ConfigError, Keeper, Kept};

/// Seconds from one step of the companion to the next.
pub const STEP_SECONDS: u64 = 60;
/// Steps of the day: eight hours and ten minutes, ten minutes more than the mission.
pub const STEPS: u32 = 490;
/// Seconds of the day with bursts.
const DAY_SECONDS: u32 = 86_400;
/// What the board on the bench draws while it is on, over what it should at rest, while it is off, and for a boot.
const BUSY: f32 = 1.2;
const OFF_WATTS: f32 = 0.02;
const BOOT_JOULES: f32 = 13.0;

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

/// Plays a day of a board that is switched off between bursts, second by second, by the wake plan of the configuration: motion now and
/// then, a board that halts of itself after eight seconds and hangs at noon. What happens goes to `each` with the second of the day.
///
/// # Errors
/// [`ConfigError`] when the parts of the configuration do not fit together or there is no wake plan among them.
pub fn play_bursts<U: Write<Error = Infallible>>(
    config: &Config,
    line: U,
    mut each: impl FnMut(u32, &Kept),
) -> Result<Counts, ConfigError> {
    let (bench, lines) = (Cell::new(Bench::default()), Cell::new(Lines::default()));
    let gauge = Max17048::new(Wire(&bench));
    let mut companion = Companion::new(config, gauge, line)?;
    let mut keeper = Keeper::new(config, &mut companion, Second(&lines), Wired(&lines))?;
    let per_charge = config.settings.joules_per_charge();
    for second in 1..=DAY_SECONDS {
        lines.set(Lines { second, ..lines.get() });
        let on = lines.get().on;
        let Ok(kept) = keeper.step();
        let booted = if !on && lines.get().on { BOOT_JOULES } else { 0.0 };
        let watts = if on { BUSY * config.power.resting_watts() } else { OFF_WATTS };
        bench.set(bench.get().drained(watts + booted, per_charge));
        each(second, &kept);
    }
    Ok(keeper.counts())
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
    /// The bench after so many joules were drawn.
    fn drained(mut self, joules: f32, joules_per_charge: f32) -> Self {
        self.soc = (self.soc - joules / joules_per_charge).max(0.0);
        self.volts = 3.3 + 0.8 * self.soc;
        self
    }

    /// The bench at a step of the day: the battery drains, and at set times the chip fails.
    fn at(self, step: u32, joules: f32, joules_per_charge: f32) -> Self {
        let mut bench = self.drained(joules, joules_per_charge);
        bench.fault = match step {
            // Half an hour without an answer: held, degraded, failed.
            120..150 => Fault::Nack,
            // Three minutes of a bus that reads all ones.
            240..243 => Fault::Ones,
            _ => Fault::None,
        };
        // A glitch of the supply near the end.
        if (400..404).contains(&step) {
            bench.volts = 3.0;
        }
        bench
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
