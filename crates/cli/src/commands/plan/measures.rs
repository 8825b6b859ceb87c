//! What each measure does to the life of the battery: watts, hours and right answers.

use serde::Serialize;

use super::facts::{Draw, Off};
use super::gate::Gate;

/// A way to run the network, on this board.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Way {
    /// Seconds of one core that a frame takes, decoding apart.
    pub seconds: f64,
    /// Expected share of frames answered rightly.
    pub accuracy: f64,
}

/// What the mission asks for, and what it is to be done with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mission {
    /// Joules of the battery that reach the board above the reserve.
    pub joules: f64,
    /// Watts of the sun on average.
    pub income: f64,
    /// Length of the mission in seconds.
    pub seconds: f64,
    /// Seconds from frame to frame that are wished for, and the longest that will do.
    pub period: f64,
    pub longest: f64,
    /// Share of frames in which nothing moves.
    pub still: f64,
    /// Events a day at which a board that is switched off is woken, and frames of each.
    pub events: f64,
    pub burst: f64,
    /// Frames a second in a burst.
    pub burst_fps: f64,
    /// Seconds from a started program to the first frame of a camera that starts with it, and to halt afterwards.
    pub around_burst: f64,
    /// Whether the radio is needed.
    pub radio: bool,
}

/// A plan on one board.
#[derive(Clone, Copy, Debug)]
pub(super) struct Setting {
    pub draw: Draw,
    pub mission: Mission,
    /// Seconds of one core to decode and resize a frame.
    pub decode: f64,
    /// The gate, and the share of held frames whose answer is not the network's.
    pub gate: Gate,
    pub gate_loss: f64,
    /// The whole network, and the cheapest calibrated way that is as accurate within its standard error.
    pub whole: Way,
    pub early: Way,
    /// The whole network on the threads and at the clock that cost least, where that was measured.
    pub clocked: Option<Clocked>,
}

/// The whole network in seconds and joules that it adds to idling, on the threads and at the clock that cost least: those of a board
/// that is always on, and those of one that is on for the network alone, where idling counts, too.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Clocked {
    pub always_on: (f64, f64),
    pub bursts: (f64, f64),
}

/// What a measure comes to.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Row {
    pub measure: &'static str,
    /// Seconds from frame to frame; null where frames come in bursts.
    pub period_s: Option<f64>,
    /// Watts of the board on average.
    pub watts: f64,
    /// Hours that the battery lasts; null for as long as the sun shines.
    pub hours: Option<f64>,
    /// Frames a day, and right answers among them.
    pub frames_per_day: f64,
    pub right_per_day: f64,
    /// Right answers of the mission, or of as much of it as the battery lasts.
    pub right: f64,
    /// Whether the battery lasts the mission.
    pub lasts: bool,
}

const DAY: f64 = 86_400.0;
/// The row of what these options of `run` switch off.
const TUNED: &str = "run --save-power --radio-off";
const BURSTS: &str = "switched off between bursts";

/// Which measures are taken.
#[derive(Clone, Copy, Debug, Default)]
struct Taken {
    early: bool,
    gate: bool,
    tuned: bool,
    clocked: bool,
}

impl Setting {
    fn way(&self, taken: Taken) -> Way {
        if taken.early { self.early } else { self.whole }
    }

    /// Watts of a board that is always on, before any frame.
    fn floor(&self, taken: Taken) -> f64 {
        let board = if taken.tuned { self.draw.tuned.unwrap_or(self.draw.idle) } else { self.draw.idle };
        self.draw.camera + self.draw.radio + board
    }

    /// Expected share of right answers: where a gate holds an answer, it may be another than the network's.
    fn accuracy(&self, taken: Taken) -> f64 {
        let held = if taken.gate { self.mission.still } else { 0.0 };
        (self.way(taken).accuracy - held * self.gate_loss).max(0.0)
    }

    /// Seconds of the network, and joules that it adds to idling.
    fn network(&self, taken: Taken, of: impl Fn(Clocked) -> (f64, f64)) -> (f64, f64) {
        let seconds = self.way(taken).seconds;
        match self.clocked.filter(|_| taken.clocked && self.whole.seconds > 0.0) {
            Some(clocked) => {
                let (part, (seconds, joules)) = (seconds / self.whole.seconds, of(clocked));
                (part * seconds, part * joules)
            }
            None => (seconds, self.draw.core * seconds),
        }
    }

