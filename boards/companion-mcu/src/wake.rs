//! Power down between bursts: when the Linux board is switched on, and off again once it has halted.
//!
//! The microcontroller holds the switch of the board's supply. It wakes the board by its clock or when a motion sensor says
//! so, waits until the board has halted of itself, asks it to where it takes too long, and cuts the supply. All time comes
//! from a [`Clock`], so that a test plays a week in no time.

use core::time::Duration;

use dyn_perceiver_core::energy::companion::Wakes;

mod plan;
pub(crate) mod times;

pub use plan::{WakeError, WakePlan};
use times::{after, since};

/// The time of a clock that goes on while everything else is off.
pub trait Clock {
    /// Time since midnight of the day on which the clock was set. Never goes back.
    fn now(&self) -> Duration;
}

/// The lines between microcontroller and board.
pub trait Board {
    /// Switches the board's supply.
    fn supply(&mut self, on: bool);

    /// Asks the board to halt, for as long as it is set.
    fn ask_to_halt(&mut self, ask: bool);

    /// Whether the board says that it has halted, as `gpio-poweroff` does on Linux.
    fn has_halted(&self) -> bool;

    /// Whether the motion sensor sees something.
    fn sees_motion(&self) -> bool;
}

/// What happened in a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(target_os = "none", derive(defmt::Format))]
#[non_exhaustive]
pub enum Event {
    /// The board was switched on by the clock.
    WokenByClock,
    /// The board was switched on by motion.
    WokenByMotion,
    /// The board was asked to halt.
    AskedToHalt,
    /// The board has halted, and its supply was cut.
    SwitchedOff,
    /// The board did not halt in time, and its supply was cut.
    Cut,
}

/// What the board was switched on and off for, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counts {
    /// Boots in all.
    pub boots: u32,
    /// Of them those by motion.
    pub by_motion: u32,
    /// Times the supply was cut from a board that had not halted.
    pub cuts: u32,
    /// Wakes that were due while the charge was too low.
    pub missed: u32,
    /// Time that the board was on.
    pub on: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    Off,
    On,
    Halting { asked: Duration },
}

/// The one who switches.
#[derive(Debug)]
pub struct Waker<C, B> {
    plan: WakePlan,
    clock: C,
    board: B,
    state: State,
    /// When the board was last switched on, and when the clock wakes it next.
    woken: Option<Duration>,
    next: Option<Duration>,
    counts: Counts,
}

impl<C: Clock, B: Board> Waker<C, B> {
    /// A board that is off. The first wake by the clock is one interval from now.
    pub fn new(plan: WakePlan, clock: C, mut board: B) -> Self {
        board.supply(false);
        board.ask_to_halt(false);
        let next = plan.every.map(|every| after(clock.now(), every));
        Self { plan, clock, board, state: State::Off, woken: None, next, counts: Counts::default() }
    }

    /// What was counted so far.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Whether the board's supply is on.
    pub fn is_on(&self) -> bool {
        self.state != State::Off
    }

    /// What the clock shows.
    pub fn now(&self) -> Duration {
        self.clock.now()
    }

    /// What the board is told.
    pub fn report(&self) -> Wakes {
        let Counts { boots, by_motion, cuts, missed, .. } = self.counts;
        let next = self.next.zip(self.plan.every).and_then(|(due, every)| self.plan.first_wake(due, every));
        let seconds = next.map(|next| since(self.clock.now(), next).as_secs());
        Wakes::new(boots, by_motion, cuts, missed).with_next(seconds.and_then(|seconds| u32::try_from(seconds).ok()))
    }

