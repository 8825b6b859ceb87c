//! What a plan rests on: figures with their sources.

use dyn_perceiver_host::{Board, Figure, Watts};
use serde::Serialize;

use crate::output::failure::{Failure, wrong};

/// One figure that the plan uses.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Fact {
    pub name: &'static str,
    pub value: f64,
    pub unit: &'static str,
    /// How far it can be trusted: a board's basis, "given", "assumed" or "computed".
    pub basis: &'static str,
    pub source: String,
}

/// Figures, each noted once as it is used.
#[derive(Debug, Default)]
pub(super) struct Facts(Vec<Fact>);

impl Facts {
    /// Notes a figure and returns its value.
    pub(super) fn note(&mut self, name: &'static str, unit: &'static str, figure: &Figure) -> f64 {
        self.add(name, (figure.value, unit), figure.basis.name(), &figure.source)
    }

    /// Notes what the user said, by the option or its default.
    pub(super) fn given(&mut self, name: &'static str, unit: &'static str, value: f64, option: &str) -> f64 {
        self.add(name, (value, unit), "given", option)
    }

    /// Notes what the plan takes to be so.
    pub(super) fn assumed(&mut self, name: &'static str, unit: &'static str, value: f64, why: &str) -> f64 {
        self.add(name, (value, unit), "assumed", why)
    }

    /// Notes what follows from other figures.
    pub(super) fn computed(&mut self, name: &'static str, unit: &'static str, value: f64, how: &str) -> f64 {
        self.add(name, (value, unit), "computed", how)
    }

    fn add(
        &mut self,
        name: &'static str,
        (value, unit): (f64, &'static str),
        basis: &'static str,
        source: &str,
    ) -> f64 {
        if self.0.iter().all(|fact| (fact.name, fact.unit) != (name, unit)) {
            self.0.push(Fact { name, value, unit, basis, source: source.to_owned() });
        }
        value
    }

    pub(super) fn into_list(self) -> Vec<Fact> {
        self.0
    }
}

/// What a board draws, in watts, and what booting it takes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Draw {
    pub idle: f64,
    /// With HDMI, LEDs and radios off; none where nobody knows.
    pub tuned: Option<f64>,
    /// What one busy core adds.
    pub core: f64,
    pub camera: f64,
    /// A radio that is connected, where the mission needs it and the figure is known.
    pub radio: f64,
    /// Switched off between bursts; none where nothing is known of that.
    pub off: Option<Off>,
}

/// A board that is switched off between bursts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Off {
    pub watts: f64,
    pub boot_seconds: f64,
    pub boot_joules: f64,
    /// Seconds and joules of a system made to boot fast.
    pub fast: Option<(f64, f64)>,
}

impl Draw {
    /// What is known of a board, with the radio in use or not; the published board stands in for watts that are not.
    pub(super) fn of(board: &Board, stand_in: &Board, radio: bool, facts: &mut Facts) -> Result<Self, Failure> {
        let watts = Watts::of(board).or_scaled(&stand_in.name, &Watts::of(stand_in));
        let (Some(idle), Some(busy)) = (&watts.idle, watts.with_busy_cores(1)) else {
            return wrong(format!("{}: no watts are known, and none stand in", board.name));
        };
        let idle = facts.note("idle board", "W", idle);
        let busy = facts.note("one core busy", "W", &busy);
        // What is known is of a board whose radio is off, which is no help where it is needed.
        let tuned = board.power.tuned_watts.as_ref().filter(|_| !radio);
        let tuned = tuned.map(|figure| facts.note("idle, tuned", "W", figure).min(idle));
        let camera = board.loads.camera_watts.as_ref().map_or(0.0, |figure| facts.note("camera", "W", figure));
        let radio = match (&board.loads.radio_watts, radio) {
            (Some(figure), true) => facts.note("radio", "W", figure),
            (None, true) => {
                facts.assumed("radio", "W", 0.0, "not known of this board (loads.radio_watts), so not counted")
            }
            (_, false) => 0.0,
        };
        let boot = &board.boot;
        let off = match (&board.power.off_watts, &boot.seconds, &boot.joules) {
            (Some(watts), Some(seconds), Some(joules)) => Some(Off {
                watts: facts.note("switched off", "W", watts),
                boot_seconds: facts.note("boot, as shipped", "s", seconds),
                boot_joules: facts.note("boot, as shipped", "J", joules),
                fast: boot.fast_seconds.as_ref().zip(boot.fast_joules.as_ref()).map(|(seconds, joules)| {
                    (facts.note("boot, made fast", "s", seconds), facts.note("boot, made fast", "J", joules))
                }),
            }),
            _ => None,
        };
        Ok(Self { idle, tuned, core: (busy - idle).max(0.0), camera, radio, off })
    }
}