    /// Seconds of a frame that goes through the network.
    fn seconds(&self, taken: Taken) -> f64 {
        self.decode + self.network(taken, |clocked| clocked.always_on).0
    }

    /// Joules that a frame adds.
    fn frame(&self, taken: Taken) -> f64 {
        let (decode, network) = (self.draw.core * self.decode, self.network(taken, |clocked| clocked.always_on).1);
        match self.gate {
            _ if !taken.gate => decode + network,
            Gate::Pixels(seconds) => self.draw.core * seconds + (1.0 - self.mission.still) * (decode + network),
            Gate::Latent(first) => {
                // Every frame runs to the first exit, with early exit, too.
                let whole = self.network(Taken { early: false, ..taken }, |clocked| clocked.always_on).1;
                let held = (first * whole).min(network);
                decode + self.mission.still * held + (1.0 - self.mission.still) * network
            }
        }
    }

    fn row(&self, measure: &'static str, watts: f64, frames_per_day: f64, accuracy: f64, period: Option<f64>) -> Row {
        let Mission { joules, income, seconds, .. } = self.mission;
        let short = watts - income;
        let lasts_seconds = if short > 0.0 { joules / short } else { f64::INFINITY };
        let right_per_day = frames_per_day * accuracy;
        Row {
            measure,
            period_s: period,
            watts,
            hours: lasts_seconds.is_finite().then_some(lasts_seconds / 3600.0),
            frames_per_day,
            right_per_day,
            right: right_per_day * seconds.min(lasts_seconds) / DAY,
            lasts: lasts_seconds >= seconds,
        }
    }

    fn always_on(&self, measure: &'static str, taken: Taken, period: f64) -> Row {
        // A loop cannot be faster than its network.
        let period = period.max(self.seconds(taken));
        let watts = self.floor(taken) + self.frame(taken) / period;
        self.row(measure, watts, DAY / period, self.accuracy(taken), Some(period))
    }

    /// Joules of an event on a board that is switched off in between, and how long it is on.
    fn event(&self, taken: Taken, (boot_seconds, boot_joules): (f64, f64)) -> (f64, f64) {
        let Mission { burst, burst_fps, around_burst, .. } = self.mission;
        let (seconds, joules) = self.network(taken, |clocked| clocked.bursts);
        let on = around_burst + burst * (self.decode + seconds).max(1.0 / burst_fps);
        let frames = burst * (self.draw.core * self.decode + joules);
        (boot_joules + self.floor(taken) * on + frames, boot_seconds + on)
    }

    fn bursts(&self, measure: &'static str, taken: Taken, off: Off, boot: (f64, f64)) -> Row {
        let (joules, on) = self.event(taken, boot);
        let events = self.mission.events;
        let share_on = (events * on / DAY).min(1.0);
        let watts = events * joules / DAY + off.watts * (1.0 - share_on);
        self.row(measure, watts, events * self.mission.burst, self.way(taken).accuracy, None)
    }

    /// Watts on average that the mission allows.
    pub(super) fn allowed(&self) -> f64 {
        self.mission.joules / self.mission.seconds + self.mission.income
    }

    /// The shortest period that the battery lasts with, all else done; none where it does not last with the longest.
    pub(super) fn chosen_period(&self) -> Option<f64> {
        let taken = Taken { early: true, gate: true, tuned: true, clocked: true };
        let spare = self.allowed() - self.floor(taken);
        let least = self.seconds(taken);
        let period = if spare > 0.0 { self.frame(taken) / spare } else { f64::INFINITY };
        let period = period.max(self.mission.period).max(least);
        (period <= self.mission.longest).then_some(period)
    }

    /// Events a day that the battery lasts with, all else done, the fastest boot there is.
    pub(super) fn most_events(&self) -> Option<f64> {
        let off = self.draw.off?;
        let taken = Taken { early: true, gate: false, tuned: true, clocked: true };
        let (joules, on) = self.event(taken, off.fast.unwrap_or((off.boot_seconds, off.boot_joules)));
        let spare = (self.allowed() - off.watts) * DAY;
        Some((spare / (joules - off.watts * on)).clamp(0.0, DAY / on))
    }

    /// Seconds from which on it pays to be switched off rather than to wait.
    pub(super) fn pays_from(&self) -> Option<f64> {
        let off = self.draw.off?;
        let (seconds, joules) = off.fast.unwrap_or((off.boot_seconds, off.boot_joules));
        let floor = self.floor(Taken { tuned: true, ..Taken::default() });
        let saved = floor - off.watts;
        (saved > 0.0).then(|| ((joules - off.watts * seconds) / saved).max(seconds))
    }