    /// Looks at the lines and the clock once; to be called a few times a second. `soc` is the state of charge in [0, 1],
    /// where it is known.
    pub fn step(&mut self, soc: Option<f32>) -> Option<Event> {
        let now = self.clock.now();
        match self.state {
            State::Off => self.wake(now, soc),
            State::On if self.board.has_halted() => Some(self.switch_off(now, Event::SwitchedOff)),
            State::On => {
                let is_long = self.since_woken(now) >= self.plan.longest;
                is_long.then(|| {
                    self.board.ask_to_halt(true);
                    self.state = State::Halting { asked: now };
                    Event::AskedToHalt
                })
            }
            State::Halting { .. } if self.board.has_halted() => Some(self.switch_off(now, Event::SwitchedOff)),
            State::Halting { asked } => {
                let is_over = since(asked, now) >= self.plan.halting;
                is_over.then(|| {
                    self.counts.cuts = self.counts.cuts.saturating_add(1);
                    self.switch_off(now, Event::Cut)
                })
            }
        }
    }

    fn since_woken(&self, now: Duration) -> Duration {
        self.woken.map_or(Duration::MAX, |woken| since(woken, now))
    }

    fn wake(&mut self, now: Duration, soc: Option<f32>) -> Option<Event> {
        let is_due = self.next.is_some_and(|next| now >= next);
        if is_due {
            // What was missed while the board was off is not made up for.
            let every = self.plan.every.unwrap_or(Duration::MAX).max(Duration::from_secs(1));
            self.next = Some(after(now, every));
        }
        let by_clock = is_due && !self.plan.is_quiet(now);
        let is_rested = self.since_woken(now) >= self.plan.pause;
        let by_motion = self.plan.on_motion && is_rested && self.board.sees_motion();
        if !(by_clock || by_motion) {
            return None;
        }
        if soc.is_some_and(|soc| soc < self.plan.least_soc) {
            self.counts.missed = self.counts.missed.saturating_add(1);
            // So that a moving branch counts once a pause, not at every look.
            self.woken = Some(now);
            return None;
        }
        self.board.supply(true);
        (self.state, self.woken) = (State::On, Some(now));
        self.counts.boots = self.counts.boots.saturating_add(1);
        if by_motion {
            self.counts.by_motion = self.counts.by_motion.saturating_add(1);
            return Some(Event::WokenByMotion);
        }
        Some(Event::WokenByClock)
    }

