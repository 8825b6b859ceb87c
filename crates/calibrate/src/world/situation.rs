//! The rows of the table: what is asked of a mission, and what may go wrong in it.

use super::meter::Trouble;
use super::pack::Cells;

/// How frames come.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Coming {
    /// Whoever decides chooses the period between these seconds.
    Free(f64, f64),
    /// Events at random, so many an hour from 6 to 18 o'clock and so many at night.
    Rhythm(f64, f64),
    /// Events at random, so many an hour, and ten times as many in three hours that nobody knows of.
    Bursts(f64),
}

/// One row.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Situation {
    pub(super) name: &'static str,
    pub(super) hours: f64,
    pub(super) label_wh: f64,
    pub(super) idle_watts: f64,
    /// Joules that the whole network adds.
    pub(super) full_joules: f64,
    pub(super) coming: Coming,
    pub(super) cells: Cells,
    pub(super) health: (f64, f64),
    pub(super) celsius: (f64, f64),
    pub(super) solar_watts: f64,
    /// Whether the governor is told of the panel.
    pub(super) tells_panel: bool,
    /// Whether the governor is told how many events come by day and by night, and not only how many on average.
    pub(super) tells_hours: bool,
    /// What the governor is told of the board, idle and per frame, over what it draws.
    pub(super) told: (f64, f64),
    pub(super) trouble: Trouble,
    /// Steps of the gauge.
    pub(super) step: f64,
    pub(super) knows_supply: bool,
    /// Whether the gauge tells the battery's temperature.
    pub(super) knows_celsius: bool,
    /// Share of the frames that a gate lets pass, from 6 to 18 o'clock and at night: the others keep the last answer for nothing.
    pub(super) passes: (f64, f64),
    /// Mean seconds of a spell of hard frames, and of easy ones.
    pub(super) spells: (f64, f64),
    /// Standard deviation of the gauge's slow error.
    pub(super) gauge_error: f64,
    /// Exponent of Peukert's law.
    pub(super) peukert: f64,
    /// Whether external power carries the board and charges the battery for an hour.
    pub(super) plugged: bool,
}

const FOREVER: f64 = 1e6;

impl Situation {
    /// A Raspberry Pi 4 for a day.
    fn day(name: &'static str) -> Self {
        Situation {
            name,
            hours: 24.0,
            label_wh: 115.0,
            idle_watts: 2.7,
            full_joules: 0.74,
            coming: Coming::Free(0.25, 5.0),
            cells: Cells::Nca,
            health: (0.8, 1.0),
            celsius: (5.0, 25.0),
            solar_watts: 0.0,
            tells_panel: false,
            tells_hours: true,
            told: (1.0, 1.0),
            trouble: Trouble::None,
            step: 1.0 / 256.0,
            knows_supply: false,
            knows_celsius: false,
            passes: (1.0, 1.0),
            spells: (1200.0, 1200.0),
            gauge_error: 0.01,
            peukert: 1.05,
            plugged: false,
        }
    }

    fn troubled(name: &'static str, trouble: Trouble) -> Self {
        Situation { trouble, ..Situation::day(name) }
    }