    /// Each measure alone, then all together.
    pub(super) fn rows(&self) -> Vec<Row> {
        let none = Taken::default();
        let Mission { period, longest, .. } = self.mission;
        let mut rows = vec![
            self.always_on("as it comes: the whole network, all the time", none, period),
            self.always_on("early exit", Taken { early: true, ..none }, period),
            self.always_on("the longest period", none, longest),
            self.always_on("a gate for still frames", Taken { gate: true, ..none }, period),
        ];
        if self.clocked.is_some() {
            let clocked = Taken { clocked: true, ..none };
            rows.push(self.always_on("the threads and clock that cost least", clocked, period));
        }
        if self.draw.tuned.is_some() {
            rows.push(self.always_on(TUNED, Taken { tuned: true, ..none }, period));
        }
        if let Some(off) = self.draw.off {
            let stock = (off.boot_seconds, off.boot_joules);
            rows.push(self.bursts(BURSTS, none, off, stock));
            if let Some(fast) = off.fast {
                rows.push(self.bursts("the same with a fast boot", none, off, fast));
            }
        }
        let all = Taken { early: true, gate: true, tuned: true, clocked: true };
        let chosen = self.chosen_period().unwrap_or(longest);
        rows.push(self.always_on("all of them, always on", all, chosen));
        if let Some(off) = self.draw.off {
            let boot = off.fast.unwrap_or((off.boot_seconds, off.boot_joules));
            rows.push(self.bursts("all of them, off between bursts", Taken { gate: false, ..all }, off, boot));
        }
        rows
    }

    /// Measures that have no row on this board, and why.
    pub(super) fn left_out(&self) -> Vec<String> {
        let mut left_out = Vec::new();
        if self.draw.tuned.is_none() {
            let why = match self.mission.radio {
                true => "the radio is needed, and what is known is with the radio off",
                false => "not known of this board (power.tuned_watts of its board.toml)",
            };
            left_out.push(format!("{TUNED}: {why}"));
        }
        if self.draw.off.is_none() {
            let why = "not known of this board (power.off_watts, boot.seconds and boot.joules of its board.toml)";
            left_out.push(format!("{BURSTS}: {why}"));
        }
        left_out
    }