    fn switch_off(&mut self, now: Duration, event: Event) -> Event {
        self.board.supply(false);
        self.board.ask_to_halt(false);
        self.counts.on = after(self.counts.on, self.since_woken(now));
        self.state = State::Off;
        event
    }
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};

    use super::*;

    /// A clock that a test sets.
    struct Mock<'a>(&'a Cell<u64>);

    impl Clock for Mock<'_> {
        fn now(&self) -> Duration {
            Duration::from_secs(self.0.get())
        }
    }

    /// A board that boots, works and halts, or hangs.
    #[derive(Default)]
    struct Lines {
        on: bool,
        asked: bool,
        on_since: u64,
        /// Seconds from power to halted; none for one that never halts of itself.
        works: Option<u64>,
        hangs: bool,
        motion: bool,
    }

    struct Wired<'a> {
        lines: &'a RefCell<Lines>,
        clock: &'a Cell<u64>,
    }

    impl Board for Wired<'_> {
        fn supply(&mut self, on: bool) {
            let mut lines = self.lines.borrow_mut();
            assert!(!on || !lines.on, "switched on twice");
            (lines.on, lines.on_since) = (on, self.clock.get());
        }

        fn ask_to_halt(&mut self, ask: bool) {
            self.lines.borrow_mut().asked = ask;
        }

        fn has_halted(&self) -> bool {
            let lines = self.lines.borrow();
            let done = lines.works.is_some_and(|works| self.clock.get() >= lines.on_since + works);
            lines.on && !lines.hangs && (done || lines.asked)
        }

        fn sees_motion(&self) -> bool {
            self.lines.borrow().motion
        }
    }

    /// Plays so many seconds, with what happens at each, and returns the events with their times.
    fn play(
        plan: WakePlan,
        seconds: u64,
        mut at: impl FnMut(u64, &mut Lines) -> Option<f32>,
    ) -> (Vec<(u64, Event)>, Counts, bool) {
        let (clock, lines) = (Cell::new(0), RefCell::new(Lines::default()));
        let mut waker = Waker::new(plan, Mock(&clock), Wired { lines: &lines, clock: &clock });
        let mut events = Vec::new();
        for second in 1..=seconds {
            clock.set(second);
            let soc = at(second, &mut lines.borrow_mut());
            events.extend(waker.step(soc).map(|event| (second, event)));
            assert_eq!(waker.is_on(), lines.borrow().on);
        }
        let on = lines.borrow().on;
        (events, waker.counts(), on)
    }

    const HOUR: u64 = 3600;

    #[test]
    fn a_week_of_wakes_by_the_clock_leaves_out_the_nights() {
        let hours = |hours| Duration::from_secs(hours * HOUR);
        let plan = WakePlan::by_motion().and_every(Duration::from_secs(600)).quiet_between(hours(20), hours(6));
        let (events, counts, on) = play(plan, 7 * 24 * HOUR, |_, lines| {
            lines.works = Some(8);
            Some(0.9)
        });
        // Six an hour from 6 to 20 o'clock, each switched off again.
        assert_eq!((counts.boots, counts.by_motion, counts.cuts), (7 * 14 * 6, 0, 0));
        assert_eq!(events.iter().filter(|(_, event)| *event == Event::SwitchedOff).count(), 7 * 14 * 6);
        assert_eq!(counts.on, Duration::from_secs(8 * 7 * 14 * 6));
        assert!(!on);
        let at = |second: u64| (second / HOUR) % 24;
        assert!(events.iter().all(|&(second, _)| (6..20).contains(&at(second))), "{events:?}");
    }

    #[test]
    fn motion_wakes_at_once_and_then_at_most_once_a_pause() {
        let (events, counts, _) = play(WakePlan::by_motion(), 600, |second, lines| {
            (lines.works, lines.motion) = (Some(10), (100..300).contains(&second));
            Some(0.9)
        });
        let woken: Vec<u64> =
            events.iter().filter(|(_, event)| *event == Event::WokenByMotion).map(|&(second, _)| second).collect();
        assert_eq!(woken, [100, 160, 220, 280]);
        assert_eq!((counts.boots, counts.by_motion), (4, 4));
    }

    #[test]
    fn a_board_that_takes_too_long_is_asked_to_halt_and_one_that_hangs_is_cut_off() {
        let wake = |hangs| {
            move |second: u64, lines: &mut Lines| {
                (lines.hangs, lines.motion) = (hangs, second == 10);
                Some(0.9)
            }
        };
        let (events, counts, on) = play(WakePlan::by_motion(), 300, wake(false));
        assert_eq!(events, [(10, Event::WokenByMotion), (130, Event::AskedToHalt), (131, Event::SwitchedOff)]);
        assert!(counts.cuts == 0 && !on);
        let (events, counts, on) = play(WakePlan::by_motion(), 300, wake(true));
        assert_eq!(events, [(10, Event::WokenByMotion), (130, Event::AskedToHalt), (160, Event::Cut)]);
        assert!(counts.cuts == 1 && !on);
    }

    #[test]
    fn an_empty_battery_wakes_nothing_and_the_misses_are_counted() {
        let plan = WakePlan::by_motion().and_every(Duration::from_secs(100));
        let (events, counts, _) = play(plan, 1000, |second, lines| {
            lines.works = Some(5);
            // The sun comes at 500; from 800 on nobody can tell the charge, and the board is woken.
            match second {
                ..500 => Some(0.05),
                500..800 => Some(0.5),
                _ => None,
            }
        });
        assert_eq!(counts.missed, 4);
        assert_eq!(counts.boots, 6);
        assert_eq!(events.first(), Some(&(500, Event::WokenByClock)));
    }
}
