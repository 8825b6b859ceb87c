//! Governor and switch in one loop.

use core::time::Duration;

use dyn_perceiver_core::energy::FuelGauge;
use dyn_perceiver_core::energy::companion::Message;
use embedded_io::Write;

use crate::Companion;
use crate::config::{Config, ConfigError};
use crate::wake::times::{after, since};
use crate::wake::{Board, Clock, Counts, Event, Waker};

/// Time from one message to the next while the board is on: a board that is on for seconds must get one.
const TELL: Duration = Duration::from_secs(1);
/// Time from one look at the gauge to the next while it is off.
const WATCH: Duration = Duration::from_secs(60);

/// A companion that also holds the switch: the waker decides when the board has power, the companion what it runs then.
///
/// A board that is off is sent nothing: a line that drives into a board without a supply feeds it.
#[derive(Debug)]
pub struct Keeper<'a, G: FuelGauge, U, C, B> {
    /// Borrowed, since it takes kilobytes of the stack, and as much again wherever it is moved.
    companion: &'a mut Companion<G, U>,
    waker: Waker<C, B>,
    /// What the clock showed when the mission began.
    begun: Duration,
    /// When the companion looks next, since then.
    due: Duration,
}

/// What happened in a step.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Kept {
    /// What the switch did.
    pub event: Option<Event>,
    /// What the board was sent.
    pub message: Option<Message>,
}

impl<'a, G: FuelGauge, U: Write, C: Clock, B: Board> Keeper<'a, G, U, C, B> {
    /// A board that is off, and a mission that begins now, with a companion of the same configuration.
    ///
    /// # Errors
    /// [`ConfigError`] when the configuration has no wake plan, or one that is out of range.
    pub fn new(config: &Config, companion: &'a mut Companion<G, U>, clock: C, board: B) -> Result<Self, ConfigError> {
        let plan = config.wake()?.ok_or(ConfigError::NoWakePlan)?;
        companion.switched(false);
        let begun = clock.now();
        Ok(Keeper { companion, waker: Waker::new(plan, clock, board), begun, due: Duration::ZERO })
    }

    /// What was counted so far.
    pub fn counts(&self) -> Counts {
        self.waker.counts()
    }

    /// Looks at the lines and the clock, and where it is time or the board was switched, at the gauge; to be called a few times
    /// a second.
    ///
    /// # Errors
    /// What the line reports; the switch was served all the same.
    pub fn step(&mut self) -> Result<Kept, U::Error> {
        let elapsed = since(self.begun, self.waker.now());
        let event = self.waker.step(self.companion.soc());
        let switched = match event {
            Some(Event::WokenByClock | Event::WokenByMotion) => Some(true),
            Some(Event::SwitchedOff | Event::Cut) => Some(false),
            Some(Event::AskedToHalt) | None => None,
        };
        if switched.is_none() && elapsed < self.due {
            return Ok(Kept { event, message: None });
        }
        // What was drawn until now was drawn as the board stood before.
        let message = self.companion.decide(elapsed).with_wakes(Some(self.waker.report()));
        let listens = switched.is_none() && self.waker.is_on();
        if let Some(on) = switched {
            self.companion.switched(on);
        }
        self.due = after(elapsed, if self.waker.is_on() { TELL } else { WATCH });
        if listens {
            self.companion.send(&message)?;
        }
        Ok(Kept { event, message: listens.then_some(message) })
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::convert::Infallible;

    use dyn_perceiver_core::energy::companion::Decoder;
    use dyn_perceiver_core::energy::{Fault, FrameDemand, GaugeReading, Mission, SensorError};

    use super::*;
    use crate::wake::{WakeError, WakePlan};

    /// The configuration of the bench, woken every ten minutes and by motion.
    fn config() -> Config {
        let bytes = include_bytes!("../bursts.postcard");
        let config = Config::from_postcard(bytes).unwrap();
        let plan = config.wake.map(|plan| WakePlan { quiet: None, ..plan.and_every(Duration::from_secs(600)) });
        Config { wake: plan, ..config }
    }

    #[derive(Debug)]
    struct Nothing;

    impl SensorError for Nothing {
        fn fault(&self) -> Fault {
            Fault::Nack
        }
    }

    /// What a test sets, and what the keeper does.
    #[derive(Default)]
    struct World {
        second: Cell<u64>,
        on_since: Cell<Option<u64>>,
        soc: Cell<f32>,
        /// Whether a byte went to a board that was off.
        fed: Cell<bool>,
        sent: std::cell::RefCell<Vec<u8>>,
    }

    #[derive(Clone, Copy)]
    struct Part<'a>(&'a World);

