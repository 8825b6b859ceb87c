//! Whether what the loop needs is there: a model that loads, watts that are known, a gauge that can be read.

use dyn_perceiver::energy::FuelGauge as _;
use dyn_perceiver::sensors::open::open_gauge_under;
use dyn_perceiver_host::{Board, System};

use super::checks::{Check, Status, bad, ok};
use crate::args::model::{self, ModelArgs};
use crate::args::watts::WattsArgs;
use crate::output::failure::{Failure, chain};
use crate::output::table;

/// The message of a failure.
fn message(failure: Failure) -> String {
    match failure {
        Failure::Input(error) | Failure::Failed(error) => chain(&error),
        Failure::Partial => String::new(),
    }
}

/// Loads the model, as `run` would.
pub(super) fn model(args: &ModelArgs) -> Check {
    match args.plan() {
        Ok(plan) => ok("model", format!("{}: {} exits", model::name(&plan), plan.stages().len())),
        Err(failure) => bad("model", Status::Fail, message(failure), "name a model that loads with --model"),
    }
}

/// Whether the board's watts are known, which joules are modelled with.
pub(super) fn watts(board: &Board) -> Check {
    let source = match WattsArgs::default().of(board) {
        Ok(watts) => watts.source,
        Err(failure) => return bad("watts", Status::Warn, message(failure), "give --idle-watts and --active-watts"),
    };
    if board.power.idle_watts.is_some() && board.power.active_watts.is_some() {
        return ok("watts", source);
    }
    let fix = "measure them, and give --idle-watts and --active-watts to `run`, or a profile";
    bad("watts", Status::Warn, source, fix)
}

/// Opens and reads a gauge.
pub(super) fn gauge(system: &System, name: &str) -> Check {
    let fix = "see `run --help` for the names of gauges; a bus may need a group: sudo usermod -aG i2c $USER";
    let mut gauge = match open_gauge_under(&system.path("/"), name) {
        Ok(gauge) => gauge,
        Err(error) => return bad("gauge", Status::Fail, chain(&error.into()), fix),
    };
    match gauge.read() {
        Ok(reading) => {
            let volts = reading.volts.map_or(String::new(), |volts| format!(", {volts:.2} V"));
            ok("gauge", format!("{name}: {}{volts}", table::percent(reading.soc.into())))
        }
        Err(error) => bad("gauge", Status::Fail, format!("{name}: {}", chain(&error.into())), fix),
    }
}