    /// Every row, in the order of the table. Rows after the first of a day are that day with one thing changed.
    pub(super) fn all() -> Vec<Situation> {
        let day = Situation::day;
        let sunny = |name, hours, label_wh, solar_watts, knows_supply| Situation {
            hours,
            label_wh,
            solar_watts,
            knows_supply,
            ..day(name)
        };
        let wrong = |name, idle, joules| Situation { told: (idle, joules), ..day(name) };
        vec![
            day("24 h, 115 Wh"),
            Situation { hours: 72.0, label_wh: 345.0, ..day("72 h, 345 Wh") },
            Situation { hours: 168.0, label_wh: 805.0, ..day("7 days, 805 Wh") },
            Situation {
                hours: 168.0,
                label_wh: 170.0,
                idle_watts: 0.6,
                full_joules: 0.74,
                coming: Coming::Free(0.5, 60.0),
                ..day("7 days, 170 Wh, a board of 0.6 W")
            },
            Situation { knows_celsius: true, ..day("24 h, the gauge tells the temperature") },
            sunny("sun 10 W, 72 h, 200 Wh", 72.0, 200.0, 10.0, false),
            sunny("sun 10 W, the gauge tells charging", 72.0, 200.0, 10.0, true),
            Situation { tells_panel: true, ..sunny("sun 10 W, the panel is told", 72.0, 200.0, 10.0, false) },
            sunny("sun 20 W, 7 days, 100 Wh", 168.0, 100.0, 20.0, false),
            Situation { tells_panel: true, ..sunny("sun 20 W, the panel is told", 168.0, 100.0, 20.0, false) },
            Situation { coming: Coming::Rhythm(24_000.0, 4_800.0), label_wh: 150.0, ..day("night and day") },
            Situation {
                coming: Coming::Rhythm(24_000.0, 4_800.0),
                label_wh: 150.0,
                tells_hours: false,
                ..day("night and day, the mean alone is told")
            },
            Situation {
                hours: 168.0,
                coming: Coming::Rhythm(24_000.0, 4_800.0),
                label_wh: 900.0,
                ..day("night and day, 7 days")
            },
            Situation {
                hours: 168.0,
                coming: Coming::Rhythm(24_000.0, 4_800.0),
                label_wh: 900.0,
                tells_hours: false,
                ..day("night and day, 7 days, the mean alone is told")
            },
            Situation {
                hours: 168.0,
                coming: Coming::Rhythm(24_000.0, 24_000.0),
                label_wh: 730.0,
                passes: (0.5, 0.05),
                ..day("quiet nights behind a gate, 7 days")
            },
            Situation { coming: Coming::Bursts(3_600.0), label_wh: 118.0, ..day("bursts") },
            Situation { celsius: (-10.0, -10.0), label_wh: 150.0, ..day("-10 C, 150 Wh") },
            Situation { health: (0.6, 0.6), label_wh: 175.0, ..day("cell at 60 %, 175 Wh") },
            Situation { cells: Cells::Phosphate, label_wh: 115.0, ..day("LiFePO4") },
            Situation { cells: Cells::Hydride, label_wh: 115.0, ..day("NiMH") },
            wrong("model 30 % too high", 1.3, 1.3),
            wrong("model 30 % too low", 0.7, 0.7),
            wrong("idle watts 30 % too high", 1.3, 1.0),
            wrong("idle watts 30 % too low", 0.7, 1.0),
            wrong("joules 30 % too high", 1.0, 1.3),
            wrong("joules 30 % too low", 1.0, 0.7),
            Situation { plugged: true, ..day("external power for an hour, unknown") },
            Situation { plugged: true, knows_supply: true, ..day("external power for an hour, told") },
            Situation::troubled("gauge x 0.9", Trouble::Scale(0.9)),
            Situation::troubled("gauge 10 points low", Trouble::Offset(-0.1)),
            Situation::troubled("gauge stuck for good", Trouble::Stuck(FOREVER)),
            Situation::troubled("gauge stuck for 2 h", Trouble::Stuck(2.0)),
            Situation::troubled("gauge jumps up for good", Trouble::Jump(0.3, FOREVER)),
            Situation::troubled("gauge jumps up for 1 h", Trouble::Jump(0.3, 1.0)),
            Situation::troubled("gauge jumps down for good", Trouble::Jump(-0.3, FOREVER)),
            Situation::troubled("gauge jumps down for 1 h", Trouble::Jump(-0.3, 1.0)),
            Situation::troubled("one reading of 5 %", Trouble::Glitch(0.05)),
            Situation::troubled("one reading of 100 %", Trouble::Glitch(1.0)),
            Situation::troubled("gauge silent for good", Trouble::Silent(FOREVER)),
            Situation::troubled("gauge silent for 2 h", Trouble::Silent(2.0)),
            Situation::troubled("top bit flips, 1 in 100", Trouble::Flips(100.0)),
            Situation {
                hours: 168.0,
                label_wh: 805.0,
                trouble: Trouble::Flips(10_000.0),
                ..day("top bit flips, 1 in 10,000, 7 days")
            },
            Situation { step: 0.05, ..day("gauge of 5 % steps") },
            Situation { step: 0.10, ..day("gauge of 10 % steps") },
            Situation { step: 0.25, ..day("gauge of four LEDs") },
            Situation { spells: (300.0, 300.0), ..day("spells of 5 minutes") },
            Situation { spells: (3600.0, 3600.0), ..day("spells of an hour") },
            Situation { spells: (2400.0, 900.0), ..day("frames hard most of the time") },
            Situation { spells: (900.0, 2400.0), ..day("frames easy most of the time") },
            Situation { gauge_error: 0.02, ..day("gauge that errs by 2 points") },
            Situation { peukert: 1.10, ..day("Peukert exponent 1.10") },
        ]
    }

    /// Whether missions are the same for whoever looks at no gauge and no power model.
    pub(super) fn is_same_world(&self, other: &Situation) -> bool {
        let bare = |situation: &Situation| Situation {
            name: "",
            tells_panel: false,
            tells_hours: true,
            told: (1.0, situation.told.1),
            trouble: Trouble::None,
            step: 0.0,
            knows_supply: false,
            knows_celsius: false,
            gauge_error: 0.0,
            ..situation.clone()
        };
        bare(self) == bare(other)
    }

    /// By how much the gauge reads too little from the first reading to the last.
    pub(super) fn gauge_is_low_by(&self) -> Option<f64> {
        match self.trouble {
            Trouble::Offset(offset) if offset < 0.0 => Some(-offset),
            _ => None,
        }
    }

    /// Whether the gauge, the power model and the supply are what they are taken for.
    pub(super) fn is_fair(&self) -> bool {
        self.trouble == Trouble::None && self.step < 0.05 && !self.plugged
    }
}