    impl Clock for Part<'_> {
        fn now(&self) -> Duration {
            // The clock was set long before the mission began.
            Duration::from_secs(1_000_000 + self.0.second.get())
        }
    }

    impl Board for Part<'_> {
        fn supply(&mut self, on: bool) {
            self.0.on_since.set(on.then(|| self.0.second.get()));
        }

        fn ask_to_halt(&mut self, _: bool) {}

        fn has_halted(&self) -> bool {
            self.0.on_since.get().is_some_and(|since| self.0.second.get() >= since + 20)
        }

        fn sees_motion(&self) -> bool {
            false
        }
    }

    impl FuelGauge for Part<'_> {
        type Error = Nothing;

        fn read(&mut self) -> Result<GaugeReading, Nothing> {
            Ok(GaugeReading::new(self.0.soc.get()))
        }
    }

    impl embedded_io::ErrorType for Part<'_> {
        type Error = Infallible;
    }

    impl Write for Part<'_> {
        fn write(&mut self, bytes: &[u8]) -> Result<usize, Infallible> {
            self.0.fed.set(self.0.fed.get() || self.0.on_since.get().is_none());
            self.0.sent.borrow_mut().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> Result<(), Infallible> {
            Ok(())
        }
    }

    /// Plays so many seconds of a battery whose charge is what `soc` says, and returns what the board was sent.
    fn play(seconds: u64, soc: impl Fn(u64) -> f32) -> (Vec<Message>, Counts) {
        let world = World { soc: Cell::new(soc(0)), ..World::default() };
        let part = Part(&world);
        let mut companion = Companion::new(&config(), part, part).unwrap();
        let mut keeper = Keeper::new(&config(), &mut companion, part, part).unwrap();
        for second in 1..=seconds {
            world.second.set(second);
            world.soc.set(soc(second));
            let Ok(_) = keeper.step();
        }
        assert!(!world.fed.get(), "a line drove into a board without a supply");
        let mut decoder = Decoder::new();
        let messages = world.sent.borrow().iter().filter_map(|byte| decoder.push(*byte)).collect();
        (messages, keeper.counts())
    }

    #[test]
    fn a_woken_board_is_told_every_second_what_to_run_and_how_often_it_was_woken() {
        let (messages, counts) = play(1900, |_| 0.9);
        assert_eq!((counts.boots, counts.on), (3, Duration::from_secs(60)));
        // All seconds of a burst but the first and the last.
        assert_eq!(messages.len(), 3 * 19);
        let wakes: Vec<_> = messages.iter().map(|message| message.wakes.unwrap()).collect();
        assert_eq!((wakes[0].boots, wakes[0].next_s), (1, Some(599)));
        assert_eq!((wakes[56].boots, wakes[56].next_s), (3, Some(581)));
    }

    #[test]
    fn a_low_battery_leaves_the_board_off() {
        let (messages, counts) = play(1900, |_| 0.05);
        assert_eq!((messages.len(), counts.boots, counts.missed), (0, 0, 3));
    }

    #[test]
    fn configurations_that_cannot_be_kept_are_refused() {
        let world = World::default();
        let part = Part(&world);
        let refused = |config: &Config| {
            let mut companion = match Companion::new(config, part, part) {
                Ok(companion) => companion,
                Err(error) => return Some(error),
            };
            Keeper::new(config, &mut companion, part, part).err()
        };
        assert_eq!(refused(&Config { wake: None, ..config() }), Some(ConfigError::NoWakePlan));
        let often = FrameDemand::Period(Duration::from_secs(1));
        let mission = Mission::new(Duration::from_secs(3600), often);
        assert_eq!(refused(&Config { mission, ..config() }), Some(ConfigError::WakeWithPeriod));
        let plan = WakePlan { on_motion: false, every: None, ..WakePlan::by_motion() };
        assert_eq!(refused(&Config { wake: Some(plan), ..config() }), Some(ConfigError::Wake(WakeError::Never)));
    }
}