    /// Watts at the longest period with all measures.
    pub(super) fn least_always_on(&self) -> f64 {
        let taken = Taken { early: true, gate: true, tuned: true, clocked: true };
        self.floor(taken) + self.frame(taken) / self.mission.longest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 1 W idle, 0.5 W tuned, a core adds 1 W; a joule and a half a frame, half of it with early exit.
    fn setting() -> Setting {
        let off = Off { watts: 0.01, boot_seconds: 10.0, boot_joules: 12.0, fast: Some((3.0, 2.0)) };
        Setting {
            draw: Draw { idle: 1.0, tuned: Some(0.5), core: 1.0, camera: 0.0, radio: 0.0, off: Some(off) },
            mission: Mission {
                joules: 36_000.0,
                income: 0.0,
                seconds: DAY,
                period: 10.0,
                longest: 100.0,
                still: 0.9,
                events: 100.0,
                burst: 10.0,
                burst_fps: 5.0,
                around_burst: 3.0,
                radio: false,
            },
            decode: 0.5,
            gate: Gate::Pixels(0.1),
            gate_loss: 0.0,
            whole: Way { seconds: 1.0, accuracy: 0.9 },
            early: Way { seconds: 0.25, accuracy: 0.89 },
            clocked: Some(Clocked { always_on: (2.0, 0.6), bursts: (0.5, 0.8) }),
        }
    }

    fn find<'a>(rows: &'a [Row], measure: &str) -> &'a Row {
        rows.iter().find(|row| row.measure.starts_with(measure)).unwrap()
    }

    #[test]
    fn each_measure_alone_is_worked_out_by_hand() {
        let rows = setting().rows();
        let watts = |measure| find(&rows, measure).watts;
        let near = |a: f64, b: f64| assert!((a - b).abs() < 1e-9, "{a} {b}");
        near(watts("as it comes"), 1.0 + 1.5 / 10.0);
        near(watts("early exit"), 1.0 + 0.75 / 10.0);
        near(watts("the longest period"), 1.0 + 1.5 / 100.0);
        near(watts("a gate"), 1.0 + (0.1 + 0.1 * 1.5) / 10.0);
        near(watts("run --save-power --radio-off"), 0.5 + 0.15);
        near(watts("the threads and clock"), 1.0 + (0.5 + 0.6) / 10.0);
        // 12 J of booting, ten frames of 1.5 s and three seconds around them at 1 W, and 1.5 J a frame.
        let event = 12.0 + 18.0 + 15.0;
        near(watts("switched off between"), 100.0 * event / DAY + 0.01 * (1.0 - 100.0 * 28.0 / DAY));
        // The same ten frames at the clock that costs least while the board is on for them, a quarter of the network each.
        let all = 2.0 + 0.5 * (3.0 + 10.0 * 0.625) + 10.0 * (0.5 + 0.2);
        near(watts("all of them, off"), 100.0 * all / DAY + 0.01 * (1.0 - 100.0 * (3.0 + 9.25) / DAY));
        let first = find(&rows, "as it comes");
        near(first.hours.unwrap(), 10.0 / 1.15);
        near(first.frames_per_day, 8640.0);
        near(first.right, 8640.0 * 0.9 * (36_000.0 / 1.15) / DAY);
        assert!(!first.lasts && find(&rows, "all of them, off").lasts);
    }

    #[test]
    fn the_period_is_the_shortest_that_lasts_and_none_where_none_does() {
        let mut setting = setting();
        // 0.417 W allowed, half a watt of idling.
        assert_eq!(setting.chosen_period(), None);
        setting.mission.joules = 0.51 * DAY;
        let period = setting.chosen_period().unwrap();
        // A quarter of the network at the clock that costs least, behind a gate.
        assert!((0.5 + (0.1 + 0.1 * (0.5 + 0.15)) / period - 0.51).abs() < 1e-9, "{period}");
        assert!(find(&setting.rows(), "all of them, always").lasts);
        setting.mission.joules = 10.0 * DAY;
        assert_eq!(setting.chosen_period(), Some(10.0), "no shorter than was wished for");
    }

    #[test]
    fn being_switched_off_pays_where_it_saves_more_than_a_boot_costs() {
        let setting = setting();
        assert!((setting.pays_from().unwrap() - (2.0 - 0.03) / 0.49).abs() < 1e-9);
        let most = setting.most_events().unwrap();
        let mut at_most = setting;
        at_most.mission.events = most;
        let row = at_most.rows().pop().unwrap();
        assert!((row.watts - setting.allowed()).abs() < 1e-6, "{row:?}");
    }

    #[test]
    fn what_a_board_is_not_known_for_is_said_and_not_reckoned() {
        assert!(setting().left_out().is_empty());
        let mut setting = setting();
        (setting.draw.tuned, setting.draw.off) = (None, None);
        let rows = setting.rows();
        assert!(rows.iter().all(|row| !row.measure.contains("--save-power") && !row.measure.contains("bursts")));
        let left_out = setting.left_out();
        assert!(
            left_out[0].starts_with("run --save-power --radio-off: not known") && left_out[1].contains("boot.joules")
        );
        (setting.draw.radio, setting.mission.radio) = (0.25, true);
        assert!(setting.left_out()[0].contains("radio is needed"));
        assert!((find(&setting.rows(), "as it comes").watts - find(&rows, "as it comes").watts - 0.25).abs() < 1e-9);
    }

    #[test]
    fn a_latent_gate_runs_the_first_exit_and_loses_what_was_certified() {
        let mut setting = setting();
        (setting.gate, setting.gate_loss, setting.mission.still) = (Gate::Latent(0.1), 0.02, 0.5);
        let row = find(&setting.rows(), "a gate").clone();
        // Half of the frames end after a tenth of the network.
        assert!((row.watts - 1.0 - (0.5 + 0.5 * 0.1 + 0.5) / 10.0).abs() < 1e-9, "{row:?}");
        assert!((row.right_per_day - 8640.0 * (0.9 - 0.01)).abs() < 1e-6, "{row:?}");
        assert!((find(&setting.rows(), "early exit").right_per_day - 8640.0 * 0.89).abs() < 1e-6);
    }

    #[test]
    fn a_board_that_the_sun_carries_lasts() {
        let mut setting = setting();
        setting.mission.income = 2.0;
        assert!(setting.rows().iter().all(|row| row.lasts && row.hours.is_none()));
    }
}
